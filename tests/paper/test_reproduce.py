"""The tables and figures end to end at the smallest scale."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from augmix import results
from augmix.errors import Interrupted, RunError
from augmix.paper import SCALES, ReproduceConfig, plan_tasks, reproduce
from augmix.progress import CellFinished, Event, StepFinished


def smoke(folder: Path, table: Any = "table4", **changes: Any) -> ReproduceConfig:
    return ReproduceConfig(
        table=table, scale="smoke", data="digits", num_processes=1, out=folder, **changes
    )


@pytest.fixture(scope="module", autouse=True)
def few_images() -> Iterator[None]:
    """Four images a cell: what is measured stays complete."""
    scale = replace(SCALES["smoke"], measuring={"max_images": 4})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("augmix.paper.SCALES", {**SCALES, "smoke": scale})
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 4 of two methods, interrupted in the third cell and started again."""
    folder = tmp_path_factory.mktemp("table4")

    def stop(event: Event) -> None:
        if isinstance(event, CellFinished) and event.done == 3:
            raise Interrupted("stopped")

    config = smoke(folder, methods=("standard", "augmix"))
    with pytest.raises(Interrupted):
        reproduce(config, on_progress=stop)
    paths = reproduce(config).paths
    assert [path.name for path in paths] == ["table4.json", "table4.csv", "table4.md"]
    return folder


def test_table4_at_the_smallest_scale(folder: Path):
    plain = json.loads((folder / "smoke" / "table4.json").read_text())
    assert set(plain["runs"].values()) == {"done"}
    by_row = {entry["row"]: entry for entry in plain["findings"]}
    assert set(by_row) == {"Standard", "AugMix"}
    assert by_row["AugMix"]["published"] == 11.2
    assert 0 <= by_row["AugMix"]["measured"] <= 100
    assert any("cifar100 was not measured" in line for line in plain["remarks"])
    run = folder / "smoke" / "runs" / "cifar10-wrn-augmix-seed0"
    assert len(results.load_results(run / results.RESULTS_FILE).cells) == 76


def test_tables_share_runs(folder: Path):
    events: list[Event] = []
    other = smoke(folder, "table1", methods=("standard",), families=("wrn",))
    reproduce(other, on_progress=events.append)
    assert not [event for event in events if isinstance(event, (StepFinished, CellFinished))]


def test_figure6_measures_sequences(tmp_path: Path):
    config = smoke(tmp_path, "figure6", methods=("augmix",))
    paths = reproduce(config).paths
    assert paths[-1].suffix == ".svg"
    numbers = {e["column"]: e["measured"] for e in json.loads(paths[0].read_text())["findings"]}
    assert 0 <= numbers["mean flip probability"] <= 100


def test_table2_reads_folders_of_photographs(tmp_path: Path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("n01440764", "n01443537"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(12):
                pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.JPEG")
    config = replace(
        smoke(tmp_path, "table2", methods=("standard",)), data=str(tmp_path / "images")
    )
    entries = {
        e["column"]: e for e in json.loads(reproduce(config).paths[0].read_text())["findings"]
    }
    assert entries["mCE"]["published"] == 80.6
    assert 0 <= entries["mCE"]["measured"] < 150
    assert entries["fog"]["published"] == 75


def test_figure4_is_a_picture(tmp_path: Path):
    (path,) = reproduce(smoke(tmp_path, "figure4")).paths
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RunError, match="figure4 needs images"):
        reproduce(replace(smoke(tmp_path, "figure4"), data=""))


def test_what_cannot_be_made_is_said(tmp_path: Path):
    with pytest.raises(RunError, match="table4 needs the images of cifar10 or cifar100"):
        reproduce(replace(smoke(tmp_path), data=""))
    with pytest.raises(RunError, match="nowhere does not exist"):
        reproduce(replace(smoke(tmp_path), data=str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="method must be one of .* got 'cutout'"):
        reproduce(smoke(tmp_path, methods=("cutout",)))
    with pytest.raises(ValueError, match="network must be one of .* got 'vit'"):
        reproduce(smoke(tmp_path, families=("vit",)))


def test_settings_of_the_paper():
    tasks = plan_tasks(
        ReproduceConfig(table="table1", scale="paper", data="c10", data_cifar100="c100")
    )
    assert len(tasks) == 2 * 4 * 7
    by_name = {task.name: task.training for task in tasks.values()}
    dense = by_name["cifar100-densenet-augmix-seed0"]
    assert (dense.network.model, dense.optimisation.epochs) == ("densenet-bc-100-12", 200)
    assert dense.optimisation.weight_decay == 1e-4
    assert (dense.data.source, dense.data.path) == ("cifar100", "c100")
    mixup = by_name["cifar10-wrn-mixup-seed0"]
    assert (mixup.network.model, mixup.optimisation.epochs) == ("wrn-40-2", 100)
    assert mixup.optimisation.weight_decay == 1e-4
    plain = by_name["cifar10-wrn-standard-seed0"].optimisation
    assert (plain.batch_size, plain.learning_rate, plain.weight_decay) == (128, 0.1, 5e-4)
    assert plain.schedule == "cosine"
    assert by_name["cifar10-resnext-augmix-seed0"].optimisation.epochs == 200
    large = plan_tasks(ReproduceConfig(table="table2", scale="paper", data="in"))
    resnet = {task.name: task.training for task in large.values()}["imagenet-resnet-augmix-seed0"]
    assert (resnet.network.model, resnet.data.source, resnet.optimisation.epochs) == (
        "resnet50",
        "imagenet",
        180,
    )
    assert (resnet.optimisation.batch_size, resnet.optimisation.weight_decay) == (256, 1e-4)
    assert resnet.method.policy.severity == 1
    assert "imagenet-resnet-sin-seed0" not in {task.name for task in large.values()}

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
from augmix.paper.compare import ABLATION
from augmix.paper.config import PAPER_TABLES, SCALES, ReproduceConfig
from augmix.paper.reproduce import plan_tasks, reproduce
from augmix.progress import CellFinished, Event, StepFinished


def smoke(folder: Path, table: Any = "table4", **changes: Any) -> ReproduceConfig:
    return ReproduceConfig(
        tables=(table,),
        scale="smoke",
        data="digits",
        out=folder,
        **({"num_processes": 1} | changes),
    )


@pytest.fixture(scope="module", autouse=True)
def few_images() -> Iterator[None]:
    """Four images a cell: what is measured stays complete."""
    scale = replace(SCALES["smoke"], measuring={"max_images": 4})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("augmix.paper.reproduce.SCALES", {**SCALES, "smoke": scale})
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
    assert [path.name for path in paths] == [f"table4.{x}" for x in ("json", "csv", "md", "tex")]
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


@pytest.mark.slow
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
    (path,) = reproduce(smoke(tmp_path, "figure4", num_processes=None)).paths
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RunError, match="figure4 needs images"):
        reproduce(replace(smoke(tmp_path, "figure4", num_processes=None), data=""))


def test_figure10_is_a_picture_of_the_operations(tmp_path: Path):
    (path,) = reproduce(smoke(tmp_path, "figure10", num_processes=None)).paths
    with Image.open(path) as picture:
        assert picture.size[0] > 300


def test_what_cannot_be_made_is_said(tmp_path: Path):
    with pytest.raises(RunError, match="table4 needs the images of cifar10 or cifar100"):
        reproduce(replace(smoke(tmp_path), data=""))
    with pytest.raises(RunError, match="nowhere does not exist"):
        reproduce(replace(smoke(tmp_path), data=str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="method must be one of .* got 'cutout'"):
        reproduce(smoke(tmp_path, methods=("cutout",)))
    with pytest.raises(ValueError, match="network must be one of .* got 'vit'"):
        reproduce(smoke(tmp_path, families=("vit",)))


@pytest.fixture(scope="module")
def all_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """Every table and figure of CIFAR-10 by one call, of two methods and small networks."""
    folder = tmp_path_factory.mktemp("all")
    tables: Any = [name for name, table in PAPER_TABLES.items() if "cifar10" in table.data_sets]
    config = replace(smoke(folder), tables=tuple(tables), methods=("augmix",))
    two = {setting: values[-2:] for setting, values in ABLATION.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("augmix.paper.compare.ABLATION", two)
        return folder / "smoke", reproduce(config).paths


@pytest.mark.slow
def test_every_table_and_figure_of_cifar(all_runs: tuple[Path, list[Path]]):
    folder, paths = all_runs
    made = {path.stem for path in paths}
    assert made == {name for name, each in PAPER_TABLES.items() if "cifar10" in each.data_sets}
    for path in paths:
        if path.suffix == ".json":
            plain = json.loads(path.read_text())
            assert set(plain["runs"].values()) == {"done"}, path
            numbers = [each for each in plain["findings"] if each.get("unit", "%") == "%"]
            found = [each["measured"] for each in numbers if each["measured"] is not None]
            assert found, path
            assert all(0 <= value <= 100 for value in found), path
            assert any("corrupted on the fly, with drawn frost" in x for x in plain["remarks"])
    six = json.loads((folder / "figure6.json").read_text())
    assert any("cifar-script-10" in line and "spatter" in line for line in six["remarks"])
    eight = json.loads((folder / "figure8.json").read_text())
    assert len({each["row"] for each in eight["findings"]}) == 12


# The runs of scale `paper`, by hand: network, epochs, schedule, weight decay.
CIFAR_RUNS = {
    "allconv": ("allconv", 100, 5e-4),
    "densenet": ("densenet-40-12", 200, 1e-4),
    "densenet-bc": ("densenet-bc-100-12", 200, 1e-4),
    "wrn": ("wrn-40-2", 100, 5e-4),
    "resnext": ("resnext-29-4x32d", 200, 5e-4),
}
IMAGENET_EPOCHS = {
    "standard": 90,
    "patch-uniform": 90,
    "autoaugment": 180,
    "random-aa": 180,
    "maxblur": 90,
    "sin": 90,
    "augmix": 180,
    "augmix-sin": 180,
}


def paper(**changes: Any) -> ReproduceConfig:
    given: dict[str, Any] = {"data": "c10", "data_cifar100": "c100", "stylised": "sin"}
    return ReproduceConfig(tables=(), scale="paper", **{**given, **changes})


def test_cifar_runs_of_the_paper():
    families = tuple(CIFAR_RUNS)
    tasks = plan_tasks(paper(families=families), "table1")
    assert len(tasks) == 2 * 5 * 7
    for key, task in tasks.items():
        network, epochs, decay = CIFAR_RUNS[key.family]
        how = task.training.optimisation
        assert (task.training.network.model, how.epochs) == (network, epochs), key
        assert how.weight_decay == (1e-4 if key.method == "mixup" else decay), key
        assert (how.batch_size, how.learning_rate, how.schedule) == (128, 0.1, "cosine")
        assert (how.momentum, how.nesterov, how.weight_decay_on) == (0.9, True, "all")
        assert task.training.data.source == key.data_set
    assert {key.family for key in plan_tasks(paper(), "table1")} == {
        "allconv", "densenet", "wrn", "resnext",
    }  # fmt: skip
    augmix = next(t for k, t in tasks.items() if k.method == "augmix").training.method
    policy: Any = augmix.policy
    assert (policy.width, policy.depth, policy.alpha, policy.severity) == (3, None, 1.0, 3)
    assert (augmix.num_views, getattr(augmix, "jsd_weight", None)) == (2, 12.0)


def test_imagenet_runs_of_the_paper():
    for name in ("table2", "table3"):
        tasks = plan_tasks(paper(), name)
        assert {key.method for key in tasks} == set(IMAGENET_EPOCHS)
        for key, task in tasks.items():
            how, network = task.training.optimisation, task.training.network
            assert how.epochs == IMAGENET_EPOCHS[key.method], key
            assert (network.model, network.zero_init_last) == ("resnet50", True)
            assert (how.schedule, how.warm_up_epochs) == ("step", 5.0)
            drops = [how.rate(round(e * 100), 100) for e in (6, how.epochs / 3, how.epochs * 8 / 9)]
            assert drops == pytest.approx([0.1, 0.01, 0.0001])
            assert (how.weight_decay, how.weight_decay_on) == (1e-4, "no-norms")
            assert (how.batch_size, how.learning_rate) == (256, 0.1)
            assert not task.training.data.reduced_decoding
            policy: Any = task.training.method.policy
            if key.method.startswith("augmix"):
                assert policy.severity == 1
            assert [how.suite for how in (each.how for each in task.measurements)] == (
                [("clean", "c")] if name == "table2" else [("clean", "c"), ("p",)]
            )
    drift = next(iter(tasks.values())).measurements[-1].how
    assert drift.sequences == ("standard-10",)
    assert "sin" not in {key.method for key in plan_tasks(paper(stylised=""), "table2")}


def test_other_tables_of_the_paper():
    for name in ("table6", "figure6"):
        (how,) = {
            task.measurements[-1].how.sequences for task in plan_tasks(paper(), name).values()
        }
        assert how == ("cifar-script-10",)
    figure7 = plan_tasks(paper(), "figure7")
    assert {(key.method, key.seed) for key in figure7} == {
        (method, seed) for method in ("standard", "augmix") for seed in range(3)
    }
    ablation = plan_tasks(paper(), "figure8")
    assert len(ablation) == 26
    changed = {(key.setting, key.value): task.training for key, task in ablation.items()}
    policy: Any = changed["depth", 4].method.policy
    assert (policy.width, policy.depth) == (3, 4)
    assert changed["num_views", 3].method.num_views == 3
    assert {task.network.model for task in changed.values()} == {"wrn-40-2"}


def test_published_files_are_measured_where_they_are_given():
    config = paper(
        official=(Path("c10-c"),), official_cifar100=(Path("c100-c"),), jpeg_quality=85,
        frost_textures=Path("frost"),
    )  # fmt: skip
    for key, task in plan_tasks(config, "table1").items():
        how = task.measurements[0].how
        assert how.official == ((Path("c10-c") if key.data_set == "cifar10" else Path("c100-c")),)
        assert (how.frost_textures, how.jpeg_quality) == (None, None)
    config = replace(config, official=())
    how = next(iter(plan_tasks(config, "table2").values())).measurements[0].how
    assert (how.frost_textures, how.jpeg_quality) == (Path("frost"), 85)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jpeg_quality": 85}, "jpeg_quality 85 would have no effect on table6: .* on ImageNet"),
        ({"data_cifar100": "x"}, "data_cifar100 x would have no effect on table6: .* CIFAR-100"),
        ({"maxblur_weights": Path("w.pth")}, "maxblur_weights w.pth .* table2, table3"),
        ({"tables": ("figure4",), "seeds": 3}, "seeds 3 would have no effect on figure4"),
    ],
)
def test_settings_of_other_tables_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        reproduce(ReproduceConfig(**{"tables": ("table6",), "data": "c10", **settings}))


def test_released_weights_take_the_place_of_a_run():
    config = paper(maxblur_weights=Path("resnet50_lpf5.pth"))
    assert "maxblur" not in {key.method for key in plan_tasks(config, "table2")}

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import load_config, read_weights, toy_config, write_npz

from augmix.errors import Interrupted, RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.models import run_measurement
from augmix.models.weights import load_model
from augmix.paper.config import DemoConfig
from augmix.paper.demo import demo, demo_run
from augmix.progress import Event, OnProgress, PhaseStarted, TrainingStarted
from augmix.results import load_results
from augmix.training.run import open_split, train
from augmix.training.settings import update_config

TOY_DEMO: dict[str, Any] = {"epochs": 1, "max_train_images": 40, "max_images": 10}


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(toy_config(tmp_path_factory.mktemp("trained") / "run"))


def test_the_configuration_is_read_back(trained: Path) -> None:
    config = load_config(trained)
    assert config == toy_config(trained)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is no run folder: it has no config\.json"):
        run_measurement(Measurement(models=(str(tmp_path),)))
    (tmp_path / "config.json").write_text('{"schema": 2, "method": "augmix", "wings": 2}')
    with pytest.raises(RunError, match=r"config\.json: seed is missing; .* train the run again"):
        run_measurement(Measurement(models=(str(tmp_path),)))
    (tmp_path / "config.json").write_text('{"schema": 7}')
    with pytest.raises(RunError, match="schema 2 .it has 7.: use the version"):
        run_measurement(Measurement(models=(str(tmp_path),)))


def test_a_mistake_in_the_data_leaves_no_folder(tmp_path: Path) -> None:
    config = update_config(toy_config(tmp_path / "run"), data=str(tmp_path / "nowhere.npz"))
    with pytest.raises(RunError, match="nowhere"):
        train(config)
    assert not config.run.out.exists()


def test_start_weights_follow_from_the_seed(tmp_path: Path) -> None:
    """The first checkpoint holds the network as torch.manual_seed(seed) makes it."""

    def stop(event: Event) -> None:
        if isinstance(event, TrainingStarted):
            raise Interrupted("stop")

    states = []
    for number, seed in enumerate((0, 0, 1)):
        torch.rand(number)  # whatever was drawn before
        config = toy_config(tmp_path / f"run{number}", seed=seed)
        with pytest.raises(Interrupted):
            train(config, on_progress=stop)
        states.append(torch.load(config.run.out / "state.pt", weights_only=True)["model"])
    same = [torch.equal(states[0][name], states[1][name]) for name in states[0]]
    assert all(same)
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_a_run_is_measured_on_its_own_test_split(trained: Path, tmp_path: Path) -> None:
    how = EvaluateConfig(names=("contrast",), severities=(2, 5), out=tmp_path / "m")
    results = run_measurement(Measurement(models=(str(trained),), how=how))
    assert [(c.name, c.severity) for c in results.cells] == [
        ("clean", 0),
        ("contrast", 2),
        ("contrast", 5),
    ]
    assert (results.model["method"], results.model["seed"]) == ("augmix", 0)
    assert (results.model["label"], results.model["name"]) == ("run", "small")
    assert (results.source["split"], results.source["num_images"]) == ("test", 20)
    assert load_results(tmp_path / "m" / "results.json") == results
    model = load_model(trained)
    source = open_split(load_config(trained), "test")
    images = torch.from_numpy(source.load(np.arange(20)).transpose(0, 3, 1, 2) / np.float32(255))
    with torch.inference_mode():
        wrong = model(images).argmax(dim=1).numpy() != source.labels
    assert results.cells[0].num_errors == wrong.sum()


def test_data_that_moved_is_found_by_name(tmp_path: Path) -> None:
    run = train(toy_config(tmp_path / "run", epochs=1))
    moved = (tmp_path / "toy.npz").rename(tmp_path / "moved.npz")
    config = Measurement(models=(str(run),), how=EvaluateConfig(suite=("clean",), device="cpu"))
    with pytest.raises(RunError, match="toy"):
        run_measurement(config)
    assert run_measurement(replace(config, data=str(moved))).cells
    assert (run / "results.json").exists()


def test_a_model_of_other_classes_is_refused(tmp_path: Path) -> None:
    run = train(toy_config(tmp_path / "run", epochs=1))
    other = write_npz(tmp_path / "other.npz", num_classes=5)
    with pytest.raises(RunError, match="lists 3 classes, but not '3', '4' of the source's 5"):
        run_measurement(Measurement(models=(str(run),), data=str(other)))


def test_part_of_the_training_images_is_the_same_part_for_every_seed(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", max_train_images=6)
    first, second = (open_split(update_config(config, seed=seed), "train") for seed in (0, 1))
    assert len(first) == 6
    assert first.fingerprint == second.fingerprint
    assert len(open_split(config, "test")) == 20


def at_phase(title: str) -> OnProgress:
    def watch(event: Event) -> None:
        if event == PhaseStarted(title=title):
            raise Interrupted("stop")

    return watch


def test_the_demo_trains_on_all_images_by_default() -> None:
    config = demo_run(DemoConfig(), "augmix")
    assert config.data.max_train_images is None
    assert (config.optimisation.epochs, config.optimisation.batch_size) == (14, 100)


@pytest.mark.slow
def test_the_demo_writes_runs_summary_and_report(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    config = DemoConfig(out=tmp_path / "demo", **TOY_DEMO)
    with pytest.raises(Interrupted):
        demo(config, on_progress=at_phase("augmix: measuring"))
    weights = read_weights(config.out / "augmix")
    report = demo(config)
    assert read_weights(config.out / "augmix") == weights
    assert report == config.out / "report.html"
    assert report.stat().st_size > 10_000
    summary = json.loads((config.out / "summary.json").read_text())
    assert set(summary) == {"seconds", "standard", "augmix"}
    assert summary["seconds"] > 0
    for method in ("standard", "augmix"):
        assert set(summary[method]) == {"clean_error", "corruption_error", "rms_calibration_error"}
        results = load_results(config.out / method / "results.json")
        assert results.protocol["preset"] == "imagenet"
        errors = [c.num_errors / c.num_images for c in results.cells if c.suite == "c"]
        assert summary[method]["corruption_error"] == pytest.approx(np.mean(errors))
    assert str(demo_run(config, "augmix").method) == "augmix"

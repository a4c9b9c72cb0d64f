"""Validation images are chosen, measured and kept apart; the best epoch is the one that is kept."""

import contextlib
import json
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_runs import RICH, STEPS_PER_EPOCH, read_log, read_weights, toy_config, write_npz

from augmix.arrays import to_float
from augmix.corruptions import EXTRA_4
from augmix.corruptions.corrupt import corrupt
from augmix.data.derived import subset
from augmix.data.sources import Source, open_source
from augmix.errors import Interrupted, RunError
from augmix.models.weights import load_model, save_model
from augmix.progress import (
    CheckpointWritten,
    EpochValidated,
    Event,
    OnProgress,
    StepFinished,
    TrainingFinished,
)
from augmix.training import loop, validation
from augmix.training.config import TrainConfig
from augmix.training.optimizer import BATCH_NORMS
from augmix.training.run import open_training, train
from augmix.training.settings import build_config, update_config
from augmix.training.validation import match_validation, plan_validation


class Crash(Exception):
    """Stands for anything that ends the process."""


def watched(folder: Path, **changes: Any) -> TrainConfig:
    """A toy run with 8 validation images of a file of its own."""
    data = folder.parent / "val.npz"
    if not data.exists():
        arrays = np.load(write_npz(folder.parent / "more.npz", num_images=24, seed=7))
        np.savez(data, images=arrays["x_test"], labels=arrays["y_test"])
    return toy_config(folder, **{"val": str(data), "learning_rate": 0.02, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with validation that nobody disturbed."""
    return train(watched(tmp_path_factory.mktemp("whole") / "run"))


def records(folder: Path) -> list[dict[str, Any]]:
    return [line["validation"] for line in read_log(folder) if "validation" in line]


def count_errors(model: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> int:
    with torch.no_grad():
        classes = model(torch.from_numpy(to_float(images))).argmax(1).numpy()
    return int((classes != labels).sum())


def test_a_plan_spreads_corruptions_and_severities() -> None:
    plan = plan_validation(400, most_passes=1200, most_corrupted=10**6)
    assert sorted(plan.clean) == list(range(400))
    assert len(plan.corrupted) == 800
    cells = np.bincount(plan.corruption * 5 + plan.severity - 1)
    assert cells.tolist() == [40] * 20
    pairs = set(zip(plan.corrupted.tolist(), plan.corruption.tolist(), strict=True))
    assert len(pairs) == 800  # no image twice under a corruption


def test_a_plan_keeps_to_what_it_may_cost() -> None:
    few = plan_validation(400, most_passes=100, most_corrupted=10**6)
    assert (len(few.clean), len(few.corrupted)) == (50, 50)
    assert len(plan_validation(400, most_passes=10**6, most_corrupted=10**6).corrupted) == 1600
    assert len(plan_validation(400, most_passes=10**6, most_corrupted=30).corrupted) == 30
    least = plan_validation(400, most_passes=0, most_corrupted=10)
    assert (len(least.clean), len(least.corrupted)) == (1, 1)
    decoded = plan_validation(400, most_passes=1000, most_corrupted=10**6, most_clean=30)
    assert (len(decoded.clean), len(decoded.corrupted)) == (30, 120)  # all four of each
    more = plan_validation(400, most_passes=200, most_corrupted=10**6)
    assert set(few.clean) < set(more.clean)


def test_the_log_has_the_errors_of_the_kept_model(whole: Path) -> None:
    found = records(whole)
    assert len(found) == 3
    best = min(range(3), key=lambda i: (found[i]["corrupted_error"], found[i]["clean_error"]))
    assert found[-1]["selected_epoch"] == best + 1
    model = load_model(whole)
    source = open_source("npz", root=whole.parent / "val.npz", split="val")
    # 20 images, 3 views, 3 passes each: 0.085 of 180 passes
    plan = plan_validation(24, most_passes=15, most_corrupted=10**6)
    assert (len(plan.clean), len(plan.corrupted)) == (7, 8)
    clean = count_errors(model, source.load(plan.clean), source.labels[plan.clean])
    assert found[best]["clean_error"] == clean / 7
    wrong = 0
    for index, name, severity in zip(plan.corrupted, plan.corruption, plan.severity, strict=True):
        ids = np.array([index])
        image = corrupt(source.load(ids), EXTRA_4[name], severity=int(severity), ids=ids)
        wrong += count_errors(model, image, source.labels[ids])
    assert found[best]["corrupted_error"] == wrong / 8


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_the_kept_weights_are_those_that_were_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema_decay: float | None
) -> None:
    scores = iter([(5, 5), (3, 6), (4, 2)])
    seen: list[dict[str, torch.Tensor]] = []

    def measure(self: Any, model: torch.nn.Module, *_: Any, **__: Any) -> validation.Score:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        clean, corrupted = next(scores)
        return validation.Score(clean=clean, corrupted=corrupted)

    monkeypatch.setattr(validation.Validation, "measure", measure)
    run = train(watched(tmp_path / "run", select="clean", ema_decay=ema_decay))
    assert [each["selected_epoch"] for each in records(run)] == [1, 2, 2]
    kept = load_model(run).state_dict()
    assert all(torch.equal(kept[name], value) for name, value in seen[1].items())
    assert not all(torch.equal(kept[name], value) for name, value in seen[2].items())


def test_the_average_is_validated_with_statistics_of_its_own(tmp_path: Path) -> None:
    last = train(watched(tmp_path / "last", select="last", ema_decay=0.5))
    plain = train(toy_config(tmp_path / "plain", learning_rate=0.02, ema_decay=0.5))
    ours, theirs = (load_model(run).state_dict() for run in (last, plain))
    for name, value in ours.items():
        is_statistic = "running" in name or "tracked" in name
        assert is_statistic or torch.equal(value, theirs[name]), name
    assert records(last)[-1]["selected_epoch"] == 3


def test_equal_errors_keep_the_earlier_epoch_and_patience_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        validation.Validation, "measure", lambda *_, **__: validation.Score(clean=1, corrupted=1)
    )
    config = watched(tmp_path / "run", epochs=9, patience=2)
    run = train(config)
    assert [each["selected_epoch"] for each in records(run)] == [1, 1, 1]
    before = read_weights(run)
    events: list[Event] = []
    train(config, on_progress=events.append)
    finished = [event for event in events if isinstance(event, TrainingFinished)]
    assert [event.was_finished for event in finished] == [True]
    assert read_weights(run) == before


def test_validation_changes_no_weight(whole: Path, tmp_path: Path) -> None:
    plain = train(toy_config(tmp_path / "run", learning_rate=0.02))
    last = train(watched(tmp_path / "last", select="last"))
    assert read_weights(last) == read_weights(plain)
    assert [line["loss"] for line in read_log(plain)] == [line["loss"] for line in read_log(whole)]


def crash_at(kind: type[Event], number: int) -> OnProgress:
    seen = 0

    def watch(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, kind)
        if isinstance(event, kind) and seen == number:
            raise Crash

    return watch


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("kind", [StepFinished, EpochValidated])
def test_a_crash_changes_neither_a_bit_nor_the_selected_epoch(
    whole: Path, tmp_path: Path, kind: type[Event], number: int
) -> None:
    config = watched(tmp_path / "run")
    number = number * STEPS_PER_EPOCH if kind is StepFinished else number
    with pytest.raises(Crash):
        train(config, on_progress=crash_at(kind, number))
    train(config)
    assert read_weights(config.run.out) == read_weights(whole)
    assert read_log(config.run.out) == read_log(whole)


def test_crashes_change_nothing_where_all_is_averaged_frozen_and_split(tmp_path: Path) -> None:
    """In the second, third and fifth of five epochs, before and after validations."""
    whole = train(toy_config(tmp_path / "whole", **RICH, epochs=5))
    config = toy_config(tmp_path / "run", **RICH, epochs=5)
    for kind, number in ((StepFinished, 3), (EpochValidated, 2), (CheckpointWritten, 2)):
        with pytest.raises(Crash):
            train(config, on_progress=crash_at(kind, number))
    train(config)
    assert read_weights(config.run.out) == read_weights(whole)
    assert read_log(config.run.out) == read_log(whole)
    kept = [each["selected_epoch"] for each in records(whole)]
    assert len(kept) == 5
    frozen = [layer for layer in load_model(whole).modules() if isinstance(layer, BATCH_NORMS)]
    assert frozen[0].num_batches_tracked == 0


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_signal_stops_a_validation_which_is_made_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    config = watched(tmp_path / "run")
    measure = validation.Validation.measure
    monkeypatch.setattr(
        loop, "write_after_signal", partial(loop.write_after_signal, grace_s=seconds or 30.0)
    )

    def interrupted(self: Any, *given: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(2 * seconds)  # longer than a step may take after a signal
        return measure(self, *given, **options)

    monkeypatch.setattr(validation.Validation, "measure", interrupted)
    with pytest.raises(Interrupted, match="stopped by SIGTERM after step 3 of 9"):
        train(config)
    assert records(config.run.out) == []
    monkeypatch.undo()
    train(config)
    assert read_weights(config.run.out) == read_weights(whole)
    assert read_log(config.run.out) == read_log(whole)


def test_without_the_kept_weights_a_run_says_what_is_missing(tmp_path: Path) -> None:
    config = watched(tmp_path / "run")
    with pytest.raises(Crash):
        train(config, on_progress=crash_at(StepFinished, 5))
    (config.run.out / "weights.safetensors").unlink()
    with pytest.raises(RunError, match=r"weights of the selected epoch \d is gone"):
        train(config)


def test_held_out_images_are_not_trained_on(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", val_fraction=0.25, max_train_images=16)
    whole, source, held = open_training(config)
    assert held is not None
    assert (len(whole), len(source), len(held)) == (16, 12, 4)
    names = [[bytes(image) for image in each.load(np.arange(len(each)))] for each in (source, held)]
    assert not set(names[0]) & set(names[1])
    assert open_training(update_config(config, seed=5)).validation.fingerprint == held.fingerprint  # pyright: ignore[reportOptionalMemberAccess]


def test_copies_of_held_out_images_are_left_out_with_them(tmp_path: Path) -> None:
    data = np.load(write_npz(tmp_path / "toy.npz"))
    styled = tmp_path / "styled"
    styled.mkdir()
    np.savez(styled / "train.npz", images=255 - data["x_train"], labels=data["y_train"])
    config = toy_config(tmp_path / "run", method="sin", stylised=str(styled), val_fraction=0.25)
    _, source, held = open_training(config)
    assert held is not None
    copies = {bytes(255 - image) for image in held.load(np.arange(len(held)))}
    assert len(source) == 30
    assert not copies & {bytes(image) for image in source.load(np.arange(len(source)))}
    np.savez(styled / "train.npz", images=data["x_train"][1:], labels=data["y_train"][1:])
    with pytest.raises(RunError, match="copies of held-out ones cannot be left out"):
        open_training(config)


def test_what_is_no_validation_set_is_refused(tmp_path: Path, source: Source) -> None:
    overlapping = subset(source, np.arange(3, 9))
    rest = subset(source, np.array([0, 1, 2, *range(8, 20)]))
    with pytest.raises(RunError, match="1 of the 6 validation images of X are trained on"):
        match_validation(overlapping, rest, where="X")
    assert match_validation(overlapping, subset(source, np.arange(3)), where="X") is overlapping
    small = open_source("npz", root=tmp_path / "toy.npz", split="train", size=8)
    with pytest.raises(RunError, match=r"X are 16x16 pixels of 3 .*training 8x8 of 3; bring"):
        match_validation(overlapping, small, where="X")
    images = np.zeros((2, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "other.npz", images=images, labels=np.array([0, 3]))
    other = open_source("npz", root=tmp_path / "other.npz", split="val")
    with pytest.raises(RunError, match="expected the 3 classes of the training images, got 3"):
        match_validation(other, source, where="X")


def test_validation_images_of_a_folder_named_train_are_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 12, 20, 24, 3), dtype=np.uint8)
    for root, images in zip("ab", noise, strict=True):
        for index, pixels in enumerate(images):
            path = tmp_path / root / "train" / "xy"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    config = build_config(
        data=str(tmp_path / "a" / "train"),
        val=str(tmp_path / "b" / "train"),
        size=16,
        resized_crop=True,
        max_train_images=6,
    )
    _, source, held = open_training(config)
    assert held is not None
    assert (len(source), len(held)) == (6, 12)
    assert source.crop is not None
    assert held.crop is None


def test_classes_go_by_name(tmp_path: Path, source: Source) -> None:
    images = np.zeros((2, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "two.npz", images=images, labels=np.array([0, 1]))
    two = match_validation(
        open_source("npz", root=tmp_path / "two.npz", split="val"), source, where="X"
    )
    assert (two.num_classes, two.labels.tolist()) == (3, [0, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": "x", "val_fraction": 0.1}, "leave out one of them"),
        ({"val_fraction": 1.0}, "val_fraction must be above 0 and below 1, got 1.0"),
        ({"val_fraction": 0.1, "select": "last", "patience": 2}, "needs a selected epoch"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_config(data="digits", **changes)


@pytest.mark.parametrize("changes", [{"patience": 2}, {"select": "clean"}])
def test_settings_without_validation_images(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"would do nothing without validation .*val-fraction 0.1"):
        train(toy_config(tmp_path / "run", **changes))


def test_the_time_is_said(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    for line in (line["validation"] for line in lines if "validation" in line):
        assert line["seconds"] > 0
        assert line["time_fraction"] > 0


def test_frozen_networks_cost_less_to_train(
    tmp_path: Path, source: Source, model: torch.nn.Module
) -> None:
    save_model(tmp_path, model)
    config = toy_config(tmp_path / "run")
    for is_trained, count in ((True, 30), (False, 10)):
        made = validation.prepare_validation(
            source, config, config.method, num_train=40, is_trained=is_trained
        )
        assert len(made.plan.clean) + len(made.plan.corrupted) == count


def test_clean_images_are_decoded_once_where_they_may_be_kept(
    tmp_path: Path, source: Source, model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path / "run")
    loaded: list[int] = []
    load = type(source).load
    monkeypatch.setattr(
        type(source), "load", lambda self, ids: (loaded.append(len(ids)), load(self, ids))[1]
    )

    def measure(most_bytes: int) -> tuple[validation.Validation, Any]:
        monkeypatch.setattr(validation, "_MOST_BYTES", most_bytes)
        made = validation.prepare_validation(
            source, config, config.method, num_train=80, is_trained=True
        )
        loaded.clear()
        how = {"autocast": contextlib.nullcontext(), "is_stopped": lambda: False}
        return made, made.measure(model, torch.device("cpu"), **how)

    whole, expected = measure(10**9)
    assert (len(whole.plan.clean), loaded) == (20, [])
    few, _ = measure(5 * 16 * 16 * 3)  # decoding 0.085 of 80 images would take a tenth of an epoch
    assert len(few.plan.clean) == 6
    assert sum(loaded) == 6
    assert few.clean is None
    assert np.array_equal(whole.clean, source.load(whole.plan.clean))
    monkeypatch.undo()
    clean = count_errors(model.eval(), source.load(whole.plan.clean), source.labels)
    assert expected.clean == clean

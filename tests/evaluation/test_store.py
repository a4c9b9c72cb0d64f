"""The folder of an evaluation: its files, and how an evaluation continues in it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import write_npz

from augmix import corrupt, errors
from augmix.data.sources import Source, open_source
from augmix.errors import ResumeError
from augmix.evaluation.loop import evaluate
from augmix.per_image import (
    HARDEST_FILE,
    images_path,
    load_images,
    load_mistakes,
    load_predictions,
    load_sequence_predictions,
    predictions_path,
)
from augmix.progress import BatchFinished, CellFinished, Event
from augmix.results import Results, load_results, write_results


def measure(model: torch.nn.Module, source: Source, out: Path, **changes: Any) -> Results:
    settings = {
        "names": ("shot_noise", "contrast"),
        "severities": (2, 5),
        "sequences": ("translate", "brightness"),
        "bin_size": 5,
    }
    return evaluate(model, source, out=out, **{**settings, **changes})


def timeless(results: Results) -> Results:
    return replace(
        results,
        provenance={},
        cells=tuple(replace(cell, seconds=0.0) for cell in results.cells),
        sequences=tuple(replace(cell, seconds=0.0) for cell in results.sequences),
    )


def done(events: list[Event]) -> list[tuple[str, int]]:
    return [(e.name, e.severity) for e in events if isinstance(e, CellFinished)]


@pytest.mark.parametrize(
    ("lost", "measured"),
    [
        (("c", "shot_noise", 5), ("shot_noise", 5)),
        (("p", "translate", 0), ("translate", 0)),
        (("clean", "clean", 0), ("clean", 0)),
    ],
)
def test_a_cell_without_its_predictions_is_measured_again(
    model: torch.nn.Module, source: Source, tmp_path: Path, lost: Any, measured: Any
) -> None:
    whole = measure(model, source, tmp_path, suite=("clean", "c", "p"))
    predictions_path(tmp_path, *lost).unlink()
    events: list[Event] = []
    again = measure(model, source, tmp_path, suite=("clean", "c", "p"), on_progress=events.append)
    assert done(events) == [measured]
    assert timeless(again) == timeless(whole)
    assert [cell.name for cell in again.cells] == [cell.name for cell in whole.cells]
    assert predictions_path(tmp_path, *lost).exists()


def test_the_list_of_images_is_written_again(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    measure(model, source, tmp_path, max_images=9)
    ids = load_images(tmp_path).ids.tolist()
    images_path(tmp_path).unlink()
    measure(model, source, tmp_path, max_images=9)
    assert load_images(tmp_path).ids.tolist() == ids


@pytest.mark.parametrize("order", [("c", "p"), ("p", "c")])
def test_a_suite_may_be_added_later(
    model: torch.nn.Module, source: Source, tmp_path: Path, order: tuple[str, str]
) -> None:
    measure(model, source, tmp_path / "later", suite=("clean", order[0]))
    events: list[Event] = []
    added = measure(
        model, source, tmp_path / "later", suite=("clean", order[1]), on_progress=events.append
    )
    assert "clean" not in [name for name, _ in done(events)]
    at_once = measure(model, source, tmp_path / "once", suite=("clean", "c", "p"))
    assert timeless(added) == timeless(at_once)
    files = sorted((tmp_path / "once" / "predictions").iterdir())
    assert len(files) == 8
    for file in files:
        assert file.read_bytes() == (tmp_path / "later" / "predictions" / file.name).read_bytes()
    first, second = (tmp_path / name / "examples.npz" for name in ("later", "once"))
    assert first.read_bytes() == second.read_bytes()
    # asked for again, nothing of the other suite gets lost
    assert measure(model, source, tmp_path / "later", suite=("c",)) == added


def test_what_a_suite_was_measured_with_stays_fixed(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    measure(model, source, tmp_path, suite=("p",))
    with pytest.raises(ResumeError, match="difficulty = 1, this evaluation has 2"):
        measure(model, source, tmp_path, suite=("p",), difficulty=2)
    with pytest.raises(ResumeError, match="sequences = .*, this evaluation has"):
        measure(model, source, tmp_path, suite=("c", "p"), sequences=("translate",))
    with pytest.raises(ResumeError, match="temperature_images = 0, this evaluation has 4"):
        measure(model, source, tmp_path, suite=("c",), temperature_images=4)
    with pytest.raises(ResumeError, match="adaptation = '', this .* has 'batch norm, prior 16'"):
        measure(model, source, tmp_path, suite=("p",), adapt_batch_norm=True)


def test_a_temperature_once_fitted_is_kept(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, CellFinished) and event.done == 2:
            raise KeyboardInterrupt

    settings: dict[str, Any] = {"temperature_images": 6}
    with pytest.raises(errors.RunError, match="stopped after 2 of 5"):
        measure(model, source, tmp_path, **settings, on_progress=stop)
    path = tmp_path / "results.json"
    found = load_results(path)
    assert found.temperature is not None
    write_results(path, replace(found, temperature={**found.temperature, "value": 2.5}))
    results = measure(model, source, tmp_path, **settings)
    assert results.temperature is not None
    assert results.temperature["value"] == 2.5
    last = results.cells[-1]
    assert last.scaled is not None
    # at 2.5 nobody is as sure as before
    assert sum(last.scaled.adaptive.confidence_sum) < sum(last.adaptive.confidence_sum)


def test_results_of_an_earlier_schema_are_refused(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    (tmp_path / "results.json").write_text('{"schema": 2, "cells": []}')
    with pytest.raises(errors.RunError, match="schema 3, got 2; .*evaluate again"):
        measure(model, source, tmp_path)


def test_examples_without_corruptions_hold_clean_images(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    measure(model, source, tmp_path, suite=("clean",))
    with np.load(tmp_path / "examples.npz") as file:
        assert set(file.files) == {"clean", "labels", "ids"}


def test_an_attack_that_was_stopped_or_added_ends_with_the_same_bits(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, BatchFinished) and event.suite == "attack":
            raise KeyboardInterrupt

    own: dict[str, Any] = {"attack_steps": 3, "batch_size": 7}
    once, later = tmp_path / "once", tmp_path / "later"
    whole = measure(model, source, once, suite=("clean", "c", "attack"), **own)
    with pytest.raises(errors.RunError, match="stopped after 1 of 2"):
        measure(model, source, later, suite=("clean", "attack"), **own, on_progress=stop)
    events: list[Event] = []
    measure(model, source, later, suite=("attack",), **own, on_progress=events.append)
    assert done(events) == [("linf", 0)]
    found = measure(model, source, later, suite=("clean", "c"), batch_size=7)
    assert timeless(found) == timeless(whole)
    assert [cell.suite for cell in found.cells] == ["clean", *4 * ["c"], "attack"]
    for file in (once / "predictions").iterdir():
        assert file.read_bytes() == (later / "predictions" / file.name).read_bytes()
    assert load_results(later / "results.json") == found


def test_results_of_another_attack_are_refused(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"suite": ("attack",), "attack_steps": 2}
    measure(model, source, tmp_path, **settings)
    for changes, message in (
        ({"attack_norm": "l2"}, "attack_norm = 'linf', this evaluation has 'l2'"),
        ({"attack_steps": 3}, "attack_steps = 2, this evaluation has 3"),
        ({"attack_restarts": 2}, "attack_restarts = 1, this evaluation has 2"),
        ({"seed": 1}, "seed = 0, this evaluation has 1"),
    ):
        with pytest.raises(ResumeError, match=message):
            measure(model, source, tmp_path, **{**settings, **changes})


def test_results_without_an_attack_are_written_as_before(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    measure(model, source, tmp_path, suite=("clean",))
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["schema"] == 3
    del content["provenance"]  # the command that ran the tests
    assert "attack" not in json.dumps(content)


class Guess(torch.nn.Module):
    """Classes by brightness, so that corruptions of it err."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        level = images.mean((1, 2, 3))
        centres = torch.tensor([0.3, 0.5, 0.7])
        return -((level[:, None] - centres) ** 2) * 50


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hardest")
    source = open_source("npz", root=write_npz(folder / "toy.npz"), split="test")
    evaluate(
        Guess(),
        source,
        suite=("clean", "c", "p"),
        names=("brightness", "contrast"),
        sequences=("brightness",),
        out=folder / "out",
    )
    return folder / "out"


def test_most_often_wrong_and_flipped(measured: Path):
    with np.load(measured / HARDEST_FILE) as file:
        kept = {name: file[name] for name in file.files}
    images = load_images(measured)
    wrong = {
        name: sum(
            load_predictions(measured, "c", name, s).prediction != images.labels
            for s in range(1, 6)
        )
        for name in ("brightness", "contrast")
    }
    flips = load_sequence_predictions(measured, "brightness").flips
    total = wrong["brightness"] + wrong["contrast"]
    assert total.max() > 0
    positions = {int(number): row for row, number in enumerate(images.ids)}
    assert list(kept["ids"]) == sorted(set(kept["ids"].tolist()))
    for score, num in ((total, 12), (flips, 12), (wrong["brightness"], 4), (wrong["contrast"], 4)):
        order = [row for row in np.argsort(-score.astype(float), kind="stable") if score[row] > 0]
        assert {int(images.ids[row]) for row in order[:num]} <= set(kept["ids"].tolist())
    for number, label, count in zip(kept["ids"], kept["labels"], kept["errors"], strict=True):
        assert label == images.labels[positions[int(number)]]
        assert count == total[positions[int(number)]]
    assert kept["images"].dtype == np.uint8
    assert kept["images"].shape == (len(kept["ids"]), 16, 16, 3)


def test_the_examples_have_their_ids(measured: Path):
    with np.load(measured / "examples.npz") as file, np.load(measured / HARDEST_FILE) as hard:
        assert len(file["ids"]) == len(file["clean"])
        shared = set(file["ids"].tolist()) & set(hard["ids"].tolist())
        for number in shared:
            one = file["clean"][file["ids"].tolist().index(number)]
            assert np.array_equal(one, hard["images"][hard["ids"].tolist().index(number)])


def test_the_most_confident_mistakes_are_kept_as_the_model_saw_them(measured: Path):
    kept = load_mistakes(measured)
    images = load_images(measured)
    source = open_source("npz", root=measured.parent / "toy.npz", split="test")
    clean = load_predictions(measured, "clean", "clean", 0)
    wrong = np.where(clean.prediction != images.labels, clean.confidence, 0)
    is_clean = kept["severities"] == 0
    number = min(12, int((wrong > 0).sum()))
    assert (~is_clean).sum() > 0
    np.testing.assert_array_equal(kept["confidence"][is_clean], np.sort(wrong)[::-1][:number])
    surest = np.zeros(len(images.ids))
    for name in ("brightness", "contrast"):
        for severity in range(1, 6):
            found = load_predictions(measured, "c", name, severity)
            surest = np.maximum(
                surest, np.where(found.prediction != images.labels, found.confidence, 0)
            )
    np.testing.assert_allclose(
        kept["confidence"][~is_clean], np.sort(surest[surest > 0])[::-1][:12]
    )
    for index in range(len(kept["ids"])):
        number, severity = int(kept["ids"][index]), int(kept["severities"][index])
        expected = source.load(np.array([number]))
        if severity:
            name = str(kept["names"][index])
            expected = corrupt(expected, name, severity=severity, ids=np.array([number]))
            own = load_predictions(measured, "c", name, severity)
            assert own.prediction[images.ids == number] == kept["predictions"][index]
        np.testing.assert_array_equal(kept["images"][index], expected[0])
    evaluate(Guess(), source, suite=("clean", "attack"), attack_steps=1, out=measured)
    np.testing.assert_array_equal(load_mistakes(measured)["confidence"], kept["confidence"])


class Scored(Guess):
    """`Guess` whose code and hidden weights may differ without a tensor of its state."""

    def __init__(self, factor: float = 1.0, order: tuple[int, ...] = (0, 1, 2), noise: float = 0):
        super().__init__()
        self.factor, self.order, self.noise = factor, list(order), noise

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.factor * super().forward(images)[:, self.order]
        return logits + self.noise * torch.randn_like(logits)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ({}, {"factor": 1.05}, False),
        ({}, {"order": (0, 2, 1)}, False),
        ({}, {"factor": float("nan")}, False),
        ({}, {"factor": 1 + 1e-5}, True),  # as another processor rounds
        ({"noise": 0.5}, {"noise": 0.5}, True),
        ({"noise": 0.5}, {"noise": 0.6}, False),
    ],
    ids=["factor", "order", "nan", "rounding", "random", "noise"],
)
def test_results_belong_to_what_the_model_computes(
    source: Source, tmp_path: Path, first: Any, second: Any, is_same: bool
) -> None:
    measure(Scored(**first), source, tmp_path, suite=("clean",))
    if is_same:
        measure(Scored(**second), source, tmp_path, suite=("clean", "c"))
        return
    with pytest.raises(ResumeError, match="computes other logits .*, this one .*another --out"):
        measure(Scored(**second), source, tmp_path, suite=("clean", "c"))
    assert len(load_results(tmp_path / "results.json").cells) == 1

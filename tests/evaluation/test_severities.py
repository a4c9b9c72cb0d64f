"""Severities at which a model loses stated points, on a model whose losses are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from augmix import calibrate_severity, evaluate, register_corruption
from augmix.corruptions.presets import load_preset
from augmix.corruptions.registry import CORRUPTIONS
from augmix.errors import Interrupted, ResumeError, RunError
from augmix.evaluation import severities
from augmix.evaluation.config import CalibrateOptions
from augmix.progress import Note

LEVELS = np.arange(100, 200)  # of 100 grey images


class Bright(torch.nn.Module):
    """Says class 1 for images brighter than half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    images = np.repeat(LEVELS.astype(np.uint8), 16 * 16 * 3).reshape(100, 16, 16, 3)
    return images, (LEVELS / 255 > 0.5).astype(np.int64)


@pytest.fixture
def darker():
    """Subtracts grey levels: of the 72 bright images as many are lost, in the order of levels."""

    @register_corruption("darker", severities=(2, 4, 20, 30, 40))
    def darker(image: np.ndarray, levels: float, *, generator: Any) -> np.ndarray:
        return np.clip(np.round(image - float(levels)), 0, 255).astype(np.uint8)

    yield "darker"
    CORRUPTIONS.pop("darker")


def lost(levels: float) -> int:
    """Points that are lost by a plain count."""
    changed = np.round(LEVELS - levels) / 255 > 0.5
    return int(((LEVELS / 255 > 0.5) & ~changed).sum())


def test_the_losses_of_a_known_model(data: Any, darker: str, tmp_path: Path) -> None:
    out = tmp_path / "own.json"
    how: dict[str, Any] = {"names": (darker,), "device": "cpu", "tolerance": 0.4}
    notes: list[str] = []
    preset = calibrate_severity(
        Bright(),
        data,
        drop=(3, 10, 25, 60, 70),
        out=out,
        on_progress=lambda event: notes.append(getattr(event, "text", "")),
        **how,
    )
    rows = preset.table[darker]
    assert [lost(row[0]) for row in rows if row] == [3, 10, 25, 60, 70]
    content = json.loads(out.read_text())["calibration"]
    assert content["model"]["clean_accuracy"] == 1.0
    found = content["corruptions"][darker]
    assert [each["achieved"] for each in found] == pytest.approx([3, 10, 25, 60, 70])
    assert all(each["low"] < each["achieved"] < each["high"] for each in found)
    # 25 lies between severity 3 (20 levels) and 4 (30), 60 beyond 5 (40): 10 levels a severity
    assert 3 < found[2]["position"] < 4
    assert rows[2] == pytest.approx((20 + 10 * (found[2]["position"] - 3),))
    assert found[3]["position"] == pytest.approx(5 + (rows[3][0] - 40) / 10)
    assert notes[0] == "clean accuracy 100.00 % on 100 images"
    assert list(severities.lines(out)) == ["beyond the published severity 5: darker"]
    # the same images with the preset have these errors exactly
    results = evaluate(Bright(), data, preset=out, names=(darker,), suite=("c",), device="cpu")
    assert [cell.num_errors for cell in results.cells] == [3, 10, 25, 60, 70]


def test_losses_that_are_not_reached(data: Any, darker: str, tmp_path: Path) -> None:
    out = tmp_path / "own.json"
    how: dict[str, Any] = {"names": (darker,), "device": "cpu", "tolerance": 0.4}
    preset = calibrate_severity(Bright(), data, drop=(1, 30, 95), out=out, **how)
    assert preset.levels(darker) == (2,)
    low, _, high = json.loads(out.read_text())["calibration"]["corruptions"][darker]
    assert low["reason"] == "loses 2.0 at its mildest"  # the function has no origin
    assert high["reason"] == "loses at most 72.0"
    assert next(severities.lines(out)) == (
        "not reached: darker 1 (loses 2.0 at its mildest), 95 (loses at most 72.0)"
    )
    with pytest.raises(RunError, match="no corruption reaches a loss of 95 points"):
        calibrate_severity(Bright(), data, drop=(95,), **how)


def test_published_corruptions_start_from_the_image(data: Any) -> None:
    how: dict[str, Any] = {"preset": "imagenet", "device": "cpu", "drop": (5, 20)}
    preset = calibrate_severity(Bright(), data, names=("brightness", "contrast"), **how)
    # the images that are dark become bright, which loses at most 28 points
    for row, drop in zip(preset.table["brightness"], (5, 20), strict=True):
        shifted = np.clip(LEVELS / 255 + row[0], 0, 1) * 255 // 1
        wrong = (shifted / 255 > 0.5) != (LEVELS / 255 > 0.5)
        assert abs(int(wrong.sum()) - drop) <= 1
    assert all(0 < row[0] < 0.1 for row in preset.table["brightness"])  # below severity 1
    assert "contrast" not in preset.table  # keeps the mean


def test_a_search_is_continued(
    data: Any, darker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, searched = tmp_path / "own.json", []
    how: dict[str, Any] = {"names": ("brightness", darker), "device": "cpu", "drop": (5, 20)}
    plain = severities._Search.find

    def find(self: Any, corruption: Any) -> Any:
        searched.append(corruption.name)
        if searched == ["brightness", darker]:
            raise KeyboardInterrupt
        return plain(self, corruption)

    monkeypatch.setattr(severities._Search, "find", find)
    with pytest.raises(Interrupted, match="stopped after 1 of 2; start the same command again"):
        calibrate_severity(Bright(), data, out=out, **how)
    with pytest.raises(ResumeError, match="of another search, with seed = 0, asked for 1"):
        calibrate_severity(Bright(), data, out=out, seed=1, **how)
    preset = calibrate_severity(Bright(), data, out=out, **how)
    assert searched == ["brightness", darker, darker]
    assert [path.name for path in tmp_path.iterdir()] == ["own.json"]
    assert load_preset(out).sha256 == preset.sha256
    assert calibrate_severity(Bright(), data, **how).sha256 == preset.sha256  # in one go
    notes: list[Any] = []
    calibrate_severity(Bright(), data, out=out, on_progress=notes.append, **how)
    assert notes == [Note(text=f"{out} is complete")]
    other = Bright()
    other.forward = lambda images: 2 * Bright.forward(other, images)
    with pytest.raises(ResumeError, match="computes other logits for the same images"):
        calibrate_severity(other, data, out=out, **how)
    with pytest.raises(ResumeError, match="of another search, with drops"):
        calibrate_severity(Bright(), data, out=out, **(how | {"drop": (5, 30)}))


@pytest.mark.parametrize("drop", [(), (10, 10), (20, 10), (0, 10), (50, 100), (1, 2, 3, 4, 5, 6)])
def test_drops_that_make_no_sense(drop: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one to five growing numbers"):
        CalibrateOptions(drop=drop)


@pytest.mark.parametrize("out", ["own.toml", "own"])
def test_a_preset_is_written_as_json_alone(out: str) -> None:
    with pytest.raises(ValueError, match=f"a file NAME.json, got .*{out}"):
        CalibrateOptions(out=Path(out))


def test_parameters_that_are_no_numbers_are_refused_first(data: Any, tmp_path: Path) -> None:
    @register_corruption("filtered", severities=("box", "hamming", "bicubic", "nearest", "lanczos"))
    def filtered(image: np.ndarray, name: str, *, generator: Any) -> np.ndarray:
        raise AssertionError("never called")

    try:
        with pytest.raises(RunError, match="filtered has the parameter 'box' at severity 1, which"):
            calibrate_severity(Bright(), data, names=("filtered",), device="cpu")
    finally:
        CORRUPTIONS.pop("filtered")

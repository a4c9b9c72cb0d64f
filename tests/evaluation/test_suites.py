"""The cells of every suite, and their images against the function that makes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from augmix.corruptions import CIFAR_SCRIPT_10, PAPER_15, STANDARD_10, frost
from augmix.corruptions.corrupt import corrupt, photograph_frames
from augmix.data.folders import open_photographs
from augmix.data.sources import Source, open_source
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.loop import evaluate
from augmix.evaluation.suites import CLEAN, SUITES, Suite, list_cells, open_suites, register_suite
from augmix.results import CellKey, load_predictions

IDS = np.array([7, 2])


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Six photographs of several sizes in two classes."""
    rng = np.random.default_rng(0)
    for index in range(6):
        place = tmp_path / "photographs" / "test" / ("ant", "bee")[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (90 + index, 100 - index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{index}.png")
    return tmp_path / "photographs"


def write_textures(folder: Path, seed: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for name in frost.PHOTOGRAPHS:
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def open_suite(name: str, source: Source, **settings: Any) -> Suite:
    photographs = settings.pop("photographs", None)
    config = EvaluateConfig(suite=(name,), seed=3, **settings)
    return open_suites(config, source, photographs=photographs)[name]


def test_cells_are_listed_suite_by_suite_each_once() -> None:
    config = EvaluateConfig(
        suite=("p", "c", "clean"), names=("fog", "fog"), severities=(5, 1), sequences=("tilt",)
    )
    assert list_cells(config) == [CLEAN, ("c", "fog", 5), ("c", "fog", 1), ("p", "tilt", 0)]


def test_lists_of_names_stand_for_their_names() -> None:
    corrupted = list_cells(EvaluateConfig(suite=("c",), severities=(3,)))
    assert [key.name for key in corrupted] == list(PAPER_15)
    sequences = ("cifar-script-10", "snow")
    perturbed = list_cells(EvaluateConfig(suite=("p",), sequences=sequences))
    assert [key.name for key in perturbed] == [*CIFAR_SCRIPT_10, "snow"]
    assert set(STANDARD_10) < {key.name for key in perturbed}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"suite": ("clean", "d")}, "suite must be of clean, c, p, attack, fourier; got 'd'"),
        ({"suite": ()}, "nothing to measure"),
        ({"names": ("fogg",)}, "unknown corruption 'fogg', did you mean 'fog'"),
        ({"severities": (6,)}, "severity must be 1..5, got 6"),
        ({"severities": (0,)}, "severity must be 1..5, got 0"),
        ({"suite": ("p",), "sequences": ("tlit",)}, "perturbation 'tlit', did you mean 'tilt'"),
        ({"suite": ("c",), "severities": ()}, "nothing to measure"),
        ({"suite": ("attack",), "attack_restarts": 0}, "attack_restarts must be 1..1024, got 0"),
        ({"suite": ("attack",), "attack_epsilon": -1.0}, "epsilon must be a finite number"),
        ({"suite": ("attack",), "attack_steps": 0}, "num_steps must be at least 1, got 0"),
    ],
)
def test_unknown_cells_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list_cells(EvaluateConfig(**settings))


def test_clean_and_corrupted_images_are_those_of_their_ids(source: Source) -> None:
    clean = source.load(IDS)
    assert np.array_equal(open_suite("clean", source).images(CLEAN, IDS), clean)
    damaged = corrupt(clean, "fog", severity=4, preset="tiny", seed=3, ids=IDS)
    suite = open_suite("c", source, preset="tiny")
    assert np.array_equal(suite.images(CellKey("c", "fog", 4), IDS), damaged)


def test_frames_are_as_large_as_the_images(source: Source) -> None:
    suite = open_suite("p", source, preset="imagenet")
    assert suite.images(CellKey("p", "tilt", 0), IDS).shape == (2, 31, 16, 16, 3)
    translate = CellKey("p", "translate", 0)
    assert suite.num_frames(translate) == suite.images(translate, IDS).shape[1] == 41


def test_photographs_make_the_published_frames(photographs: Path) -> None:
    source = open_source("folder", root=photographs, split="test", size=64)
    found = open_photographs(photographs, split="test")
    suite = open_suite("p", source, preset="tiny", photographs=found)
    frames = suite.images(CellKey("p", "rotate", 0), np.array([4]))
    expected = photograph_frames(found.load_one(4), "rotate", preset="tiny", seed=3, sample=4)
    assert np.array_equal(frames[0], np.stack(list(expected)))
    assert suite.describe()["frames_of"] == "photographs at their size"


def test_a_suite_can_be_added(
    model: torch.nn.Module, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUITES, "dark", Suite)  # forgets the suite at the end

    @register_suite("dark")
    class Dark(Suite):
        @classmethod
        def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
            return [CellKey("dark", name, 0) for name in ("half", "black")]

        def images(self, key: CellKey, ids: np.ndarray) -> np.ndarray:
            return self.source.load(ids) // 2 if key.name == "half" else 0 * self.source.load(ids)

        def describe(self) -> dict[str, Any]:
            return {"darkness": "by division"}

    settings: dict[str, Any] = {"bin_size": 5, "out": tmp_path}
    evaluate(model, source, suite=("clean",), **settings)
    results = evaluate(model, source, suite=("clean", "dark"), **settings)
    assert [cell.key for cell in results.cells] == [
        CLEAN,
        ("dark", "half", 0),
        ("dark", "black", 0),
    ]
    assert results.protocol["darkness"] == "by division"
    assert len(set(load_predictions(tmp_path, "dark", "black", 0).prediction)) == 1


def test_the_textures_of_frost_are_used_and_recorded(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    folders = [write_textures(tmp_path / str(seed), seed) for seed in (1, 2)]
    settings: dict[str, Any] = {"suite": ("c",), "names": ("frost",), "severities": (5,)}
    drawn, first, second = (
        evaluate(model, source, **settings, frost_textures=folder) for folder in (None, *folders)
    )
    assert drawn.protocol["frost_textures"] == f"drawn by augmix, sha256 {frost.fingerprint()}"
    given = f"photographs, sha256 {frost.fingerprint(folders[0])}"
    assert first.protocol["frost_textures"] == given
    sums = {results.cells[0].nll_sum for results in (drawn, first, second)}
    assert len(sums) == 3
    assert open_suite("c", source, names=("fog",)).describe()["frost_textures"] == ""


def test_corrupted_images_may_be_coded_once_more(source: Source) -> None:
    suite = open_suite("c", source, preset="tiny", jpeg_quality=85)
    clean = source.load(IDS)
    damaged = corrupt(clean, "fog", severity=4, preset="tiny", seed=3, ids=IDS, jpeg_quality=85)
    assert np.array_equal(suite.images(CellKey("c", "fog", 4), IDS), damaged)
    assert not np.array_equal(damaged, corrupt(clean, "fog", severity=4, preset="tiny", seed=3))
    assert suite.describe()["jpeg_quality"] == 85


def test_photographs_of_another_set_are_refused(
    model: torch.nn.Module, source: Source, photographs: Path
) -> None:
    found = open_photographs(photographs, split="test")
    with pytest.raises(ValueError, match="must be the 20 images of the source, got 6"):
        evaluate(model, source, suite=("p",), photographs=found)

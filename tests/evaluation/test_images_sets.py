"""The images of every spot: each against the function that makes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from augmix.corruptions import frost
from augmix.corruptions.corrupt import corrupt
from augmix.corruptions.perturb import photograph_frames
from augmix.data.folders import open_photographs
from augmix.data.sources import Source, open_source
from augmix.evaluation.images import Sets
from augmix.evaluation.loop import evaluate
from augmix.results import CellKey

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


def test_clean_and_corrupted_images_are_those_of_their_ids(source: Source) -> None:
    sets = Sets(source=source, preset="tiny", seed=3)
    clean = source.load(IDS)
    assert np.array_equal(sets.images(CellKey("clean", "clean", 0), IDS), clean)
    damaged = corrupt(clean, "fog", severity=4, preset="tiny", seed=3, ids=IDS)
    assert np.array_equal(sets.images(CellKey("c", "fog", 4), IDS), damaged)


def test_frames_are_as_large_as_the_images(source: Source) -> None:
    sets = Sets(source=source, preset="imagenet", seed=3)
    assert sets.frames("tilt", IDS).shape == (2, 31, 16, 16, 3)
    assert sets.num_frames("translate") == sets.frames("translate", IDS).shape[1] == 41


def test_photographs_make_the_published_frames(photographs: Path) -> None:
    source = open_source("folder", root=photographs, split="test", size=64)
    found = open_photographs(photographs, split="test")
    sets = Sets(source=source, preset="tiny", seed=3, photographs=found)
    frames = sets.frames("rotate", np.array([4]))
    expected = photograph_frames(found.load_one(4), "rotate", preset="tiny", seed=3, sample=4)
    assert np.array_equal(frames[0], np.stack(list(expected)))
    assert sets.describe([CellKey("p", "rotate", 0)])["frames_of"] == "photographs at their size"


def test_the_textures_of_frost_are_used_and_recorded(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    folders = [write_textures(tmp_path / str(seed), seed) for seed in (1, 2)]
    settings: dict[str, Any] = {"suite": ("c",), "names": ("frost",), "severities": (5,)}
    drawn, first, second = (
        evaluate(model, source, **settings, frost_textures=folder) for folder in (None, *folders)
    )
    assert drawn.protocol["frost_textures"] == f"drawn by augmix, sha256 {frost.fingerprint()}"
    told = f"photographs, sha256 {frost.fingerprint(folders[0])}"
    assert first.protocol["frost_textures"] == told
    sums = {results.cells[0].nll_sum for results in (drawn, first, second)}
    assert len(sums) == 3
    spots = (CellKey("c", "fog", 1),)
    assert Sets(source=source, preset="tiny", seed=0).describe(spots)["frost_textures"] == ""


def test_corrupted_images_may_be_coded_once_more(model: torch.nn.Module, source: Source) -> None:
    sets = Sets(source=source, preset="tiny", seed=3, jpeg_quality=85)
    clean = source.load(IDS)
    damaged = corrupt(clean, "fog", severity=4, preset="tiny", seed=3, ids=IDS, jpeg_quality=85)
    assert np.array_equal(sets.images(CellKey("c", "fog", 4), IDS), damaged)
    assert not np.array_equal(damaged, corrupt(clean, "fog", severity=4, preset="tiny", seed=3))
    assert np.array_equal(sets.images(CellKey("clean", "clean", 0), IDS), clean)
    assert sets.describe((CellKey("c", "fog", 4),))["jpeg_quality"] == 85
    with pytest.raises(ValueError, match=r"jpeg_quality must be 1\.\.100, got 101"):
        evaluate(model, source, jpeg_quality=101)


def test_photographs_of_another_set_are_refused(
    model: torch.nn.Module, source: Source, photographs: Path
) -> None:
    found = open_photographs(photographs, split="test")
    with pytest.raises(ValueError, match="must be the 20 images of the source, got 6"):
        evaluate(model, source, suite=("p",), photographs=found)

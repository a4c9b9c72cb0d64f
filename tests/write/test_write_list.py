"""The list of a written set: rows name images that are what they say."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmix.corruptions.corrupt import corrupt, perturb
from augmix.data.sources import Source, open_source
from augmix.errors import RunError
from augmix.evaluation.predictions import evaluate_predictions
from augmix.write import CorruptOptions, PerturbOptions
from augmix.write.sets import write_corrupted, write_perturbed


@pytest.fixture
def source(tmp_path: Path) -> Source:
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    path = tmp_path / "clean.npz"
    np.savez(path, images=images, labels=np.array([1, 0, 1, 1, 0]), class_names=["ant", "bee"])
    return open_source("npz", root=path, split="test")


def read(folder: Path) -> list[dict[str, str]]:
    with open(folder / "list.csv", newline="") as file:
        return list(csv.DictReader(file))


def pixels(folder: Path, row: dict[str, str]) -> np.ndarray:
    path = folder / row["path"]
    if path.suffix != ".npy":
        return np.asarray(Image.open(path))
    images = np.load(path)[int(row["row"])]
    return images[int(row["frame"])] if row["frame"] else images


def test_rows_name_the_images_of_arrays(source: Source, tmp_path: Path) -> None:
    list_folder = tmp_path / "list"
    options = CorruptOptions(names=("fog", "contrast"), num_processes=1, manifest=list_folder)
    write_corrupted(source, tmp_path / "set", options)
    rows = read(list_folder)
    assert len(rows) == 5 + 2 * 5 * 5
    clean = source.load(np.arange(5))
    for row in (rows[0], rows[3], rows[5], rows[29], rows[54]):
        index, level = int(row["id"]), int(row["severity"])
        assert int(row["label"]) == source.labels[index]
        expected = clean[index]
        if row["suite"] == "c":
            ids = np.array([index])
            expected = corrupt(clean[ids], row["corruption"], severity=level, ids=ids)[0]
        np.testing.assert_array_equal(pixels(list_folder, row), expected)
    before = (list_folder / "list.csv").read_bytes()
    write_corrupted(source, tmp_path / "set", options)  # the same list again
    assert (list_folder / "list.csv").read_bytes() == before
    (list_folder / "list.csv").write_bytes(before.replace(b"\n", b",1\n"))  # filled in
    with pytest.raises(RunError, match=r"list.csv is another list, or was changed"):
        write_corrupted(source, tmp_path / "set", options)


def test_rows_name_the_files_of_a_tree(source: Source, tmp_path: Path) -> None:
    list_folder = tmp_path / "list"
    options = CorruptOptions(
        names=("fog",), severities=(2,), layout="imagenet", num_processes=1, manifest=list_folder
    )
    write_corrupted(source, tmp_path / "set", options)
    rows = read(list_folder)
    assert [row["id"] for row in rows] == [*"0123401234"]
    assert rows[7]["path"] == "../set/fog/2/bee/00000002.JPEG"
    assert pixels(list_folder, rows[7]).shape == (16, 16, 3)
    inside = CorruptOptions(names=("fog",), num_processes=1, manifest=tmp_path / "a/list")
    with pytest.raises(RunError, match="lies in the set"):
        write_corrupted(source, tmp_path / "a", inside)


@pytest.mark.parametrize("by_value", [False, True])
def test_rows_name_folders_of_severities(source: Source, tmp_path: Path, by_value: bool) -> None:
    list_folder = tmp_path / "list"
    options = CorruptOptions(
        names=("ripple",),
        layout="imagenet",
        value_folders=by_value,
        num_processes=1,
        manifest=list_folder,
    )
    write_corrupted(source, tmp_path / "set", options)
    rows = read(list_folder)
    assert {row["path"].split("/")[3] for row in rows[5:]} == (
        {"5.50", "6.00", "6.50", "7.50", "8.00"} if by_value else set("12345")
    )
    assert all((list_folder / row["path"]).is_file() for row in rows)


@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_frames_are_listed_and_read_back(source: Source, tmp_path: Path, layout: str) -> None:
    list_folder = tmp_path / "list"
    options = PerturbOptions(
        names=("shot_noise", "brightness"),
        difficulty=2,
        layout="imagenet" if layout == "imagenet" else "cifar",
        num_processes=1,
        manifest=list_folder,
    )
    write_perturbed(source, tmp_path / "set", options)
    rows = read(list_folder)
    row = rows[3 * 31 + 4]  # of image 3
    assert (row["id"], row["corruption"], row["frame"]) == ("3", "shot_noise", "4")
    assert "shot_noise_2" in row["path"]
    if layout == "cifar":
        ids = np.array([3])
        frames = perturb(source.load(ids), "shot_noise", ids=ids, difficulty=2)
        np.testing.assert_array_equal(pixels(list_folder, row), frames[0, 4])
    keys = ("id", "label", "suite", "corruption", "severity", "frame")
    columns = {key: np.array([row[key] for row in rows]) for key in keys}
    answers = np.array([pixels(list_folder, row).mean() > 127 for row in rows]).astype(int)
    confidence = np.full(len(rows), 0.75)
    found = evaluate_predictions(
        columns | {"prediction": answers, "confidence": confidence}, difficulty=2
    )
    assert [cell.name for cell in found.sequences] == ["shot_noise", "brightness"]
    expected = answers[: 5 * 31].reshape(5, 31)
    assert found.sequences[0].num_flips == (expected[:, 1:] != expected[:, :1]).sum()

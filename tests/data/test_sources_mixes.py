"""Mixed sets: every image from its own part, and parts that do not fit refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmix.data.sources import Source, mix, open_source, open_stylised, subset, take
from augmix.errors import RunError

NAMES = np.array(["ant", "bee", "cow"])


def write(path: Path, count: int, *, seed: int, side: int = 6, names=NAMES, channels: int = 3):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    labels = np.arange(count) % len(names)
    np.savez(path, images=images, labels=labels, class_names=names)
    return images, labels


def open_npz(path: Path) -> Source:
    return open_source("npz", root=path, split="train")


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Source, Source]:
    write(tmp_path / "train.npz", 5, seed=0)
    write(tmp_path / "other.npz", 4, seed=1)
    return open_npz(tmp_path / "train.npz"), open_npz(tmp_path / "other.npz")


def test_images_and_labels_come_from_their_part(parts):
    first, second = parts
    both = mix(first, second)
    assert len(both) == 9
    ids = np.array([8, 0, 5, 4, 5, 2])
    images = both.load(ids)
    for image, number in zip(images, ids, strict=True):
        part, row = (first, number) if number < 5 else (second, number - 5)
        np.testing.assert_array_equal(image, part.load(np.array([row]))[0])
        assert both.labels[number] == part.labels[row]
    assert both.load(np.array([], np.int64)).shape == (0, 6, 6, 3)
    with pytest.raises(IndexError):
        both.load(np.array([9]))


def test_it_is_a_source_like_the_first(parts):
    both = mix(*parts)
    assert isinstance(both, Source)
    for name in ("name", "split", "class_names", "size", "channels", "crop_padding", "flip"):
        assert getattr(both, name) == getattr(parts[0], name)
    assert both.num_classes == 3
    assert both.skipped == ()
    assert len(take(both, 4)) == 4
    np.testing.assert_array_equal(
        subset(both, np.array([6])).load(np.array([0])), parts[1].load(np.array([1]))
    )


def test_the_fingerprint_tells_of_both_parts_and_their_shares(parts):
    first, second = parts
    prints = [
        mix(first, second).fingerprint,
        mix(second, first).fingerprint,
        mix(first, first).fingerprint,
        mix(first, subset(second, np.arange(3))).fingerprint,
        mix(subset(first, np.arange(4)), second).fingerprint,
        first.fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert mix(first, second).fingerprint == prints[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": NAMES[:2]}, "expected classes 3, got 2 in source 'npz'"),
        ({"names": NAMES[::-1]}, "expected class 0 ant, got cow in source"),
        ({"side": 7}, r"height and width \(6, 6\), got \(7, 7\)"),
        ({"channels": 1}, "expected channels 3, got 1"),
    ],
    ids=["number", "names", "size", "channels"],
)
def test_what_does_not_fit_is_refused(parts, tmp_path: Path, changes, message: str):
    write(tmp_path / "wrong.npz", 4, seed=1, **changes)
    with pytest.raises(RunError, match=message):
        mix(parts[0], open_npz(tmp_path / "wrong.npz"))


def test_stylised_sets_in_every_layout(parts, tmp_path: Path):
    first = parts[0]
    images, labels = write(tmp_path / "archive.npz", 4, seed=7)
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "train.npz", 4, seed=7)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "tree" / str(NAMES[label])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    for name in ("archive.npz", "folder", "tree"):
        found = mix(first, open_stylised(tmp_path / name, first))
        loaded = found.load(np.arange(5, 9))
        order = [0, 3, 1, 2] if name == "tree" else [0, 1, 2, 3]  # trees go class by class
        np.testing.assert_array_equal(loaded, images[order])
        np.testing.assert_array_equal(found.labels[5:], labels[order])


def test_a_missing_stylised_set_is_named(parts, tmp_path: Path):
    with pytest.raises(RunError, match="nowhere"):
        open_stylised(tmp_path / "nowhere", parts[0])

import zipfile
from typing import Any

import numpy as np
import pytest

from augmix.data.sources import open_source
from augmix.errors import RunError


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_images_and_labels(tmp_path, pixels):
    path = write(tmp_path / "set.npz", images=pixels, labels=np.arange(12, dtype=np.uint8))
    source = open_source("npz", root=path)
    assert np.array_equal(source.load(np.array([3, 1])), pixels[[3, 1]])
    assert source.labels.tolist() == list(range(12))
    assert (source.num_classes, source.class_names[11]) == (12, "11")
    assert (source.size, source.channels, source.crop_padding) == ((8, 10), 3, 1)


def test_splits_in_one_file_count_the_same_classes(tmp_path, pixels):
    path = write(
        tmp_path / "set.npz",
        x_train=pixels[:8],
        y_train=np.array([[0], [1]] * 4),
        x_test=pixels[8:],
        y_test=np.array([[4], [1], [1], [0]]),
    )
    train = open_source("npz", root=path)
    test = open_source("npz", root=path, split="test")
    assert train.labels.tolist() == [0, 1] * 4
    assert test.labels.tolist() == [4, 1, 1, 0]
    assert train.num_classes == test.num_classes == 5
    assert np.array_equal(test.load(np.arange(4)), pixels[8:])
    assert train.fingerprint != test.fingerprint


def test_a_folder_of_split_files(tmp_path, pixels):
    write(tmp_path / "train.npz", images=pixels, labels=np.arange(12))
    write(tmp_path / "val.npz", images=pixels[:1], labels=np.arange(1))
    assert len(open_source("npz", root=tmp_path)) == 12
    assert len(open_source("npz", root=tmp_path, split="test")) == 1
    with pytest.raises(
        RunError, match="expected data of split 'test', got .*train.npz, named 'train'"
    ):
        open_source("npz", root=tmp_path / "train.npz", split="test")
    (tmp_path / "val.npz").unlink()
    with pytest.raises(RunError, match="no split 'test': expected test.npz in .*, got train.npz"):
        open_source("npz", root=tmp_path, split="test")


def test_grey_images_and_names(tmp_path, pixels):
    names = np.array(["ant", "bee", "cow"])
    for grey in (pixels[..., 0], pixels[..., :1]):
        path = write(tmp_path / "set.npz", images=grey, labels=np.arange(12) % 2, class_names=names)
        source = open_source("npz", root=path)
        assert source.channels == 1
        assert source.class_names == ("ant", "bee", "cow")
        assert np.array_equal(source.load(np.arange(12))[..., 0], pixels[..., 0])
    assert open_source("npz", root=path, size=16).load(np.array([0])).shape == (1, 16, 16, 1)


def test_large_sets_are_resized_when_loaded(tmp_path, pixels, monkeypatch):
    path = write(tmp_path / "set.npz", images=pixels, labels=np.zeros(12, int))
    held = open_source("npz", root=path, size=16)
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", 100)
    lazy = open_source("npz", root=path, size=16)
    assert type(lazy) is not type(held)
    assert np.array_equal(lazy.load(np.arange(12)), held.load(np.arange(12)))
    assert lazy.fingerprint == held.fingerprint


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": None},
            "expected the arrays images and labels, or x_train and y_train, got labels",
        ),
        ({"images": np.zeros((2, 4, 4, 3))}, "images must be uint8 in 0..255, got float64"),
        (
            {"images": np.zeros((2, 3, 4, 4), np.uint8)},
            r"1 or 3 channels, got shape \(2, 3, 4, 4\)",
        ),
        ({"images": np.zeros((2, 0, 4, 3), np.uint8)}, "at least one pixel"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8), "labels": np.zeros(0, int)}, "got none"),
        ({"images": np.array([{}, {}], object)}, "Object arrays cannot be loaded.*plain arrays"),
        ({"labels": np.array([{}, {}], object)}, "Object arrays cannot be loaded.*plain arrays"),
        ({"labels": np.zeros(3, int)}, "expected 2 labels, one per image, got 3"),
        ({"labels": np.zeros(2)}, "one whole number per image, got float64"),
        (
            {"labels": np.zeros((2, 10), int)},
            r"one whole number per image, got int64 of shape \(2, 10",
        ),
        ({"labels": np.array([0, -3])}, "expected labels 0..999999, got -3 at index 1"),
        ({"labels": np.array([0, 10**6])}, "expected labels 0..999999, got 1000000 at index 1"),
        (
            {"class_names": np.array(["one"])},
            "expected labels 0..0, got 1 .*class_names holds fewer",
        ),
        (
            {"class_names": np.array([1, 2])},
            "expected class_names as one text per class, got int64",
        ),
    ],
)
def test_arrays_of_another_form_are_named(tmp_path, arrays, message):
    good = {"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.arange(2)}
    given = {key: value for key, value in {**good, **arrays}.items() if value is not None}
    path = write(tmp_path / "set.npz", **given)
    with pytest.raises(RunError, match=f"{path}.*{message}"):
        open_source("npz", root=path)


def test_a_label_of_the_other_split_beyond_all_classes_is_named(tmp_path, pixels):
    both = {"x_train": pixels, "y_train": np.zeros(12, int), "x_test": pixels}
    path = write(tmp_path / "set.npz", **both, y_test=np.full(12, 2**40))
    with pytest.raises(RunError, match="got 1099511627776 in one of the splits"):
        open_source("npz", root=path)


def test_files_that_are_no_archives_are_named(tmp_path, pixels):
    path = write(tmp_path / "set.npz", images=pixels, labels=np.arange(12))
    content = path.read_bytes()
    for broken in (b"", b"no archive", content[:1000], content[:100] + bytes(50) + content[150:]):
        path.write_bytes(broken)
        with pytest.raises(RunError, match=f"cannot read {path}: .*expected an .npz archive"):
            open_source("npz", root=path)
    np.save(tmp_path / "one.npy", pixels)
    with pytest.raises(RunError, match="expected an .npz archive of arrays, got a single array"):
        open_source("npz", root=tmp_path / "one.npy")
    with pytest.raises(RunError, match="nowhere.npz does not exist"):
        open_source("npz", root=tmp_path / "nowhere.npz")


def test_a_bomb_is_refused_by_its_header(tmp_path, monkeypatch):
    black = np.zeros((100, 32, 32, 3), np.uint8)
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=black, labels=np.zeros(100, int), unused=np.zeros(10**6))
    monkeypatch.setattr("augmix.data.sources._SMALL_BYTES", black.nbytes + 128)

    def fail(*arguments, **options):
        raise AssertionError("an array was unpacked")

    with monkeypatch.context() as patch:
        patch.setattr("augmix.data.sources.np.load", fail)
        with pytest.raises(RunError, match=r"unused.npy would unpack from .* bytes to 8,000,128"):
            open_source("npz", root=path)
    np.savez_compressed(path, images=black, labels=np.zeros(100, int))
    assert open_source("npz", root=path).num_classes == 1


def test_images_of_a_wrong_type_are_not_unpacked(tmp_path, monkeypatch):
    path = write(tmp_path / "set.npz", images=np.zeros((9, 4, 4, 3)), labels=np.arange(9))
    monkeypatch.setattr("augmix.data.sources._Archive.__getitem__", None)
    with pytest.raises(RunError, match=r"images must be uint8 in 0..255, got float64"):
        open_source("npz", root=path)


def test_a_header_that_says_another_shape_is_named(tmp_path):
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("images.npy", "w") as file:
        described = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 32, 32, 3)}
        np.lib.format.write_array_header_1_0(file, described)
    with pytest.raises(RunError, match=r"images.npy is said to have the shape .* unpacks to 128"):
        open_source("npz", root=path)


def test_arrays_of_medmnist_and_of_other_names(tmp_path, pixels):
    arrays = {}
    for split, rows in (("train", slice(0, 6)), ("val", slice(6, 8)), ("test", slice(8, 12))):
        arrays |= {f"{split}_images": pixels[rows]}
        arrays |= {f"{split}_labels": np.arange(12, dtype=np.uint8)[rows, None] % 5}
    np.savez(tmp_path / "pathmnist.npz", **arrays)
    for split, rows in (("train", slice(0, 6)), ("val", slice(6, 8)), ("test", slice(8, 12))):
        source = open_source("npz", root=tmp_path / "pathmnist.npz", split=split)
        assert source.num_classes == 5
        assert source.labels.tolist() == (np.arange(12)[rows] % 5).tolist()
        assert np.array_equal(source.load(np.arange(len(source))), pixels[rows])
    np.savez(tmp_path / "own.npz", pictures=pixels, species=np.arange(12))
    with pytest.raises(RunError, match="got pictures, species; name them with --image-column and"):
        open_source("npz", root=tmp_path / "own.npz")
    columns: dict[str, Any] = {"image_column": "pictures", "label_column": "species"}
    assert open_source("npz", root=tmp_path / "own.npz", **columns).num_classes == 12

"""CIFAR from the official pickles, read without running anything in them, and from parquet."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from augmix.data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES, load_pickle
from augmix.data.sources import open_source
from augmix.errors import RunError


def write_cifar100(folder, labels=(0, 99)):
    folder.mkdir(parents=True)
    data = np.arange(2 * 3072, dtype=np.int64).astype(np.uint8).reshape(2, 3072)
    batch = {b"data": data, b"coarse_labels": [0, 1], b"fine_labels": list(labels)}
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return data


def test_the_names_are_the_official_ones():
    assert len(CIFAR10_CLASSES) == len(set(CIFAR10_CLASSES)) == 10
    assert CIFAR10_CLASSES[:2] + CIFAR10_CLASSES[-1:] == ("airplane", "automobile", "truck")
    assert len(CIFAR100_CLASSES) == len(set(CIFAR100_CLASSES)) == 100
    assert list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)


@pytest.mark.parametrize("is_parent", [True, False])
def test_the_official_folder(cifar10, is_parent):
    root = cifar10.parent if is_parent else cifar10
    train = open_source("cifar10", root=root)
    assert train.labels.tolist() == [0, 4, 1, 5, 2, 6, 3, 7, 4, 8]
    assert (len(train), train.num_classes, train.size, train.channels) == (10, 10, (32, 32), 3)
    assert train.class_names == CIFAR10_CLASSES
    assert (train.crop_padding, train.flip) == (4, True)
    images = train.load(np.array([9, 0, 9]))
    assert images.shape == (3, 32, 32, 3)
    assert [np.unique(image).tolist() for image in images] == [[9], [0], [9]]
    test = open_source("cifar10", root=str(root), split="test")
    assert test.labels.tolist() == [5, 9]
    assert np.unique(test.load(np.arange(2))).tolist() == [10, 11]
    assert test.fingerprint != train.fingerprint


def test_planes_become_channels_and_labels_are_fine(tmp_path):
    data = write_cifar100(tmp_path / "cifar-100-python")
    source = open_source("cifar100", root=tmp_path)
    assert source.labels.tolist() == [0, 99]
    assert source.class_names[99] == "worm"
    image = source.load(np.array([1]))[0]
    for row, column, channel in [(0, 0, 0), (3, 31, 1), (31, 0, 2)]:
        assert image[row, column, channel] == data[1, channel * 1024 + row * 32 + column]


def test_another_size(cifar10):
    source = open_source("cifar10", root=cifar10, size=8)
    assert source.size == (8, 8)
    assert np.unique(source.load(np.array([3]))).tolist() == [3]


def test_the_fingerprint_is_of_pixels_and_labels(cifar10):
    before = open_source("cifar10", root=cifar10).fingerprint
    assert before == open_source("cifar10", root=cifar10).fingerprint
    batch = pickle.loads((cifar10 / "data_batch_1").read_bytes())
    for change in ({b"labels": [0, 5]}, {b"data": batch[b"data"] + np.uint8(1)}):
        (cifar10 / "data_batch_1").write_bytes(pickle.dumps({**batch, **change}, protocol=2))
        assert open_source("cifar10", root=cifar10).fingerprint != before


def rewrite(path, **changes):
    batch = pickle.loads(path.read_bytes())
    batch |= {key.encode(): value for key, value in changes.items()}
    path.write_bytes(pickle.dumps(batch, protocol=2))


def test_a_missing_batch_is_named(cifar10):
    (cifar10 / "data_batch_3").unlink()
    with pytest.raises(RunError, match=f"{cifar10}/data_batch_3 is missing; unpack the official"):
        open_source("cifar10", root=cifar10)
    assert len(open_source("cifar10", root=cifar10, split="test")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": [0, 10]},
            r"expected labels 0..9, got 10 at index 1 .*if this is cifar100, open",
        ),
        ({"labels": [-1, 2]}, r"expected labels 0..9, got -1 at index 0 .*unlabelled"),
        ({"labels": [0]}, "expected 2 labels, one per image, got 1"),
        ({"labels": [0, 1.5]}, "expected 'labels', a list of whole numbers"),
        ({"labels": [0, 2**70]}, "expected labels below 10, got more"),
        ({"data": np.zeros((2, 3000), np.uint8)}, r"rows of 3072 .* got shape \(2, 3000\)"),
        ({"data": [1, 2]}, "rows of 3072 .* got list"),
        ({"data": np.zeros((2, 3072))}, "holds no uint8 array.* dtype f8"),
    ],
)
def test_broken_batches_are_named(cifar10, changes, message):
    rewrite(cifar10 / "data_batch_2", **changes)
    with pytest.raises(RunError, match=f"data_batch_2.*{message}"):
        open_source("cifar10", root=cifar10)


def test_a_truncated_batch_is_named(cifar10):
    path = cifar10 / "test_batch"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(RunError, match="test_batch is not a whole pickle .*truncated"):
        open_source("cifar10", root=cifar10, split="test")


def test_the_sibling_is_recognised(tmp_path, cifar10):
    write_cifar100(tmp_path / "hundred" / "cifar-100-python")
    for root in (tmp_path / "hundred", tmp_path / "hundred" / "cifar-100-python"):
        with pytest.raises(RunError, match="neither .if this is cifar100, open it as cifar100"):
            open_source("cifar10", root=root)
    shutil.copytree(tmp_path / "hundred" / "cifar-100-python", tmp_path / "cifar-10-batches-py")
    with pytest.raises(RunError, match="data_batch_1 is missing"):
        open_source("cifar10", root=tmp_path)
    shutil.copy(tmp_path / "hundred" / "cifar-100-python" / "test", cifar10 / "test_batch")
    with pytest.raises(RunError, match="expected 'labels'.* fine_labels; if this is cifar100"):
        open_source("cifar10", root=cifar10, split="test")


def test_missing_data_is_named(tmp_path):
    with pytest.raises(RunError, match="nowhere does not exist; name the folder that holds"):
        open_source("cifar10", root=tmp_path / "nowhere")
    with pytest.raises(
        RunError, match="expected cifar-100-python/ or test.parquet in .*--download"
    ):
        open_source("cifar100", root=tmp_path, split="test")
    with pytest.raises(RunError, match="cifar10 has the splits train and test, got 'val'"):
        open_source("cifar10", root=tmp_path, split="val")


def test_without_a_root_the_download_folder_is_searched(tmp_path, monkeypatch, cifar10):
    monkeypatch.setattr("pooch.os_cache", lambda _: tmp_path / "cifar")
    assert len(open_source("cifar10", split="test")) == 2
    monkeypatch.setattr("pooch.os_cache", lambda _: tmp_path / "empty")
    with pytest.raises(RunError, match=r"cifar10: expected .* got neither.*--download"):
        open_source("cifar10", split="test")


DATA = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("data", [DATA, np.asfortranarray(DATA)], ids=["C", "Fortran"])
def test_arrays_lists_and_text_of_every_protocol(tmp_path, protocol, data):
    value = {"data": data, "labels": [3, 1, 2], "batch_label": "training batch 1 of 5"}
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    read = load_pickle(path)
    assert np.array_equal(read["data"], DATA)
    assert read["data"].dtype == np.uint8
    assert read["labels"] == [3, 1, 2]


def test_a_pickle_of_python_2(tmp_path):
    """As the official files are: byte strings for keys and pixels, globals of old NumPy."""
    path = tmp_path / "batch"
    path.write_bytes(
        b"\x80\x02}q\x01(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\x01\x02\xfd\xfe\xfftb"
        b"U\x06labels](K\x06K\x09eu."
    )
    read = load_pickle(path)
    assert read["data"].tolist() == [[0, 1, 2], [253, 254, 255]]
    assert read["labels"] == [6, 9]


class Payload:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "name"),
    [(os.mkdir, "posix.mkdir"), (eval, "builtins.eval"), (np.load, "numpy.load")],
)
def test_nothing_is_executed(tmp_path, function, name):
    path, trap = tmp_path / "data_batch_1", tmp_path / "trap"
    path.write_bytes(pickle.dumps({"data": Payload(function, str(trap))}))
    with pytest.raises(RunError, match=f"{path} asks for the global {name}.*nothing was executed"):
        load_pickle(path)
    assert not trap.exists()


def test_allowed_globals_do_nothing_either(tmp_path):
    """State for a global and classes called as types must find no object to change."""
    path = tmp_path / "batch"
    for attack in (
        b"\x80\x02cnumpy\nndarray\n}U\x01aK\x01sb.",  # BUILD on the global itself
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # NEWOBJ
        b"\x80\x02cnumpy\ndtype\nU\x01O\x85R.",  # an object dtype as the whole
    ):
        path.write_bytes(attack)
        with pytest.raises(RunError, match=f"{path} "):
            load_pickle(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros(3), "holds no uint8 array where one is expected: dtype f8"),
        (np.array([{}], object), "holds no uint8 array where one is expected: dtype O8"),
    ],
)
def test_other_arrays_are_refused(tmp_path, data, message):
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({"data": data}, protocol=2))
    with pytest.raises(RunError, match=message):
        load_pickle(path)


def test_an_array_of_the_wrong_length_is_refused(tmp_path):
    content = pickle.dumps({"data": np.zeros(7, np.uint8)}, protocol=4)
    assert content.count(b"K\x07\x85") == 1
    path = tmp_path / "batch"
    path.write_bytes(content.replace(b"K\x07\x85", b"K\x09\x85"))
    with pytest.raises(RunError, match=r"7 bytes for shape \(9,\)"):
        load_pickle(path)


def test_a_truncated_pickle_is_named(tmp_path):
    path = tmp_path / "batch"
    content = pickle.dumps({"data": DATA, "labels": [1, 2, 3]}, protocol=2)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(RunError, match=f"{path} is not a whole pickle.*truncated"):
            load_pickle(path)


def test_what_is_no_dict_or_no_file_is_named(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(RunError, match="must hold a pickled dict, got list"):
        load_pickle(path)
    with pytest.raises(RunError, match="cannot read nowhere: No such file"):
        load_pickle(Path("nowhere"))


@pytest.mark.parametrize(
    "content", [b"\x80\x02Nr\x00\x00\x00\x08.", b"Np134217728\n.", b"\x80\x02Nq\xff."]
)
def test_a_large_memo_index_is_refused(tmp_path, content):
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"is not a whole pickle .UnpicklingError: memo index"):
        load_pickle(path)

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from augmix.data.cifar import load_pickle
from augmix.errors import RunError

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

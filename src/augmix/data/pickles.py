"""Pickled CIFAR batches read as data: nothing a pickle asks for is ever executed.

The official files are Python 2 pickles of one dict with an array, lists and byte strings. Every
global they name (`numpy.core.multiarray._reconstruct` and few others) is replaced by a recorder
that only notes its arguments; the array is then made from the notes. Any other global ends the
reading.
"""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from augmix.records import RunError

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}


def load_pickle(path: Path) -> dict[str, Any]:
    """The dict in a pickled file; its arrays come as uint8 NumPy arrays.

    Raises:
        RunError: If the file is missing, truncated, no pickled dict, or names a global that these
            files do not need.
    """
    try:
        value = _Reader(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except _ForbiddenGlobal as error:
        raise RunError(
            f"{path} asks for the global {error}, which a CIFAR file does not need; nothing was "
            "executed, take the file from the official archive"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # the bytes decide what goes wrong inside the unpickler
        raise RunError(
            f"{path} is not a whole pickle ({type(error).__name__}: {error}); it may be truncated, "
            "take the file from the official archive again"
        ) from error
    if not isinstance(value, dict):
        raise RunError(f"{path} must hold a pickled dict, got {type(value).__name__}")
    return {_text(key): _array(entry, path) for key, entry in value.items()}


class _ForbiddenGlobal(Exception):
    """A pickle named something outside `_ALLOWED`."""


class _Call:
    """What a pickle wanted to call, with which arguments, and the state it gave the result."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple) -> None:
        self.name = name
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Recorder:
    """Stands for an allowed global; calling it notes the call.

    ``_codecs.encode``, by which Python 3 writes bytes for Python 2, gives those bytes at once: they
    may be keys.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any) -> "_Call | bytes":
        if self.name != "encode":
            return _Call(self.name, args)
        text, encoding = args
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"{self.name} takes no state")


class _Reader(pickle.Unpickler):
    """An unpickler whose globals are recorders."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _ForbiddenGlobal(f"{module}.{name}")
        return _Recorder(_ALLOWED[module, name])


def _array(value: Any, path: Path) -> Any:
    """The uint8 array that a recorded call describes; any other value as it is."""
    if not isinstance(value, _Call):
        return value
    try:
        if value.name == "reconstruct":
            _, shape, dtype, is_fortran, content = value.state
        else:
            content, dtype, shape, order = value.args
            is_fortran = order == "F"
        return _uint8(dtype, shape, is_fortran, content)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise RunError(f"{path} holds no uint8 array where one is expected: {error}") from error


def _uint8(dtype: Any, shape: Any, is_fortran: Any, content: Any) -> UInt8[np.ndarray, "..."]:
    if not (isinstance(dtype, _Call) and dtype.name == "dtype" and _text(dtype.args[0]) == "u1"):
        raise ValueError(f"dtype {_text(dtype.args[0]) if isinstance(dtype, _Call) else dtype}")
    if not isinstance(content, (bytes, bytearray)):
        raise ValueError(f"{type(content).__name__} in place of bytes")
    sides = tuple(shape)
    if not all(isinstance(side, int) and side >= 0 for side in sides):
        raise ValueError(f"shape {sides}")
    if math.prod(sides) != len(content):
        raise ValueError(f"{len(content)} bytes for shape {sides}")
    flat = np.frombuffer(content, np.uint8)
    return flat.reshape(sides, order="F" if is_fortran else "C")


def _text(value: Any) -> str:
    """A byte string of Python 2 as text."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)

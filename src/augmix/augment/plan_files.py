"""Plans as files: the arrays of a plan, named by its fields, in an ``.npz`` archive.

The parts that only some plans have (noise, hole, pairs) stand there by their fields' names behind
their own, e.g. ``hole.box``.
"""

import io
import zipfile
from dataclasses import fields, is_dataclass
from os import PathLike
from typing import Any

import numpy as np

from augmix.augment.pairing import PairPlan
from augmix.augment.patches import Hole, Noise

_VERSION = 2  # 1 had no parts
_PARTS = {"noise": Noise, "hole": Hole, "pairs": PairPlan}
_FIELDS = {"ids", "size", "crop_padding", "crop", "flip", "op", "amount", "weight", "mix"}


def save(path: str | PathLike[str], plan: Any) -> None:
    """Write the fields of a plan."""
    arrays: dict[str, Any] = {}
    for field in fields(plan):
        value = getattr(plan, field.name)
        if is_dataclass(value):
            for part in fields(value):
                arrays[f"{field.name}.{part.name}"] = _to_array(getattr(value, part.name))
        elif value is not None:
            arrays[field.name] = _to_array(value)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, version=np.int64(_VERSION), **arrays)
    with open(path, "wb") as file:
        file.write(buffer.getvalue())


def load(path: str | PathLike[str]) -> dict[str, Any]:
    """The fields of a saved plan.

    Raises:
        ValueError: If the file is no plan, or one of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a saved plan (.npz): {error}") from error
    version = int(arrays.pop("version", -1))
    parts = {name: _take_part(arrays, name) for name in _PARTS}
    is_whole = all(not part or set(part) == _names(_PARTS[name]) for name, part in parts.items())
    if not 1 <= version <= _VERSION or set(arrays) != _FIELDS or not is_whole:
        raise ValueError(f"{path} is not a plan of version 1..{_VERSION}, got {version}")
    height, width = (int(side) for side in arrays.pop("size"))
    padding = int(arrays.pop("crop_padding"))
    made = {name: _PARTS[name](**part) for name, part in parts.items() if part}
    return {"size": (height, width), "crop_padding": padding, **arrays, **made}


def _take_part(arrays: dict[str, np.ndarray], name: str) -> dict[str, Any]:
    """The arrays of one part, taken out of all; numbers and truths as Python has them."""
    keys = [key for key in arrays if key.startswith(f"{name}.")]
    taken = {key.removeprefix(f"{name}."): arrays.pop(key) for key in keys}
    return {key: value if value.ndim else value.item() for key, value in taken.items()}


def _names(part: type) -> set[str]:
    return {field.name for field in fields(part)}


def _to_array(value: Any) -> np.ndarray:
    """An array; a seed of 64 bits stays a whole number."""
    return np.asarray(value, np.uint64 if type(value) is int else None)

"""CIFAR-10 and CIFAR-100: the official Python batches, or parquet.

The official files are pickles of one dict. Every global they name is replaced by a recorder that
only keeps its arguments, and any other global is an error, so no code of a file is run. Krizhevsky
(2009), "Learning Multiple Layers of Features from Tiny Images"; CIFAR-100 by its 100 fine labels.
"""

import io
import math
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from augmix.data.parquet import find_tables, load_images, load_labels
from augmix.data.published_sets import fetch_file, unpack_archive
from augmix.data.stores import (
    ArrayItems,
    Items,
    Labels,
    OpenOptions,
    Source,
    build_source,
    check_labels,
)
from augmix.errors import RunError
from augmix.files import make_folder

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/"
_MAX_BYTES = 2**30  # unpacked; the official archives hold 186 MB

_ALLOWED = {"numpy.ndarray", "numpy.dtype", "_codecs.encode"} | {
    f"numpy.{core}.{name}"
    for core in ("core", "_core")
    for name in ("multiarray._reconstruct", "numeric._frombuffer")
}


def load_pickle(path: Path) -> dict[str, Any]:
    """Read the dict of uint8 arrays, lists and text in a pickled file, without running any of it.

    Raises:
        RunError: If the file is missing, truncated, no pickled dict, or names a global that these
            files do not need.
    """
    try:
        content = path.read_bytes()
        _check_memo(content)
        value = _Reader(io.BytesIO(content), encoding="bytes").load()
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


def _check_memo(content: bytes) -> None:
    """Refuse an index of the memo that the unpickler would allocate a table of gigabytes for."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name.endswith("PUT") and argument is not None and argument > len(content):
            raise pickle.UnpicklingError(f"memo index {argument} of {len(content)} bytes")


class _ForbiddenGlobal(Exception):
    """A pickle names something outside `_ALLOWED`."""


class _Call:
    """A call that a pickle asked for: function, arguments, and the state it gave the result."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple) -> None:
        self.name = name
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Recorder:
    """An allowed global; calling it records the call."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any) -> "_Call | bytes":
        if self.name != "encode":
            return _Call(self.name, args)
        text, encoding = args  # bytes that Python 3 wrote for Python 2; they may be keys
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"{self.name} takes no state")


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _ALLOWED:
            raise _ForbiddenGlobal(f"{module}.{name}")
        return _Recorder(name)


def _array(value: Any, path: Path) -> Any:
    """The uint8 array that a recorded call describes; any other value as it is."""
    if not isinstance(value, _Call):
        return value
    try:
        if value.name == "_reconstruct":
            _, shape, dtype, is_fortran, content = value.state
        else:
            content, dtype, shape, order = value.args
            is_fortran = order == "F"
        kind = _text(dtype.args[0]) if isinstance(dtype, _Call) else dtype
        if kind != "u1":
            raise ValueError(f"dtype {kind}")
        shape = tuple(shape)
        if math.prod(shape) != len(content):
            raise ValueError(f"{len(content)} bytes for shape {shape}")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if is_fortran else "C")
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise RunError(f"{path} holds no uint8 array where one is expected: {error}") from error


def _text(value: Any) -> str:
    """A byte string of Python 2 as text."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


_NAMES10 = "airplane automobile bird cat deer dog frog horse ship truck"
_NAMES100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
    mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
    porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
    tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR10_CLASSES = tuple(_NAMES10.split())
CIFAR100_CLASSES = tuple(_NAMES100.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One of the two sets."""

    name: str
    class_names: tuple[str, ...]
    archive: str  # the official download
    sha256: str  # of the archive
    folder: str  # the only folder in it
    files: dict[str, tuple[str, ...]]  # the pickles of each split
    key: str  # labels in a pickle
    column: str  # labels in a table
    sibling: str  # the other set, whose files are the usual mistake

    @property
    def hint(self) -> str:
        return f"if this is {self.sibling}, open it as {self.sibling}"

    def check(self, labels: np.ndarray, num_images: int, *, where: Path) -> Labels:
        """Return labels as int64 if there is one of this set for every image."""
        count, name = len(self.class_names), f"{self.name} in {where}"
        return check_labels(labels, num_images, num_classes=count, where=name, hint=self.hint)


EDITIONS = {
    "cifar10": Edition(
        name="cifar10",
        class_names=CIFAR10_CLASSES,
        archive="cifar-10-python.tar.gz",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        folder="cifar-10-batches-py",
        files={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
        key="labels",
        column="label",
        sibling="cifar100",
    ),
    "cifar100": Edition(
        name="cifar100",
        class_names=CIFAR100_CLASSES,
        archive="cifar-100-python.tar.gz",
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        folder="cifar-100-python",
        files={"train": ("train",), "test": ("test",)},
        key="fine_labels",
        column="fine_label",
        sibling="cifar10",
    ),
}


def open_cifar(root: Path | None, options: OpenOptions, *, url: str = OFFICIAL_URL) -> Source:
    """Open a CIFAR set, without a root from where downloads are kept; see `sources.open_source`."""
    import pooch

    edition, split = EDITIONS[options.name], options.split
    if split not in edition.files:
        raise RunError(f"{edition.name} has the splits train and test, got {split!r}")
    folder = Path(pooch.os_cache("augmix")) if root is None else root
    official = _find_official(edition, folder)
    tables = () if official else find_tables(folder, split, extra=(edition.name,))
    if not official and not tables and options.download:
        make_folder(folder)
        path = folder / edition.archive
        fetch_file(url + edition.archive, path, checksum=edition.sha256, num_tries=2)
        unpack_archive(path, folder, names=(edition.folder,), max_bytes=_MAX_BYTES)
        official = folder / edition.folder
    if official:
        items, labels = _load_official(edition, official, split)
    elif tables:
        items = load_images(tables, hint=edition.hint)
        known = edition.class_names
        labels = load_labels(tables, known, label_columns=(edition.column,), hint=edition.hint)
        labels = edition.check(labels, len(items), where=tables[0])
    else:
        raise _missing(edition, folder, split, given=root is not None)
    return build_source(items, labels, edition.class_names, options)


def _find_official(edition: Edition, folder: Path) -> Path | None:
    """The official folder, whether it or its parent was named."""
    below = folder / edition.folder
    if below.is_dir():
        return below
    files = [folder / file for files in edition.files.values() for file in files]
    is_official = folder.name == edition.folder and folder.is_dir()
    return folder if is_official or any(file.is_file() for file in files) else None


def _load_official(edition: Edition, folder: Path, split: str) -> tuple[Items, Labels]:
    images, labels = [], []
    for file in edition.files[split]:
        path = folder / file
        if not path.is_file():
            raise RunError(
                f"{edition.name} needs {', '.join(edition.files[split])} for split {split!r}, "
                f"{path} is missing; unpack the official {edition.archive} again"
            )
        batch = load_pickle(path)
        images.append(_batch_images(batch, path))
        labels.append(_batch_labels(batch, edition, path, len(images[-1])))
    items = ArrayItems(images=np.concatenate(images), path=str(folder))
    return items, np.concatenate(labels)


def _batch_images(batch: dict[str, Any], path: Path) -> UInt8[np.ndarray, "image 32 32 3"]:
    data = batch.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3072:
        got = f"shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise RunError(f"{path}: expected 'data' as uint8 rows of 3072 (3x32x32), got {got}")
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _batch_labels(batch: dict[str, Any], edition: Edition, path: Path, num_images: int) -> Labels:
    values = batch.get(edition.key)
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise RunError(
            f"{path}: expected {edition.key!r}, a list of whole numbers, among "
            f"{', '.join(sorted(batch))}; {edition.hint}"
        )
    if any(abs(value) >= 2**31 for value in values):
        raise RunError(f"{path}: expected labels below {len(edition.class_names)}, got more")
    return edition.check(np.array(values, np.int64), num_images, where=path)


def _missing(edition: Edition, folder: Path, split: str, *, given: bool) -> RunError:
    if given and not folder.exists():
        return RunError(
            f"{edition.name}: {folder} does not exist; name the folder that holds "
            f"{edition.folder}, or let augmix train --download fetch it there"
        )
    other = EDITIONS[edition.sibling]
    hint = f" ({edition.hint})" if _find_official(other, folder) else ""
    return RunError(
        f"{edition.name}: expected {edition.folder}/ or {split}.parquet in {folder}, got "
        f"neither{hint}; name the folder, or let augmix train --download fetch it"
    )

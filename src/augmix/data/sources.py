"""Data sources: their registry, how they are opened, and those of arrays in memory.

`open_source` opens a `Source` by name, `register_source` adds a kind of data to `SOURCES`, and
`as_source` turns a torch ``Dataset``, or an object with labels and images, into a source. ``.npz``
archives and the handwritten digits of scikit-learn are opened here, files of images elsewhere.
"""

import importlib
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from augmix.arrays import check_images
from augmix.data import Orientation, Reading, remote
from augmix.data.decode import AS_STORED, Geometry, ResizedCrop
from augmix.data.folders import check_named_split, list_entries, missing_split, serves
from augmix.data.stores import (
    ArrayItems,
    DatasetItems,
    Ids,
    Images,
    Labels,
    OnError,
    OpenOptions,
    Source,
    build_source,
    check_labels,
    check_reading,
    default_threads,
    number_classes,
)
from augmix.data.trees import (
    ALL_SPLIT_NAMES,
    SERVING,
    SPLIT_NAMES,
    FolderTree,
    find_splits,
    is_split,
)
from augmix.errors import RunError, check_name, first_line, import_library
from augmix.rng import Purpose, Stream

_MAX_SIZE = 4096
_NUM_TRAIN = 1400  # of the 1,797 digits
# Names of the arrays of images and labels of a split: Keras', MedMNIST's and others.
_ARRAY_NAMES = (
    ("x_{}", "y_{}"),
    ("{}_images", "{}_labels"),
    ("X_{}", "Y_{}"),
    ("X_{}", "y_{}"),
    ("{}_x", "{}_y"),
    ("images_{}", "labels_{}"),
    ("images", "labels"),
)
_SMALL_BYTES, _MAX_RATIO = 2**28, 200  # an array above both unpacks like no images do
_DIGITS_PART = 0  # of Purpose.SPLIT; part 1 takes images of any source

Opener = TypeVar("Opener", bound=Callable[..., Any])


def load_at(source: Source, ids: Ids, *, stream: Stream) -> Images:
    """Load the images of a training step, each with its random crop if the source crops.

    Args:
        stream: The run's seed and the step's epoch.
    """
    if source.crop is None:
        return source.load(ids)
    return source.load_crops(ids, source.crop.sample(ids, stream=stream))


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A kind of data that `open_source` reads.

    Attributes:
        opener: ``"module:function"`` below `augmix.data`, imported at first use: called with the
            path (or None) and `OpenOptions`, it returns a `Source`. A callable is the user's:
            called with the path and ``split``, it returns what `as_source` takes.
        reads: What it reads, for help.
        endings: File endings by which `name_source` knows it.
        size: The image size where none is given; 0 as stored.
        has_files: Whether it reads image files, which can be cropped at random.
    """

    opener: str | Callable[..., Any]
    reads: str
    needs_data: bool = True
    endings: tuple[str, ...] = ()
    size: int = 0
    has_files: bool = True


_CIFAR = "the official python folder or its parent, or a folder of parquet files"
SOURCES: dict[str, SourceKind] = {
    "digits": SourceKind(
        "sources:open_digits", "nothing: scikit-learn's", needs_data=False, size=32, has_files=False
    ),
    "cifar10": SourceKind("cifar:open_cifar", _CIFAR, needs_data=False),
    "cifar100": SourceKind("cifar:open_cifar", _CIFAR, needs_data=False),
    "folder": SourceKind("folders:open_folder", "[train|test|val]/class/image.png"),
    "parquet": SourceKind(
        "parquet:open_parquet", "train.parquet or train-*.parquet", endings=(".parquet",)
    ),
    "npz": SourceKind(
        "sources:open_npz",
        "arrays images and labels, or x_train, y_train, x_test, ...",
        endings=(".npz",),
        has_files=False,
    ),
    "tar": SourceKind(
        "tar:open_shards",
        "train*.tar or train/*.tar, images in class folders or beside .cls files",
        endings=(".tar",),
    ),
    "imagenet": SourceKind(
        "imagenet:open_imagenet",
        "folders, tar or parquet shards; val also as one folder with a file of labels",
        size=224,
    ),
}


def register_source(
    name: str, *, reads: str = "", needs_data: bool = True
) -> Callable[[Opener], Opener]:
    """Register a class or function of your own as a kind of data.

    It is called with the path (a `Path`, or None) and ``split`` and returns what `as_source` takes.

    Args:
        name: What `open_source` and ``--source`` call it; must not be taken.
        reads: What it reads, for help.
        needs_data: Whether it must be given a path.

    Example:
        >>> @register_source("stripes", needs_data=False)
        ... class Stripes:
        ...     def __init__(self, path, split):
        ...         self.labels = [0, 1]
        ...
        ...     def __len__(self):
        ...         return 2
        ...
        ...     def images(self, ids):
        ...         return np.stack([np.full((8, 8, 3), 255 * i, np.uint8) for i in ids])
        >>> open_source("stripes").load(np.array([1]))[0, 0, 0].tolist()
        [255, 255, 255]
        >>> _ = SOURCES.pop("stripes")
    """

    def register(opener: Opener) -> Opener:
        if name in SOURCES:
            raise ValueError(f"there is a source {name!r} already; choose another name")
        SOURCES[name] = SourceKind(opener=opener, reads=reads, needs_data=needs_data)
        return opener

    return register


def name_source(data: str) -> str:
    """Return the kind of data at a path: by the ending of a file, or by what a folder holds.

    A folder without class folders is of the form of the files in it; the official CIFAR folders are
    known by their names. Any other is an image folder, and so is a path that does not exist.

    Example:
        >>> [name_source(data) for data in ("digits", "x/test.NPZ", "photographs")]
        ['digits', 'npz', 'folder']
    """
    if data == "digits":
        return data
    if remote.is_address(data):
        return remote.kind_of(data)
    path = Path(data).expanduser()
    if path.is_dir():
        return _name_folder(path)
    ending = path.suffix.lower()
    return next((name for name, kind in SOURCES.items() if ending in kind.endings), "folder")


def _name_folder(root: Path) -> str:
    from augmix.data.cifar import EDITIONS
    from augmix.data.parquet import CONTAINERS, find_tables
    from augmix.data.tar import find_shards

    for name, edition in EDITIONS.items():
        if root.name == edition.folder or (root / edition.folder).is_dir():
            return name
    tree = FolderTree(root)
    if any(map(tree.folders, find_splits(tree).values())):
        return "folder"
    folders = tree.folders()
    if any(not (is_split(name) or name in CONTAINERS) for name in folders[1:] and folders):
        return "folder"
    for name, find in (("parquet", find_tables), ("tar", find_shards)):
        if any(find(root, split) for split in SERVING if serves(root.name, split)):
            return name
    arrays = [root / f"{split}.npz" for split in ALL_SPLIT_NAMES]
    return "npz" if any(path.is_file() for path in arrays) else "folder"


def open_source(
    name: str,
    *,
    root: str | PathLike[str] | None = None,
    split: str = "train",
    size: int = 0,
    resize: int = 0,
    interpolation: str = "bilinear",
    squash: bool = False,
    convention: str = "torchvision",
    crop: ResizedCrop | None = None,
    is_reduced: bool = True,
    download: bool = False,
    on_error: OnError = "raise",
    exif_orientation: Orientation = "ignore",
    background: str | None = None,
    bit_depth: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    num_threads: int = 0,
    is_lazy: bool | None = None,
) -> Source:
    """Open a split of a data set.

    Up to 5,000 image files are decoded here, more of them when they are first loaded; their pixels
    are kept if those of the whole set take at most 1 GiB.

    Args:
        name: A key of `SOURCES`; ``SOURCES[name].reads`` says what it reads.
        root: Path of the data, or the address of tar or parquet files (see `remote.fetch`), such as
            ``s3://bucket/folder``.
        split: ``train``, ``test`` (which also takes ``val``) or ``val``.
        size: 0 for images as stored, which then must have one size (digits: 32; imagenet: 224).
            N for N x N: the shorter edge is resized to N (to N * 256 / 224 from N = 64 on), then
            the centre is cut out.
        resize: The shorter edge before the cut, at least ``size``; 0 takes the rule above.
        interpolation: Pillow's filter for resizing: nearest, box, bilinear, hamming, bicubic or
            lanczos. Digits are always enlarged whole and bilinearly to ``size``.
        squash: Resize both edges to ``resize`` (0: to ``size``), whatever the image's shape.
        convention: Whose roundings of resizing and cutting are followed, see `Geometry`.
        crop: Decode another random crop of each image in every epoch, resized to ``size`` (see
            `load_at`); for image files only. `load` returns the centre as before.
        is_reduced: Whether JPEGs much larger than their crop are decoded at 1/2, 1/4 or 1/8 of
            their size.
        download: Fetch a CIFAR set into ``root`` if it is not there.
        on_error: ``raise`` stops at a broken image and names it; ``skip`` leaves it out and lists
            it in ``skipped``.
        exif_orientation: ``apply`` turns image files upright by their EXIF tag; ``ignore`` takes
            them as stored.
        background: Colour behind transparent pixels, such as ``white`` or ``#ff8800``; if not
            given, transparency is dropped and the colours stored below it appear.
        bit_depth: Bits of the levels in files with more than 8, 9..16; if not given, those of the
            file's header.
        image_column: Column of a parquet file, or array of an npz file, that holds the images; if
            not given, one of the usual names.
        label_column: Column or array that holds the labels.
        num_threads: Threads that decode; 0 takes every processor this process may use.
        is_lazy: Decode image files when they are first loaded, however few they are; for callers
            that need some of them only.

    Raises:
        ValueError: If an argument is out of range.
        RunError: If the data is missing, broken, or not of the form expected.
    """
    check_name("source", name, SOURCES)
    kind = SOURCES[name]
    check_name("split", split, SPLIT_NAMES)
    if not 0 <= size <= _MAX_SIZE:
        raise ValueError(f"size must be 0 (as stored) or 1..{_MAX_SIZE} pixels, got {size}")
    if num_threads < 0:
        raise ValueError(f"num_threads must be 0 (all processors) or more, got {num_threads}")
    geometry = Geometry(
        size=size or kind.size,
        resize=resize,
        interpolation=interpolation,
        squash=squash,
        convention=convention,
        crop=crop,
        is_reduced=is_reduced,
        reading=Reading(
            on_error=on_error,
            exif_orientation=exif_orientation,
            background=background,
            bit_depth=bit_depth,
            image_column=image_column,
            label_column=label_column,
        ),
    )
    for what, column in (("image_column", image_column), ("label_column", label_column)):
        if column and name not in ("parquet", "npz"):
            raise ValueError(
                f"{what} {column!r} would have no effect: it is for parquet and npz, got the "
                f"source {name!r}"
            )
    if download and name not in ("cifar10", "cifar100"):
        raise ValueError(f"download is for cifar10 and cifar100, got {name!r}")
    if crop and not kind.has_files:
        raise ValueError(
            f"random resized crops need image files, got the arrays of {name!r}: leave out "
            "resized_crop (--resized-crop no)"
        )
    if not kind.has_files:
        check_reading(geometry.reading, name)
    if name == "digits" and root not in (None, "digits"):
        raise ValueError(
            f"source 'digits' has no files, so {root} would have no effect: leave out the folder "
            "or file, or the source 'digits'"
        )
    if root is None and kind.needs_data:
        raise RunError(f"source {name} needs to know where its data lies; name a folder or file")
    if isinstance(root, str) and remote.is_address(root):
        root = remote.fetch(root)
    path = None if root is None else Path(root).expanduser()
    options = OpenOptions(
        name=name,
        split=split,
        geometry=geometry,
        on_error=on_error,
        num_threads=num_threads or default_threads(),
        download=download,
        is_lazy=is_lazy,
    )
    if callable(kind.opener):
        return as_source(kind.opener(path, split=split), options)
    module, _, function = kind.opener.partition(":")
    return getattr(importlib.import_module(f"augmix.data.{module}"), function)(path, options)


def as_source(data: Any, options: OpenOptions) -> Source:
    """Turn data of any kind into a source.

    Args:
        data: A source, which is returned as it is. Or an object with ``__len__``, ``labels`` (a
            whole number an image) and ``images(ids)`` (uint8 `batch height width channel`). Or a
            torch ``Dataset`` of pairs (image, label) with images as PIL, uint8 `height width` or
            `height width channel` arrays, or uint8 `channel height width` tensors; its labels are
            taken from ``targets`` or ``labels`` if it has them, and read one by one if not. Names
            of classes are taken from ``class_names`` or ``classes``.

    Raises:
        TypeError: If the data has none of these forms.
        RunError: If labels or images are not usable.
    """
    if isinstance(data, Source):
        return data
    if not (hasattr(data, "__len__") and (hasattr(data, "images") or hasattr(data, "__getitem__"))):
        raise TypeError(
            "data must be a Source, a torch Dataset of (image, label), or an object with __len__, "
            f"labels and images(ids), got {type(data).__name__}"
        )
    where = f"source {options.name}"
    labels = getattr(data, "targets", getattr(data, "labels", None))
    if labels is None:
        labels = [data[index][1] for index in range(len(data))]
    names = getattr(data, "class_names", getattr(data, "classes", None))
    checked = check_labels(np.asarray(labels), len(data), num_classes=len(names or ()), where=where)
    items = DatasetItems(data=data, name=options.name)
    return build_source(items, checked, names or number_classes(checked, where=where), options)


def open_npz(root: Path, options: OpenOptions) -> Source:
    """Open an ``.npz`` set; see `open_source`."""
    split = options.split
    path = root
    if root.is_dir():
        candidates = [root / f"{name}.npz" for name in SPLIT_NAMES[split]]
        path = next((path for path in candidates if path.exists()), root)
        if path == root:
            raise missing_split(root, split, f"{split}.npz", list_entries(root))
    arrays = _Archive(path)
    image_key, label_key = _choose_arrays(arrays, path, options)
    try:
        check_images(_with_channel(arrays.outline(image_key)), where=f"{path}: images")
    except (TypeError, ValueError) as error:
        raise RunError(str(error)) from None
    images, labels = _with_channel(arrays[image_key]), arrays[label_key]
    labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    names = arrays.get("class_names")
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise RunError(f"{path}: expected class_names as one text per class, got {names.dtype}")
    labels = check_labels(
        labels,
        len(images),
        num_classes=0 if names is None else len(names),
        where=str(path),
        hint="class_names holds fewer classes",
    )
    items = ArrayItems(images=np.ascontiguousarray(images), path=str(path))
    if names is None:
        names = number_classes(_all_labels(arrays, label_key), where=str(path))
    return build_source(items, labels, list(names), options)


def _with_channel(images: np.ndarray) -> np.ndarray:
    """Add the one channel of `image height width`."""
    return images[..., None] if images.ndim == 3 else images


class _Archive(Mapping[str, Any]):
    """The arrays of an ``.npz`` file: their headers are read, and an array when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._headers: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        with self._reading(), zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".npy"):
                    continue
                with archive.open(member) as file:
                    shape, dtype = _load_header(file)
                    num_bytes = file.tell() + math.prod(shape) * dtype.itemsize
                if num_bytes != member.file_size:
                    raise ValueError(
                        f"{member.filename} is said to have the shape {shape} of {dtype}, and "
                        f"unpacks to {member.file_size:,} bytes"
                    )
                if num_bytes > _SMALL_BYTES and num_bytes > _MAX_RATIO * member.compress_size:
                    raise ValueError(
                        f"{member.filename} would unpack from {member.compress_size:,} bytes to "
                        f"{num_bytes:,}, which is no data set"
                    )
                self._headers[member.filename.removesuffix(".npy")] = (shape, dtype)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._headers:
            raise KeyError(name)
        with self._reading(), np.load(self.path, allow_pickle=False) as file:
            return file[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def outline(self, name: str) -> np.ndarray:
        """Return an array of the shape and type of another, without its values or their memory."""
        shape, dtype = self._headers[name]
        return np.broadcast_to(np.zeros((), dtype), shape)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn whatever a broken archive raises into a `RunError` that names the file."""
        try:
            yield
        except FileNotFoundError:
            raise RunError(f"{self.path} does not exist; name an .npz file") from None
        except Exception as error:  # of zipfile, its decompressors, and NumPy
            is_array = _is_array(self.path)
            raise RunError(
                f"{self.path}: expected an .npz archive of arrays, got a single array"
                if is_array
                else f"cannot read {self.path}: {first_line(error)}; expected an .npz archive of "
                "plain arrays (no objects), written by numpy.savez"
            ) from error


def _is_array(path: Path) -> bool:
    with suppress(OSError), open(path, "rb") as file:
        return file.read(6) == np.lib.format.MAGIC_PREFIX
    return False


def _load_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array from the start of its file."""
    reads = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, _, dtype = reads[min(2, np.lib.format.read_magic(file)[0])](file)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded, they may run code")
    return shape, dtype


def _choose_arrays(arrays: _Archive, path: Path, options: OpenOptions) -> tuple[str, str]:
    """The names of the arrays of images and labels."""
    reading = options.geometry.reading
    image_key, label_key = reading.image_column, reading.label_column
    if {"images", "labels"} <= set(arrays) and not (image_key or label_key):
        check_named_split(path, options.split)
        return "images", "labels"
    for split in SPLIT_NAMES[options.split]:
        for images, labels in _ARRAY_NAMES:
            found = image_key or images.format(split), label_key or labels.format(split)
            if set(found) <= set(arrays):
                return found
    raise RunError(
        f"{path}: expected the arrays {image_key or 'images'} and {label_key or 'labels'}, or "
        f"x_{options.split} and y_{options.split}, got {', '.join(arrays) or 'none'}; name them "
        "with --image-column and --label-column (image_column, label_column)"
    )


def _all_labels(arrays: _Archive, label_key: str) -> Labels:
    """The whole-number labels of every split, so that each split counts the same classes."""
    keys = {labels.format(split) for _, labels in _ARRAY_NAMES for split in ALL_SPLIT_NAMES}
    keys = {key for key in arrays if key in keys or key in ("labels", label_key)}
    values = [arrays[key].ravel() for key in sorted(keys)]
    whole = [each for each in values if np.issubdtype(each.dtype, np.integer)]
    return np.concatenate([np.zeros(1), *whole]).astype(np.int64)


def open_digits(root: Path | None, options: OpenOptions) -> Source:
    """Open the digits: 8x8, levels 0..16, enlarged bilinearly and whole to RGB of ``size``."""
    if options.split not in ("train", "test"):
        raise RunError(f"digits has the splits train and test, got {options.split!r}")
    datasets = import_library("sklearn.datasets", "source digits of scikit-learn", "augmix[demo]")
    raw: Any = datasets.load_digits()
    order = Stream(seed=0).at(Purpose.SPLIT, part=_DIGITS_PART).permutation(len(raw.target))
    chosen = order[:_NUM_TRAIN] if options.split == "train" else order[_NUM_TRAIN:]
    levels = np.rint(raw.images[np.sort(chosen)] * (255 / 16)).astype(np.uint8)
    enlarge = Geometry(size=options.geometry.size, squash=True)
    grey = np.stack([enlarge.apply_to_array(image) for image in levels[..., None]])
    images = np.repeat(grey, 3, axis=3)
    labels = check_labels(raw.target[np.sort(chosen)], len(images), num_classes=10, where="digits")
    items = ArrayItems(images=images, path="digits")
    class_names = [str(digit) for digit in range(10)]
    as_made = replace(options, geometry=AS_STORED)
    return build_source(items, labels, class_names, as_made, flip=False)  # a mirrored 2 is none

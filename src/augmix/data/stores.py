"""Sources made of images that are read one by one: kept in memory, or decoded when loaded.

A reader (of `folders`, `parquet`, `tar`, `cifar` ...) hands over labels and `Items`, which make the
pixels of any one image. With ``on_error="skip"`` a set that does not fit into memory is inspected
when it is opened, so that its ids are settled; the result is cached for the next start.
"""

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer, UInt8
from PIL import Image

from augmix.data import OnError, Reading
from augmix.data.decode import (
    AS_STORED,
    Draws,
    Geometry,
    ImageError,
    ResizedCrop,
    decode_crop,
    decode_image,
    stored_size,
    to_pixels,
    to_rgb,
    warn_of_files,
)
from augmix.data.trees import compose
from augmix.errors import RunError, did_you_mean
from augmix.files import cache_folder, load_json, write_json

MEMORY_BYTES = 2**30  # decoded sets up to this size are kept in memory
MAX_AT_ONCE = 5000  # image files that are decoded when a set is opened
MAX_CLASSES = 1_000_000  # of a set without class names
_HASHED = 64  # images in the fingerprint of a user's data
_HASHED_FILES = 1000  # image files whose content is in the fingerprint
END_BYTES = 2**16  # of a large file, at either end of it
_CHUNK = 64  # images a thread takes at a time
_CROPS_AT_ONCE = 8  # photographs a thread takes at a time

Ids = Integer[np.ndarray, " batch"]
Images = UInt8[np.ndarray, "batch height width channel"]
Labels = Int64[np.ndarray, " image"]
Decode = Callable[[int, int], np.ndarray]  # of an image's position in the batch, and its row


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """What the reader of a kind of data is asked for; `sources.open_source` explains the fields."""

    name: str
    split: str
    geometry: Geometry = AS_STORED
    on_error: OnError = "raise"
    num_threads: int = 1
    download: bool = False
    is_lazy: bool | None = None


class Items(ABC):
    """Images by index, each made on demand by any thread."""

    channels: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image(self, index: int, geometry: Geometry = AS_STORED) -> np.ndarray:
        """Return pixels uint8 `height width channel`; raise `ImageError` if there are none."""

    def stored_size(self, index: int, reading: Reading = AS_STORED.reading) -> tuple[int, int]:
        """Return height and width before any resizing."""
        height, width = self.image(index).shape[:2]
        return height, width

    @abstractmethod
    def where(self, index: int) -> str:
        """Return file or row, for messages."""

    @abstractmethod
    def digest(self, rows: np.ndarray) -> str:
        """Return the sha256 of what is stored for these rows, labels left out."""


class ImageFiles(Items):
    """Base of `Items` that are whole image files, wherever these lie; they are decoded to RGB."""

    channels = 3

    @abstractmethod
    def content(self, index: int) -> bytes:
        """Return the file; raise `ImageError` if it cannot be read."""

    def ends(self, index: int) -> bytes:
        """Return the first and last bytes of the file, or all of it if it is small."""
        return cut_ends(self.content(index))

    def hash_ends(self, rows: np.ndarray, hasher: Any) -> None:
        """Hash the ends of some files, spread over all: names and lengths alone may stay equal."""
        if len(rows) > _HASHED_FILES:
            rows = rows[np.linspace(0, len(rows) - 1, _HASHED_FILES).astype(int)]
        for row in rows:
            try:
                part = self.ends(int(row))
            except ImageError as error:
                part = f"unreadable: {error}".encode("utf-8", "surrogateescape")
            hasher.update(hashlib.sha256(part).digest())

    def image(self, index: int, geometry: Geometry = AS_STORED) -> np.ndarray:
        return decode_image(self.content(index), geometry)

    def stored_size(self, index: int, reading: Reading = AS_STORED.reading) -> tuple[int, int]:
        return stored_size(self.content(index), reading)


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayItems(Items):
    """Images in memory, which may still have to be resized."""

    images: UInt8[np.ndarray, "image height width channel"]
    path: str

    @property
    def channels(self) -> int:
        return self.images.shape[3]

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int, geometry: Geometry = AS_STORED) -> np.ndarray:
        return geometry.apply_to_array(self.images[index])

    def where(self, index: int) -> str:
        return f"{self.path}, image {index}"

    def digest(self, rows: np.ndarray) -> str:
        return hash_array(self.images if len(rows) == len(self) else self.images[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetItems(Items):
    """The images of a user's data; see `sources.as_source` for its forms."""

    data: Any
    name: str
    _lock: Lock = field(default_factory=Lock)  # data sets are read by processes, not by threads
    channels: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", self.image(0).shape[2])

    def __len__(self) -> int:
        return len(self.data)

    def image(self, index: int, geometry: Geometry = AS_STORED) -> np.ndarray:
        with self._lock:
            if hasattr(self.data, "images"):
                image = self.data.images(np.array([index]))[0]
            else:
                image = self.data[index][0]
        if isinstance(image, Image.Image):
            pixels = to_pixels(to_rgb(image))
        else:
            pixels = np.asarray(image)
            if hasattr(image, "detach") and pixels.ndim == 3:  # a tensor: channel height width
                pixels = np.ascontiguousarray(pixels.transpose(1, 2, 0))
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.dtype.kind == "f" and pixels.size and 0 <= pixels.min() <= pixels.max() <= 1:
            pixels = np.rint(255 * pixels.astype(np.float64)).astype(np.uint8)  # of ToTensor
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
            raise RunError(
                f"{self.where(index)}: expected a PIL image, a uint8 array `height width channel` "
                "or a uint8 tensor `channel height width`, grey or RGB, or floats in [0, 1], got "
                f"{type(image).__name__} of {pixels.dtype} {list(pixels.shape)}; leave out "
                "transforms that normalise: that belongs into the model"
            )
        return geometry.apply_to_array(pixels)

    def where(self, index: int) -> str:
        return f"source {self.name}, image {index}"

    def digest(self, rows: np.ndarray) -> str:
        """Hash a few images from all over the data, since reading all may take long."""
        hasher = hashlib.sha256(str(len(rows)).encode())
        for row in rows[np.unique(np.linspace(0, len(rows) - 1, _HASHED).astype(int))]:
            hasher.update(hash_array(self.image(int(row))).encode())
        return hasher.hexdigest()


def cut_ends(content: bytes) -> bytes:
    """Return the first and last bytes of a file, or all of it if it is small.

    Example:
        >>> len(cut_ends(bytes(100))), len(cut_ends(bytes(10**6)))
        (100, 131072)
    """
    return content if len(content) <= 2 * END_BYTES else content[:END_BYTES] + content[-END_BYTES:]


def hash_array(array: np.ndarray) -> str:
    """Return the sha256 of an array's shape and content."""
    hasher = hashlib.sha256(repr(array.shape).encode())
    hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()


def fingerprint(digest: str, labels: Labels) -> str:
    """Return the sha256 of a digest of the stored images and of the labels."""
    hasher = hashlib.sha256(digest.encode())
    hasher.update(labels.astype("<i8").tobytes())
    return hasher.hexdigest()


def default_threads() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_labels(
    labels: np.ndarray, num_images: int, *, num_classes: int = 0, where: str, hint: str = ""
) -> Labels:
    """Return labels as int64 if there is one of a class of the set for every image.

    Args:
        num_classes: 0 allows any number of classes.
        where: What they were read from.
        hint: The way out when a label is beyond the last class.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise RunError(
            f"{where}: expected labels as one whole number per image, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if len(labels) != num_images:
        raise RunError(f"{where}: expected {num_images} labels, one per image, got {len(labels)}")
    if not num_images:
        raise RunError(f"{where}: expected at least one image, got none")
    top = (num_classes or MAX_CLASSES) - 1
    wrong = np.flatnonzero((labels < 0) | (labels > top))
    if len(wrong):
        raise RunError(
            f"{where}: expected labels 0..{top}, got {int(labels[wrong[0]])} at index "
            f"{int(wrong[0])} ({len(wrong)} wrong in all)"
            + (f"; {hint}" if hint and labels[wrong[0]] > top else "")
            + ("; leave out unlabelled images" if labels[wrong[0]] < 0 else "")
        )
    return labels.astype(np.int64)


def check_reading(reading: Reading, name: str) -> None:
    """Refuse settings for image files where a source has none. Raises a ValueError."""
    if changes := reading.changes:
        raise ValueError(
            f"{next(iter(changes))} would have no effect: it is for image files, got the arrays of "
            f"{name!r}"
        )


def check_ids(ids: np.ndarray, num_images: int) -> np.ndarray:
    """Check that ids are in range, since NumPy would take -1 for the last; return them."""
    ids = np.asarray(ids)
    if ids.size and (ids.min() < 0 or ids.max() >= num_images):
        raise IndexError(
            f"image ids must be 0..{num_images - 1}, got {int(ids.min())}..{int(ids.max())}"
        )
    return ids


def number_classes(labels: Labels, *, where: str) -> tuple[str, ...]:
    """Name classes that have no names by their numbers, up to the largest label."""
    num_classes = int(labels.max()) + 1
    if num_classes > MAX_CLASSES:
        raise RunError(
            f"{where}: expected labels 0..{MAX_CLASSES - 1}, got {num_classes - 1} in one of the "
            "splits; number the classes from 0"
        )
    return tuple(str(number) for number in range(num_classes))


def check_class_names(names: Iterable[str], *, where: str) -> None:
    """Refuse names that cannot be written into JSON files, as those of a run are."""
    for name in map(str, names):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise RunError(
                f"source {where}: the class name {os.fsencode(name)!r} is not UTF-8; rename its "
                "folder, e.g. by convmv -f latin1 -t utf8 --notest"
            ) from None


def check_classes(
    found: Iterable[str], known: Collection[str], *, where: Path, whose: str, hint: str = ""
) -> None:
    """Refuse classes that are none of those of the training images."""
    composed = set(map(compose, known))
    if unknown := sorted(name for name in set(found) if compose(name) not in composed):
        shown = [name if name == name.strip() else repr(name) for name in unknown[:8]]
        raise RunError(
            f"{where}: expected the {len(known)} classes of {whose}, got {', '.join(shown)} "
            f"besides ({len(unknown)} in all){did_you_mean(unknown[0], known)}{hint}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A split of a data set; image i is the same in every run.

    Attributes:
        name: As in `sources.open_source`.
        split: ``train``, ``test`` or ``val``.
        class_names: One for each class of the set, also of those without an image in this split.
        labels: The class of every image.
        size: Height and width of the images from `load`.
        channels: 1 for grey, 3 for RGB.
        crop_padding: Border in pixels of the usual training crop of the set.
        flip: Whether its training images are usually mirrored.
        crop: The random crops that training images are decoded with, by `load_crops`.
        geometry: How stored images are brought to ``size``.
        skipped: What was left out as broken: file or row, and the reason.
        files: Path of every image below the set's folder, for sources made of image files.
        left_out: Files in the set's folder that are not used: path, and the reason (see
            `trees.Listing`).
        warnings: What a user may want to read in another way, in words.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    labels: Labels
    size: tuple[int, int]
    channels: int
    crop_padding: int = 0
    flip: bool = False
    crop: ResizedCrop | None = None
    geometry: Geometry = AS_STORED
    skipped: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def fingerprint(self) -> str:
        """Sha256 of labels and stored images; of image folders and tar files of paths and lengths,
        and of the content of up to 1,000 files."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, ids: Ids) -> Images:
        """Return a copy of the images with these ids, in that order; repeats allowed.

        It may be called from any thread.

        Raises:
            RunError: If an image is broken; the message names its file and index.
        """
        raise NotImplementedError

    def load_crops(self, ids: Ids, draws: Draws) -> Images:
        """Return the images with these ids, each cropped as drawn for it; raises as `load` does."""
        raise NotImplementedError

    def photographs(self) -> "Photographs | None":
        """Return the images as stored, each at its own size; None if they are arrays of one."""
        return None

    def fields(self, **changes: Any) -> dict[str, Any]:
        """Return the fields that a source made of this one has too, with some changed."""
        return {entry.name: getattr(self, entry.name) for entry in fields(Source)} | changes


@dataclass(frozen=True, kw_only=True, eq=False)
class ArraySource(Source):
    """A source with all images in memory; its digest is computed when asked for, if not known."""

    images: Images
    digest: str | None = None
    items: "Items | None" = None  # of which the images were made, if they may differ in size
    rows: Labels = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.digest or hash_array(self.images), self.labels)

    def load(self, ids: Ids) -> Images:
        return self.images[check_ids(ids, len(self))]

    def photographs(self) -> "Photographs | None":
        return _photographs(self, self.items, self.rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class LazySource(Source):
    """A source that decodes images on loading; `load` returns the centre of cropped ones.

    Where they fit into memory, images are kept once they are decoded.
    """

    items: Items
    rows: Labels  # the item of every image; images left out as broken have none
    num_threads: int = field(default_factory=lambda: default_threads())
    digest: str
    kept: Images | None = None  # those of `is_kept`
    is_kept: Bool[np.ndarray, " image"] = field(default_factory=lambda: np.zeros(0, bool))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.digest, self.labels)

    def load(self, ids: Ids) -> Images:
        if self.kept is None:
            return self._decode(ids, lambda _, row: self.items.image(row, self.geometry), _CHUNK)
        ids = check_ids(ids, len(self))
        missing = np.unique(ids[~self.is_kept[ids]])
        if len(missing):  # another thread may decode the same images, to the same bytes
            self.kept[missing] = replace(self, kept=None).load(missing)
            self.is_kept[missing] = True
        return self.kept[ids]

    def load_crops(self, ids: Ids, draws: Draws) -> Images:
        items: Any = self.items  # image files, as `build_source` checks
        crop: Any = self.crop

        def decode(position: int, row: int) -> np.ndarray:
            return decode_crop(
                items.content(row),
                lambda height, width: crop.box(draws[position], height, width),
                size=self.size[0],
                interpolation=self.geometry.interpolation,
                is_reduced=self.geometry.is_reduced,
                reading=self.geometry.reading,
            )

        return self._decode(ids, decode, _CROPS_AT_ONCE)

    def photographs(self) -> "Photographs | None":
        return _photographs(self, self.items, self.rows)

    def _decode(self, ids: Ids, decode: Decode, chunk: int) -> Images:
        rows = self.rows[check_ids(ids, len(self))]
        images = np.empty((len(rows), *self.size, self.channels), np.uint8)
        first = int(self.rows[0])

        def work(position: int, row: int) -> None:
            pixels = decode(position, row)
            _check_size(self.items, row, pixels.shape[:2], first, self.size)
            images[position] = pixels

        _visit(self.items, rows, work, self.num_threads, chunk=chunk)
        return images


@dataclass(frozen=True, kw_only=True, eq=False)
class Photographs(LazySource):
    """Images as stored, each at its own size, for callers that resize them themselves."""

    def load_one(self, index: int) -> UInt8[np.ndarray, "height width channel"]:
        """Decode one image.

        Raises:
            RunError: If it is broken; the message names its file.
        """
        row = int(self.rows[index])
        try:
            return self.items.image(row, self.geometry)
        except ImageError as error:
            raise _broken_image(self.items, row, error) from error

    def photographs(self) -> "Photographs":
        return self

    def take(self, ids: Ids) -> "Photographs":
        """Return some of the photographs, renumbered in the order of the ids."""
        files = tuple(self.files[index] for index in ids) if self.files else ()
        some = {"rows": self.rows[ids], "labels": self.labels[ids], "is_kept": self.is_kept[ids]}
        return replace(self, files=files, **some)


def _photographs(
    source: ArraySource | LazySource, items: Items | None, rows: Labels
) -> Photographs | None:
    """The images of a source as stored, unless they are arrays of the size of the source."""
    if not isinstance(items, ImageFiles | DatasetItems):
        return None
    if isinstance(items, DatasetItems) and items.stored_size(int(rows[0])) == source.size:
        return None
    geometry = Geometry(reading=source.geometry.reading)
    described = source.fields(size=(0, 0), crop=None, geometry=geometry)
    is_kept = np.zeros(len(rows), bool)
    digest = source.digest or ""
    return Photographs(items=items, rows=rows, digest=digest, is_kept=is_kept, **described)


def build_source(
    items: Items,
    labels: Labels,
    class_names: Sequence[str],
    options: OpenOptions,
    *,
    flip: bool = True,
    files: Sequence[str] = (),
    left_out: tuple[tuple[str, str], ...] = (),
) -> Source:
    """Make a source of items: in memory if it fits and is not cropped, else decoding on load.

    Many image files that fit into memory are decoded when they are first loaded, and kept. With
    ``on_error="skip"`` every image is decoded once here, so that the ids of the source are settled
    from the start.

    Args:
        labels: Their classes, already checked.
        flip: Whether training images are mirrored.
        files: Path of every item, for items that are image files.
        left_out: Files that are no items; see `Source`.

    Raises:
        RunError: If an image is broken (unless skipped), none is left, or sizes differ.
    """
    crop = options.geometry.crop
    if crop and not isinstance(items, ImageFiles):
        raise ValueError(
            f"random resized crops need image files, got the arrays of {options.name!r}"
        )
    check_class_names(class_names, where=options.name)
    if not isinstance(items, ImageFiles):
        check_reading(options.geometry.reading, options.name)
    images, size, broken = _hold(items, options)
    kept = np.array([row for row in range(len(items)) if row not in broken], np.int64)
    described: dict[str, Any] = {
        "name": options.name,
        "split": options.split,
        "class_names": tuple(class_names),
        "labels": labels[kept],
        "size": size,
        "channels": items.channels,
        "crop_padding": 0 if crop else round(min(size) / 8),  # in proportion to CIFAR's 4 of 32
        "flip": flip,
        "crop": crop,
        "geometry": options.geometry,
        "skipped": tuple((items.where(row), broken[row]) for row in sorted(broken)),
        "files": tuple(files[row] for row in kept) if files else (),
        "warnings": _warn(items, kept, options),
        "left_out": left_out,
        "digest": items.digest(kept),
    }
    if images is not None:
        if broken:
            images = images[kept]
        return ArraySource(images=images, items=items, rows=kept, **described)
    shape = (len(kept), *size, items.channels)
    fits = not crop and math.prod(shape) <= MEMORY_BYTES
    return LazySource(
        items=items,
        rows=kept,
        num_threads=options.num_threads,
        kept=np.empty(shape, np.uint8) if fits else None,  # the system gives memory as it is filled
        is_kept=np.zeros(len(kept), bool),
        **described,
    )


def _warn(items: Items, rows: np.ndarray, options: OpenOptions) -> tuple[str, ...]:
    if not isinstance(items, ImageFiles):
        return ()
    return tuple(warn_of_files(items.content, rows, options.geometry.reading))


def _hold(
    items: Items, options: OpenOptions
) -> tuple[np.ndarray | None, tuple[int, int], dict[int, str]]:
    """The images if they are decoded now, else None; their height and width; what is broken."""
    geometry, skip = options.geometry, options.on_error == "skip"
    is_lazy = len(items) > MAX_AT_ONCE if options.is_lazy is None else options.is_lazy
    is_lazy = is_lazy and isinstance(items, ImageFiles) and not skip
    if isinstance(items, ArrayItems) and not geometry.size:
        return items.images, items.stored_size(0), {}
    first, size, broken = _find_first(items, options)
    shape = (len(items), *size, items.channels)
    images = None
    if not (geometry.crop or is_lazy) and math.prod(shape) <= MEMORY_BYTES:
        images = np.empty(shape, np.uint8)

    def decode(position: int, row: int) -> None:
        pixels = items.image(row, geometry)
        _check_size(items, row, pixels.shape[:2], first, size)
        if images is not None:
            images[position] = pixels

    def check_header(_: int, row: int) -> None:
        _check_size(items, row, items.stored_size(row, geometry.reading), first, size)

    def visit(work: Callable[[int, int], None]) -> dict[int, str]:
        return _visit(items, np.arange(len(items)), work, options.num_threads, skip=skip)

    if images is not None:
        broken |= visit(decode)
    elif skip:
        how = f"{geometry.size} {geometry.reading.changes or ''}".rstrip()
        broken |= _recall(items, how, lambda: visit(decode))
    elif not (geometry.size or is_lazy):
        visit(check_header)
    return images, size, broken


def _find_first(items: Items, options: OpenOptions) -> tuple[int, tuple[int, int], dict[int, str]]:
    """The first item that can be decoded, its height and width, and the broken ones before it."""
    broken: dict[int, str] = {}
    for row in range(len(items)):
        try:
            pixels = items.image(row, options.geometry)
        except ImageError as error:
            if options.on_error == "raise":
                raise _broken_image(items, row, error) from error
            broken[row] = str(error)
        else:
            return row, (pixels.shape[0], pixels.shape[1]), broken
    raise RunError(
        f"expected at least one image that can be read, got none of {len(items)}; the first: "
        f"{items.where(0)}: {broken[0]}"
    )


def _visit(
    items: Items,
    rows: np.ndarray,
    work: Callable[[int, int], None],
    num_threads: int,
    *,
    skip: bool = False,
    chunk: int = _CHUNK,
) -> dict[int, str]:
    """Call ``work(position, row)`` of each row on threads; return what is broken, or raise that."""

    def visit(positions: range) -> dict[int, str]:
        broken = {}
        for position in positions:
            row = int(rows[position])
            try:
                work(position, row)
            except ImageError as error:
                if not skip:
                    raise _broken_image(items, row, error) from error
                broken[row] = str(error)
        return broken

    chunks = [range(start, min(start + chunk, len(rows))) for start in range(0, len(rows), chunk)]
    if num_threads <= 1 or len(chunks) <= 1:
        parts = [visit(positions) for positions in chunks]
    else:
        with ThreadPoolExecutor(num_threads, thread_name_prefix="augmix-decode") as pool:
            parts = list(pool.map(visit, chunks))  # the first chunk's error wins
    return {row: reason for part in parts for row, reason in part.items()}


def _recall(items: Items, how: str, inspect: Callable[[], dict[int, str]]) -> dict[int, str]:
    """The broken items and the reasons, from an earlier inspection of the same files if any."""
    identity = f"{items.digest(np.arange(len(items)))} {items.where(0)} {how}"
    key = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    path = cache_folder("inspections") / f"{key}.json"
    if path.exists():
        try:
            return {int(row): str(why) for row, why in load_json(path)["broken"].items()}
        except (RunError, KeyError, AttributeError, ValueError):
            path.unlink()  # damaged: inspect again
    broken = inspect()
    with suppress(OSError, RunError):  # a cache that cannot be written costs time only
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"broken": {str(row): broken[row] for row in sorted(broken)}})
    return broken


def _check_size(
    items: Items, row: int, found: tuple[int, ...], first: int, expected: tuple[int, int]
) -> None:
    if found != expected:
        raise RunError(
            f"expected images of one size, got {expected[0]}x{expected[1]} (height x width) in "
            f"{items.where(first)} and {found[0]}x{found[1]} in {items.where(row)}; "
            "resize them all, e.g. by --size 32 (augmix evaluate: --crop 32; in Python: size=32)"
        )


def _broken_image(items: Items, row: int, error: ImageError) -> RunError:
    return RunError(
        f"cannot use image {items.where(row)} (index {row}): {error}; mend or remove it, or leave "
        "out what is broken with --on-error skip (on_error='skip')"
    )

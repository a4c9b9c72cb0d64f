"""Sources of images kept in memory or decoded on demand.

With ``on_error="skip"`` a set that does not fit into memory is inspected when it is opened, so that
its ids are settled. That takes a pass over all files, which a restarted run is spared.

The readers (`cifar`, `folders`, `tables`, `arrays`) hand over labels and `Items`, which know how to
make the pixels of one image. `build_source` decodes them all on threads if that takes at most
`MEMORY_BYTES`, and finds broken images and images of another size on the way.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Integer, UInt8

from augmix import files
from augmix.data.decode import Draws, ImageError, ResizedCrop, decode_crop
from augmix.data.items import (
    ArrayItems,
    EncodedItems,
    Geometry,
    Items,
    OnError,
    broken_image,
    check_headers,
    fill_images,
    find_first,
    fit_items,
    on_threads,
    try_all,
)
from augmix.errors import RunError
from augmix.files import cache_folder

MAX_CLASSES = 1_000_000  # of a set whose classes have no names


def check_labels(
    labels: np.ndarray, num_images: int, *, num_classes: int = 0, where: str, hint: str = ""
) -> Int64[np.ndarray, " image"]:
    """The labels as int64, once they are known to be one class of the set for every image.

    Args:
        labels: Whole numbers `image`.
        num_images: How many there must be.
        num_classes: 0 allows any number of classes.
        where: What they were read from.
        hint: The way out when a label is beyond the last class.

    Raises:
        RunError: If type, number or range is wrong.
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


def check_ids(ids: np.ndarray, num_images: int) -> np.ndarray:
    """The ids themselves, once they are known to be in range; NumPy would take -1 for the last."""
    ids = np.asarray(ids)
    if ids.size and (ids.min() < 0 or ids.max() >= num_images):
        raise IndexError(
            f"image ids must be 0..{num_images - 1}, got {int(ids.min())}..{int(ids.max())}"
        )
    return ids


def fingerprint(digest: str, labels: Int64[np.ndarray, " image"]) -> str:
    """Sha256 of a digest of the stored images and the labels."""
    hasher = hashlib.sha256(digest.encode())
    hasher.update(labels.astype("<i8").tobytes())
    return hasher.hexdigest()


def number_classes(labels: Int64[np.ndarray, " image"], *, where: str) -> tuple[str, ...]:
    """Names for classes that have none: their numbers, up to the largest label.

    Raises:
        RunError: If that is beyond `MAX_CLASSES`.
    """
    num_classes = int(labels.max()) + 1
    if num_classes > MAX_CLASSES:
        raise RunError(
            f"{where}: expected labels 0..{MAX_CLASSES - 1}, got {num_classes - 1} in one of the "
            "splits; number the classes from 0"
        )
    return tuple(str(number) for number in range(num_classes))


def find_broken(
    items: Items, size: int, *, shape: tuple[int, int], num_threads: int, first: int
) -> dict[int, str]:
    """The broken items and the reasons, from an earlier inspection of the same files if any.

    Args:
        items: The images.
        size: As `Items.image` takes it.
        shape: Height and width that all must have.
        num_threads: Threads that decode.
        first: An item of that shape.

    Raises:
        RunError: If an image has another shape.
    """
    told = f"{items.digest(np.arange(len(items)))} {items.where(0)} {size}"
    key = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    path = cache_folder("inspections") / f"{key}.json"
    if path.exists():
        try:
            kept = files.load_json(path)["broken"]
            return {int(row): str(reason) for row, reason in kept.items()}
        except (RunError, KeyError, AttributeError, ValueError):
            path.unlink()  # not whole: inspect anew
    one = np.empty((1, *shape, items.channels), np.uint8)
    broken = try_all(one, items, size, num_threads, first)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {"broken": {str(row): broken[row] for row in sorted(broken)}})
    except (OSError, RunError):
        pass  # a cache that cannot be written costs time only
    return broken


MEMORY_BYTES = 2**30  # decoded sets up to this size are kept in memory
_CROPS_AT_ONCE = 8  # photographs a thread takes at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Description:
    """What every source tells about itself; the fields are those of `sources.Source`.

    Attributes:
        files: Where every image lies below the set's folder, for sources made of image files.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    labels: Int64[np.ndarray, " image"]
    fingerprint: str
    crop_padding: int
    flip: bool
    skipped: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class ArraySource(Description):
    """A source whose images all lie in memory."""

    images: UInt8[np.ndarray, "image height width channel"]

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    @property
    def channels(self) -> int:
        return self.images.shape[3]

    def load(
        self, ids: Integer[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """A copy of the images asked for."""
        return self.images[check_ids(ids, len(self))]


@dataclass(frozen=True, kw_only=True, eq=False)
class LazySource(Description):
    """A source that decodes images when they are loaded.

    Attributes:
        items: Where the images come from.
        rows: The item of every image; images left out as broken have none.
        size: Height and width every image has.
        resize: The size asked for, 0 for as stored.
        num_threads: Threads that decode one batch.
    """

    items: Items
    rows: Int64[np.ndarray, " image"]
    size: tuple[int, int]
    resize: int
    num_threads: int

    @property
    def channels(self) -> int:
        return self.items.channels

    def load(
        self, ids: Integer[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """Decode the images asked for.

        Raises:
            RunError: If one is broken; the message names its file and index.
        """
        rows = self.rows[check_ids(ids, len(self))]
        images = np.empty((len(rows), *self.size, self.channels), np.uint8)
        first = int(self.rows[0])
        fill_images(images, self.items, rows, self.resize, "raise", self.num_threads, first)
        return images


@dataclass(frozen=True, kw_only=True, eq=False)
class CroppedSource(LazySource):
    """A source of image files that decodes a random crop of each for training.

    Attributes:
        stored: The whole image files behind the items.
        crop: The law of the crops; `load` gives the centre of every image instead.
        is_reduced: Whether JPEGs much larger than their crop are decoded at a reduced size.
    """

    stored: EncodedItems
    crop: ResizedCrop
    is_reduced: bool

    def load_crops(
        self, ids: Integer[np.ndarray, " batch"], draws: Draws
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """Decode the crops that were drawn for these images.

        Raises:
            RunError: If one is broken; the message names its file and index.
        """
        rows = self.rows[check_ids(ids, len(self))]
        images = np.empty((len(rows), *self.size, self.channels), np.uint8)

        def fill(chunk: range) -> None:
            for position in chunk:
                images[position] = self._crop(int(rows[position]), draws[position])

        on_threads(fill, len(rows), self.num_threads, chunk=_CROPS_AT_ONCE)
        return images

    def _crop(self, row: int, draws: np.ndarray) -> np.ndarray:
        try:
            return decode_crop(
                self.stored.content(row),
                lambda height, width: self.crop.box(draws, height, width),
                size=self.size[0],
                is_reduced=self.is_reduced,
            )
        except ImageError as error:
            raise broken_image(self.stored, row, error) from error


def build_source(
    items: Items,
    labels: Int64[np.ndarray, " image"],
    *,
    name: str,
    split: str,
    class_names: Sequence[str],
    geometry: Geometry,
    on_error: OnError,
    num_threads: int,
    crop_padding: int | None = None,
    flip: bool = True,
    files: Sequence[str] = (),
) -> ArraySource | LazySource:
    """A source of these items: in memory if it fits and is not cropped, else decoding on load.

    With ``on_error="skip"`` every image is decoded once here, so that the ids of the source are
    settled from the start; a set too large for the memory then takes one pass over its files, the
    outcome of which is kept (`inspections`).

    Args:
        items: The images.
        labels: Their classes, already checked.
        geometry: What is done to every image; as stored, all must have one size.
        on_error: ``raise`` names a broken image, ``skip`` leaves it out and lists it.
        num_threads: Threads to decode on.
        crop_padding: Border of the training crop; None takes CIFAR's 4 of 32 in proportion, and
            none besides random resized crops.
        flip: Whether training images are mirrored.
        files: Where every item lies, for items that are image files.

    Raises:
        RunError: If an image is broken (unless skipped), none is left, or sizes differ.
    """
    stored, crop = items, geometry.crop
    if crop and not isinstance(stored, EncodedItems):
        raise ValueError(f"random resized crops need image files, got the arrays of {name!r}")
    items, size = fit_items(items, geometry)
    limit = 0 if crop else MEMORY_BYTES
    images, (height, width), broken = _hold(items, size, on_error, num_threads, limit)
    if crop_padding is None:
        crop_padding = 0 if crop else round(min(height, width) / 8)
    kept = np.array([row for row in range(len(items)) if row not in broken], np.int64)
    described = {
        "name": name,
        "split": split,
        "class_names": tuple(class_names),
        "labels": labels[kept],
        "fingerprint": fingerprint(items.digest(kept), labels[kept]),
        "crop_padding": crop_padding,
        "flip": flip,
        "skipped": tuple((items.where(row), broken[row]) for row in sorted(broken)),
        "files": tuple(files[row] for row in kept) if files else (),
    }
    if images is None:
        described |= {"items": items, "rows": kept, "size": (height, width), "resize": size}
        described |= {"num_threads": num_threads}
        if crop:
            assert isinstance(stored, EncodedItems)
            reduced = geometry.is_reduced
            return CroppedSource(**described, stored=stored, crop=crop, is_reduced=reduced)
        return LazySource(**described)
    return ArraySource(images=images[kept] if broken else images, **described)


def _hold(
    items: Items, size: int, on_error: OnError, num_threads: int, limit: int
) -> tuple[np.ndarray | None, tuple[int, int], dict[int, str]]:
    """The images if they take at most ``limit`` bytes, else None; their sides; what is broken."""
    if isinstance(items, ArrayItems) and not size:
        return items.images, items.stored_size(0), {}
    first, (height, width), broken = find_first(items, size, on_error)
    rows = np.arange(len(items))
    if len(items) * height * width * items.channels <= limit:
        images = np.empty((len(items), height, width, items.channels), np.uint8)
        broken |= fill_images(images, items, rows, size, on_error, num_threads, first)
        return images, (height, width), broken
    if on_error == "skip":
        shape = (height, width)
        broken |= find_broken(items, size, shape=shape, num_threads=num_threads, first=first)
    elif not size:
        check_headers(items, (height, width), num_threads, first)
    return None, (height, width), broken

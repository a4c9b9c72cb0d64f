"""Images one by one: read, resized, cropped and checked, on threads.

A reader describes its images as `Items`. Decoding any of them may fail; the functions here either
name the first broken image, in stored order, or gather all of them.

Images are resized by Pillow (its filters average over the pixels that fall together), then the
centre is cut out, with the roundings of torchvision's evaluation transforms.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augmix.arrays import MAX_PIXELS
from augmix.data.decode import (
    ImageError,
    ResizedCrop,
    decode_image,
    fit,
    resize_image,
    stored_size,
    to_pixels,
)
from augmix.errors import RunError, did_you_mean

_CHUNK = 64  # images a thread takes at a time

OnError = Literal["raise", "skip"]
Result = TypeVar("Result")


@runtime_checkable
class Items(Protocol):
    """Images by index, each made on demand by any thread."""

    @property
    def channels(self) -> int: ...

    def __len__(self) -> int: ...

    def image(self, index: int, size: int) -> np.ndarray:
        """Pixels uint8 `height width channel`; raises `ImageError` if they cannot be made."""
        ...

    def stored_size(self, index: int) -> tuple[int, int]:
        """Height and width before any resizing."""
        ...

    def where(self, index: int) -> str:
        """File or row, for messages."""
        ...

    def digest(self, rows: np.ndarray) -> str:
        """Sha256 of what is stored for these rows, labels left out."""
        ...


@runtime_checkable
class EncodedItems(Items, Protocol):
    """Images that are whole image files, wherever these lie."""

    def content(self, index: int) -> bytes:
        """The file; raises `ImageError` if it cannot be read."""
        ...


class ImageFiles(ABC):
    """What all `EncodedItems` share: their images are decoded from `content`, to RGB."""

    @property
    def channels(self) -> int:
        return 3

    @abstractmethod
    def content(self, index: int) -> bytes:
        """The file; raises `ImageError` if it cannot be read."""

    def image(self, index: int, size: int) -> np.ndarray:
        return decode_image(self.content(index), size=size)

    def stored_size(self, index: int) -> tuple[int, int]:
        return stored_size(self.content(index))


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayItems:
    """Images in memory that are yet to be resized."""

    images: UInt8[np.ndarray, "image height width channel"]
    path: str

    @property
    def channels(self) -> int:
        return self.images.shape[3]

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int, size: int) -> np.ndarray:
        pixels = self.images[index]
        return resize_image(pixels, size=size) if size else pixels

    def stored_size(self, index: int) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    def where(self, index: int) -> str:
        return f"{self.path}, image {index}"

    def digest(self, rows: np.ndarray) -> str:
        images = self.images if len(rows) == len(self) else self.images[rows]
        hasher = hashlib.sha256(repr(images.shape).encode())
        hasher.update(np.ascontiguousarray(images).data)
        return hasher.hexdigest()


def find_first(
    items: Items, size: int, on_error: OnError
) -> tuple[int, tuple[int, int], dict[int, str]]:
    """The first item that can be decoded, its height and width, and the broken ones before it."""
    broken: dict[int, str] = {}
    for row in range(len(items)):
        try:
            pixels = items.image(row, size)
        except ImageError as error:
            if on_error == "raise":
                raise broken_image(items, row, error) from error
            broken[row] = str(error)
        else:
            return row, (pixels.shape[0], pixels.shape[1]), broken
    raise RunError(
        f"expected at least one image that can be read, got none of {len(items)}; the first: "
        f"{items.where(0)}: {broken[0]}"
    )


def fill_images(
    images: np.ndarray,
    items: Items,
    rows: np.ndarray,
    size: int,
    on_error: OnError,
    num_threads: int,
    first: int,
) -> dict[int, str]:
    """Decode ``rows`` into ``images``; gives what is broken. ``first`` has the right size."""

    def fill(chunk: range) -> dict[int, str]:
        broken = {}
        for position in chunk:
            row = int(rows[position])
            try:
                pixels = items.image(row, size)
            except ImageError as error:
                if on_error == "raise":
                    raise broken_image(items, row, error) from error
                broken[row] = str(error)
            else:
                _check_size(items, row, pixels.shape[:2], first, images.shape[1:3])
                images[position] = pixels
        return broken

    return _merge(on_threads(fill, len(rows), num_threads))


def try_all(
    one: np.ndarray, items: Items, size: int, num_threads: int, first: int
) -> dict[int, str]:
    """Decode every item and keep nothing but what is broken."""

    def check(chunk: range) -> dict[int, str]:
        pixels = np.empty_like(one)
        rows = (np.array([row]) for row in chunk)
        return _merge([fill_images(pixels, items, row, size, "skip", 1, first) for row in rows])

    return _merge(on_threads(check, len(items), num_threads))


def check_headers(items: Items, expected: tuple[int, int], num_threads: int, first: int) -> None:
    """Read every header; refuse images of another size."""

    def check(chunk: range) -> None:
        for row in chunk:
            try:
                found = items.stored_size(row)
            except ImageError as error:
                raise broken_image(items, row, error) from error
            _check_size(items, row, found, first, expected)

    on_threads(check, len(items), num_threads)


def on_threads(
    work: Callable[[range], Result], count: int, num_threads: int, *, chunk: int = _CHUNK
) -> list[Result]:
    """``work`` on chunks of 0 .. count - 1, results in order; the first chunk's error wins."""
    chunks = [range(start, min(start + chunk, count)) for start in range(0, count, chunk)]
    if num_threads <= 1 or len(chunks) <= 1:
        return [work(chunk) for chunk in chunks]
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="augmix-decode")
    try:
        return list(pool.map(work, chunks))
    finally:
        pool.shutdown(cancel_futures=True)


def _merge(parts: list[dict[int, str]]) -> dict[int, str]:
    return {row: reason for part in parts for row, reason in part.items()}


def _check_size(
    items: Items, row: int, found: tuple[int, ...], first: int, expected: tuple[int, ...]
) -> None:
    if tuple(found) != tuple(expected):
        raise RunError(
            f"expected images of one size, got {expected[0]}x{expected[1]} (height x width) in "
            f"{items.where(first)} and {found[0]}x{found[1]} in {items.where(row)}; "
            "resize them all with --size, e.g. --size 32 (size=32)"
        )


def broken_image(items: Items, row: int, error: ImageError) -> RunError:
    """The error that names a broken image and the way out."""
    return RunError(
        f"cannot use image {items.where(row)} (index {row}): {error}; mend or remove it, or leave "
        "out what is broken with --on-error skip (on_error='skip')"
    )


def default_threads() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Resize the shorter side, cut the centre.

    Attributes:
        size: Side of the centre square in pixels; 0 keeps images as stored.
        resize: The shorter side before the cut, at least `size`; 0 takes the rule of
            `decoding.fit`, 256 for 224.
        interpolation: Pillow's filter, a key of `INTERPOLATIONS`.
        squash: Both sides are resized to `size`, whatever the picture's shape.
        crop: What images may be cropped by instead, at random, each time they are decoded.
        is_reduced: Whether JPEGs much larger than their crop are decoded at a reduced size.

    Raises:
        ValueError: If these do not go together.
    """

    size: int
    resize: int = 0
    interpolation: str = "bilinear"
    squash: bool = False
    crop: ResizedCrop | None = None
    is_reduced: bool = True

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            guess = did_you_mean(self.interpolation, INTERPOLATIONS)
            raise ValueError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, "
                f"got {self.interpolation!r}{guess}"
            )
        if self.crop and not self.size:
            raise ValueError(
                "random resized crops need a size, the side in pixels they are resized to; "
                "ImageNet's is 224 (--size 224)"
            )
        if self.resize and not self.size:
            raise ValueError(
                f"resize = {self.resize} needs a size, the side of the square cut out after it"
            )
        if self.resize and self.resize < self.size:
            raise ValueError(
                f"resize must be at least size = {self.size} pixels, got {self.resize}; "
                "ImageNet's usual pair is 256 and 224"
            )
        if self.squash and (not self.size or self.resize not in (0, self.size)):
            raise ValueError(
                "squash resizes both sides to size, which must be above 0, and resize must be 0 "
                f"or the same; got size {self.size}, resize {self.resize}"
            )

    @property
    def is_usual(self) -> bool:
        """Whether `decoding.fit` does the same."""
        return not (self.resize or self.squash) and (
            not self.size or self.interpolation == "bilinear"
        )

    def apply(self, image: Image.Image) -> Image.Image:
        """The square of ``size`` pixels of one image.

        Raises:
            ImageError: If the resized image, before the cut, would have too many pixels.
        """
        if self.is_usual:
            return fit(image, self.size)
        width, height = self._resized(image.size)
        if width * height > MAX_PIXELS:
            raise ImageError(
                f"expected at most {MAX_PIXELS:,} pixels, got resized {width}x{height}"
            )
        if (width, height) != image.size:
            image = image.resize((width, height), INTERPOLATIONS[self.interpolation])
        left, top = (round((side - self.size) / 2) for side in image.size)
        return image.crop((left, top, left + self.size, top + self.size))

    def _resized(self, sides: tuple[int, int]) -> tuple[int, int]:
        if self.squash:
            return self.size, self.size
        shorter = self.resize or (round(self.size * 256 / 224) if self.size >= 64 else self.size)
        width, height = (int(shorter * side / min(sides)) for side in sides)
        return width, height


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedItems:
    """Items whose images are brought to one geometry as they are made.

    Attributes:
        items: As stored.
        geometry: What is done to each; it stands above the size that is asked of `image`.
    """

    items: Items
    geometry: Geometry

    @property
    def channels(self) -> int:
        return self.items.channels

    def __len__(self) -> int:
        return len(self.items)

    def image(self, index: int, size: int) -> np.ndarray:
        pixels = self.items.image(index, 0)
        grey = pixels.shape[2] == 1
        image = Image.fromarray(pixels[..., 0] if grey else pixels)
        return to_pixels(self.geometry.apply(image))

    def stored_size(self, index: int) -> tuple[int, int]:
        return self.items.stored_size(index)

    def where(self, index: int) -> str:
        return self.items.where(index)

    def digest(self, rows: np.ndarray) -> str:
        return self.items.digest(rows)


def fit_items(items: Items, geometry: Geometry) -> tuple[Items, int]:
    """Items that carry out a geometry, and the size to ask them for."""
    if geometry.is_usual:
        return items, geometry.size
    return FittedItems(items=items, geometry=geometry), geometry.size

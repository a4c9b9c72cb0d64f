"""Images one by one: where they lie, how one is made, and many made on threads.

A reader describes its images as `Items`. Decoding any of them may fail; the functions here either
name the first broken image, in stored order, or gather all of them.
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

from augmix.data.decoding import ImageError, decode_image, resize_image, stored_size
from augmix.records import RunError

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

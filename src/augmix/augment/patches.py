"""Rectangles of finished views: noise laid over one, and a hole cut into it.

A box is ``top left bottom right``: rows top .. bottom - 1 and columns left .. right - 1, clipped at
the view's border; where bottom is not below top, or right not beyond left, there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int32, Integer, UInt32

Boxes = Int32[np.ndarray, "*batch 4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Uniform noise added inside a box, then everything in the box clipped to [0, 1].

    The noise itself is not kept: pixel n (row by row, over the whole view) takes the words of the
    Philox block n at the view's address (`Stream.addresses`), channel c the word c, and
    ``amplitude * (2 * (word + 1/2) / 2**32 - 1)`` is added. `noise_of` expands it.

    Attributes:
        box: Where the noise is.
        amplitude: Largest noise, in [0, 1] units.
        address: Counter words 1 to 3 of every view.
        seed: Key of the generator.
    """

    box: Int32[np.ndarray, "view batch 4"]
    amplitude: Float32[np.ndarray, "view batch"]
    address: UInt32[np.ndarray, "view batch 3"]
    seed: int

    def rows(self, index: slice | np.ndarray) -> "Noise":
        """The noise of some images of the batch."""
        return replace(
            self,
            box=self.box[:, index],
            amplitude=self.amplitude[:, index],
            address=self.address[:, index],
        )

    def with_clean(self) -> "Noise":
        """One more view in front, without noise."""
        return replace(
            self,
            box=add_view(self.box),
            amplitude=add_view(self.amplitude),
            address=add_view(self.address),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A box of every view that shows one colour.

    Attributes:
        box: Where nothing is left of the image.
        fill: The level shown there, in [0, 1]: one for all channels, or one for each.
    """

    box: Int32[np.ndarray, "view batch 4"]
    fill: Float32[np.ndarray, " level"]

    def levels(self, channels: int) -> Float32[np.ndarray, " channel"]:
        """The colour for images of some channels.

        Raises:
            ValueError: If it is one of another number of channels.
        """
        if len(self.fill) not in (1, channels):
            raise ValueError(
                f"the fill of a hole must have 1 or {channels} levels for images of {channels} "
                f"channel(s), got {len(self.fill)}"
            )
        return np.broadcast_to(self.fill, (channels,))

    def rows(self, index: slice | np.ndarray) -> "Hole":
        """The holes of some images of the batch."""
        return replace(self, box=self.box[:, index])

    def with_clean(self) -> "Hole":
        """One more view in front, without a hole."""
        return replace(self, box=add_view(self.box))


def join_noise(parts: Sequence[Noise]) -> Noise | None:
    """The noise of several batches of one seed; None of none."""
    if not parts:
        return None
    return replace(
        parts[0],
        box=np.concatenate([part.box for part in parts], axis=1),
        amplitude=np.concatenate([part.amplitude for part in parts], axis=1),
        address=np.concatenate([part.address for part in parts], axis=1),
    )


def join_holes(parts: Sequence[Hole]) -> Hole | None:
    """The holes of several batches of one fill; None of none."""
    if not parts:
        return None
    return replace(parts[0], box=np.concatenate([part.box for part in parts], axis=1))


def add_view(values: np.ndarray) -> np.ndarray:
    """One more view of zeros in front; a box of zeros is none."""
    return np.concatenate([np.zeros_like(values[:1]), values])


def square_boxes(
    row: Integer[np.ndarray, "*batch"],
    column: Integer[np.ndarray, "*batch"],
    height: int | Integer[np.ndarray, "*batch"],
    width: int | Integer[np.ndarray, "*batch"],
    size: tuple[int, int],
) -> Int32[np.ndarray, "*batch 4"]:
    """Boxes around centres, clipped at the border of images of a size.

    A box starts half its side, rounded down, before its centre.
    """
    top, left = row - np.asarray(height) // 2, column - np.asarray(width) // 2
    edges = [
        np.clip(top, 0, size[0]),
        np.clip(left, 0, size[1]),
        np.clip(top + height, 0, size[0]),
        np.clip(left + width, 0, size[1]),
    ]
    return np.stack(np.broadcast_arrays(*edges), axis=-1).astype(np.int32)


def is_empty(box: Int32[np.ndarray, " 4"]) -> bool:
    """Whether a box holds no pixel."""
    return bool(box[2] <= box[0] or box[3] <= box[1])


def check_boxes(name: str, box: Int32[np.ndarray, "*batch 4"], size: tuple[int, int]) -> None:
    """Refuse boxes that reach over the border of the images.

    Raises:
        ValueError: If one does; the message names the first.
    """
    limits = np.array([size[0], size[1], size[0], size[1]])
    wrong = np.argwhere(((box < 0) | (box > limits)).any(axis=-1))
    if len(wrong):
        first = box[tuple(wrong[0])].tolist()
        raise ValueError(
            f"{name} boxes (top, left, bottom, right) must lie within {size[0]}x{size[1]} pixels, "
            f"got {first}"
        )


def describe_box(box: Int32[np.ndarray, " 4"]) -> str:
    """A box for reading, e.g. ``rows 3..18, columns 0..12``."""
    top, left, bottom, right = (int(edge) for edge in box)
    return f"rows {top}..{bottom - 1}, columns {left}..{right - 1}"

"""The stages that fill a box of every view, with noise or one colour; and boxes.

A box (top, left, bottom, right) holds rows top .. bottom - 1 and columns left .. right - 1. Where
bottom is not below top, or right not beyond left, it is empty.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Integer, UInt32

from augmix.augment.stages import Pictures, Pixels, Stage, register_stage
from augmix.rng import to_uniforms, to_uniforms_torch, words_at, words_at_torch


@register_stage("noise")
@dataclass(frozen=True, slots=True, kw_only=True)
class Noise(Stage):
    """Add uniform noise inside a box of every view, then clip the box to [0, 1].

    The plan does not hold the noise but its addresses: pixel n (row by row, over the whole view)
    takes the words of Philox block n at the view's address (`Stream.addresses`), channel c word c,
    and ``amplitude * (2 * (word + 1/2) / 2**32 - 1)`` is added.

    Attributes:
        box: Top, left, bottom and right of the noise.
        amplitude: Largest noise, in [0, 1] units.
        address: Counter words 1 to 3 of every view.
        seed: Key of the generator.
    """

    box: Int32[np.ndarray, "view batch 4"]
    amplitude: Float32[np.ndarray, "view batch"]
    address: UInt32[np.ndarray, "view batch 3"]
    seed: int

    rank: ClassVar[int] = 60

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        views = pixels.copy()
        for view, index in np.ndindex(views.shape[:2]):
            top, left, bottom, right = self.box[view, index]
            rows, columns = np.mgrid[top:bottom, left:right]
            number = (rows * views.shape[4] + columns).ravel()
            words = words_at(self.address[view, index], number, self.seed)
            drawn = 2.0 * to_uniforms(words[: views.shape[2]]) - 1.0  # channel pixel
            scaled = (np.float64(self.amplitude[view, index]) * drawn).astype(np.float32)
            box = views[view, index, :, top:bottom, left:right]
            box[...] = np.clip(box + scaled.reshape(box.shape), 0, 1)
        return views

    @staticmethod
    def apply_torch(pixels: Any, *, box: Any, amplitude: Any, address: Any, seed: int) -> Any:
        import torch

        num_views, batch, channels, height, width = pixels.shape
        number = torch.arange(height * width, device=pixels.device).expand(num_views, batch, -1)
        words = words_at_torch(address, number, seed)[:channels]
        drawn = 2.0 * to_uniforms_torch(torch.stack(words, dim=2))
        amplitude = amplitude.to(drawn.dtype).reshape(num_views, batch, 1, 1)
        noise = (amplitude * (drawn - 1.0)).float().unflatten(3, (height, width))
        return torch.where(pixels_inside(box, pixels), (pixels + noise).clamp(0, 1), pixels)

    def check(self, size: tuple[int, int]) -> None:
        check_boxes("noise", self.box, size)

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        return _describe(f"noise up to {self.amplitude[view, index]:.2f}", self.box[view, index])


@register_stage("hole")
@dataclass(frozen=True, slots=True, kw_only=True)
class Hole(Stage):
    """Cover a box of every view with one colour.

    Attributes:
        box: Top, left, bottom and right of what is covered.
        fill: The level shown there, in [0, 1]: one for all channels, or one for each.
    """

    box: Int32[np.ndarray, "view batch 4"]
    fill: Float32[np.ndarray, " level"]

    rank: ClassVar[int] = 70

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        views = pixels.copy()
        for view, index in np.ndindex(views.shape[:2]):
            top, left, bottom, right = self.box[view, index]
            views[view, index, :, top:bottom, left:right] = self.fill[:, None, None]
        return views

    @staticmethod
    def apply_torch(pixels: Any, *, box: Any, fill: Any) -> Any:
        import torch

        return torch.where(pixels_inside(box, pixels), fill.reshape(-1, 1, 1), pixels)

    def check(self, size: tuple[int, int]) -> None:
        check_boxes("hole", self.box, size)

    def check_channels(self, channels: int) -> None:
        if len(self.fill) not in (1, channels):
            raise ValueError(
                f"the fill of a hole must have 1 or {channels} levels for images of {channels} "
                f"channel(s), got {len(self.fill)}"
            )

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        levels = ", ".join(f"{level:.2f}" for level in self.fill)
        return _describe(f"level {levels}", self.box[view, index])


def boxes_around(
    centre: Float64[np.ndarray, "*batch 2"],
    height: int | Integer[np.ndarray, "*batch"],
    width: int | Integer[np.ndarray, "*batch"],
    size: tuple[int, int],
) -> Int32[np.ndarray, "*batch 4"]:
    """Boxes around the pixels at uniforms in [0, 1), clipped at the border of the images.

    A box starts half its height and width, rounded down, before its centre.
    """
    extent = np.stack([height, width], axis=-1)
    first = (centre * size).astype(np.int64) - extent // 2
    edges = np.concatenate([first, first + extent], axis=-1)
    return np.clip(edges, 0, [*size, *size]).astype(np.int32)


def check_boxes(name: str, box: Int32[np.ndarray, "*batch 4"], size: tuple[int, int]) -> None:
    """Refuse boxes that reach over the border of the images; the message names the first."""
    wrong = box[((box < 0) | (box > [*size, *size])).any(axis=-1)]
    if len(wrong):
        raise ValueError(
            f"{name} boxes (top, left, bottom, right) must lie within {size[0]}x{size[1]} pixels, "
            f"got {wrong[0].tolist()}"
        )


def describe_box(box: Int32[np.ndarray, " 4"]) -> str:
    """A box for reading, e.g. ``rows 3..18, columns 0..12``."""
    top, left, bottom, right = box.tolist()
    return f"rows {top}..{bottom - 1}, columns {left}..{right - 1}"


def pixels_inside(box: Any, views: Any) -> Any:
    """Which pixels of a view lie in its box: bool tensor `view batch 1 height width`."""
    import torch

    top, left, bottom, right = box[..., None, None, None].unbind(2)
    rows = torch.arange(views.shape[3], device=views.device)[:, None]
    columns = torch.arange(views.shape[4], device=views.device)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _describe(what: str, box: Int32[np.ndarray, " 4"]) -> list[str]:
    is_empty = box[2] <= box[0] or box[3] <= box[1]
    return [] if is_empty else [f"{what} in {describe_box(box)}"]

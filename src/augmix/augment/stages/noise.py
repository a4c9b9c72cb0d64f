"""The stage of Patch Uniform and of an attack's start: uniform noise inside a box of every view."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt32

from augmix.augment.stages import (
    Pictures,
    Pixels,
    Stage,
    check_boxes,
    describe_box,
    is_empty,
    pixels_inside,
    register_stage,
)
from augmix.rng import philox4x32, philox4x32_torch, to_uniforms, to_uniforms_torch


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
            counter = np.empty((4, rows.size), np.uint32)
            counter[0] = (rows * views.shape[4] + columns).ravel()
            counter[1:] = self.address[view, index][:, None]
            words = philox4x32(counter, self.seed)[: views.shape[2]]  # channel pixel
            drawn = 2.0 * to_uniforms(words) - 1.0
            scaled = (np.float64(self.amplitude[view, index]) * drawn).astype(np.float32)
            box = views[view, index, :, top:bottom, left:right]
            box[...] = np.clip(box + scaled.reshape(box.shape), 0, 1)
        return views

    @staticmethod
    def apply_torch(pixels: Any, *, box: Any, amplitude: Any, address: Any, seed: int) -> Any:
        import torch

        num_views, batch, channels, height, width = pixels.shape
        number = torch.arange(height * width, device=pixels.device).expand(num_views, batch, -1)
        counter = [number, *(word[..., None].expand_as(number) for word in address.unbind(-1))]
        words = philox4x32_torch(counter, seed)[:channels]
        drawn = 2.0 * to_uniforms_torch(torch.stack(words, dim=2))
        amplitude = amplitude.to(drawn.dtype).reshape(num_views, batch, 1, 1)
        noise = (amplitude * (drawn - 1.0)).float().unflatten(3, (height, width))
        return torch.where(pixels_inside(box, pixels), (pixels + noise).clamp(0, 1), pixels)

    def check(self, size: tuple[int, int]) -> None:
        check_boxes("noise", self.box, size)

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        box = self.box[view, index]
        if is_empty(box):
            return []
        return [f"noise up to {self.amplitude[view, index]:.2f} in {describe_box(box)}"]

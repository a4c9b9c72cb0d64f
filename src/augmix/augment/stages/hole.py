"""The stage of Cutout: a box of every view that shows one colour."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Int32, Int64

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
        box = self.box[view, index]
        if is_empty(box):
            return []
        levels = ", ".join(f"{level:.2f}" for level in self.fill)
        return [f"level {levels} in {describe_box(box)}"]

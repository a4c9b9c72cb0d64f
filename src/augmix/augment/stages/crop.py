"""The first stage: images mirrored, padded with black and cropped, alike in all views."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int32, Int64

from augmix.augment.stages import Form, Pictures, Pixels, Stage, register_stage


@register_stage("crop")
@dataclass(frozen=True, slots=True, kw_only=True)
class CropFlip(Stage):
    """Mirror an image, then pad it with black and crop it to its size; once for all its views.

    Attributes:
        padding: Black border in pixels on every edge before the crop; 0 means no crop.
        crop: Row and column of the crop's corner in the padded image, 0 .. 2 * padding.
        flip: Whether the image is mirrored left to right, before the crop.
    """

    padding: int
    crop: Int32[np.ndarray, "batch 2"]
    flip: Bool[np.ndarray, " batch"]

    takes: ClassVar[Form] = "images"
    gives: ClassVar[Form] = "images"
    rank: ClassVar[int] = 10

    def check_values(self) -> None:
        least, most = min(0, self.crop.min(initial=0)), self.crop.max(initial=0)
        if not 0 <= self.padding < 2**15 or least < 0 or most > 2 * self.padding:
            raise ValueError(
                f"crops must be 0..{2 * self.padding} for a padding of {self.padding}, "
                f"got {least}..{most}"
            )

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        if not (self.padding or self.flip.any()):
            return pixels
        height, width = pixels.shape[2:4]
        border = (self.padding, self.padding)
        result = np.empty_like(pixels)
        for index, (row, column) in enumerate(self.crop):
            images = pixels[:, index]
            if self.flip[index]:
                images = images[:, :, ::-1]
            if self.padding:
                padded = np.pad(images, ((0, 0), border, border, (0, 0)))
                images = padded[:, row : row + height, column : column + width]
            result[:, index] = images
        return result

    @staticmethod
    def apply_torch(pixels: Any, *, padding: int, crop: Any, flip: Any) -> Any:
        import torch

        batch, height, width = pixels.shape[1:4]
        index = [torch.arange(size, device=pixels.device) for size in (batch, height, width)]
        image, row, column = index[0][:, None, None], index[1][None, :, None], index[2]
        row = row + crop[:, :1, None].long() - padding  # batch height 1
        column = column + crop[:, 1:, None].long() - padding  # batch 1 width
        is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        column = torch.where(flip[:, None, None], width - 1 - column, column)
        taken = pixels[:, image, row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return torch.where(is_inside[..., None], taken, 0)

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        words = ["mirrored"] if self.flip[index] else []
        if self.padding:
            row, column = (int(offset) - self.padding for offset in self.crop[index])
            words.append(f"moved {-row:+d} px down, {-column:+d} px right")
        return [", ".join(words)] if words else []

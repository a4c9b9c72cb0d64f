"""Which part of an image is kept, and at what size: the geometric half of a model's preprocessing.

Images are resized by Pillow (its filters average over the pixels that fall together), then the
centre is cut out, with the roundings of torchvision's evaluation transforms.
"""

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from PIL import Image

from augmix.data.crops import ResizedCrop
from augmix.data.decoding import ImageError, fit, to_pixels
from augmix.data.items import Items
from augmix.images import MAX_PIXELS

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
            near = get_close_matches(self.interpolation, INTERPOLATIONS, n=1, cutoff=0.3)
            guess = f"; did you mean {near[0]!r}?" if near else ""
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

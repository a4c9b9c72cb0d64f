"""How a model's images are prepared.

Preprocessing acts in two places. A source resizes and crops when it decodes an image; corruptions
then change the cropped uint8 image. Range, mean and standard deviation are applied by the first
layer of the model, so that everything in between works on images in [0, 1].
"""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from augmix.errors import check_fields, check_name
from augmix.models import IMAGENET_MEAN, IMAGENET_STD

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image of any size becomes the input of a network.

    The shorter edge is resized to `resize` (with `squash`, both edges) and the centre of
    ``crop x crop`` pixels is cut out. Its values are scaled to `input_range` and normalised:
    ``(value - mean) / std``.

    Attributes:
        resize: Shorter edge after resizing, in pixels; at least `crop`; 0 only if crop is 0.
        crop: Height and width of the centre crop in pixels; 0 takes images as they are stored.
        interpolation: Pillow's resizing filter, one of `INTERPOLATIONS`; all but ``nearest``
            antialias.
        mean: Subtracted from every channel, in the units of `input_range`.
        std: Every channel is then divided by it; above 0.
        input_range: Values of black (0) and white (255) before normalisation.
        squash: Whether both edges are resized to `resize`, whatever the image's shape.

    Raises:
        ValueError: If a value is out of range.

    Example:
        >>> Preprocessing(resize=256, crop=224).geometry["resize"]
        256
    """

    resize: int = 0
    crop: int = 0
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    input_range: tuple[float, float] = (0.0, 1.0)
    squash: bool = False

    def __post_init__(self) -> None:
        if self.crop < 0 or (self.crop == 0 and self.resize != 0):
            raise ValueError(
                "crop must be above 0 where images are resized, or crop and resize both 0 for "
                f"images as stored; got crop {self.crop}, resize {self.resize}"
            )
        if self.resize < self.crop:
            raise ValueError(
                f"resize must be at least crop = {self.crop} pixels, got {self.resize}; "
                "ImageNet's usual pair is 256 and 224"
            )
        if self.squash and self.resize != self.crop:
            raise ValueError(
                f"squash resizes both edges to the crop, so resize must be {self.crop}, "
                f"got {self.resize}"
            )
        check_name("interpolation", self.interpolation, INTERPOLATIONS)
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ValueError(
                "mean and std must have one number per channel, 1 or 3, "
                f"got {self.mean} and {self.std}"
            )
        low, high = self.input_range
        if not all(map(isfinite, (*self.mean, *self.std, low, high))):
            raise ValueError("mean, std and input_range must be finite")
        check_fields(self, std=(min(self.std) > 0, "above 0 in every channel"))
        if not low < high:
            raise ValueError(f"input_range must rise from black to white, got {self.input_range}")

    @property
    def geometry(self) -> dict[str, Any]:
        """Return the part that a source applies, as arguments of `open_source`."""
        return {
            "size": self.crop,
            "resize": self.resize,
            "interpolation": self.interpolation,
            "squash": self.squash,
        }


PRESETS = {
    "none": Preprocessing(),
    "half": Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "imagenet": Preprocessing(resize=256, crop=224, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "imagenet-bicubic": Preprocessing(
        resize=256, crop=224, interpolation="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD
    ),
    "imagenet-half": Preprocessing(
        resize=256, crop=224, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    ),
    "imagenet-none": Preprocessing(resize=256, crop=224),
}
PRESETS["efficientnet-lite"] = replace(  # inputs (pixel - 127) / 128: the released models
    PRESETS["imagenet-bicubic"], mean=(127.0,) * 3, std=(128.0,) * 3, input_range=(0.0, 255.0)
)


def choose_preprocessing(preset: str, **changes: Any) -> Preprocessing:
    """Return a preset, with some of its fields replaced.

    Args:
        preset: A key of `PRESETS`.
        changes: Fields of `Preprocessing` to replace; None keeps a field. A ``crop`` without a
            ``resize`` resizes in proportion, 256 for 224.

    Raises:
        ValueError: If there is no such preset, or the fields do not fit each other.

    Example:
        >>> choose_preprocessing("imagenet", crop=112).resize
        128
    """
    check_name("preprocessing", preset, PRESETS)
    wanted = {name: value for name, value in changes.items() if value is not None}
    if wanted.get("crop") and "resize" not in wanted:
        is_squashed = wanted.get("squash", PRESETS[preset].squash)
        wanted["resize"] = round(wanted["crop"] * (1 if is_squashed else 256 / 224))
    return replace(PRESETS[preset], **wanted)

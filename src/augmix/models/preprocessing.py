"""What a model wants done to a photograph before it looks at it: stated once, used in two places.

The geometry (resize, crop, interpolation) is applied by the source when it decodes; corruptions
then damage the cropped uint8 image. The photometric part (range, mean, deviation) is the first
layer in front of the network, so everything between works on images in [0, 1].
"""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from augmix.errors import did_you_mean

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From a photograph of any size to what a network takes.

    The shorter side is resized to `resize` (with `squash`, both sides), the centre of
    ``crop x crop`` pixels is cut out; its values, brought to `input_range`, are then normalised:
    ``(value - mean) / std``.

    Attributes:
        resize: Shorter side after resizing, in pixels; at least `crop`; 0 only if crop is 0.
        crop: Side of the centre square in pixels; 0 takes images as they are stored.
        interpolation: Pillow's filter for resizing, of `INTERPOLATIONS`; all but ``nearest``
            average over the pixels that fall together.
        mean: Subtracted from every channel, in the units of `input_range`.
        std: Every channel is then divided by it; above 0.
        input_range: What black (0) and white (255) become before normalisation.
        squash: Both sides are resized to `resize`, whatever the picture's shape.

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
                f"squash resizes both sides to the crop, so resize must be {self.crop}, "
                f"got {self.resize}"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, "
                f"got {self.interpolation!r}{did_you_mean(self.interpolation, INTERPOLATIONS)}"
            )
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ValueError(
                "mean and std must have one number a channel, 1 or 3, "
                f"got {self.mean} and {self.std}"
            )
        low, high = self.input_range
        if not all(map(isfinite, (*self.mean, *self.std, low, high))):
            raise ValueError("mean, std and input_range must be finite")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std must be above 0 in every channel, got {self.std}")
        if not low < high:
            raise ValueError(f"input_range must rise from black to white, got {self.input_range}")

    @property
    def geometry(self) -> dict[str, Any]:
        """The part a source carries out, as arguments of `data.sources.open_source`."""
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
    # inputs (pixel - 127) / 128, bicubic: the released EfficientNet-Lite models
    "efficientnet-lite": Preprocessing(
        resize=256,
        crop=224,
        interpolation="bicubic",
        mean=(127.0,) * 3,
        std=(128.0,) * 3,
        input_range=(0.0, 255.0),
    ),
}


def choose_preprocessing(preset: str, **changes: Any) -> Preprocessing:
    """A preset by name, some of its fields replaced.

    Args:
        preset: A key of `PRESETS`.
        changes: Fields of `Preprocessing` that differ; None leaves a field as it is. A ``crop``
            without a ``resize`` resizes in proportion, 256 for 224.

    Raises:
        ValueError: If there is no such preset, or the fields do not go together.

    Example:
        >>> choose_preprocessing("imagenet", crop=112).resize
        128
    """
    if preset not in PRESETS:
        raise ValueError(
            f"preprocessing must be one of {', '.join(PRESETS)}, "
            f"got {preset!r}{did_you_mean(preset, PRESETS)}"
        )
    wanted = {name: value for name, value in changes.items() if value is not None}
    if wanted.get("crop") and "resize" not in wanted:
        crop = wanted["crop"]
        squash = wanted.get("squash", PRESETS[preset].squash)
        wanted["resize"] = crop if squash else round(crop * 256 / 224)
    return replace(PRESETS[preset], **wanted)


class Photometry(nn.Module):
    """The photometric part of a `Preprocessing` as a layer without weights.

    Its numbers are no entry of the state dict. A mean and deviation of one channel serve images of
    any number of channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        low, high = preprocessing.input_range
        scale = high - low
        mean = [(value - low) / scale for value in preprocessing.mean]
        std = [value / scale for value in preprocessing.std]
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """Images in [0, 1] -> what the network takes.

        Raises:
            ValueError: If the images have another number of channels.
        """
        channels = len(self.mean)
        if channels > 1 and images.shape[1] != channels:
            raise ValueError(
                f"this model takes images of {channels} channels "
                f"[batch channel height width], got shape {tuple(images.shape)}"
            )
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """The numbers in [0, 1] units, for printing a model."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"

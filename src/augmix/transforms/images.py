"""What data sets hand out, as a batch, and a finished batch back in the type that came in."""

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from augmix import images as convention

Batch = UInt8[np.ndarray, "batch height width channel"]


def to_batch(image: Any) -> Batch:
    """Any accepted image as uint8 `batch height width channel`.

    Raises:
        ValueError: If the image is of another mode, type or shape.
    """
    if isinstance(image, Image.Image):
        if image.mode not in ("L", "RGB"):
            raise ValueError(
                f"a PIL image must be of mode L or RGB, got {image.mode}; "
                f"convert it first, e.g. image.convert('{_suggested_mode(image.mode)}')"
            )
        pixels = np.asarray(image)
        batch = pixels[None, :, :, None] if image.mode == "L" else pixels[None]
    elif isinstance(image, torch.Tensor):
        if image.dtype != torch.uint8 or image.ndim not in (3, 4):
            raise ValueError(
                "a tensor must be uint8 [channel height width] or [batch channel height width], "
                f"got {image.dtype} of shape {tuple(image.shape)}"
            )
        if image.device.type != "cpu":
            raise ValueError(f"a tensor must lie on the CPU, got device {image.device}")
        pixels = image.numpy()
        batch = convention.to_channels_last(pixels if image.ndim == 4 else pixels[None])
    elif isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise ValueError(
                "an array must be uint8 [height width channel] or [height width], "
                f"got {image.dtype} of shape {image.shape}"
            )
        batch = image[None, :, :, None] if image.ndim == 2 else image[None]
    else:
        raise ValueError(
            "an image must be a PIL image, a uint8 NumPy array or a uint8 tensor, "
            f"got {type(image).__name__}"
        )
    return convention.check_images(batch, where=f"the {type(image).__name__}")


def from_batch(batch: Batch, image: Any) -> Any:
    """A finished batch in the type, mode and layout of the image that it was made from."""
    if isinstance(image, Image.Image):
        return Image.fromarray(batch[0, :, :, 0] if image.mode == "L" else batch[0])
    if isinstance(image, torch.Tensor):
        first = torch.from_numpy(np.ascontiguousarray(convention.to_channels_first(batch)))
        return first if image.ndim == 4 else first[0]
    return batch[0, :, :, 0] if image.ndim == 2 else batch[0]


def is_batch(image: Any) -> bool:
    """Whether it is a tensor of several images."""
    return isinstance(image, torch.Tensor) and image.ndim == 4


def _suggested_mode(mode: str) -> str:
    return "L" if mode in ("1", "I;16", "I", "F", "LA") else "RGB"

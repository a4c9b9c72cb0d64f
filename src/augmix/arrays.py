"""Layouts of image batches, and conversions between them.

Stored images are uint8 `batch height width channel`, RGB or grey; views, and what models take, are
float32 `batch channel height width` in [0, 1].
"""

from typing import Any, TypeVar

import numpy as np
from einops import rearrange
from jaxtyping import Float32, UInt8
from PIL import Image

Images = UInt8[np.ndarray, "batch height width channel"]
Views = Float32[np.ndarray, "view batch channel height width"]

MAX_PIXELS = 178_956_970  # an image above this is refused as a bomb, as Pillow does

Array = TypeVar("Array")


def check_images(images: Any, *, where: str = "images") -> Images:
    """Return the batch if it is uint8 `batch height width channel` with 1 or 3 channels.

    Raises:
        TypeError: If it is not a uint8 NumPy array.
        ValueError: If its shape is not four axes with 1 or 3 channels last, or it has no pixel.
    """
    if not isinstance(images, np.ndarray):
        raise TypeError(
            f"{where} must be a uint8 NumPy array [batch height width channel], "
            f"got {type(images).__name__}"
        )
    if images.dtype != np.uint8:
        raise TypeError(
            f"{where} must be uint8 in 0..255, got {images.dtype}; "
            "convert with augmix.arrays.to_uint8 if it is float in [0, 1]"
        )
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(
            f"{where} must be [batch height width channel] with 1 or 3 channels, "
            f"got shape {tuple(images.shape)}"
        )
    if 0 in images.shape[1:]:
        raise ValueError(f"{where} must have at least one pixel, got shape {tuple(images.shape)}")
    return images


def to_channels_first(images: Array) -> Array:
    """Convert `batch height width channel` to `batch channel height width`; NumPy or torch."""
    return rearrange(images, "batch height width channel -> batch channel height width")


def to_channels_last(images: Array) -> Array:
    """Convert `batch channel height width` to `batch height width channel`; NumPy or torch."""
    return rearrange(images, "batch channel height width -> batch height width channel")


def to_float(images: Images) -> Float32[np.ndarray, "batch channel height width"]:
    """Convert grey levels 0..255 to float32 in [0, 1], channels first: exactly v / 255."""
    first = np.ascontiguousarray(to_channels_first(images))
    return first.astype(np.float32) / np.float32(255)


def to_uint8(images: Float32[np.ndarray, "*batch"]) -> UInt8[np.ndarray, "*batch"]:
    """Convert floats in [0, 1] to grey levels: clipped, and rounded to nearest, half to even."""
    levels = np.clip(images, 0, 1)
    levels *= np.float32(255)
    return np.rint(levels, out=levels).astype(np.uint8)


def to_pillow(image: UInt8[np.ndarray, "height width channel"]) -> Image.Image:
    """Convert an RGB or grey array to a picture of mode RGB or L."""
    return Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))


def from_pillow(picture: Image.Image) -> UInt8[np.ndarray, "height width channel"]:
    """Convert a picture of mode RGB or L to an array."""
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation of every channel of a batch, in [0, 1] units."""
    levels = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(images.shape[3]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        fraction = counts / counts.sum()
        mean = float(fraction @ levels)
        means.append(mean)
        stds.append(float(np.sqrt(max(fraction @ (levels - mean) ** 2, 0.0))))
    return tuple(means), tuple(stds)

"""Layouts of image batches, and conversions between them.

Stored images are uint8 `batch height width channel`, RGB or grey; views, and what models take, are
float32 `batch channel height width` in [0, 1].
"""

import sys
from typing import Any, TypeVar

import numpy as np
from einops import rearrange
from jaxtyping import Float32, Shaped, UInt8
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


def to_batch(image: Any) -> Images:
    """Convert an image, or a batch of them, to a batch of arrays.

    Args:
        image: A PIL image of mode L or RGB; a uint8 array `height width`, `height width channel` or
            `batch height width channel`; or a uint8 tensor on the CPU, `channel height width` or
            `batch channel height width`. There are 1 or 3 channels.

    Raises:
        TypeError: If it is of another type or dtype.
        ValueError: If it is of another mode, shape or device.
    """
    if isinstance(image, Image.Image):
        if image.mode not in ("L", "RGB"):
            raise ValueError(
                f"a PIL image must be of mode L or RGB, got {image.mode}; {_way_to_levels(image)}"
            )
        return from_pillow(image)[None]
    if is_tensor(image):
        if str(image.dtype) != "torch.uint8":
            raise TypeError(
                f"a tensor must be uint8 in 0..255, got {image.dtype} of shape "
                f"{tuple(image.shape)}; if it is float in [0, 1], give "
                "(255 * image).round().to(torch.uint8), or take the step before ToTensor"
            )
        if image.device.type != "cpu":
            raise ValueError(f"a tensor must lie on the CPU, got device {image.device}")
        axes, is_last = "[channel height width] or [batch channel height width]", False
    elif isinstance(image, np.ndarray):
        if image.dtype != np.uint8:
            raise TypeError(
                f"an array must be uint8 in 0..255, got {image.dtype}; "
                "convert with augmix.arrays.to_uint8 if it is float in [0, 1]"
            )
        axes = "[height width channel], [batch height width channel] or [height width]"
        is_last = True
        if image.ndim == 2:
            image = image[:, :, None]
    else:
        raise TypeError(
            "an image must be a PIL image, a uint8 NumPy array or a uint8 tensor, "
            f"got {type(image).__name__}"
        )
    kind, shape = "array" if is_last else "tensor", tuple(image.shape)
    if len(shape) not in (3, 4) or shape[-1 if is_last else -3] not in (1, 3):
        raise ValueError(
            f"the {kind} must be uint8 {axes} with 1 or 3 channels, got shape {shape}"
            + _way_to_layout(shape, is_last=is_last)
        )
    pixels: Any = image if is_last else np.asarray(image)
    batch = pixels if len(shape) == 4 else pixels[None]
    return check_images(batch if is_last else to_channels_last(batch), where=f"the {kind}")


def from_batch(batch: Shaped[np.ndarray, "batch *frame height width channel"], image: Any) -> Any:
    """Convert a batch to the type and layout of the image that it was made from by `to_batch`.

    A batch of sequences, `batch frame height width channel`, has an axis more; of a PIL image it
    becomes a list of them.
    """
    if isinstance(image, Image.Image):
        one = batch[0]
        return [to_pillow(frame) for frame in one] if one.ndim == 4 else to_pillow(one)
    if is_tensor(image):
        first = np.ascontiguousarray(np.moveaxis(batch, -1, -3))
        return sys.modules["torch"].from_numpy(first if image.ndim == 4 else first[0])
    if image.ndim == 4:
        return batch
    return batch[0, ..., 0] if image.ndim == 2 else batch[0]


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor; torch is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _way_to_levels(image: Image.Image) -> str:
    """How a picture of another mode becomes one of 8 bits, without cutting off its levels."""
    if image.mode.startswith("I;16"):
        return "convert it first, e.g. Image.fromarray((np.asarray(image) // 257).astype('uint8'))"
    if image.mode in ("I", "F"):
        return (
            "convert it first to levels of 0..255, e.g. Image.fromarray((np.asarray(image) * "
            "(255 / LARGEST)).astype('uint8')) with the largest value that its pixels can have"
        )
    mode = "L" if image.mode in ("1", "LA", "La") else "RGB"
    return f"convert it first, e.g. image.convert('{mode}')"


def _way_to_layout(shape: tuple[int, ...], *, is_last: bool) -> str:
    """What turns an image of a wrong layout into a right one, where the shape tells."""
    channels = shape[-1 if is_last else -3] if len(shape) in (3, 4) else 0
    elsewhere = shape[-3 if is_last else -1] if len(shape) in (3, 4) else 0
    if elsewhere in (1, 3, 4):
        order = [0, 1, 2, 3][: len(shape)]
        order = [*order[:-3], *([-2, -1, -3] if is_last else [-1, -3, -2])]
        axes = ", ".join(str(axis % len(shape)) for axis in order)
        was = "channel height width" if is_last else "height width channel"
        call = "transpose" if is_last else "permute"
        return f", which looks like [{was}]; give image.{call}({axes})"
    if channels == 4:
        part = "image[..., :3]" if is_last else "image[..., :3, :, :]"
        return f"; without an alpha channel it is {part}"
    if len(shape) == 3 and is_last:
        return "; a batch of grey images is image[..., None]"
    if len(shape) == 2:
        return "; a grey image is image[None]"
    return ""


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

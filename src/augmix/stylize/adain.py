"""Adaptive instance normalisation.

Huang and Belongie (2017), "Arbitrary style transfer in real-time with adaptive instance
normalization". A style is the mean and std of every channel of its features (`ChannelStatistics`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from augmix import arrays

VARIANCE_FLOOR = 1e-5  # added to every variance before its root (released code)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """A style: mean and std of every channel of its features.

    Attributes:
        mean: Mean over the pixels of a feature map.
        std: Root of the unbiased variance plus 1e-5.
    """

    mean: Float[Tensor, "batch channel"]
    std: Float[Tensor, "batch channel"]


def channel_statistics(features: Float[Tensor, "batch channel height width"]) -> ChannelStatistics:
    """Compute mean and std of every channel over the pixels of each image.

    Raises:
        ValueError: If a feature map has a single pixel, which has no variance.
    """
    if features.shape[2] * features.shape[3] < 2:
        raise ValueError(
            "features must have at least 2 pixels for a variance, got shape "
            f"{tuple(features.shape)}; take larger images or a shallower stage"
        )
    pixels = features.flatten(2).float()
    variance, mean = torch.var_mean(pixels, dim=2, correction=1)
    return ChannelStatistics(mean=mean, std=(variance + VARIANCE_FLOOR).sqrt())


def adapt(
    content: Float[Tensor, "batch channel height width"],
    style: ChannelStatistics,
    *,
    alpha: float = 1.0,
) -> Float[Tensor, "batch channel height width"]:
    """Give the features of the content the channel statistics of the style.

    t = (f - mean_c) / std_c * std_s + mean_s, then alpha t + (1 - alpha) f (equations 8 and 14).

    Args:
        content: Features of the content images.
        style: One style per image.
        alpha: Strength of the style, 0..1; 0 leaves the features unchanged.

    Raises:
        ValueError: If alpha is out of range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be 0..1, got {alpha}")
    own = channel_statistics(content)
    normalised = (content - _per_pixel(own.mean)) / _per_pixel(own.std)
    adapted = normalised * _per_pixel(style.std) + _per_pixel(style.mean)
    return alpha * adapted + (1 - alpha) * content


class Stylizer(nn.Module):
    """Stylise images: an encoder, `adapt`, and a decoder.

    Attributes:
        encoder: Images in [0, 1] -> features of its stages; the last stage is adapted.
        decoder: Features of the last stage -> images, not yet clipped to [0, 1].
        stride: Image pixels per pixel of the last stage; images of other sizes are padded.
        scale: Whole factor by which images are enlarged first, and averaged back at the end.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, stride: int, scale: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.stride = stride
        self.scale = scale

    def encode_style(self, styles: Float[Tensor, "batch 3 height width"]) -> ChannelStatistics:
        """Compute the statistics of style images, which are not enlarged."""
        return channel_statistics(self.encoder(styles)[-1])

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"],
        style: ChannelStatistics,
        *,
        alpha: float,
    ) -> Float[Tensor, "batch 3 height width"]:
        """Stylise images; the results have their size and are clipped to [0, 1]."""
        height, width = (self.scale * size for size in images.shape[2:])
        content = self.encoder(pad_to_stride(enlarge(images, self.scale), self.stride))[-1]
        stylised = self.decoder(adapt(content, style, alpha=alpha))[..., :height, :width]
        return F.avg_pool2d(stylised.float().clamp(0, 1), self.scale)


def enlarge(
    images: Float[Tensor, "batch channel height width"], scale: int
) -> Float[Tensor, "batch channel larger_height larger_width"]:
    """Enlarge images ``scale`` times by bicubic interpolation, clipped to [0, 1]."""
    if scale == 1:
        return images
    larger = F.interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False)
    return larger.clamp(0, 1)


def pad_to_stride(
    images: Float[Tensor, "batch channel height width"], stride: int
) -> Float[Tensor, "batch channel padded_height padded_width"]:
    """Pad images to multiples of ``stride`` by repeating the last row and column."""
    bottom, right = (-size % stride for size in images.shape[2:])
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images


def to_floats(
    batch: UInt8[np.ndarray, "batch height width channel"],
) -> Float32[Tensor, "batch channel height width"]:
    """Convert uint8 images to a tensor in [0, 1]."""
    return torch.from_numpy(arrays.to_float(batch))


def to_bytes(
    images: Float32[Tensor, "batch channel height width"],
) -> UInt8[np.ndarray, "batch height width channel"]:
    """Round images in [0, 1] to uint8."""
    return np.ascontiguousarray(arrays.to_channels_last(arrays.to_uint8(images.cpu().numpy())))


def describe_arithmetic(device: torch.device) -> dict[str, Any]:
    """Return what the last bits depend on: device, torch's version, threads."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability()
    )
    facts = {"device": f"{device.type} {name}", "torch": str(torch.__version__)}
    return {**facts, "threads": torch.get_num_threads() if device.type == "cpu" else 0}


def _per_pixel(values: Float[Tensor, "batch channel"]) -> Float[Tensor, "batch channel 1 1"]:
    return values[:, :, None, None]

"""Adaptive instance normalisation.

Huang and Belongie (2017), "Arbitrary style transfer in real-time with adaptive instance
normalization". A style is nothing but the mean and the deviation of every channel of its features
(`Statistics`), so a style picture is encoded once and its statistics are kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from augmix import arrays


def arithmetic(device: torch.device) -> dict[str, Any]:
    """What decides about the last bits: device, torch's version, threads."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability()
    )
    facts = {"device": f"{device.type} {name}", "torch": str(torch.__version__)}
    return {**facts, "threads": torch.get_num_threads() if device.type == "cpu" else 0}


def to_floats(
    batch: UInt8[np.ndarray, "batch height width channel"],
) -> Float32[Tensor, "batch channel height width"]:
    """Grey levels as a tensor in [0, 1]."""
    return torch.from_numpy(arrays.to_float(batch))


def to_levels(
    painted: Float32[Tensor, "batch channel height width"],
) -> UInt8[np.ndarray, "batch height width channel"]:
    """Pictures in [0, 1] as grey levels 0..255, rounded to nearest."""
    return np.ascontiguousarray(arrays.to_channels_last(arrays.to_uint8(painted.cpu().numpy())))


VARIANCE_FLOOR = 1e-5  # added to every variance before its root (released code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a style is: mean and deviation of every channel of its features.

    Attributes:
        mean: Over the pixels of a feature map.
        std: Root of the unbiased variance plus 1e-5.
    """

    mean: Float[Tensor, "batch channel"]
    std: Float[Tensor, "batch channel"]


def channel_statistics(features: Float[Tensor, "batch channel height width"]) -> Statistics:
    """Mean and deviation of every channel over the pixels of each image.

    Raises:
        ValueError: If a feature map has a single pixel, of which there is no variance.
    """
    if features.shape[2] * features.shape[3] < 2:
        raise ValueError(
            "features must have at least 2 pixels for a variance, got shape "
            f"{tuple(features.shape)}; take larger images or a shallower stage"
        )
    pixels = features.flatten(2).float()
    variance, mean = torch.var_mean(pixels, dim=2, correction=1)
    return Statistics(mean=mean, std=(variance + VARIANCE_FLOOR).sqrt())


def adapt(
    content: Float[Tensor, "batch channel height width"], style: Statistics, *, alpha: float = 1.0
) -> Float[Tensor, "batch channel height width"]:
    """Features with the layout of the content and the channel statistics of the style.

    t = (f - mean_c) / std_c * std_s + mean_s, then alpha t + (1 - alpha) f (equations 8 and 14).

    Args:
        content: Features of the content images.
        style: One style an image.
        alpha: Share of the style, 0..1; 0 leaves the features as they are.

    Raises:
        ValueError: If alpha is out of range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be 0..1, got {alpha}")
    own = channel_statistics(content)
    normalised = (content - _spread(own.mean)) / _spread(own.std)
    adapted = normalised * _spread(style.std) + _spread(style.mean)
    return alpha * adapted + (1 - alpha) * content


class Painter(nn.Module):
    """Content and style in, the stylised picture out: an encoder, `adapt`, and a decoder.

    Attributes:
        encoder: Images in [0, 1] -> features of its stages; the last stage is adapted.
        decoder: Features of the last stage -> images, not yet clipped to [0, 1].
        stride: Pixels of the image behind a pixel of the last stage; other sizes are padded.
        scale: Whole number of times that images are enlarged before, and averaged back after.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, stride: int, scale: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.stride = stride
        self.scale = scale

    def read_style(self, styles: Float[Tensor, "batch 3 height width"]) -> Statistics:
        """The statistics of style pictures, which are not enlarged."""
        return channel_statistics(self.encoder(styles)[-1])

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], style: Statistics, *, alpha: float
    ) -> Float[Tensor, "batch 3 height width"]:
        """Pictures of the images' size, clipped to [0, 1]."""
        height, width = (self.scale * side for side in images.shape[2:])
        content = self.encoder(pad_to_stride(enlarge(images, self.scale), self.stride))[-1]
        pictures = self.decoder(adapt(content, style, alpha=alpha))[..., :height, :width]
        return F.avg_pool2d(pictures.float().clamp(0, 1), self.scale)


def enlarge(
    images: Float[Tensor, "batch channel height width"], scale: int
) -> Float[Tensor, "batch channel larger_height larger_width"]:
    """Images ``scale`` times as large by bicubic interpolation, clipped to [0, 1]."""
    if scale == 1:
        return images
    larger = F.interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False)
    return larger.clamp(0, 1)


def pad_to_stride(
    images: Float[Tensor, "batch channel height width"], stride: int
) -> Float[Tensor, "batch channel padded_height padded_width"]:
    """Images whose sides are multiples of ``stride``: the last row and column are repeated."""
    bottom, right = (-side % stride for side in images.shape[2:])
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images


def _spread(values: Float[Tensor, "batch channel"]) -> Float[Tensor, "batch channel 1 1"]:
    return values[:, :, None, None]

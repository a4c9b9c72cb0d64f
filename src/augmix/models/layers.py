"""Layers that the networks share, and the configuration of a network.

what every classifier carries.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

BLUR_SIZES = (2, 3, 4, 5)  # sides of the filters that Zhang (2019) measured
BLURRED = "-maxblur"  # ends the name of a network that is pooled without aliasing


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything needed to build a model again.

    Attributes:
        name: Architecture, e.g. ``small`` or ``wrn-40-2``.
        num_classes: Logits a model gives for an image.
        channels: Channels of an input image, 1 or 3.
        mean: Subtracted from every channel, in [0, 1] units; one number a channel.
        std: Every channel is then divided by it; above 0.
        dropout: Share of activations dropped in training, in [0, 1).
        blur_size: Side in pixels, 2..5, of the blur of a network whose name ends in ``-maxblur``;
            of no effect in others.

    Raises:
        ValueError: If a number is out of range, or ``mean`` and ``std`` do not fit ``channels``.
    """

    name: str
    num_classes: int
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    dropout: float = 0.0
    blur_size: int = 5

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {self.num_classes}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(
                    f"{name} must have one number for each of {self.channels} channel(s), "
                    f"got {tuple(values)}"
                )
            if not all(isfinite(value) for value in values):
                raise ValueError(f"{name} must be finite, got {tuple(values)}")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std must be above 0 in every channel, got {tuple(self.std)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.blur_size not in BLUR_SIZES:
            raise ValueError(f"blur_size must be 2..5 pixels, got {self.blur_size}")

    @property
    def is_blurred(self) -> bool:
        """Whether the network halves its maps by blur pools."""
        return self.name.endswith(BLURRED)


class Normalize(nn.Module):
    """Images in [0, 1] -> zero mean and unit deviation, channel by channel.

    Its numbers are part of the model's configuration, not of its weights, so they are no entry of
    the state dict. The memory format of the input is kept.

    Args:
        mean: One number a channel, in [0, 1] units.
        std: One number a channel, above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """Normalise a batch.

        Raises:
            TypeError: If the images are integers, which would be 255 times too large.
            ValueError: If they do not have this layer's number of channels.
        """
        if not images.is_floating_point():
            raise TypeError(
                f"a model takes floating-point images in [0, 1], got {images.dtype}; "
                "divide uint8 images by 255"
            )
        if images.ndim != 4 or images.shape[1] != len(self.mean):
            raise ValueError(
                f"a model of {len(self.mean)} channel(s) takes images [batch channel height width],"
                f" got shape {tuple(images.shape)}"
            )
        mean, std = self.mean, self.std
        if images.device.type == "cpu" and images.is_contiguous(memory_format=torch.channels_last):
            mean, std = (_spread(one, images) for one in (mean, std))
        return (images - mean) / std

    def extra_repr(self) -> str:
        """The numbers, for printing a model."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


def _spread(
    numbers: Float[Tensor, "channel 1 1"], images: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "1 channel height width"]:
    """A number a channel as a picture in channels-last memory.

    A CPU's loops run along memory, and a pixel's few channels are too short a row for them.
    """
    picture = numbers.expand(1, *images.shape[1:])
    return picture.contiguous(memory_format=torch.channels_last)


class BlurPool(nn.Module):
    """Halve height and width without aliasing: a binomial blur, then every second pixel.

    The blur is the outer product of a row of Pascal's triangle with itself, divided by its sum,
    the same for every channel; the border is reflected. It has no weights and is no entry of the
    state dict, so a network keeps its names with and without it. Zhang, "Making Convolutional
    Networks Shift-Invariant Again" (2019).

    Args:
        size: Side of the filter in pixels, 2..5; rows (1, 1), (1, 2, 1), (1, 3, 3, 1),
            (1, 4, 6, 4, 1).

    Raises:
        ValueError: If there is no filter of that size.
    """

    kernel: Tensor

    def __init__(self, size: int = 5) -> None:
        super().__init__()
        if size not in BLUR_SIZES:
            raise ValueError(f"size of a blur filter must be 2..5 pixels, got {size}")
        row = torch.tensor([float(math.comb(size - 1, place)) for place in range(size)])
        kernel = torch.outer(row, row) / row.sum() ** 2
        self.register_buffer("kernel", kernel[None, None], persistent=False)
        before, after = (size - 1) // 2, size // 2
        self.padding = (before, after, before, after)

    def forward(
        self, features: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel half_height half_width"]:
        """Half the size, rounded up.

        Raises:
            ValueError: If the map is smaller than the border that is reflected.
        """
        channels, height, width = features.shape[1:]
        least = self.padding[1] + 1
        if min(height, width) < least:
            raise ValueError(
                f"these images are too small for a blur-pooled network: a filter of "
                f"{self.kernel.shape[-1]} pixels takes maps of at least {least}x{least}, got "
                f"{height}x{width}; use larger images, or a smaller blur_size"
            )
        padded = F.pad(features, self.padding, mode="reflect")
        kernel = self.kernel.expand(channels, -1, -1, -1)
        return F.conv2d(padded, kernel, stride=2, groups=channels)

    def extra_repr(self) -> str:
        """The filter's side, for printing a model."""
        return f"size={self.kernel.shape[-1]}"


class Classifier(nn.Module):
    """A network that takes images in [0, 1] and gives logits; it knows its configuration.

    Attributes:
        config: How to build this network again.
        normalize: The first layer.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.normalize = Normalize(config.mean, config.std)


def halving(config: ModelConfig, stride: int) -> tuple[int, nn.Module]:
    """How a convolution with a stride is built: its own stride, and what follows its activation.

    A blur-pooled network (`ModelConfig.is_blurred`) computes the convolution at every pixel and
    halves the activated map by a `BlurPool`; any other one keeps the stride and adds nothing.
    """
    if config.is_blurred and stride == 2:
        return 1, BlurPool(config.blur_size)
    return stride, nn.Identity()


def max_pool(config: ModelConfig, size: int, *, padding: int = 0) -> nn.Module:
    """Max pooling that halves the map; in a blur-pooled network the maximum of 2x2 windows at
    every pixel, and then a `BlurPool`.
    """
    if config.is_blurred:
        return nn.Sequential(nn.MaxPool2d(2, stride=1), BlurPool(config.blur_size))
    return nn.MaxPool2d(size, stride=2, padding=padding)


def average_pool(config: ModelConfig) -> nn.Module:
    """The mean of 2x2 windows; in a blur-pooled network a `BlurPool`."""
    return BlurPool(config.blur_size) if config.is_blurred else nn.AvgPool2d(2)


def check_size(
    images: Float[Tensor, "batch channel height width"], least: int, config: ModelConfig
) -> None:
    """Refuse images that a network has too many pooling layers for.

    Raises:
        ValueError: If height or width is below ``least`` pixels.
    """
    height, width = images.shape[2:]
    if min(height, width) < least:
        raise ValueError(
            f"{config.name!r} takes images of at least {least}x{least} pixels, "
            f"got {height}x{width}; resize them, or choose a network with fewer pooling layers"
        )


def conv(
    inputs: int, outputs: int, size: int = 3, *, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias that keeps the image size at stride 1."""
    return nn.Conv2d(
        inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False
    )


def initialize(network: nn.Module) -> None:
    """Start weights of the CIFAR networks, drawn from torch's generator (`torch.manual_seed`).

    Convolutions N(0, 2 / (size^2 * outputs)), batch normalisation 1 and 0, linear layers uniform
    within 1 / sqrt(inputs) with bias 0 (released code of AugMix).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = math.prod(layer.kernel_size) * layer.out_channels
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)


def global_average(
    features: Float[Tensor, "batch channel height width"],
) -> Float[Tensor, "batch channel"]:
    """The mean of every channel over all pixels, whatever the image size.

    A pooling, since the gradient of `Tensor.mean` has no memory format of its own, which makes what
    follows it slow in channels-last.
    """
    return F.avg_pool2d(features, features.shape[2:]).flatten(1)

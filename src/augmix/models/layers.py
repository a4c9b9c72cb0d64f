"""What the networks share: normalisation of the input, and what every classifier carries."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from augmix.models.config import ModelConfig


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
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """The numbers, for printing a model."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


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


def conv(inputs: int, outputs: int, size: int = 3, *, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the image size at stride 1."""
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


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
    """The mean of every channel over all pixels, whatever the image size."""
    return features.mean(dim=(2, 3))

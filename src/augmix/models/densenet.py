"""Densely connected networks: every layer sees the maps of all layers before it in its block."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.models.layers import (
    Classifier,
    ModelConfig,
    average_pool,
    check_size,
    conv,
    global_average,
    initialize,
)

_LEAST = 4  # pixels: two poolings to the half


class DenseNet(Classifier):
    """Three dense blocks with transitions between them (Huang et al. 2017).

    A convolution to ``2 growth`` channels; in a block every layer adds ``growth`` maps to those it
    was given; a transition (norm-ReLU-1x1 convolution-pooling) halves height and width. The form
    with bottlenecks (DenseNet-BC) puts a 1x1 convolution to ``4 growth`` maps in front of each
    3x3 convolution, and its transitions halve the channels too.

    Args:
        config: What the network is built for; ``dropout`` acts after every convolution of blocks
            and transitions.
        depth: Convolutions of the longest path and the linear layer: 3 n + 4 plain (40), 6 n + 4
            with bottlenecks (100).
        growth: Maps that a layer adds, at least 1.
        has_bottlenecks: Whether it is a DenseNet-BC.

    Raises:
        ValueError: If depth or growth is none of these.
    """

    def __init__(
        self, config: ModelConfig, *, depth: int, growth: int, has_bottlenecks: bool
    ) -> None:
        super().__init__(config)
        step = 6 if has_bottlenecks else 3
        num_layers, rest = divmod(depth - 4, step)
        if rest or num_layers < 1:
            raise ValueError(
                f"depth must be {step} n + 4 ({step + 4}, {2 * step + 4}, ...), "
                f"got {depth} in {config.name!r}"
            )
        if growth < 1:
            raise ValueError(f"growth must be at least 1, got {growth} in {config.name!r}")
        layer = _BottleneckLayer if has_bottlenecks else _PlainLayer
        width = 2 * growth
        self.stem = conv(config.channels, width)
        stages: list[nn.Module] = []
        for block in range(3):
            layers = [layer(width + n * growth, growth, config.dropout) for n in range(num_layers)]
            width += num_layers * growth
            stages.append(nn.Sequential(*layers))
            if block < 2:
                outputs = width // 2 if has_bottlenecks else width
                stages.append(_Transition(width, outputs, config))
                width = outputs
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, config.num_classes)
        initialize(self)

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch label"]:
        """Logits of images in [0, 1], at least 4x4 pixels."""
        check_size(images, _LEAST, self.config)
        features = self.stages(self.stem(self.normalize(images)))
        return self.head(global_average(F.relu(self.norm(features), inplace=True)))


class _PlainLayer(nn.Module):
    """norm-ReLU-conv, its maps put behind the input's."""

    def __init__(self, inputs: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = conv(inputs, growth)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, features: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs height width"]:
        new = self.dropout(self.conv(F.relu(self.norm(features), inplace=True)))
        return torch.cat([features, new], dim=1)


class _BottleneckLayer(nn.Module):
    """norm-ReLU-1x1 conv-norm-ReLU-conv, its maps put behind the input's."""

    def __init__(self, inputs: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, 4 * growth, 1)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = conv(4 * growth, growth)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, features: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs height width"]:
        new = self.dropout(self.conv1(F.relu(self.norm1(features), inplace=True)))
        new = self.dropout(self.conv2(F.relu(self.norm2(new), inplace=True)))
        return torch.cat([features, new], dim=1)


class _Transition(nn.Module):
    """norm-ReLU-1x1 conv, then half the height and width."""

    def __init__(self, inputs: int, outputs: int, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = conv(inputs, outputs, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.pool = average_pool(config)

    def forward(
        self, features: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs half_height half_width"]:
        activated = F.relu(self.norm(features), inplace=True)
        return self.pool(self.dropout(self.conv(activated)))

"""Networks for small images: 32x32 is the usual size, any other height and width works too."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.models.config import ModelConfig
from augmix.models.layers import Classifier, conv, global_average, initialize

_SMALL_STAGES = ((32, 2), (64, 1), (64, 2), (128, 1), (128, 2))  # (channels, stride)


class SmallNet(Classifier):
    """Five convolutions and a linear layer: fast enough to train on a CPU in minutes.

    Every 3x3 convolution is followed by batch normalisation and ReLU; 14 million
    multiply-additions for an image of 32x32. Dropout acts before the linear layer.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        stages = []
        width = config.channels
        for outputs, stride in _SMALL_STAGES:
            stages += [conv(width, outputs, stride=stride), nn.BatchNorm2d(outputs), nn.ReLU(True)]
            width = outputs
        self.features = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.num_classes)
        initialize(self)

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch label"]:
        """Logits of images in [0, 1]."""
        features = self.features(self.normalize(images))
        return self.head(self.dropout(global_average(features)))


class WideResNet(Classifier):
    """Wide residual network of pre-activation blocks (Zagoruyko and Komodakis 2016).

    A convolution to 16 channels, then three groups of ``(depth - 4) / 6`` blocks with 16, 32 and
    64 times ``width`` channels, the second and third group halving the image.

    Args:
        config: What the network is built for; ``dropout`` acts inside every block.
        depth: Convolutions of the longest path, 10, 16, 22, 28, 34, 40, ...
        width: Channels as a multiple of the plain network's, at least 1.

    Raises:
        ValueError: If depth or width is none of these.
    """

    def __init__(self, config: ModelConfig, *, depth: int, width: int) -> None:
        super().__init__(config)
        num_blocks, rest = divmod(depth - 4, 6)
        if rest or num_blocks < 1:
            raise ValueError(
                "depth must be 6 n + 4 (10, 16, 22, 28, 34, 40, ...), "
                f"got {depth} in {config.name!r}"
            )
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width} in {config.name!r}")
        self.stem = conv(config.channels, 16)
        widths = (16, 16 * width, 32 * width, 64 * width)
        self.groups = nn.Sequential(
            *(
                _build_group(num_blocks, widths[group], widths[group + 1], stride, config.dropout)
                for group, stride in enumerate((1, 2, 2))
            )
        )
        self.norm = nn.BatchNorm2d(widths[3])
        self.head = nn.Linear(widths[3], config.num_classes)
        initialize(self)

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch label"]:
        """Logits of images in [0, 1]."""
        features = self.groups(self.stem(self.normalize(images)))
        return self.head(global_average(F.relu(self.norm(features), inplace=True)))


class _WideBlock(nn.Module):
    """norm-ReLU-conv-norm-ReLU-(dropout)-conv, added to the input.

    Where the number of channels changes, the first norm-ReLU is shared: the 1x1 projection takes
    the activated tensor too. Elsewhere the raw input is added.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, outputs, stride=stride)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(outputs, outputs)
        self.shortcut = conv(inputs, outputs, 1, stride=stride) if inputs != outputs else None

    def forward(
        self, features: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs less_height less_width"]:
        activated = F.relu(self.norm1(features), inplace=True)
        residual = F.relu(self.norm2(self.conv1(activated)), inplace=True)
        residual = self.conv2(self.dropout(residual))
        return residual + (features if self.shortcut is None else self.shortcut(activated))


def _build_group(
    num_blocks: int, inputs: int, outputs: int, stride: int, dropout: float
) -> nn.Sequential:
    """Blocks of equal width; only the first changes channels and size."""
    first = _WideBlock(inputs, outputs, stride, dropout)
    others = (_WideBlock(outputs, outputs, 1, dropout) for _ in range(num_blocks - 1))
    return nn.Sequential(first, *others)

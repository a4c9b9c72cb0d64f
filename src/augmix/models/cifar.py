"""Networks for small images: usually 32x32, but other heights and widths work too."""

from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.models import ModelConfig, register_network
from augmix.models.layers import (
    BlurPool,
    Classifier,
    Features,
    Images,
    Logits,
    Whitening,
    build_stage,
    check_size,
    conv,
    global_average,
    halving,
    initialize,
    max_pool,
)

_FAST_WIDTHS = (64, 128, 256)
_PATCH_PX = 4  # patches of the whitened layer, 2 pixels apart
_PATCH_NOISE = 0.02  # variance, of images with values in [-1, 1]
_SMALL_STAGES = ((32, 2), (64, 1), (64, 2), (128, 1), (128, 2))  # (channels, stride)
_ALLCONV_STAGES = (  # (width factor, kernel size, padding) of the convolutions of each stage
    ((1, 3, 1),) * 3,
    ((2, 3, 1),) * 3,
    ((2, 3, 0), (2, 1, 1), (2, 1, 1)),
)


@register_network("small", has_maxblur=True)
class SmallNet(Classifier):
    """Five convolutions and a linear layer, which train on a CPU in minutes.

    Every 3x3 convolution is followed by batch normalisation and ReLU; an image of 32x32 takes 14
    million multiply-adds. Dropout acts before the linear layer.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        stages = []
        width = config.channels
        for outputs, stride in _SMALL_STAGES:
            own_stride, blur = halving(config, stride)
            stages += [conv(width, outputs, stride=own_stride), nn.BatchNorm2d(outputs)]
            relu = nn.ReLU(True)
            stages += [relu if own_stride == stride else nn.Sequential(relu, blur)]
            width = outputs
        self.features = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.num_classes)
        self.stage_names = ("features.5", "features.11", "features.14")  # before a map is halved
        initialize(self)

    def forward(self, images: Images) -> Logits:
        features = self.features(self.normalize(images))
        return self.head(self.dropout(global_average(features)))


@register_network("fast", has_maxblur=True)
class FastNet(Classifier):
    """A whitened first layer, five wide convolutions and a linear layer, for short runs.

    After airbench94 (Jordan 2024): a fixed projection of patches onto their whitened principal
    components, then few convolutions of many channels, which matrix units compute fast. The first
    layer already halves the image, since a CPU spends most of its time on large maps: 64 million
    multiply-adds for 32x32 pixels. Images have at least 8x8 pixels. Dropout acts before the linear
    layer.
    """

    num_fit_images = 2000

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.whitening = Whitening(
            config.channels, 8 * config.channels, _PATCH_PX, noise=_PATCH_NOISE
        )
        first, *others = _FAST_WIDTHS
        width = self.whitening.out_channels
        stages = [nn.Sequential(conv(width, first), nn.BatchNorm2d(first), nn.ReLU(True))]
        for inputs, outputs in zip(_FAST_WIDTHS, others, strict=False):
            stages.append(
                nn.Sequential(
                    conv(inputs, outputs),
                    max_pool(config, 2),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(True),
                    conv(outputs, outputs),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(True),
                )
            )
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(_FAST_WIDTHS[-1], config.num_classes)
        self.stage_names = ("stages.0", "stages.1", "stages.2")
        initialize(self)

    def fit_images(self, images: Images) -> None:
        """Whiten the patches of training images; a network that was trained keeps its own."""
        if not self.whitening.is_fitted:
            self.whitening.fit(self.normalize(images))

    def forward(self, images: Images) -> Logits:
        check_size(images, 8, self.config)  # for the first layer and two poolings
        features = F.relu(self.whitening(self.normalize(images)))
        return self.head(self.dropout(global_average(self.stages(features))))


@register_network("allconv", dropout=0.5, has_maxblur=True)
@register_network("allconv-{width}", dropout=0.5, has_maxblur=True)
class AllConvNet(Classifier):
    """Nine convolutions, two max poolings, a linear layer (AllConvNet of AugMix's released code).

    Every convolution has a bias and is followed by batch normalisation and ``x sigmoid(1.702 x)``.
    The last three shrink a map by two pixels, then pad it by one twice, so a map of 8x8 becomes
    10x10, of which the released code averages the first 8 rows and columns. Here the last two rows
    and columns are left out at any size, which is at least 12x12.

    Args:
        config: ``dropout`` acts after each max pooling, 0.5 in the released code.
        width: Channels of the first stage; the others have twice as many. 96 in the released code.
    """

    def __init__(self, config: ModelConfig, *, width: int = 96) -> None:
        super().__init__(config)
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width} in {config.name!r}")
        widths = (config.channels, width, 2 * width, 2 * width)
        self.stages = nn.ModuleList(
            _build_plain_stage(inputs, width, layers)
            for inputs, layers in zip(widths, _ALLCONV_STAGES, strict=False)
        )
        self.pools = nn.ModuleList(
            nn.Sequential(max_pool(config, 2), nn.Dropout(config.dropout)) for _ in range(2)
        )
        self.head = nn.Linear(widths[-1], config.num_classes)
        self.stage_names = ("stages.0", "stages.1", "stages.2")
        initialize(self)

    def forward(self, images: Images) -> Logits:
        check_size(images, 12, self.config)  # so that the third stage gets maps of 3x3
        features = self.pools[0](self.stages[0](self.normalize(images)))
        features = self.stages[2](self.pools[1](self.stages[1](features)))
        return self.head(global_average(features[:, :, :-2, :-2]))


class _QuickGELU(nn.Module):
    """``x sigmoid(1.702 x)``, which the released code calls GELU."""

    def forward(self, features: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return features * (1.702 * features).sigmoid()


def _build_plain_stage(
    inputs: int, width: int, layers: tuple[tuple[int, int, int], ...]
) -> nn.Sequential:
    """Build convolutions with bias, each with batch normalisation and activation."""
    modules: list[nn.Module] = []
    for factor, size, padding in layers:
        outputs = factor * width
        convolution = nn.Conv2d(inputs, outputs, size, padding=padding)
        modules += [convolution, nn.BatchNorm2d(outputs), _QuickGELU()]
        inputs = outputs
    return nn.Sequential(*modules)


@register_network(
    "wrn-{depth}-{width}", examples=("wrn-40-2", "wrn-28-10", "wrn-16-2"), has_maxblur=True
)
class WideResNet(Classifier):
    """Wide residual network of pre-activation blocks (Zagoruyko and Komodakis 2016).

    A convolution to 16 channels, then three groups of ``(depth - 4) / 6`` blocks with 16, 32 and
    64 times ``width`` channels, the second and third group halving the image.

    Args:
        config: ``dropout`` acts inside every block.
        depth: Convolutions on the longest path, 10, 16, 22, 28, 34, 40, ...
        width: Channels as a multiple of the plain network's, at least 1.
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
        block = partial(_WideBlock, config)
        groups = zip(pairwise(widths), (1, 2, 2), strict=True)
        self.groups = nn.Sequential(
            *(build_stage(block, num_blocks, *channels, stride) for channels, stride in groups)
        )
        self.norm = nn.BatchNorm2d(widths[3])
        self.head = nn.Linear(widths[3], config.num_classes)
        self.stage_names = ("groups.0", "groups.1", "groups.2")
        initialize(self)

    def forward(self, images: Images) -> Logits:
        features = self.groups(self.stem(self.normalize(images)))
        return self.head(global_average(F.relu(self.norm(features), inplace=True)))


class _WideBlock(nn.Module):
    """norm-ReLU-conv-norm-ReLU-(dropout)-conv, added to the input.

    Where the number of channels changes, the first norm-ReLU is shared: the 1x1 projection takes
    the activated tensor too. Elsewhere the raw input is added. In a blur-pooled network the
    second activation and the projection's input are blur-pooled instead of a stride.
    """

    def __init__(self, config: ModelConfig, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        stride, self.blur = halving(config, stride)
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, outputs, stride=stride)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = conv(outputs, outputs)
        self.shortcut = conv(inputs, outputs, 1, stride=stride) if inputs != outputs else None

    def forward(self, features: Features) -> Float[Tensor, "batch outputs less_height less_width"]:
        activated = F.relu(self.norm1(features), inplace=True)
        residual = self.blur(F.relu(self.norm2(self.conv1(activated)), inplace=True))
        residual = self.conv2(self.dropout(residual))
        if self.shortcut is not None:
            features = self.shortcut(self.blur(activated))
        return residual + features


@register_network("densenet-{depth}-{growth}", examples=("densenet-40-12",), has_maxblur=True)
class DenseNet(Classifier):
    """Three dense blocks with transitions between them (Huang et al. 2017).

    A convolution to ``2 growth`` channels; in a block every layer appends ``growth`` channels to
    its input; a transition (norm-ReLU-1x1 convolution-pooling) halves height and width. The form
    with bottlenecks (DenseNet-BC) puts a 1x1 convolution to ``4 growth`` channels before each 3x3
    convolution, and its transitions halve the channels too. Images have at least 4x4 pixels.

    Args:
        config: ``dropout`` acts after every convolution of blocks and transitions.
        depth: Convolutions on the longest path and the linear layer: 3 n + 4 plain (40), 6 n + 4
            with bottlenecks (100).
        growth: Channels that a layer appends, at least 1.
    """

    def __init__(
        self, config: ModelConfig, *, depth: int, growth: int, has_bottlenecks: bool = False
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
        self.stage_names = ("stages.0", "stages.2", "stages.4")  # transitions are between them
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, config.num_classes)
        initialize(self)

    def forward(self, images: Images) -> Logits:
        check_size(images, 4, self.config)  # for two poolings
        features = self.stages(self.stem(self.normalize(images)))
        return self.head(global_average(F.relu(self.norm(features), inplace=True)))


class _PlainLayer(nn.Module):
    """norm-ReLU-conv, its channels appended to the input's."""

    def __init__(self, inputs: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = conv(inputs, growth)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Features) -> Float[Tensor, "batch outputs height width"]:
        new = self.dropout(self.conv(F.relu(self.norm(features), inplace=True)))
        return torch.cat([features, new], dim=1)


class _BottleneckLayer(nn.Module):
    """norm-ReLU-1x1 conv-norm-ReLU-conv, its channels appended to the input's."""

    def __init__(self, inputs: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, 4 * growth, 1)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = conv(4 * growth, growth)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Features) -> Float[Tensor, "batch outputs height width"]:
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
        self.pool = BlurPool(config.blur_size) if config.is_blurred else nn.AvgPool2d(2)

    def forward(self, features: Features) -> Float[Tensor, "batch outputs half_height half_width"]:
        activated = F.relu(self.norm(features), inplace=True)
        return self.pool(self.dropout(self.conv(activated)))


@register_network(
    "densenet-bc-{depth}-{growth}", examples=("densenet-bc-100-12",), has_maxblur=True
)
def _build_densenet_bc(config: ModelConfig, depth: int, growth: int) -> Classifier:
    return DenseNet(config, depth=depth, growth=growth, has_bottlenecks=True)

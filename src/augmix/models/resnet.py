"""Residual networks of post-activation blocks: ResNet for ImageNet and for CIFAR, ResNeXt-29.

Layers have torchvision's names, so the state dict of a ResNet is that of torchvision's of the same
depth. Blur pools have no weights and do not change it.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from augmix.models import IMAGENET_MEAN, IMAGENET_STD, ModelConfig, register_network
from augmix.models.layers import (
    Classifier,
    Features,
    Images,
    Logits,
    build_stage,
    conv,
    global_average,
    halving,
    initialize,
    max_pool,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The size of a residual network.

    The stem ``imagenet`` is a 7x7 convolution of stride 2 and max pooling, which leave a quarter of
    height and width; ``cifar`` is a 3x3 convolution.
    """

    blocks: tuple[int, ...]  # of each of 3 or 4 stages; every stage but the first halves the map
    block: "type[_BasicBlock | _Bottleneck]"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    groups: int = 1  # of a bottleneck's 3x3 convolution, ResNeXt's cardinality
    base_width: int = 64  # channels of a group in the first stage
    planes: int = 64  # channels of the stem and of the first stage, doubled with every stage


class ResidualNet(Classifier):
    """ResNet (He et al. 2016) and ResNeXt (Xie et al. 2017).

    A bottleneck has its stride in the 3x3 convolution, as torchvision's. In the blur-pooled form
    the convolution of the stem keeps its stride, the max pooling and the first block of each later
    stage, on both of its paths, get blur pools: seven for four stages (Zhang 2019). Dropout acts
    before the linear layer.
    """

    def __init__(self, config: ModelConfig, shape: Shape) -> None:
        super().__init__(config)
        if shape.stem == "imagenet":
            self.conv1 = conv(config.channels, shape.planes, 7, stride=2)
            self.maxpool = max_pool(config, 3, padding=1)
        else:
            self.conv1 = conv(config.channels, shape.planes)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(shape.planes)
        self.relu = nn.ReLU(inplace=True)
        block = partial(shape.block, config, shape)
        stages: list[nn.Module] = []
        width = shape.planes
        for number, num_blocks in enumerate(shape.blocks):
            outputs = shape.planes * 2**number * shape.block.expansion
            stages.append(build_stage(block, num_blocks, width, outputs, 2 if number else 1))
            width = outputs
        self.stage_names = tuple(f"layer{number + 1}" for number in range(len(stages)))
        stages += [nn.Identity()] * (4 - len(stages))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(width, config.num_classes)
        initialize(self)
        if shape.groups > 1:  # ResNeXt of AugMix's released code
            nn.init.kaiming_normal_(self.fc.weight)  # N(0, 2 / inputs)
        else:  # torchvision's ResNet
            bound = width**-0.5
            nn.init.uniform_(self.fc.bias, -bound, bound)

    def forward(self, images: Images) -> Logits:
        features = self.maxpool(self.relu(self.bn1(self.conv1(self.normalize(images)))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.fc(self.dropout(global_average(features)))


class _BasicBlock(nn.Module):
    """conv-norm-ReLU-conv-norm, added to the shortcut, ReLU."""

    expansion = 1

    def __init__(
        self, config: ModelConfig, shape: Shape, inputs: int, outputs: int, stride: int
    ) -> None:
        super().__init__()
        own_stride, self.blur = halving(config, stride)
        self.conv1 = conv(inputs, outputs, stride=own_stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride, own_stride)

    def forward(self, features: Features) -> Float[Tensor, "batch outputs less_height less_width"]:
        residual = self.blur(self.relu(self.bn1(self.conv1(features))))
        residual = self.bn2(self.conv2(residual))
        if self.downsample is not None:
            features = self.downsample(self.blur(features))
        return self.relu(residual + features)


class _Bottleneck(nn.Module):
    """1x1 conv-norm-ReLU-3x3 conv-norm-ReLU-1x1 conv-norm, added to the shortcut, ReLU."""

    expansion = 4

    def __init__(
        self, config: ModelConfig, shape: Shape, inputs: int, outputs: int, stride: int
    ) -> None:
        super().__init__()
        width = outputs // self.expansion * shape.base_width // shape.planes * shape.groups
        own_stride, self.blur = halving(config, stride)
        self.conv1 = conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, stride=own_stride, groups=shape.groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride, own_stride)

    def forward(self, features: Features) -> Float[Tensor, "batch outputs less_height less_width"]:
        residual = self.relu(self.bn1(self.conv1(features)))
        residual = self.blur(self.relu(self.bn2(self.conv2(residual))))
        residual = self.bn3(self.conv3(residual))
        if self.downsample is not None:
            features = self.downsample(self.blur(features))
        return self.relu(residual + features)


def _shortcut(inputs: int, outputs: int, stride: int, own_stride: int) -> nn.Sequential | None:
    """Build a 1x1 convolution if size or channels change; a blur pool comes before it."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(conv(inputs, outputs, 1, stride=own_stride), nn.BatchNorm2d(outputs))


def zero_last_scales(model: nn.Module) -> None:
    """Start residual blocks as the identity: their last batch-norm scale is 0 (Goyal et al. 2017).

    Raises:
        ValueError: If the network has no residual block that ends in batch norm.
    """
    blocks = [each for each in model.modules() if isinstance(each, _BasicBlock | _Bottleneck)]
    if not blocks:
        raise ValueError("the network has no residual block that ends in batch norm")
    for block in blocks:
        last = block.bn3 if isinstance(block, _Bottleneck) else block.bn2
        nn.init.zeros_(last.weight)


_RESNETS = {  # He et al. (2016), Table 1
    18: Shape(block=_BasicBlock, blocks=(2, 2, 2, 2)),
    34: Shape(block=_BasicBlock, blocks=(3, 4, 6, 3)),
    50: Shape(block=_Bottleneck, blocks=(3, 4, 6, 3)),
    101: Shape(block=_Bottleneck, blocks=(3, 4, 23, 3)),
    152: Shape(block=_Bottleneck, blocks=(3, 8, 36, 3)),
}


@register_network(
    "resnext-{depth}-{groups}x{base_width}d",
    examples=("resnext-29-4x32d", "resnext-29-32x4d"),
    has_maxblur=True,
)
@register_network("resnext-{depth}-{groups}x{base_width}d-{planes}", has_maxblur=True)
def _build_resnext(
    config: ModelConfig, depth: int, groups: int, base_width: int, planes: int = 64
) -> Classifier:
    num_blocks, rest = divmod(depth - 2, 9)
    if rest or num_blocks < 1:
        raise ValueError(f"depth must be 9 n + 2 (11, 20, 29, ...), got {depth} in {config.name!r}")
    if groups < 2 or base_width < 1 or planes < 1:
        raise ValueError(
            "a resnext must have at least 2 groups of at least 1 channel and at least 1 plane, "
            f"got {config.name!r}"
        )
    shape = Shape(
        blocks=(num_blocks,) * 3,
        block=_Bottleneck,
        stem="cifar",
        groups=groups,
        base_width=base_width,
        planes=planes,
    )
    return ResidualNet(config, shape)


@register_network("resnet{depth}-cifar", examples=("resnet18-cifar",), has_maxblur=True)
def _build_cifar_resnet(config: ModelConfig, depth: int) -> Classifier:
    return ResidualNet(config, replace(_find_resnet(config, depth), stem="cifar"))


@register_network(
    "resnet{depth}",
    examples=("resnet18", "resnet50"),
    size=224,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    has_maxblur=True,
)
def _build_resnet(config: ModelConfig, depth: int) -> Classifier:
    return ResidualNet(config, _find_resnet(config, depth))


def _find_resnet(config: ModelConfig, depth: int) -> Shape:
    if depth not in _RESNETS:
        raise ValueError(
            f"depth must be one of {', '.join(map(str, _RESNETS))}, got {depth} in {config.name!r}"
        )
    return _RESNETS[depth]

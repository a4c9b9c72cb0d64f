"""The networks by name: one row for each family, with what is usual for it.

A name holds the numbers that make a network, e.g. ``wrn-40-2`` for depth 40 and width 2; with
``-maxblur`` behind it, the same network halves its maps by blur pools.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from augmix.errors import did_you_mean
from augmix.models.cifar import AllConvNet, SmallNet, WideResNet
from augmix.models.densenet import DenseNet
from augmix.models.layers import BLURRED, Classifier, ModelConfig
from augmix.models.resnet import ResidualNet, Shape

# Mean and deviation of ImageNet's training images, in [0, 1] units, as all its models use them.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_RESNETS = {  # He et al. (2016), Table 1
    "18": Shape(block="basic", blocks=(2, 2, 2, 2)),
    "34": Shape(block="basic", blocks=(3, 4, 6, 3)),
    "50": Shape(block="bottleneck", blocks=(3, 4, 6, 3)),
    "101": Shape(block="bottleneck", blocks=(3, 4, 23, 3)),
    "152": Shape(block="bottleneck", blocks=(3, 8, 36, 3)),
}
_DEPTHS = "|".join(_RESNETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Networks that differ in the numbers of their names.

    Attributes:
        form: The name with letters in place of the numbers.
        pattern: The name as a regular expression, one group for each number.
        examples: Names of the networks that are usual or published.
        build: The network for a configuration and the numbers of its name.
        size: Side in pixels of the images it was made for.
        dropout: Share dropped by the published network.
        has_imagenet_statistics: Whether its images are normalised as those of ImageNet; 0.5 and
            0.5 otherwise, as in the released code for CIFAR.
    """

    form: str
    pattern: str
    examples: tuple[str, ...]
    build: Callable[..., Classifier]
    size: int = 32
    dropout: float = 0.0
    has_imagenet_statistics: bool = False


def _build_wide(config: ModelConfig, depth: str, width: str) -> Classifier:
    return WideResNet(config, depth=int(depth), width=int(width))


def _build_densenet(config: ModelConfig, kind: str, depth: str, growth: str) -> Classifier:
    return DenseNet(config, depth=int(depth), growth=int(growth), has_bottlenecks=bool(kind))


def _build_allconv(config: ModelConfig, width: str | None) -> Classifier:
    return AllConvNet(config, width=int(width or 96))


def _build_resnext(
    config: ModelConfig, depth: str, groups: str, base_width: str, planes: str | None
) -> Classifier:
    num_blocks, rest = divmod(int(depth) - 2, 9)
    if rest or num_blocks < 1:
        raise ValueError(f"depth must be 9 n + 2 (11, 20, 29, ...), got {depth} in {config.name!r}")
    if int(groups) < 2 or int(base_width) < 1 or int(planes or 64) < 1:
        raise ValueError(
            "a resnext must have at least 2 groups of at least 1 channel and at least 1 plane, "
            f"got {config.name!r}"
        )
    shape = Shape(
        blocks=(num_blocks,) * 3,
        block="bottleneck",
        stem="cifar",
        groups=int(groups),
        base_width=int(base_width),
        planes=int(planes or 64),
    )
    return ResidualNet(config, shape)


def _build_resnet(config: ModelConfig, depth: str) -> Classifier:
    return ResidualNet(config, _RESNETS[depth])


def _build_cifar_resnet(config: ModelConfig, depth: str) -> Classifier:
    return ResidualNet(config, replace(_RESNETS[depth], stem="cifar"))


FAMILIES = (
    Family(form="small", pattern="small", examples=("small",), build=SmallNet),
    Family(
        form="allconv, allconv-W",
        pattern=r"allconv(?:-(\d+))?",
        examples=("allconv",),
        build=_build_allconv,
        dropout=0.5,
    ),
    Family(
        form="densenet-D-K",
        pattern=r"densenet-(bc-|)(\d+)-(\d+)",
        examples=("densenet-40-12", "densenet-bc-100-12"),
        build=_build_densenet,
    ),
    Family(
        form="wrn-D-W",
        pattern=r"wrn-(\d+)-(\d+)",
        examples=("wrn-40-2", "wrn-28-10", "wrn-16-2"),
        build=_build_wide,
    ),
    Family(
        form="resnext-D-CxWd, resnext-D-CxWd-P",
        pattern=r"resnext-(\d+)-(\d+)x(\d+)d(?:-(\d+))?",
        examples=("resnext-29-4x32d", "resnext-29-32x4d"),
        build=_build_resnext,
    ),
    Family(
        form="resnetD-cifar",
        pattern=rf"resnet({_DEPTHS})-cifar",
        examples=("resnet18-cifar",),
        build=_build_cifar_resnet,
    ),
    Family(
        form="resnetD",
        pattern=rf"resnet({_DEPTHS})",
        examples=("resnet18", "resnet50"),
        build=_build_resnet,
        size=224,
        has_imagenet_statistics=True,
    ),
)
_EXAMPLES = tuple(name for family in FAMILIES for name in family.examples)
NAMES = (*_EXAMPLES, *(name + BLURRED for name in _EXAMPLES))  # other numbers are built too


def build_network(config: ModelConfig) -> Classifier:
    """The network of a configuration, its start weights drawn from torch's generator.

    Raises:
        ValueError: If no network has that name, or a number in it does not fit.
    """
    family = find_family(config.name)
    numbers = re.fullmatch(family.pattern, config.name.removesuffix(BLURRED))
    return family.build(config, *(numbers.groups() if numbers else ()))


def find_family(name: str) -> Family:
    """The row of a network's name.

    Raises:
        ValueError: If no network has that name; the message suggests the nearest.
    """
    for family in FAMILIES:
        if re.fullmatch(family.pattern, name.removesuffix(BLURRED)):
            return family
    hint = did_you_mean(name, NAMES)
    forms = ", ".join(family.form for family in FAMILIES)
    raise ValueError(
        f"model must be one of {forms}, each also with {BLURRED} at the end "
        f"(such as {', '.join(_EXAMPLES)}), got {name!r}{hint}"
    )


def usual_statistics(name: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of a network's input, one number a channel.

    One channel gets the mean over the three.

    Raises:
        ValueError: If no network has that name.
    """
    if not find_family(name).has_imagenet_statistics:
        return (0.5,) * channels, (0.5,) * channels
    if channels == 3:
        return _IMAGENET
    mean, std = (round(sum(values) / len(values), 6) for values in _IMAGENET)
    return (mean,) * channels, (std,) * channels


def maxblur_name(name: str) -> str:
    """The name of a network's blur-pooled form, which has the same weights by the same names.

    Raises:
        ValueError: If no network has that name.

    Example:
        >>> maxblur_name("wrn-40-2")
        'wrn-40-2-maxblur'
    """
    find_family(name)
    return name if name.endswith(BLURRED) else name + BLURRED

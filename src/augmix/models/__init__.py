"""Networks by name: the registry, and the configuration a network is built from.

This module needs no torch, so that the command line can name networks without loading it.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar

from augmix.errors import check_fields, check_positive, did_you_mean

BLUR_SIZES = (2, 3, 4, 5)  # filter sizes in pixels that Zhang (2019) measured
BLURRED = "-maxblur"  # ends the name of a network that is pooled without aliasing
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of ImageNet's training images, in [0, 1] units
IMAGENET_STD = (0.229, 0.224, 0.225)
Builder = TypeVar("Builder", bound=Callable[..., Any])
MODULE = "module:"  # names a network that was given as an object, by its class
_FOREIGN = ("timm:", "torchvision:", "hf:", "python:", MODULE)
_OWN_MODULES = ("augmix.models.cifar", "augmix.models.resnet")  # register this package's networks


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything needed to build a network of this package again.

    Attributes:
        name: Architecture, e.g. ``small`` or ``wrn-40-2``.
        channels: Channels of an input image, 1 or 3.
        mean: Subtracted from every channel, in [0, 1] units; one number per channel.
        std: Every channel is then divided by it; above 0.
        dropout: Fraction of activations dropped in training, in [0, 1).
        blur_size: Filter size in pixels, 2..5, of a network whose name ends in ``-maxblur``; of no
            effect in others.
        class_names: Names of the classes in the order of the logits; empty if they are not known.
        head: Name of the last linear layer of a library's or user's network, which is replaced
            where its outputs are not the classes; empty leaves that to the library.

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
    class_names: tuple[str, ...] = ()
    head: str = ""

    def __post_init__(self) -> None:
        check_positive(self, "num_classes")
        if len(self.class_names) not in (0, self.num_classes):
            raise ValueError(
                f"class_names must be {self.num_classes} names, got {len(self.class_names)}"
            )
        check_fields(self, channels=(self.channels in (1, 3), "1 or 3"))
        for name, values in {"mean": self.mean, "std": self.std}.items():
            if len(values) != self.channels:
                raise ValueError(
                    f"{name} must have one number for each of {self.channels} channel(s), "
                    f"got {values}"
                )
            check_fields(self, **{name: (all(map(isfinite, values)), "finite")})
        check_fields(
            self,
            std=(min(self.std) > 0, "above 0 in every channel"),
            dropout=(0 <= self.dropout < 1, "in [0, 1)"),
            blur_size=(self.blur_size in BLUR_SIZES, "2..5 pixels"),
        )

    @property
    def is_blurred(self) -> bool:
        """Whether the network halves its maps by blur pools."""
        return self.name.endswith(BLURRED)


@dataclass(frozen=True, slots=True)
class Family:
    """Networks that differ in the numbers of their names; fields as for `register_network`."""

    form: str
    build: Callable[..., Any]
    examples: tuple[str, ...]
    size: int
    dropout: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    has_maxblur: bool

    def numbers(self, name: str) -> dict[str, int] | None:
        """Return the numbers of a network's name, or None if it is of another family."""
        if self.has_maxblur:
            name = name.removesuffix(BLURRED)
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>\\d+)", re.escape(self.form))
        match = re.fullmatch(pattern, name)
        return match and {field: int(number) for field, number in match.groupdict().items()}

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the usual mean and std of its input; one channel gets the mean over the three."""
        if channels == 3:
            return self.mean, self.std
        mean, std = (round(sum(values) / len(values), 6) for values in (self.mean, self.std))
        return (mean,) * channels, (std,) * channels


_FAMILIES: dict[str, Family] = {}  # by form


def register_network(
    form: str,
    *,
    examples: tuple[str, ...] = (),
    size: int = 32,
    dropout: float = 0.0,
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
    std: tuple[float, float, float] = (0.5, 0.5, 0.5),
    has_maxblur: bool = False,
) -> Callable[[Builder], Builder]:
    """Register a function or class that builds a network, so that it can be opened by name.

    It takes a `ModelConfig`, and the numbers in the name as keyword arguments. It returns an
    `nn.Module` that gives logits `batch class` for images normalised by the mean and std of the
    configuration (a `Classifier` normalises its images itself).

    Args:
        form: The name; numbers in it are written as fields, e.g. ``wrn-{depth}-{width}``.
        examples: Names of usual networks, for messages; by default the form if it has no fields.
        size: Height and width in pixels of the images it is made for.
        dropout: Used unless another dropout is asked for, like ``mean`` and ``std``.
        mean: Of its three input channels, in [0, 1] units.
        std: Likewise.
        has_maxblur: Whether it heeds `ModelConfig.is_blurred`.

    Raises:
        ValueError: If another module has registered that name.

    Example:
        >>> from torch import nn
        >>> @register_network("linear-{size}")
        ... def build_linear(config, size):
        ...     pool = nn.AdaptiveAvgPool2d(size)
        ...     head = nn.Linear(config.channels * size * size, config.num_classes)
        ...     return nn.Sequential(pool, nn.Flatten(), head)
        >>> find_family("linear-4").form
        'linear-{size}'
    """

    def register(build: Builder) -> Builder:
        if build.__module__ not in _OWN_MODULES:
            _register_own()
        known = _FAMILIES.get(form)
        if known is not None and known.build.__module__ != build.__module__:
            raise ValueError(f"network {form!r} is registered already; choose another name")
        usual = examples or (() if "{" in form else (form,))
        _FAMILIES[form] = Family(form, build, usual, size, dropout, mean, std, has_maxblur)
        return build

    return register


def list_networks() -> tuple[str, ...]:
    """Return the names of usual networks; other numbers in a name make other networks."""
    _register_own()
    families = _FAMILIES.values()
    blurred = (name + BLURRED for each in families if each.has_maxblur for name in each.examples)
    return (*(name for each in families for name in each.examples), *blurred)


def find_family(name: str) -> Family:
    """Return the family a network's name belongs to.

    Raises:
        ValueError: If no network has that name; the message suggests the nearest.
    """
    _register_own()
    if is_foreign(name):
        mean, std = IMAGENET_MEAN, IMAGENET_STD
        return Family(name, _build_foreign, (), 224, 0.0, mean, std, has_maxblur=False)
    for family in _FAMILIES.values():
        if family.numbers(name) is not None:
            return family
    names = list_networks()
    shown = ", ".join(dict.fromkeys(name.removesuffix(BLURRED) for name in names))
    raise ValueError(
        f"model must be one of {', '.join(_FAMILIES)}, most of them also with {BLURRED} at the "
        f"end (such as {shown}), got {name!r}{did_you_mean(name, names, cutoff=0.3)}"
    )


def is_foreign(name: str) -> bool:
    """Whether a network is of a library or of the user's code, named as `open_model` takes it."""
    return name.startswith(_FOREIGN)


def _build_foreign(config: ModelConfig) -> Any:
    return importlib.import_module("augmix.models.start").build_foreign(config)


def is_own(family: Family) -> bool:
    """Whether a family is of this package."""
    return family.build.__module__ in _OWN_MODULES


def maxblur_name(name: str) -> str:
    """Return the name of a network's blur-pooled form, which has the same weights.

    Raises:
        ValueError: If no network has that name, or it has no blur-pooled form.

    Example:
        >>> maxblur_name("wrn-40-2")
        'wrn-40-2-maxblur'
    """
    if not find_family(name).has_maxblur:
        raise ValueError(f"model {name!r} has no blur-pooled form")
    return name if name.endswith(BLURRED) else name + BLURRED


def _register_own() -> None:
    for module in _OWN_MODULES:
        importlib.import_module(module)

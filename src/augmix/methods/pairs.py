"""Methods that make an image and its target of two images of the batch."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import Method, register_method


@register_method("mixup")
@dataclass(frozen=True, slots=True, kw_only=True)
class Mixup(Method):
    """Images and targets blended in pairs; cross-entropy."""

    policy: Policy = field(default_factory=policies.Mixup)

    title: ClassVar[str] = "Mixup"
    source: ClassVar[str] = "Zhang et al. (2018)"
    weight_decay: ClassVar[float | None] = 1e-4
    flag_prefix: ClassVar[str] = "mixup"


@register_method("cutmix")
@dataclass(frozen=True, slots=True, kw_only=True)
class CutMix(Method):
    """A box of every image from another, targets by area; cross-entropy."""

    policy: Policy = field(default_factory=lambda: policies.CutMix(probability=None))

    title: ClassVar[str] = "CutMix"
    source: ClassVar[str] = "Yun et al. (2019)"
    flag_prefix: ClassVar[str] = "cutmix"

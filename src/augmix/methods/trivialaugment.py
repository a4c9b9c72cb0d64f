"""TrivialAugment as a method: one strong random operation in place of the image."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import OptionalConsistency, register_method


@register_method("trivialaugment")
@dataclass(frozen=True, slots=True, kw_only=True)
class TrivialAugment(OptionalConsistency):
    """One operation of a wide space in place of the image; cross-entropy."""

    policy: Policy = field(default_factory=policies.TrivialAugment)

    title: ClassVar[str] = "TrivialAugment"
    source: ClassVar[str] = "Mueller and Hutter (2021)"

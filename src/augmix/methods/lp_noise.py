"""Lp noise as a method: a strong operation, an erased rectangle, and noise of a random norm."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import OptionalConsistency, register_method


@register_method("lp-noise")
@dataclass(frozen=True, slots=True, kw_only=True)
class LpNoise(OptionalConsistency):
    """TrivialAugment, random erasing and noise of a random Lp norm; cross-entropy."""

    policy: Policy = field(default_factory=policies.LpNoise)
    label_smoothing: float = 0.1
    """Fraction of the target spread evenly over all classes, in [0, 1); published is 0.1."""

    title: ClassVar[str] = "Lp noise"
    source: ClassVar[str] = "Siedel et al. (2024)"

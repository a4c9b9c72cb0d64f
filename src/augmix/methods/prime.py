"""PRIME as a method."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import OptionalConsistency, register_method


@register_method("prime")
@dataclass(frozen=True, slots=True, kw_only=True)
class PRIME(OptionalConsistency):
    """The clean image and two mixtures of random primitives; cross-entropy and consistency."""

    policy: Policy = field(default_factory=policies.PRIME)
    jsd_weight: float = 12.0
    """Weight of the consistency loss of the clean image and two views; 0 is one view and
    cross-entropy."""

    title: ClassVar[str] = "PRIME"
    source: ClassVar[str] = "Modas et al. (2022)"

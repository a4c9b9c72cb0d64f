"""PixMix and IPMix: images mixed with pictures that are no photographs."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import OptionalConsistency, register_method


@register_method("pixmix")
@dataclass(frozen=True, slots=True, kw_only=True)
class PixMix(OptionalConsistency):
    """The image mixed with copies of itself and a fractal or pattern; cross-entropy."""

    policy: Policy = field(default_factory=policies.PixMix)

    title: ClassVar[str] = "PixMix"
    source: ClassVar[str] = "Hendrycks et al. (2022)"


@register_method("ipmix")
@dataclass(frozen=True, slots=True, kw_only=True)
class IPMix(OptionalConsistency):
    """AugMix with chains of picture patches too; cross-entropy and consistency."""

    policy: Policy = field(default_factory=policies.IPMix)
    jsd_weight: float = 12.0
    """Weight of the consistency loss, at least 0; 0 is one view and cross-entropy."""

    title: ClassVar[str] = "IPMix"
    source: ClassVar[str] = "Huang et al. (2023)"

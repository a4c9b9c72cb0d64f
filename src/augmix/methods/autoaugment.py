"""AutoAugment: a policy found by search."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import Method, register_method


@register_method("autoaugment")
@dataclass(frozen=True, slots=True, kw_only=True)
class AutoAugment(Method):
    """A published sub-policy in place of the image; cross-entropy."""

    policy: Policy = field(default_factory=lambda: policies.AutoAugment(table=None))

    title: ClassVar[str] = "AutoAugment*"
    source: ClassVar[str] = "Cubuk et al. (2019)"
    flag_prefix: ClassVar[str] = "autoaugment"

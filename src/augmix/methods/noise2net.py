"""Noise2Net as a method: half of the views pass through freshly drawn networks."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import Method, register_method


@register_method("noise2net")
@dataclass(frozen=True, slots=True, kw_only=True)
class Noise2Net(Method):
    """Half of the images behind a network of random weights; cross-entropy."""

    policy: Policy = field(default_factory=policies.Noise2Net)

    title: ClassVar[str] = "Noise2Net"
    source: ClassVar[str] = "Hendrycks et al. (2021)"
    flag_prefix: ClassVar[str] = "noise2net"

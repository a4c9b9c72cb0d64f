"""Methods that lay a square over every image: a hole, or noise."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import Method, register_method


@register_method("cutout")
@dataclass(frozen=True, slots=True, kw_only=True)
class Cutout(Method):
    """A square of every image covered with the mean; cross-entropy."""

    policy: Policy = field(default_factory=lambda: policies.Cutout(size_px=None))

    title: ClassVar[str] = "Cutout"
    source: ClassVar[str] = "DeVries and Taylor (2017)"
    flag_prefix: ClassVar[str] = "cutout"


@register_method("patch-uniform")
@dataclass(frozen=True, slots=True, kw_only=True)
class PatchUniform(Method):
    """Uniform noise in a square of every image; cross-entropy."""

    policy: Policy = field(default_factory=lambda: policies.PatchUniform(size_px=None))

    title: ClassVar[str] = "Patch Uniform"
    source: ClassVar[str] = "Lopes et al. (2019), with uniform noise as in Hendrycks et al. (2020)"
    flag_prefix: ClassVar[str] = "patch"

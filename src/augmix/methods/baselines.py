"""Methods of one view and cross-entropy: they differ in the policy, the network or the images."""

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


@register_method("standard")
@dataclass(frozen=True, slots=True, kw_only=True)
class Standard(Method):
    """Crop and mirror only; cross-entropy."""

    title: ClassVar[str] = "Standard"
    source: ClassVar[str] = "the baseline of Hendrycks et al. (2020)"


@register_method("maxblur")
@dataclass(frozen=True, slots=True, kw_only=True)
class MaxBlur(Method):
    """The network's maps halved behind a blur; crop and mirror; cross-entropy."""

    title: ClassVar[str] = "MaxBlur pool"
    source: ClassVar[str] = "Zhang (2019)"

    def network_name(self, name: str) -> str:
        """The blur-pooled form of the network."""
        from augmix.models import maxblur_name

        return maxblur_name(name)


@register_method("sin")
@dataclass(frozen=True, slots=True, kw_only=True)
class StylisedImages(Method):
    """Images and their stylised copies; crop and mirror; cross-entropy."""

    title: ClassVar[str] = "SIN"
    source: ClassVar[str] = "Geirhos et al. (2019)"
    needs_stylised: ClassVar[bool] = True

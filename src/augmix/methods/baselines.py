"""Methods that differ in policy, network or images: one view and cross-entropy, or consistency."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import Method, OptionalConsistency, register_method


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


@register_method("trivialaugment")
@dataclass(frozen=True, slots=True, kw_only=True)
class TrivialAugment(OptionalConsistency):
    """One operation of a wide space in place of the image; cross-entropy."""

    policy: Policy = field(default_factory=policies.TrivialAugment)

    title: ClassVar[str] = "TrivialAugment"
    source: ClassVar[str] = "Mueller and Hutter (2021)"


@register_method("noise2net")
@dataclass(frozen=True, slots=True, kw_only=True)
class Noise2Net(Method):
    """Half of the images behind a network of random weights; cross-entropy."""

    policy: Policy = field(default_factory=policies.Noise2Net)

    title: ClassVar[str] = "Noise2Net"
    source: ClassVar[str] = "Hendrycks et al. (2021)"
    flag_prefix: ClassVar[str] = "noise2net"


@register_method("lp-noise")
@dataclass(frozen=True, slots=True, kw_only=True)
class LpNoise(OptionalConsistency):
    """TrivialAugment, random erasing and noise of a random Lp norm; cross-entropy."""

    policy: Policy = field(default_factory=policies.LpNoise)
    label_smoothing: float = 0.1
    """Fraction of the target spread evenly over all classes, in [0, 1); published is 0.1."""

    title: ClassVar[str] = "Lp noise"
    source: ClassVar[str] = "Siedel et al. (2024)"


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

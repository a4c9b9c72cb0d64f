"""Methods in the Fourier domain: APR and HybridAugment++ recombine images, AFA adds plane waves."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import (
    Method,
    Objective,
    OptionalConsistency,
    check_loss_options,
    count_base_views,
    layers_of,
    register_method,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recombining(OptionalConsistency):
    """One view, or two where a layer takes one, as a form of pairs does; cross-entropy of both."""

    @property
    def num_views(self) -> int:
        """Views the policy draws of every image."""
        if self.jsd_weight:
            return self.jsd_views
        takes_view = any(count_base_views(layer, 2) < 2 for layer in layers_of(self.policy))
        return 2 if takes_view else 1

    @property
    def objective(self) -> Objective:
        """Cross-entropy of each view, added up; with a weight, that of AugMix."""
        from augmix.methods.losses import ViewsCrossEntropy

        if self.jsd_weight or self.num_views == 1:
            return OptionalConsistency.objective.__get__(self)
        return ViewsCrossEntropy(label_smoothing=self.label_smoothing)


@register_method("apr-sp")
@dataclass(frozen=True, slots=True, kw_only=True)
class APR(_Recombining):
    """Amplitude of one image, phase of another; cross-entropy of a single and a paired view."""

    policy: Policy = field(default_factory=policies.APR)

    title: ClassVar[str] = "APR-SP"
    source: ClassVar[str] = "Chen et al. (2021)"


@register_method("hybridaugment-pp")
@dataclass(frozen=True, slots=True, kw_only=True)
class HybridAugment(_Recombining):
    """Low frequencies by APR, high ones of another image; cross-entropy of both views."""

    policy: Policy = field(default_factory=policies.HybridAugment)

    title: ClassVar[str] = "HybridAugment++"
    source: ClassVar[str] = "Yucel et al. (2023)"


_AFA = "Vaish et al. (2024)"


@register_method("afa")
@dataclass(frozen=True, slots=True, kw_only=True)
class AFA(Method):
    """The image and its clean form with plane waves, by batch norms of its own; cross-entropy."""

    policy: Policy = field(default_factory=policies.FourierWaves)
    jsd_weight: float = 0.0
    """Weight of the consistency of the clean image, the other view and the view with waves, which
    then share all batch norms (published: 10 on CIFAR-10, 1 on CIFAR-100, 12 on ImageNet); 0 is the
    mean of the cross-entropies of the other view and the view with waves."""

    title: ClassVar[str] = "AFA"
    source: ClassVar[str] = _AFA

    def __post_init__(self) -> None:
        check_loss_options(jsd_weight=self.jsd_weight, label_smoothing=self.label_smoothing)

    @property
    def has_clean(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the clean image goes in front of the drawn views."""
        return self.jsd_weight > 0

    @property
    def num_views(self) -> int:
        """Views the policy draws of every image."""
        layers = list(layers_of(self.policy))
        bases = [layer.base for layer in layers if isinstance(layer, policies.FourierWaves)]
        is_alone = any(isinstance(base, policies.Standard) for base in bases)
        return 1 if self.jsd_weight and is_alone else 2

    @property
    def splits_batch_norm(self) -> bool:
        """Whether the views behind the first one have batch norms of their own."""
        return not self.jsd_weight

    @property
    def objective(self) -> Objective:
        """Half the sum of both cross-entropies, or cross-entropy and consistency."""
        from augmix.methods.losses import Consistency, ViewsCrossEntropy

        if self.jsd_weight:
            return Consistency(weight=self.jsd_weight, label_smoothing=self.label_smoothing)
        return ViewsCrossEntropy(factor=0.5, label_smoothing=self.label_smoothing)


@register_method("augmix-afa")
@dataclass(frozen=True, slots=True, kw_only=True)
class AugMixAFA(AFA):
    """An AugMix view, and the clean image with plane waves; cross-entropy of both."""

    policy: Policy = field(default_factory=lambda: policies.FourierWaves(base=policies.AugMix()))

    title: ClassVar[str] = "AugMix + AFA"


@register_method("prime-afa")
@dataclass(frozen=True, slots=True, kw_only=True)
class PRIMEAFA(AFA):
    """A view of PRIME, and the clean image with plane waves; cross-entropy of both."""

    policy: Policy = field(default_factory=lambda: policies.FourierWaves(base=policies.PRIME()))

    title: ClassVar[str] = "PRIME + AFA"


@register_method("trivialaugment-afa")
@dataclass(frozen=True, slots=True, kw_only=True)
class TrivialAugmentAFA(AFA):
    """A view of TrivialAugment, and the clean image with plane waves; cross-entropy of both."""

    policy: Policy = field(
        default_factory=lambda: policies.FourierWaves(base=policies.TrivialAugment())
    )

    title: ClassVar[str] = "TrivialAugment + AFA"

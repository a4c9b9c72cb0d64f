"""AFA: an auxiliary view of plane waves beside the views of another method."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import (
    Method,
    Objective,
    check_loss_options,
    layers_of,
    register_method,
)

_SOURCE = "Vaish et al. (2024)"


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
    source: ClassVar[str] = _SOURCE

    def __post_init__(self) -> None:
        check_loss_options(weight=self.jsd_weight, label_smoothing=self.label_smoothing)

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

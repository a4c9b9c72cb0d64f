"""APR and HybridAugment++: amplitudes, phases and frequencies of images recombined."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.methods.registry import (
    Objective,
    OptionalConsistency,
    layers_of,
    register_method,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recombining(OptionalConsistency):
    """One view, or in the forms of pairs that view and its paired form; cross-entropy of both."""

    @property
    def num_views(self) -> int:
        """Views the policy draws of every image."""
        if self.jsd_weight:
            return self.jsd_views
        forms = [getattr(layer, "form", "") for layer in layers_of(self.policy)]
        return 2 if any("p" in form for form in forms) else 1

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

"""NoisyMix: AugMix whose hidden maps are mixed in pairs and made noisy."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.errors import check_fields
from augmix.methods.registry import (
    Objective,
    OptionalConsistency,
    register_method,
)


@register_method("noisymix")
@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyMix(OptionalConsistency):
    """AugMix with maps of a random stage mixed and noisy; cross-entropy and consistency."""

    policy: Policy = field(default_factory=policies.AugMix)
    jsd_weight: float = 12.0
    """Weight of the consistency loss, at least 0; 0 is one view and cross-entropy."""
    mixing_alpha: float = 1.0
    """Concentration of the Beta weight by which maps and targets are mixed, above 0."""
    multiplicative_noise: float = 0.5
    """Strength of the noise that maps are multiplied with, at least 0."""
    additive_noise: float = 0.5
    """Strength of the noise that is added to the maps of the first view, at least 0; view i has i
    times as much."""
    noise_sparsity: float = 0.65
    """Probability with which a value of a map is left without either noise, in [0, 1]."""

    title: ClassVar[str] = "NoisyMix"
    source: ClassVar[str] = "Erichson et al. (2022)"
    is_compilable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        OptionalConsistency.__post_init__(self)
        strengths = (self.multiplicative_noise, self.additive_noise)
        usable = [0 <= strength < float("inf") for strength in strengths]
        check_fields(
            self,
            mixing_alpha=(0 < self.mixing_alpha < float("inf"), "a finite number above 0"),
            multiplicative_noise=(usable[0], "a finite number of at least 0"),
            additive_noise=(usable[1], "a finite number of at least 0"),
            noise_sparsity=(0 <= self.noise_sparsity <= 1, "in [0, 1]"),
        )

    @property
    def objective(self) -> Objective:
        """Cross-entropy of mixed targets, and the consistency of all views."""
        from augmix.methods.losses import HiddenMixing

        return HiddenMixing(
            weight=self.jsd_weight,
            alpha=self.mixing_alpha,
            multiplicative=self.multiplicative_noise,
            additive=self.additive_noise,
            sparsity=self.noise_sparsity,
            label_smoothing=self.label_smoothing,
        )

    def check_network(self, model: Any) -> None:
        """Refuse (RunError) a network that does not name its stages."""
        from augmix.models.depth import find_stages

        find_stages(model)

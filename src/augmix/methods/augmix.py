"""AugMix, its ablations, chains without mixing, AugMax and NoisyMix, which start from AugMix."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.errors import check_fields, check_positive
from augmix.methods.registry import (
    Method,
    Objective,
    OptionalConsistency,
    check_loss_options,
    layers_of,
    register_method,
)

_ABLATION = "an ablation of Hendrycks et al. (2020)"


@register_method("augmix")
@dataclass(frozen=True, slots=True, kw_only=True)
class AugMix(Method):
    """The clean image and two AugMix views; cross-entropy and consistency."""

    policy: Policy = field(default_factory=policies.AugMix)
    jsd_weight: float = 12.0
    """Weight of the consistency loss, at least 0 (the paper's lambda)."""
    num_views: int = 2
    """Views that are drawn of every image; the clean image is one more."""

    title: ClassVar[str] = "AugMix"
    source: ClassVar[str] = "Hendrycks et al. (2020)"
    has_clean: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_loss_options(jsd_weight=self.jsd_weight, label_smoothing=self.label_smoothing)
        check_positive(self, "num_views")

    @property
    def objective(self) -> Objective:
        """Cross-entropy of the clean image, and the consistency of all views."""
        from augmix.methods.losses import Consistency

        return Consistency(weight=self.jsd_weight, label_smoothing=self.label_smoothing)


@register_method("augmix-no-jsd")
@dataclass(frozen=True, slots=True, kw_only=True)
class AugMixNoJSD(Method):
    """One AugMix view in place of the image; cross-entropy."""

    policy: Policy = field(default_factory=policies.AugMix)

    title: ClassVar[str] = "AugMix without JSD"
    source: ClassVar[str] = _ABLATION


@register_method("augmix-sin")
@dataclass(frozen=True, slots=True, kw_only=True)
class AugMixStylised(AugMix):
    """AugMix on images and their stylised copies; cross-entropy and consistency."""

    title: ClassVar[str] = "AugMix + SIN"
    source: ClassVar[str] = "Hendrycks et al. (2020), Geirhos et al. (2019)"
    needs_stylised: ClassVar[bool] = True


@register_method("random-aa")
@dataclass(frozen=True, slots=True, kw_only=True)
class RandomAA(Method):
    """One random chain in place of the image; cross-entropy."""

    policy: Policy = field(default_factory=policies.RandomAA)

    title: ClassVar[str] = "Random AutoAugment*"
    source: ClassVar[str] = _ABLATION


@register_method("random-aa-jsd")
@dataclass(frozen=True, slots=True, kw_only=True)
class RandomAAJSD(AugMix):
    """The clean image and two random chains; cross-entropy and consistency."""

    policy: Policy = field(default_factory=policies.RandomAA)

    title: ClassVar[str] = "Random AutoAugment* + JSD"
    source: ClassVar[str] = _ABLATION


@register_method("augmax")
@dataclass(frozen=True, slots=True, kw_only=True)
class AugMax(Method):
    """The image, an AugMix view and the worst mixture of chains; cross-entropy and consistency."""

    policy: Policy = field(default_factory=policies.AugMax)
    jsd_weight: float = 10.0
    """Weight of the consistency loss, at least 0 (published: 10, on CIFAR-100 with ResNet-18 1, on
    ImageNet 12)."""
    mixture_steps: int = 5
    """Steps of the attack on the weights of the mixture, at least 1."""
    mixture_step_size: float = 0.1
    """Length of a step, above 0."""

    title: ClassVar[str] = "AugMax"
    source: ClassVar[str] = "Wang et al. (2021)"
    has_clean: ClassVar[bool] = True
    is_compilable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_loss_options(jsd_weight=self.jsd_weight, label_smoothing=self.label_smoothing)
        check_positive(self, "mixture_steps")
        is_usable = 0 < self.mixture_step_size < float("inf")
        check_fields(self, mixture_step_size=(is_usable, "a finite number above 0"))

    @property
    def num_views(self) -> int:
        """A view of AugMix, and the chains that the attack mixes."""
        return 1 + next(x.width for x in layers_of(self.policy) if isinstance(x, policies.AugMix))

    @property
    def num_passed(self) -> int:
        """The clean image, the view of AugMix and the worst mixture."""
        return 3

    @property
    def num_attacks(self) -> int:
        """Steps of the attack on the weights of the mixture."""
        return self.mixture_steps

    @property
    def splits_batch_norm(self) -> bool:
        """Whether the views behind the first one have batch norms of their own."""
        return True

    @property
    def objective(self) -> Objective:
        """Cross-entropy of the clean image and the worst mixture, and consistency."""
        from augmix.methods.losses import AdversarialMixing

        return AdversarialMixing(
            weight=self.jsd_weight,
            num_steps=self.mixture_steps,
            step_size=self.mixture_step_size,
            label_smoothing=self.label_smoothing,
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

"""AugMix, its ablations, and the same chains of random operations without mixing."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.errors import check_positive
from augmix.methods.registry import Method, Objective, check_loss_options, register_method

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
        check_loss_options(weight=self.jsd_weight, label_smoothing=self.label_smoothing)
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

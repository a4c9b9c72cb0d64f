"""AugMax: AugMix beside the mixture of chains that is worst for the network."""

from dataclasses import dataclass, field
from typing import ClassVar

from augmix.augment import policies
from augmix.augment.policies import Policy
from augmix.errors import check_fields, check_positive
from augmix.methods.registry import (
    Method,
    Objective,
    check_loss_options,
    layers_of,
    register_method,
)


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
        check_loss_options(weight=self.jsd_weight, label_smoothing=self.label_smoothing)
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

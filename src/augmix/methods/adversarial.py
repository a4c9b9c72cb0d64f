"""Adversarial training: the model learns from images attacked by its own gradient."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from augmix.augment.policies import RandomStart
from augmix.errors import check_fields, check_positive
from augmix.methods.registry import Method, Objective, TrainingImages, fit_policy, register_method

Norm = Literal["linf", "l2"]
_RADII: dict[Norm, float] = {"linf": 8 / 255, "l2": 0.5}  # usual on CIFAR
_STEPS_IN_RADIUS = 4  # the usual step is this part of the radius: 2/255 of 8/255


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """How an image is attacked by projected gradient descent (Madry et al. 2018)."""

    norm: Norm = "linf"
    """Bounds each value's change (linf), or the Euclidean length of all changes (l2)."""
    epsilon: float | None = None
    """Radius of the attack, in [0, 1] units; None takes 8/255 for linf, 0.5 for l2."""
    num_steps: int = field(default=10, metadata={"flag": "steps"})
    """Gradient steps of the attack, at least 1."""
    step_size: float | None = None
    """Length of a step; None takes a quarter of the radius."""

    def __post_init__(self) -> None:
        check_fields(self, norm=(self.norm in _RADII, "'linf' or 'l2'"))
        for name, value in {"epsilon": self.epsilon, "step_size": self.step_size}.items():
            is_usable = value is None or 0 < value < math.inf
            expected = "a finite number above 0, or None for the usual"
            check_fields(self, **{name: (is_usable, expected)})
        check_positive(self, "num_steps")

    @property
    def radius(self) -> float:
        """Radius of the ball."""
        return self.epsilon or _RADII[self.norm]

    @property
    def step(self) -> float:
        """Length of a step."""
        return self.step_size or self.radius / _STEPS_IN_RADIUS


@register_method("adversarial")
@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial(Method):
    """Images attacked by the model's own gradient; cross-entropy."""

    attack: Attack = field(default_factory=Attack)

    title: ClassVar[str] = "Adv Training"
    source: ClassVar[str] = "Madry et al. (2018)"
    has_clean: ClassVar[bool] = True

    @property
    def num_passed(self) -> int:
        """The attacked images alone."""
        return 1

    @property
    def num_attacks(self) -> int:
        """Steps of the attack."""
        return self.attack.num_steps

    @property
    def objective(self) -> Objective:
        """Cross-entropy of the attacked images; the drawn view is where the attack starts."""
        from augmix.methods.losses import Adversarial

        return Adversarial(attack=self.attack, label_smoothing=self.label_smoothing)

    def fit(self, images: TrainingImages) -> Method:
        """Lay the noise that the attack starts from over the policy."""
        base = fit_policy(self.policy, images)
        return replace(self, policy=RandomStart(epsilon=self.attack.radius, base=base))

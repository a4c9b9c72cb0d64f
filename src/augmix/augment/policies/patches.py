"""Policies that put a square into every view: a hole, or noise."""

from dataclasses import dataclass, field

import numpy as np

from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import LARGE_PX, Ids, Policy, Standard
from augmix.augment.stages import Stage, is_per_view, stage_name
from augmix.augment.stages.chains import Chains
from augmix.augment.stages.patches import Hole, Noise, boxes_around
from augmix.rng import Purpose, Stream

_GREY = (0.5,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutout:
    """Cutout: a square hole in every view, clipped at the border (DeVries and Taylor 2017).

    The published code writes zeros after the normalisation, which is the mean that the model
    subtracts: ``fill``. Each view has its own hole; the clean view of `Plan.with_clean` has none.
    """

    size_px: int | None = 16
    """Size of the square in pixels, at least 1 (CIFAR-10 16, CIFAR-100 8); None takes half the
    images' shorter side."""
    fill: tuple[float, ...] | None = None
    """Level shown in the hole, 0..1, one for all channels or one for each; None is the mean that
    the model subtracts, in training, and 0.5 elsewhere."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that the holes are cut into."""

    def __post_init__(self) -> None:
        if self.size_px is not None and self.size_px < 1:
            raise ValueError(f"size_px of a hole must be at least 1 pixel, got {self.size_px}")
        fill = self.fill or _GREY
        if len(fill) not in (1, 3) or not all(0 <= level <= 1 for level in fill):
            raise ValueError(f"fill must be 1 or 3 levels in [0, 1], got {self.fill}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which cuts no hole itself, and a hole around any pixel."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        if plan.hole:
            raise ValueError("the base of Cutout cuts holes already; a view has one at most")
        uniforms = stream.at(Purpose.HOLE).uniforms(plan.ids, num_views=num_views, count=2)
        square_px = max(min(size) // 2, 1) if self.size_px is None else self.size_px
        box = boxes_around(uniforms, square_px, square_px, size)
        return plan.with_stage(Hole(box=box, fill=np.array(self.fill or _GREY, np.float32)))


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchUniform:
    """Patch Uniform: a square of uniform noise in every view, whose amplitude is drawn for each.

    Patch Gaussian (Lopes et al. 2019) with uniform noise, as Gaussian noise is a test corruption
    (Hendrycks et al. 2020, section 4.2). The noise of a view is U(-a, a) with a ~ U(0, amplitude).
    """

    size_px: int | None = 25
    """Size of the square in pixels, at least 1; None takes what is published for Patch Gaussian: 25
    of 32 pixels, above 64 pixels any size up to 250 of 224."""
    amplitude: float = 1.0
    """Largest noise that is drawn, above 0, in [0, 1] units."""
    random_size: bool = False
    """Draw the size for every view from 0 .. size_px, as on ImageNet."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that get the noise."""

    def __post_init__(self) -> None:
        if self.size_px is not None and self.size_px < 1:
            raise ValueError(f"size_px of a patch must be at least 1 pixel, got {self.size_px}")
        if not 0 < self.amplitude < np.inf:
            raise ValueError(f"amplitude must be a finite number above 0, got {self.amplitude}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which adds no noise itself, and a patch around any pixel."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        if plan.noise:
            raise ValueError("the base of PatchUniform adds noise already; a view has it once")
        uniforms = stream.at(Purpose.PATCH).uniforms(plan.ids, num_views=num_views, count=4)
        largest, is_random = self.size_px, self.random_size
        if largest is None:
            is_large = min(size) > LARGE_PX
            largest = max(round((250 / 224 if is_large else 25 / 32) * min(size)), 1)
            is_random |= is_large
        square_px = np.full(uniforms.shape[:2], largest)
        if is_random:
            square_px = (uniforms[..., 2] * (largest + 1)).astype(np.int64)
        noise = Noise(
            box=boxes_around(uniforms[..., :2], square_px, square_px, size),
            amplitude=(self.amplitude * uniforms[..., 3]).astype(np.float32),
            address=stream.at(Purpose.NOISE).addresses(plan.ids, num_views=num_views),
            seed=stream.seed,
        )
        return plan.with_stage(noise)


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomStart:
    """Uniform noise of one amplitude over the whole view: the start of an attack on the image.

    Projected gradient descent starts at ``image + U(-epsilon, epsilon)``, clipped to [0, 1] (Madry
    et al. 2018). Adversarial training takes the clean view and this one.
    """

    epsilon: float = 8 / 255
    """Largest noise, above 0, in [0, 1] units."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that get the noise."""

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < np.inf:
            raise ValueError(f"epsilon must be a finite number above 0, got {self.epsilon}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which changes no view alone, and addresses of the noise."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        if names := [stage_name(type(stage)) for stage in plan.stages if _changes_views(stage)]:
            raise ValueError(
                "an attack starts at the image itself: its base can change no view alone, got "
                f"stage {', '.join(names)}"
            )
        shape = (num_views, len(plan))
        noise = Noise(
            box=np.tile(np.array([0, 0, *plan.size], np.int32), (*shape, 1)),
            amplitude=np.full(shape, self.epsilon, np.float32),
            address=stream.at(Purpose.ATTACK).addresses(plan.ids, num_views=num_views),
            seed=stream.seed,
        )
        return plan.with_stage(noise)


def _changes_views(stage: Stage) -> bool:
    """Whether a stage may show something else than the clean view does."""
    is_empty = isinstance(stage, Chains) and not stage.mix.any()
    return is_per_view(type(stage)) and not is_empty

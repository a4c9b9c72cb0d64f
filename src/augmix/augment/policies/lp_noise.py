"""Policies of random erasing and of Lp noise, both in random rectangles."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int32

from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import Ids, Policy, Standard
from augmix.augment.policies.trivialaugment import TrivialAugment
from augmix.augment.stages.lp_noise import LpNoise as LpNoiseStage
from augmix.augment.stages.lp_noise import Norm
from augmix.augment.stages.patches import Hole
from augmix.errors import check_fields
from augmix.rng import Purpose, Stream

_ASPECT = (0.3, 3.3)  # of height by width
_ERASED = (0.02, 0.33)  # fraction of the area
_NOISY = (0.2, 0.7)
_RADII = {Norm.INFINITY: 0.1, Norm.HALF: 4e5, Norm.ONE: 200.0, Norm.TWO: 5.0, Norm.IMPULSE: 0.2}
_EXPONENTS = {Norm.HALF: 2.0, Norm.ONE: 1.0, Norm.TWO: 0.5}  # by which radii grow with the pixels
_REFERENCE_PX = 32 * 32


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomErasing:
    """Random erasing: a black rectangle in some of the views (Zhong et al. 2020)."""

    erasing_probability: float = 0.3
    """Fraction of the views with a rectangle, 0..1; it covers 2 to 33 % of the image."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that are erased."""

    def __post_init__(self) -> None:
        is_fine = 0 <= self.erasing_probability <= 1
        check_fields(self, erasing_probability=(is_fine, "in [0, 1]"))

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which cuts no hole itself, and a rectangle for each view."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        if plan.hole:
            raise ValueError("the base of RandomErasing cuts holes already; a view has one at most")
        uniforms = stream.at(Purpose.ERASING).uniforms(plan.ids, num_views=num_views, count=5)
        box = _draw_boxes(uniforms[..., :4], _ERASED, plan.size)
        box[uniforms[..., 4] >= self.erasing_probability] = 0
        return plan.with_stage(Hole(box=box, fill=np.zeros(1, np.float32)))


def _erased_operation() -> Policy:
    return RandomErasing(base=TrivialAugment())


@dataclass(frozen=True, kw_only=True, slots=True)
class LpNoise:
    """Noise from a ball of a random Lp norm in a rectangle of every view (Siedel et al. 2024).

    One of Linf of radius 0.1, L0.5 of 400,000, L1 of 200, L2 of 5, and impulses in 0.2 of the
    values, for 32x32 pixels; the radius is multiplied by U(0, 1), and U(0, 1) of the values are
    left out. For other sizes the radii grow such that single values stay as large. Every view has
    its own noise; the published code draws it once for 8 images.
    """

    noise_strength: float = 1.0
    """Factor of all radii, above 0."""
    base: Policy = field(default_factory=_erased_operation)
    """Policy of the views that get the noise."""

    def __post_init__(self) -> None:
        is_fine = 0 < self.noise_strength < np.inf
        check_fields(self, noise_strength=(is_fine, "a finite number above 0"))

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, and norm, radius and rectangle of every view's noise."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        at = stream.at(Purpose.LP_NOISE)
        uniforms = at.uniforms(plan.ids, num_views=num_views, count=7)
        norm = (1 + np.floor(uniforms[..., 4] * len(_RADII))).astype(np.int8)
        largest = np.zeros(len(Norm))
        for each, radius in _RADII.items():
            growth = (size[0] * size[1] / _REFERENCE_PX) ** _EXPONENTS.get(each, 0.0)
            largest[each] = radius * growth * self.noise_strength
        noise = LpNoiseStage(
            box=_draw_boxes(uniforms[..., :4], _NOISY, plan.size),
            norm=norm,
            radius=(largest[norm] * uniforms[..., 5]).astype(np.float32),
            kept=uniforms[..., 6].astype(np.float32),
            address=stream.at(Purpose.LP_NOISE, part=1).addresses(plan.ids, num_views=num_views),
            seed=stream.seed,
        )
        return plan.with_stage(noise)


def _draw_boxes(
    uniforms: Float64[np.ndarray, "view batch 4"],
    fractions: tuple[float, float],
    size: tuple[int, int],
) -> Int32[np.ndarray, "view batch 4"]:
    """Rectangles of a fraction of the area, of logarithmically uniform aspect, inside the image."""
    least, most = fractions
    area = (least + uniforms[..., 0] * (most - least)) * size[0] * size[1]
    narrow, wide = np.log(_ASPECT)
    aspect = np.exp(narrow + uniforms[..., 1] * (wide - narrow))
    height = np.clip(np.rint(np.sqrt(area * aspect)), 1, size[0])
    width = np.clip(np.rint(np.sqrt(area / aspect)), 1, size[1])
    top = np.floor(uniforms[..., 2] * (size[0] - height + 1))
    left = np.floor(uniforms[..., 3] * (size[1] - width + 1))
    return np.stack([top, left, top + height, left + width], axis=-1).astype(np.int32)

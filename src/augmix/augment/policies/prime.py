"""PRIME: random deformations, colour curves and filters, mixed as AugMix mixes its chains."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import LARGE_PX, Ids, Policy, Standard, beta, dirichlet
from augmix.augment.stages.primitives import Primitive, Primitives
from augmix.errors import check_fields, check_positive
from augmix.rng import Purpose, Stream

_MAX_DEPTH = 3
_SIGMA = 4.0  # largest standard deviation of a filter's weights
_WINDOW = 20  # consecutive frequencies of a colour curve on large images


@dataclass(frozen=True, kw_only=True, slots=True)
class PRIME:
    """PRIME (Modas et al. 2022): chains of three primitives, all of maximum entropy.

    What is drawn of every image: which primitives, their range of frequencies, their strength and
    all coefficients. Above 64 pixels the settings are those published for ImageNet.
    """

    width: int = 3
    """Chains that are mixed, at least 1."""
    depth: int | None = None
    """Primitives in a chain; None draws 1, 2 or 3 for each chain."""
    cutoff: int | None = None
    """Highest frequency of deformations and colour curves, at least 3; None is the published one:
    100, above 64 pixels 500."""
    color_strength: float | None = None
    """Largest temperature of a colour curve; None is the published one: 0.01, above 64 pixels
    0.05."""
    filter_delta: Literal["corner", "centre"] = "corner"
    """Where the filter keeps the image: in a corner of its 3x3 pixels, which moves it by a pixel
    too, as the published code does, or at the centre."""
    batch_field: bool = False
    """Draw one deformation, and one range and strength of curves and filters, for a whole batch, as
    published."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that the chains start from."""

    def __post_init__(self) -> None:
        check_positive(self, "width", "depth")
        cutoff, strength = self.cutoff, self.color_strength
        check_fields(
            self,
            cutoff=(cutoff is None or cutoff >= 3, "at least 3, or None for the published one"),
            color_strength=(strength is None or 0 < strength < np.inf, "a finite number above 0"),
            filter_delta=(self.filter_delta in ("corner", "centre"), "'corner' or 'centre'"),
        )

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the base's plan, the chains and their mixture."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        is_large = min(size) > LARGE_PX
        cutoff = self.cutoff or (500 if is_large else 100)
        strength = self.color_strength or (0.05 if is_large else 0.01)
        depth, width = self.depth or _MAX_DEPTH, self.width
        shape = (num_views, len(plan), width, depth)
        count = width * (1 + 6 * depth)

        def draw(own: Ids) -> np.ndarray:
            at = stream.at(Purpose.PRIMITIVES)
            return at.uniforms(own, num_views=num_views, count=count)

        uniforms = draw(plan.ids).reshape(*shape[:3], 1 + 6 * depth)
        length = depth if self.depth else 1 + np.floor(uniforms[..., :1] * _MAX_DEPTH)
        steps = uniforms[..., 1:].reshape(*shape, 6)
        kind = (1 + np.floor(steps[..., 0] * 3)).astype(np.int8)
        kind = np.where(np.arange(depth) < length, kind, np.int8(Primitive.NONE))
        if self.batch_field and len(plan):  # one for all images and chains
            owner = draw(np.sort(plan.ids)[:1]).reshape(num_views, 1, width, -1)[..., 1:]
            steps = np.broadcast_to(
                owner.reshape(num_views, 1, width, depth, 6)[:, :, :1], (*shape, 6)
            )
        first, last, temperature = _draw_ranges(kind, steps, cutoff, min(size), strength, is_large)
        address = np.empty((*shape, 3), np.uint32)
        for chain, step in np.ndindex(width, depth):
            at = stream.at(Purpose.PRIMITIVES, part=3 + chain * depth + step)
            address[:, :, chain, step] = at.addresses(plan.ids, num_views=num_views)
            if self.batch_field and len(plan):
                at = stream.at(Purpose.PRIMITIVES, part=3 + step)
                shared = at.addresses(np.sort(plan.ids)[:1], num_views=num_views)
                is_field = kind[:, :, chain, step] == Primitive.DEFORM
                own = address[:, :, chain, step]
                address[:, :, chain, step] = np.where(is_field[..., None], shared, own)
        weight = dirichlet(plan.ids, num_views, width, 1.0, stream.at(Purpose.PRIMITIVES, part=1))
        mix = beta(plan.ids, num_views, 1.0, stream.at(Purpose.PRIMITIVES, part=2))
        chains = Primitives(
            kind=kind,
            first=first.astype(np.int32),
            last=last.astype(np.int32),
            temperature=temperature.astype(np.float32),
            weight=weight.astype(np.float32),
            mix=mix.astype(np.float32),
            address=address,
            seed=stream.seed,
            num_terms=min(_WINDOW, cutoff) if is_large else cutoff,
            num_modes=cutoff,
            is_corner=self.filter_delta == "corner",
        )
        return plan.with_stage(chains)


def _draw_ranges(
    kind: np.ndarray, steps: np.ndarray, cutoff: int, size_px: int, strength: float, is_large: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies and strengths of every step, from five numbers each."""
    highest = 3 + np.floor(steps[..., 1] * (cutoff - 2))  # 3 .. cutoff
    arcs = np.sin(np.pi / 2 * steps[..., 2:4]) ** 2  # Beta(1/2, 1/2)
    modes = np.minimum(2 + np.floor(arcs[..., 0] * (highest - 1)), highest)
    logarithm = np.log(modes + 1e-6)
    lowest = 1 / (np.pi * size_px**2 * logarithm)
    largest = np.maximum(4 / (np.pi**3 * (modes + 1e-6) ** 2 * logarithm), lowest)
    field_strength = lowest + arcs[..., 1] * (largest - lowest)
    terms = 1 + np.floor(steps[..., 4] * cutoff)  # 1 .. cutoff
    start, end = np.ones_like(terms), terms
    if is_large:
        start = 1 + np.floor(steps[..., 5] * terms)
        end = np.minimum(start + _WINDOW - 1, terms)
    is_field, is_color = kind == Primitive.DEFORM, kind == Primitive.COLOR
    is_filter = kind == Primitive.FILTER
    first = np.where(is_field, 1, np.where(is_color, start, 0))
    last = np.where(is_field, modes, np.where(is_color, end, 0))
    temperature = np.where(is_color, strength * steps[..., 3], 0)
    temperature = np.where(is_filter, _SIGMA * steps[..., 3], temperature)
    return first, last, np.where(is_field, field_strength, temperature)

"""Policies that make a view of two images of the batch, and a target of their two classes.

The partners are a random permutation of the batch, as published. It depends on which images the
batch holds, not on their order: the image with the n-th smallest id gets the image with the n-th
smallest number drawn at its own address. What is drawn once for a whole batch is drawn at the
address of its smallest id.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import LARGE_PX, Ids, Policy, Standard, beta
from augmix.augment.stages.pairs import Pairs
from augmix.augment.stages.patches import boxes_around
from augmix.rng import Purpose, Stream

_BETA_PART = 1  # of Purpose.PAIRS; part 0 has the other numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixup:
    """Mixup: views and targets blended with those of another image (Zhang et al. 2018)."""

    alpha: float = 1.0
    """Concentration of the Beta weight of the image itself, above 0."""
    per_image: bool = False
    """Draw a weight for every image; published is one for the whole batch."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that are blended."""

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which pairs no images itself, partners and weights."""
        plan = _sample_base(self.base, ids, num_views, size, stream)
        weight = _draw_weight(plan.ids, self.alpha, self.per_image, stream)
        pairs = Pairs(
            partner=draw_partners(plan.ids, stream.at(Purpose.PAIRS, part=0)),
            weight=weight.astype(np.float32),
            box=np.zeros((len(plan), 4), np.int32),
            is_cut=False,
        )
        return plan.with_stage(pairs)


@dataclass(frozen=True, kw_only=True, slots=True)
class CutMix:
    """CutMix: a box of every view shows another image, targets by area (Yun et al. 2019).

    The box is sqrt(1 - lambda) times as high and wide as the image, cut to an even number of pixels
    as in the published code; its centre is any pixel, and it is clipped at the border. The weights
    of the target are those of the pixels that show each image.
    """

    alpha: float = 1.0
    """Concentration of the Beta weight lambda, above 0."""
    probability: float | None = 0.5
    """Fraction of the batches that are cut, 0..1; None takes the published one: 0.5, above 64
    pixels 1."""
    per_image: bool = False
    """Draw weight, box and whether to cut for every image; published is once for a batch."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that are cut."""

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which pairs no images itself, partners and boxes."""
        plan = _sample_base(self.base, ids, num_views, size, stream)
        uniforms = _draw_numbers(plan.ids, self.per_image, stream)
        left = np.sqrt(1 - _draw_weight(plan.ids, self.alpha, self.per_image, stream))
        height, width = ((length * left).astype(np.int64) // 2 * 2 for length in size)
        box = boxes_around(uniforms[:, :2], height, width, size)
        probability = self.probability
        if probability is None:
            probability = 1.0 if min(size) > LARGE_PX else 0.5
        box[uniforms[:, 2] >= probability] = 0
        area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        pairs = Pairs(
            partner=draw_partners(plan.ids, stream.at(Purpose.PAIRS, part=0)),
            weight=(1 - area / (size[0] * size[1])).astype(np.float32),
            box=box,
            is_cut=True,
        )
        return plan.with_stage(pairs)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < np.inf:
        raise ValueError(f"alpha must be a finite number above 0, got {alpha}")


def _sample_base(
    base: Policy, ids: Ids, num_views: int, size: tuple[int, int], stream: Stream
) -> Plan:
    plan = base.sample(ids, num_views=num_views, size=size, stream=stream)
    if plan.pairs:
        raise ValueError("the base pairs images already; an image has one partner at most")
    return plan


def draw_partners(ids: Int64[np.ndarray, " batch"], stream: Stream) -> Int64[np.ndarray, " batch"]:
    """A random permutation of the batch, the same for the same images in any order."""
    numbers = stream.uniforms(ids, count=1)[0, :, 0]
    partner = np.empty(len(ids), np.int64)
    partner[np.argsort(ids, kind="stable")] = np.lexsort((ids, numbers))
    return partner


def _draw_numbers(
    ids: Int64[np.ndarray, " batch"], per_image: bool, stream: Stream
) -> Float64[np.ndarray, "batch 3"]:
    """Three uniforms for every image: centre of the box, and whether it is cut."""
    numbers = stream.at(Purpose.PAIRS, part=0).uniforms(_owners(ids, per_image), count=4)[0, :, 1:]
    return np.broadcast_to(numbers, (len(ids), 3))


def _draw_weight(
    ids: Int64[np.ndarray, " batch"], alpha: float, per_image: bool, stream: Stream
) -> Float64[np.ndarray, " batch"]:
    """Beta(alpha, alpha) for every image, or one for all."""
    part = stream.at(Purpose.PAIRS, part=_BETA_PART)
    return np.broadcast_to(beta(_owners(ids, per_image), 1, alpha, part)[0], (len(ids),))


def _owners(ids: Int64[np.ndarray, " batch"], per_image: bool) -> Int64[np.ndarray, " owner"]:
    """The ids at whose addresses is drawn: every image's own, or the smallest one."""
    return ids if per_image else np.sort(ids)[:1]

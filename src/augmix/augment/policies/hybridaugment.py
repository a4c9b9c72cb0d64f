"""Policies that recombine amplitudes and phases of images: APR and HybridAugment++.

Each has a form for a single image (S), which works before the crop, and one for pairs of the batch
(P), which works on finished views. What is drawn once for a whole batch is drawn at the address of
its smallest id.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Int64

from augmix.augment.ops import PAPER_OPS, Op, level_to_amount
from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import (
    LOWEST_LEVEL,
    Ids,
    Policy,
    Standard,
    check_request,
    check_severity,
    largest_level,
)
from augmix.augment.policies.pairs import draw_partners
from augmix.augment.stages.spectra import Overflow, Recombined, Spectra
from augmix.rng import Purpose, Stream

Form = Literal["s", "p", "sp"]
_PAIR_PROBABILITY = 0.6


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recombining:
    """What APR and HybridAugment++ have in common."""

    form: Form = "sp"
    """s changes every image by itself; p mixes the last view of every image with those of others of
    the batch; sp does both."""
    severity: int | None = 3
    """Largest level of an operation, 1..10; None goes by the size of the images."""
    overflow: Overflow = "wrap"
    """What becomes of levels outside 0..255 in form s: wrap takes them modulo 256, as published,
    which is impulse noise; clip takes the nearest level."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views behind form s and before form p."""

    def __post_init__(self) -> None:
        if self.form not in ("s", "p", "sp"):
            raise ValueError(f"form must be 's', 'p' or 'sp', got {self.form!r}")
        check_severity(self.severity)
        if self.overflow not in ("wrap", "clip"):
            raise ValueError(f"overflow must be 'wrap' or 'clip', got {self.overflow!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class APR(_Recombining):
    """Amplitude-phase recombination (Chen et al. 2021).

    Form s: an operation of AugMix; with probability 1/2 a second one on top, and the amplitude of
    one with the phase of the other result. Form p: with probability 0.6 for the batch, the
    amplitude of another image.
    """

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan; in form sp and p the last of several views is the paired form of the one
        before it."""
        return _sample(self, False, ids, num_views, size, stream)


@dataclass(frozen=True, kw_only=True, slots=True)
class HybridAugment(_Recombining):
    """HybridAugment++ (Yucel et al. 2023): APR of low frequencies, high ones of another image.

    Low frequencies are a Gaussian blur of 3x3 pixels and sigma 0.5. Form s: an operation of AugMix;
    with probability 1/2 a second one on top, and the low frequencies of one, changed by APR, with
    the high frequencies of the other. Form p: with probability 0.6 for the batch, high frequencies
    of another image, and with probability 0.6 the amplitude of the low ones of a third.
    """

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan; see `APR.sample`."""
        return _sample(self, True, ids, num_views, size, stream)


def _sample(
    policy: _Recombining,
    is_hybrid: bool,
    ids: Ids,
    num_views: int,
    size: tuple[int, int],
    stream: Stream,
) -> Plan:
    """The base's views behind form s, the last of which is paired with the others of the batch."""
    ids = check_request(ids, num_views, size)
    has_pair = "p" in policy.form
    num_own = max(num_views - has_pair, 1)
    plan = policy.base.sample(ids, num_views=num_own, size=size, stream=stream)
    if "s" in policy.form:
        plan = plan.with_stage(_draw_single(policy, is_hybrid, plan, stream))
    if not has_pair:
        return plan
    plan = plan.take_views([*range(num_own), *([num_own - 1] * (num_views - num_own))])
    is_on = np.zeros((num_views, len(plan)), bool)
    is_on[-1] = True
    owner = np.sort(plan.ids)[:1]  # empty for an empty batch
    chance = np.zeros(2)
    chance[:] = stream.at(Purpose.SPECTRA).uniforms(owner, count=2)[0].sum(axis=0)
    low, high = chance < _PAIR_PROBABILITY
    paired = Spectra(
        is_on=is_on,
        low_partner=draw_partners(plan.ids, stream.at(Purpose.SPECTRA, part=1)),
        high_partner=draw_partners(plan.ids, stream.at(Purpose.SPECTRA, part=2)),
        low=np.full(len(plan), low and (high or not is_hybrid)),
        high=np.full(len(plan), high and is_hybrid),
    )
    return plan.with_stage(paired)


def _draw_single(policy: _Recombining, is_hybrid: bool, plan: Plan, stream: Stream) -> Recombined:
    num_views = plan.num_views
    uniforms = stream.at(Purpose.RECOMBINE).uniforms(plan.ids, num_views=num_views, count=16)
    steps = uniforms[..., :12].reshape(num_views, len(plan), 4, 3)
    ops = np.array(PAPER_OPS, np.int8)
    op = ops[(steps[..., 0] * len(ops)).astype(np.int8)]
    highest = largest_level(policy.severity, plan.size)
    level = LOWEST_LEVEL + steps[..., 1] * (highest - LOWEST_LEVEL)
    sign = np.where(steps[..., 2] > 0.5, -1.0, 1.0)
    one_or_two, has_second = 1 + (uniforms[..., 12:14] < 0.5), uniforms[..., 14:16] < 0.5
    inner = np.where(has_second[..., 1], one_or_two[..., 1], 0)
    low = np.where(has_second[..., 0], one_or_two[..., 0], 0)
    if not is_hybrid:
        inner, low = low, np.zeros_like(low)
    else:
        inner = np.where(low > 0, inner, 0)
    op = np.where(_is_used(inner, low), op, np.int8(Op.NONE))
    amount = level_to_amount(op, level, sign, plan.size)
    return Recombined(
        op=op,
        amount=np.where(op == Op.NONE, 0.0, amount),
        swap=inner.astype(np.int8),
        low=low.astype(np.int8),
        overflow=policy.overflow,
    )


def _is_used(
    swap: Int64[np.ndarray, "view batch"], low: Int64[np.ndarray, "view batch"]
) -> np.ndarray:
    """Which of the four operations of a view change anything."""
    is_hybrid = low > 0
    is_first = np.ones_like(is_hybrid)
    second = is_hybrid | (swap > 0)
    return np.stack([is_first, second, is_hybrid, is_hybrid & (swap > 0)], axis=-1)

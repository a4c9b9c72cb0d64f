"""Chains of random operations: AugMix, and the same chains without mixing."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int8, Integer

from augmix.augment.ops import OP_SETS, Op, level_to_amount
from augmix.augment.plan import Plan
from augmix.augment.policies.base import (
    beta,
    check_crop,
    check_request,
    dirichlet,
    draw_crop,
    one_chain,
)
from augmix.rng import Purpose, Stream

_RANDOM_DEPTH = 3  # a chain of random depth has 1, 2 or 3 operations
_LOWEST_LEVEL = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class AugMix:
    """AugMix as published: chains of operations, mixed with random weights (Hendrycks et al. 2020).

    Magnitudes are those of the released code: every operation draws its own level, uniform in
    [0.1, severity].
    """

    severity: int = 3
    """Largest level of an operation, 1..10 (3 on CIFAR, 1 on ImageNet)."""
    width: int = 3
    """Chains that are mixed, at least 1."""
    depth: int | None = None
    """Operations in a chain; None draws 1, 2 or 3 for each chain."""
    alpha: float = 1.0
    """Concentration of the Dirichlet weights and the Beta share, above 0."""
    ops: Literal["paper", "all"] = "paper"
    """The paper's 9 operations, or all 13 (4 of which overlap with the test corruptions)."""
    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        _check_chains(self.severity, self.depth, self.ops)
        if self.width < 1:
            raise ValueError(f"width must be at least 1 chain, got {self.width}")
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a finite number above 0, got {self.alpha}")
        check_crop(self.crop_padding)

    def sample(
        self,
        ids: Integer[np.ndarray, " batch"],
        *,
        num_views: int,
        size: tuple[int, int],
        stream: Stream,
    ) -> Plan:
        """Draw the AugMix plan of a batch without touching a pixel.

        Each image is drawn at its own address, so image 17 gets the same plan in whatever batch,
        worker or rank it turns up. Hendrycks et al. (2020), Algorithm 1.

        Args:
            ids: Dataset indices; any order, repeats allowed.
            num_views: Independent draws per image; the JSD objective needs 2.
            size: Image height and width in pixels; translations are drawn in pixels of this size.
            stream: Where in the run this happens, e.g. ``Stream(seed=0).at(epoch=3)``.

        Returns:
            A plan whose ``op`` and ``amount`` are ``view batch chain depth`` and whose ``weight``
            rows (``view batch chain``) sum to 1.

        Raises:
            ValueError: If ``num_views`` is below 1, or a size or id is out of range.

        Example:
            >>> ids, stream = np.arange(4), Stream(seed=0)
            >>> plan = AugMix().sample(ids, num_views=2, size=(32, 32), stream=stream)
            >>> plan.weight.shape
            (2, 4, 3)
        """
        check_request(num_views, size)
        ids = np.asarray(ids, dtype=np.int64)
        op, level, sign = _draw_chains(
            ids, num_views, self.width, self.depth, OP_SETS[self.ops], self.severity, stream
        )
        crop, flip = draw_crop(ids, self.crop_padding, self.flip, stream)
        weight = dirichlet(ids, num_views, self.width, self.alpha, stream.at(Purpose.WEIGHTS))
        return Plan(
            ids=ids,
            size=(int(size[0]), int(size[1])),
            crop_padding=self.crop_padding,
            crop=crop,
            flip=flip,
            op=op,
            amount=level_to_amount(op, level, sign, size),
            weight=weight.astype(np.float32),
            mix=beta(ids, num_views, self.alpha, stream.at(Purpose.SHARE)).astype(np.float32),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomAA:
    """Random AutoAugment*: one chain of AugMix in place of the image, without any mixing.

    The baseline of the ablation (Hendrycks et al. 2020, Table 4), which draws its operations at
    random where AutoAugment searches for them. The chain is the one `AugMix` of width 1 draws.
    """

    severity: int = 3
    """Largest level of an operation, 1..10."""
    depth: int | None = None
    """Operations in the chain; None draws 1, 2 or 3."""
    ops: Literal["paper", "all"] = "paper"
    """The paper's 9 operations, or all 13 (4 of which overlap with the test corruptions)."""
    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        _check_chains(self.severity, self.depth, self.ops)
        check_crop(self.crop_padding)

    def sample(
        self,
        ids: Integer[np.ndarray, " batch"],
        *,
        num_views: int,
        size: tuple[int, int],
        stream: Stream,
    ) -> Plan:
        """Draw one chain a view, which has all of the view; see `AugMix.sample`."""
        check_request(num_views, size)
        ids = np.asarray(ids, dtype=np.int64)
        op, level, sign = _draw_chains(
            ids, num_views, 1, self.depth, OP_SETS[self.ops], self.severity, stream
        )
        return one_chain(
            ids,
            op,
            level_to_amount(op, level, sign, size),
            size,
            self.crop_padding,
            self.flip,
            stream,
        )


def _check_chains(severity: int, depth: int | None, ops: str) -> None:
    if not 1 <= severity <= 10:
        raise ValueError(f"severity must be 1..10, got {severity}")
    if depth is not None and depth < 1:
        raise ValueError(f"depth must be at least 1, or None for random, got {depth}")
    if ops not in OP_SETS:
        raise ValueError(f"ops must be 'paper' or 'all', got {ops!r}")


def _draw_chains(
    ids: Integer[np.ndarray, " batch"],
    num_views: int,
    width: int,
    depth: int | None,
    ops: tuple[Op, ...],
    severity: int,
    stream: Stream,
) -> tuple[
    Int8[np.ndarray, "view batch chain depth"],
    Float64[np.ndarray, "view batch chain depth"],
    Float64[np.ndarray, "view batch chain depth"],
]:
    """Operations, levels and signs of every chain; one address a view and image."""
    longest = _RANDOM_DEPTH if depth is None else depth
    per_chain = 1 + 3 * longest  # the depth, then operation, level and sign of every step
    uniforms = stream.at(Purpose.CHAINS).uniforms(ids, num_views=num_views, count=width * per_chain)
    uniforms = uniforms.reshape(num_views, len(ids), width, per_chain)
    steps = uniforms[..., 1:].reshape(num_views, len(ids), width, longest, 3)
    op = np.array(ops, np.int8)[(steps[..., 0] * len(ops)).astype(np.int8)]
    if depth is None:
        length = 1 + (uniforms[..., 0] * _RANDOM_DEPTH).astype(np.int8)
        op = np.where(np.arange(longest) < length[..., None], op, np.int8(Op.NONE))
    level = _LOWEST_LEVEL + steps[..., 1] * (severity - _LOWEST_LEVEL)
    sign = np.where(steps[..., 2] > 0.5, -1.0, 1.0)
    return op, level, sign

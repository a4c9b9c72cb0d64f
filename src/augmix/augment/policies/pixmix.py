"""PixMix and IPMix: images mixed with their own copies and with pictures of a bank."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from augmix.augment.bank import bank_name, bank_size, count_pictures
from augmix.augment.ops import OP_SETS, Op, level_to_amount
from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import (
    LOWEST_LEVEL,
    Ids,
    OpSet,
    beta,
    check_crop,
    check_request,
    check_severity,
    dirichlet,
    largest_level,
    make_plan,
)
from augmix.augment.stages.chains import Chains, Copies
from augmix.augment.stages.pixmix import IPMix as IPMixStage
from augmix.augment.stages.pixmix import Operator
from augmix.augment.stages.pixmix import PixMix as PixMixStage
from augmix.errors import check_positive
from augmix.rng import Purpose, Stream

_MIRROR = len(Op)  # stands for mirroring among the operations of IPMix
_IPMIX_OPS = (
    *(Op.EQUALIZE, Op.POSTERIZE, Op.ROTATE, Op.SOLARIZE, Op.SHEAR_X, Op.SHEAR_Y),
    *(Op.TRANSLATE_X, Op.TRANSLATE_Y, _MIRROR, Op.INVERT),
)
_PATCHES = (8, 4, 2, 1)  # divisors of the image's size: 4, 8, 16 and 32 of 32 pixels
_LEAST_PATCH = 2  # px


@dataclass(frozen=True, kw_only=True, slots=True)
class PixMix:
    """PixMix: rounds of mixing with copies of the image and a picture (Hendrycks et al. 2022).

    A view starts as the image or as one operation of it. In each of 0 to ``rounds`` rounds it is
    added to or multiplied with a partner, one operation of the image or the view's picture.
    """

    severity: int | None = 3
    """Largest level of an operation, 1..10; None goes by the size of the images, as for AugMix."""
    rounds: int = 4
    """Largest number of rounds, at least 1 (the paper's k)."""
    beta: float = 3.0
    """Concentration of the weights of a round, above 0: the larger, the weaker the mixing."""
    ops: OpSet = "all"
    """All 13 operations as published (4 of which overlap with the test corruptions); the 9 of the
    AugMix paper; or wide, the 14 of TrivialAugment."""
    pictures: str | None = None
    """Folder of pictures to mix with, e.g. the published fractals; None takes the bank that is
    drawn by the package."""
    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        _check(self, "rounds")
        if self.ops not in OP_SETS:
            raise ValueError(f"ops must be one of {', '.join(OP_SETS)}, got {self.ops!r}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw start, rounds, partners and picture of every view; see `AugMix.sample`."""
        ids = check_request(ids, num_views, size)
        at, rounds = stream.at(Purpose.PICTURES), self.rounds
        count = 2 + 3 * (rounds + 1) + 5 * rounds
        uniforms = at.uniforms(ids, num_views=num_views, count=count)
        start, length, rest = uniforms[..., 0], uniforms[..., 1], uniforms[..., 2:]
        steps = rest[..., : 3 * (rounds + 1)].reshape(*rest.shape[:2], rounds + 1, 3)
        draws = rest[..., 3 * (rounds + 1) :].reshape(*rest.shape[:2], rounds, 5)
        is_taken = np.arange(rounds) < (length * (rounds + 1)).astype(np.int64)[..., None]
        is_picture = draws[..., 0] >= 0.5
        ops = np.array(OP_SETS[self.ops], np.int8)
        op = ops[(steps[..., 0] * len(ops)).astype(np.int64)]
        is_used = np.concatenate([(start < 0.5)[..., None], is_taken & ~is_picture], axis=-1)
        op = np.where(is_used, op, np.int8(Op.NONE))
        largest = largest_level(self.severity, size)
        level = LOWEST_LEVEL + steps[..., 1] * (largest - LOWEST_LEVEL)
        sign = np.where(steps[..., 2] > 0.5, -1.0, 1.0)
        amount = level_to_amount(op, level, sign, size, is_wide=self.ops == "wide")
        operator = np.where(draws[..., 1] < 0.5, Operator.ADD, Operator.MULTIPLY)
        a, b = _draw_weights(draws[..., 2:], self.beta)
        stage = PixMixStage(
            **_draw_picture(self.pictures, ids, num_views, size, stream),
            operator=np.where(is_taken, operator, Operator.NOTHING).astype(np.int8),
            is_picture=is_picture & is_taken,
            a=a,
            b=b,
        )
        copies = Copies(op=op[..., None], amount=amount[..., None])
        return _make_plan(self, copies, stage, ids, num_views, size, stream)


@dataclass(frozen=True, kw_only=True, slots=True)
class IPMix:
    """IPMix: AugMix whose chains are operations, or patches of a picture (Huang et al. 2023).

    Each chain has, with equal probability, 0 to ``depth`` operations of ten, or as many patches in
    which the image is mixed with the view's picture. The chains are mixed as in AugMix.
    """

    severity: int | None = 3
    """Largest level of an operation, 1..10; None goes by the size of the images, as for AugMix."""
    width: int = 3
    """Chains that are mixed, at least 1."""
    depth: int = 3
    """Largest number of operations or patches in a chain, at least 1."""
    alpha: float = 1.0
    """Concentration of the Dirichlet weights of the chains and the Beta weight of their mixture,
    above 0."""
    beta: float = 3.0
    """Concentration of the weights within a patch, above 0: the larger, the weaker the mixing."""
    pictures: str | None = None
    """Folder of pictures to mix with, e.g. the published fractals; None takes the bank that is
    drawn by the package."""
    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        _check(self, "width", "depth")
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a finite number above 0, got {self.alpha}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw chains, patches, weights and picture of every view; see `AugMix.sample`."""
        ids = check_request(ids, num_views, size)
        at, per_step = stream.at(Purpose.PICTURES), 13
        shape = (num_views, len(ids), self.width)
        count = 2 + self.depth * per_step
        uniforms = at.uniforms(ids, num_views=num_views, count=self.width * count)
        uniforms = uniforms.reshape(*shape, count)
        length = (uniforms[..., 1] * (self.depth + 1)).astype(np.int64)
        is_taken = np.arange(self.depth) < length[..., None]
        has_patches = (uniforms[..., 0] >= 0.5)[..., None]
        draws = uniforms[..., 2:].reshape(*shape, self.depth, per_step)
        op, amount, is_mirrored = self._draw_operations(draws, is_taken & ~has_patches, size)
        operator = (1 + 4 * draws[..., 3]).astype(np.int8)
        a, b = _draw_weights(draws[..., 4:7], self.beta)
        weight = dirichlet(ids, num_views, self.width, self.alpha, stream.at(Purpose.WEIGHTS))
        stage = IPMixStage(
            **_draw_picture(self.pictures, ids, num_views, size, stream),
            weight=weight.astype(np.float32),
            mix=beta(ids, num_views, self.alpha, stream.at(Purpose.MIX)).astype(np.float32),
            is_mirrored=is_mirrored,
            operator=np.where(is_taken & has_patches, operator, np.int8(Operator.NOTHING)),
            box=_draw_boxes(draws[..., 7:13], size),
            a=a,
            b=b,
            keep=draws[..., 6].astype(np.float32),
            address=stream.at(Purpose.PICTURES, part=_MASK_PART).addresses(
                ids, num_views=num_views
            ),
            seed=stream.seed,
        )
        image = np.zeros((*shape[:2], 1, self.depth))  # copy 0
        copies = Copies(
            op=np.concatenate([image.astype(np.int8), op], axis=2),
            amount=np.concatenate([image, amount], axis=2),
        )
        return _make_plan(self, copies, stage, ids, num_views, size, stream)

    def _draw_operations(
        self, draws: Float64[np.ndarray, "view batch chain step draw"], is_taken: Any, size: Any
    ) -> tuple[Any, Any, Any]:
        """Operations and amounts of the chains, and which are mirrored.

        Mirroring before an operation is mirroring after it with the sign of its amount changed,
        and signs are drawn at random. So it is enough to count how often a chain mirrors.
        """
        ops = np.array(_IPMIX_OPS, np.int8)
        op = np.where(is_taken, ops[(draws[..., 0] * len(ops)).astype(np.int64)], np.int8(Op.NONE))
        is_mirror = op == _MIRROR
        op = np.where(is_mirror, np.int8(Op.NONE), op)
        largest = largest_level(self.severity, size)
        level = LOWEST_LEVEL + draws[..., 1] * (largest - LOWEST_LEVEL)
        amount = level_to_amount(op, level, np.where(draws[..., 2] > 0.5, -1.0, 1.0), size)
        return op, amount, is_mirror.sum(axis=-1) % 2 == 1


_PICTURE_PART, _MASK_PART = 1, 2  # of Purpose.PICTURES; part 0 has the other numbers


def _check(policy: PixMix | IPMix, *counts: str) -> None:
    check_severity(policy.severity)
    if not 0 < policy.beta < np.inf:
        raise ValueError(f"beta must be a finite number above 0, got {policy.beta}")
    check_positive(policy, *counts)
    check_crop(policy.crop_padding)


def _draw_picture(
    folder: str | None, ids: Ids, num_views: int, size: tuple[int, int], stream: Stream
) -> dict[str, Any]:
    """The fields of a stage that say which picture of which bank a view has."""
    name, size_px = bank_name(folder), bank_size(size)
    at = stream.at(Purpose.PICTURES, part=_PICTURE_PART)
    uniforms = at.uniforms(ids, num_views=num_views, count=3)
    num_corners = size_px - np.array(size) + 1
    return {
        "picture": (uniforms[..., 0] * count_pictures(name, size_px)).astype(np.int64),
        "corner": (uniforms[..., 1:] * num_corners).astype(np.int32),
        "bank": name,
        "size_px": size_px,
    }


def _draw_weights(
    uniforms: Float64[np.ndarray, "*shape 3"], concentration: float
) -> tuple[Float32[np.ndarray, "*shape"], Float32[np.ndarray, "*shape"]]:
    """Weights or exponents a and b of a round (released code of PixMix).

    Half of them are Beta(c, 1) and Beta(1, c), the others 1 + Beta(1, c) and -Beta(1, c).
    """
    power = 1 / concentration
    high, low = uniforms[..., 1] ** power, 1 - (1 - uniforms[..., 1]) ** power
    other = 1 - (1 - uniforms[..., 2]) ** power
    is_inside = uniforms[..., 0] < 0.5
    a = np.where(is_inside, high, 1 + low)
    return a.astype(np.float32), np.where(is_inside, other, -other).astype(np.float32)


def _draw_boxes(
    uniforms: Float64[np.ndarray, "*shape 6"], size: tuple[int, int]
) -> Int32[np.ndarray, "*shape 4"]:
    """Patches inside the image: half of them squares of the drawn edge, the others smaller."""
    squares = np.maximum(min(size) // np.array(_PATCHES), min(_LEAST_PATCH, min(size)))
    square = squares[(uniforms[..., 0] * len(squares)).astype(np.int64)]
    least = np.minimum(_LEAST_PATCH, square)
    edges: list[Int64[np.ndarray, "*shape"]] = []
    for axis in (0, 1):
        smaller = least + (uniforms[..., 2 + axis] * (square - least + 1)).astype(np.int64)
        edges.append(np.where(uniforms[..., 1] < 0.5, square, smaller))
    extent = np.stack(edges, axis=-1)
    first = (uniforms[..., 4:6] * (np.array(size) - extent + 1)).astype(np.int64)
    return np.concatenate([first, first + extent], axis=-1).astype(np.int32)


def _make_plan(
    policy: PixMix | IPMix,
    copies: Copies,
    stage: PixMixStage | IPMixStage,
    ids: Int64[np.ndarray, " batch"],
    num_views: int,
    size: tuple[int, int],
    stream: Stream,
) -> Plan:
    """The plan of copies and what combines them behind the crop that every policy draws."""
    chains = Chains.unchanged(num_views, len(ids))
    plan = make_plan(ids, size, chains, policy.crop_padding, policy.flip, stream)
    crop = plan.stages[0]
    return Plan(ids=plan.ids, size=plan.size, stages=(crop, copies, stage))

"""The operations of a plan as the few kinds of steps a device knows.

All that moves pixels is one affine matrix, exact quarter turns and whole-pixel translations
included, since Pillow's bilinear sampling is a copy there. What changes nothing is dropped and the
rest of a chain moves up, so that a chain is a sequence of rounds: tables, then one operation that
needs the pixels, tables again, and so on.
"""

from enum import IntEnum, unique
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int32

from augmix.augment.ops import rotation
from augmix.augment.plan import Op, Plan


@unique
class Kind(IntEnum):
    """What a step is on the device; tables come first, in the order of `TABLES`."""

    NOTHING = 0
    STRETCH = 1  # autocontrast
    EQUALIZE = 2
    MASK = 3  # posterize: value is the mask of the bits kept
    INVERT_FROM = 4  # solarize: value is the threshold; invert is the threshold 0
    DARKEN = 5  # brightness: a blend with black, by the factor numbers[0]
    FLATTEN = 6  # contrast: a blend with the mean luma
    AFFINE = 7  # rotate, shear, translate: numbers are the matrix from output to input
    COLOR = 8
    SHARPNESS = 9


LAST_TABLE = int(Kind.FLATTEN)
NUM_NUMBERS = 6

FAMILIES: tuple[tuple[Kind, ...], ...] = (  # what shares its work, in the order it is done
    (Kind.STRETCH, Kind.EQUALIZE),
    (Kind.MASK, Kind.INVERT_FROM, Kind.DARKEN),
    (Kind.FLATTEN,),
    (Kind.AFFINE,),
    (Kind.COLOR,),
    (Kind.SHARPNESS,),
)


class Steps(NamedTuple):
    """The steps of all chains, counted image by image, view by view.

    Attributes:
        kind: `Kind` of every step; a chain shorter than the depth ends in `Kind.NOTHING`.
        value: Mask or threshold.
        numbers: The affine matrix; of a blend, the factor comes first.
        start: Round r of a chain is steps ``start[r] .. start[r + 1]``; all but its last round end
            in an operation that needs the pixels.
        moves: How many operations of a chain need the pixels.
    """

    kind: Int32[np.ndarray, "num depth"]
    value: Int32[np.ndarray, "num depth"]
    numbers: Float64[np.ndarray, "num depth 6"]
    start: Int32[np.ndarray, "num round"]
    moves: Int32[np.ndarray, " num"]


def encode(plan: Plan, channels: int) -> Steps:
    """The steps of a plan for images of some channels.

    Raises:
        ValueError: If an amount or an operation is impossible.
    """
    check_amounts(plan)
    op, amount = _without_gaps(plan, channels)
    kind = _KIND_OF[op]
    value = np.zeros(op.shape, np.int32)
    masked = op == Op.POSTERIZE
    value[masked] = 256 - (1 << (8 - np.trunc(amount[masked]).astype(np.int32)))
    solarized = op == Op.SOLARIZE
    value[solarized] = np.clip(np.trunc(amount[solarized]), 0, 256)
    return Steps(kind, value, _numbers(op, amount, plan.size), *_rounds(kind))


def check_amounts(plan: Plan) -> None:
    """Refuse operations and amounts that no executor can carry out.

    Raises:
        ValueError: If there is one.
    """
    if not np.isfinite(plan.amount).all():
        raise ValueError("amounts of a plan must be finite, got nan or infinity")
    first, last = int(min(Op)), int(max(Op))
    if plan.op.size and (plan.op.min() < first or plan.op.max() > last):
        raise ValueError(
            f"operations of a plan must be {first}..{last}, got {plan.op.min()}..{plan.op.max()}"
        )
    bits = np.trunc(plan.amount[plan.op == Op.POSTERIZE])
    if bits.size and (bits.min() < 1 or bits.max() > 8):
        raise ValueError(f"posterize must keep 1..8 bits, got {bits.min():g}..{bits.max():g}")


_KINDS = {
    Op.NONE: Kind.NOTHING,
    Op.AUTOCONTRAST: Kind.STRETCH,
    Op.EQUALIZE: Kind.EQUALIZE,
    Op.POSTERIZE: Kind.MASK,
    Op.SOLARIZE: Kind.INVERT_FROM,
    Op.INVERT: Kind.INVERT_FROM,
    Op.BRIGHTNESS: Kind.DARKEN,
    Op.CONTRAST: Kind.FLATTEN,
    Op.ROTATE: Kind.AFFINE,
    Op.SHEAR_X: Kind.AFFINE,
    Op.SHEAR_Y: Kind.AFFINE,
    Op.TRANSLATE_X: Kind.AFFINE,
    Op.TRANSLATE_Y: Kind.AFFINE,
    Op.COLOR: Kind.COLOR,
    Op.SHARPNESS: Kind.SHARPNESS,
}
_KIND_OF = np.array([_KINDS[op] for op in Op], np.int32)
_ENTRY = {Op.SHEAR_X: 1, Op.SHEAR_Y: 3, Op.TRANSLATE_X: 2, Op.TRANSLATE_Y: 5}  # of the matrix
_IS_BLEND = np.isin(list(Op), [Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS])
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _without_gaps(
    plan: Plan, channels: int
) -> tuple[Int8[np.ndarray, "num depth"], Float64[np.ndarray, "num depth"]]:
    """Operations and amounts, those that change nothing dropped, whatever the image."""
    depth = plan.op.shape[3]
    op = plan.op.swapaxes(0, 1).reshape(-1, depth)
    amount = plan.amount.swapaxes(0, 1).reshape(-1, depth)
    share = (plan.mix[..., None] * plan.weight).swapaxes(0, 1).reshape(-1, 1)
    dropped = _changes_nothing(op, amount, channels) | (share == 0)  # 0 times anything is nothing
    op = np.where(dropped, np.int8(Op.NONE), op)
    order = np.argsort(op == Op.NONE, axis=1, kind="stable")
    return np.take_along_axis(op, order, axis=1), np.take_along_axis(amount, order, axis=1)


def _changes_nothing(
    op: Int8[np.ndarray, "num depth"], amount: Float64[np.ndarray, "num depth"], channels: int
) -> Bool[np.ndarray, "num depth"]:
    """Where a step returns the image as it is."""
    nothing = (_KIND_OF[op] == Kind.AFFINE) & (amount == 0)
    nothing |= (op == Op.ROTATE) & (amount % 360 == 0)
    with np.errstate(over="ignore"):
        nothing |= _IS_BLEND[op] & (amount.astype(np.float32) == 1)
    nothing |= (op == Op.POSTERIZE) & (np.trunc(amount) == 8)
    return nothing | ((op == Op.COLOR) & (channels == 1))


def _numbers(
    op: Int8[np.ndarray, "num depth"],
    amount: Float64[np.ndarray, "num depth"],
    size: tuple[int, int],
) -> Float64[np.ndarray, "num depth 6"]:
    """Matrices of what moves pixels, factors of blends."""
    numbers = np.empty((*op.shape, NUM_NUMBERS))
    numbers[...] = _IDENTITY
    for moving, entry in _ENTRY.items():
        np.copyto(numbers[..., entry], amount, where=op == moving)
    turned = op == Op.ROTATE
    angles, row = np.unique(amount[turned], return_inverse=True)
    matrices = np.array([rotation(float(angle), *size) for angle in angles])
    numbers[turned] = matrices.reshape(-1, NUM_NUMBERS)[row]
    blended = _IS_BLEND[op]
    numbers[blended, 0] = amount[blended].astype(np.float32)
    return numbers


def _rounds(
    kind: Int32[np.ndarray, "num depth"],
) -> tuple[Int32[np.ndarray, "num round"], Int32[np.ndarray, " num"]]:
    """Where rounds start, and how many of a chain's operations need the pixels; see `Steps`."""
    num, depth = kind.shape
    is_move = kind > LAST_TABLE
    start = np.empty((num, depth + 2), np.int32)
    start[...] = (kind != Kind.NOTHING).sum(axis=1)[:, None]
    start[:, 0] = 0
    rows, steps = np.nonzero(is_move)
    start[rows, np.cumsum(is_move, axis=1)[rows, steps]] = steps + 1
    return start, is_move.sum(axis=1).astype(np.int32)

"""The paper's operations and levels, and the physical amounts that levels stand for."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64, Int8

from augmix.augment.ops import Op

PAPER_OPS = (
    Op.AUTOCONTRAST,
    Op.EQUALIZE,
    Op.POSTERIZE,
    Op.ROTATE,
    Op.SOLARIZE,
    Op.SHEAR_X,
    Op.SHEAR_Y,
    Op.TRANSLATE_X,
    Op.TRANSLATE_Y,
)
ALL_OPS = (*PAPER_OPS, Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS)
OP_SETS = {"paper": PAPER_OPS, "all": ALL_OPS}


def level_to_amount(
    op: Int8[np.ndarray, "*shape"],
    level: Float64[np.ndarray, "*shape"],
    sign: Float64[np.ndarray, "*shape"],
    size: tuple[int, int],
) -> Float64[np.ndarray, "*shape"]:
    """The paper's level (0..10) as the physical amount of each operation (released code).

    Args:
        op: Operations by `Op`.
        level: Levels, 0..10.
        sign: +1 or -1, used by rotation, shear and translation.
        size: Image height and width in pixels.
    """
    height, width = size
    largest = _LARGEST.copy()
    largest[Op.TRANSLATE_X], largest[Op.TRANSLATE_Y] = width / 3, height / 3
    value = level * largest[op] / 10
    value = np.where(_IS_WHOLE[op], np.trunc(value), value)
    return _OFFSET[op] + np.where(_IS_SIGNED[op], sign, _SCALE[op]) * value


def _per_op(values: Mapping[Op, int | float], otherwise: float = 0.0) -> Float64[np.ndarray, " op"]:
    """A number for every operation, to be looked up by arrays of operations."""
    table = np.full(len(Op), otherwise)
    for op, value in values.items():
        table[op] = value
    return table


_ENHANCE = (Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS)
_SIGNED = (Op.ROTATE, Op.SHEAR_X, Op.SHEAR_Y, Op.TRANSLATE_X, Op.TRANSLATE_Y)
_WHOLE = (Op.POSTERIZE, Op.SOLARIZE, Op.ROTATE, Op.TRANSLATE_X, Op.TRANSLATE_Y)
# amount = offset + scale (or the sign) * level * largest / 10, cut to a whole number for some
_LARGEST = _per_op(
    {
        **{Op.POSTERIZE: 4, Op.SOLARIZE: 256, Op.ROTATE: 30, Op.SHEAR_X: 0.3, Op.SHEAR_Y: 0.3},
        **dict.fromkeys(_ENHANCE, 1.8),
    }
)
_OFFSET = _per_op({Op.POSTERIZE: 4, Op.SOLARIZE: 256, **dict.fromkeys(_ENHANCE, 0.1)})
_SCALE = _per_op({Op.POSTERIZE: -1, Op.SOLARIZE: -1}, otherwise=1.0)
_IS_SIGNED = _per_op(dict.fromkeys(_SIGNED, 1.0)).astype(bool)
_IS_WHOLE = _per_op(dict.fromkeys(_WHOLE, 1.0)).astype(bool)

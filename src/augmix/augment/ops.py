"""Operations of a chain: what each one does to a picture, its unit, and the amount of a level.

They are those of the released AugMix code (Hendrycks et al. 2020): Pillow's, on 8-bit images, with
bilinear sampling and black outside.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Any

import numpy as np
from jaxtyping import Float64, Int8
from PIL import Image, ImageEnhance, ImageOps

from augmix.errors import did_you_mean


@unique
class Op(IntEnum):
    """One operation of a chain; the amount's unit is that of the Pillow call that defines it."""

    NONE = 0
    AUTOCONTRAST = 1
    EQUALIZE = 2
    POSTERIZE = 3  # bits kept, 1..8
    ROTATE = 4  # degrees, counter-clockwise, as Image.rotate takes them
    SOLARIZE = 5  # threshold 0..256: values at or above it are inverted
    SHEAR_X = 6  # off-diagonal entry of the AFFINE matrix (output to input)
    SHEAR_Y = 7
    TRANSLATE_X = 8  # offset of the AFFINE matrix in pixels: + moves the content left
    TRANSLATE_Y = 9  # + moves the content up
    COLOR = 10  # enhancement factor, 1 leaves the image as it is
    CONTRAST = 11
    BRIGHTNESS = 12
    SHARPNESS = 13
    INVERT = 14


PAPER_OPS = tuple(Op)[Op.AUTOCONTRAST : Op.COLOR]
OVERLAPPING = tuple(Op)[Op.COLOR : Op.INVERT]
"""Operations like those of the corruption benchmarks, which the paper leaves out."""
ALL_OPS = PAPER_OPS + OVERLAPPING
WIDE_OPS = (Op.NONE, *ALL_OPS)
"""TrivialAugment's wide space, whose amounts are far larger; the image as it is is one of 14."""
OP_SETS = {"paper": PAPER_OPS, "all": ALL_OPS, "wide": WIDE_OPS}
NAMES = {op.name.lower(): op for op in Op}


@dataclass(frozen=True, slots=True)
class OwnOp:
    """An operation of the user's: a function of a picture and a level, 0.1 to the severity."""

    function: Callable[[Image.Image, float], Image.Image]

    @property
    def name(self) -> str:
        """The name of the function."""
        return getattr(self.function, "__name__", type(self.function).__name__)


_FIRST_OWN, _LAST_OWN = 64, 127  # their numbers in the plans of this process
_OWN: list[OwnOp] = []


def find_ops(names: str | Sequence[str | Callable[..., Any]]) -> tuple[int, ...]:
    """Return the numbers of the operations of a set, or of some names and functions.

    One that is named twice is drawn twice as often.

    Raises:
        ValueError: If there is no such set or operation, or none is named.

    Example:
        >>> [to_op(number).name for number in find_ops(("rotate", "posterize"))]
        ['ROTATE', 'POSTERIZE']
    """
    if isinstance(names, str):
        if names in OP_SETS:
            return OP_SETS[names]
        names = (names,)
    if not names:
        raise ValueError(f"ops must be one of {', '.join(OP_SETS)}, or operations; got none")
    return tuple(_find_op(name) for name in names)


def _find_op(name: str | Callable[..., Any]) -> int:
    if callable(name):
        own = OwnOp(name)
        if own not in _OWN:
            if len(_OWN) > _LAST_OWN - _FIRST_OWN:
                raise ValueError(f"a process takes at most {len(_OWN)} operations of its own")
            _OWN.append(own)
        return _FIRST_OWN + _OWN.index(own)
    if name in NAMES:
        return NAMES[name]
    guess = did_you_mean(name, (*OP_SETS, *NAMES))
    raise ValueError(
        f"ops must be one of {', '.join(OP_SETS)}, or names of operations ({', '.join(NAMES)}), "
        f"got {name!r}{guess}"
    )


def to_op(number: int) -> Op | OwnOp:
    """Return the operation of a number in a plan; an unknown one is a ValueError."""
    if number >= _FIRST_OWN and number - _FIRST_OWN < len(_OWN):
        return _OWN[number - _FIRST_OWN]
    if not 0 <= number < len(Op):
        raise ValueError(f"operations of a plan must be 0..{len(Op) - 1}, got {number}")
    return Op(number)


def own_ops(numbers: Int8[np.ndarray, "*shape"]) -> list[str]:
    """List the names of the operations of a plan that are functions of the user's."""
    found = np.unique(numbers[numbers >= _FIRST_OWN]).tolist()
    return [to_op(number).name for number in found]


SIGNED = (Op.ROTATE, Op.SHEAR_X, Op.SHEAR_Y, Op.TRANSLATE_X, Op.TRANSLATE_Y)

UNITS = {
    **{Op.POSTERIZE: "bits", Op.ROTATE: "deg", Op.SOLARIZE: "threshold"},
    **dict.fromkeys((Op.SHEAR_X, Op.SHEAR_Y), "shear"),
    **dict.fromkeys((Op.TRANSLATE_X, Op.TRANSLATE_Y), "px"),
    **dict.fromkeys(OVERLAPPING, "x"),
}
_DECIMALS = {"bits": 0, "deg": 0, "threshold": 0, "px": 0, "shear": 3, "x": 2}


def describe_step(op: Op | OwnOp, amount: float) -> str:
    """One operation with its amount and unit, e.g. ``rotate -5 deg``."""
    if isinstance(op, OwnOp):
        return f"{op.name} {amount:.2f}"
    unit = UNITS.get(op)
    if unit is None:
        return op.name.lower()
    sign = "+" if unit in ("deg", "shear", "px") else ""
    decimals = _DECIMALS[unit]
    if decimals == 0 and amount != int(amount):
        decimals = 2
    return f"{op.name.lower()} {amount:{sign}.{decimals}f} {unit}"


def _move(picture: Image.Image, matrix: tuple[float | int, ...]) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, resample=_BILINEAR)


_BILINEAR = Image.Resampling.BILINEAR
_FUNCTIONS: dict[Op, Callable[[Image.Image, float], Image.Image]] = {
    Op.NONE: lambda picture, _: picture,
    Op.AUTOCONTRAST: lambda picture, _: ImageOps.autocontrast(picture),
    Op.EQUALIZE: lambda picture, _: ImageOps.equalize(picture),
    Op.POSTERIZE: lambda picture, bits: ImageOps.posterize(picture, int(bits)),
    Op.ROTATE: lambda picture, angle: picture.rotate(angle, resample=_BILINEAR),
    Op.SOLARIZE: lambda picture, threshold: ImageOps.solarize(picture, int(threshold)),
    Op.SHEAR_X: lambda picture, shear: _move(picture, (1, shear, 0, 0, 1, 0)),
    Op.SHEAR_Y: lambda picture, shear: _move(picture, (1, 0, 0, shear, 1, 0)),
    Op.TRANSLATE_X: lambda picture, offset: _move(picture, (1, 0, offset, 0, 1, 0)),
    Op.TRANSLATE_Y: lambda picture, offset: _move(picture, (1, 0, 0, 0, 1, offset)),
    Op.COLOR: lambda picture, factor: ImageEnhance.Color(picture).enhance(factor),
    Op.CONTRAST: lambda picture, factor: ImageEnhance.Contrast(picture).enhance(factor),
    Op.BRIGHTNESS: lambda picture, factor: ImageEnhance.Brightness(picture).enhance(factor),
    Op.SHARPNESS: lambda picture, factor: ImageEnhance.Sharpness(picture).enhance(factor),
    Op.INVERT: lambda picture, _: ImageOps.invert(picture),
}


def apply_op(picture: Image.Image, op: Op | OwnOp, amount: float) -> Image.Image:
    """Apply one operation to a picture of mode L or RGB: the definition of all executors."""
    if isinstance(op, OwnOp):
        made, form = op.function(picture, amount), (picture.size, picture.mode)
        if not isinstance(made, Image.Image) or (made.size, made.mode) != form:
            raise ValueError(
                f"the operation {op.name} must return a PIL image of the same size and mode, "
                f"{form}, got {made!r}"
            )
        return made
    return _FUNCTIONS[op](picture, amount)


def quarter_turns(angle: float, height: int, width: int) -> int:
    """How many exact quarters `Image.rotate` turns by, 0..3; -1 where it samples instead."""
    exact = {0.0: 0, 180.0: 2}
    if height == width:
        exact |= {90.0: 1, 270.0: 3}
    return exact.get(angle % 360.0, -1)


def rotation(angle: float, height: int, width: int) -> tuple[float, ...]:
    """The affine matrix, output to input, of `Image.rotate` without expansion.

    The angle is in degrees, counter-clockwise. For exact quarters, by which Pillow moves whole
    pixels, it samples pixel centres.
    """
    quarters = quarter_turns(angle, height, width)
    if quarters >= 0:
        return (
            (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
            (0.0, -1.0, float(width), 1.0, 0.0, 0.0),
            (-1.0, 0.0, float(width), 0.0, -1.0, float(height)),
            (0.0, 1.0, 0.0, -1.0, 0.0, float(height)),
        )[quarters]
    radians = -math.radians(angle % 360.0)
    a, b = round(math.cos(radians), 15), round(math.sin(radians), 15)
    d, e = round(-math.sin(radians), 15), round(math.cos(radians), 15)
    x, y = width / 2, height / 2
    return (a, b, a * -x + b * -y + 0.0 + x, d, e, d * -x + e * -y + 0.0 + y)


def level_to_amount(
    op: Int8[np.ndarray, "*shape"],
    level: Float64[np.ndarray, "*shape"],
    sign: Float64[np.ndarray, "*shape"],
    size: tuple[int, int],
    *,
    is_wide: bool = False,
) -> Float64[np.ndarray, "*shape"]:
    """The paper's level (0..10) as the physical amount of each operation (released code).

    Args:
        sign: +1 or -1, used by rotation, shear and translation.
        size: Height and width in pixels.
        is_wide: Take the amounts of TrivialAugment's wide space: level 10 is its largest. A color,
            contrast, brightness or sharpness of level 0 is 0.01, of level 10 is 2.
    """
    is_own, level_of_own = op >= _FIRST_OWN, level
    op = np.where(is_own, np.int8(Op.NONE), op)
    largest, offset = (_LARGEST_WIDE, _OFFSET_WIDE) if is_wide else (_LARGEST, _OFFSET)
    if not is_wide:
        largest = largest.copy()
        largest[Op.TRANSLATE_Y], largest[Op.TRANSLATE_X] = (pixels / 3 for pixels in size)
    value = level * largest[op] / 10
    if is_wide:
        value = np.round(value, _DIGITS)  # thirtieths of a whole number stay whole
    value = np.where(_IS_WHOLE[op], np.trunc(value), value)
    found = offset[op] + np.where(_IS_SIGNED[op], sign, _SCALE[op]) * value
    return np.where(is_own, level_of_own, found)


def _per_op(values: Mapping[Op, int | float], otherwise: float = 0.0) -> Float64[np.ndarray, " op"]:
    """A number for every operation, to be looked up by arrays of operations."""
    table = np.full(len(Op), otherwise)
    for op, value in values.items():
        table[op] = value
    return table


_WHOLE = (Op.POSTERIZE, Op.SOLARIZE, Op.ROTATE, Op.TRANSLATE_X, Op.TRANSLATE_Y)
# amount = offset + scale (or the sign) * level * largest / 10, cut to a whole number for some
_LARGEST = _per_op(
    {
        **{Op.POSTERIZE: 4, Op.SOLARIZE: 256, Op.ROTATE: 30, Op.SHEAR_X: 0.3, Op.SHEAR_Y: 0.3},
        **dict.fromkeys(OVERLAPPING, 1.8),
    }
)
_OFFSET = _per_op({Op.POSTERIZE: 4, Op.SOLARIZE: 256, **dict.fromkeys(OVERLAPPING, 0.1)})
_DIGITS = 9
_LARGEST_WIDE = _per_op(  # Mueller and Hutter (2021), automl/trivialaugment: aug_lib.py
    {
        **{Op.POSTERIZE: 6, Op.ROTATE: 135, Op.SOLARIZE: 256, Op.SHEAR_X: 0.99, Op.SHEAR_Y: 0.99},
        **{Op.TRANSLATE_X: 32, Op.TRANSLATE_Y: 32, **dict.fromkeys(OVERLAPPING, 1.99)},
    }
)
_OFFSET_WIDE = _per_op({Op.POSTERIZE: 8, Op.SOLARIZE: 256, **dict.fromkeys(OVERLAPPING, 0.01)})
_SCALE = _per_op({Op.POSTERIZE: -1, Op.SOLARIZE: -1}, otherwise=1.0)
_IS_SIGNED = _per_op(dict.fromkeys(SIGNED, 1.0)).astype(bool)
_IS_WHOLE = _per_op(dict.fromkeys(_WHOLE, 1.0)).astype(bool)

"""The operations a chain is made of, the units of their amounts, and how a step is read.

The one operation whose amount is not yet what moves the pixels is here too: the matrix of a turn.
"""

import math
from enum import IntEnum, unique


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


UNITS = {
    Op.POSTERIZE: "bits",
    Op.ROTATE: "deg",
    Op.SOLARIZE: "threshold",
    Op.SHEAR_X: "shear",
    Op.SHEAR_Y: "shear",
    Op.TRANSLATE_X: "px",
    Op.TRANSLATE_Y: "px",
    Op.COLOR: "x",
    Op.CONTRAST: "x",
    Op.BRIGHTNESS: "x",
    Op.SHARPNESS: "x",
}
_DECIMALS = {"bits": 0, "deg": 0, "threshold": 0, "px": 0, "shear": 3, "x": 2}


def describe_step(op: Op, amount: float) -> str:
    """One operation with its amount and unit, e.g. ``rotate -5 deg``."""
    unit = UNITS.get(op)
    if unit is None:
        return op.name.lower()
    sign = "+" if unit in ("deg", "shear", "px") else ""
    decimals = _DECIMALS[unit]
    if decimals == 0 and amount != int(amount):
        decimals = 2
    return f"{op.name.lower()} {amount:{sign}.{decimals}f} {unit}"


def quarter_turns(angle: float, height: int, width: int) -> int:
    """How many exact quarters `Image.rotate` turns by, 0..3; -1 where it samples instead."""
    exact = {0.0: 0, 180.0: 2}
    if height == width:
        exact |= {90.0: 1, 270.0: 3}
    return exact.get(angle % 360.0, -1)


def rotation(angle: float, height: int, width: int) -> tuple[float, ...]:
    """The affine matrix, output to input, of `Image.rotate` without expansion.

    For exact quarters, by which Pillow moves whole pixels, it samples pixel centres.

    Args:
        angle: Degrees, counter-clockwise.
        height: Of the image, px.
        width: Of the image, px.
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

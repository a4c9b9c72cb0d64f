"""The operations a chain is made of, the units of their amounts, and how a step is read."""

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

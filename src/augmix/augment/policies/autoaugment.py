"""AutoAugment, its published policies as tables, and TrivialAugment.

The tables are 25 sub-policies of two operations, each with its probability and its magnitude 0..9
(Cubuk et al. 2019), as in the usual re-implementations (DeepVoltaire/AutoAugment, torchvision),
which agree; for CIFAR-10 they hold 25 of the 95 sub-policies of the original release.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int8, Integer

from augmix.augment.ops import OVERLAPPING, SIGNED, WIDE_OPS, Op, level_to_amount
from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import (
    LARGE_PX,
    Ids,
    check_crop,
    check_request,
    make_plan,
    one_chain,
)
from augmix.rng import Purpose, Stream

Step = tuple[Op, float, int]  # operation, probability, magnitude

CIFAR10: tuple[tuple[Step, Step], ...] = (
    ((Op.INVERT, 0.1, 7), (Op.CONTRAST, 0.2, 6)),
    ((Op.ROTATE, 0.7, 2), (Op.TRANSLATE_X, 0.3, 9)),
    ((Op.SHARPNESS, 0.8, 1), (Op.SHARPNESS, 0.9, 3)),
    ((Op.SHEAR_Y, 0.5, 8), (Op.TRANSLATE_Y, 0.7, 9)),
    ((Op.AUTOCONTRAST, 0.5, 8), (Op.EQUALIZE, 0.9, 2)),
    ((Op.SHEAR_Y, 0.2, 7), (Op.POSTERIZE, 0.3, 7)),
    ((Op.COLOR, 0.4, 3), (Op.BRIGHTNESS, 0.6, 7)),
    ((Op.SHARPNESS, 0.3, 9), (Op.BRIGHTNESS, 0.7, 9)),
    ((Op.EQUALIZE, 0.6, 5), (Op.EQUALIZE, 0.5, 1)),
    ((Op.CONTRAST, 0.6, 7), (Op.SHARPNESS, 0.6, 5)),
    ((Op.COLOR, 0.7, 7), (Op.TRANSLATE_X, 0.5, 8)),
    ((Op.EQUALIZE, 0.3, 7), (Op.AUTOCONTRAST, 0.4, 8)),
    ((Op.TRANSLATE_Y, 0.4, 3), (Op.SHARPNESS, 0.2, 6)),
    ((Op.BRIGHTNESS, 0.9, 6), (Op.COLOR, 0.2, 8)),
    ((Op.SOLARIZE, 0.5, 2), (Op.INVERT, 0.0, 3)),
    ((Op.EQUALIZE, 0.2, 0), (Op.AUTOCONTRAST, 0.6, 0)),
    ((Op.EQUALIZE, 0.2, 8), (Op.EQUALIZE, 0.6, 4)),
    ((Op.COLOR, 0.9, 9), (Op.EQUALIZE, 0.6, 6)),
    ((Op.AUTOCONTRAST, 0.8, 4), (Op.SOLARIZE, 0.2, 8)),
    ((Op.BRIGHTNESS, 0.1, 3), (Op.COLOR, 0.7, 0)),
    ((Op.SOLARIZE, 0.4, 5), (Op.AUTOCONTRAST, 0.9, 3)),
    ((Op.TRANSLATE_Y, 0.9, 9), (Op.TRANSLATE_Y, 0.7, 9)),
    ((Op.AUTOCONTRAST, 0.9, 2), (Op.SOLARIZE, 0.8, 3)),
    ((Op.EQUALIZE, 0.8, 8), (Op.INVERT, 0.1, 3)),
    ((Op.TRANSLATE_Y, 0.7, 9), (Op.AUTOCONTRAST, 0.9, 1)),
)
IMAGENET: tuple[tuple[Step, Step], ...] = (
    ((Op.POSTERIZE, 0.4, 8), (Op.ROTATE, 0.6, 9)),
    ((Op.SOLARIZE, 0.6, 5), (Op.AUTOCONTRAST, 0.6, 5)),
    ((Op.EQUALIZE, 0.8, 8), (Op.EQUALIZE, 0.6, 3)),
    ((Op.POSTERIZE, 0.6, 7), (Op.POSTERIZE, 0.6, 6)),
    ((Op.EQUALIZE, 0.4, 7), (Op.SOLARIZE, 0.2, 4)),
    ((Op.EQUALIZE, 0.4, 4), (Op.ROTATE, 0.8, 8)),
    ((Op.SOLARIZE, 0.6, 3), (Op.EQUALIZE, 0.6, 7)),
    ((Op.POSTERIZE, 0.8, 5), (Op.EQUALIZE, 1.0, 2)),
    ((Op.ROTATE, 0.2, 3), (Op.SOLARIZE, 0.6, 8)),
    ((Op.EQUALIZE, 0.6, 8), (Op.POSTERIZE, 0.4, 6)),
    ((Op.ROTATE, 0.8, 8), (Op.COLOR, 0.4, 0)),
    ((Op.ROTATE, 0.4, 9), (Op.EQUALIZE, 0.6, 2)),
    ((Op.EQUALIZE, 0.0, 7), (Op.EQUALIZE, 0.8, 8)),
    ((Op.INVERT, 0.6, 4), (Op.EQUALIZE, 1.0, 8)),
    ((Op.COLOR, 0.6, 4), (Op.CONTRAST, 1.0, 8)),
    ((Op.ROTATE, 0.8, 8), (Op.COLOR, 1.0, 2)),
    ((Op.COLOR, 0.8, 8), (Op.SOLARIZE, 0.8, 7)),
    ((Op.SHARPNESS, 0.4, 7), (Op.INVERT, 0.6, 8)),
    ((Op.SHEAR_X, 0.6, 5), (Op.EQUALIZE, 1.0, 9)),
    ((Op.COLOR, 0.4, 0), (Op.EQUALIZE, 0.6, 3)),
    ((Op.EQUALIZE, 0.4, 7), (Op.SOLARIZE, 0.2, 4)),
    ((Op.SOLARIZE, 0.6, 5), (Op.AUTOCONTRAST, 0.6, 5)),
    ((Op.INVERT, 0.6, 4), (Op.EQUALIZE, 1.0, 8)),
    ((Op.COLOR, 0.6, 4), (Op.CONTRAST, 1.0, 8)),
    ((Op.EQUALIZE, 0.8, 8), (Op.EQUALIZE, 0.6, 3)),
)
TABLES = {"cifar10": CIFAR10, "imagenet": IMAGENET}
_FARTHEST = 150 / 331  # of the image's width or height: the largest translation


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoAugment:
    """AutoAugment: a sub-policy found by search for every image (Cubuk et al. 2019).

    By default it is AutoAugment* of the comparison: the operations that overlap with the test
    corruptions (colour, contrast, brightness, sharpness) do nothing. Pixels are sampled
    bilinearly, black outside, as in every chain of this package.
    """

    table: Literal["cifar10", "imagenet"] | None = "cifar10"
    """The published policy; the one of CIFAR-10 serves CIFAR-100 too. None goes by the size of the
    images: imagenet above 64 pixels."""
    full: bool = False
    """Keep the operations that overlap with the test corruptions: the policy as published."""
    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        if self.table is not None and self.table not in TABLES:
            raise ValueError(f"table must be one of {', '.join(TABLES)}, got {self.table!r}")
        check_crop(self.crop_padding)

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw a sub-policy for every view, in place of the image; see `AugMix.sample`."""
        ids = check_request(ids, num_views, size)
        table = self.table or ("imagenet" if min(size) > LARGE_PX else "cifar10")
        op, probability, magnitude = _as_arrays(TABLES[table], self.full)
        uniforms = stream.at(Purpose.POLICY).uniforms(ids, num_views=num_views, count=5)
        chosen = (uniforms[..., 0] * len(op)).astype(np.int64)  # view batch
        applied = uniforms[..., 1:3] < probability[chosen]
        ops = np.where(applied, op[chosen], np.int8(Op.NONE))
        sign = np.where(uniforms[..., 3:5] > 0.5, -1.0, 1.0)
        amounts = magnitude_to_amount(ops, magnitude[chosen], sign, size)
        order = np.argsort(ops == Op.NONE, axis=-1, kind="stable")  # chains have no gaps
        ops, amounts = (np.take_along_axis(part, order, axis=-1) for part in (ops, amounts))
        chains = one_chain(ops[:, :, None], amounts[:, :, None])  # view batch chain depth
        return make_plan(ids, size, chains, self.crop_padding, self.flip, stream)


def magnitude_to_amount(
    op: Int8[np.ndarray, "*shape"],
    magnitude: Integer[np.ndarray, "*shape"],
    sign: Float64[np.ndarray, "*shape"],
    size: tuple[int, int],
) -> Float64[np.ndarray, "*shape"]:
    """The published magnitudes 0..9 as the physical amount of each operation.

    ``sign``, +1 or -1, is used by all but posterize and solarize; ``size`` is height and width in
    pixels.
    """
    fraction = np.arange(10) / 9
    table = np.zeros((len(Op), 10))
    table[Op.SHEAR_X] = table[Op.SHEAR_Y] = 0.3 * fraction
    table[[Op.TRANSLATE_Y, Op.TRANSLATE_X]] = np.outer(np.multiply(size, _FARTHEST), fraction)
    table[Op.ROTATE] = 30 * fraction
    table[Op.POSTERIZE] = np.rint(8 - 4 * fraction)
    table[Op.SOLARIZE] = np.ceil(256 * (1 - fraction))  # the same levels as above a fraction
    table[list(OVERLAPPING)] = 0.9 * fraction
    amount = table[op, magnitude]
    amount = np.where(np.isin(op, SIGNED), sign * amount, amount)
    return np.where(np.isin(op, OVERLAPPING), 1 + sign * amount, amount)


def _as_arrays(
    table: tuple[tuple[Step, Step], ...], full: bool
) -> tuple[
    Int8[np.ndarray, "policy 2"], Float64[np.ndarray, "policy 2"], Integer[np.ndarray, "policy 2"]
]:
    values = np.array(table)  # policy 2 step
    op = values[..., 0].astype(np.int8)
    if not full:
        op[np.isin(op, OVERLAPPING)] = Op.NONE
    return op, values[..., 1], values[..., 2].astype(np.int64)


_LEVELS = 31  # strengths of an operation, 0..30
_PART = 1  # of Purpose.POLICY; AutoAugment draws from part 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrivialAugment:
    """TrivialAugment, wide: one of 14 operations at one of 31 strengths (Mueller and Hutter 2021).

    The operations are those of AugMix, all 13, and the image as it is; the strengths reach 135
    degrees, a shear of 0.99, 32 pixels, 2 bits, all of solarize, and factors of 0.01 to 2. Moved
    images are sampled bilinearly, as everywhere in this package; the published code takes the
    nearest pixel.
    """

    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        check_crop(self.crop_padding)

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw one operation for each view, which takes the place of the image."""
        ids = check_request(ids, num_views, size)
        at = stream.at(Purpose.POLICY, part=_PART)
        uniforms = at.uniforms(ids, num_views=num_views, count=3)[:, :, None, None]
        op = np.array(WIDE_OPS, np.int8)[(uniforms[..., 0] * len(WIDE_OPS)).astype(np.int8)]
        level = np.floor(uniforms[..., 1] * _LEVELS) * 10 / (_LEVELS - 1)
        sign = np.where(uniforms[..., 2] > 0.5, -1.0, 1.0)
        amount = level_to_amount(op, level, sign, size, is_wide=True)
        return make_plan(ids, size, one_chain(op, amount), self.crop_padding, self.flip, stream)

"""Rotations by few degrees, whose neighbours are fetched in windows where the CPU can."""

import numpy as np
import pytest
from toy_plans import assert_equal_bits, draw_images, single

from augmix.augment.ops import Op

ANGLES = (*range(-9, 0), *range(1, 10), 1e-7, -1e-12, 0.37, -3.03, 8.213, 8.22, 172.0, -179.999)
NEAR_QUARTERS = tuple(
    quarter + sign * 10.0**exponent
    for quarter in (90.0, 270.0)
    for exponent in (-12, -9, -7, -5, -4)
    for sign in (1, -1)
)


@pytest.mark.parametrize(
    "size",
    [(1, 40), (2, 7), (2, 8), (3, 9), (5, 31), (40, 8), (33, 47), (18, 200), (224, 30)],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 3])
def test_rotations_by_few_degrees(size: tuple[int, int], channels: int) -> None:
    rng = np.random.default_rng(0)
    plan = single(Op.ROTATE, tuple(map(float, ANGLES)), size)
    for kind in ("noise", "levels", "flat", "slope"):
        assert_equal_bits(draw_images(rng, kind, (len(plan), *size, channels)), plan)


@pytest.mark.parametrize("size", [(2, 7), (33, 47), (40, 40)], ids=str)
def test_rotations_by_almost_quarter_turns(size: tuple[int, int]) -> None:
    """Float32 rounds these positions, whose pixels are fetched alone, to whole levels."""
    rng = np.random.default_rng(0)
    plan = single(Op.ROTATE, NEAR_QUARTERS, size)
    for kind in ("noise", "levels", "flat", "slope", "spot"):
        for _ in range(3):
            assert_equal_bits(draw_images(rng, kind, (len(plan), *size, 3)), plan)

"""The matrix of a rotation is Pillow's, and steps are described with their units."""

import numpy as np
import pytest

from augmix.arrays import to_pillow
from augmix.augment.ops import Op, apply_op, quarter_turns, rotation


@pytest.mark.parametrize("angle", [0.0, 90.0, 180.0, 270.0, -450.0])
def test_quarter_turns_are_exact(angle: float) -> None:
    """The matrix sends the centre of every pixel to the centre Pillow copies."""
    numbers = np.arange(49, dtype=np.uint8).reshape(7, 7)
    turned = np.asarray(apply_op(to_pillow(numbers[..., None]), Op.ROTATE, angle))
    a, b, c, d, e, f = rotation(angle, 7, 7)
    y, x = np.mgrid[:7, :7] + 0.5
    u, v = a * x + b * y + c, d * x + e * y + f
    np.testing.assert_array_equal(turned, numbers[(v - 0.5).astype(int), (u - 0.5).astype(int)])
    np.testing.assert_array_equal((u % 1, v % 1), np.full((2, 7, 7), 0.5))


@pytest.mark.parametrize(
    ("angle", "square", "oblong"),
    [
        (0.0, 0, 0),
        (90.0, 1, -1),
        (180.0, 2, 2),
        (270.0, 3, -1),
        (-90.0, 3, -1),
        (-360.0, 0, 0),
        (450.0, 1, -1),
        (1e-7, -1, -1),
        (-1e-20, -1, -1),  # modulo 360 it is 360
    ],
)
def test_quarters_where_pillow_turns_by_them(angle: float, square: int, oblong: int) -> None:
    assert quarter_turns(angle, 7, 7) == square
    assert quarter_turns(angle, 7, 9) == oblong


def test_a_turn_by_30_degrees() -> None:
    """By hand: the centre (4, 3) stays, one pixel to the right of it comes from below."""
    a, b, c, d, e, f = rotation(30.0, 6, 8)
    half, long = 0.5, 3**0.5 / 2
    assert (a, b, d, e) == pytest.approx((long, -half, half, long))
    assert (4 * a + 3 * b + c, 4 * d + 3 * e + f) == pytest.approx((4, 3))
    assert (5 * a + 3 * b + c, 5 * d + 3 * e + f) == pytest.approx((4 + long, 3 + half))

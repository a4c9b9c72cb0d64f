"""The generators of a batch against NumPy's own, draw by draw."""

import numpy as np
import pytest

from augmix.corruptions.draws import Generators
from augmix.rng import Purpose, Stream

STREAM = Stream(seed=2**63 + 12345).at(Purpose.CORRUPTION, part=77, epoch=3)
SAMPLES = np.array([0, 5, 2**32 + 7, 2**63 - 1, 1234567])


def assert_equal_draws(drawn: np.ndarray, expected: list) -> None:
    assert drawn.dtype == expected[0].dtype
    np.testing.assert_array_equal(drawn, np.stack(expected))


def test_any_sequence_of_draws_is_that_of_numpy():
    """Calls of all kinds in turn, which begin in the midst of blocks and halves of words."""
    rng = np.random.default_rng(0)
    ours, theirs = Generators(STREAM, SAMPLES), [STREAM.generator(int(i)) for i in SAMPLES]
    for _ in range(300):
        count, low = int(rng.integers(0, 400)), -int(rng.integers(0, 100))
        shape = (len(SAMPLES), count)
        match rng.integers(5):
            case 0:
                drawn = ours.standard_normal(shape)
                expected = [each.standard_normal(count) for each in theirs]
            case 1:
                drawn = ours.uniform(-45, 45, shape)
                expected = [each.uniform(-45, 45, count) for each in theirs]
            case 2:
                drawn = ours.words(shape)
                raw = [each.bit_generator.random_raw((count + 1) // 2) for each in theirs]
                expected = [each.astype("<u8").view("<u4")[:count] for each in raw]
            case 3:
                high = int(rng.integers(1, 129))
                drawn = ours.integers(low, high, shape)
                expected = [each.integers(low, high, count, dtype=np.int8) for each in theirs]
            case _:
                high = int(rng.integers(129, 2**31))
                drawn = ours.integers(low, high, shape)
                expected = [each.integers(low, high, count) for each in theirs]
        assert_equal_draws(drawn, expected)


def test_rare_normal_numbers():
    """The tail begins at 3.654, beyond which 26 of 100,000 numbers lie."""
    drawn = Generators(STREAM, SAMPLES[:1]).standard_normal((1, 200_000))
    assert (np.abs(drawn) > 3.6542).sum() > 30
    assert_equal_draws(drawn, [STREAM.generator(0).standard_normal(200_000)])


def test_limits_by_sample():
    """As `frost` draws corners: one number of bytes or of 32 bits, or none where it is certain."""
    highs = np.array([1, 3, 128, 129, 70_000])
    ours, theirs = Generators(STREAM, SAMPLES), [STREAM.generator(int(i)) for i in SAMPLES]
    for _ in range(9):
        expected = [
            each.integers(0, high, (), dtype=np.int8 if high <= 128 else np.int64)
            for each, high in zip(theirs, highs.tolist(), strict=True)
        ]
        drawn = ours.integers(0, highs, (len(SAMPLES),))
        assert drawn.tolist() == [int(each) for each in expected]


def test_errors():
    with pytest.raises(ValueError, match="sample must be 0..2\\*\\*64 - 1, got -1"):
        Generators(STREAM, np.array([3, -1]))
    with pytest.raises(ValueError, match=r"shape must begin with 5, got \(4, 2\)"):
        Generators(STREAM, SAMPLES).words((4, 2))

"""The draws of a corruption, from either kind of NumPy generator.

`np.random.RandomState` is what the published scripts used: it draws here exactly what they drew, in
their order, and so reproduces their arrays. `np.random.Generator` is what the suite uses: the same
distributions from an addressed stream. The kernels call these functions and do not know which of
the two they hold.
"""

import math
import typing
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16, UInt32

from augmix.jit import outer

Draws = np.random.Generator | np.random.RandomState
Real = float | int

_GUIDES = 256  # starting points of the search in a table of cumulative probabilities


def standard_normal(generator: Draws, shape: tuple[int, ...]) -> Float[np.ndarray, "*shape"]:
    """Normal numbers of mean 0 and standard deviation 1, drawn in C order."""
    return generator.standard_normal(shape)


def uniform(
    generator: Draws, low: Real, high: Real, shape: tuple[int, ...]
) -> Float[np.ndarray, "*shape"]:
    """Uniform numbers in [low, high), drawn in C order."""
    return generator.uniform(low, high, shape)


def integers(
    generator: Draws, low: int, high: int, shape: tuple[int, ...] = ()
) -> Int[np.ndarray, "*shape"]:
    """Whole numbers low .. high - 1, drawn in C order."""
    if isinstance(generator, np.random.RandomState):
        return np.asarray(generator.randint(low, high, shape or None))
    return generator.integers(
        low, high, shape, dtype=np.int8 if low >= -128 and high <= 128 else np.int64
    )


def chances(
    generator: Draws, probability: Real, shape: tuple[int, ...]
) -> Bool[np.ndarray, "*shape"]:
    """True with the given probability, independently in every place.

    On a ``RandomState`` these are the draws of ``choice([True, False], p=[p, 1 - p])``.
    """
    if isinstance(generator, np.random.RandomState):
        return generator.random_sample(shape) < probability
    words = _words(generator, math.prod(shape)).reshape(shape)
    return words < np.uint32(min(round(probability * 2**32), 2**32 - 1))


def poisson_levels(
    generator: Draws, image: UInt8[np.ndarray, "*shape"], photons: Real
) -> Float[np.ndarray, "*shape"] | UInt16[np.ndarray, "*shape"]:
    """Poisson counts whose mean is ``image / 255 * photons`` in every place.

    A ``Generator`` gives counts above ``photons`` as the next whole number above it: both are
    white. There are 256 means only, so it looks each count up in a table of cumulative
    probabilities instead of running the general algorithm.
    """
    if isinstance(generator, np.random.RandomState):
        return generator.poisson(image / 255.0 * photons).astype(np.float64)
    words = _words(generator, image.size)
    cumulative, guide = _poisson_tables(photons)
    return _search(image.ravel(), words, cumulative, guide).reshape(image.shape)


def _words(generator: np.random.Generator, count: int) -> UInt32[np.ndarray, " count"]:
    """Random 32-bit words: the halves of 64-bit ones, the lower first."""
    whole = generator.bit_generator.random_raw((count + 1) // 2)
    return whole.astype("<u8", copy=False).view("<u4")[:count].astype(np.uint32, copy=False)


@lru_cache(maxsize=32)
def _poisson_tables(
    photons: Real,
) -> tuple[UInt32[np.ndarray, "level count"], UInt16[np.ndarray, "level guide"]]:
    """P(count <= k) in units of 2**-32 for every grey level, and where to start looking in it."""
    means = np.arange(256)[:, None] / 255.0 * photons
    counts = np.arange(1, int(np.floor(photons)) + 1)[None, :]
    probability = np.cumprod(np.concatenate([np.exp(-means), means / counts], axis=1), axis=1)
    cumulative = np.minimum(np.cumsum(probability, axis=1), 1.0)
    bounds = np.rint(cumulative * 2.0**32)
    starts = np.arange(_GUIDES) * 2.0**32 / _GUIDES
    guide = (bounds[:, None, :] <= starts[None, :, None]).sum(axis=2).astype(np.uint16)
    return np.minimum(bounds, 2.0**32 - 1).astype(np.uint32), guide


@outer
@typing.no_type_check
def _search(levels, words, cumulative, guide):
    """The first count whose cumulative probability lies above the word."""
    counts = np.empty(levels.size, np.uint16)
    num_counts = cumulative.shape[1]
    for place in range(levels.size):
        level, word = levels[place], words[place]
        count = guide[level, word >> 24]
        while count < num_counts and cumulative[level, count] <= word:
            count += 1
        counts[place] = count
    return counts

"""Sensor noise: Gaussian, shot, impulse and speckle; and the draws behind them.

A function takes an image and either kind of NumPy generator, or a batch and its `Generators`. From
a `np.random.RandomState`, which the published scripts used, it draws exactly what they drew, in
their order, and so reproduces their arrays. From the `np.random.Generator` of an addressed stream
it draws from the same distributions.

Values are in [0, 1] in between; the last step multiplies by 255 and drops the fraction, as the
published scripts do, so that every noisy image is half a grey level too dark on average.
"""

import math
from functools import lru_cache
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16, UInt32
from scipy.special import pdtr

from augmix.corruptions.draws import Generators
from augmix.corruptions.registry import Draws, Images, Real
from augmix.jit import outer

MOST_PHOTONS = 700  # whose probabilities are products from exp(-photons) on
_GUIDES = 256  # starting points of the search in a table of cumulative probabilities


def gaussian_noise(image: Images, std: Real, *, generator: Draws) -> Images:
    """Add normal noise to every value; ``std`` is a fraction of white."""
    noise = generator.standard_normal(image.shape)
    return _add_noise(image.ravel(), noise.ravel(), float(std), False).reshape(image.shape)


def shot_noise(image: Images, photons: Real, *, generator: Draws) -> Images:
    """Replace every value by a Poisson count of photons, whose mean at white is ``photons``."""
    counts = poisson_counts(generator, image, photons)
    levels = np.arange(int(np.floor(photons)) + 2) / photons
    table = (np.clip(levels, 0, 1) * 255).astype(np.uint8)
    return table[np.minimum(counts, len(table) - 1).astype(np.intp)]


def impulse_noise(image: Images, amount: Real, *, generator: Draws) -> Images:
    """Turn values black or white, each with probability ``amount / 2``."""
    flipped = bernoulli(generator, amount, image.shape)
    salted = bernoulli(generator, 0.5, image.shape)
    return _salt(image.ravel(), flipped.ravel(), salted.ravel()).reshape(image.shape)


def speckle_noise(image: Images, std: Real, *, generator: Draws) -> Images:
    """Add normal noise in proportion to every value, of which ``std`` is a fraction."""
    noise = generator.standard_normal(image.shape)
    return _add_noise(image.ravel(), noise.ravel(), float(std), True).reshape(image.shape)


def integers(
    generator: Draws,
    low: int,
    high: int | Int[np.ndarray, " image"],
    shape: tuple[int, ...] = (),
) -> Int[np.ndarray, "*shape"]:
    """Draw whole numbers from low to high - 1, in C order; of a batch, high may be by image."""
    if isinstance(generator, Generators):
        return generator.integers(low, high, shape)
    if isinstance(generator, np.random.RandomState):
        return np.asarray(generator.randint(low, high, shape or None))
    dtype = np.int8 if low >= -128 and high <= 128 else np.int64
    return generator.integers(low, high, shape, dtype=dtype)


def bernoulli(
    generator: Draws, probability: Real, shape: tuple[int, ...]
) -> Bool[np.ndarray, "*shape"]:
    """Draw True with the given probability, independently for every element.

    On a ``RandomState`` these are the draws of ``choice([True, False], p=[p, 1 - p])``.
    """
    if isinstance(generator, np.random.RandomState):
        return generator.random_sample(shape) < probability
    words = random_words(generator, shape)
    return words < np.uint32(min(round(probability * 2**32), 2**32 - 1))


def poisson_counts(
    generator: Draws, image: UInt8[np.ndarray, "*shape"], photons: Real
) -> Float[np.ndarray, "*shape"] | UInt16[np.ndarray, "*shape"]:
    """Draw Poisson counts of mean ``image / 255 * photons``.

    A ``Generator`` gives counts above ``photons`` as the next whole number above it: both are
    white. There are 256 means only, so each count is looked up in a table of cumulative
    probabilities, which is faster than the general algorithm.
    """
    if isinstance(generator, np.random.RandomState):
        return generator.poisson(image / 255.0 * photons).astype(np.float64)
    words = random_words(generator, image.shape).ravel()
    cumulative, guide = _poisson_tables(photons)
    return _search(image.ravel(), words, cumulative, guide).reshape(image.shape)


def random_words(
    generator: np.random.Generator | Generators, shape: tuple[int, ...]
) -> UInt32[np.ndarray, "*shape"]:
    """Random 32-bit words: the halves of 64-bit ones, the lower half first."""
    if isinstance(generator, Generators):
        return generator.words(shape)
    count = math.prod(shape)
    whole = generator.bit_generator.random_raw((count + 1) // 2)
    words = whole.astype("<u8", copy=False).view("<u4")[:count].astype(np.uint32, copy=False)
    return words.reshape(shape)


@lru_cache(maxsize=32)
def _poisson_tables(
    photons: Real,
) -> tuple[UInt32[np.ndarray, "level count"], UInt16[np.ndarray, "level guide"]]:
    """P(count <= k) in units of 2**-32 for every grey level, and where to search from."""
    means = np.arange(256)[:, None] / 255.0 * photons
    counts = np.arange(1, int(np.floor(photons)) + 1)[None, :]
    if photons > MOST_PHOTONS:  # exp(-means) is 0 in double precision
        cumulative = pdtr(np.arange(counts.size + 1)[None, :], means)
    else:
        probability = np.cumprod(np.concatenate([np.exp(-means), means / counts], axis=1), axis=1)
        cumulative = np.minimum(np.cumsum(probability, axis=1), 1.0)
    bounds = np.rint(cumulative * 2.0**32)
    starts = np.arange(_GUIDES) * 2.0**32 / _GUIDES
    guides = [np.searchsorted(row, starts, side="right") for row in bounds]
    guide = np.array(guides, np.uint16)
    return np.minimum(bounds, 2.0**32 - 1).astype(np.uint32), guide


@outer
@no_type_check
def _search(levels, words, cumulative, guide):
    """The first count whose cumulative probability lies above the word."""
    counts = np.empty(levels.size, np.uint16)
    num_counts = cumulative.shape[1]
    for i in range(levels.size):
        level, word = levels[i], words[i]
        count = guide[level, word >> 24]
        while count < num_counts and cumulative[level, count] <= word:
            count += 1
        counts[i] = count
    return counts


@outer
@no_type_check
def _add_noise(values, noise, std, is_speckle):
    """Add noise, in proportion to the value if it is speckle."""
    result = np.empty(values.size, np.uint8)
    for i in range(values.size):
        value = values[i] / 255.0
        shift = std * noise[i]
        value += value * shift if is_speckle else shift
        result[i] = np.uint8(min(max(value, 0.0), 1.0) * 255)
    return result


@outer
@no_type_check
def _salt(values, flipped, salted):
    result = np.empty(values.size, np.uint8)
    for i in range(values.size):
        extreme = np.uint8(255) if salted[i] else np.uint8(0)
        result[i] = extreme if flipped[i] else values[i]
    return result

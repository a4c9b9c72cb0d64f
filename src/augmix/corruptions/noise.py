"""Noise of a sensor: Gaussian, shot, impulse and speckle.

All values are in [0, 1] in between; the last step multiplies by 255 and cuts the fraction off, as
the published scripts do, so every noisy image is half a grey level too dark on average.
"""

import typing

import numpy as np
from jaxtyping import UInt8

from augmix.corruptions import draws
from augmix.corruptions.draws import Draws, Real
from augmix.jit import outer

Image = UInt8[np.ndarray, "height width channel"]


def gaussian_noise(image: Image, deviation: Real, *, generator: Draws) -> Image:
    """Add normal noise to every value (corruptions.md 4.1).

    Args:
        image: Grey levels.
        deviation: Standard deviation, as a share of white.
        generator: Draws one number a value.
    """
    noise = draws.standard_normal(generator, image.shape)
    return _add_noise(image.ravel(), noise.ravel(), float(deviation)).reshape(image.shape)


def shot_noise(image: Image, photons: Real, *, generator: Draws) -> Image:
    """Replace every value by a count of photons (4.2).

    Args:
        image: Grey levels.
        photons: Mean count at white; fewer are noisier.
        generator: Draws one count a value.
    """
    counts = draws.poisson_levels(generator, image, photons)
    levels = np.arange(int(np.floor(photons)) + 2) / photons
    table = (np.clip(levels, 0, 1) * 255).astype(np.uint8)
    return table[np.minimum(counts, len(table) - 1).astype(np.intp)]


def impulse_noise(image: Image, amount: Real, *, generator: Draws) -> Image:
    """Turn values black or white, each with probability ``amount / 2`` (4.3).

    Args:
        image: Grey levels.
        amount: Share of the values that change.
        generator: Draws which values change, then which of all values would be white.
    """
    flipped = draws.chances(generator, amount, image.shape)
    salted = draws.chances(generator, 0.5, image.shape)
    return _salt(image.ravel(), flipped.ravel(), salted.ravel()).reshape(image.shape)


def speckle_noise(image: Image, deviation: Real, *, generator: Draws) -> Image:
    """Add normal noise in proportion to every value (4.16).

    Args:
        image: Grey levels.
        deviation: Standard deviation, as a share of the value.
        generator: Draws one number a value.
    """
    noise = draws.standard_normal(generator, image.shape)
    return _scale_noise(image.ravel(), noise.ravel(), float(deviation)).reshape(image.shape)


@outer
@typing.no_type_check
def _scale_noise(values, noise, deviation):
    result = np.empty(values.size, np.uint8)
    for place in range(values.size):
        value = values[place] / 255.0
        value += value * (deviation * noise[place])
        result[place] = np.uint8(min(max(value, 0.0), 1.0) * 255)
    return result


@outer
@typing.no_type_check
def _salt(values, flipped, salted):
    result = np.empty(values.size, np.uint8)
    for place in range(values.size):
        extreme = np.uint8(255) if salted[place] else np.uint8(0)
        result[place] = extreme if flipped[place] else values[place]
    return result


@outer
@typing.no_type_check
def _add_noise(values, noise, deviation):
    result = np.empty(values.size, np.uint8)
    for place in range(values.size):
        value = values[place] / 255.0 + deviation * noise[place]
        result[place] = np.uint8(min(max(value, 0.0), 1.0) * 255)
    return result

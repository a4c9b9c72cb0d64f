"""Weather and light: brightness.

The colour model is HSV in double precision with the order of operations of scikit-image, because
the cut of the fraction at the end shows the last bit (corruptions.md 3.6).
"""

import typing

import numpy as np
from jaxtyping import UInt8

from augmix.corrupt.draws import Draws, Real
from augmix.corrupt.jit import compiled

Image = UInt8[np.ndarray, "height width channel"]


def brightness(image: Image, shift: Real, *, generator: Draws) -> Image:
    """Raise the value V of the HSV model (corruptions.md 4.11).

    Args:
        image: Grey levels; a grey image is its own V.
        shift: Added to V, as a share of white.
        generator: Not used.
    """
    return _change_hsv(image, 1.0, 0.0, shift)


@compiled
@typing.no_type_check
def _change_hsv(image, saturation_factor, saturation_shift, value_shift):
    """S -> S * factor + shift, V -> V + shift, both clipped to [0, 1]."""
    height, width, channels = image.shape
    result = np.empty_like(image)
    last = channels - 1  # a grey image has one channel for all three
    for y in range(height):
        for x in range(width):
            r = image[y, x, 0] / 255.0
            g = image[y, x, last // 2] / 255.0
            b = image[y, x, last] / 255.0
            v = max(r, g, b)
            d = v - min(r, g, b)
            h = 0.0
            s = 0.0
            if d > 0.0:
                s = d / v
                if b == v:
                    h = 4.0 + (r - g) / d
                elif g == v:
                    h = 2.0 + (b - r) / d
                else:
                    h = (g - b) / d
                h = (h / 6.0) % 1.0
            s = min(max(s * saturation_factor + saturation_shift, 0.0), 1.0)
            v = min(max(v + value_shift, 0.0), 1.0)
            k = np.floor(h * 6.0)
            f = h * 6.0 - k
            p = v * (1.0 - s)
            q = v * (1.0 - f * s)
            t = v * (1.0 - (1.0 - f) * s)
            if k == 0:
                r, g, b = v, t, p
            elif k == 1:
                r, g, b = q, v, p
            elif k == 2:
                r, g, b = p, v, t
            elif k == 3:
                r, g, b = p, q, v
            elif k == 4:
                r, g, b = t, p, v
            else:
                r, g, b = v, p, q
            result[y, x, 0] = np.uint8(min(max(r, 0.0), 1.0) * 255)
            if channels == 3:
                result[y, x, 1] = np.uint8(min(max(g, 0.0), 1.0) * 255)
                result[y, x, 2] = np.uint8(min(max(b, 0.0), 1.0) * 255)
    return result

"""Operations that blend every pixel with one computed from its neighbours or other channels.

`ImageEnhance.Color` and `.Sharpness` on planar images: uint8 `channel pixel`, rows one after
another.
"""

from typing import no_type_check

import numpy as np

from augmix.augment.tables import BLUE, GREEN, HALF, RED, blend
from augmix.jit import inner


@inner
@no_type_check
def color(source, factor, result):
    """`ImageEnhance.Color` of an RGB image: a blend with its luma."""
    red, green, blue = source[0], source[1], source[2]
    new_red, new_green, new_blue = result[0], result[1], result[2]
    for index in range(red.size):
        weighted = np.uint32(red[index]) * RED + np.uint32(green[index]) * GREEN
        luma = (weighted + np.uint32(blue[index]) * BLUE + HALF) >> np.uint32(16)
        new_red[index] = blend(luma, red[index], factor)
        new_green[index] = blend(luma, green[index], factor)
        new_blue[index] = blend(luma, blue[index], factor)


@inner
@no_type_check
def sharpness(source, height, width, factor, result):
    """`ImageEnhance.Sharpness` of one channel: a blend with `ImageFilter.SMOOTH`.

    The filter is (1 1 1; 1 5 1; 1 1 1) / 13, rounded. A sum over 13 is never half way between two
    levels, so Pillow's float32 sum and the integers here round alike. The filter leaves the border
    as it is, and with it any image below 3 pixels.
    """
    for index in range(source.size):
        result[index] = source[index]
    for row in range(1, height - 1):
        start = row * width
        above, here = source[start - width : start], source[start : start + width]
        below, new = source[start + width : start + 2 * width], result[start : start + width]
        for x in range(1, width - 1):
            total = np.int32(above[x - 1]) + np.int32(above[x]) + np.int32(above[x + 1])
            total += np.int32(here[x - 1]) + np.int32(5) * np.int32(here[x])
            total += np.int32(here[x + 1])
            total += np.int32(below[x - 1]) + np.int32(below[x]) + np.int32(below[x + 1])
            # (2 * total + 13) // 26 for every total up to 13 * 255
            smooth = ((np.int32(2) * total + np.int32(13)) * np.int32(10083)) >> np.int32(18)
            new[x] = blend(smooth, here[x], factor)

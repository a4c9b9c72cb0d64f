"""The first and the last touch of a view: image bytes -> planes, finished chains -> floats.

Everything between the two works on planes: uint8 `channel pixel`, rows one after another.
"""

from typing import no_type_check

import numpy as np

from augmix.augment.lookup import look_up
from augmix.jit import inner

_BLOCK = 2048  # pixels mixed at a time, 8 KiB of float32


@inner
@no_type_check
def load(image, padding, crop, is_flipped, planes):
    """One image mirrored, padded with black, cropped, and made planar."""
    height, width, channels = image.shape
    shift = crop[1] - padding  # output column x comes from column x + shift of the mirrored image
    first = min(max(-shift, 0), width)
    last = max(min(width - shift, width), first)
    start = width - last - shift if is_flipped else first + shift
    flat = image.reshape(height * width * channels)
    for y in range(height):
        row, here = y + crop[0] - padding, y * width
        is_inside = 0 <= row < height
        for channel in range(channels):
            for x in range(first if is_inside else width):
                planes[channel, here + x] = 0
            for x in range(last, width):
                planes[channel, here + x] = 0
        if is_inside:
            target = np.uint64(here + first)
            origin = np.uint64((row * width + start) * channels)
            _part_channels(flat, origin, planes, target, last - first)
            for channel in range(channels if is_flipped else 0):
                left, right = here + first, here + last - 1
                while left < right:
                    level = planes[channel, left]
                    planes[channel, left] = planes[channel, right]
                    planes[channel, right] = level
                    left += 1
                    right -= 1


@inner
@no_type_check
def _part_channels(flat, origin, planes, target, size):
    """A stretch of pixels, channel by channel; the three in one loop become vector code."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    if planes.shape[0] == 3:
        for x in range(size):
            at, pixel = target + np.uint64(x), origin + three * np.uint64(x)
            planes[0, at] = flat[pixel]
            planes[1, at] = flat[pixel + one]
            planes[2, at] = flat[pixel + two]
    else:
        for x in range(size):
            planes[0, target + np.uint64(x)] = flat[origin + np.uint64(x)]


@inner
@no_type_check
def mix(stack, slots, luts, are_plain, shares, share, out):
    """One view: (1 - mix) * clean + sum of share * chain, / 255, in float32 and in this order.

    Args:
        stack: uint8 `slot channel pixel`; slot 0 is the clean image.
        slots: Slot of every chain's pixels.
        luts: uint8 `chain channel 256`, still to be applied.
        are_plain: Whether a chain's tables change nothing.
        shares: float32 `chain`.
        share: Share of the mixture, float32.
        out: float32 `channel pixel`.
    """
    pixels, full, one = stack.shape[2], np.float32(255), np.float32(1)
    looked_up = np.empty((3, _BLOCK), np.uint8)
    # three chains in one pass, as the paper has three; where one is missing, 0 times the clean
    # image stands in, which adds nothing
    none, num = np.float32(0), len(slots)
    share1 = shares[0] if num > 0 else none
    share2 = shares[1] if num > 1 else none
    share3 = shares[2] if num > 2 else none
    for channel in range(stack.shape[1]):
        for start in range(0, pixels, _BLOCK):
            stop = min(start + _BLOCK, pixels)
            total, clean = out[channel, start:stop], stack[0, channel, start:stop]
            if share == 0:
                for index in range(total.size):
                    total[index] = np.float32(clean[index]) / full
                continue
            first, second, third = clean, clean, clean
            if share1 != 0:
                first = _finished(stack, slots, luts, are_plain, 0, channel, start, looked_up[0])
            if share2 != 0:
                second = _finished(stack, slots, luts, are_plain, 1, channel, start, looked_up[1])
            if share3 != 0:
                third = _finished(stack, slots, luts, are_plain, 2, channel, start, looked_up[2])
            for index in range(total.size):
                level = (one - share) * np.float32(clean[index])
                level += share1 * np.float32(first[index])
                level += share2 * np.float32(second[index])
                level += share3 * np.float32(third[index])
                total[index] = level
            for chain in range(3, len(slots)):
                first = _finished(
                    stack, slots, luts, are_plain, chain, channel, start, looked_up[0]
                )
                for index in range(total.size):
                    total[index] += shares[chain] * np.float32(first[index])
            for index in range(total.size):
                total[index] = min(total[index] / full, one)


@inner
@no_type_check
def _finished(stack, slots, luts, are_plain, chain, channel, start, looked_up):
    """A block of a chain's pixels, behind its last tables."""
    pixels = stack[slots[chain], channel, start : start + _BLOCK]
    if are_plain[chain]:
        return pixels
    result = looked_up[: pixels.size]
    look_up(pixels, luts[chain, channel], result)
    return result

"""Loading, mixing and finishing of views by numba kernels.

Everything between the two works on planes: uint8 `channel pixel`, rows one after another.

Kernels of the compiled executor for the plans that ask for it; the views are float32
`view batch channel height width` in [0, 1]. Pairs (image, view) are counted view by view within an
image, as in `compiled`.
"""

from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32

from augmix.augment.compiled.tables import look_up
from augmix.augment.pairing import PairPlan
from augmix.augment.patches import Hole, Noise
from augmix.jit import inner, outer

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


_MULTIPLIER0, _MULTIPLIER1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL0, _WEYL1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_SHIFT = np.uint64(32)

Views = Float32[np.ndarray, "view batch channel height width"]


def patch_arguments(noise: Noise | None, hole: Hole | None, channels: int) -> tuple[Any, ...]:
    """The arguments of `lay_patches` that a plan's noise and hole stand for."""
    none = np.zeros((0, 0, 4), np.int32)
    seed = noise.seed if noise else 0
    return (
        np.array(noise.box, np.int32, order="C") if noise else none,
        np.array(noise.amplitude, np.float32, order="C") if noise else np.zeros((0, 0), np.float32),
        np.array(noise.address, np.uint32, order="C") if noise else np.zeros((0, 0, 3), np.uint32),
        np.uint32(seed & 0xFFFFFFFF),
        np.uint32(seed >> 32),
        np.array(hole.box, np.int32, order="C") if hole else none,
        np.array(hole.levels(channels) if hole else [0], np.float32, order="C"),
    )


def pair_arguments(pairs: PairPlan) -> tuple[Any, ...]:
    """The arguments of `mix_pairs` that a plan's pairs stand for."""
    return (
        np.array(pairs.partner, np.int64, order="C"),
        np.array(pairs.share, np.float32, order="C"),
        np.array(pairs.box, np.int32, order="C"),
        bool(pairs.is_cut),
    )


@inner
@no_type_check
def _philox(c0, c1, c2, c3, k0, k1, words):
    """Philox4x32-10 for one counter; the four words as `streams.philox4x32` gives them."""
    for _ in range(10):
        product0 = np.uint64(c0) * _MULTIPLIER0
        product1 = np.uint64(c2) * _MULTIPLIER1
        c0 = np.uint32(product1 >> _SHIFT) ^ c1 ^ k0
        c2 = np.uint32(product0 >> _SHIFT) ^ c3 ^ k1
        c1, c3 = np.uint32(product1), np.uint32(product0)
        k0 = np.uint32(k0 + _WEYL0)
        k1 = np.uint32(k1 + _WEYL1)
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3


@inner
@no_type_check
def _lay_noise(pixels, box, amplitude, address, key0, key1, words):
    """Noise in a box of one view, `channel height width`."""
    channels, _, width = pixels.shape
    zero, one = np.float32(0), np.float32(1)
    for y in range(box[0], box[2]):
        for x in range(box[1], box[3]):
            number = np.uint32(y * width + x)
            _philox(number, address[0], address[1], address[2], key0, key1, words)
            for channel in range(channels):
                drawn = 2.0 * ((float(words[channel]) + 0.5) * 2.0**-32) - 1.0
                level = pixels[channel, y, x] + np.float32(float(amplitude) * drawn)
                pixels[channel, y, x] = min(max(level, zero), one)


@outer
@no_type_check
def lay_patches(
    views, noise_box, amplitude, address, key0, key1, hole_box, fill, start, stop
):  # fmt: skip
    """Lay noise and holes over the pairs start..stop; boxes without views are none."""
    num_views = views.shape[0]
    words = np.empty(4, np.uint32)
    for pair in range(start, stop):
        image, view = pair // num_views, pair % num_views
        pixels = views[view, image]
        if noise_box.shape[0]:
            _lay_noise(
                pixels, noise_box[view, image], amplitude[view, image], address[view, image],
                key0, key1, words,
            )  # fmt: skip
        if hole_box.shape[0]:
            box = hole_box[view, image]
            for channel in range(pixels.shape[0]):
                for y in range(box[0], box[2]):
                    for x in range(box[1], box[3]):
                        pixels[channel, y, x] = fill[channel]


@outer
@no_type_check
def mix_pairs(views, result, partner, share, box, is_cut, start, stop):
    """Mix the pairs start..stop of finished views with their partners' into other arrays."""
    num_views, _, channels, height, width = views.shape
    one = np.float32(1)
    for pair in range(start, stop):
        image, view = pair // num_views, pair % num_views
        own, other = views[view, image], views[view, partner[image]]
        mixed, left = result[view, image], one - share[image]
        for channel in range(channels):
            for y in range(height):
                if not is_cut:
                    for x in range(width):
                        mixed[channel, y, x] = (
                            share[image] * own[channel, y, x] + left * other[channel, y, x]
                        )
                    continue
                for x in range(width):
                    mixed[channel, y, x] = own[channel, y, x]
                if box[image, 0] <= y < box[image, 2]:
                    for x in range(box[image, 1], box[image, 3]):
                        mixed[channel, y, x] = other[channel, y, x]

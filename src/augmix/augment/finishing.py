"""What is done to finished views on CPU threads: noise in a box, a hole, pairs of a batch.

Kernels of the compiled executor for the plans that ask for it; the views are float32
`view batch channel height width` in [0, 1]. Pairs (image, view) are counted view by view within an
image, as in `compiled`.
"""

from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32

from augmix.augment.pairing import PairPlan
from augmix.augment.patches import Hole, Noise
from augmix.jit import inner, outer

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

"""Numba kernels that load images, mix chains, and finish views with noise, holes and pairs.

Images and chains are planar here: uint8 `channel pixel`, rows one after another. Finished views are
float32 `view batch channel height width` in [0, 1]; pairs (image, view) are counted view by view
within an image.
"""

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32, UInt8
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from augmix import rng
from augmix.arrays import Views
from augmix.augment.compiled.tables import has_feature, look_up
from augmix.augment.stages.pairs import Pairs
from augmix.augment.stages.patches import Hole, Noise
from augmix.jit import inner, outer, run_on_threads, source_stamp, vector_at

_BLOCK = 2048  # pixels mixed at a time, 8 KiB of float32
FREE = 3 * _BLOCK  # bytes that mixing needs behind the images
_HAS_FMA = has_feature("fma")


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
            if is_flipped:
                _part_mirrored(flat, origin, planes, target, last - first)
            else:
                _part_channels(flat, origin, planes, target, last - first)


@inner
@no_type_check
def _part_channels(flat, origin, planes, target, size):
    """A range of pixels, channel by channel; the three in one loop become vector code."""
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
def _part_mirrored(flat, origin, planes, target, size):
    """`_part_channels` from right to left."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    last = target + np.uint64(size) - one
    if planes.shape[0] == 3:
        for x in range(size):
            at, pixel = last - np.uint64(x), origin + three * np.uint64(x)
            planes[0, at] = flat[pixel]
            planes[1, at] = flat[pixel + one]
            planes[2, at] = flat[pixel + two]
    else:
        for x in range(size):
            planes[0, last - np.uint64(x)] = flat[origin + np.uint64(x)]


def _build_mix(num_chains: int, is_streamed: bool) -> Any:
    """Make the intrinsic that mixes 16 pixels of the clean image and of some chains.

    A quotient by 255 is a product with its inverse and one correction by fused multiplications
    (Markstein 1990): the rounded quotient, for all float32 numbers but -0, which no mixture is.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(array: int, offset: int) -> Any:
            return vector_at(
                context, builder, signature.args[array], arguments[array], arguments[offset], 16
            )

        def repeated(value: Any) -> Any:
            alone = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(alone, empty, ir.Constant(words, [0] * 16))

        def splat(value: float) -> Any:
            return ir.Constant(floats, [float(np.float32(value))] * 16)

        words, floats = ir.VectorType(ir.IntType(32), 16), ir.VectorType(ir.FloatType(), 16)
        empty, level = ir.Constant(floats, ir.Undefined), None
        for source in range(1 + num_chains):
            pixels = builder.zext(builder.load(pointer(0, 3 + source), align=1), words)
            part = builder.sitofp(pixels, floats)
            if num_chains:
                part = builder.fmul(repeated(arguments[4 + num_chains + source]), part)
            level = part if level is None else builder.fadd(level, part)
        if _HAS_FMA:
            fused = ir.FunctionType(floats, [floats] * 3)
            fma = cgutils.get_or_insert_function(builder.module, fused, "llvm.fma.v16f32")
            near = builder.fmul(level, splat(1 / 255))
            rest = builder.call(fma, [near, splat(-255.0), level])
            level = builder.call(fma, [rest, splat(1 / 255), near])
        else:
            level = builder.fdiv(level, splat(255.0))
        level = builder.select(builder.fcmp_ordered("<", level, splat(1.0)), level, splat(1.0))
        stored = builder.store(level, pointer(1, 2), align=64 if is_streamed else 4)
        if is_streamed:
            one = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
            stored.set_metadata("nontemporal", one)
        return context.get_dummy_value()

    return generate


@intrinsic
def _mix_16(
    typing_context: Any, space: Any, total: Any, start: Any, at0: Any, at1: Any, at2: Any, at3: Any,
    weight0: Any, weight1: Any, weight2: Any, weight3: Any,
) -> Any:  # fmt: skip
    """Mix 16 pixels in [0, 1] from indices of the contiguous uint8 space into float32.

    LLVM makes vectors of 8 of such a loop where 16 are faster.
    """
    indices, weights = (start, at0, at1, at2, at3), (weight0, weight1, weight2, weight3)
    return types.void(space, total, *indices, *weights), _build_mix(3, False)


@intrinsic
def _mix_16_streamed(
    typing_context: Any, space: Any, total: Any, start: Any, at0: Any, at1: Any, at2: Any, at3: Any,
    weight0: Any, weight1: Any, weight2: Any, weight3: Any,
) -> Any:  # fmt: skip
    """`_mix_16` past the caches, into memory aligned to 64 bytes."""
    indices, weights = (start, at0, at1, at2, at3), (weight0, weight1, weight2, weight3)
    return types.void(space, total, *indices, *weights), _build_mix(3, True)


@intrinsic
def _scale_16(typing_context: Any, space: Any, total: Any, start: Any, at: Any) -> Any:
    """The clean image alone."""
    return types.void(space, total, start, at), _build_mix(0, False)


@intrinsic
def _scale_16_streamed(typing_context: Any, space: Any, total: Any, start: Any, at: Any) -> Any:
    """`_scale_16` past the caches, into memory aligned to 64 bytes."""
    return types.void(space, total, start, at), _build_mix(0, True)


@inner
@no_type_check
def mix(space, slots, pixels, luts, are_plain, weights, total_weight, is_streamed, out):
    """One view: (1 - mix) * clean + sum of weight * chain, / 255, in float32 and in this order.

    ``space`` is uint8 `slot channel pixel`: slot 0 is the clean image, ``slots`` has that of every
    chain; behind the slots are three free blocks. ``luts``, uint8 `chain channel 256`, are still to
    be applied where not ``are_plain``. ``total_weight`` is the plan's ``mix``, ``out`` float32
    `channel pixel`, written past the caches if ``is_streamed``.
    """
    channels, one, num = out.shape[0], np.float32(1), len(slots)
    free = (num + 2) * channels * pixels
    # three chains in one pass, as the paper has three; where one is missing, 0 times the clean
    # image stands in, which adds nothing
    none, rest = np.float32(0), one - total_weight
    weight1 = weights[0] if num > 0 else none
    weight2 = weights[1] if num > 1 else none
    weight3 = weights[2] if num > 2 else none
    for channel in range(channels):
        total = out[channel]
        for start in range(0, pixels, _BLOCK):
            stop = min(start + _BLOCK, pixels)
            whole = start + (stop - start) // 16 * 16
            clean = channel * pixels + start
            if total_weight == 0:
                _scale_block(space, clean, total, start, whole, stop, is_streamed)
                continue
            at1 = at2 = at3 = clean
            size, at = stop - start, (slots, pixels, channels, channel, start)
            if weight1 != 0:
                at1 = _finished(space, at, luts, are_plain, 0, free, size)
            if weight2 != 0:
                at2 = _finished(space, at, luts, are_plain, 1, free + _BLOCK, size)
            if weight3 != 0:
                at3 = _finished(space, at, luts, are_plain, 2, free + 2 * _BLOCK, size)
            if num > 3:
                whole = start
            elif is_streamed:
                for x in range(0, whole - start, 16):
                    _mix_16_streamed(
                        space, total, start + x, clean + x, at1 + x, at2 + x, at3 + x,
                        rest, weight1, weight2, weight3,
                    )  # fmt: skip
            else:
                for x in range(0, whole - start, 16):
                    _mix_16(
                        space, total, start + x, clean + x, at1 + x, at2 + x, at3 + x,
                        rest, weight1, weight2, weight3,
                    )  # fmt: skip
            for x in range(whole - start, size):
                level = rest * np.float32(space[clean + x])
                level += weight1 * np.float32(space[at1 + x])
                level += weight2 * np.float32(space[at2 + x])
                level += weight3 * np.float32(space[at3 + x])
                total[start + x] = level
            for chain in range(3, num):
                more = _finished(space, at, luts, are_plain, chain, free, size)
                for x in range(size):
                    total[start + x] += weights[chain] * np.float32(space[more + x])
            for x in range(whole, stop):
                total[x] = min(total[x] / np.float32(255), one)


@inner
@no_type_check
def _scale_block(space, clean, total, start, whole, stop, is_streamed):
    """A block of the clean image alone."""
    if is_streamed:
        for x in range(0, whole - start, 16):
            _scale_16_streamed(space, total, start + x, clean + x)
    else:
        for x in range(0, whole - start, 16):
            _scale_16(space, total, start + x, clean + x)
    for x in range(whole - start, stop - start):
        total[start + x] = np.float32(space[clean + x]) / np.float32(255)


@inner
@no_type_check
def _finished(space, at, luts, are_plain, chain, free, size):
    """Where a block of a chain's pixels begins, after its last tables."""
    slots, pixels, channels, channel, start = at
    origin = (slots[chain] * channels + channel) * pixels + start
    if are_plain[chain]:
        return origin
    look_up(space[origin : origin + size], luts[chain, channel], space[free : free + size])
    return free


def round_levels(
    views: Float32[np.ndarray, "*axes channel height width"], *, channels_last: bool = False
) -> UInt8[np.ndarray, "..."]:
    """`augmix.arrays.to_uint8` by a kernel, in the same layout or channels last."""
    *axes, channels, height, width = views.shape
    shape = (*axes, height, width, channels) if channels_last else views.shape
    levels, count = np.empty(shape, np.uint8), int(np.prod(axes))
    planes = np.ascontiguousarray(views).reshape(count, channels, height * width)
    kernel = _round_channels_last if channels_last else _round_planes
    run_on_threads(kernel, (planes, levels.reshape(count, -1)), count, 1)
    return levels


@inner
@no_type_check
def _round(value):
    value = min(max(value, np.float32(0)), np.float32(1)) * np.float32(255)
    return np.uint8(np.int32(np.rint(value)))


@outer
@no_type_check
def _round_planes(planes, levels, start, stop):
    for image in range(start, stop):
        values, result = planes[image].reshape(-1), levels[image]
        for index in range(values.size):
            result[index] = _round(values[index])


@outer
@no_type_check
def _round_channels_last(planes, levels, start, stop):
    _, channels, size = planes.shape
    for image in range(start, stop):
        result = levels[image]
        if channels == 3:
            red, green, blue = planes[image, 0], planes[image, 1], planes[image, 2]
            for index in range(size):
                at = np.uint64(3 * index)
                result[at] = _round(red[index])
                result[at + np.uint64(1)] = _round(green[index])
                result[at + np.uint64(2)] = _round(blue[index])
        else:
            for index in range(size):
                result[index] = _round(planes[image, 0, index])


_philox = inner(rng.philox4x32_scalar)


def _build_noise(stamp: int) -> Any:
    """The kernel of `Noise`, for this state of the source of Philox."""

    @outer
    @no_type_check
    def add_noise(views, box, amplitude, address, key0, key1, start, stop):
        """Add noise to the pairs (image, view) start..stop, in place."""
        num_views, _, channels, _, width = views.shape
        zero, one = np.float32(0), np.float32(1)
        words = np.empty(4, np.uint32)
        for pair in range(start, stop if stamp >= 0 else start):
            image, view = pair // num_views, pair % num_views
            pixels = views[view, image]
            c1, c2, c3 = address[view, image]
            top, left, bottom, right = box[view, image]
            for y in range(top, bottom):
                for x in range(left, right):
                    _philox(np.uint32(y * width + x), c1, c2, c3, key0, key1, words)
                    for channel in range(channels):
                        drawn = 2.0 * ((float(words[channel]) + 0.5) * 2.0**-32) - 1.0
                        noise = np.float32(float(amplitude[view, image]) * drawn)
                        level = pixels[channel, y, x] + noise
                        pixels[channel, y, x] = min(max(level, zero), one)

    return add_noise


_noise_kernel = _build_noise(source_stamp(rng))


@outer
@no_type_check
def _cut_holes(views, box, fill, start, stop):
    """Cover the boxes of the pairs (image, view) start..stop, in place."""
    num_views, _, channels, _, _ = views.shape
    for pair in range(start, stop):
        image, view = pair // num_views, pair % num_views
        top, left, bottom, right = box[view, image]
        for channel in range(channels):
            for y in range(top, bottom):
                for x in range(left, right):
                    views[view, image, channel, y, x] = fill[channel]


@outer
@no_type_check
def _mix_pairs(views, result, partner, weight, box, is_cut, start, stop):
    """Mix the pairs (image, view) start..stop with their partners, into another array."""
    num_views, _, channels, height, width = views.shape
    one = np.float32(1)
    for pair in range(start, stop):
        image, view = pair // num_views, pair % num_views
        own, other = views[view, image], views[view, partner[image]]
        mixed, left = result[view, image], one - weight[image]
        for channel in range(channels):
            for y in range(height):
                if not is_cut:
                    for x in range(width):
                        mixed[channel, y, x] = (
                            weight[image] * own[channel, y, x] + left * other[channel, y, x]
                        )
                    continue
                for x in range(width):
                    mixed[channel, y, x] = own[channel, y, x]
                if box[image, 0] <= y < box[image, 2]:
                    for x in range(box[image, 1], box[image, 3]):
                        mixed[channel, y, x] = other[channel, y, x]


def _finish_noise(noise: Noise, views: Views, num_threads: int) -> Views:
    arguments = (
        views,
        np.array(noise.box, np.int32, order="C"),
        np.array(noise.amplitude, np.float32, order="C"),
        np.array(noise.address, np.uint32, order="C"),
        np.uint32(noise.seed & 0xFFFFFFFF),
        np.uint32(noise.seed >> 32),
    )
    run_on_threads(_noise_kernel, arguments, noise.amplitude.size, num_threads)
    return views


def _finish_hole(hole: Hole, views: Views, num_threads: int) -> Views:
    fill = np.array(np.broadcast_to(hole.fill, (views.shape[2],)), np.float32, order="C")
    arguments = (views, np.array(hole.box, np.int32, order="C"), fill)
    run_on_threads(_cut_holes, arguments, hole.box[..., 0].size, num_threads)
    return views


def _finish_pairs(pairs: Pairs, views: Views, num_threads: int) -> Views:
    result = np.empty_like(views)
    arguments = (
        views,
        result,
        np.array(pairs.partner, np.int64, order="C"),
        np.array(pairs.weight, np.float32, order="C"),
        np.array(pairs.box, np.int32, order="C"),
        bool(pairs.is_cut),
    )
    run_on_threads(_mix_pairs, arguments, len(views) * len(pairs.partner), num_threads)
    return result


FINISHES: dict[type, Callable[[Any, Views, int], Views]] = {
    Noise: _finish_noise,
    Hole: _finish_hole,
    Pairs: _finish_pairs,
}
"""By stage: a function of stage, finished views (which it may change) and threads."""

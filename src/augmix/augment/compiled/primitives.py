"""The primitives of PRIME for many views at once, equal to the definition bit for bit.

The kernels add and multiply in the definition's order. Logarithms are left to NumPy, whose last bit
is not that of other libraries.
"""

import functools
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float64, Int64

from augmix import rng
from augmix.arrays import Views
from augmix.augment.policies import prime
from augmix.augment.policies.prime import Primitive, Primitives, filter_kernels, find_modes
from augmix.jit import inner, outer, run_on_threads

Planes = Float64[np.ndarray, "image channel height width"]

_CHUNK = 2**17  # values of a step taken together: 1 MiB, which a core keeps near
_BLOCK = 128  # pixels whose sines are summed at a time
_S0, _S1, _S2, _S3, _S4, _S5, _S6, _S7, _S8, _S9, _S10 = prime.SIN_PI


def finish_primitives(stage: Primitives, views: Views, num_threads: int) -> Views:
    """`Primitives.apply` in place, on threads."""
    pairs = np.argwhere(stage.mix > 0)
    run_on_threads(_finish_range, (stage, views, pairs), len(pairs), num_threads)
    return views


def _finish_range(
    stage: Primitives, views: Views, pairs: Int64[np.ndarray, "pair 2"], start: int, stop: int
) -> None:
    """Mix the chains of some pairs (view, image)."""
    size = max(_CHUNK // int(np.prod(views.shape[2:])), 1)
    for first in range(start, stop, size):
        view, image = pairs[first : min(first + size, stop)].T
        images = views[view, image].astype(np.float64)
        mix = stage.mix[view, image].astype(np.float64)
        total = (1 - mix)[:, None, None, None] * images
        for chain in range(stage.kind.shape[2]):
            changed = images.copy()
            for step in range(stage.kind.shape[3]):
                kind = stage.kind[view, image, chain, step]
                for each, change in _CHANGES.items():
                    chosen = np.flatnonzero(kind == each)
                    if len(chosen):
                        at = (view[chosen], image[chosen], chain, step)
                        change(stage, changed, chosen, at)
            factor = mix * stage.weight[view, image, chain]
            total += factor[:, None, None, None] * changed
        views[view, image] = np.clip(total, 0, 1)


def _color(stage: Primitives, images: Planes, chosen: np.ndarray, at: tuple[Any, ...]) -> None:
    first = stage.first[at].astype(np.int64)
    num = stage.last[at] - first + 1
    ends = np.cumsum(num)
    blocks = np.arange(ends[-1]) - np.repeat(ends - num, num)
    root = np.sqrt(stage.temperature[at].astype(np.float64))
    numbers = _draw(stage, blocks, num, at, 4) * np.repeat(root, num)
    _bend(images.reshape(*images.shape[:2], -1), chosen, numbers, ends, num, first)


def _filter(stage: Primitives, images: Planes, chosen: np.ndarray, at: tuple[Any, ...]) -> None:
    blocks, num = np.tile(np.arange(3), len(chosen)), np.full(len(chosen), 3)
    numbers = _draw(stage, blocks, num, at, 4).reshape(4, -1, 3).transpose(1, 2, 0)
    numbers = numbers.reshape(len(chosen), 12)[:, :9].reshape(-1, 3, 3)
    _correlate(images, chosen, filter_kernels(numbers, stage.temperature[at], stage.is_corner))


def _deform(stage: Primitives, images: Planes, chosen: np.ndarray, at: tuple[Any, ...]) -> None:
    last = stage.last[at].astype(np.int64)
    blocks = [_find_blocks(each, stage.num_modes) for each in last.tolist()]
    num = np.array([len(own) for own in blocks])
    numbers = _draw(stage, np.concatenate(blocks), num, at, 2)
    root = np.sqrt(stage.temperature[at].astype(np.float64))
    tables = _wave_tables(stage.num_modes, *images.shape[2:])
    _move(images, chosen, numbers, last, root, *tables)


_CHANGES = {Primitive.DEFORM: _deform, Primitive.COLOR: _color, Primitive.FILTER: _filter}
"""By primitive: a function that changes the chosen images in place."""


@functools.lru_cache(maxsize=1024)
def _find_blocks(last: int, num_modes: int) -> Int64[np.ndarray, " block"]:
    i, j = find_modes(last)
    return (i - 1) * num_modes + j - 1


@functools.lru_cache(maxsize=4)
def _wave_tables(num_modes: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return prime.wave_table(num_modes, width), prime.wave_table(num_modes, height)


def _draw(
    stage: Primitives,
    blocks: Int64[np.ndarray, " block"],
    num: Int64[np.ndarray, " image"],
    at: tuple[Any, ...],
    num_words: int,
) -> Float64[np.ndarray, "word block"]:
    """Normal numbers of every block, ``num`` blocks at each address in turn."""
    words = rng.words_at(stage.address[at], blocks, stage.seed, num)
    numbers = rng.to_uniforms(words[:num_words])
    _turn(numbers, np.log(numbers[::2]))
    return numbers


@inner
@no_type_check
def _sin_pi(x):
    """sin(pi x), by the series of the definition."""
    x = x - 2.0 * np.rint(x * 0.5)
    x = 1.0 - x if x > 0.5 else (-1.0 - x if x < -0.5 else x)
    s = x * x
    total = ((((_S10 * s + _S9) * s + _S8) * s + _S7) * s + _S6) * s + _S5
    return x * (((((total * s + _S4) * s + _S3) * s + _S2) * s + _S1) * s + _S0)


@outer
@no_type_check
def _turn(uniforms, logarithms):
    """Uniform numbers to normal ones in place, by Box and Muller."""
    for pair in range(len(logarithms)):
        one, two, logarithm = uniforms[2 * pair], uniforms[2 * pair + 1], logarithms[pair]
        for index in range(logarithm.size):
            radius, turn = np.sqrt(-2.0 * logarithm[index]), 2.0 * two[index]
            one[index] = radius * _sin_pi(turn + 0.5)
            two[index] = radius * _sin_pi(turn)


@outer
@no_type_check
def _bend(images, chosen, numbers, ends, num, first):
    """Colour curves of the chosen images `image channel pixel`, by Clenshaw's recurrence."""
    factor, now, before = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    for index in range(len(chosen)):
        order, rest = float(first[index]), float(first[index] - 1)
        for channel in range(images.shape[1]):
            own = numbers[channel, ends[index] - num[index] : ends[index]]
            plane = images[chosen[index], channel]
            for left in range(0, plane.size, _BLOCK):
                levels = plane[left : left + _BLOCK]
                for pixel in range(levels.size):
                    factor[pixel] = 2.0 * _sin_pi(levels[pixel] + 0.5)
                    now[pixel] = 0.0
                    before[pixel] = 0.0
                _sum_sines(own, factor, now, before)
                for pixel in range(levels.size if rest == 0 else 0):
                    change = now[pixel] * _sin_pi(levels[pixel])
                    levels[pixel] = min(max(levels[pixel] + change, 0.0), 1.0)
                for pixel in range(levels.size if rest > 0 else 0):
                    change = now[pixel] * _sin_pi(order * levels[pixel])
                    change -= before[pixel] * _sin_pi(rest * levels[pixel])
                    levels[pixel] = min(max(levels[pixel] + change, 0.0), 1.0)


@inner
@no_type_check
def _sum_sines(numbers, factor, now, before):
    """The two last sums of the recurrence from the last term to the first, four terms a pass."""
    at = len(numbers)
    while at >= 4:
        at -= 4
        fourth, third, second, first = (
            numbers[at + 3],
            numbers[at + 2],
            numbers[at + 1],
            numbers[at],
        )
        for pixel in range(_BLOCK):
            one = fourth + factor[pixel] * now[pixel] - before[pixel]
            two = third + factor[pixel] * one - now[pixel]
            three = second + factor[pixel] * two - one
            now[pixel] = first + factor[pixel] * three - two
            before[pixel] = three
    while at >= 1:
        at -= 1
        first = numbers[at]
        for pixel in range(_BLOCK):
            level = first + factor[pixel] * now[pixel] - before[pixel]
            before[pixel] = now[pixel]
            now[pixel] = level


@outer
@no_type_check
def _correlate(images, chosen, kernels):
    """3x3 correlations with zeros outside, clipped; products are added row by row."""
    height, width = images.shape[2:]
    padded = np.zeros((height + 2, width + 2))
    for index in range(len(chosen)):
        kernel = kernels[index]
        for channel in range(images.shape[1]):
            plane = images[chosen[index], channel]
            for y in range(height):
                for x in range(width):
                    padded[y + 1, x + 1] = plane[y, x]
            for y in range(height):
                one, two, three, out = padded[y], padded[y + 1], padded[y + 2], plane[y]
                for x in range(width):
                    level = kernel[0, 0] * one[x] + kernel[0, 1] * one[x + 1]
                    level += kernel[0, 2] * one[x + 2]
                    level += kernel[1, 0] * two[x]
                    level += kernel[1, 1] * two[x + 1]
                    level += kernel[1, 2] * two[x + 2]
                    level += kernel[2, 0] * three[x]
                    level += kernel[2, 1] * three[x + 1]
                    level += kernel[2, 2] * three[x + 2]
                    out[x] = min(max(level, 0.0), 1.0)


@outer
@no_type_check
def _move(images, chosen, numbers, last, root, across, down):
    """Deformations of the chosen images: pixels from (x - dx, y - dy), bilinearly."""
    channels, height, width = images.shape[1:]
    rows, spare = np.empty((across.shape[0], width)), np.empty((channels, height, width))
    shifts, start = np.empty((2, height, width)), 0
    for index in range(len(chosen)):
        for axis in range(2):
            size = float(height if axis else width)
            end = _sum_waves(numbers[axis], start, last[index], across, down, rows, shifts[axis])
            for y in range(height):
                line = shifts[axis, y]
                for x in range(width):
                    line[x] = size * (root[index] * line[x])
        start = end
        planes = images[chosen[index]]
        for channel in range(channels):
            for row in range(height):
                for column in range(width):
                    spare[channel, row, column] = planes[channel, row, column]
        for row in range(height):
            for column in range(width):
                x = min(max(column - shifts[0, row, column], 0.0), width - 1.0)
                y = min(max(row - shifts[1, row, column], 0.0), height - 1.0)
                left, top = int(np.floor(x)), int(np.floor(y))
                right, bottom = int(np.ceil(x)), int(np.ceil(y))
                x, y = x - left, y - top
                for channel in range(channels):
                    plane = spare[channel]
                    upper = (1 - x) * plane[top, left] + x * plane[top, right]
                    lower = (1 - x) * plane[bottom, left] + x * plane[bottom, right]
                    planes[channel, row, column] = (1 - y) * upper + y * lower


@inner
@no_type_check
def _sum_waves(numbers, start, last, across, down, rows, total):
    """A field of the modes (i, j), i before j, from a number on; return where the next begins."""
    at, height = start, total.shape[0]
    for j in range(last):
        for x in range(rows.shape[1]):
            rows[j, x] = 0.0
    for i in range(1, last + 1):
        wave, j = across[i - 1], 1
        while i * i + j * j <= last * (last + 1):
            own, row = numbers[at] / np.sqrt(float(i * i + j * j)), rows[j - 1]
            for x in range(row.size):
                row[x] += own * wave[x]
            j += 1
            at += 1
    for y in range(height):
        line, j = total[y], 0
        for x in range(line.size):
            line[x] = 0.0
        while j + 4 <= last:
            one, two, three, four = down[j, y], down[j + 1, y], down[j + 2, y], down[j + 3, y]
            first, second, third, fourth = rows[j], rows[j + 1], rows[j + 2], rows[j + 3]
            for x in range(line.size):
                level = line[x] + one * first[x] + two * second[x]
                line[x] = level + three * third[x] + four * fourth[x]
            j += 4
        for rest in range(j, last):
            own, row = down[rest, y], rows[rest]
            for x in range(line.size):
                line[x] += own * row[x]
    return at

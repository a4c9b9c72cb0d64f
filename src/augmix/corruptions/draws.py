"""Random numbers for a whole batch of images, drawn without holding the GIL.

`Generators` draws, bit for bit, what a NumPy generator of each image (`Stream.generator`) would
draw. On small images a call of a NumPy generator takes only a few microseconds, so threads that
corrupt batches would spend most of their time waiting for the GIL.

The algorithms are NumPy's: Philox4x64-10 (Salmon et al. 2011), the ziggurat method for normal
numbers, and the bounded integers of Lemire (2019, "Fast random integer generation in an interval").
The state of a generator is the number of 64-bit words that it has used.
"""

import math
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float64, Int, UInt32
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.random._constants import (
    fi_double,
    ki_double,
    wi_double,
    ziggurat_nor_inv_r,
    ziggurat_nor_r,
)

from augmix.jit import inner, outer
from augmix.rng import Stream

Real = float | int
Shape = tuple[int, ...]

_NUM_WORDS = 256  # made at a time for a kernel that does not know how many it needs
_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_ONE, _EIGHT, _BYTE = np.uint64(1), np.uint64(8), np.uint64(0xFF)
_MANTISSA, _HALF, _LOW = np.uint64(0x000FFFFFFFFFFFFF), np.uint64(32), np.uint64(0xFFFFFFFF)
_TO_DOUBLE = np.uint64(11)
_SCALES, _EDGES, _HEIGHTS = wi_double, ki_double, fi_double  # of the ziggurat's 256 layers
_TAIL, _INVERSE_TAIL = ziggurat_nor_r, ziggurat_nor_inv_r


class Generators:
    """One generator per sample; the first axis of every result is the sample.

    Args:
        stream: The address that the samples draw at.
        samples: Sample ids, 0 .. 2**64 - 1, e.g. dataset indices.

    Example:
        >>> stream = Stream(seed=0)
        >>> drawn = Generators(stream, np.array([4, 5])).uniform(0, 1, (2, 3))
        >>> bool((drawn[1] == stream.generator(5).uniform(0, 1, 3)).all())
        True
    """

    def __init__(self, stream: Stream, samples: Int[np.ndarray, " batch"]) -> None:
        first = stream.generator(0).bit_generator.state["state"]
        if len(samples) and not 0 <= int(samples.min()) <= int(samples.max()) < 2**64:
            raise ValueError(f"sample must be 0..2**64 - 1, got {int(samples.min())}")
        self._address = (*map(np.uint64, first["counter"][1:3]), np.uint64(first["key"][0]))
        self._samples = samples.astype(np.uint64)
        self._used = np.zeros(len(samples), np.int64)  # 64-bit words
        self._halves = np.full(len(samples), -1, np.int64)  # the unused half of a word, if any

    def standard_normal(self, shape: Shape) -> Float64[np.ndarray, "*shape"]:
        """Draw normal numbers of mean 0 and standard deviation 1."""
        return self._draw(_draw_normals, shape)

    def uniform(self, low: Real, high: Real, shape: Shape) -> Float64[np.ndarray, "*shape"]:
        """Draw uniform numbers from [low, high)."""
        return self._draw(_draw_uniforms, shape, float(low), float(high) - float(low))

    def integers(self, low: int, high: Any, shape: Shape) -> Int[np.ndarray, "*shape"]:
        """Draw integers from low to high - 1, by NumPy's int8 algorithm where they fit, else int64.

        Args:
            low: At least -128 if any ``high`` is at most 128.
            high: One number, or one for each sample; below 2**32 above ``low``.
        """
        highs = np.broadcast_to(np.asarray(high, np.int64), len(self._samples))
        is_small = not len(highs) or int(highs.max()) <= 128
        result = np.empty(
            (len(self._samples), self._count(shape)), np.int8 if is_small else np.int64
        )
        _draw_integers(result, low, highs, self._used, self._halves, self._samples, *self._address)
        return result.reshape(shape)

    def words(self, shape: Shape) -> UInt32[np.ndarray, "*shape"]:
        """Draw 32-bit words: the halves of 64-bit ones, the lower half first."""
        return self._draw(_draw_words, shape, dtype=np.uint32)

    def _draw(self, kernel: Any, shape: Shape, *bounds: float, dtype: Any = np.float64) -> Any:
        """Draw by a kernel of whole 64-bit words."""
        result = np.empty((len(self._samples), self._count(shape)), dtype)
        kernel(result, *bounds, self._used, self._samples, *self._address)
        return result.reshape(shape)

    def _count(self, shape: Shape) -> int:
        """Return the number of draws of each sample."""
        if not shape or shape[0] != len(self._samples):
            raise ValueError(f"shape must begin with {len(self._samples)}, got {shape}")
        return math.prod(shape[1:])


@intrinsic
def _multiply(typing: Any, left: Any, right: Any) -> Any:
    """The high and the low word of a product of two 64-bit words."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(each, wide) for each in arguments))
        high = builder.lshr(product, ir.Constant(wide, 64))
        words = [builder.trunc(each, ir.IntType(64)) for each in (high, product)]
        return context.make_tuple(builder, signature.return_type, words)

    result = types.UniTuple(types.uint64, 2)
    return result(types.uint64, types.uint64), generate


@inner
@no_type_check
def _fill(words, first, sample, c1, c2, key):
    """Words first, first + 1, ... of a sample; first and the number of words are multiples of 4."""
    for start in range(0, words.size, 4):
        x0, x1, x2, x3 = np.uint64((first + start) // 4 + 1), c1, c2, sample
        k0, k1 = key, np.uint64(0)
        for _ in range(10):
            high0, low0 = _multiply(_M0, x0)
            high1, low1 = _multiply(_M1, x2)
            x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
            k0 += _W0
            k1 += _W1
        words[start], words[start + 1], words[start + 2], words[start + 3] = x0, x1, x2, x3


@inner
@no_type_check
def _word(index, block, sample, c1, c2, key):
    """One word of a sample."""
    _fill(block, index - index % 4, sample, c1, c2, key)
    return block[index % 4]


@inner
@no_type_check
def _to_double(word):
    return np.float64(word >> _TO_DOUBLE) * (1.0 / 9007199254740992.0)


@outer
@no_type_check
def _draw_uniforms(result, low, extent, used, samples, c1, c2, key):
    num_samples, count = result.shape
    words = np.empty((count + 7) // 4 * 4, np.uint64)
    for i in range(num_samples):
        skipped = used[i] % 4
        needed = words[: (skipped + count + 3) // 4 * 4]
        _fill(needed, used[i] - skipped, samples[i], c1, c2, key)
        for j in range(count):
            result[i, j] = low + extent * _to_double(needed[skipped + j])
        used[i] += count


@outer
@no_type_check
def _draw_words(result, used, samples, c1, c2, key):
    num_samples, count = result.shape
    whole = (count + 1) // 2
    words = np.empty((whole + 7) // 4 * 4, np.uint64)
    for i in range(num_samples):
        skipped = used[i] % 4
        needed = words[: (skipped + whole + 3) // 4 * 4]
        _fill(needed, used[i] - skipped, samples[i], c1, c2, key)
        for j in range(count // 2):
            word = needed[skipped + j]
            result[i, 2 * j] = np.uint32(word & _LOW)
            result[i, 2 * j + 1] = np.uint32(word >> _HALF)
        if count % 2:
            result[i, count - 1] = np.uint32(needed[skipped + whole - 1] & _LOW)
        used[i] += whole


@outer
@no_type_check
def _draw_normals(result, used, samples, c1, c2, key):
    """NumPy's `random_standard_normal`: a word chooses one of 256 layers and a position in it."""
    num_samples, count = result.shape
    words = np.empty(_NUM_WORDS, np.uint64)
    block = np.empty(4, np.uint64)
    for i in range(num_samples):
        sample, index = samples[i], used[i]
        first = -words.size
        j = 0
        while j < count:
            if index - first >= words.size:
                first = index - index % 4
                _fill(words, first, sample, c1, c2, key)
            word = words[index - first]
            index += 1
            layer = word & _BYTE
            word >>= _EIGHT
            distance = (word >> _ONE) & _MANTISSA
            value = np.float64(distance) * _SCALES[layer]
            if word & _ONE:
                value = -value
            if distance < _EDGES[layer]:
                result[i, j] = value
                j += 1
            elif layer == 0:
                while True:
                    near = _to_double(_word(index, block, sample, c1, c2, key))
                    far = _to_double(_word(index + 1, block, sample, c1, c2, key))
                    index += 2
                    x = -_INVERSE_TAIL * np.log1p(-near)
                    y = -np.log1p(-far)
                    if y + y > x * x:
                        break
                is_negative = (distance >> _EIGHT) & _ONE
                result[i, j] = -(_TAIL + x) if is_negative else _TAIL + x
                j += 1
            else:
                part = _to_double(_word(index, block, sample, c1, c2, key))
                index += 1
                height = (_HEIGHTS[layer - _ONE] - _HEIGHTS[layer]) * part + _HEIGHTS[layer]
                if height < np.exp(-0.5 * value * value):
                    result[i, j] = value
                    j += 1
        used[i] = index


@outer
@no_type_check
def _draw_integers(result, low, highs, used, halves, samples, c1, c2, key):
    """NumPy's bounded integers: of bytes up to 128, else of 32 bits.

    32 bits are the lower, then the upper half of a word. Bytes that are left at the end of a call
    are lost, an upper half is not.
    """
    num_samples, count = result.shape
    words = np.empty(min(count // 32 * 4 + 4, _NUM_WORDS), np.uint64)
    for i in range(num_samples):
        sample, index, half = samples[i], used[i], halves[i]
        first = -words.size
        extent = np.uint64(highs[i] - low)
        is_small = highs[i] <= 128
        bits = np.uint64(8) if is_small else np.uint64(32)
        mask = (_ONE << bits) - _ONE
        threshold = ((_ONE << bits) - extent) % extent
        num_left, buffer = 0, np.uint64(0)
        for j in range(count):
            if extent == _ONE:
                result[i, j] = low
                continue
            while True:
                if num_left == 0:
                    if half >= 0:
                        buffer = np.uint64(half)
                        half = np.int64(-1)
                    else:
                        if index - first >= words.size:
                            first = index - index % 4
                            _fill(words, first, sample, c1, c2, key)
                        word = words[index - first]
                        index += 1
                        buffer = word & _LOW
                        half = np.int64(word >> _HALF)
                    num_left = 4 if is_small else 1
                else:
                    buffer >>= _EIGHT
                num_left -= 1
                product = (buffer & mask) * extent
                if (product & mask) >= threshold:
                    break
            result[i, j] = low + np.int64(product >> bits)
        used[i], halves[i] = index, half

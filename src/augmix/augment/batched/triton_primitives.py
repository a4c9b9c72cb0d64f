"""The primitives of PRIME as Triton kernels: ten launches, where torch operations take thousands.

A row is a chain of a view. In every step of the chains `draw` makes the numbers of colour curves
and filters, `sum_waves` the half of a deformation's sum that lies along the rows, and `change`
carries the step out; programs of rows that do something else return at once. `combine` mixes the
chains. All in float64, as the definition does it.
"""

from contextlib import nullcontext
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from augmix.augment.policies.prime import SIN_PI, Primitive

_DEFORM, _COLOR = tl.constexpr(int(Primitive.DEFORM)), tl.constexpr(int(Primitive.COLOR))
_FILTER = tl.constexpr(int(Primitive.FILTER))
_S0, _S1, _S2, _S3, _S4, _S5, _S6, _S7, _S8, _S9, _S10 = map(tl.constexpr, SIN_PI)


@triton.jit
@no_type_check
def _sin_pi(x):
    """sin(pi x), as in the definition."""
    x = x - 2.0 * tl.floor(x * 0.5 + 0.5)
    x = tl.where(x > 0.5, 1.0 - x, tl.where(x < -0.5, -1.0 - x, x))
    square = x * x
    total = x * 0.0 + _S10
    total = ((((total * square + _S9) * square + _S8) * square + _S7) * square + _S6) * square
    total = ((((total + _S5) * square + _S4) * square + _S3) * square + _S2) * square
    return x * ((total + _S1) * square + _S0)


@triton.jit
@no_type_check
def _normals(block, address, key0, key1):
    """Four normal numbers of every block at an address: Philox, then Box and Muller."""
    c0 = block.to(tl.uint32)
    c1 = c0 * 0 + tl.load(address).to(tl.uint32)
    c2 = c0 * 0 + tl.load(address + 1).to(tl.uint32)
    c3 = c0 * 0 + tl.load(address + 2).to(tl.uint32)
    k0, k1 = key0.to(tl.uint64), key1.to(tl.uint64)
    for _ in range(10):
        product0 = c0.to(tl.uint64) * 0xD2511F53
        product1 = c2.to(tl.uint64) * 0xCD9E8D57
        c0 = (product1 >> 32).to(tl.uint32) ^ c1 ^ k0.to(tl.uint32)
        c2 = (product0 >> 32).to(tl.uint32) ^ c3 ^ k1.to(tl.uint32)
        c1, c3 = product1.to(tl.uint32), product0.to(tl.uint32)
        k0 += 0x9E3779B9
        k1 += 0xBB67AE85
    radius0, turn0 = _polar(c0, c1)
    radius1, turn1 = _polar(c2, c3)
    first, second = radius0 * _sin_pi(turn0 + 0.5), radius0 * _sin_pi(turn0)
    return first, second, radius1 * _sin_pi(turn1 + 0.5), radius1 * _sin_pi(turn1)


@triton.jit
@no_type_check
def _polar(word0, word1):
    """Radius and turn, in half circles, of two normal numbers."""
    uniform0 = (word0.to(tl.float64) + 0.5) * 2.3283064365386963e-10
    uniform1 = (word1.to(tl.float64) + 0.5) * 2.3283064365386963e-10
    return tl.sqrt(-2.0 * tl.log(uniform0)), 2.0 * uniform1


@triton.jit
@no_type_check
def _kind_of(kind, mix, row, step, chains, depth):
    """What a row's step is; nothing in a view that has no mixture."""
    what = tl.load(kind + row * depth + step).to(tl.int32)
    return tl.where(tl.load(mix + row // chains) > 0, what, 0)


@triton.jit(do_not_specialize=["key0", "key1", "step"])
@no_type_check
def draw(
    kind, first, last, temperature, mix, address, numbers, key0, key1, step, chains, depth,
    corner, TERMS: tl.constexpr,
):  # fmt: skip
    """The numbers of a row's curves, term after term for each channel, or of its filter."""
    row = tl.program_id(0)
    what = _kind_of(kind, mix, row, step, chains, depth)
    if (what != _COLOR) & (what != _FILTER):
        return
    at, term = row * depth + step, tl.arange(0, TERMS)
    one, two, three, four = _normals(term, address + 3 * at, key0, key1)
    strength = tl.load(temperature + at).to(tl.float64)
    target = numbers + row.to(tl.int64) * 4 * TERMS
    if what == _COLOR:
        root, is_used = tl.sqrt(strength), term <= tl.load(last + at) - tl.load(first + at)
        tl.store(target + term, root * one, mask=is_used)
        tl.store(target + TERMS + term, root * two, mask=is_used)
        tl.store(target + 2 * TERMS + term, root * three, mask=is_used)
        tl.store(target + 3 * TERMS + term, root * four, mask=is_used)
    else:
        own = (4 * term == 4 * corner).to(tl.float64)  # 4 corner is its index in the filter
        tl.store(target + 4 * term, strength * one + own, mask=term < 3)
        tl.store(target + 4 * term + 1, strength * two, mask=term < 2)
        tl.store(target + 4 * term + 2, strength * three, mask=term < 2)
        tl.store(target + 4 * term + 3, strength * four, mask=term < 2)


@triton.jit(do_not_specialize=["key0", "key1", "step"])
@no_type_check
def sum_waves(
    kind, last, mix, address, rows, key0, key1, step, chains, depth, modes, width,
    num_mode_blocks, num_blocks, MODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums over i of a deformation's modes (i, j): some j, some columns, of one axis."""
    program = tl.program_id(0)
    columns, program = program % num_blocks, program // num_blocks
    part, program = program % num_mode_blocks, program // num_mode_blocks
    axis, row = program % 2, program // 2
    if _kind_of(kind, mix, row, step, chains, depth) != _DEFORM:
        return
    at = row * depth + step
    num = tl.load(last + at)
    if part * MODES >= num:
        return
    j = part * MODES + tl.arange(0, MODES) + 1
    x = columns * BLOCK + tl.arange(0, BLOCK)
    position = x.to(tl.float64) / tl.maximum(width - 1, 1).to(tl.float64)
    total = tl.zeros((MODES, BLOCK), tl.float64)
    for i in range(1, num + 1):
        one, two, _, _ = _normals((i - 1) * modes + j - 1, address + 3 * at, key0, key1)
        square = i * i + j * j
        number = tl.where(axis == 0, one, two) / tl.sqrt(square.to(tl.float64))
        number = tl.where(square <= num * (num + 1), number, 0.0)
        total += number[:, None] * _sin_pi(i * position)[None, :]
    line = (row * 2 + axis).to(tl.int64) * modes + (j - 1)
    tl.store(
        rows + line[:, None] * width + x[None, :],
        total,
        mask=(j <= num)[:, None] & (x < width)[None, :],
    )


@triton.jit(do_not_specialize=["step"])
@no_type_check
def change(
    source, target, kind, first, last, temperature, mix, numbers, rows, step, chains, depth,
    modes, height, width, num_blocks,
    IS_FIRST: tl.constexpr, CHANNELS: tl.constexpr, TERMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One block of a row's step."""
    program = tl.program_id(0)
    row, size = program // num_blocks, height * width
    if tl.load(mix + row // chains) <= 0:
        return
    what, at = _kind_of(kind, mix, row, step, chains, depth), row * depth + step
    pixel = (program % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    is_there = pixel < size
    y, x = pixel // width, pixel % width
    picture = (row // chains if IS_FIRST else row).to(tl.int64) * CHANNELS * size
    own = numbers + row.to(tl.int64) * 4 * TERMS
    low, high = tl.load(first + at), tl.load(last + at)
    across, down = x.to(tl.float64), y.to(tl.float64)
    if what == _DEFORM:
        root = tl.sqrt(tl.load(temperature + at).to(tl.float64))
        dx, dy = tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.float64)
        position = y.to(tl.float64) / tl.maximum(height - 1, 1).to(tl.float64)
        for j in range(high):
            wave, line = _sin_pi((j + 1) * position), row.to(tl.int64) * 2 * modes + j
            dx += wave * tl.load(rows + line * width + x)
            dy += wave * tl.load(rows + (line + modes) * width + x)
        across = tl.minimum(tl.maximum(across - width * (root * dx), 0.0), width - 1)
        down = tl.minimum(tl.maximum(down - height * (root * dy), 0.0), height - 1)
    for channel in tl.static_range(CHANNELS):
        plane = source + picture + channel * size
        level = tl.load(plane + pixel, mask=is_there, other=0).to(tl.float64)
        if what == _COLOR:
            level = _bend(level, own + channel * TERMS, low, high)
        elif what == _FILTER:
            level = _correlate(plane, own, y, x, height, width)
        elif what == _DEFORM:
            level = _move(plane, across, down, width, is_there)
        offset = target + (row * CHANNELS + channel).to(tl.int64) * size + pixel
        tl.store(offset, level, mask=is_there)


@triton.jit
@no_type_check
def _bend(level, numbers, low, high):
    """A colour curve by Clenshaw's recurrence."""
    twice = 2.0 * _sin_pi(level + 0.5)
    now, before = level * 0.0, level * 0.0
    for back in range(high - low + 1):
        after = tl.load(numbers + high - low - back) + twice * now - before
        before = now
        now = after
    change = now * _sin_pi(low * level) - before * _sin_pi((low - 1) * level)
    return tl.minimum(tl.maximum(level + change, 0.0), 1.0)


@triton.jit
@no_type_check
def _correlate(plane, weights, y, x, height, width):
    """A 3x3 filter with zeros outside."""
    total = x.to(tl.float64) * 0.0
    for tap in tl.static_range(9):
        row, column = y + tap // 3 - 1, x + tap % 3 - 1
        is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        near = tl.load(plane + row * width + column, mask=is_inside, other=0).to(tl.float64)
        total += tl.load(weights + tap) * near
    return tl.minimum(tl.maximum(total, 0.0), 1.0)


@triton.jit
@no_type_check
def _move(plane, x, y, width, is_there):
    """Bilinear samples at positions within the border."""
    left, top = tl.floor(x), tl.floor(y)
    right, bottom = tl.ceil(x).to(tl.int32), tl.ceil(y).to(tl.int32) * width
    dx, dy = x - left, y - top
    first, above = left.to(tl.int32), top.to(tl.int32) * width
    corner0 = tl.load(plane + above + first, mask=is_there, other=0).to(tl.float64)
    corner1 = tl.load(plane + above + right, mask=is_there, other=0).to(tl.float64)
    corner2 = tl.load(plane + bottom + first, mask=is_there, other=0).to(tl.float64)
    corner3 = tl.load(plane + bottom + right, mask=is_there, other=0).to(tl.float64)
    upper = (1.0 - dx) * corner0 + dx * corner1
    lower = (1.0 - dx) * corner2 + dx * corner3
    return (1.0 - dy) * upper + dy * lower


@triton.jit
@no_type_check
def combine(
    views, changed, weight, mix, out, chains, size, num_blocks,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One block of a view: (1 - mix) * view + mix * sum of weight * chain."""
    program = tl.program_id(0)
    pair = program // num_blocks
    pixel = (program % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    is_there, whole = pixel < size, tl.load(mix + pair).to(tl.float64)
    for channel in tl.static_range(CHANNELS):
        offset = (pair * CHANNELS + channel).to(tl.int64) * size + pixel
        level = tl.load(views + offset, mask=is_there, other=0)
        if whole > 0:
            total = (1.0 - whole) * level.to(tl.float64)
            for chain in range(chains):
                row = pair * chains + chain
                part = whole * tl.load(weight + row).to(tl.float64)
                source = changed + (row * CHANNELS + channel).to(tl.int64) * size
                total += part * tl.load(source + pixel, mask=is_there, other=0)
            level = tl.minimum(tl.maximum(total, 0.0), 1.0).to(tl.float32)
        tl.store(out + offset, level, mask=is_there)


_BLOCK = 256  # pixels of a program
_MODES = 16  # frequencies j of a program
_COLUMNS = 32  # columns of a program
_SCRATCH_BYTES = 2**31  # batches that need more are done in parts
_ARRAYS = ("kind", "first", "last", "temperature", "weight", "mix", "address")


def apply(
    pixels: Float[Tensor, "view batch channel height width"], **values: Any
) -> Float[Tensor, "view batch channel height width"]:
    """`Primitives.apply_torch`; one opaque operation for `torch.compile`."""
    seed = values["seed"]
    arrays = [values[name].contiguous() for name in _ARRAYS]
    sizes = [values["num_terms"], values["num_modes"], 2 if values["is_corner"] else 1]
    return _apply(pixels.float().contiguous(), arrays, seed & 0xFFFFFFFF, seed >> 32, sizes)


@torch.library.custom_op(
    "augmix::primitives",
    mutates_args=(),
    schema="(Tensor pixels, Tensor[] arrays, int key0, int key1, int[] sizes) -> Tensor",
)
@no_type_check
def _apply(pixels, arrays, key0, key1, sizes):
    """Launch the kernels of a batch, in parts if its chains take too much memory."""
    out = torch.empty_like(pixels)
    channels, height, width = pixels.shape[2:]
    kind = arrays[0]
    chains, terms = kind.shape[2], triton.next_power_of_2(max(sizes[0], 4))
    own = 2 * channels * height * width + 2 * sizes[1] * width + 4 * terms
    most = max(_SCRATCH_BYTES // (8 * max(chains, 1) * own), 1)
    flat, target = pixels.flatten(0, 1), out.flatten(0, 1)
    near = [values.flatten(0, 1) for values in arrays]
    with torch.cuda.device(pixels.device) if pixels.is_cuda else nullcontext():  # for Triton
        for first in range(0, len(flat), most):
            part = slice(first, first + most)
            found = dict(zip(_ARRAYS, (values[part] for values in near), strict=True))
            _launch(flat[part], found, (key0, key1), sizes, terms, target[part])
    return out


@_apply.register_fake
@no_type_check
def _apply_fake(pixels, arrays, key0, key1, sizes):
    return torch.empty_like(pixels)


def _launch(
    views: Float[Tensor, "pair channel height width"],
    arrays: dict[str, Tensor],
    keys: tuple[int, int],
    sizes: list[int],
    terms: int,
    out: Tensor,
) -> None:
    """All launches for some views."""
    num, channels, height, width = views.shape
    _, modes, corner = sizes
    chains, depth = arrays["kind"].shape[1:]
    rows, blocks = num * chains, triton.cdiv(height * width, _BLOCK)
    state = views.new_empty((2, rows, channels, height, width), dtype=torch.float64)
    numbers = views.new_empty((rows, 4 * terms), dtype=torch.float64)
    lines = views.new_empty((rows, 2, modes, width), dtype=torch.float64)
    where = {"chains": chains, "depth": depth, "kind": arrays["kind"], "mix": arrays["mix"]}
    drawn = {"address": arrays["address"], "key0": keys[0], "key1": keys[1], **where}
    form = {"enable_fp_fusion": False}
    parts = triton.cdiv(modes, _MODES), triton.cdiv(width, _COLUMNS)
    for step in range(depth):
        range_ = {"last": arrays["last"], "step": step, **form}
        own = {"first": arrays["first"], "temperature": arrays["temperature"], **range_}
        draw[(rows,)](numbers=numbers, corner=corner, TERMS=terms, **drawn, **own)
        sum_waves[(rows * 2 * parts[0] * parts[1],)](
            rows=lines, modes=modes, width=width, num_mode_blocks=parts[0],
            num_blocks=parts[1], MODES=_MODES, BLOCK=_COLUMNS, **drawn, **range_,
        )  # fmt: skip
        change[(rows * blocks,)](
            source=state[(step - 1) % 2] if step else views, target=state[step % 2],
            numbers=numbers, rows=lines, modes=modes, height=height, width=width,
            num_blocks=blocks, IS_FIRST=step == 0, CHANNELS=channels, TERMS=terms, BLOCK=_BLOCK,
            **where, **own,
        )  # fmt: skip
    combine[(num * blocks,)](
        views, state[(depth - 1) % 2], arrays["weight"], arrays["mix"], out, chains,
        height * width, blocks, CHANNELS=channels, BLOCK=_BLOCK, **form,
    )  # fmt: skip

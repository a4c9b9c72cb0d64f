"""The steps of a packed plan as Triton kernels, for NVIDIA and AMD GPUs.

A chain is a sequence of rounds (`packing.Steps`). First `load` mirrors, crops and packs the images.
In every round `count` makes the histograms that its tables need, `make_tables` composes the tables
into one, and `move` carries out the operation that needs the pixels, looking that table up while it
reads. `mix` looks up the last tables and sums. Programs whose chain has no such round return at
once.

Pixels lie in memory as 32-bit words, red in the lowest byte, so that a sample of all channels is
one load. The arithmetic is Pillow's, as in `tensors`: float64 for affine positions and their
blends, float32 for the others; the kernels are compiled without fusing products with sums.

How many launches there are does not depend on the plan, so a CUDA graph serves every plan of a
shape.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, UInt8
from torch import Tensor

from augmix.augment.batched.packing import Kind, Layout
from augmix.augment.batched.tensors import BLUE, GREEN, HALF, RED, Arrays

_STRETCH, _EQUALIZE = tl.constexpr(int(Kind.STRETCH)), tl.constexpr(int(Kind.EQUALIZE))
_MASK, _INVERT_FROM = tl.constexpr(int(Kind.MASK)), tl.constexpr(int(Kind.INVERT_FROM))
_DARKEN = tl.constexpr(int(Kind.DARKEN))
_AFFINE, _COLOR = tl.constexpr(int(Kind.AFFINE)), tl.constexpr(int(Kind.COLOR))
_ROWS = tl.constexpr(4)  # channels of a word, whether an image has them or not
_RED, _GREEN = tl.constexpr(RED), tl.constexpr(GREEN)
_BLUE, _HALF = tl.constexpr(BLUE), tl.constexpr(HALF)


@triton.jit
@no_type_check
def load(
    images, crop, clean, height, width, num_blocks, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
):
    """One block of an image: mirrored, cropped from a black border, its channels in one word."""
    program = tl.program_id(0)
    image, size = program // num_blocks, height * width
    pixel = (program % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    row = pixel // width + tl.load(crop + 3 * image)
    column = pixel % width + tl.load(crop + 3 * image + 1)
    is_there = (pixel < size) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    column = tl.where(tl.load(crop + 3 * image + 2) != 0, width - 1 - column, column)
    start = images + image.to(tl.int64) * size * CHANNELS
    word = tl.zeros((BLOCK,), tl.int32)
    for channel in tl.static_range(CHANNELS):
        position = start + (row * width + column) * CHANNELS + channel
        word |= tl.load(position, mask=is_there, other=0).to(tl.int32) << (8 * channel)
    tl.store(clean + image.to(tl.int64) * size + pixel, word, mask=pixel < size)


@triton.jit(do_not_specialize=["turn"])
@no_type_check
def count(
    pixels, kind, start, moves, counts, size, num_parts, turn, depth, per_image,
    IS_FIRST: tl.constexpr, IS_WHOLE: tl.constexpr, CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr, NUM_BLOCKS: tl.constexpr,
):  # fmt: skip
    """The histogram of one channel in a part of a chain's pixels, if its round needs it.

    Where the round needs only the lowest and the highest level, those alone are counted, once.
    """
    program = tl.program_id(0)
    channel, program = program % CHANNELS, program // CHANNELS
    chain, part = program // num_parts, program % num_parts
    first, last = _tables_of(start, moves, chain, turn, depth)
    needs_ends, needs_all, is_rising = 0, 0, 1  # whether the tables before a step are monotone
    for step in range(first, last):
        what = tl.load(kind + chain * depth + step)
        needs_ends |= (what == _STRETCH).to(tl.int32)
        needs_all |= ((what == _EQUALIZE) | ((what == _STRETCH) & (is_rising == 0))).to(tl.int32)
        is_rising &= (what != _INVERT_FROM).to(tl.int32)
    if (needs_ends | needs_all) == 0:
        return
    source = pixels + (chain // per_image if IS_FIRST else chain).to(tl.int64) * size
    level = tl.arange(0, 256)
    found = tl.zeros((256,), tl.int32)
    begin = part * NUM_BLOCKS * BLOCK
    end = tl.minimum(begin + NUM_BLOCKS * BLOCK, size)
    if needs_all:
        for at in range(begin, end, BLOCK):
            pixel = at + tl.arange(0, BLOCK)
            word = tl.load(source + pixel, mask=pixel < end, other=0)
            found += tl.histogram((word >> (8 * channel)) & 255, 256)
        beyond = tl.cdiv(end - begin, BLOCK) * BLOCK - (end - begin)  # counted as black
        found -= tl.where(level == 0, beyond, 0)
    else:
        low, high = tl.full((BLOCK,), 255, tl.int32), tl.zeros((BLOCK,), tl.int32)
        for at in range(begin, end, BLOCK):
            pixel = tl.minimum(at + tl.arange(0, BLOCK), end - 1)
            levels = (tl.load(source + pixel) >> (8 * channel)) & 255
            low, high = tl.minimum(low, levels), tl.maximum(high, levels)
        found += ((level == tl.min(low)) | (level == tl.max(high))).to(tl.int32)
    position = counts + (chain * CHANNELS + channel).to(tl.int64) * 256 + level
    if IS_WHOLE:
        tl.store(position, found)
    else:
        tl.atomic_add(position, found, mask=found != 0, sem="relaxed")


@triton.jit(do_not_specialize=["turn"])
@no_type_check
def make_tables(
    pixels, kind, value, numbers, start, moves, counts, tables, size, turn, depth, per_image,
    IS_FIRST: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The tables of a chain's round, composed into one; a program a chain."""
    chain = tl.program_id(0)
    first, last = _tables_of(start, moves, chain, turn, depth)
    if first >= last:
        return
    source = pixels + (chain // per_image if IS_FIRST else chain).to(tl.int64) * size
    channel, level = _table_axes()
    counted = counts + (chain * CHANNELS + channel).to(tl.int64) * 256 + level
    table = level
    for step in range(first, last):
        at = chain * depth + step
        what, bound = tl.load(kind + at), tl.load(value + at)
        factor = tl.load(numbers + at * 6).to(tl.float32)
        if what == _STRETCH:
            table = _stretch(tl.load(counted, mask=channel < CHANNELS, other=0), table)
        elif what == _EQUALIZE:
            number = tl.load(counted, mask=channel < CHANNELS, other=0)
            table = _equalize(number, table, step > first, size)
        elif what == _MASK:
            table = table & bound
        elif what == _INVERT_FROM:
            table = tl.where(table < bound, table, 255 - table)
        elif what == _DARKEN:
            table = _blend(0.0, table, factor)
        else:
            mean = _mean_luma(source, table, step > first, size, CHANNELS, BLOCK)
            table = _blend(mean, table, factor)
    position = tables + (chain * CHANNELS + channel).to(tl.int64) * 256 + level
    tl.store(position, table.to(tl.uint8), mask=channel < CHANNELS)


@triton.jit
@no_type_check
def _tables_of(start, moves, chain, turn, depth):
    """The steps of a chain's round that are tables, from the first to before the last."""
    num_moves = tl.load(moves + chain)
    is_there = turn <= num_moves
    rounds = start + chain * (depth + 2) + turn
    first = tl.load(rounds, mask=is_there, other=0)
    last = tl.load(rounds + 1, mask=is_there, other=0) - (turn < num_moves).to(tl.int32)
    return first, last


@triton.jit
@no_type_check
def _table_axes():
    channel = tl.arange(0, _ROWS)[:, None]
    return channel, tl.arange(0, 256)[None, :] + 0 * channel


@triton.jit
@no_type_check
def _levels(source, table, has_table, begin, size, BLOCK: tl.constexpr):
    """Levels `channel pixel` of a block of an image, after a table if there is one.

    Beyond the image they are those of the level 0.
    """
    pixel = begin + tl.arange(0, BLOCK)
    word = tl.load(source + pixel, mask=pixel < size, other=0)
    channel = tl.arange(0, _ROWS)[:, None]
    levels = (word[None, :] >> (8 * channel)) & 255
    if has_table:
        levels = tl.gather(table, levels, 1)
    return levels


@triton.jit
@no_type_check
def _stretch(counts, table):
    """`ImageOps.autocontrast` after a table."""
    low = tl.min(tl.where(counts > 0, table, 255), axis=1)[:, None]
    high = tl.max(tl.where(counts > 0, table, 0), axis=1)[:, None]
    scale = 255.0 / tl.maximum(high - low, 1).to(tl.float64)
    stretched = table.to(tl.float64) * scale + (-low).to(tl.float64) * scale
    new = tl.minimum(tl.maximum(stretched.to(tl.int32), 0), 255)
    return tl.where(high > low, new, table)


@triton.jit
@no_type_check
def _equalize(counts, table, has_table, size):
    """`ImageOps.equalize` after a table."""
    _, level = _table_axes()
    if has_table:  # the histogram of the levels behind it
        behind = tl.zeros_like(counts)
        for before in range(256):
            number = tl.sum(tl.where(level == before, counts, 0), axis=1)[:, None]
            after = tl.sum(tl.where(level == before, table, 0), axis=1)[:, None]
            behind += tl.where(level == after, number, 0)
        counts = behind
    highest = tl.max(tl.where(counts > 0, level, 0), axis=1)[:, None]
    last = tl.sum(tl.where(level == highest, counts, 0), axis=1)[:, None]
    step = (size - last) // 255
    below = tl.cumsum(counts, axis=1) - counts + step // 2
    new = tl.minimum(below // tl.maximum(step, 1), 255)
    return tl.where(step > 0, tl.gather(new, table, 1), table)


@triton.jit
@no_type_check
def _mean_luma(source, table, has_table, size, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """The rounded mean of the L conversion of an image after a table."""
    channel = tl.arange(0, _ROWS)[:, None]
    weight = tl.where(channel == 0, _RED, tl.where(channel == 1, _GREEN, _BLUE))
    weight = tl.where(channel < CHANNELS, weight, 0)
    total = tl.zeros((BLOCK,), tl.int32)
    for begin in range(0, size, BLOCK):
        levels = _levels(source, table, has_table, begin, size, BLOCK)
        luma = tl.sum(levels, axis=0)
        if CHANNELS == 3:
            luma = (tl.sum(levels * weight, axis=0) + _HALF) >> 16
        total += tl.where(begin + tl.arange(0, BLOCK) < size, luma, 0)
    double = 2 * tl.sum(total.to(tl.int64))
    return ((double + size) // (2 * size)).to(tl.float32)


@triton.jit
@no_type_check
def _blend(first, second, factor):
    """`Image.blend`: in float32, truncated."""
    value = first + factor * (second.to(tl.float32) - first)
    return tl.minimum(tl.maximum(value, 0.0), 255.0).to(tl.int32)


@triton.jit
@no_type_check
def _fetch(source, position, is_there, table, has_table, CHANNELS: tl.constexpr):
    """The words at some positions, after a table if there is one."""
    word = tl.load(source + position, mask=is_there, other=0)
    if has_table:
        new = tl.zeros_like(word)
        for channel in tl.static_range(CHANNELS):
            level = (word >> (8 * channel)) & 255
            new |= tl.load(table + 256 * channel + level).to(tl.int32) << (8 * channel)
        word = new
    return word


@triton.jit(do_not_specialize=["turn"])
@no_type_check
def move(
    pixels, target, tables, kind, numbers, start, moves, height, width, num_blocks,
    turn, depth, per_image,
    IS_FIRST: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One block of the operation that ends a chain's round, reading through the round's table."""
    program = tl.program_id(0)
    chain, size = program // num_blocks, height * width
    if turn >= tl.load(moves + chain):
        return
    rounds = start + chain * (depth + 2) + turn
    step = tl.load(rounds + 1) - 1
    has_table = step > tl.load(rounds)
    at = chain * depth + step
    what = tl.load(kind + at)
    source = pixels + (chain // per_image if IS_FIRST else chain).to(tl.int64) * size
    table = tables + chain.to(tl.int64) * CHANNELS * 256
    pixel = (program % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    row, column = pixel // width, pixel % width
    if what == _AFFINE:
        word = _warp(
            source, numbers + at * 6, row, column, height, width, table, has_table, CHANNELS
        )
    else:
        factor = tl.load(numbers + at * 6).to(tl.float32)
        word = _fetch(source, pixel, pixel < size, table, has_table, CHANNELS)
        if what == _COLOR:
            word = _color(word, factor)
        else:
            is_inner = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
            sharp = _sharpness(
                source, pixel, word, factor, is_inner, width, table, has_table, CHANNELS
            )
            word = tl.where(is_inner, sharp, word)
    tl.store(target + chain.to(tl.int64) * size + pixel, word, mask=pixel < size)


@triton.jit
@no_type_check
def _warp(
    source, matrix, row, column, height, width, table, has_table, CHANNELS: tl.constexpr
):  # fmt: skip
    """`Image.transform` by an affine matrix, bilinear, black outside; see `tensors.warp`."""
    x, y = column.to(tl.float64) + 0.5, row.to(tl.float64) + 0.5
    a, b, c = tl.load(matrix), tl.load(matrix + 1), tl.load(matrix + 2)
    d, e, f = tl.load(matrix + 3), tl.load(matrix + 4), tl.load(matrix + 5)
    u, v = (a * x + b * y) + c, (d * x + e * y) + f
    inside = (u >= 0.0) & (u < width) & (v >= 0.0) & (v < height) & (row < height)
    u, v = tl.where(inside, u, 0.5) - 0.5, tl.where(inside, v, 0.5) - 0.5
    left, upper = tl.floor(u), tl.floor(v)
    dx, dy = u - left, v - upper
    column, row = left.to(tl.int32), upper.to(tl.int32)
    first, next_ = tl.maximum(column, 0), tl.minimum(column + 1, width - 1)
    top, bottom = tl.maximum(row, 0) * width, tl.minimum(row + 1, height - 1) * width
    corner0 = _fetch(source, top + first, inside, table, has_table, CHANNELS)
    corner1 = _fetch(source, top + next_, inside, table, has_table, CHANNELS)
    corner2 = _fetch(source, bottom + first, inside, table, has_table, CHANNELS)
    corner3 = _fetch(source, bottom + next_, inside, table, has_table, CHANNELS)
    word = tl.zeros_like(corner0)
    for channel in tl.static_range(CHANNELS):
        level0 = ((corner0 >> (8 * channel)) & 255).to(tl.float64)
        level1 = ((corner1 >> (8 * channel)) & 255).to(tl.float64)
        level2 = ((corner2 >> (8 * channel)) & 255).to(tl.float64)
        level3 = ((corner3 >> (8 * channel)) & 255).to(tl.float64)
        above = level0 + (level1 - level0) * dx
        below = level2 + (level3 - level2) * dx
        word |= (above + (below - above) * dy).to(tl.int32) << (8 * channel)
    return tl.where(inside, word, 0)


@triton.jit
@no_type_check
def _color(word, factor):
    """`ImageEnhance.Color`: a blend with the luma."""
    red, green, blue = word & 255, (word >> 8) & 255, (word >> 16) & 255
    luma = ((red * _RED + green * _GREEN + blue * _BLUE + _HALF) >> 16).to(tl.float32)
    word = _blend(luma, red, factor)
    word |= _blend(luma, green, factor) << 8
    return word | (_blend(luma, blue, factor) << 16)


@triton.jit
@no_type_check
def _sharpness(
    source, pixel, word, factor, is_inner, width, table, has_table, CHANNELS: tl.constexpr
):  # fmt: skip
    """`ImageEnhance.Sharpness` inside the border: a blend with (1 1 1; 1 5 1; 1 1 1) / 13.

    Two channels are summed in one word, 16 bits each: 13 * 255 fits.
    """
    low, high = 4 * (word & 0x00FF00FF), 4 * ((word >> 8) & 0x00FF00FF)
    for neighbour in tl.static_range(9):
        position = pixel + (neighbour // 3 - 1) * width + neighbour % 3 - 1
        near = _fetch(source, position, is_inner, table, has_table, CHANNELS)
        low += near & 0x00FF00FF
        high += (near >> 8) & 0x00FF00FF
    sharp = tl.zeros_like(word)
    for channel in tl.static_range(CHANNELS):
        sums = high if channel % 2 else low
        total = (sums >> (16 * (channel // 2))) & 0xFFFF
        smooth = ((2 * total + 13) // 26).to(tl.float32)
        sharp |= _blend(smooth, (word >> (8 * channel)) & 255, factor) << (8 * channel)
    return sharp


@triton.jit(do_not_specialize=["first"])
@no_type_check
def mix(
    clean, pixels, tables, start, moves, weight, clean_weight, out, first, num_images, batch,
    views, chains, depth, size, num_blocks,
    CHANNELS: tl.constexpr, IS_LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One block of a view: (1 - mix) * clean + sum of weight * chain, / 255, in this order."""
    program = tl.program_id(0)
    pair = program // num_blocks
    image, view = pair // views, pair % views
    pixel = (program % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    is_there = pixel < size
    original = tl.load(clean + image.to(tl.int64) * size + pixel, mask=is_there, other=0)
    row = (view * num_images + first + image).to(tl.int64)
    for channel in tl.static_range(CHANNELS):
        total = tl.load(clean_weight + pair) * ((original >> (8 * channel)) & 255).to(tl.float32)
        for index in range(chains):
            chain = pair * chains + index
            part = tl.load(weight + chain)
            if part != 0.0:
                num_moves = tl.load(moves + chain)
                word = original
                if num_moves > 0:
                    slot = ((num_moves - 1) % 2) * (batch * views * chains) + chain
                    source = pixels + slot.to(tl.int64) * size
                    word = tl.load(source + pixel, mask=is_there, other=0)
                level = (word >> (8 * channel)) & 255
                rounds = start + chain * (depth + 2) + num_moves
                if tl.load(rounds) < tl.load(rounds + 1):
                    table = tables + (chain * CHANNELS + channel).to(tl.int64) * 256
                    level = tl.load(table + level).to(tl.int32)
                total += part * level.to(tl.float32)
        value = tl.minimum(tl.div_rn(total, 255.0), 1.0).to(out.dtype.element_ty)
        position = pixel * CHANNELS + channel if IS_LAST else channel * size + pixel
        tl.store(out + row * size * CHANNELS + position, value, mask=is_there)


_COUNTED = 512  # pixels a program counts at a time
_COUNTED_BLOCKS = 8  # how often, at most: of larger images several programs count parts
_BLOCK = 256  # pixels a program loads, moves or mixes
_SCRATCH_BYTES = 2**31  # of the chains' pixels and counts; batches that need more are done in parts


def render(
    images: UInt8[Tensor, "batch height width channel"],
    arrays: Arrays,
    layout: Layout,
    dtype: torch.dtype,
    channels_last: bool,
) -> Float[Tensor, "view batch channel height width"]:
    """The views of a batch; one opaque operation for `torch.compile`.

    Raises:
        ValueError: If the images are neither on a GPU nor is Triton interpreted.
    """
    if images.device.type == "cpu" and not is_interpreted():
        raise ValueError("Triton kernels need a GPU, got images on the cpu; use backend 'torch'")
    plan = [getattr(arrays, name) for name in _READ]
    return _render(images, plan, list(layout[:8]), dtype, channels_last)


def is_interpreted() -> bool:
    """Whether Triton was loaded with TRITON_INTERPRET=1 and runs on the CPU."""
    return not isinstance(load, triton.JITFunction)


_READ = ("numbers", "kind", "value", "start", "moves", "crop", "weight", "clean_weight")
_SCHEMA = """(
    Tensor images, Tensor[] plan, int[] axes, ScalarType dtype, bool channels_last
) -> Tensor"""  # written out: not every release of torch reads all annotations


@torch.library.custom_op("augmix::render", mutates_args=(), schema=_SCHEMA)
@no_type_check
def _render(
    images: Tensor,
    plan: Sequence[Tensor],
    axes: Sequence[int],
    dtype: torch.dtype,
    channels_last: bool,
) -> Tensor:
    """Launch the kernels of a batch, in parts if its chains take too much memory."""
    layout = Layout(*axes)
    views = _empty_views(images, layout, dtype, channels_last)
    pairs, chains = layout.views, layout.views * layout.chains
    rows = {"crop": 1, "clean_weight": pairs}  # an image; of the others as many as chains
    per_image = (2 * layout.num_pixels + 256 * layout.channels) * 4 * max(chains, 1)
    most = max(_SCRATCH_BYTES // per_image, 1)
    with torch.cuda.device(images.device) if images.is_cuda else nullcontext():  # for Triton
        for first in range(0, layout.batch, most):
            last = min(first + most, layout.batch)
            part = {}
            for name, values in zip(_READ, plan, strict=True):
                count = rows.get(name, chains)
                part[name] = values[first * count : last * count]
            near = layout._replace(batch=last - first)
            _launch(images[first:last].contiguous(), part, near, views, first, channels_last)
    return views


@_render.register_fake
@no_type_check
def _render_fake(images, plan, axes, dtype, channels_last):
    return _empty_views(images, Layout(*axes), dtype, channels_last)


def _empty_views(
    images: Tensor, layout: Layout, dtype: torch.dtype, channels_last: bool
) -> Float[Tensor, "view batch channel height width"]:
    pixels = (layout.height, layout.width)
    if not channels_last:
        shape = (layout.views, layout.batch, layout.channels, *pixels)
        return images.new_empty(shape, dtype=dtype)
    shape = (layout.views, layout.batch, *pixels, layout.channels)
    return images.new_empty(shape, dtype=dtype).permute(0, 1, 4, 2, 3)


def _launch(
    images: UInt8[Tensor, "batch height width channel"],
    plan: dict[str, Tensor],
    layout: Layout,
    views: Float[Tensor, "view all channel height width"],
    first: int,
    channels_last: bool,
) -> None:
    """All launches for some images, which are ``first`` and following of the views."""
    num, size, channels = layout.num_chains, layout.num_pixels, layout.channels
    clean = images.new_empty((layout.batch, size), dtype=torch.int32)
    pixels = images.new_empty((2, num, size), dtype=torch.int32)
    tables = images.new_empty((num, channels, 256))
    blocks = triton.cdiv(size, _BLOCK)
    form = {"CHANNELS": channels, "enable_fp_fusion": False}
    near = {"height": layout.height, "width": layout.width, "num_blocks": blocks, "BLOCK": _BLOCK}
    _start(load, layout.batch * blocks, images, plan["crop"], clean, **near, **form)
    parts = triton.cdiv(size, _COUNTED * _COUNTED_BLOCKS)
    counted = {"num_parts": parts, "IS_WHOLE": parts == 1, "NUM_BLOCKS": _COUNTED_BLOCKS}
    counts = images.new_empty((num, channels, 256), dtype=torch.int32)
    for turn in range(layout.depth + 1):
        where = {
            "pixels": pixels[(turn - 1) % 2] if turn else clean,
            "turn": turn,
            "depth": layout.depth,
            "per_image": layout.views * layout.chains,
            "IS_FIRST": turn == 0,
            **{name: plan[name] for name in ("kind", "start", "moves")},
        }
        if parts > 1:
            counts.zero_()
        _start(
            count, num * parts * channels, counts=counts, size=size, CHANNELS=channels,
            BLOCK=_COUNTED, **counted, **where,
        )  # fmt: skip
        steps = {"tables": tables, "numbers": plan["numbers"], **where, **form}
        _start(
            make_tables, num, value=plan["value"], counts=counts, size=size, BLOCK=_COUNTED, **steps
        )
        if turn < layout.depth:
            _start(move, num * blocks, target=pixels[turn % 2], **near, **steps)
    _start(
        mix, layout.batch * layout.views * blocks, clean, pixels, tables,
        *(plan[name] for name in ("start", "moves", "weight", "clean_weight")),
        views, first, views.shape[1], layout.batch, layout.views, layout.chains, layout.depth,
        size, blocks, IS_LAST=channels_last, BLOCK=_BLOCK, **form,
    )  # fmt: skip


def _start(kernel: Any, num_programs: int, *arguments: Any, **options: Any) -> None:
    """Launch a kernel unless there is nothing to do."""
    if num_programs:
        kernel[(num_programs,)](*arguments, **options)

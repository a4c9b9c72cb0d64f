"""The chains of a packed plan as torch operations, on any device.

Shapes depend on the layout alone and every value stays on the device, so all of it can be compiled,
captured as a graph, or run ahead of the device. In every step each family of operations takes the
chains that need it, by rows that the host listed. Images are planar: uint8 `chain channel pixel`,
rows one after another; tables are uint8 `chain channel level`.

The arithmetic is Pillow's, operation by operation: the same products and sums in float64 (affine)
and float32 (blends), truncated where Pillow truncates.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int8, Int32, Int64, UInt8
from torch import Tensor

from augmix.augment.batched.packing import ENTRIES, FAMILIES, KINDS, Kind, Layout
from augmix.augment.ops import Op
from augmix.augment.stages.chains import CropFlip

RED, GREEN, BLUE, HALF = 19595, 38470, 7471, 0x8000  # luma in 1 / 65536
_PIECE = {"cpu": 2**20}  # levels worked on at a time, by kind of device
_LARGE_PIECE = 2**26


class Arrays(NamedTuple):
    """The sections of a packed plan as tensors of one device; see `packing.sections`."""

    numbers: Float[Tensor, "num depth 6"]  # as `packing.Steps`; float64 where the device has it
    ids: Int64[Tensor, " sample"]
    rows: Int64[Tensor, " row"]  # chains of every family in every step, see `Layout.capacity`
    kind: Int32[Tensor, "num depth"]
    value: Int32[Tensor, "num depth"]
    start: Int32[Tensor, "num round"]
    moves: Int32[Tensor, " num"]
    crop: Int32[Tensor, "batch 3"]  # row and column against the image, and whether it is mirrored
    weight: Float[Tensor, " num"]  # of every chain in its view
    clean_weight: Float[Tensor, " pair"]  # of the image itself in its views
    stages: tuple[dict[str, Tensor], ...]  # those before the chains, then those after; by name


def real_of(device: torch.device) -> str:
    """The widest float of a device, by name."""
    return "float32" if device.type == "mps" else "float64"


def render(
    images: UInt8[Tensor, "batch height width channel"], arrays: Arrays, layout: Layout
) -> Float[Tensor, "view batch channel height width"]:
    """The views of a batch, float32 in [0, 1].

    Raises:
        ValueError: If the plan was packed without the rows of its families.
    """
    if len(layout.capacity) != layout.depth:
        raise ValueError("backend 'torch' needs a plan that was packed with has_rows=True")
    clean = prepare(images, arrays.crop, layout)
    pixels = clean[:, None].expand(-1, layout.views * layout.chains, -1, -1).flatten(0, 1)
    pixels = torch.cat([pixels, torch.zeros_like(pixels[:1])])  # one row more, of no chain
    start, levels = 0, _PIECE.get(pixels.device.type, _LARGE_PIECE)
    most = max(levels // (layout.channels * layout.num_pixels), 1)  # so that temporaries stay small
    for step, capacities in enumerate(layout.capacity):
        for family, capacity in zip(FAMILIES, capacities, strict=True):
            rows = arrays.rows[start : start + capacity]
            start += capacity
            for piece in rows.split(most) if capacity else ():
                pixels.index_copy_(0, piece, _work(family, pixels, piece, step, arrays, layout))
    return mix(clean, pixels[:-1], arrays.weight, arrays.clean_weight, layout)


def apply_ops(
    pixels: UInt8[Tensor, "image channel pixel"],
    op: Int8[Tensor, " image"],
    amount: Float[Tensor, " image"],
    height: int,
    width: int,
    *,
    has_overlapping: bool = False,
) -> UInt8[Tensor, "image channel pixel"]:
    """One operation on every image, by `Op` and amounts that lie on the device.

    All images pass through the tables and the warp that an operation may need, which leave the
    others as they are; color, contrast, brightness and sharpness cost more and have to be asked
    for.
    """
    code = op.long()
    kind = torch.zeros_like(code, dtype=torch.int32)
    for each, needed in KINDS.items():
        kind = torch.where(code == int(each), int(needed), kind)
    bits = (8 - amount.clamp(1, 8).long()).clamp(0, 7)
    mask = 256 - (torch.ones_like(bits) << bits)
    threshold = torch.where(code == int(Op.SOLARIZE), amount.trunc().clamp(0, 256).long(), 0)
    value = torch.where(code == int(Op.POSTERIZE), mask, threshold).to(torch.int32)
    factors = amount[:, None].expand(-1, 6)
    level = torch.arange(256, dtype=torch.uint8, device=op.device)
    table = level.expand(*pixels.shape[:2], 256)
    for family in FAMILIES[: 3 if has_overlapping else 2]:
        is_one = torch.stack([kind == int(each) for each in family]).any(dim=0)
        made = make_tables(family, pixels, kind, value, factors)
        table = torch.where(is_one[:, None, None], made, table)
    pixels = look_up(pixels, table)
    pixels = warp(pixels, _matrices(code, amount, height, width), height, width)
    if has_overlapping:
        for each, changed in (
            (Op.COLOR, color(pixels, amount.float()) if pixels.shape[1] == 3 else pixels),
            (Op.SHARPNESS, sharpness(pixels, amount.float(), height, width)),
        ):
            pixels = torch.where((code == int(each))[:, None, None], changed, pixels)
    return pixels


def _matrices(
    code: Int64[Tensor, " image"], amount: Float[Tensor, " image"], height: int, width: int
) -> Float[Tensor, "image 6"]:
    """The affine matrix of every operation, output to input; see `ops.rotation`."""
    radians = torch.deg2rad(torch.where(code == int(Op.ROTATE), -amount, 0) % 360.0)
    cosine, sine = (
        torch.round(turned, decimals=15) if amount.dtype == torch.float64 else turned
        for turned in (radians.cos(), radians.sin())
    )
    x, y = width / 2, height / 2
    rows = [cosine, sine, -x * cosine - y * sine + x, -sine, cosine, x * sine - y * cosine + y]
    for each, entry in ENTRIES.items():
        rows[entry] = rows[entry] + torch.where(code == int(each), amount, 0)
    return torch.stack(rows, dim=1)


def prepare(
    images: UInt8[Tensor, "batch height width channel"],
    crop: Int32[Tensor, "batch 3"],
    layout: Layout,
) -> UInt8[Tensor, "batch channel pixel"]:
    """Images mirrored, padded with black, cropped, and made planar."""
    padding, corner, is_flipped = layout.padding, crop[:, :2] + layout.padding, crop[:, 2] != 0
    cropped = CropFlip.apply_torch(images[None], padding=padding, crop=corner, flip=is_flipped)[0]
    return cropped.permute(0, 3, 1, 2).flatten(2).contiguous()


def make_tables(
    family: tuple[Kind, ...],
    pixels: UInt8[Tensor, "chain channel pixel"],
    kind: Int32[Tensor, " chain"],
    value: Int32[Tensor, " chain"],
    numbers: Float[Tensor, "chain 6"],
) -> UInt8[Tensor, "chain channel 256"]:
    """The tables of chains whose step is of a family of tables."""
    num, channels, _ = pixels.shape
    level = torch.arange(256, dtype=torch.int32, device=pixels.device).expand(num, channels, 256)
    factor, bound = numbers[:, 0].float(), value.reshape(-1, 1, 1)
    if Kind.EQUALIZE in family:
        counts = count(pixels)
        table = _where(kind, Kind.EQUALIZE, equalize(counts), stretch(counts, numbers.dtype))
    elif Kind.FLATTEN in family:
        mean = mean_luma(pixels).reshape(-1, 1, 1).expand_as(level)
        table = blend(mean, level, factor)
    else:
        inverted = torch.where(level < bound, level, 255 - level)
        table = _where(kind, Kind.INVERT_FROM, inverted, level & bound)
        table = _where(kind, Kind.DARKEN, blend(torch.zeros_like(level), level, factor), table)
    return table.to(torch.uint8)


def count(pixels: UInt8[Tensor, "chain channel pixel"]) -> Int32[Tensor, "chain channel 256"]:
    """Histogram of every channel."""
    num, channels, _ = pixels.shape
    row = torch.arange(num * channels, device=pixels.device).reshape(num, channels, 1)
    bins = (pixels.long() + 256 * row).flatten()
    counts = torch.zeros(num * channels * 256, dtype=torch.int32, device=pixels.device)
    ones = torch.ones((), dtype=torch.int32, device=pixels.device).expand_as(bins)
    return counts.scatter_add_(0, bins, ones).reshape(num, channels, 256)


def stretch(
    counts: Int32[Tensor, "chain channel 256"], real: torch.dtype
) -> Int32[Tensor, "chain channel 256"]:
    """`ImageOps.autocontrast` without cutoff."""
    level = torch.arange(256, dtype=torch.int32, device=counts.device).expand_as(counts)
    low = torch.where(counts > 0, level, 255).amin(dim=2, keepdim=True)
    high = torch.where(counts > 0, level, 0).amax(dim=2, keepdim=True)
    # a number divided by a tensor would be the tensor's reciprocal times the number
    scale = torch.full_like(low, 255, dtype=real) / (high - low).clamp(min=1)
    value = (level.to(real) * scale + -low.to(real) * scale).to(torch.int32).clamp(0, 255)
    return torch.where(high > low, value, level)


def equalize(counts: Int32[Tensor, "chain channel 256"]) -> Int32[Tensor, "chain channel 256"]:
    """`ImageOps.equalize`; Pillow clips what its table holds above 255."""
    level = torch.arange(256, dtype=torch.int32, device=counts.device).expand_as(counts)
    highest = torch.where(counts > 0, level, 0).amax(dim=2, keepdim=True)
    last = torch.where(level == highest, counts, 0).sum(dim=2, keepdim=True, dtype=torch.int32)
    total = counts.sum(dim=2, keepdim=True, dtype=torch.int32)
    step = _floor_divide(total - last, 255)
    below = counts.cumsum(dim=2, dtype=torch.int32) - counts + _floor_divide(step, 2)
    return torch.where(step > 0, _floor_divide(below, step.clamp(min=1)).clamp(max=255), level)


def mean_luma(pixels: UInt8[Tensor, "chain channel pixel"]) -> Int64[Tensor, " chain"]:
    """The level `ImageEnhance.Contrast` blends with: the rounded mean of the L conversion."""
    total = _luma(pixels).sum(dim=(1, 2), dtype=torch.int64)
    size = pixels.shape[2]
    return _floor_divide(2 * total + size, 2 * size)


def blend(
    first: Int[Tensor, "chain *rest"],
    second: Int[Tensor, "chain *rest"],
    factor: Float[Tensor, " chain"],
) -> Int32[Tensor, "chain *rest"]:
    """`Image.blend`, which computes in float32 and truncates."""
    factor = factor.reshape(-1, *[1] * (second.ndim - 1))
    start = first.float()
    value = start + factor * (second.float() - start)
    return value.clamp(0, 255).to(torch.int32)


def look_up(
    pixels: UInt8[Tensor, "chain channel pixel"], table: UInt8[Tensor, "chain channel 256"]
) -> UInt8[Tensor, "chain channel pixel"]:
    """Every pixel's new level."""
    return table.gather(2, pixels.long())


def warp(
    pixels: UInt8[Tensor, "chain channel pixel"],
    matrix: Float[Tensor, "chain 6"],
    height: int,
    width: int,
) -> UInt8[Tensor, "chain channel pixel"]:
    """`Image.transform` by an affine matrix, bilinear, black outside.

    For the output pixel (x, y) Pillow computes ``u = a * (x + .5) + b * (y + .5) + c`` (and v from
    d, e, f), gives black outside [0, width) x [0, height), and otherwise blends the four pixels
    around (u - .5, v - .5), clamped at the border, along the row first, and truncates.
    """
    real = matrix.dtype
    x = torch.arange(width, dtype=real, device=pixels.device) + 0.5
    y = (torch.arange(height, dtype=real, device=pixels.device) + 0.5)[:, None]
    a, b, c, d, e, f = matrix.reshape(-1, 6, 1, 1).unbind(1)
    u, v = (a * x + b * y) + c, (d * x + e * y) + f  # chain height width
    inside = ((u >= 0) & (u < width) & (v >= 0) & (v < height)).flatten(1)[:, None]
    dx, left, right = _neighbours(u, width)
    dy, upper, lower = _neighbours(v, height)

    def level(row: Tensor, column: Tensor) -> Tensor:
        position = (row * width + column).flatten(1)[:, None].expand_as(pixels)
        return pixels.gather(2, position).to(real)

    top, bottom = level(upper, left), level(lower, left)
    top = top + (level(upper, right) - top) * dx
    bottom = bottom + (level(lower, right) - bottom) * dx
    value = top + (bottom - top) * dy
    return torch.where(inside, value, 0).to(torch.uint8)


def color(
    pixels: UInt8[Tensor, "chain 3 pixel"], factor: Float[Tensor, " chain"]
) -> UInt8[Tensor, "chain 3 pixel"]:
    """`ImageEnhance.Color`: a blend with the luma."""
    luma = _luma(pixels).expand(-1, 3, -1)
    return blend(luma, pixels.to(torch.int32), factor).to(torch.uint8)


def sharpness(
    pixels: UInt8[Tensor, "chain channel pixel"],
    factor: Float[Tensor, " chain"],
    height: int,
    width: int,
) -> UInt8[Tensor, "chain channel pixel"]:
    """`ImageEnhance.Sharpness`: a blend with `ImageFilter.SMOOTH`, borders as they are.

    The filter is (1 1 1; 1 5 1; 1 1 1) / 13, rounded; a sum over 13 is never half way between two
    levels.
    """
    if height < 3 or width < 3:
        return pixels
    image = pixels.unflatten(2, (height, width)).to(torch.int32)
    rows = image[:, :, :-2] + image[:, :, 1:-1] + image[:, :, 2:]
    inner = image[:, :, 1:-1, 1:-1]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner
    sharp = blend(_floor_divide(2 * total + 13, 26), inner, factor)
    return torch.cat(
        [
            image[:, :, :1],
            torch.cat([image[:, :, 1:-1, :1], sharp, image[:, :, 1:-1, -1:]], dim=3),
            image[:, :, -1:],
        ],
        dim=2,
    ).flatten(2).to(torch.uint8)  # fmt: skip


def mix(
    clean: UInt8[Tensor, "batch channel pixel"],
    pixels: UInt8[Tensor, "chain channel pixel"],
    weight: Float[Tensor, " chain"],
    clean_weight: Float[Tensor, " pair"],
    layout: Layout,
) -> Float[Tensor, "view batch channel height width"]:
    """(1 - mix) * clean + sum of weight * chain, / 255, in float32 and in this order."""
    shape = (layout.batch, layout.views, layout.chains)
    weights = weight.reshape(*shape, 1, 1)
    total = clean_weight.reshape(*shape[:2], 1, 1) * clean[:, None].float()
    for chain in range(layout.chains):
        total = total + weights[:, :, chain] * pixels.unflatten(0, shape)[:, :, chain].float()
    largest = total.new_full((), 255)  # by a number, a GPU would multiply with its reciprocal
    views = (total / largest).clamp(max=1)  # batch view channel pixel
    return views.unflatten(3, (layout.height, layout.width)).transpose(0, 1)


def _work(
    family: tuple[Kind, ...],
    pixels: UInt8[Tensor, "chain channel pixel"],
    rows: Int64[Tensor, " row"],
    step: int,
    arrays: Arrays,
    layout: Layout,
) -> UInt8[Tensor, "row channel pixel"]:
    """One step of the chains that a family takes."""
    near = rows.clamp(max=layout.num_chains - 1)
    numbers, chosen = arrays.numbers[near, step], pixels[rows]
    if Kind.AFFINE in family:
        return warp(chosen, numbers, layout.height, layout.width)
    if Kind.COLOR in family:
        return color(chosen, numbers[:, 0].float())
    if Kind.SHARPNESS in family:
        return sharpness(chosen, numbers[:, 0].float(), layout.height, layout.width)
    kind, value = arrays.kind[near, step], arrays.value[near, step]
    return look_up(chosen, make_tables(family, chosen, kind, value, numbers))


def _neighbours(
    position: Float[Tensor, "chain height width"], size: int
) -> tuple[
    Float[Tensor, "chain 1 pixel"],
    Int64[Tensor, "chain height width"],
    Int64[Tensor, "chain height width"],
]:
    """Where between two pixels a sampling position lies, and which they are."""
    position = position.clamp(0, size) - 0.5  # what lies outside is black whatever it is
    first = position.floor()
    index = first.long()
    fraction = (position - first).flatten(1)[:, None]
    return fraction, index.clamp(0, size - 1), (index + 1).clamp(0, size - 1)


def _luma(pixels: UInt8[Tensor, "chain channel pixel"]) -> Int32[Tensor, "chain 1 pixel"]:
    """The L conversion of RGB; a grey image is its own."""
    levels = pixels.to(torch.int32)
    if pixels.shape[1] == 1:
        return levels
    red, green, blue = levels[:, :1], levels[:, 1:2], levels[:, 2:]
    return (red * RED + green * GREEN + blue * BLUE + HALF) >> 16


def _where(kind: Tensor, wanted: Kind, chosen: Tensor, other: Tensor) -> Tensor:
    """``chosen`` in the chains whose step is of the wanted kind."""
    return torch.where((kind == int(wanted)).reshape(-1, 1, 1), chosen, other)


def _floor_divide(numbers: Tensor, by: Tensor | int) -> Tensor:
    return torch.div(numbers, by, rounding_mode="floor")

"""The CPU executor: whole batches by numba kernels, equal to the definition bit for bit.

An image is flipped, cropped and made planar once for all its views. Along a chain, look-up tables
are composed without touching a pixel (`tables`) until an operation needs the pixels (`warps` and
`rotations`); tables left at the end of a chain are applied while mixing (`mixing`). Threads are
Python's: the kernels hold no GIL, and every thread takes ranges of the (image, view) pairs. A stage
without a kernel is applied by its NumPy definition.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float64, Int8

from augmix.arrays import Images, Views, check_images
from augmix.augment.bank import pictures_of
from augmix.augment.compiled import mixing, rotations, tables, warps
from augmix.augment.compiled.primitives import finish_primitives
from augmix.augment.compiled.tables import look_up
from augmix.augment.ops import Op, quarter_turns, rotation
from augmix.augment.plan import Plan, check_plan, split
from augmix.augment.policies.prime import Primitives
from augmix.augment.stages import Pictures
from augmix.augment.stages.chains import Chains, CropFlip
from augmix.jit import borrowed, inner, outer, run_on_threads, source_stamp

_NONE, _AUTOCONTRAST, _EQUALIZE = int(Op.NONE), int(Op.AUTOCONTRAST), int(Op.EQUALIZE)
_POSTERIZE, _ROTATE, _SOLARIZE = int(Op.POSTERIZE), int(Op.ROTATE), int(Op.SOLARIZE)
_SHEAR_X, _SHEAR_Y = int(Op.SHEAR_X), int(Op.SHEAR_Y)
_TRANSLATE_X, _TRANSLATE_Y = int(Op.TRANSLATE_X), int(Op.TRANSLATE_Y)
_COLOR, _CONTRAST = int(Op.COLOR), int(Op.CONTRAST)
_BRIGHTNESS, _SHARPNESS = int(Op.BRIGHTNESS), int(Op.SHARPNESS)


_FINISHES: dict[type, Callable[[Any, Views, int], Views]] = {
    **mixing.FINISHES,
    Primitives: finish_primitives,
}


def render(
    images: Images, plan: Plan, *, num_threads: int = 1, pictures: Pictures | None = None
) -> Views:
    """Carry out a plan on CPU threads; the result does not depend on their number.

    See `augmix.render`. Images may have any strides; the views are the same bits as those of the
    executor ``pillow``.

    Raises:
        TypeError: If the images are not a uint8 NumPy array.
        ValueError: If shapes do not fit, an amount is impossible, or there is no thread.
    """
    check_images(images)
    if pictures is None:
        pictures = pictures_of(plan, images.shape[3])
    check_plan(plan, images.shape, pictures)
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}")
    parts = split(plan)
    pixels: Any = images[None]
    for stage in parts.before:
        pixels = stage.apply(pixels, pictures)
    if parts.chains is not None:
        folded = pixels.reshape(-1, *images.shape[1:])  # one batch of all views, if they differ
        arrays = _arrays(parts.crop, parts.chains, plan.size)
        views = _mix_chains(folded, arrays, num_threads)
        by_view = views.reshape(len(views), parts.num_folded, len(images), *views.shape[2:])
        num_views = len(views) * parts.num_folded
        pixels = by_view.swapaxes(0, 1).reshape(num_views, *by_view.shape[2:])
    for stage in parts.after:
        if type(stage) in _FINISHES:
            pixels = np.require(pixels, np.float32, ["C", "W"])
            pixels = _FINISHES[type(stage)](stage, pixels, num_threads)
        else:
            pixels = stage.apply(pixels, pictures)
    return pixels


class OneByOne:
    """The images of a plan rendered one at a time, in any order, with little work for each.

    Args:
        plan: Of as many images as there will be; stages behind or before crop and chains are
            carried out by `render`.
    """

    def __init__(self, plan: Plan) -> None:
        parts = split(plan)
        self.plan = plan
        self.arrays: tuple[Any, ...] = ()
        if parts.chains is not None and not parts.before and not parts.after:
            padding, *arrays = _arrays(parts.crop, parts.chains, plan.size)
            crop, flip, op, amount, matrices, weights, mix = arrays
            rows = (crop[:, None], flip[:, None], *(_rows(x) for x in (op, amount, weights, mix)))
            self.arrays = (padding, matrices, rows)

    def render(self, images: Images, row: int) -> Views:
        """The views of one image `1 height width channel`, which is one of the plan's."""
        if not self.arrays:
            return render(images, self.plan[row : row + 1])
        padding, matrices, rows = self.arrays
        crop, flip, op, amount, weights, mix = (values[row] for values in rows)
        return _mix_chains(images, (padding, crop, flip, op, amount, matrices, weights, mix), 1)


def _rows(values: np.ndarray) -> np.ndarray:
    """An array `view batch ...` as `batch view 1 ...`, contiguous."""
    return np.ascontiguousarray(values.swapaxes(0, 1))[:, :, None]


def _mix_chains(images: Images, arrays: tuple[Any, ...], num_threads: int) -> Views:
    """Crop images and mix their chains, by one kernel."""
    batch, height, width, channels = images.shape
    num_views = len(arrays[-1])
    views = _empty_views((num_views, batch, channels, height, width))
    pixels = np.ascontiguousarray(images).view()
    pixels.flags.writeable = False  # one type for the kernel, whoever owns the images
    is_streamed = views.nbytes >= _LARGE and height * width % 16 == 0
    is_streamed = is_streamed and views.ctypes.data % 64 == 0
    arguments = (pixels, *arrays, is_streamed, views)
    run_on_threads(_render_pairs, arguments, batch * num_views, num_threads)
    return views


_LARGE = 2**22  # bytes from which NumPy asks the system for memory, which zeroes it
_unused: deque[np.ndarray] = deque(maxlen=2)


def _empty_aligned(size: int) -> np.ndarray:
    """Float32 memory that begins with a cache line."""
    block = np.empty(size + 15, np.float32)
    first = -block.ctypes.data % 64 // 4
    return block[first : first + size]


class _Loan:
    """Memory of large views, which is used again when the last array on it is gone."""

    def __init__(self, size: int) -> None:
        try:
            block = _unused.pop()
        except IndexError:
            block = _empty_aligned(size)
        self.block = block if block.size == size else _empty_aligned(size)
        self.__array_interface__ = self.block.__array_interface__

    def __del__(self) -> None:
        _unused.append(self.block)


def _empty_views(shape: tuple[int, ...]) -> Views:
    """Space for views; a fresh batch of large ones would cost a sixth of their rendering."""
    size = math.prod(shape)
    if 4 * size < _LARGE:
        return np.empty(shape, np.float32)
    return np.asarray(_Loan(size)).reshape(shape)


def _arrays(crop: CropFlip | None, chains: Chains, size: tuple[int, int]) -> tuple[Any, ...]:
    """What the kernel reads of a crop and chains."""
    batch = chains.mix.shape[1]
    return (
        crop.padding if crop else 0,
        np.array(crop.crop, np.int64, order="C") if crop else np.zeros((batch, 2), np.int64),
        np.array(crop.flip, np.bool_, order="C") if crop else np.zeros(batch, np.bool_),
        *_resolve(chains, size),
        np.array(chains.mix[..., None] * chains.weight, np.float32, order="C"),
        np.array(chains.mix, np.float32, order="C"),
    )


def _resolve(
    chains: Chains, size: tuple[int, int]
) -> tuple[
    Int8[np.ndarray, "view batch chain depth"],
    Float64[np.ndarray, "view batch chain depth"],
    Float64[np.ndarray, "angle 7"],
]:
    """Operations and amounts for the kernel.

    A rotation's amount is the row of its matrix: the number of exact quarter turns, or -1, and the
    affine matrix. Invert is solarize from 0 on.
    """
    chains.check_amounts("compiled")
    amount = np.array(chains.amount, np.float64, order="C")
    op = np.array(chains.op, np.int8, order="C")
    amount[op == Op.INVERT] = 0
    op[op == Op.INVERT] = Op.SOLARIZE
    rotated = op == Op.ROTATE
    angles, row = np.unique(amount[rotated], return_inverse=True)
    amount[rotated] = row
    matrices = np.empty((len(angles), 7))
    for index, angle in enumerate(angles):
        turn = (float(angle), size[0], size[1])
        matrices[index] = (quarter_turns(*turn), *rotation(*turn))
    return op, amount, matrices


@inner
@no_type_check
def _make_table(kind, amount, pixels, lut, is_plain, counts, is_counted, table, behind):
    """Follow the tables of a chain by one more operation that is a table.

    ``lut`` has the tables so far, uint8 `channel 256`, which change nothing if ``is_plain``; they
    are changed. ``pixels`` are those before the tables, `channel pixel`; ``counts``, int32 `channel
    256`, is their histogram, filled when it is first needed. ``table`` and ``behind`` are scratch.
    """
    needs_counts = kind == _EQUALIZE or (kind == _AUTOCONTRAST and not is_plain)
    if needs_counts and not is_counted[0]:
        for channel in range(pixels.shape[0]):
            tables.count(pixels[channel], counts[channel])
        is_counted[0] = True
    mean = tables.mean_luma(pixels, lut) if kind == _CONTRAST else 0
    for channel in range(pixels.shape[0]):
        new, before = (lut[channel], counts[channel]) if is_plain else (table, behind)
        if is_counted[0] and not is_plain and kind in (_AUTOCONTRAST, _EQUALIZE):
            tables.count_behind(counts[channel], lut[channel], behind)
        if kind == _AUTOCONTRAST and not is_counted[0]:
            tables.autocontrast_of(pixels[channel], new)
        elif kind == _AUTOCONTRAST:
            tables.autocontrast(before, new)
        elif kind == _EQUALIZE:
            tables.equalize(before, new)
        elif kind == _POSTERIZE:
            tables.posterize(int(amount), new)
        elif kind == _SOLARIZE:
            tables.solarize(np.trunc(amount), new)
        else:  # contrast, or brightness with a mean of 0
            tables.enhance(mean, np.float32(amount), new)
        if not is_plain:
            look_up(lut[channel], table, lut[channel])


@inner
@no_type_check
def _move(kind, amount, matrices, source, height, width, scratch, result):
    """Carry out an operation that is not a table."""
    is_whole = amount == np.floor(amount) and abs(amount) <= max(height, width)
    if kind == _ROTATE:
        matrix = matrices[int(amount)]
        if matrix[0] < 0:
            rotations.affine(source, height, width, matrix[1:], scratch, result)
        else:
            rotations.turn(source, height, width, int(matrix[0]), result)
    elif is_whole and kind == _TRANSLATE_X:
        warps.move_whole(source, height, width, int(amount), 0, result)
    elif is_whole and kind == _TRANSLATE_Y:
        warps.move_whole(source, height, width, 0, int(amount), result)
    elif kind in (_SHEAR_X, _TRANSLATE_X):
        shear, offset = (amount, 0.0) if kind == _SHEAR_X else (0.0, amount)
        warps.move_along_rows(source, height, width, shear, offset, scratch, result)
    elif kind in (_SHEAR_Y, _TRANSLATE_Y):
        shear, offset = (amount, 0.0) if kind == _SHEAR_Y else (0.0, amount)
        warps.move_along_columns(source, height, width, shear, offset, scratch, result)
    elif kind == _COLOR:
        tables.color(source, np.float32(amount), result)
    else:
        for channel in range(source.shape[0]):
            tables.sharpness(source[channel], height, width, np.float32(amount), result[channel])


@inner
@no_type_check
def _changes_nothing(kind, amount, matrices, channels):
    """Whether an operation returns the image as it is, whatever the image."""
    if kind == _NONE or (kind == _COLOR and channels == 1):
        return True
    if _SHEAR_X <= kind <= _TRANSLATE_Y:
        return amount == 0
    if kind == _ROTATE:
        return matrices[int(amount), 0] == 0
    if kind >= _COLOR:
        return np.float32(amount) == 1
    return kind == _POSTERIZE and int(amount) == 8


@inner
@no_type_check
def _render_range(
    images, padding, crop, flip, op, amount, matrices, weights, mix, is_streamed, out, start, stop,
    space, slots, luts, are_plain, counts, is_counted, table, behind, scratch,
):  # fmt: skip
    """The work of the kernel that Python calls, in space that it owns."""
    images, out, space, luts = borrowed(images), borrowed(out), borrowed(space), borrowed(luts)
    crop, flip, op, amount = borrowed(crop), borrowed(flip), borrowed(op), borrowed(amount)
    matrices, weights, mix = borrowed(matrices), borrowed(weights), borrowed(mix)
    slots, are_plain, is_counted = borrowed(slots), borrowed(are_plain), borrowed(is_counted)
    counts, table, behind = borrowed(counts), borrowed(table), borrowed(behind)
    scratch = warps.borrow(scratch)
    _, height, width, channels = images.shape
    views, _, chains, depth = op.shape
    pixels = height * width
    stack = space[: -mixing.FREE].reshape(chains + 2, channels, pixels)
    last = -1
    for pair in range(start, stop):
        image, view = pair // views, pair % views
        if image != last:
            mixing.load(images[image], padding, crop[image], flip[image], stack[0])
            is_counted[0], last = False, image
        spare, unused = 1, 2  # slots of the stack that hold nothing
        for chain in range(chains):
            slot, plain = 0, True
            lut = luts[chain]
            for channel in range(channels):
                tables.reset(lut[channel])
            for step in range(depth):
                kind, by = op[view, image, chain, step], amount[view, image, chain, step]
                if weights[view, image, chain] == 0:  # 0 times any chain adds nothing
                    continue
                if _changes_nothing(kind, by, matrices, channels):
                    continue
                if _is_table(kind):
                    which = 0 if slot == 0 else 1
                    _make_table(
                        kind, by, stack[slot], lut, plain, counts[which],
                        is_counted[which : which + 1], table, behind,
                    )  # fmt: skip
                    plain = False
                    continue
                if not plain:
                    target = spare if slot == 0 else slot
                    for channel in range(channels):
                        look_up(stack[slot, channel], lut[channel], stack[target, channel])
                        tables.reset(lut[channel])
                    if slot == 0:
                        slot, spare, unused = spare, unused, unused + 1
                    plain = True
                _move(kind, by, matrices, stack[slot], height, width, scratch, stack[spare])
                if slot == 0:
                    slot, spare, unused = spare, unused, unused + 1
                else:
                    slot, spare = spare, slot
                is_counted[1] = False
            slots[chain], are_plain[chain] = slot, plain
        mixing.mix(
            space, slots, pixels, luts, are_plain, weights[view, image], mix[view, image],
            is_streamed, out[view, image].reshape(channels, pixels),
        )  # fmt: skip


def _build(stamp: int) -> Any:
    """The kernel that Python calls, for this state of the sources of its parts."""

    @outer
    @no_type_check
    def render_pairs(
        images, padding, crop, flip, op, amount, matrices, weights, mix, is_streamed, out,
        start, stop,
    ):  # fmt: skip
        """Render the pairs (image, view) start..stop, counted view by view within an image."""
        _, height, width, channels = images.shape
        chains = op.shape[2]
        size = (chains + 2) * channels * height * width + mixing.FREE
        space = np.empty(size if stamp >= 0 else 0, np.uint8)
        counts = np.empty((2, channels, 256), np.int32)  # of the clean image, of the chain's pixels
        _render_range(
            images, padding, crop, flip, op, amount, matrices, weights, mix, is_streamed, out,
            start, stop, space, np.zeros(chains, np.int64),
            np.empty((chains, channels, 256), np.uint8),
            np.ones(chains, np.bool_), counts, np.zeros(2, np.bool_), np.empty(256, np.uint8),
            np.empty(256, np.int32), warps.make_scratch(height, width),
        )  # fmt: skip

    return render_pairs


@inner
@no_type_check
def _is_table(kind):
    if kind in (_AUTOCONTRAST, _EQUALIZE, _CONTRAST):  # short tuples: numba compares one by one
        return True
    return kind in (_POSTERIZE, _SOLARIZE, _BRIGHTNESS)


_render_pairs = _build(source_stamp(mixing, rotations, tables, warps))

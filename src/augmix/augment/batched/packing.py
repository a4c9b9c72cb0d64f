"""A plan as a device takes it: one buffer of bytes, sent in a single copy.

Whatever moves pixels is an affine matrix, exact quarter turns and whole-pixel translations
included, since Pillow's bilinear sampling is a copy there. What changes nothing is dropped and the
rest of a chain moves up, so that a chain is a sequence of rounds: tables, then one operation that
needs the pixels, tables again, and so on. The arrays of the other stages are packed as they are.

No shape on the device depends on a value of the buffer, so no step waits for the host.
"""

import math
from enum import IntEnum, unique
from functools import lru_cache
from typing import Any, NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8

from augmix.augment.ops import Op, rotation
from augmix.augment.plan import Plan, split
from augmix.augment.stages import Stage, fields_of, torch_dtype
from augmix.augment.stages.chains import Chains
from augmix.jit import call, inner, outer


@unique
class Kind(IntEnum):
    """What a step is on the device; tables come first, in the order of `TABLES`."""

    NOTHING = 0
    STRETCH = 1  # autocontrast
    EQUALIZE = 2
    MASK = 3  # posterize: value is the mask of the bits kept
    INVERT_FROM = 4  # solarize: value is the threshold; invert is the threshold 0
    DARKEN = 5  # brightness: a blend with black, by the factor numbers[0]
    FLATTEN = 6  # contrast: a blend with the mean luma
    AFFINE = 7  # rotate, shear, translate: numbers are the matrix from output to input
    COLOR = 8
    SHARPNESS = 9


LAST_TABLE = int(Kind.FLATTEN)
NUM_NUMBERS = 6

FAMILIES: tuple[tuple[Kind, ...], ...] = (  # what shares its work, in the order it is done
    (Kind.STRETCH, Kind.EQUALIZE),
    (Kind.MASK, Kind.INVERT_FROM, Kind.DARKEN),
    (Kind.FLATTEN,),
    (Kind.AFFINE,),
    (Kind.COLOR,),
    (Kind.SHARPNESS,),
)


class Steps(NamedTuple):
    """The steps of all chains, counted image by image, view by view.

    Round r of a chain is steps ``start[r] .. start[r + 1]``; all but its last round end in an
    operation that needs the pixels.
    """

    kind: Int32[np.ndarray, "num depth"]  # a chain shorter than the depth ends in `Kind.NOTHING`
    value: Int32[np.ndarray, "num depth"]  # mask or threshold
    numbers: Float64[np.ndarray, "num depth 6"]  # the affine matrix; a blend's factor comes first
    start: Int32[np.ndarray, "num round"]
    moves: Int32[np.ndarray, " num"]  # operations of a chain that need the pixels


def encode(chains: Chains, channels: int, size: tuple[int, int]) -> Steps:
    """The steps of chains for images of some channels and size.

    Raises:
        ValueError: If an amount or an operation is impossible.
    """
    chains.check_amounts("batched")
    depth = chains.op.shape[3]
    op = chains.op.swapaxes(0, 1).reshape(-1, depth)
    amount = chains.amount.swapaxes(0, 1).reshape(-1, depth)
    weight = (chains.mix[..., None] * chains.weight).swapaxes(0, 1).reshape(-1)
    num = len(op)
    steps = Steps(
        kind=np.zeros((num, depth), np.int32),
        value=np.zeros((num, depth), np.int32),
        numbers=np.empty((num, depth, NUM_NUMBERS)),
        start=np.zeros((num, depth + 2), np.int32),
        moves=np.zeros(num, np.int32),
    )
    angles = np.zeros((num, depth))
    call(_encode, op, amount, weight, channels, _TABLES, *steps, angles)
    rows, columns = np.nonzero(angles)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        steps.numbers[row, column] = _rotation(float(angles[row, column]), *size)
    return steps


_rotation = lru_cache(4096)(rotation)

KINDS = {
    Op.NONE: Kind.NOTHING,
    Op.AUTOCONTRAST: Kind.STRETCH,
    Op.EQUALIZE: Kind.EQUALIZE,
    Op.POSTERIZE: Kind.MASK,
    Op.SOLARIZE: Kind.INVERT_FROM,
    Op.INVERT: Kind.INVERT_FROM,
    Op.BRIGHTNESS: Kind.DARKEN,
    Op.CONTRAST: Kind.FLATTEN,
    Op.ROTATE: Kind.AFFINE,
    Op.SHEAR_X: Kind.AFFINE,
    Op.SHEAR_Y: Kind.AFFINE,
    Op.TRANSLATE_X: Kind.AFFINE,
    Op.TRANSLATE_Y: Kind.AFFINE,
    Op.COLOR: Kind.COLOR,
    Op.SHARPNESS: Kind.SHARPNESS,
}
ENTRIES = {Op.SHEAR_X: 1, Op.SHEAR_Y: 3, Op.TRANSLATE_X: 2, Op.TRANSLATE_Y: 5}  # of the matrix
_IS_BLEND = np.isin(list(Op), [Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS])
_TABLES = np.array([[KINDS[op], ENTRIES.get(op, -1), _IS_BLEND[op]] for op in Op], np.int64)
_NOTHING, _AFFINE = int(Kind.NOTHING), int(Kind.AFFINE)
_ROTATE, _POSTERIZE, _COLOR = int(Op.ROTATE), int(Op.POSTERIZE), int(Op.COLOR)
_SOLARIZE = int(Op.SOLARIZE)


@outer
@no_type_check
def _encode(op, amount, weight, channels, tables, kind, value, numbers, start, moves, angles):
    """Fill `Steps` row by row, and the angles of rotations, whose matrices are made by Python."""
    for row in range(len(op)):
        count = 0
        for step in range(op.shape[1]):
            code, number = op[row, step], amount[row, step]
            what, entry, is_blend = tables[code]
            numbers[row, step] = 0.0
            numbers[row, step, 0] = numbers[row, step, 4] = 1.0
            if weight[row] == 0 or _changes_nothing(code, number, what, is_blend, channels):
                continue
            kind[row, count] = what
            if code == _POSTERIZE:
                value[row, count] = 256 - (1 << (8 - int(number)))
            elif code == _SOLARIZE:
                value[row, count] = min(max(np.trunc(number), 0.0), 256.0)
            elif code == _ROTATE:
                angles[row, count] = number
            elif is_blend:
                numbers[row, count, 0] = np.float32(number)
            elif entry >= 0:
                numbers[row, count, entry] = number
            count += 1
            if what > LAST_TABLE:
                moves[row] += 1
                start[row, moves[row]] = count
        start[row, moves[row] + 1 :] = count


@inner
@no_type_check
def _changes_nothing(code, amount, what, is_blend, channels):
    """Whether a step returns the image as it is."""
    return (
        what == _NOTHING
        or (what == _AFFINE and amount == 0)
        or (code == _ROTATE and amount % 360 == 0)
        or (is_blend and np.float32(amount) == 1)
        or (code == _POSTERIZE and np.trunc(amount) == 8)
        or (code == _COLOR and channels == 1)
    )


MAX_PIXELS = 2**31 // 4  # of an image; positions are 32-bit integers
_ALIGNMENT = 64  # bytes

_FAMILY_OF = np.full(len(Kind), -1, np.int8)
for _number, _family in enumerate(FAMILIES):
    _FAMILY_OF[list(_family)] = _number


class StageForm(NamedTuple):
    """What a stage's torch form needs besides the values of its arrays."""

    kind: type[Stage]
    arrays: tuple[tuple[str, str, tuple[int, ...]], ...]  # name, type and shape
    settings: tuple[tuple[str, Any], ...]  # name and value


class Layout(NamedTuple):
    """All that decides about shapes.

    A step compiled or captured for one layout serves every plan that was packed for it.
    """

    batch: int
    views: int
    chains: int
    depth: int
    channels: int
    height: int
    width: int
    padding: int  # black border before the crop, px
    capacity: tuple[tuple[int, ...], ...] = ()  # chains of each family that may take a step
    before: tuple[StageForm, ...] = ()  # the stages before the crop and chains
    after: tuple[StageForm, ...] = ()  # the stages on finished views
    num_folded: int = 1  # views that count as images of their own, batch included; see `plan.Parts`
    has_chains: bool = True  # whether chains make the views, not the last stage of ``before``

    @property
    def num_chains(self) -> int:
        """Chains of the whole batch, counted image by image, view by view."""
        return self.batch * self.views * self.chains

    @property
    def num_pixels(self) -> int:
        return self.height * self.width

    def with_full_capacity(self) -> "Layout":
        """The layout that has capacity for any plan of this shape."""
        every = (self.num_chains,) * len(FAMILIES)
        return self._replace(capacity=(every,) * self.depth)


class Section(NamedTuple):
    """An array inside the buffer."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Packed(NamedTuple):
    """A plan on the host, ready to be sent."""

    layout: Layout
    words: UInt8[np.ndarray, " byte"]


def pack(
    plan: Plan,
    channels: int,
    *,
    real: str = "float64",
    layout: Layout | None = None,
    has_rows: bool = True,
) -> Packed:
    """Make the buffer of a plan.

    Args:
        channels: Of the images, 1 or 3.
        real: ``float64``, in which results equal Pillow's; ``float32`` for devices without.
        layout: Pack for this layout; by default for one that just fits.
        has_rows: List the chains of every family, as the backend ``torch`` needs. Without them all
            plans of a shape have one layout.

    Raises:
        ValueError: If an amount or an operation is impossible, the images are too large, or the
            layout is of another shape or has too little capacity.
    """
    height, width = plan.size
    if height * width > MAX_PIXELS:
        raise ValueError(f"images must have at most {MAX_PIXELS} pixels, got {height}x{width}")
    for stage in plan.stages:
        stage.check_channels(channels)
    parts = split(plan)
    chains = parts.chains or Chains.unchanged(1, len(plan))
    views, batch, num_chains, depth = chains.op.shape
    steps = encode(chains, channels, plan.size)
    groups = _groups(steps.kind) if has_rows else []
    padding = parts.crop.padding if parts.crop else 0
    own = Layout(
        *(batch, views, num_chains, depth, channels, height, width, padding),
        capacity=tuple(tuple(map(len, group)) for group in groups),
        before=tuple(_form(stage, real) for stage in parts.before),
        after=tuple(_form(stage, real) for stage in parts.after),
        num_folded=parts.num_folded,
        has_chains=parts.chains is not None,
    )
    layout = own if layout is None else _checked(layout, own)
    crop = np.zeros((batch, 3), np.int32)
    if parts.crop:
        crop = np.column_stack([parts.crop.crop - padding, parts.crop.flip])
    arrays = {
        **steps._asdict(),
        "ids": plan.ids,
        "rows": _fill_rows(groups, layout),
        "crop": crop,
        "weight": (chains.mix[..., None] * chains.weight).swapaxes(0, 1),
        "clean_weight": (np.float32(1) - chains.mix).T,
    }
    for position, stage in enumerate((*parts.before, *parts.after)):
        for field in fields_of(type(stage)):
            arrays[f"{position}.{field.name}"] = getattr(stage, field.name)
    found = sections(layout, real)
    words = np.zeros(max(found[-1].stop, 8), np.uint8)
    for part in found:
        target = words[part.start : part.stop].view(part.dtype)
        if len(target):
            target[...] = arrays[part.name].reshape(-1)
    return Packed(layout, words)


def sections(layout: Layout, real: str = "float64") -> list[Section]:
    """Where the arrays of a buffer lie; those of a stage are named ``POSITION.FIELD``.

    All begin at multiples of 64 bytes, whatever the sizes of those before, since Triton compiles a
    kernel again for arguments of another alignment.
    """
    num, depth = layout.num_chains, layout.depth
    arrays = [
        ("numbers", real, (num, depth, NUM_NUMBERS)),
        ("ids", "int64", (layout.batch // layout.num_folded,)),
        ("rows", "int64", (sum(map(sum, layout.capacity)),)),
        ("kind", "int32", (num, depth)),
        ("value", "int32", (num, depth)),
        ("start", "int32", (num, depth + 2)),
        ("moves", "int32", (num,)),
        ("crop", "int32", (layout.batch, 3)),
        ("weight", "float32", (num,)),
        ("clean_weight", "float32", (layout.batch * layout.views,)),
    ]
    for position, form in enumerate((*layout.before, *layout.after)):
        arrays += [(f"{position}.{name}", dtype, shape) for name, dtype, shape in form.arrays]
    found, start = [], 0
    for name, dtype, shape in arrays:
        stop = start + math.prod(shape) * np.dtype(dtype).itemsize
        found.append(Section(name, dtype, shape, start, stop))
        start = -(-stop // _ALIGNMENT) * _ALIGNMENT
    return found


def _form(stage: Stage, real: str) -> StageForm:
    arrays, settings = [], []
    for field in fields_of(type(stage)):
        value = getattr(stage, field.name)
        if field.axes is None:
            settings.append((field.name, value))
        else:
            arrays.append((field.name, torch_dtype(value.dtype, real), value.shape))
    return StageForm(type(stage), tuple(arrays), tuple(settings))


def _groups(kind: Int32[np.ndarray, "num depth"]) -> list[list[np.ndarray]]:
    """For every step and family, the chains whose step is of it."""
    family = _FAMILY_OF[kind]
    order = np.argsort(family, axis=0, kind="stable")
    groups = []
    for column, chains in zip(family.T, order.T, strict=True):
        counts = np.bincount(column + 1, minlength=len(FAMILIES) + 1)  # -1 is no family
        groups.append(np.split(chains, np.cumsum(counts)[:-1])[1:])
    return groups


def _fill_rows(groups: list[list[np.ndarray]], layout: Layout) -> Int64[np.ndarray, " row"]:
    """The groups one after another, each filled up to its capacity.

    What fills up is the row behind the last chain, which nothing reads.
    """
    rows = np.full(sum(map(sum, layout.capacity)), layout.num_chains, np.int64)
    start = 0
    for group, capacities in zip(groups, layout.capacity, strict=True):
        for chosen, capacity in zip(group, capacities, strict=True):
            rows[start : start + len(chosen)] = chosen
            start += capacity
    return rows


def _checked(layout: Layout, own: Layout) -> Layout:
    """A layout, once it is known to have the shape and the capacity that a plan needs."""
    shape, needed = layout._replace(capacity=()), own._replace(capacity=())
    if shape != needed:
        raise ValueError(f"the layout is for {shape}, the plan needs {needed}")
    pairs = zip(np.ravel(layout.capacity), np.ravel(own.capacity), strict=True)
    if any(capacity < used for capacity, used in pairs):
        raise ValueError(
            f"the layout has too little capacity: it has {layout.capacity}, the plan needs "
            f"{own.capacity}; take its with_full_capacity() form"
        )
    return layout

"""A plan as a device takes it: one buffer of bytes, sent in a single copy.

All that moves pixels is one affine matrix, exact quarter turns and whole-pixel translations
included, since Pillow's bilinear sampling is a copy there. What changes nothing is dropped and the
rest of a chain moves up, so that a chain is a sequence of rounds: tables, then one operation that
needs the pixels, tables again, and so on.

No shape on the device depends on a value of the buffer, so no step waits for the host.
"""

import math
from enum import IntEnum, unique
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int32, Int64, UInt8

from augmix.augment.ops import Op, rotation
from augmix.augment.plan import Plan


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

    Attributes:
        kind: `Kind` of every step; a chain shorter than the depth ends in `Kind.NOTHING`.
        value: Mask or threshold.
        numbers: The affine matrix; of a blend, the factor comes first.
        start: Round r of a chain is steps ``start[r] .. start[r + 1]``; all but its last round end
            in an operation that needs the pixels.
        moves: How many operations of a chain need the pixels.
    """

    kind: Int32[np.ndarray, "num depth"]
    value: Int32[np.ndarray, "num depth"]
    numbers: Float64[np.ndarray, "num depth 6"]
    start: Int32[np.ndarray, "num round"]
    moves: Int32[np.ndarray, " num"]


def encode(plan: Plan, channels: int) -> Steps:
    """The steps of a plan for images of some channels.

    Raises:
        ValueError: If an amount or an operation is impossible.
    """
    check_amounts(plan)
    op, amount = _without_gaps(plan, channels)
    kind = _KIND_OF[op]
    value = np.zeros(op.shape, np.int32)
    masked = op == Op.POSTERIZE
    value[masked] = 256 - (1 << (8 - np.trunc(amount[masked]).astype(np.int32)))
    solarized = op == Op.SOLARIZE
    value[solarized] = np.clip(np.trunc(amount[solarized]), 0, 256)
    return Steps(kind, value, _numbers(op, amount, plan.size), *_rounds(kind))


def check_amounts(plan: Plan) -> None:
    """Refuse operations and amounts that no executor can carry out.

    Raises:
        ValueError: If there is one.
    """
    if not np.isfinite(plan.amount).all():
        raise ValueError("amounts of a plan must be finite, got nan or infinity")
    first, last = int(min(Op)), int(max(Op))
    if plan.op.size and (plan.op.min() < first or plan.op.max() > last):
        raise ValueError(
            f"operations of a plan must be {first}..{last}, got {plan.op.min()}..{plan.op.max()}"
        )
    bits = np.trunc(plan.amount[plan.op == Op.POSTERIZE])
    if bits.size and (bits.min() < 1 or bits.max() > 8):
        raise ValueError(f"posterize must keep 1..8 bits, got {bits.min():g}..{bits.max():g}")


_KINDS = {
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
_KIND_OF = np.array([_KINDS[op] for op in Op], np.int32)
_ENTRY = {Op.SHEAR_X: 1, Op.SHEAR_Y: 3, Op.TRANSLATE_X: 2, Op.TRANSLATE_Y: 5}  # of the matrix
_IS_BLEND = np.isin(list(Op), [Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS])
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _without_gaps(
    plan: Plan, channels: int
) -> tuple[Int8[np.ndarray, "num depth"], Float64[np.ndarray, "num depth"]]:
    """Operations and amounts, those that change nothing dropped, whatever the image."""
    depth = plan.op.shape[3]
    op = plan.op.swapaxes(0, 1).reshape(-1, depth)
    amount = plan.amount.swapaxes(0, 1).reshape(-1, depth)
    share = (plan.mix[..., None] * plan.weight).swapaxes(0, 1).reshape(-1, 1)
    dropped = _changes_nothing(op, amount, channels) | (share == 0)  # 0 times anything is nothing
    op = np.where(dropped, np.int8(Op.NONE), op)
    order = np.argsort(op == Op.NONE, axis=1, kind="stable")
    return np.take_along_axis(op, order, axis=1), np.take_along_axis(amount, order, axis=1)


def _changes_nothing(
    op: Int8[np.ndarray, "num depth"], amount: Float64[np.ndarray, "num depth"], channels: int
) -> Bool[np.ndarray, "num depth"]:
    """Where a step returns the image as it is."""
    nothing = (_KIND_OF[op] == Kind.AFFINE) & (amount == 0)
    nothing |= (op == Op.ROTATE) & (amount % 360 == 0)
    with np.errstate(over="ignore"):
        nothing |= _IS_BLEND[op] & (amount.astype(np.float32) == 1)
    nothing |= (op == Op.POSTERIZE) & (np.trunc(amount) == 8)
    return nothing | ((op == Op.COLOR) & (channels == 1))


def _numbers(
    op: Int8[np.ndarray, "num depth"],
    amount: Float64[np.ndarray, "num depth"],
    size: tuple[int, int],
) -> Float64[np.ndarray, "num depth 6"]:
    """Matrices of what moves pixels, factors of blends."""
    numbers = np.empty((*op.shape, NUM_NUMBERS))
    numbers[...] = _IDENTITY
    for moving, entry in _ENTRY.items():
        np.copyto(numbers[..., entry], amount, where=op == moving)
    turned = op == Op.ROTATE
    angles, row = np.unique(amount[turned], return_inverse=True)
    matrices = np.array([rotation(float(angle), *size) for angle in angles])
    numbers[turned] = matrices.reshape(-1, NUM_NUMBERS)[row]
    blended = _IS_BLEND[op]
    numbers[blended, 0] = amount[blended].astype(np.float32)
    return numbers


def _rounds(
    kind: Int32[np.ndarray, "num depth"],
) -> tuple[Int32[np.ndarray, "num round"], Int32[np.ndarray, " num"]]:
    """Where rounds start, and how many of a chain's operations need the pixels; see `Steps`."""
    num, depth = kind.shape
    is_move = kind > LAST_TABLE
    start = np.empty((num, depth + 2), np.int32)
    start[...] = (kind != Kind.NOTHING).sum(axis=1)[:, None]
    start[:, 0] = 0
    rows, steps = np.nonzero(is_move)
    start[rows, np.cumsum(is_move, axis=1)[rows, steps]] = steps + 1
    return start, is_move.sum(axis=1).astype(np.int32)


MAX_PIXELS = 2**31 // 4  # of an image; positions are 32-bit integers
_ALIGNMENT = 64  # bytes

_FAMILY_OF = np.full(len(Kind), -1)
for _number, _family in enumerate(FAMILIES):
    _FAMILY_OF[list(_family)] = _number


class Layout(NamedTuple):
    """All that decides about shapes; plain integers.

    A step compiled or captured for one layout serves every plan that was packed for it.

    Attributes:
        batch, views, chains, depth: Axes of the plan.
        channels, height, width: Axes of an image.
        padding: Black border before the crop, in pixels.
        rooms: For every step of a chain, how many chains of each family may take it.
        has_noise, has_holes: Whether finished views get noise, and holes.
        pairs: What finished views take from each other: ``blend``, ``cut``, or empty for nothing.
    """

    batch: int
    views: int
    chains: int
    depth: int
    channels: int
    height: int
    width: int
    padding: int
    rooms: tuple[tuple[int, ...], ...] = ()
    has_noise: bool = False
    has_holes: bool = False
    pairs: str = ""

    @property
    def num_chains(self) -> int:
        """Chains of the whole batch, counted image by image, view by view."""
        return self.batch * self.views * self.chains

    @property
    def num_pixels(self) -> int:
        return self.height * self.width

    @property
    def is_finished(self) -> bool:
        """Whether the views are done once the chains are mixed."""
        return not (self.has_noise or self.has_holes or self.pairs)

    def roomy(self) -> "Layout":
        """The layout that has room for any plan of this shape."""
        every = (self.num_chains,) * len(FAMILIES)
        return self._replace(rooms=(every,) * self.depth)


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
    plan: Plan, channels: int, *, real: str = "float64", layout: Layout | None = None
) -> Packed:
    """Make the buffer of a plan.

    Args:
        plan: What is to be done.
        channels: Channels of the images, 1 or 3.
        real: ``float64``, in which results equal Pillow's; ``float32`` for devices without.
        layout: Pack for this layout; by default for one that just fits.

    Raises:
        ValueError: If an amount or an operation is impossible, the images are too large, or the
            layout is of another shape or has too little room.
    """
    height, width = plan.size
    if height * width > MAX_PIXELS:
        raise ValueError(f"images must have at most {MAX_PIXELS} pixels, got {height}x{width}")
    views, batch, chains, depth = plan.op.shape
    steps = encode(plan, channels)
    groups = _groups(steps.kind)
    rooms = tuple(tuple(map(len, group)) for group in groups)
    own = Layout(
        *(batch, views, chains, depth, channels, height, width, plan.crop_padding, rooms),
        has_noise=plan.noise is not None,
        has_holes=plan.hole is not None,
        pairs=("cut" if plan.pairs.is_cut else "blend") if plan.pairs else "",
    )
    layout = own if layout is None else _checked(layout, own)
    arrays = {
        **steps._asdict(),
        "ids": plan.ids,
        "rows": _fill_rows(groups, layout),
        "crop": np.column_stack([plan.crop - plan.crop_padding, plan.flip]),
        "share": (plan.mix[..., None] * plan.weight).swapaxes(0, 1),
        "clean_share": (np.float32(1) - plan.mix).T,
        **_finish(plan, channels),
    }
    parts = sections(layout, real)
    words = np.zeros(max(parts[-1].stop, 8), np.uint8)
    for part in parts:
        place = words[part.start : part.stop].view(part.dtype)
        if len(place):
            place[...] = arrays[part.name].reshape(-1)
    return Packed(layout, words)


def sections(layout: Layout, real: str = "float64") -> list[Section]:
    """Where the arrays of a buffer lie.

    All begin at multiples of 64 bytes, whatever the sizes of those before: Triton compiles a kernel
    anew for arguments of another alignment.
    """
    num, depth = layout.num_chains, layout.depth
    rows = [
        ("numbers", real, (num, depth, NUM_NUMBERS)),
        ("ids", "int64", (layout.batch,)),
        ("rows", "int64", (sum(map(sum, layout.rooms)),)),
        ("kind", "int32", (num, depth)),
        ("value", "int32", (num, depth)),
        ("start", "int32", (num, depth + 2)),
        ("moves", "int32", (num,)),
        ("crop", "int32", (layout.batch, 3)),
        ("share", "float32", (num,)),
        ("clean_share", "float32", (layout.batch * layout.views,)),
        *_finish_rows(layout),
    ]
    found, start = [], 0
    for name, dtype, shape in rows:
        stop = start + math.prod(shape) * np.dtype(dtype).itemsize
        found.append(Section(name, dtype, shape, start, stop))
        start = -(-stop // _ALIGNMENT) * _ALIGNMENT
    return found


def _finish(plan: Plan, channels: int) -> dict[str, np.ndarray]:
    """What is done to finished views, of what the plan has."""
    found: dict[str, np.ndarray] = {}
    if plan.noise:
        seed = plan.noise.seed
        found["noise_key"] = np.array([seed & 0xFFFFFFFF, seed >> 32])
        found["noise_address"] = plan.noise.address
        found["noise_box"] = plan.noise.box
        found["noise_amplitude"] = plan.noise.amplitude
    if plan.hole:
        found["hole_box"] = plan.hole.box
        found["fill"] = plan.hole.levels(channels)
    if plan.pairs:
        found["partner"] = plan.pairs.partner
        found["pair_box"] = plan.pairs.box
        found["pair_share"] = plan.pairs.share
    return found


def _finish_rows(layout: Layout) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, type and shape of the arrays of `_finish`; empty where a layout has none."""
    views = (layout.views, layout.batch) if layout.has_noise else (0, layout.batch)
    holes = (layout.views, layout.batch) if layout.has_holes else (0, layout.batch)
    batch = layout.batch if layout.pairs else 0
    return [
        ("noise_key", "int64", (2 if layout.has_noise else 0,)),
        ("noise_address", "int64", (*views, 3)),
        ("partner", "int64", (batch,)),
        ("noise_box", "int32", (*views, 4)),
        ("hole_box", "int32", (*holes, 4)),
        ("pair_box", "int32", (batch, 4)),
        ("noise_amplitude", "float32", views),
        ("fill", "float32", (layout.channels if layout.has_holes else 0,)),
        ("pair_share", "float32", (batch,)),
    ]


def _groups(kind: Int32[np.ndarray, "num depth"]) -> list[list[np.ndarray]]:
    """For every step and family, the chains whose step is of it."""
    return [[np.flatnonzero(np.isin(column, family)) for family in FAMILIES] for column in kind.T]


def _fill_rows(groups: list[list[np.ndarray]], layout: Layout) -> Int64[np.ndarray, " row"]:
    """The groups one after another, each filled up to its room.

    What fills up is the row behind the last chain, which nobody looks at.
    """
    rows = np.full(sum(map(sum, layout.rooms)), layout.num_chains, np.int64)
    start = 0
    for group, rooms in zip(groups, layout.rooms, strict=True):
        for chosen, room in zip(group, rooms, strict=True):
            rows[start : start + len(chosen)] = chosen
            start += room
    return rows


def _checked(layout: Layout, own: Layout) -> Layout:
    """A layout, once it is known to have room for a plan of another.

    Raises:
        ValueError: If it has not, or is of another shape.
    """
    shape, needed = layout._replace(rooms=()), own._replace(rooms=())
    if shape != needed:
        raise ValueError(f"the layout is for {shape}, the plan needs {needed}")
    pairs = zip(np.ravel(layout.rooms), np.ravel(own.rooms), strict=True)
    if any(room < used for room, used in pairs):
        raise ValueError(
            f"the layout has too little room: it has {layout.rooms}, the plan needs {own.rooms}; "
            "take its roomy() form"
        )
    return layout

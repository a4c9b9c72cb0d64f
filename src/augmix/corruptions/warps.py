"""Where the pixels of a corrupted image come from, to move its boxes, polygons and masks with it.

Of the corruptions, `MOVING` displace the content of an image; of the perturbation sequences,
`MOVING_SEQUENCES`. All others leave it in place, up to a blur: the trails of motion blur, the
enlargements that zoom blur averages about the unmoved image, and the copies of glass blur, which
exchange single pixels within a few pixels. A warp is made from the functions and the draws by which
the image itself is moved.

Points are `x y` in pixels. The left upper corner of an image is (0, 0) and the centre of its first
pixel (0.5, 0.5), as in COCO's boxes and polygons, YOLO's files and the boxes of torchvision. Where
coordinates are indices of pixels, as those of COCO's keypoints and Cityscapes' polygons, add 0.5
before and subtract it afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped

from augmix.corruptions import cbar_warps, digital
from augmix.corruptions.presets import find_preset
from augmix.corruptions.registry import (
    CORRUPTIONS,
    SEQUENCES,
    AnyPreset,
    ImageDraws,
    Real,
    check_severity,
    check_size,
    resolve_preset,
)
from augmix.corruptions.sequences import (
    Matrix,
    Scene,
    Window,
    affine_map,
    centre_window,
    inverse,
    tilt_map,
)
from augmix.errors import check_integer

Points = Float64[np.ndarray, "point xy=2"]
Outline = Float64[np.ndarray, "vertex xy=2"]
Line = Float64[np.ndarray, " point"]
Field = Float[np.ndarray, "height width"]

_NUM_STEPS = 12  # of the iteration that inverts a field
_CLOSE = 0.05  # pixels from the solution where the iteration has arrived
_PARTS = np.arange(-8, 9) / 8  # of a pixel
_IDENTITY = np.eye(3)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Warp:
    """Where every pixel of an image comes from.

    Attributes:
        size: Height and width of the result.
        original: Height and width of the original.
        matrix: From positions in the result, displaced, to positions in the original; homogeneous,
            of pixel indices `x y`.
        right: Displacement of every pixel of the result before the matrix, in pixels; None for
            none.
        down: The same, downwards.
        is_mirrored: Whether the original is mirrored beyond its border; else it is black there.
    """

    size: tuple[int, int]
    original: tuple[int, int]
    matrix: Matrix
    right: Field | None = None
    down: Field | None = None
    is_mirrored: bool = False

    def mask(
        self, mask: Shaped[np.ndarray, "height width *channel"], *, outside: Any = 0
    ) -> Shaped[np.ndarray, "row column *channel"]:
        """Move a mask with the image: every pixel gets the value of the nearest original pixel.

        Args:
            mask: Of the original, of any dtype, e.g. class ids.
            outside: Value of the pixels that show nothing of the original.

        Raises:
            ValueError: If the mask is of another size than the original.
        """
        if mask.shape[:2] != self.original:
            raise ValueError(
                f"the mask must have the {self.original[0]} x {self.original[1]} pixels of the "
                f"image, got {mask.shape[0]} x {mask.shape[1]}"
            )
        x, y, _ = self._positions()
        columns, rows = (np.floor(each + 0.5).astype(np.int64) for each in (x, y))
        height, width = self.original
        is_inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        moved = mask[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
        moved[~is_inside] = outside
        return moved

    def shown(self) -> Bool[np.ndarray, "row column"]:
        """Return which pixels show the original, and not black or its mirror image."""
        return self._positions()[2]

    def points(self, points: Points) -> Points:
        """Move points of the original, also to positions outside of the result.

        Where the field folds and shows a point several times, one of the positions is returned.
        """
        x, y = _apply(np.reshape(inverse(self.matrix), (3, 3)), *(points - 0.5).T)
        if self.right is not None and len(points):
            x, y = self._undo_displacement(x, y)
        return np.stack([x, y], axis=1) + 0.5

    def boxes(self, boxes: Float64[np.ndarray, "box 4"]) -> Float64[np.ndarray, "box 4"]:
        """Move boxes `left top right bottom`: enclose the moved outline, cut at the border.

        A box of which nothing is left in the result has no height or width.
        """
        if not len(boxes):
            return boxes
        height, width = self.size
        outlines = [self.points(self.outline(_corners(*box))) for box in boxes.tolist()]
        found = np.array([[*each.min(axis=0), *each.max(axis=0)] for each in outlines])
        return np.clip(found, 0, [width, height, width, height])

    def outline(self, polygon: Outline) -> Points:
        """Add points to a polygon such that straight edges may bend: one a pixel, if they do."""
        if self.right is None:
            return polygon
        after = np.roll(polygon, -1, axis=0)
        lengths = np.abs(after - polygon).max(axis=1)
        parts = [
            start + (stop - start) * np.arange(count)[:, None] / count
            for start, stop, count in zip(
                polygon, after, np.maximum(np.ceil(lengths), 1).astype(int), strict=True
            )
        ]
        return np.concatenate(parts)

    def _positions(
        self,
    ) -> tuple[
        Float64[np.ndarray, "height width"],
        Float64[np.ndarray, "height width"],
        Bool[np.ndarray, "height width"],
    ]:
        """Column and row, mirrored, that each pixel shows, and whether it is not mirrored."""
        height, width = self.size
        x = np.broadcast_to(np.arange(width, dtype=np.float64), self.size)
        y = np.broadcast_to(np.arange(height, dtype=np.float64)[:, None], self.size)
        if self.right is not None and self.down is not None:
            x, y = x + self.right, y + self.down
        is_shown = _is_within(*_apply(self.matrix, x, y), self.original)
        if self.is_mirrored:  # as `elastic_transform` does in its second step
            is_shown &= _is_within(x, y, self.size)
            x, y = _mirror(x, -0.5, width - 0.5), _mirror(y, -0.5, height - 0.5)
        x, y = _apply(self.matrix, x, y)
        if self.is_mirrored:  # as in its first step
            x, y = _mirror(x, 0, self.original[1] - 1), _mirror(y, 0, self.original[0] - 1)
        return x, y, is_shown

    def _undo_displacement(self, x: Line, y: Line) -> tuple[Line, Line]:
        """Solve ``q + displacement(q) = (x, y)``: by iteration, else among all near pixels."""
        assert self.right is not None
        assert self.down is not None
        at_x, at_y = x - _sample(self.right, x, y), y - _sample(self.down, x, y)
        for _ in range(_NUM_STEPS):
            right, down = _sample(self.right, at_x, at_y), _sample(self.down, at_x, at_y)
            at_x, at_y = x - right, y - down
        miss_x = np.abs(at_x + _sample(self.right, at_x, at_y) - x)
        miss_y = np.abs(at_y + _sample(self.down, at_x, at_y) - y)
        for index in np.flatnonzero(np.maximum(miss_x, miss_y) > _CLOSE).tolist():
            at_x[index], at_y[index] = self._search(float(x[index]), float(y[index]))
        return at_x, at_y

    def _search(self, x: float, y: float) -> tuple[float, float]:
        """Find the position in or around the result that is displaced nearest to a position."""
        assert self.right is not None
        assert self.down is not None
        columns = np.arange(np.floor(x - self.right.max()), np.ceil(x - self.right.min()) + 1)
        rows = np.arange(np.floor(y - self.down.max()), np.ceil(y - self.down.min()) + 1)
        for _ in range(2):  # among pixels, then within one
            at_x, at_y = np.tile(columns, len(rows)), np.repeat(rows, len(columns))
            miss_x = at_x + _sample(self.right, at_x, at_y) - x
            miss_y = at_y + _sample(self.down, at_x, at_y) - y
            best = int(np.argmin(miss_x**2 + miss_y**2))
            columns, rows = at_x[best] + _PARTS, at_y[best] + _PARTS
        return float(at_x[best]), float(at_y[best])


def corruption_warp(
    size: tuple[int, int],
    name: str,
    *,
    severity: Real,
    preset: AnyPreset = "auto",
    seed: int = 0,
    id: int = 0,
) -> Warp | None:
    """Return how `augmix.corrupt` moves the content of an image.

    Args:
        size: Height and width of the image.
        name: The corruption; this, ``severity``, ``preset`` and ``seed`` are those of
            `augmix.corrupt`.
        id: Of the image, as in ``ids``; 0 for an image that was given alone without one.

    Returns:
        None if the corruption leaves the content in place, which is also assumed of a corruption
        of your own.

    Raises:
        ValueError: If an argument is out of range, as in `augmix.corrupt`.

    Example:
        >>> warp = corruption_warp((32, 32), "elastic_transform", severity=3, seed=5, id=7)
        >>> warp.points(np.array([[16.0, 16.0]])).round().tolist()
        [[15.0, 15.0]]
    """
    corruption = CORRUPTIONS.find(name)
    severity = check_severity(severity, name)
    check_size(size, "corrupt")
    make = _WARPS.get(corruption.name)
    if make is None:
        return None
    parameters = corruption.parameters_at(find_preset(preset, size), severity)
    generator = corruption.stream(seed, severity).generator(check_integer("id", id))
    return make(size, *parameters, generator=generator)


def sequence_warps(
    size: tuple[int, int],
    name: str,
    *,
    preset: str = "auto",
    frame_size: tuple[int, int] | None = None,
) -> list[Warp] | None:
    """Return how `augmix.perturb` moves the content of an image, for every frame.

    Args:
        size: Height and width of the image.
        name: The sequence; this and ``preset`` are those of `augmix.perturb`.
        frame_size: Height and width of the frames, cut from the middle; by default the whole image,
            which is ``size`` of `augmix.perturb`.

    Returns:
        None if the sequence leaves the content in place, which is also assumed of a sequence of
        your own.
    """
    sequence = SEQUENCES.find(name)
    check_size(size, "perturb")
    if sequence.name not in MOVING_SEQUENCES:
        return None
    blank = np.broadcast_to(np.uint8(0), (*size, 1))
    scene = _Maps(blank, centre_window(size, frame_size or size))
    generator = np.random.default_rng(0)  # no draw of it is used
    maps: Any = sequence.apply(scene, resolve_preset(preset, size), 1, generator)
    return list(maps)


@dataclass(frozen=True, slots=True)
class _Maps(Scene):
    """A scene whose frames are the warps by which a sequence would move it."""

    def moved(self, **motion: Real) -> Any:
        a, b, c, d, e, f = affine_map(self.size, **motion)  # of edges; below of indices
        c, f = c + (a + b - 1) / 2, f + (d + e - 1) / 2
        return self._warp(np.array([[a, b, c], [d, e, f], [0, 0, 1.0]]))

    def shifted(self, shift_px: int) -> Any:
        return self._warp(np.array([[1.0, 0, -shift_px], [0, 1, 0], [0, 0, 1]]))

    def tilted(self, angle_deg: Real) -> Any:
        return self._warp(np.reshape(inverse(tilt_map(self.size, angle_deg)), (3, 3)))

    def _warp(self, matrix: Matrix) -> Warp:
        window: Window = self.window
        offset = np.array([[1.0, 0, window.left], [0, 1, window.top], [0, 0, 1]])
        size = (window.height, window.width)
        return Warp(size=size, original=self.size, matrix=_multiply(matrix, offset))


def _elastic_warp(size: tuple[int, int], *parameters: Real, generator: ImageDraws) -> Warp:
    backward, right, down = digital.elastic_fields(size, *parameters, generator=generator)
    matrix = np.concatenate([backward, [[0, 0, 1]]])
    fields = {"right": right, "down": down}
    return Warp(size=size, original=size, matrix=matrix, **fields, is_mirrored=True)


def _ripple_warp(size: tuple[int, int], amount: Real, *, generator: ImageDraws) -> Warp:
    rows, columns = cbar_warps.ripple_positions(size, amount, generator=generator)
    down = np.broadcast_to((rows - np.arange(size[0]))[:, None], size)
    right = np.broadcast_to(columns - np.arange(size[1]), size)
    return Warp(size=size, original=size, matrix=_IDENTITY, right=right, down=down)


def _twirl_warp(size: tuple[int, int], amount: Real, *, generator: ImageDraws) -> Warp:
    twirls = cbar_warps.draw_twirls(size, amount, generator=generator)
    rows, columns = cbar_warps.twirl_positions(*size, *twirls)
    down, right = rows - np.arange(size[0])[:, None], columns - np.arange(size[1])
    return Warp(size=size, original=size, matrix=_IDENTITY, right=right, down=down)


def _refraction_warp(size: tuple[int, int], amount: Real, *, generator: ImageDraws) -> Warp:
    down, right = cbar_warps.refraction(*cbar_warps.draw_water(size, amount, generator=generator))
    return Warp(size=size, original=size, matrix=_IDENTITY, right=right, down=down)


_WARPS: dict[str, Callable[..., Warp]] = {
    "elastic_transform": _elastic_warp,
    "pinch_and_twirl": _twirl_warp,
    "ripple": _ripple_warp,
    "caustic_refraction": _refraction_warp,
}
MOVING = tuple(_WARPS)
"""The corruptions that displace the content of an image."""
MOVING_SEQUENCES = ("translate", "rotate", "tilt", "scale", "shear")
"""The perturbation sequences that do."""


def _corners(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _apply(matrix: Matrix, x: Any, y: Any) -> tuple[Any, Any]:
    """Map positions, in an order of additions that is the same on all machines."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    depth = g * x + h * y + i
    return (a * x + b * y + c) / depth, (d * x + e * y + f) / depth


def _multiply(left: Matrix, right: Matrix) -> Matrix:
    return np.array(
        [[sum(a * b for a, b in zip(r, c, strict=True)) for c in right.T] for r in left]
    )


def _is_within(x: Field, y: Field, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Whether positions, as indices, lie in the pixels of an image."""
    return (x >= -0.5) & (y >= -0.5) & (x < size[1] - 0.5) & (y < size[0] - 0.5)


def _mirror(at: np.ndarray, first: Real, last: Real) -> np.ndarray:
    """Mirror positions at both ends of a line."""
    length = last - first
    if length == 0:
        return np.full_like(at, first)
    at = np.mod(at - first, 2 * length)
    return first + np.minimum(at, 2 * length - at)


def _sample(field: Field, x: Line, y: Line) -> Line:
    """Interpolate a field linearly; outside it is that of the nearest pixel."""
    height, width = field.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    part_x, part_y = x - left, y - top
    upper = field[top, left] * (1 - part_x) + field[top, right] * part_x
    lower = field[below, left] * (1 - part_x) + field[below, right] * part_x
    return upper * (1 - part_y) + lower * part_y

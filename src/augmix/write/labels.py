"""Move boxes, polygons, key points and masks in the files of COCO, YOLO and Cityscapes by a warp.

What leaves the image is cut at its border, and an object of which nothing is left is removed. A box
that comes with a polygon or mask encloses the moved one; a box alone encloses its moved outline,
which is larger where that bends.
"""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from PIL import Image

from augmix.corruptions.warps import Warp

Polygon = Float64[np.ndarray, "point xy=2"]
Cut = Float64[np.ndarray, "vertex xy=2"]
Mask = Bool[np.ndarray, "height width"]

_DIGITS = 2  # of pixels in the files of COCO
_LEAST_AREA = 1e-6  # square pixels of a polygon that is left
_KEYPOINT = 3  # x, y and visibility
_MOST = 1e9  # the largest coordinate of a label, in pixels or fractions
_OUTSIDE = {  # value of pixels that show nothing, by the end of the file's name: out of roi
    "labelIds.png": 3,
    "instanceIds.png": 3,
    "labelTrainIds.png": 255,
    "instanceTrainIds.png": 255,
    "color.png": (0, 0, 0, 255),
}


def decode_rle(counts: str | Sequence[int], size: tuple[int, int]) -> Mask:
    """Decode a run-length encoded mask of COCO: runs of 0 and 1 in turn, column by column.

    Args:
        counts: Lengths of the runs, or the text that pycocotools makes of them.
        size: Height and width.

    Raises:
        ValueError: If the runs are not those of a mask of this size.

    Example:
        >>> decode_rle([1, 2, 1], (2, 2)).astype(int).tolist()
        [[0, 1], [1, 0]]
    """
    runs = list(_read_runs(counts)) if isinstance(counts, str) else list(counts)
    height, width = size
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"runs of {sum(runs)} pixels for a mask of {height} x {width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def encode_rle(mask: Mask) -> list[int]:
    """Encode a mask as the lengths of runs of 0 and 1 in turn, column by column.

    Example:
        >>> encode_rle(np.array([[False, True], [True, False]]))
        [1, 2, 1]
    """
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges.tolist(), len(flat)]).tolist()
    return [0, *runs] if flat[0] else runs


def compress_runs(runs: Sequence[int]) -> str:
    """Write runs as text, as pycocotools does.

    From the fourth on the difference to the run before the last is written; 5 bits a character,
    the least first, and a sixth that says that more follow.
    """
    text = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        is_open = True
        while is_open:
            bits = value & 31
            value >>= 5
            is_open = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * is_open))
    return "".join(text)


def _read_runs(text: str) -> Iterator[int]:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    yield from runs


def clip_polygon(polygon: Polygon, size: tuple[int, int]) -> Cut:
    """Cut a polygon at the border of an image (Sutherland & Hodgman, 1974).

    Parts that the border cuts apart stay joined by edges along it.
    """
    height, width = size
    for axis, sign, limit in ((0, 1, 0), (0, -1, width), (1, 1, 0), (1, -1, height)):
        inside = sign * (polygon[:, axis] - limit)
        if (inside >= 0).all():
            continue
        kept: list[np.ndarray] = []
        for index, (before, after) in enumerate(zip(np.roll(inside, 1), inside, strict=True)):
            if (before >= 0) != (after >= 0):
                start = polygon[index - 1]
                cut = start + (polygon[index] - start) * (before / (before - after))
                cut[axis] = limit
                kept.append(cut)
            if after >= 0:
                kept.append(polygon[index])
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def area_of(polygon: Polygon) -> float:
    """Return the area of a polygon."""
    (x, y), (next_x, next_y) = polygon.T, np.roll(polygon, -1, axis=0).T
    return abs(float(np.sum(x * next_y - next_x * y))) / 2


def move_polygon(polygon: Polygon, warp: Warp) -> Cut | None:
    """Move the vertices of a polygon, and cut it; None if nothing is left."""
    moved = clip_polygon(warp.points(polygon), warp.size)
    return moved if len(moved) >= 3 and area_of(moved) > _LEAST_AREA else None


def _numbers(values: Any, what: str, *, of: int = 1) -> Float64[np.ndarray, " number"]:
    """The numbers of a label, a multiple of so many; what no image holds is a ValueError."""
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or not found.size or found.size % of:
        raise ValueError(f"{what}: expected a list of {of} numbers each, got {str(values)[:60]}")
    if not (np.abs(found) <= _MOST).all():  # NaN included
        raise ValueError(f"{what}: expected numbers up to {_MOST:g}, got {str(values)[:60]}")
    return found


def move_coco(annotation: dict[str, Any], warp: Warp) -> dict[str, Any] | None:
    """Move an annotation of COCO: segmentation, box, area and key points.

    The area of polygons and boxes changes in proportion, that of a mask is counted.

    Returns:
        A new annotation with the other entries as they are; None if nothing is left of it.

    Raises:
        ValueError: If the segmentation is no polygon or mask of the image.
    """
    moved, box, factor = dict(annotation), None, 1.0
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        mask = warp.mask(decode_rle(segmentation["counts"], warp.original)) & warp.shown()
        if not mask.any():
            return None
        runs = encode_rle(mask)
        is_text = isinstance(segmentation["counts"], str)
        moved["segmentation"] = {
            **segmentation,
            "size": list(warp.size),
            "counts": compress_runs(runs) if is_text else runs,
        }
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
        if "area" in annotation:
            moved["area"] = int(mask.sum())
    elif segmentation:
        before = [_numbers(each, "segmentation", of=2).reshape(-1, 2) for each in segmentation]
        after = [found for each in before if (found := move_polygon(each, warp)) is not None]
        if not after:
            return None
        moved["segmentation"] = [_round(each.ravel()) for each in after]
        points = np.concatenate(after)
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
        factor = sum(map(area_of, after)) / max(sum(map(area_of, before)), _LEAST_AREA)
    if "bbox" in annotation:
        left, top, width, height = _numbers(annotation["bbox"], "bbox", of=4).tolist()
        if box is None:
            box = warp.boxes(np.array([[left, top, left + width, top + height]]))[0]
            factor = _box_area(box) / max(width * height, _LEAST_AREA)
            if not _box_area(box):
                return None
        moved["bbox"] = _round(np.concatenate([box[:2], box[2:] - box[:2]]))
    if "area" in annotation and not isinstance(segmentation, dict):
        moved["area"] = round(float(annotation["area"]) * factor, 4)
    if annotation.get("keypoints"):
        points = _numbers(annotation["keypoints"], "keypoints", of=_KEYPOINT)
        points = _move_keypoints(points.reshape(-1, _KEYPOINT), warp, offset=0.5)
        moved["keypoints"] = _round(points.ravel())
        if "num_keypoints" in annotation:
            moved["num_keypoints"] = int((points[:, 2] > 0).sum())
    return moved


def _box_area(box: Float64[np.ndarray, "4"]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _move_keypoints(
    points: Float64[np.ndarray, "point 3"], warp: Warp, *, offset: float
) -> Float64[np.ndarray, "point 3"]:
    """Move the key points that are labelled; one that leaves the image is labelled no more.

    Args:
        offset: From their coordinates to those of a warp: 0.5 if they are indices of pixels.
    """
    height, width = warp.size
    is_labelled = points[:, 2] > 0
    moved = warp.points(points[:, :2] + offset)
    is_inside = (moved >= 0).all(axis=1) & (moved[:, 0] < width) & (moved[:, 1] < height)
    found = np.concatenate([moved - offset, points[:, 2:]], axis=1)
    return np.where((is_labelled & is_inside)[:, None], found, 0.0)


def _round(values: np.ndarray) -> list[float | int]:
    """Numbers with the digits of COCO's files, whole ones without a point."""
    rounded = (round(value, _DIGITS) for value in values.tolist())
    return [int(value) if value == int(value) else value for value in rounded]


def move_yolo(text: str, warp: Warp, *, keypoint_shape: tuple[int, int] | None = None) -> str:
    """Move the lines of a YOLO file: ``class x y width height``, or ``class x y x y x y ...``.

    Coordinates are fractions of width and height.

    Args:
        keypoint_shape: Number of key points that follow each box, and of the numbers of each, 2 or
            3 (``kpt_shape`` of ``data.yaml``).

    Raises:
        ValueError: If a line has another number of words.
    """
    height, width = warp.original
    before = np.array([width, height], np.float64)
    after = np.array([warp.size[1], warp.size[0]], np.float64)
    lines = []
    for line in text.splitlines():
        label, *words = line.split() or [""]
        if not words:
            continue
        values = _numbers([float(word) for word in words], f"the line {line.strip()[:60]!r}")
        num_keypoints, num_numbers = keypoint_shape or (0, 0)
        if len(values) == 4 + num_keypoints * num_numbers:
            centre, edges = values[:2] * before, values[2:4] * before
            box = warp.boxes(np.concatenate([centre - edges / 2, centre + edges / 2])[None])[0]
            if not _box_area(box):
                continue
            low, high = box[:2] / after, box[2:] / after
            moved = [*(low + high) / 2, *(high - low)]
            if num_keypoints:
                moved += _move_yolo_keypoints(values[4:], num_numbers, warp, before, after)
        elif len(values) >= 6 and len(values) % 2 == 0 and not num_keypoints:
            polygon = move_polygon(values.reshape(-1, 2) * before, warp)
            if polygon is None:
                continue
            moved = (polygon / after).ravel().tolist()
        else:
            raise ValueError(f"a line of {len(values)} numbers: {line.strip()[:60]!r}")
        lines.append(" ".join([label, *(f"{value:.6f}" for value in moved)]))
    return "".join(f"{line}\n" for line in lines)


def _move_yolo_keypoints(
    values: Float64[np.ndarray, " number"],
    num_numbers: int,
    warp: Warp,
    before: Float64[np.ndarray, "2"],
    after: Float64[np.ndarray, "2"],
) -> list[float]:
    points = values.reshape(-1, num_numbers)
    seen = points[:, 2:] if num_numbers == _KEYPOINT else (points.any(axis=1, keepdims=True) * 1.0)
    full = np.concatenate([points[:, :2] * before, seen], axis=1)
    moved = _move_keypoints(full, warp, offset=0.0)
    moved[:, :2] /= after
    return moved[:, :num_numbers].ravel().tolist()


def move_cityscapes(file: str, content: bytes, warp: Warp) -> bytes | None:
    """Move a file of Cityscapes' labels: a picture of ids or colours, or a list of polygons.

    Returns:
        The content of the moved file; None for a file of another kind.

    Raises:
        ValueError: If a picture is of another size than the image.
    """
    name = PurePosixPath(file).name
    if name.endswith("_polygons.json"):
        return _move_polygons(json.loads(content), warp)
    outside = next((value for end, value in _OUTSIDE.items() if name.endswith(f"_{end}")), None)
    if outside is None:
        return None
    picture = Image.open(io.BytesIO(content), formats=("PNG",))
    pixels = np.asarray(picture)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    fill = outside[:channels] if isinstance(outside, tuple) else outside
    moved = Image.fromarray(warp.mask(pixels, outside=fill).astype(pixels.dtype))
    if picture.mode == "P":
        moved.putpalette(picture.getpalette() or [])
    written = io.BytesIO()
    moved.save(written, "PNG")
    return written.getvalue()


def _move_polygons(content: dict[str, Any], warp: Warp) -> bytes:
    """Move polygons whose coordinates are indices of pixels, also beyond the border."""
    height, width = warp.size
    objects = []
    for each in content["objects"]:
        before = _numbers(np.ravel(each["polygon"]).tolist(), "polygon", of=2).reshape(-1, 2)
        moved = warp.points(before + 0.5) - 0.5
        low, high = moved.min(axis=0), moved.max(axis=0)
        if (high >= 0).all() and low[0] <= width - 1 and low[1] <= height - 1:
            objects.append({**each, "polygon": np.rint(moved).astype(int).tolist()})
    moved_content = {**content, "imgHeight": height, "imgWidth": width, "objects": objects}
    return json.dumps(moved_content, indent=4).encode()

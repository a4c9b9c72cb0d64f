"""Labels that are moved, against numbers worked out by hand."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from augmix.corruptions.warps import Warp, corruption_warp, sequence_warps
from augmix.write.labels import (
    area_of,
    clip_polygon,
    compress_runs,
    decode_rle,
    encode_rle,
    move_cityscapes,
    move_coco,
    move_polygon,
    move_yolo,
)

SIZE = (40, 50)


def shift(right_px: int) -> Warp:
    """A warp to the right."""
    warps = sequence_warps(SIZE, "translate", preset="imagenet")
    assert warps is not None
    return warps[right_px + 20]


def holed() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[3:20, 7:30] = True
    mask[10:15, 12:18] = False
    mask[35:, 45:] = True
    return mask


def test_runs_are_those_of_pycocotools():
    # pycocotools 2.0.11: mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    text = (
        "k8a0g000000000F^ONb02^ONb02^ONb02^ONb02^ONb02^ONb0<0000000000000000000000hc0Dd\\O0000000"
    )
    mask = holed()
    assert compress_runs(encode_rle(mask)) == text
    assert np.array_equal(decode_rle(text, SIZE), mask)
    assert compress_runs(encode_rle(np.ones((3, 4), bool))) == "0<"
    assert encode_rle(np.array([[0, 1, 1], [0, 0, 1]], bool)) == [2, 1, 1, 2]
    assert decode_rle([2, 1, 1, 2], (2, 3)).astype(int).tolist() == [[0, 1, 1], [0, 0, 1]]
    with pytest.raises(ValueError, match="runs of 5 pixels for a mask of 2 x 3"):
        decode_rle([2, 3], (2, 3))


def test_polygons_are_cut_at_the_border():
    triangle = np.array([[-10.0, 5], [10, 5], [10, 25]])
    cut = clip_polygon(triangle, SIZE)
    assert sorted(map(tuple, cut.tolist())) == [(0, 5), (0, 15), (10, 5), (10, 25)]
    assert area_of(cut) == 200 - 50
    assert move_polygon(np.array([[0.0, 0], [9, 0], [9, 9]]), shift(-10)) is None
    assert clip_polygon(cut, SIZE) is cut


def test_polygon_box_area_and_key_points_of_coco():
    annotation = {
        "id": 5,
        "image_id": 1,
        "category_id": 2,
        "iscrowd": 0,
        "segmentation": [[0, 10, 20, 10, 20, 30, 0, 30]],
        "bbox": [0, 10, 20, 20],
        "area": 399.5,
        "keypoints": [3, 12, 2, 15, 29, 1, 0, 0, 0],
        "num_keypoints": 2,
    }
    moved = move_coco(annotation, shift(-5))
    assert moved is not None
    assert moved["bbox"] == [0, 10, 15, 20]
    assert sorted(zip(*[iter(moved["segmentation"][0])] * 2, strict=True)) == [
        (0, 10),
        (0, 30),
        (15, 10),
        (15, 30),
    ]
    assert moved["area"] == round(399.5 * 300 / 400, 4)
    assert moved["keypoints"] == [0, 0, 0, 10, 29, 1, 0, 0, 0]  # the first has left the image
    assert moved["num_keypoints"] == 1
    assert {name: moved[name] for name in ("id", "image_id", "category_id", "iscrowd")} == {
        "id": 5,
        "image_id": 1,
        "category_id": 2,
        "iscrowd": 0,
    }
    assert annotation["bbox"] == [0, 10, 20, 20]
    assert move_coco(annotation, shift(-20)) is None
    alone = {"id": 1, "bbox": [40, 0, 10, 4], "area": 40.0, "segmentation": []}
    assert move_coco(alone, shift(5)) == {
        **alone,
        "bbox": [45, 0, 5, 4],
        "area": 20.0,
    }
    warps = sequence_warps(SIZE, "scale", preset="imagenet")
    assert warps is not None
    half = move_coco({"keypoints": [10, 30, 1], "bbox": [0, 0, 50, 40]}, warps[4])  # by 0.5
    assert half is not None
    # about (25.5, 20.5); the centre of pixel 10, 30 is at (10.5, 30.5)
    assert half["keypoints"] == [25.5 - 7.5 - 0.5, 20.5 + 5 - 0.5, 1]
    assert half["bbox"] == [12.75, 10.25, 25, 20]
    assert move_coco({"id": 3, "caption": "a dog"}, shift(5)) == {"id": 3, "caption": "a dog"}


@pytest.mark.parametrize("is_text", [False, True])
def test_masks_of_coco_move_with_the_pixels(is_text):
    runs = encode_rle(holed())
    counts = compress_runs(runs) if is_text else runs
    annotation = {
        "segmentation": {"size": list(SIZE), "counts": counts},
        "iscrowd": 1,
        "bbox": [7, 3, 43, 37],
        "area": int(holed().sum()),
    }
    moved = move_coco(annotation, shift(4))
    assert moved is not None
    expected = np.zeros(SIZE, bool)
    expected[:, 4:] = holed()[:, :-4]
    assert np.array_equal(decode_rle(moved["segmentation"]["counts"], SIZE), expected)
    assert moved["bbox"] == [11, 3, 39, 37]
    assert moved["area"] == int(expected.sum())
    assert isinstance(moved["segmentation"]["counts"], str) == is_text


def test_a_polygon_moves_with_its_mask():
    """A filled circle, moved as a mask and as a polygon, has nearly the same extent and area."""
    size = (120, 160)
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    circle = np.stack([80 + 30 * np.cos(angle), 60 + 25 * np.sin(angle)], axis=1)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    mask = ((x - 80) / 30) ** 2 + ((y - 60) / 25) ** 2 <= 1
    warp = corruption_warp(size, "elastic_transform", severity=4, preset="imagenet", id=1)
    assert warp is not None
    moved = move_coco({"segmentation": [circle.ravel().tolist()], "bbox": [50, 35, 60, 50]}, warp)
    assert moved is not None
    found = warp.mask(mask)
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    left, top, width, height = moved["bbox"]
    extent = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert np.abs(np.subtract([left, top, left + width, top + height], extent)).max() <= 1.5
    polygon = np.reshape(moved["segmentation"][0], (-1, 2))
    assert abs(area_of(polygon) / found.sum() - 1) < 0.03


def test_lines_of_yolo():
    text = "3 0.2 0.5 0.4 0.5\n\n1 0.0 0.0 0.2 0.0 0.2 0.5\n2 0.9 0.5 0.04 0.04\n"
    assert move_yolo(text, shift(5)).splitlines() == [
        "3 0.300000 0.500000 0.400000 0.500000",
        "1 0.100000 0.000000 0.300000 0.000000 0.300000 0.500000",
        "2 0.990000 0.500000 0.020000 0.040000",
    ]
    assert move_yolo("2 0.98 0.5 0.02 0.04\n", shift(5)) == ""
    pose = "0 0.5 0.5 0.2 0.2 0.45 0.5 2 0.99 0.5 1"
    assert move_yolo(pose, shift(5), keypoint_shape=(2, 3)).split() == [
        *("0", "0.600000", "0.500000", "0.200000", "0.200000"),
        *("0.550000", "0.500000", "2.000000", "0.000000", "0.000000", "0.000000"),
    ]
    with pytest.raises(ValueError, match="a line of 5 numbers"):
        move_yolo("0 1 2 3 4 5", shift(5))


def test_pictures_and_polygons_of_cityscapes():
    ids = np.full(SIZE, 7, np.uint8)
    ids[9, 30] = 24
    for name, fill in (("labelIds", 3), ("labelTrainIds", 255)):
        content = move_cityscapes(f"a_gtFine_{name}.png", png(ids), shift(5))
        moved = np.asarray(Image.open(io.BytesIO(content or b"")))
        assert moved.dtype == np.uint8
        assert moved[9, 35] == 24
        assert (moved[:, :5] == fill).all()
    deep = ids.astype(np.uint16) * 1000
    content = move_cityscapes("a_gtFine_instanceIds.png", png(deep), shift(5))
    moved = np.asarray(Image.open(io.BytesIO(content or b"")))
    assert moved[9, 35] == 24000
    assert moved[0, 0] == 3
    colours = np.dstack([ids, ids, ids, np.full_like(ids, 255)])
    content = move_cityscapes("a_gtFine_color.png", png(colours), shift(5))
    moved = np.asarray(Image.open(io.BytesIO(content or b"")))
    assert moved[9, 35].tolist() == [24, 24, 24, 255]
    assert moved[0, 0].tolist() == [0, 0, 0, 255]
    objects = [{"label": "car", "polygon": [[30, 9], [40, 9], [40, 20]]}]
    objects += [{"label": "sky", "polygon": [[46, 0], [49, 0], [49, 5]]}]
    content = json.dumps({"imgHeight": 40, "imgWidth": 50, "objects": objects}).encode()
    moved = json.loads(move_cityscapes("a_gtFine_polygons.json", content, shift(5)) or b"")
    assert moved["objects"] == [{"label": "car", "polygon": [[35, 9], [45, 9], [45, 20]]}]
    assert move_cityscapes("a_gtFine_bbox3d.json", b"{}", shift(5)) is None


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox: expected numbers up to 1e.09"),
        ({"bbox": [1, 2, 3]}, "bbox: expected a list of 4 numbers each"),
        ({"segmentation": [[1, 2, float("inf"), 4, 5, 6]]}, "segmentation: expected numbers up to"),
        ({"segmentation": [[1, 2, 3, 4, 5]]}, "segmentation: expected a list of 2 numbers each"),
        ({"keypoints": [1, 2]}, "keypoints: expected a list of 3 numbers each"),
    ],
)
def test_coordinates_of_no_image_are_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        move_coco(entry, shift(3))


@pytest.mark.parametrize("line", ["0 nan 0.5 0.1 0.1", "0 0.1 0.1 1e400 0.1 0.5 0.5"])
def test_lines_of_no_image_are_refused(line):
    with pytest.raises(ValueError, match=f"the line '{line[:8]}.*expected numbers up to"):
        move_yolo(line, shift(3))

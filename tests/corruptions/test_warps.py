"""Warps against images that encode their own coordinates, moved by the corruptions themselves."""

import numpy as np
import pytest

from augmix.corruptions.corrupt import corrupt, perturb
from augmix.corruptions.registry import CORRUPTIONS, SEQUENCES
from augmix.corruptions.warps import MOVING, MOVING_SEQUENCES, corruption_warp, sequence_warps

SIZE = (60, 84)
HOW = {"severity": 5, "preset": "imagenet", "seed": 3}


def coordinates(size: tuple[int, int] = SIZE) -> np.ndarray:
    """An image `height width xy` whose values are the coordinates of its pixels."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x, y], axis=2).astype(np.float64)


def interpolate(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The values of an image at points whose pixel centres lie at halves, in plain loops."""
    found = []
    for x, y in points - 0.5:
        left, top = int(np.floor(x)), int(np.floor(y))
        value = 0.0
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = (1 - abs(y - top - row)) * (1 - abs(x - left - column))
            value = value + weight * image[top + row, left + column]
        found.append(value)
    return np.array(found)


@pytest.mark.parametrize("severity", [1, 2, 5])
def test_elastic_transform_moves_masks_and_points_as_the_image(severity):
    size = (240, 320)
    encoded = (coordinates(size) / 400).astype(np.float32)
    how = {**HOW, "severity": severity}
    moved = corrupt(encoded, "elastic_transform", ids=7, **how) * 400.0
    warp = corruption_warp(size, "elastic_transform", id=7, **how)
    assert warp is not None
    inside = (slice(60, -60), slice(60, -60))
    nearest = warp.mask(coordinates(size))
    assert np.abs(nearest - moved)[inside].max() < 0.55  # half a pixel, and the affine step's 1/32
    assert np.abs(nearest - moved).max() < 1.05  # also where the image is mirrored
    points = np.random.default_rng(0).uniform((90, 90), (230, 150), (200, 2))
    shown = interpolate(moved, warp.points(points)) + 0.5
    assert np.abs(shown - points).max() < 0.75
    assert np.abs(warp.points(points) - points).max() > 2


def test_pixels_that_show_the_mirror_image_are_known():
    """A mask of the whole image covers what is shown of it; its outline has the same area."""
    size = (120, 160)
    warp = corruption_warp(size, "elastic_transform", severity=1, preset="imagenet", id=4)
    assert warp is not None
    assert warp.mask(np.ones(size, bool)).all()
    outline = warp.points(warp.outline(np.array([[0.0, 0], [160, 0], [160, 120], [0, 120]])))
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    crossings = np.zeros(size, bool)  # even or odd, along a ray to the right
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 != y1:
            crossings ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    assert 0.5 < warp.shown().mean() < 0.99
    assert (crossings == warp.shown()).mean() > 0.99


def test_elastic_transform_moves_a_coloured_shape_with_its_mask():
    image = np.zeros((*SIZE, 3), np.uint8)
    mask = np.zeros(SIZE, bool)
    mask[20:41, 30:55] = True
    image[mask] = 255
    moved = corrupt(image, "elastic_transform", ids=2, **HOW)
    warp = corruption_warp(SIZE, "elastic_transform", id=2, **HOW)
    assert warp is not None
    found = moved[:, :, 0] > 127
    assert (found == warp.mask(mask)).mean() > 0.98
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    extent = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    box = warp.boxes(np.array([[30.0, 20, 55, 41]]))[0]
    assert np.abs(box - extent).max() <= 1.5
    other = corruption_warp(SIZE, "elastic_transform", id=3, **HOW)
    assert other is not None
    assert not np.array_equal(other.mask(mask), warp.mask(mask))


@pytest.mark.parametrize("name", [name for name in MOVING if name != "elastic_transform"])
def test_warps_of_c_bar_move_masks_as_the_image(name):
    level = (coordinates() * 2 + 60).astype(np.uint8)
    image = np.concatenate([level, np.full_like(level[:, :, :1], 128)], axis=2)
    moved = corrupt(image, name, ids=7, **HOW).astype(float)
    is_inside = ((moved > 20) & (moved < 255)).all(axis=2)  # neither black nor clipped
    shown = moved[:, :, :2] - moved[:, :, 2:] + 128  # without the light that caustics add
    warp = corruption_warp(SIZE, name, id=7, **HOW)
    assert warp is not None
    nearest = warp.mask(level).astype(float)
    is_inside &= nearest.min(axis=2) > 0
    assert is_inside.mean() > 0.8
    wrong = np.abs(nearest - shown).max(axis=2)[is_inside] > 2 * 0.5 + 1.01  # and the fraction
    assert wrong.mean() < 0.01
    assert np.abs(nearest - level)[is_inside].max() >= 2


@pytest.mark.parametrize("name", MOVING_SEQUENCES)
def test_sequences_move_masks_as_the_frames(name):
    level = (coordinates() * 2 + 60).astype(np.uint8)
    image = np.concatenate([level, level[:, :, :1]], axis=2)
    frames = perturb(image, name, preset="imagenet", size=SIZE)[..., :2].astype(float)
    warps = sequence_warps(SIZE, name, preset="imagenet")
    assert warps is not None
    assert len(frames) == len(warps)
    for frame, warp in zip(frames, warps, strict=True):
        nearest = warp.mask(level).astype(float)
        assert ((nearest[..., 0] == 0) == (frame[..., 0] < 30)).mean() > 0.97  # the border is soft
        shown = np.pad(nearest[..., 0] > 0, 1)  # and all its neighbours are
        is_inside = shown[1:-1, 1:-1] & shown[2:, 1:-1] & shown[:-2, 1:-1]
        is_inside &= shown[1:-1, 2:] & shown[1:-1, :-2]
        assert np.abs(nearest - frame)[is_inside].max() <= 2 * 0.5 + 1.01
    cut = sequence_warps(SIZE, name, preset="imagenet", frame_size=(30, 40))
    part = perturb(image, name, preset="imagenet", size=(30, 40))
    assert cut is not None
    assert cut[3].mask(level).shape[:2] == part[3].shape[:2]
    assert np.array_equal(cut[3].mask(level), warps[3].mask(level)[15:45, 22:62])


def test_translation_moves_pixel_points_and_box_alike():
    image = np.zeros((*SIZE, 3), np.uint8)
    image[9, 30] = 255
    frames = perturb(image, "translate", preset="imagenet", size=SIZE)
    warps = sequence_warps(SIZE, "translate", preset="imagenet")
    assert warps is not None
    for shift, frame, warp in zip(range(-20, 21), frames, warps, strict=True):
        assert np.array_equal(frame, warp.mask(image))
        assert warp.points(np.array([[30.5, 9.5]])).tolist() == [[30.5 + shift, 9.5]]
        assert warp.boxes(np.array([[30.0, 9, 31, 10]])).tolist() == [
            [30 + shift, 9, 31 + shift, 10]
        ]
        assert frame[9, 30 + shift].tolist() == [255, 255, 255]


def test_scale_moves_points_about_the_published_centre():
    warps = sequence_warps(SIZE, "scale", preset="imagenet")
    assert warps is not None
    centre = np.array([84 / 2 + 0.5, 60 / 2 + 0.5])  # half a pixel off the middle, as published
    points = np.array([[10.0, 20.0], [42.5, 30.5]])
    for frame, warp in enumerate(warps):
        factor = 0.4 + 0.025 * frame
        assert np.allclose(warp.points(points), centre + factor * (points - centre))
    outside = warps[-1].boxes(np.array([[0.0, 0, 2, 2], [40, 28, 44, 32]]))
    assert outside[0].tolist() == [0, 0, 0, 0]  # nothing is left of it
    assert (outside[1, 2:] > outside[1, :2]).all()


def test_only_those_that_displace_pixels_have_warps():
    assert set(MOVING) <= set(CORRUPTIONS)
    assert set(MOVING_SEQUENCES) <= set(SEQUENCES)
    assert corruption_warp(SIZE, "zoom_blur", severity=5) is None
    assert sequence_warps(SIZE, "zoom_blur") is None
    with pytest.raises(ValueError, match="unknown corruption 'elastic'"):
        corruption_warp(SIZE, "elastic", severity=3)
    warp = corruption_warp(SIZE, "ripple", severity=3)
    assert warp is not None
    with pytest.raises(ValueError, match="60 x 84 pixels of the image, got 3 x 3"):
        warp.mask(np.zeros((3, 3)))

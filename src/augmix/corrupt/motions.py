"""The makers of sequences whose picture moves: turned, tilted, shifted, scaled, sheared, zoomed.

They stand beside those of `frames` and keep the same quirks of the published scripts: the centre is
half a pixel off unless told otherwise, the tilt never shows the clean image, zoom blur adds in
single precision and cuts off the fraction at the end.
"""

import numpy as np

from augmix.corrupt.draws import Draws, Real
from augmix.corrupt.warps import (
    PUBLISHED_OFFSET_PX,
    Frames,
    Scene,
    affine_map,
    shift_columns,
    tilt_map,
    warp_affine,
    warp_perspective,
)


def zoom_blur(
    scene: Scene,
    step: Real,
    *,
    num_frames: int,
    generator: Draws,
    offset_px: Real = PUBLISHED_OFFSET_PX,
) -> Frames:
    """The mean of the clean frame and ever more enlarged ones (5).

    Args:
        scene: The picture.
        step: Added to the factor from frame to frame; it starts at 1.
        num_frames: With the clean one.
        generator: Not used.
        offset_px: Of the centre from the middle, see `warps.affine_map`.
    """
    clean = scene.crop()
    total = clean.astype(np.float32) / np.float32(255)
    yield clean
    for frame in range(1, num_frames):
        mapping = affine_map(scene.size, scale=1 + step * frame, offset_px=offset_px)
        zoomed = warp_affine(scene.image, mapping, scene.window)
        total += zoomed.astype(np.float32) / np.float32(255)
        yield (total / np.float32(frame + 1) * np.float32(255)).astype(np.uint8)


def translate(scene: Scene, first_px: int, *, num_frames: int, generator: Draws) -> Frames:
    """To the right, a pixel a frame (8).

    Args:
        scene: The picture.
        first_px: Where it starts, to the right.
        num_frames: How many.
        generator: Not used.
    """
    for frame in range(num_frames):
        yield shift_columns(scene.image, first_px + frame, scene.window)


def rotate(
    scene: Scene,
    step_deg: Real,
    *,
    num_frames: int,
    generator: Draws,
    offset_px: Real = PUBLISHED_OFFSET_PX,
) -> Frames:
    """Clockwise about the centre (9).

    Args:
        scene: The picture.
        step_deg: Turn from frame to frame.
        num_frames: The middle one is clean.
        generator: Not used.
        offset_px: Of the centre from the middle, see `warps.affine_map`.
    """
    for frame in range(num_frames):
        angle_deg = (frame - num_frames // 2) * step_deg
        mapping = affine_map(scene.size, angle_deg=angle_deg, offset_px=offset_px)
        yield warp_affine(scene.image, mapping, scene.window)


def tilt(scene: Scene, step_deg: Real, *, num_frames: int, generator: Draws) -> Frames:
    """Turned in space about the row and the column through the centre at once (10).

    Args:
        scene: The picture.
        step_deg: Turn from frame to frame, about either.
        num_frames: The middle one is not turned, but a little smaller than the clean image.
        generator: Not used.
    """
    for frame in range(num_frames):
        mapping = tilt_map(scene.size, (frame - num_frames // 2) * step_deg)
        yield warp_perspective(scene.image, mapping, scene.window)


def scale(
    scene: Scene,
    first_percent: Real,
    step_percent: Real,
    *,
    num_frames: int,
    generator: Draws,
    offset_px: Real = PUBLISHED_OFFSET_PX,
) -> Frames:
    """From small to large about the centre (9).

    Args:
        scene: The picture.
        first_percent: Where it starts, in percent of its size.
        step_percent: Added from frame to frame.
        num_frames: How many.
        generator: Not used.
        offset_px: Of the centre from the middle, see `warps.affine_map`.
    """
    for frame in range(num_frames):
        mapping = affine_map(
            scene.size, scale=(frame * step_percent + first_percent) / 100, offset_px=offset_px
        )
        yield warp_affine(scene.image, mapping, scene.window)


def shear(
    scene: Scene,
    step_deg: Real,
    *,
    num_frames: int,
    generator: Draws,
    offset_px: Real = PUBLISHED_OFFSET_PX,
) -> Frames:
    """Slanted along the rows (9).

    Args:
        scene: The picture.
        step_deg: Turn of the columns from frame to frame.
        num_frames: The middle one is clean.
        generator: Not used.
        offset_px: Of the centre from the middle, see `warps.affine_map`.
    """
    for frame in range(num_frames):
        mapping = affine_map(
            scene.size, shear_deg=(frame - num_frames // 2) * step_deg, offset_px=offset_px
        )
        yield warp_affine(scene.image, mapping, scene.window)

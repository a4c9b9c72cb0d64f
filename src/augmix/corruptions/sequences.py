"""Perturbation sequences: (scene, parameters, generator) -> frames.

Here are those that change the levels of the frame; `motions` has those that move the picture. A
maker yields one frame after the other and holds no more than what the next one needs. Like the
kernels it knows nothing of names, difficulties or seeds, works on one uint8 `height width channel`
image, RGB or grey, and keeps the quirks of the published scripts (spec: perturbations.md): the
fraction is cut off at the end.

They stand beside those of `frames` and keep the same quirks of the published scripts: the centre is
half a pixel off unless told otherwise, the tilt never shows the clean image, zoom blur adds in
single precision and cuts off the fraction at the end.
"""

import typing
from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from augmix.corruptions import noise, weather
from augmix.corruptions.blur import clipped_zoom, gaussian_filter, motion_trail
from augmix.corruptions.geometry import (
    PUBLISHED_OFFSET_PX,
    Scene,
    affine_map,
    shift_columns,
    tilt_map,
    warp_affine,
    warp_perspective,
)
from augmix.corruptions.registry import Draws, Frames, Image, Real
from augmix.corruptions.weather import water
from augmix.jit import outer


def gaussian_noise(scene: Scene, deviation: Real, *, num_frames: int, generator: Draws) -> Frames:
    """The clean frame, then each time new normal noise on it (perturbations.md 3.2, 1).

    Args:
        scene: The picture.
        deviation: Standard deviation, as a share of white.
        num_frames: With the clean one.
        generator: Draws one number a value and noisy frame.
    """
    return _noisy(scene, noise.gaussian_noise, deviation, num_frames, generator)


def shot_noise(scene: Scene, photons: Real, *, num_frames: int, generator: Draws) -> Frames:
    """The clean frame, then each time its photons counted anew (2).

    Args:
        scene: The picture.
        photons: Mean count at white; fewer are noisier.
        num_frames: With the clean one.
        generator: Draws one count a value and noisy frame.
    """
    return _noisy(scene, noise.shot_noise, photons, num_frames, generator)


def speckle_noise(scene: Scene, deviation: Real, *, num_frames: int, generator: Draws) -> Frames:
    """The clean frame, then each time new noise in proportion to the values (3).

    Args:
        scene: The picture.
        deviation: Standard deviation, as a share of the value.
        num_frames: With the clean one.
        generator: Draws one number a value and noisy frame.
    """
    return _noisy(scene, noise.speckle_noise, deviation, num_frames, generator)


def motion_blur(
    scene: Scene,
    radius: Real,
    deviation: Real,
    step_deg: Real,
    *,
    num_frames: int,
    generator: Draws,
) -> Frames:
    """A trail that turns until it comes from the right; no frame is clean (4).

    Args:
        scene: The picture.
        radius: Half the length of the trail, in pixels.
        deviation: Of its weights, in pixels.
        step_deg: Turn from frame to frame.
        num_frames: The last is at 0 degrees.
        generator: Not used.
    """
    image = scene.crop()
    for frame in range(num_frames):
        yield motion_trail(image, radius, deviation, (frame - num_frames + 1) * step_deg)


def snow(
    scene: Scene,
    mean: Real,
    deviation: Real,
    zoom: Real,
    threshold: Real,
    radius: Real,
    trail_deviation: Real,
    blend: Real,
    *,
    num_frames: int,
    generator: Draws,
) -> Frames:
    """The same flakes in every frame, whose trails turn from -150 degrees by 4 a frame (6).

    Args:
        scene: The picture.
        mean: Of the normal field whose peaks are flakes, as a share of white.
        deviation: Of that field.
        zoom: The field is enlarged so many times.
        threshold: What of it lies below is no flake.
        radius: Half the length of a flake's trail, in pixels.
        trail_deviation: Of the trail's weights, in pixels.
        blend: Share of the image that is not whitened.
        num_frames: How many.
        generator: Draws the field.
    """
    image = scene.crop()
    field = mean + deviation * generator.standard_normal(image.shape[:2])
    field = clipped_zoom(field[:, :, None], zoom)
    field[field < threshold] = 0
    flakes = (np.clip(field, 0, 1) * 255).astype(np.uint8)
    whitened = _whiten(image, float(blend))
    for frame in range(num_frames):
        trails = motion_trail(flakes, radius, trail_deviation, frame * 4 - 150)
        yield _add_flakes(whitened, trails[:, :, 0])


def brightness(scene: Scene, step_percent: Real, *, num_frames: int, generator: Draws) -> Frames:
    """From dark to bright by the value V of the HSV model (7).

    Args:
        scene: The picture.
        step_percent: Added to V from frame to frame, in percent of white.
        num_frames: The middle one adds nothing.
        generator: Not used.
    """
    image = scene.crop()
    for frame in range(num_frames):
        shift = (frame - num_frames // 2) * step_percent / 100
        yield weather.brightness(image, shift, generator=generator)


def gaussian_blur(
    scene: Scene,
    first_deviation: Real,
    step: Real,
    truncate: float,
    *,
    num_frames: int,
    generator: Draws,
) -> Frames:
    """Ever smoother; no frame is clean (11).

    Args:
        scene: The picture.
        first_deviation: Standard deviation at first, in pixels.
        step: Added to it from frame to frame.
        truncate: Reach of the filter, in deviations.
        num_frames: How many.
        generator: Not used.
    """
    values = scene.crop() / 255.0
    for frame in range(num_frames):
        deviation = first_deviation + step * frame
        yield (gaussian_filter(values, deviation, truncate=truncate) * 255).astype(np.uint8)


def spatter(
    scene: Scene,
    mean: Real,
    deviation: Real,
    blur: Real,
    threshold: Real,
    strength: Real,
    fall: tuple[float, ...],
    *,
    num_frames: int,
    generator: Draws,
) -> Frames:
    """Drops of water that run down and fade (12).

    Args:
        scene: The picture.
        mean: Of the normal field whose peaks are drops, as a share of white.
        deviation: Of that field.
        blur: The field is smoothed by a Gaussian of this deviation, in pixels.
        threshold: What of it lies below is no drop.
        strength: What the thickest place adds, as a share of the colour of water.
        fall: Every column is convolved with it from frame to frame, as ``np.convolve`` does in mode
            ``same``.
        num_frames: How many.
        generator: Draws the field.
    """
    image = scene.crop()
    field = mean + deviation * generator.standard_normal(image.shape[:2])
    field = gaussian_filter(field[:, :, None], blur)[:, :, 0]
    field[field < threshold] = 0
    values = image.astype(np.float32) / np.float32(255)
    for _ in range(num_frames):
        wet = np.clip(water(values, field, strength), 0, 1)
        yield (wet * np.float32(255)).astype(np.uint8)
        field = _run_down(field, fall)


def _noisy(
    scene: Scene, kernel: Callable[..., Image], strength: Real, num_frames: int, generator: Draws
) -> Frames:
    """The clean frame, then noise on it again and again; noise never piles up."""
    clean = scene.crop()
    yield clean.copy()
    for _ in range(1, num_frames):
        yield kernel(clean, strength, generator=generator)


def _run_down(
    field: Float64[np.ndarray, "height width"], fall: tuple[float, ...]
) -> Float64[np.ndarray, "height width"]:
    height, above = len(field), (len(fall) - 1) // 2
    padded = np.pad(field, ((len(fall) - 1 - above, above), (0, 0)))
    rows = (padded[len(fall) - 1 - k :][:height] * weight for k, weight in enumerate(fall))
    return sum(rows, np.zeros_like(field))


@outer
@typing.no_type_check
def _whiten(image, blend):
    """Doubles, but the luma is taken in single precision."""
    height, width, channels = image.shape
    unit = (np.arange(256) / 255.0).astype(np.float32)
    result = np.empty(image.shape)
    for y in range(height):
        for x in range(width):
            grey = unit[image[y, x, 0]]
            if channels == 3:
                grey *= np.float32(0.299)
                grey += unit[image[y, x, 1]] * np.float32(0.587)
                grey += unit[image[y, x, 2]] * np.float32(0.114)
            white = np.float64(grey * np.float32(1.5) + np.float32(0.5))
            for channel in range(channels):
                value = image[y, x, channel] / 255.0
                result[y, x, channel] = blend * value + (1.0 - blend) * max(value, white)
    return result


@outer
@typing.no_type_check
def _add_flakes(whitened, flakes):
    """The flakes, and the flakes turned by 180 degrees."""
    height, width, channels = whitened.shape
    result = np.empty(whitened.shape, np.uint8)
    for y in range(height):
        for x in range(width):
            here = flakes[y, x] / 255.0
            turned = flakes[height - 1 - y, width - 1 - x] / 255.0
            for channel in range(channels):
                value = whitened[y, x, channel] + here + turned
                result[y, x, channel] = np.uint8(min(value, 1.0) * 255)
    return result


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

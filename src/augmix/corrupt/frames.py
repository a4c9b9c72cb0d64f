"""The makers of perturbation sequences: (scene, physical parameters, generator) -> frames.

Here are those that change the levels of the frame; `motions` has those that move the picture. A
maker yields one frame after the other and holds no more than what the next one needs. Like the
kernels it knows nothing of names, difficulties or seeds, works on one uint8 `height width channel`
image, RGB or grey, and keeps the quirks of the published scripts (spec: perturbations.md): the
fraction is cut off at the end.
"""

import typing
from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from augmix.corrupt import draws, kernels
from augmix.corrupt.draws import Draws, Real
from augmix.corrupt.filters import clipped_zoom, gaussian_filter, motion_trail
from augmix.corrupt.spatter import water
from augmix.corrupt.warps import Frames, Image, Scene
from augmix.jit import outer


def gaussian_noise(scene: Scene, deviation: Real, *, num_frames: int, generator: Draws) -> Frames:
    """The clean frame, then each time new normal noise on it (perturbations.md 3.2, 1).

    Args:
        scene: The picture.
        deviation: Standard deviation, as a share of white.
        num_frames: With the clean one.
        generator: Draws one number a value and noisy frame.
    """
    return _noisy(scene, kernels.gaussian_noise, deviation, num_frames, generator)


def shot_noise(scene: Scene, photons: Real, *, num_frames: int, generator: Draws) -> Frames:
    """The clean frame, then each time its photons counted anew (2).

    Args:
        scene: The picture.
        photons: Mean count at white; fewer are noisier.
        num_frames: With the clean one.
        generator: Draws one count a value and noisy frame.
    """
    return _noisy(scene, kernels.shot_noise, photons, num_frames, generator)


def speckle_noise(scene: Scene, deviation: Real, *, num_frames: int, generator: Draws) -> Frames:
    """The clean frame, then each time new noise in proportion to the values (3).

    Args:
        scene: The picture.
        deviation: Standard deviation, as a share of the value.
        num_frames: With the clean one.
        generator: Draws one number a value and noisy frame.
    """
    return _noisy(scene, kernels.speckle_noise, deviation, num_frames, generator)


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
    field = mean + deviation * draws.standard_normal(generator, image.shape[:2])
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
        yield kernels.brightness(image, shift, generator=generator)


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
    field = mean + deviation * draws.standard_normal(generator, image.shape[:2])
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

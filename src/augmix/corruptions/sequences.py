"""Perturbation sequences: functions that yield the frames of a scene, one after the other.

They work on one uint8 `height width channel` image, RGB or grey, and know nothing of names,
difficulties or seeds. ``num_frames`` counts the clean frame, where there is one; ``offset_px`` is
that of `affine_map`; what is not noise, snow or spatter draws nothing from its generator. The
quirks of the published scripts are kept: the centre of rotation is half a pixel off the middle,
tilt never shows the clean image, and the fraction is dropped at the end.

The published scripts called Pillow for affine maps and OpenCV 3.4 for the tilt. Both are redone
here to the same bits, so that frames do not depend on the installed release (OpenCV 5 tilts
differently), and only the part of the image that is shown is computed. Outside the image is black.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float64

from augmix.corruptions import noise, weather
from augmix.corruptions.blur import gaussian_filter, motion_trail
from augmix.corruptions.registry import Draws, Frame, Frames, Image, Real
from augmix.jit import outer

Matrix = Float64[np.ndarray, "3 3"]

OFFSET_PX = 0.5  # of the centre of rotation from the middle, in torchvision 0.2


class Window(NamedTuple):
    """The part of an image that becomes the frame, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: Image) -> Frame:
        """Return this part of an image, as a new array."""
        part = image[self.top : self.top + self.height, self.left : self.left + self.width]
        return part.copy()


@dataclass(frozen=True, slots=True)
class Scene:
    """An image that moves, and the window through which it is seen."""

    image: Image
    window: Window

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the whole image, in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def crop(self) -> Frame:
        """Return the clean frame."""
        return self.window.crop(self.image)

    def moved(self, **motion: Real) -> Frame:
        """Return the frame after a motion by `affine_map`."""
        return warp_affine(self.image, affine_map(self.size, **motion), self.window)

    def shifted(self, shift_px: int) -> Frame:
        """Return the frame after a motion to the right by whole pixels."""
        return shift_columns(self.image, shift_px, self.window)

    def tilted(self, angle_deg: Real) -> Frame:
        """Return the frame after a turn in space by `tilt_map`."""
        return warp_perspective(self.image, tilt_map(self.size, angle_deg), self.window)


def centre_window(size: tuple[int, int], inner: tuple[int, int]) -> Window:
    """Return the middle of an image as torchvision's ``CenterCrop`` does (halves to even)."""
    top, left = (round((whole - part) / 2) for whole, part in zip(size, inner, strict=True))
    return Window(top, left, *inner)


def gaussian_noise(scene: Scene, std: Real, *, num_frames: int, generator: Draws) -> Frames:
    """Show the clean frame, then new normal noise on it; ``std`` is a fraction of white."""
    return _noisy(scene, noise.gaussian_noise, std, num_frames, generator)


def shot_noise(scene: Scene, photons: Real, *, num_frames: int, generator: Draws) -> Frames:
    """Show the clean frame, then count its photons again, whose mean at white is ``photons``."""
    return _noisy(scene, noise.shot_noise, photons, num_frames, generator)


def speckle_noise(scene: Scene, std: Real, *, num_frames: int, generator: Draws) -> Frames:
    """Show the clean frame, then new noise in proportion to its values: ``std`` is a fraction."""
    return _noisy(scene, noise.speckle_noise, std, num_frames, generator)


def motion_blur(
    scene: Scene, radius: Real, std: Real, step_deg: Real, *, num_frames: int, generator: Draws
) -> Frames:
    """Turn the trail of `augmix.corruptions.blur.motion_trail` until it comes from the right.

    No frame is clean; the last is at 0 degrees.
    """
    image = scene.crop()
    for frame in range(num_frames):
        yield motion_trail(image, radius, std, (frame - num_frames + 1) * step_deg)


def zoom_blur(
    scene: Scene, step: Real, *, num_frames: int, generator: Draws, offset_px: Real = OFFSET_PX
) -> Frames:
    """Average the clean frame and more and more enlarged ones, in single precision.

    The factor grows by ``step`` from frame to frame, from 1 on.
    """
    clean = scene.crop()
    total = clean.astype(np.float32) / np.float32(255)
    yield clean
    for frame in range(1, num_frames):
        zoomed = scene.moved(scale=1 + step * frame, offset_px=offset_px)
        total += zoomed.astype(np.float32) / np.float32(255)
        yield (total / np.float32(frame + 1) * np.float32(255)).astype(np.uint8)


def snow(
    scene: Scene,
    mean: Real,
    std: Real,
    zoom: Real,
    threshold: Real,
    radius: Real,
    trail_std: Real,
    blend: Real,
    *,
    num_frames: int,
    generator: Draws,
) -> Frames:
    """Show the same flakes in every frame, their trails turning from -150 degrees by 4 a frame.

    The parameters are those of `augmix.corruptions.weather.snow`.
    """
    image = scene.crop()
    flakes = weather.draw_flakes(image.shape[:2], mean, std, zoom, threshold, generator)
    whitened = _whiten(image, float(blend))
    for frame in range(num_frames):
        trails = motion_trail(flakes, radius, trail_std, frame * 4 - 150)
        yield _add_flakes(whitened, trails[:, :, 0])


def brightness(scene: Scene, step_percent: Real, *, num_frames: int, generator: Draws) -> Frames:
    """Go from dark to bright in the value V of HSV, by steps in percent of white."""
    image = scene.crop()
    for frame in range(num_frames):
        shift = (frame - num_frames // 2) * step_percent / 100
        yield weather.brightness(image, shift, generator=generator)


def translate(scene: Scene, first_px: int, *, num_frames: int, generator: Draws) -> Frames:
    """Move to the right by a pixel a frame, from ``first_px`` on."""
    for frame in range(num_frames):
        yield scene.shifted(first_px + frame)


def rotate(
    scene: Scene, step_deg: Real, *, num_frames: int, generator: Draws, offset_px: Real = OFFSET_PX
) -> Frames:
    """Turn clockwise about the centre; the middle frame is clean."""
    for frame in range(num_frames):
        angle_deg = (frame - num_frames // 2) * step_deg
        yield scene.moved(angle_deg=angle_deg, offset_px=offset_px)


def tilt(scene: Scene, step_deg: Real, *, num_frames: int, generator: Draws) -> Frames:
    """Turn in space about the row and the column through the centre at once.

    The middle frame is not turned, but slightly smaller than the clean image.
    """
    for frame in range(num_frames):
        yield scene.tilted((frame - num_frames // 2) * step_deg)


def scale(
    scene: Scene,
    first_percent: Real,
    step_percent: Real,
    *,
    num_frames: int,
    generator: Draws,
    offset_px: Real = OFFSET_PX,
) -> Frames:
    """Grow about the centre, from a size in percent on."""
    for frame in range(num_frames):
        factor = (frame * step_percent + first_percent) / 100
        yield scene.moved(scale=factor, offset_px=offset_px)


def gaussian_blur(
    scene: Scene, first_std: Real, step: Real, truncate: float, *, num_frames: int, generator: Draws
) -> Frames:
    """Smooth more and more, by stds in pixels, truncated at so many stds; no frame is clean."""
    values = scene.crop() / 255.0
    for frame in range(num_frames):
        smooth = gaussian_filter(values, first_std + step * frame, truncate=truncate)
        yield (smooth * 255).astype(np.uint8)


def spatter(
    scene: Scene,
    mean: Real,
    std: Real,
    blur: Real,
    threshold: Real,
    strength: Real,
    fall: tuple[float, ...],
    *,
    num_frames: int,
    generator: Draws,
) -> Frames:
    """Let drops of water run down and fade.

    The parameters are those of `augmix.corruptions.weather.spatter`; every column is convolved with
    ``fall`` from frame to frame, as ``np.convolve`` does in mode ``same``.
    """
    image = scene.crop()
    field = weather.draw_drops(image.shape[:2], mean, std, blur, threshold, generator)
    values = image.astype(np.float32) / np.float32(255)
    for _ in range(num_frames):
        wet = np.clip(weather.water(values, field, strength), 0, 1)
        yield (wet * np.float32(255)).astype(np.uint8)
        field = _run_down(field, fall)


def shear(
    scene: Scene, step_deg: Real, *, num_frames: int, generator: Draws, offset_px: Real = OFFSET_PX
) -> Frames:
    """Slant along the rows by turning the columns; the middle frame is clean."""
    for frame in range(num_frames):
        angle_deg = (frame - num_frames // 2) * step_deg
        yield scene.moved(shear_deg=angle_deg, offset_px=offset_px)


def affine_map(
    size: tuple[int, int],
    *,
    angle_deg: Real = 0,
    scale: Real = 1,
    shear_deg: Real = 0,
    offset_px: Real = OFFSET_PX,
) -> tuple[float, ...]:
    """Map output to input pixels as torchvision 0.2 did.

    Args:
        size: Height and width of the image.
        angle_deg: Clockwise.
        scale: Above 1 enlarges.
        shear_deg: Along rows; also stretches the columns slightly.
        offset_px: Of the centre from the middle of the image, to the right and down. The
            published sets have half a pixel; newer releases of torchvision have 0.

    Returns:
        a, b, c, d, e, f: the output pixel (x, y) samples (a x + b y + c, d x + e y + f).
    """
    middle_y, middle_x = size[0] * 0.5 + offset_px, size[1] * 0.5 + offset_px
    angle, shear = math.radians(angle_deg), math.radians(shear_deg)
    both = angle + shear
    area = math.cos(both) * math.cos(angle) + math.sin(both) * math.sin(angle)
    factor = 1.0 / scale / area
    a, b = factor * math.cos(both), factor * math.sin(both)
    d, e = factor * -math.sin(angle), factor * math.cos(angle)
    c = a * -middle_x + b * -middle_y + middle_x
    f = d * -middle_x + e * -middle_y + middle_y
    return a, b, c, d, e, f


def warp_affine(image: Image, mapping: tuple[float, ...], window: Window) -> Frame:
    """Sample between pixels as Pillow's ``transform(AFFINE, BILINEAR)`` does, bit for bit."""
    return _sample_affine(image, mapping, tuple(window))


def shift_columns(image: Image, shift_px: int, window: Window) -> Frame:
    """Move to the right by whole pixels; to the left if negative."""
    moved = np.zeros_like(image)
    width = image.shape[1]
    first, last = max(shift_px, 0), min(width + shift_px, width)
    if first < last:
        moved[:, first:last] = image[:, first - shift_px : last - shift_px]
    return window.crop(moved)


def tilt_map(size: tuple[int, int], angle_deg: Real) -> Matrix:
    """Turn the image in space by the same angle about its row and its column.

    The image lies one pixel behind the plane at the focal length, so that it shrinks slightly even
    at angle 0. The focal length is the diagonal of ``size``.

    Returns:
        From input to output, homogeneous.
    """
    height, width = size
    focus = math.sqrt(width**2 + height**2)
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    lift = ((1, 0, -width / 2), (0, 1, -height / 2), (0, 0, 1), (0, 0, 1))
    turn_y = ((cos, 0, -sin, 0), (0, 1, 0, 0), (sin, 0, cos, 0), (0, 0, 0, 1))
    turn_x = ((1, 0, 0, 0), (0, cos, -sin, 0), (0, sin, cos, 0), (0, 0, 0, 1))
    away = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, focus), (0, 0, 0, 1))
    project = ((focus, 0, width / 2, 0), (0, focus, height / 2, 0), (0, 0, 1, 0))
    # products of Python numbers add from left to right; BLAS may add in another order
    factors = (np.array(each, object) for each in (project, away, turn_x, turn_y, lift))
    return reduce(np.matmul, factors).astype(np.float64)


def warp_perspective(image: Image, mapping: Matrix, window: Window) -> Frame:
    """Sample as ``warpPerspective`` of OpenCV 3.4 does, by a mapping from input to output."""
    return _sample_perspective(image, inverse(mapping), tuple(window))


def _noisy(
    scene: Scene, function: Callable[..., Image], strength: Real, num_frames: int, generator: Draws
) -> Frames:
    """The clean frame, then noise on it; noise does not add up over frames."""
    clean = scene.crop()
    yield clean.copy()
    for _ in range(1, num_frames):
        yield function(clean, strength, generator=generator)


def _run_down(
    field: Float64[np.ndarray, "height width"], fall: tuple[float, ...]
) -> Float64[np.ndarray, "height width"]:
    height, above = len(field), (len(fall) - 1) // 2
    padded = np.pad(field, ((len(fall) - 1 - above, above), (0, 0)))
    rows = (padded[len(fall) - 1 - k :][:height] * weight for k, weight in enumerate(fall))
    return sum(rows, np.zeros_like(field))


@outer
@no_type_check
def _whiten(image, blend):
    """Blend with white in double precision, but take the luma in single precision."""
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
@no_type_check
def _add_flakes(whitened, flakes):
    """Add the flakes, and the flakes turned by 180 degrees."""
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


def inverse(matrix: Matrix) -> tuple[float, ...]:
    """Invert a matrix: nine numbers, row by row, in OpenCV's order of operations."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    scale = 1.0 / (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    return (
        *((e * i - f * h) * scale, (c * h - b * i) * scale, (b * f - c * e) * scale),
        *((f * g - d * i) * scale, (a * i - c * g) * scale, (c * d - a * f) * scale),
        *((d * h - e * g) * scale, (b * g - a * h) * scale, (a * e - b * d) * scale),
    )


@outer
@no_type_check
def _sample_affine(image, mapping, part):
    """Pixel centres, double precision, neighbours clamped, the fraction dropped."""
    height, width, channels = image.shape
    a, b, c, d, e, f = mapping
    top, left, rows, columns = part
    result = np.zeros((rows, columns, channels), np.uint8)
    for row in range(rows):
        out_y = top + row + 0.5
        for column in range(columns):
            out_x = left + column + 0.5
            x = a * out_x + b * out_y + c
            y = d * out_x + e * out_y + f
            if x < 0.0 or x >= width or y < 0.0 or y >= height:
                continue
            x -= 0.5
            y -= 0.5
            whole_x, whole_y = math.floor(x), math.floor(y)
            weight_x, weight_y = x - whole_x, y - whole_y
            x0, x1 = np.uintp(max(whole_x, 0)), np.uintp(min(whole_x + 1, width - 1))
            y0, y1 = np.uintp(max(whole_y, 0)), np.uintp(min(whole_y + 1, height - 1))
            for channel in range(channels):
                at = np.uintp(channel)
                near, far = float(image[y0, x0, at]), float(image[y0, x1, at])
                above = near + (far - near) * weight_x
                near, far = float(image[y1, x0, at]), float(image[y1, x1, at])
                below = near + (far - near) * weight_x
                result[row, column, channel] = np.uint8(above + (below - above) * weight_y)
    return result


@outer
@no_type_check
def _sample_perspective(image, inverse, part):
    """Columns in blocks of 64, positions in 1/32 pixel, weights in 1/1024, rounded once."""
    height, width, channels = image.shape
    top, left, rows, columns = part
    padded = np.zeros((height + 2, width + 2, channels), np.uint8)
    padded[1:-1, 1:-1] = image
    result = np.zeros((rows, columns, channels), np.uint8)
    for row in range(rows):
        y = top + row
        for column in range(columns):
            block = (left + column) // 64 * 64
            rest = left + column - block
            depth = inverse[6] * block + inverse[7] * y + inverse[8] + inverse[6] * rest
            if depth == 0.0:
                continue
            depth = 32.0 / depth
            in_x = (inverse[0] * block + inverse[1] * y + inverse[2] + inverse[0] * rest) * depth
            in_y = (inverse[3] * block + inverse[4] * y + inverse[5] + inverse[3] * rest) * depth
            fine_x = int(np.rint(min(max(in_x, -1e8), 1e8))) + 32
            fine_y = int(np.rint(min(max(in_y, -1e8), 1e8))) + 32
            if fine_x < 0 or fine_x >> 5 > width or fine_y < 0 or fine_y >> 5 > height:
                continue
            x0, y0 = np.uintp(fine_x >> 5), np.uintp(fine_y >> 5)
            x1, y1 = x0 + np.uintp(1), y0 + np.uintp(1)
            right, down = np.int32(fine_x & 31), np.int32(fine_y & 31)
            for channel in range(channels):
                at = np.uintp(channel)
                above = padded[y0, x0, at] * (32 - right) + padded[y0, x1, at] * right
                below = padded[y1, x0, at] * (32 - right) + padded[y1, x1, at] * right
                total = above * (32 - down) + below * down + 512
                result[row, column, channel] = np.uint8(total >> 10)
    return result

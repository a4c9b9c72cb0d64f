"""Moving pictures: the affine maps of the published sequences, and the tilt.

The published scripts called Pillow for the affine maps and OpenCV 3.4 for the tilt. Both are redone
here to the bit, so that the frames do not depend on which release is installed (OpenCV 5 tilts
otherwise), and only the part of the picture that is kept is made. What lies outside the picture
is black."""

import math
import typing
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from augmix.corruptions.registry import Image, Real
from augmix.jit import outer

Matrix = tuple[tuple[Real, ...], ...]

PUBLISHED_OFFSET_PX = 0.5  # of the centre of rotation from the middle, in torchvision 0.2


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a picture that becomes the frame, in pixels.

    Attributes:
        top: First row.
        left: First column.
        height: Number of rows.
        width: Number of columns.
    """

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: Image) -> UInt8[np.ndarray, "row column channel"]:
        """This part of an image, as an array of its own."""
        part = image[self.top : self.top + self.height, self.left : self.left + self.width]
        return part.copy()


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and the part of it that is shown.

    Attributes:
        image: What moves when the picture moves.
        window: Where the frame lies in it.
    """

    image: Image
    window: Window

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the whole picture, in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def crop(self) -> Image:
        """The clean frame."""
        return self.window.cut(self.image)


def centre_window(size: tuple[int, int], inner: tuple[int, int]) -> Window:
    """The middle of a picture, as torchvision's ``CenterCrop`` finds it (halves to even).

    Args:
        size: Height and width of the picture.
        inner: Height and width of the window, not above ``size``.
    """
    top, left = (round((whole - part) / 2) for whole, part in zip(size, inner, strict=True))
    return Window(top, left, *inner)


def affine_map(
    size: tuple[int, int],
    *,
    angle_deg: Real = 0,
    scale: Real = 1,
    shear_deg: Real = 0,
    offset_px: Real = PUBLISHED_OFFSET_PX,
) -> tuple[float, ...]:
    """From output to input, as torchvision 0.2 computed it (perturbations.md 3.3).

    Args:
        size: Height and width of the picture.
        angle_deg: Clockwise.
        scale: Above 1 enlarges.
        shear_deg: Along rows; also stretches the columns a little.
        offset_px: Of the centre from the middle of the picture, to the right and down. The
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


def warp_affine(
    image: Image, mapping: tuple[float, ...], window: Window
) -> UInt8[np.ndarray, "row column channel"]:
    """Sample between pixels as Pillow's ``transform(AFFINE, BILINEAR)`` does, bit for bit.

    Args:
        image: Grey levels.
        mapping: From `affine_map`.
        window: What of the result is made.
    """
    place = (window.top, window.left, window.height, window.width)
    return _sample_affine(image, mapping, place)


def shift_columns(
    image: Image, shift_px: int, window: Window
) -> UInt8[np.ndarray, "row column channel"]:
    """Move to the right by whole pixels; to the left if negative."""
    moved = np.zeros_like(image)
    width = image.shape[1]
    first, last = max(shift_px, 0), min(width + shift_px, width)
    if first < last:
        moved[:, first:last] = image[:, first - shift_px : last - shift_px]
    return window.cut(moved)


def tilt_map(size: tuple[int, int], angle_deg: Real) -> Matrix:
    """Turn the picture by the same angle about its row and its column (perturbations.md 3.2, 10).

    The picture lies one pixel behind the plane at the focal length, so it shrinks a little even at
    angle 0.

    Args:
        size: Height and width; the focal length is the diagonal.
        angle_deg: Of both turns.

    Returns:
        Three rows, from input to output, homogeneous.
    """
    height, width = size
    focus = math.sqrt(width**2 + height**2)
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    place = ((1, 0, -width / 2), (0, 1, -height / 2), (0, 0, 1), (0, 0, 1))
    turn_y = ((cos, 0, -sin, 0), (0, 1, 0, 0), (sin, 0, cos, 0), (0, 0, 0, 1))
    turn_x = ((1, 0, 0, 0), (0, cos, -sin, 0), (0, sin, cos, 0), (0, 0, 0, 1))
    away = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, focus), (0, 0, 0, 1))
    project = ((focus, 0, width / 2, 0), (0, focus, height / 2, 0), (0, 0, 1, 0))
    result: Matrix = project
    for factor in (away, turn_x, turn_y, place):
        result = _product(result, factor)
    return result


def warp_perspective(
    image: Image, mapping: Matrix, window: Window
) -> UInt8[np.ndarray, "row column channel"]:
    """Sample between pixels as ``warpPerspective`` of OpenCV 3.4 does: to 1/32 of a pixel.

    Args:
        image: Grey levels.
        mapping: From input to output, e.g. from `tilt_map`.
        window: What of the result is made.
    """
    place = (window.top, window.left, window.height, window.width)
    return _sample_perspective(image, _inverse(mapping), place)


def _product(left: Matrix, right: Matrix) -> Matrix:
    """Sums from left to right; a library may add in another order on another machine."""
    return tuple(
        tuple(
            sum((row[k] * right[k][column] for k in range(1, len(row))), row[0] * right[0][column])
            for column in range(len(right[0]))
        )
        for row in left
    )


def _inverse(matrix: Matrix) -> tuple[float, ...]:
    """Nine numbers, row by row, in OpenCV's order of operations."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    scale = 1.0 / (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    return (
        *((e * i - f * h) * scale, (c * h - b * i) * scale, (b * f - c * e) * scale),
        *((f * g - d * i) * scale, (a * i - c * g) * scale, (c * d - a * f) * scale),
        *((d * h - e * g) * scale, (b * g - a * h) * scale, (a * e - b * d) * scale),
    )


@outer
@typing.no_type_check
def _sample_affine(image, mapping, place):
    """Pixel centres; double precision; the neighbour clamped; the fraction cut off."""
    height, width, channels = image.shape
    a, b, c, d, e, f = mapping
    top, left, rows, columns = place
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
            share_x, share_y = x - whole_x, y - whole_y
            x0, x1 = np.uintp(max(whole_x, 0)), np.uintp(min(whole_x + 1, width - 1))
            y0, y1 = np.uintp(max(whole_y, 0)), np.uintp(min(whole_y + 1, height - 1))
            for channel in range(channels):
                at = np.uintp(channel)
                near, far = float(image[y0, x0, at]), float(image[y0, x1, at])
                above = near + (far - near) * share_x
                near, far = float(image[y1, x0, at]), float(image[y1, x1, at])
                below = near + (far - near) * share_x
                result[row, column, channel] = np.uint8(above + (below - above) * share_y)
    return result


@outer
@typing.no_type_check
def _sample_perspective(image, inverse, place):
    """Columns in blocks of 64, places in 1/32 pixel, weights in 1/1024, rounded once."""
    height, width, channels = image.shape
    top, left, rows, columns = place
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

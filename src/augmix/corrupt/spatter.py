"""Spatter: drops of water or mud on the lens.

The published script is a chain of OpenCV calls on 8 bit images; it is kept call by call.
"""

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from augmix.corrupt import draws
from augmix.corrupt.draws import Draws, Real
from augmix.corrupt.filters import gaussian_filter

Image = UInt8[np.ndarray, "height width channel"]

_WATER = np.array([175, 238, 238]) / 255.0
_MUD = np.array([63, 42, 20]) / 255.0
_LUMA = np.array([0.299, 0.587, 0.114])
_EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def spatter(
    image: Image,
    mean: Real,
    deviation: Real,
    blur: Real,
    threshold: Real,
    strength: Real,
    is_mud: int,
    *,
    generator: Draws,
) -> Image:
    """Splash water or mud over the image (corruptions.md 4.18).

    Args:
        image: Grey levels; a grey image gets the luma of the colours.
        mean: Of the normal field whose peaks are drops, as a share of white.
        deviation: Of that field.
        blur: The field is smoothed by a Gaussian of this deviation, in pixels.
        threshold: What of it lies below is no drop.
        strength: Of water: its share of white where it is thickest. Of mud: the deviation of the
            Gaussian that softens its edge, in pixels.
        is_mud: 0 for water, 1 for mud.
        generator: Draws the field.
    """
    field = mean + deviation * draws.standard_normal(generator, image.shape[:2])
    field = gaussian_filter(field[:, :, None], blur)[:, :, 0]
    field[field < threshold] = 0
    values = image.astype(np.float32) / np.float32(255)
    mixed = _mud(values, field > threshold, strength) if is_mud else water(values, field, strength)
    return (np.clip(mixed, 0, 1) * np.float32(255)).astype(np.uint8)


def water(
    values: Float32[np.ndarray, "height width channel"],
    field: Float64[np.ndarray, "height width"],
    strength: Real,
) -> Float32[np.ndarray, "height width channel"]:
    """Drops shine by their height and the distance to their edge.

    Args:
        values: The image in [0, 1].
        field: Height of the drops; 0 where there is none.
        strength: What the thickest place adds, as a share of the colour of water.

    Returns:
        New values, which may lie above 1; the old ones if there is no drop.
    """
    layer = (field * 255).astype(np.int64).astype(np.uint8)  # above 1 it starts at 0 again
    distance = cv2.distanceTransform(255 - cv2.Canny(layer, 50, 150), cv2.DIST_L2, 5)
    distance = np.minimum(distance, np.float32(20))
    distance = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    distance = cv2.blur(cv2.filter2D(distance, cv2.CV_8U, _EMBOSS), (3, 3))
    height = layer * distance.astype(np.float32)
    if not height.any():  # no drop: the published script divides 0 by 0 here
        return values
    height = height / height.max() * np.float32(strength)
    return values + height[:, :, None] * _colour(_WATER, values.shape[2])


def _mud(
    values: Float32[np.ndarray, "height width channel"],
    is_drop: np.ndarray,
    strength: Real,
) -> Float32[np.ndarray, "height width channel"]:
    """Mud covers; only its inner part is opaque enough to stay."""
    cover = gaussian_filter(is_drop[:, :, None].astype(np.float64), strength)
    cover[cover < 0.8] = 0
    mud = (cover * _colour(_MUD, values.shape[2])).astype(np.float32)
    return (values * (1 - cover)).astype(np.float32) + mud


def _colour(rgb: Float64[np.ndarray, " three"], channels: int) -> Float32[np.ndarray, " channel"]:
    """The colour itself, or its luma for a grey image."""
    return (rgb if channels == 3 else np.array([rgb @ _LUMA])).astype(np.float32)

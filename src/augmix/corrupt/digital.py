"""What processing does to an image: contrast, pixels too large, JPEG."""

import io
import typing

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from augmix.corrupt.draws import Draws, Real
from augmix.jit import outer

Image = UInt8[np.ndarray, "height width channel"]


def contrast(image: Image, factor: Real, *, generator: Draws) -> Image:
    """Pull every channel towards its mean (corruptions.md 4.12).

    Args:
        image: Grey levels.
        factor: Share of the distance to the mean that stays.
        generator: Not used.
    """
    return _pull_to_mean(image, factor)


def pixelate(image: Image, share: Real, *, generator: Draws) -> Image:
    """Shrink with a box filter and enlarge again (4.14).

    Args:
        image: Grey levels.
        share: Height and width of the small image, as a share; its sides are cut to whole pixels.
        generator: Not used.
    """
    height, width = image.shape[:2]
    small = (max(int(width * share), 1), max(int(height * share), 1))
    picture = _to_picture(image).resize(small, PillowImage.Resampling.BOX)
    return _to_array(picture.resize((width, height), PillowImage.Resampling.BOX))


def jpeg_compression(image: Image, quality: int, *, generator: Draws) -> Image:
    """Encode as JPEG with Pillow's other defaults (4:2:0 chroma) and decode (4.15).

    Args:
        image: Grey levels.
        quality: 1..95, as libjpeg scales its tables.
        generator: Not used.
    """
    file = io.BytesIO()
    _to_picture(image).save(file, "JPEG", quality=quality)
    return _to_array(PillowImage.open(file, formats=("JPEG",)))


def encode_jpeg(image: Image, *, quality: int) -> bytes:
    """A JPEG file as the published sets hold them: optimised tables, 4:2:0 chroma, by Pillow.

    Args:
        image: Grey levels.
        quality: 1..100; the published sets have 85.
    """
    file = io.BytesIO()
    _to_picture(image).save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def recode(image: Image, quality: int) -> Image:
    """What is left of an image in a file of a published set: `encode_jpeg`, decoded."""
    file = io.BytesIO(encode_jpeg(image, quality=quality))
    return _to_array(PillowImage.open(file, formats=("JPEG",)))


def _to_picture(image: Image) -> PillowImage.Image:
    return PillowImage.fromarray(image if image.shape[2] == 3 else image[:, :, 0])


def _to_array(picture: PillowImage.Image) -> Image:
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[:, :, None]


@outer
@typing.no_type_check
def _pull_to_mean(image, factor):
    """The mean is a plain sum in C order, as NumPy adds rows of three: its last bit can show."""
    height, width, channels = image.shape
    table = np.empty((channels, 256), np.uint8)
    for channel in range(channels):
        mean = 0.0
        for y in range(height):
            for x in range(width):
                mean += image[y, x, channel] / 255.0
        mean /= height * width
        for level in range(256):
            value = (level / 255.0 - mean) * factor + mean
            table[channel, level] = np.uint8(min(max(value, 0.0), 1.0) * 255)
    result = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            for channel in range(channels):
                result[y, x, channel] = table[channel, image[y, x, channel]]
    return result

"""Image files and arrays -> uint8 pixels of a given size.

A part of the photograph of random area and shape is resized to a square. The numbers belong to
(seed, epoch, id); the box follows from them and the photograph's size, once that is known. So an
image has the same crop in whatever batch, worker or process it is decoded.

Decoding is Pillow's, so the same file gives the same pixels on any thread and in any order.
Everything becomes 8-bit RGB: grey, 1-bit and palette images are expanded, CMYK is converted by
Pillow, alpha is dropped (the colours below it stay), of 16-bit grey the high byte is kept. EXIF
orientation is not applied, as is usual in ImageNet evaluation.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer, UInt8
from PIL import Image, UnidentifiedImageError

from augmix.arrays import MAX_PIXELS
from augmix.errors import RunError
from augmix.rng import Purpose, Stream

Box = tuple[int, int, int, int]  # top, left, height, width in pixels
Draws = Float64[np.ndarray, "batch try 4"]

_NUM_TRIES = 10
_PART = 1  # of Purpose.CROP; part 0 has the padded crop and the flip of a plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizedCrop:
    """Which boxes are drawn: the law of torchvision's ``RandomResizedCrop``.

    Attributes:
        area: Smallest and largest share of the photograph that a crop covers, in (0, 1].
        ratio: Smallest and largest width / height of a crop.

    Raises:
        ValueError: If a range is empty or out of bounds.
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area must be shares 0 < low <= high <= 1, got {self.area}")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"ratio must be 0 < low <= high, got {self.ratio}")

    def sample(self, ids: Integer[np.ndarray, " batch"], *, stream: Stream) -> Draws:
        """Uniform numbers in (0, 1) for every try: area, ratio, row and column.

        Args:
            ids: Images, as the plan numbers them.
            stream: The run's seed and epoch.
        """
        numbers = stream.at(Purpose.CROP, part=_PART).uniforms(ids, count=4 * _NUM_TRIES)
        return numbers.reshape(len(ids), _NUM_TRIES, 4)

    def box(self, draws: Float64[np.ndarray, "try 4"], height: int, width: int) -> Box:
        """The box of one image: of the first try that fits, else as `centre`.

        A try has its area uniform in `area`, the logarithm of its ratio uniform in `ratio`, and its
        corner uniform over all places where it fits.
        """
        low, high = (math.log(bound) for bound in self.ratio)
        for area, ratio, row, column in draws.tolist():
            pixels = height * width * (self.area[0] + area * (self.area[1] - self.area[0]))
            shape = math.exp(low + ratio * (high - low))
            tall, wide = round(math.sqrt(pixels / shape)), round(math.sqrt(pixels * shape))
            if 0 < tall <= height and 0 < wide <= width:
                top, left = int(row * (height - tall + 1)), int(column * (width - wide + 1))
                return top, left, tall, wide
        return self.centre(height, width)

    def centre(self, height: int, width: int) -> Box:
        """The largest central box whose ratio is allowed."""
        tall, wide = height, width
        if width / height < self.ratio[0]:
            tall = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            wide = round(height * self.ratio[1])
        return (height - tall) // 2, (width - wide) // 2, tall, wide


# No format whose decoder starts another program (EPS does).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".tif", ".tiff")
)
_REDUCTIONS = (8, 4, 2)  # of JPEG's blocks of 8 x 8 pixels
_SPARE = 1.5  # pixels of a reduced crop for each of the result, at least
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


class ImageError(RunError):
    """One image cannot be used: broken, too large, or of a kind that has no 8-bit RGB form."""


def decode_image(content: bytes, *, size: int = 0) -> UInt8[np.ndarray, "height width channel=3"]:
    """The RGB pixels of an encoded image.

    Args:
        content: A whole image file.
        size: 0 keeps the stored size, N resizes and crops as `fit` does.

    Raises:
        ImageError: If the file is no image, is broken or truncated, or is too large.
    """
    try:
        image = _open(content)
        image.load()  # here, since NumPy may hide an error met while it asks for the pixels
        return to_pixels(fit(_to_rgb(image), size))
    except ImageError:
        raise
    except Exception as error:  # a decoder fed a broken file may raise anything
        raise ImageError(f"{type(error).__name__}: {error}") from error


def decode_crop(
    content: bytes, choose: Callable[[int, int], Box], *, size: int, is_reduced: bool = True
) -> UInt8[np.ndarray, "size size channel=3"]:
    """A part of an encoded image, resized to a square by Pillow's bilinear filter.

    Where the part has at least 3 times the side of the square, a JPEG is decoded at 1/2, 1/4 or 1/8
    of its size, by fewer coefficients of its blocks, such that the part still has 1.5 times the
    pixels wanted on each side. That is quicker; grey levels differ by about 1 on average.

    Args:
        content: A whole image file.
        choose: Gives the part for an image's height and width.
        size: Side of the square in pixels.
        is_reduced: Whether JPEGs may be decoded at a reduced size; without it, the result is that
            of cutting the part out of the whole image and resizing it.

    Raises:
        ImageError: As `decode_image`.
    """
    try:
        image = _open(content)
        width, height = image.size
        top, left, tall, wide = choose(height, width)
        scale = _reduction(image, min(tall, wide), size) if is_reduced else 1
        if scale > 1:
            image.draft(None, (width // scale, height // scale))
        image.load()
        box = (left / scale, top / scale, (left + wide) / scale, (top + tall) / scale)
        return to_pixels(_resize_part(_to_rgb(image), box, size))
    except ImageError:
        raise
    except Exception as error:  # a decoder fed a broken file may raise anything
        raise ImageError(f"{type(error).__name__}: {error}") from error


def stored_size(content: bytes) -> tuple[int, int]:
    """Height and width in pixels as the file's header states them.

    Raises:
        ImageError: If the file is no image or is too large.
    """
    try:
        width, height = _open(content).size
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{type(error).__name__}: {error}") from error
    return height, width


def resize_image(
    pixels: UInt8[np.ndarray, "height width channel"], *, size: int
) -> UInt8[np.ndarray, "size size channel"]:
    """An image in memory, grey or RGB, at another size; see `fit`."""
    grey = pixels.shape[2] == 1
    return to_pixels(fit(Image.fromarray(pixels[..., 0] if grey else pixels), size))


def fit(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side (Pillow's bilinear filter), then cut the centre square.

    From 64 pixels on the shorter side becomes ``round(size * 256 / 224)``, which is ImageNet's
    256 for 224; below it becomes ``size``.

    Args:
        size: Side of the square in pixels; 0 leaves the image as it is.

    Raises:
        ImageError: If the resized image, before the cut, would have too many pixels.
    """
    if size == 0:
        return image
    shorter = round(size * 256 / 224) if size >= 64 else size
    if shorter != min(image.size):
        width, height = (int(shorter * side / min(image.size)) for side in image.size)
        _check_pixels(width, height, "resized ")
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


def _open(content: bytes) -> Image.Image:
    """The image with its header read and no pixel decoded."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        found = f"{len(content)} bytes that start {content[:8]!r}" if content else "no bytes at all"
        raise ImageError(f"expected an image ({', '.join(FORMATS)}), got {found}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"expected at most {MAX_PIXELS:,} pixels, got more ({error})") from None
    _check_pixels(*image.size)
    return image


def _reduction(image: Image.Image, side: int, size: int) -> int:
    """By how much a JPEG may be reduced for a part of this smaller side."""
    if image.format != "JPEG":
        return 1
    return next((by for by in _REDUCTIONS if side >= by * _SPARE * size), 1)


def _resize_part(
    image: Image.Image, box: tuple[float, float, float, float], size: int
) -> Image.Image:
    """A box whose corners may lie inside pixels, as a square; what lies around it has no part."""
    left, top = math.floor(box[0]), math.floor(box[1])
    part = image.crop((left, top, math.ceil(box[2]), math.ceil(box[3])))
    inside = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return part.resize((size, size), Image.Resampling.BILINEAR, box=inside)


def _check_pixels(width: int, height: int, what: str = "") -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"expected at most {MAX_PIXELS:,} pixels, got {what}{width}x{height} "
            f"= {width * height:,}"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """The same picture as 8-bit RGB; the table is in the module's docstring."""
    if image.mode == "RGB":
        return image
    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format == "PNG"):
        high = (np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError(
            f"expected 8- or 16-bit grey levels, got mode {image.mode} "
            f"({'32-bit integers' if image.mode == 'I' else 'floats'}) without a known range"
        )
    if image.mode in ("P", "PA", "RGBa"):  # by way of RGBA: transparency would come as a warning
        image = image.convert("RGBA")
    return image.convert("RGB")


def to_pixels(image: Image.Image) -> UInt8[np.ndarray, "height width channel"]:
    """The pixels of an 8-bit grey or RGB image."""
    pixels: Any = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels

"""Image files and arrays to uint8 pixels of a given size.

Decoding is Pillow's, so the same file gives the same pixels on any thread and in any order.
Everything becomes 8-bit RGB: grey, 1-bit and palette images are expanded, CMYK is converted by
Pillow, alpha is dropped (the colours below it stay), of 16-bit grey the high byte is kept. EXIF
orientation is not applied, as is usual in ImageNet evaluation.

For evaluation an image is resized and its centre is cut out (`Geometry`), with the roundings of
torchvision's evaluation transforms; for training a random part of it may be (`ResizedCrop`).
"""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer, UInt8
from PIL import Image, UnidentifiedImageError

from augmix.arrays import MAX_PIXELS
from augmix.errors import RunError, check_name
from augmix.rng import Purpose, Stream

# No format that Pillow decodes by another program (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".tif", ".tiff")
)
_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
INTERPOLATIONS = {name: Image.Resampling[name.upper()] for name in _FILTERS}

Box = tuple[int, int, int, int]  # top, left, height, width in pixels
Draws = Float64[np.ndarray, "batch try 4"]

_NUM_TRIES = 10
_PART = 1  # of Purpose.CROP; part 0 is for the padded crop and the flip of a plan
_REDUCTIONS = (8, 4, 2)  # of JPEG's blocks of 8 x 8 pixels
_SPARE = 1.5  # least pixels of a reduced crop for each pixel of the result, along an edge
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


class ImageError(RunError):
    """One image cannot be used: broken, too large, or of a kind that has no 8-bit RGB form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizedCrop:
    """The distribution of random crops: that of torchvision's ``RandomResizedCrop``.

    Attributes:
        area: Smallest and largest fraction of the image's area that a crop covers, in (0, 1].
        ratio: Smallest and largest width / height of a crop.
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area must be fractions 0 < low <= high <= 1, got {self.area}")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"ratio must be 0 < low <= high, got {self.ratio}")

    def sample(self, ids: Integer[np.ndarray, " batch"], *, stream: Stream) -> Draws:
        """Draw uniform numbers in (0, 1) for every try: area, ratio, row and column."""
        numbers = stream.at(Purpose.CROP, part=_PART).uniforms(ids, count=4 * _NUM_TRIES)
        return numbers.reshape(len(ids), _NUM_TRIES, 4)

    def box(self, draws: Float64[np.ndarray, "try 4"], height: int, width: int) -> Box:
        """Return the box of one image: that of the first try that fits, else `centre`.

        A try has its area uniform in `area`, the logarithm of its ratio uniform in `ratio`, and its
        corner uniform over all positions where it fits.
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
        """Return the largest central box with an allowed ratio."""
        tall, wide = height, width
        if width / height < self.ratio[0]:
            tall = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            wide = round(height * self.ratio[1])
        return (height - tall) // 2, (width - wide) // 2, tall, wide


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Resize the shorter edge of an image, then cut out its central square.

    Attributes:
        size: Edge of the central square in pixels; 0 keeps images as stored.
        resize: The shorter edge before the cut, at least `size`. 0 takes ``round(size * 256 /
            224)`` from 64 pixels on, which is ImageNet's 256 for 224, and `size` below.
        interpolation: Pillow's filter, a key of `INTERPOLATIONS`.
        squash: Resize both edges to `size`, whatever the image's shape, and cut nothing.
        crop: The random crops that images are loaded with for training, if any.
        is_reduced: Whether JPEGs much larger than their crop are decoded at a reduced size.
    """

    size: int = 0
    resize: int = 0
    interpolation: str = "bilinear"
    squash: bool = False
    crop: ResizedCrop | None = None
    is_reduced: bool = True

    def __post_init__(self) -> None:
        check_name("interpolation", self.interpolation, INTERPOLATIONS)
        if self.crop and not self.size:
            raise ValueError(
                "random resized crops need a size in pixels that they are resized to; "
                "ImageNet's is 224 (--size 224)"
            )
        if self.resize and not self.size:
            raise ValueError(
                f"resize = {self.resize} needs a size, that of the square cut out after it"
            )
        if self.resize and self.resize < self.size:
            raise ValueError(
                f"resize must be at least size = {self.size} pixels, got {self.resize}; "
                "ImageNet's usual pair is 256 and 224"
            )
        if self.squash and (not self.size or self.resize not in (0, self.size)):
            raise ValueError(
                "squash resizes both edges to size, which must be above 0, and resize must be 0 "
                f"or the same; got size {self.size}, resize {self.resize}"
            )

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the square of ``size`` pixels of one image.

        Raises:
            ImageError: If the resized image, before the cut, would have too many pixels.
        """
        if not self.size:
            return image
        shorter = self.resize or (round(self.size * 256 / 224) if self.size >= 64 else self.size)
        width, height = (int(shorter * edge / min(image.size)) for edge in image.size)
        if self.squash:
            width = height = self.size
        if (width, height) != image.size:
            _check_pixels(width, height, "resized ")
            image = image.resize((width, height), INTERPOLATIONS[self.interpolation])
        left, top = (round((edge - self.size) / 2) for edge in image.size)
        return image.crop((left, top, left + self.size, top + self.size))

    def apply_to_array(
        self, pixels: UInt8[np.ndarray, "height width channel"]
    ) -> UInt8[np.ndarray, "new_height new_width channel"]:
        """Return the square of ``size`` pixels of an image in memory, grey or RGB."""
        if not self.size:
            return pixels
        grey = pixels.shape[2] == 1
        return to_pixels(self.apply(Image.fromarray(pixels[..., 0] if grey else pixels)))


AS_STORED = Geometry()


def decode_image(
    content: bytes, geometry: Geometry = AS_STORED
) -> UInt8[np.ndarray, "height width channel=3"]:
    """Decode an image file to RGB pixels, resized and cut, but for random crops.

    Raises:
        ImageError: If the file is no image, is broken or truncated, or is too large.
    """
    with _naming_errors():
        image = _open(content)
        image.load()  # here, since NumPy may hide an error met while it asks for the pixels
        return to_pixels(geometry.apply(to_rgb(image)))


def decode_crop(
    content: bytes, choose: Callable[[int, int], Box], *, size: int, is_reduced: bool = True
) -> UInt8[np.ndarray, "size size channel=3"]:
    """Decode a part of an image file, resized to a square by Pillow's bilinear filter.

    Where the part is at least 3 times the size of the square, a JPEG is decoded at 1/2, 1/4 or 1/8
    of its size, by fewer coefficients of its blocks, such that the part still has 1.5 times the
    pixels wanted along each edge. That is quicker; grey levels differ by about 1 on average.

    Args:
        choose: Returns the part for an image's height and width.
        size: Edge of the square in pixels.
        is_reduced: Whether JPEGs may be decoded at a reduced size; without it, the result is that
            of cutting the part out of the whole image and resizing it.
    """
    with _naming_errors():
        image = _open(content)
        width, height = image.size
        top, left, tall, wide = choose(height, width)
        scale = 1
        if is_reduced and image.format == "JPEG":
            fitting = (by for by in _REDUCTIONS if min(tall, wide) >= by * _SPARE * size)
            scale = next(fitting, 1)
        if scale > 1:
            image.draft(None, (width // scale, height // scale))
        image.load()
        box = (left / scale, top / scale, (left + wide) / scale, (top + tall) / scale)
        return to_pixels(_resize_part(to_rgb(image), box, size))


def stored_size(content: bytes) -> tuple[int, int]:
    """Return height and width in pixels from the header of an image file."""
    with _naming_errors():
        width, height = _open(content).size
        return height, width


def is_image_start(content: bytes) -> bool:
    """Return whether a file that starts so is an image that `decode_image` knows by its signature.

    Example:
        >>> is_image_start(b"\xff\xd8\xff\xe0 ..."), is_image_start(b"# Readme")
        (True, False)
    """
    Image.init()
    accepts = (Image.OPEN[name][1] for name in FORMATS)
    return any(accept is not None and accept(content[:16]) is True for accept in accepts)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image to 8-bit RGB as this module's documentation says."""
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
    """Return the pixels of an 8-bit grey or RGB image."""
    pixels: Any = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


@contextmanager
def _naming_errors() -> Iterator[None]:
    """Turn whatever a decoder raises into an `ImageError`: fed a broken file, that is anything."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{type(error).__name__}: {error}") from error


def _open(content: bytes) -> Image.Image:
    """Read the header of an image, and no pixel."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        found = f"{len(content)} bytes that start {content[:8]!r}" if content else "no bytes at all"
        raise ImageError(f"expected an image ({', '.join(FORMATS)}), got {found}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"expected at most {MAX_PIXELS:,} pixels, got more ({error})") from None
    _check_pixels(*image.size)
    return image


def _check_pixels(width: int, height: int, what: str = "") -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"expected at most {MAX_PIXELS:,} pixels, got {what}{width}x{height} "
            f"= {width * height:,}"
        )


def _resize_part(
    image: Image.Image, box: tuple[float, float, float, float], size: int
) -> Image.Image:
    """Resize a box with corners that may lie inside pixels, from nothing but what is in it."""
    left, top = math.floor(box[0]), math.floor(box[1])
    part = image.crop((left, top, math.ceil(box[2]), math.ceil(box[3])))
    inside = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return part.resize((size, size), Image.Resampling.BILINEAR, box=inside)

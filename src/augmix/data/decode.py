"""Image files and arrays to uint8 pixels of a given size.

Decoding is Pillow's, so the same file gives the same pixels on any thread and in any order.
Everything becomes 8-bit RGB: grey, 1-bit and palette images are expanded, CMYK is converted by
Pillow without a colour profile, and of levels with more bits the upper 8 are kept. By default alpha
is dropped (the colours below it stay) and the EXIF orientation is not applied in any format, as is
usual in ImageNet evaluation; `augmix.data.Reading` has other choices.

For evaluation an image is resized and its centre is cut out (`Geometry`), with the roundings of
torchvision's evaluation transforms; for training a random part of it may be (`ResizedCrop`).
"""

import importlib.util
import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Integer, Shaped, UInt8
from PIL import Image, ImageColor, UnidentifiedImageError, features

from augmix.arrays import MAX_PIXELS
from augmix.data import Reading
from augmix.errors import RunError, check_name
from augmix.rng import Purpose, Stream

_HEIF = "pillow_heif"  # the plugin that teaches Pillow the format
# No format that Pillow decodes by another program (EPS). TGA comes last, as it has no signature.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",) if "avif" in features.get_supported() else (),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpx") if features.check("jpg_2000") else (),
    "HEIF": (".heic", ".heif", ".hif") if importlib.util.find_spec(_HEIF) else (),
    "TGA": (".tga",),
}
FORMATS = tuple(name for name, suffixes in _SUFFIXES.items() if suffixes)
SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
INTERPOLATIONS = {name: Image.Resampling[name.upper()] for name in _FILTERS}

CONVENTIONS = ("torchvision", "timm", "transformers", "perceiver")

Box = tuple[int, int, int, int]  # top, left, height, width in pixels
Draws = Float64[np.ndarray, "batch try 4"]

_NUM_TRIES = 10
_PART = 1  # of Purpose.CROP; part 0 is for the padded crop and the flip of a plan
_REDUCTIONS = (8, 4, 2)  # of JPEG's blocks of 8 x 8 pixels
_SPARE = 1.5  # least pixels of a reduced crop for each pixel of the result, along an edge
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_NUM_INSPECTED = 500  # files whose headers are looked at before a set is used
_NUM_MEASURED = 32  # of them with 16 bits whose levels are
_SUSPICIOUS_BITS = 14  # levels of 16 bits that need no more are probably of a 10- to 14-bit camera
_PREFIX = 16  # bytes by which Pillow knows a format
_MAX_BYTES = 2**30  # of memory that a decoder may take for an image
_PIXEL_BYTES = {"WEBP": 16, "AVIF": 10, "HEIF": 10, "JPEG2000": 20}  # that it takes; else 4
_PROGRESSIVE_BYTES = 10  # a progressive JPEG is kept as coefficients

_Turn = Image.Transpose
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: _Turn.FLIP_LEFT_RIGHT,
    3: _Turn.ROTATE_180,
    4: _Turn.FLIP_TOP_BOTTOM,
    5: _Turn.TRANSPOSE,
    6: _Turn.ROTATE_270,
    7: _Turn.TRANSVERSE,
    8: _Turn.ROTATE_90,
}
_BACK = {_Turn.ROTATE_90: _Turn.ROTATE_270, _Turn.ROTATE_270: _Turn.ROTATE_90}
_ON_SIDE = (_Turn.TRANSPOSE, _Turn.TRANSVERSE, _Turn.ROTATE_90, _Turn.ROTATE_270)
_BITS, _MAXIMUM = 258, 281  # TIFF tags: BitsPerSample, MaxSampleValue


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


def check_resize(resize: int, size: int, name: str, convention: str) -> None:
    """Refuse an edge that is shorter than the square cut out of it, unless a border is usual."""
    if 0 < resize < size and convention in ("torchvision", "perceiver"):
        raise ValueError(
            f"resize must be at least {name} = {size} pixels, got {resize}; "
            "ImageNet's usual pair is 256 and 224"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Resize an image, then cut out its central square.

    Attributes:
        size: Edge of the central square in pixels; 0 keeps images as stored.
        resize: The shorter edge before the cut, at least `size`. 0 takes ``round(size * 256 /
            224)`` from 64 pixels on, which is ImageNet's 256 for 224, and `size` below.
        interpolation: Pillow's filter, a key of `INTERPOLATIONS`.
        squash: Resize both edges to `resize` (0: to `size`), whatever the image's shape.
        convention: Whose roundings are followed, one of `CONVENTIONS`. ``torchvision`` rounds the
            corner of the square half to even. ``timm`` does too, and `resize` may be below `size`:
            the border is black. ``transformers`` rounds the corner down, else like ``timm``.
            ``perceiver`` cuts first, ``size / resize`` of the shorter edge, and resizes the square.
        crop: The random crops that images are loaded with for training, if any.
        is_reduced: Whether JPEGs much larger than their crop are decoded at a reduced size.
        reading: How image files become upright 8-bit RGB before that.
    """

    size: int = 0
    resize: int = 0
    interpolation: str = "bilinear"
    squash: bool = False
    convention: str = "torchvision"
    crop: ResizedCrop | None = None
    is_reduced: bool = True
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        check_name("interpolation", self.interpolation, INTERPOLATIONS)
        check_name("convention", self.convention, CONVENTIONS)
        if self.crop and not self.size:
            raise ValueError(
                "random resized crops need a size in pixels that they are resized to; "
                "ImageNet's is 224 (--size 224)"
            )
        if self.resize and not self.size:
            raise ValueError(
                f"resize = {self.resize} needs a size, that of the square cut out after it"
            )
        check_resize(self.resize, self.size, "size", self.convention)
        if self.squash and not self.size:
            raise ValueError("squash resizes both edges to size, which must be above 0, got 0")

    @property
    def shorter(self) -> int:
        """Shorter edge before the cut, in pixels; 0 for images as stored."""
        if self.resize or self.size < 64 or self.squash:
            return self.resize or self.size
        return round(self.size * 256 / 224)

    def describe(self) -> dict[str, Any]:
        """Return the facts that decide the pixels, for results; empty for images as stored."""
        if not self.size:
            return self.reading.changes
        left_out = ("crop", "is_reduced", "reading")
        names = [entry.name for entry in fields(self) if entry.name not in left_out]
        described = {name: getattr(self, name) for name in names} | {"resize": self.shorter}
        return described | self.reading.changes

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the square of ``size`` pixels of one image.

        Raises:
            ImageError: If the resized image, before the cut, would have too many pixels.
        """
        if not self.size:
            return image
        if self.convention == "perceiver":
            image = self._cut(image, int(self.size / self.shorter * min(image.size)))
            return image.resize((self.size, self.size), INTERPOLATIONS[self.interpolation])
        width, height = (int(self.shorter * edge / min(image.size)) for edge in image.size)
        if self.squash:
            width = height = self.shorter
        if (width, height) != image.size:
            _check_pixels(width, height, "resized ")
            image = image.resize((width, height), INTERPOLATIONS[self.interpolation])
        return self._cut(image, self.size)

    def _cut(self, image: Image.Image, size: int) -> Image.Image:
        """Cut out the central square, black where it is larger than the image."""

        def corner(edge: int) -> int:
            if self.convention not in ("torchvision", "timm"):
                return (edge - size) // 2
            return round((edge - size) / 2) if edge >= size else -((size - edge) // 2)

        left, top = map(corner, image.size)
        return image.crop((left, top, left + size, top + size))

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
        turn = _find_turn(image, geometry.reading)
        return to_pixels(geometry.apply(_decode(image, content, turn, geometry.reading)))


def decode_crop(
    content: bytes,
    choose: Callable[[int, int], Box],
    *,
    size: int,
    interpolation: str = "bilinear",
    is_reduced: bool = True,
    reading: Reading = AS_STORED.reading,
) -> UInt8[np.ndarray, "size size channel=3"]:
    """Decode a part of an image file, resized to a square by a filter of Pillow's.

    Where the part is at least 3 times the size of the square, a JPEG is decoded at 1/2, 1/4 or 1/8
    of its size, by fewer coefficients of its blocks, such that the part still has 1.5 times the
    pixels wanted along each edge. That is quicker; grey levels differ by about 1 on average.

    Args:
        choose: Returns the part for an image's height and width.
        size: Edge of the square in pixels.
        interpolation: A key of `INTERPOLATIONS`.
        is_reduced: Whether JPEGs may be decoded at a reduced size; without it, the result is that
            of cutting the part out of the whole image and resizing it.
    """
    with _naming_errors():
        image = _open(content)
        width, height = image.size
        turn = _find_turn(image, reading)
        top, left, tall, wide = choose(*_turned_size(image, turn))
        scale = 1
        if is_reduced and image.format == "JPEG":
            fitting = (by for by in _REDUCTIONS if min(tall, wide) >= by * _SPARE * size)
            scale = next(fitting, 1)
        if scale > 1:
            image.draft(None, (width // scale, height // scale))
        box = (left / scale, top / scale, (left + wide) / scale, (top + tall) / scale)
        return to_pixels(
            _resize_part(_decode(image, content, turn, reading), box, size, interpolation)
        )


def stored_size(content: bytes, reading: Reading = AS_STORED.reading) -> tuple[int, int]:
    """Return height and width in pixels from the header of an image file."""
    with _naming_errors():
        image = _open(content)
        return _turned_size(image, _find_turn(image, reading))


class FileFacts(NamedTuple):
    """What of an image file a user may want to read in another way."""

    is_turned: bool  # whether its EXIF orientation is not upright
    levels: tuple[int, int] | None  # smallest and largest, if they are said to have 16 bits


def inspect_file(content: bytes, *, with_levels: bool = True) -> FileFacts:
    """Look at the header of an image file, and at the levels of one with 16 bits.

    Raises:
        ImageError: If it is no image, or is broken.
    """
    with _naming_errors():
        image = _open(content)
        is_turned = _orientation(image, is_loaded=False) in _TURNS
        levels = None
        if with_levels and (_is_deep_colour(image, content) or _find_bits(image) == 16):
            deep = _is_deep_colour(image, content)
            found = _deep_levels(content) if deep else np.asarray(image)
            levels = (int(found.min()), int(found.max()))
        return FileFacts(is_turned, levels)


def warn_of_files(load: Callable[[int], bytes], rows: np.ndarray, reading: Reading) -> list[str]:
    """Look at image files, and say what of them a user may want to read in another way.

    At most 500 files are looked at, spread over all.

    Args:
        load: Returns the content of the file of a row.
    """
    looked = rows[np.unique(np.linspace(0, len(rows) - 1, _NUM_INSPECTED).astype(int))]
    turned, levels = 0, []
    for row in looked.tolist():
        with suppress(ImageError):
            is_wanted = reading.bit_depth is None and len(levels) < _NUM_MEASURED
            facts = inspect_file(load(row), with_levels=is_wanted)
            turned += facts.is_turned
            levels += [facts.levels] if facts.levels else []
    among = f"{turned:,} of {len(looked):,} images"
    among += "" if len(looked) == len(rows) else f" looked at ({len(rows):,} in all)"
    warnings = []
    if turned and reading.exif_orientation != "apply":
        warnings.append(
            f"{among} have an EXIF orientation that is ignored, as in the ImageNet protocol; "
            "--exif-orientation apply turns them upright"
        )
    low = min((low for low, _ in levels), default=0)
    bits = max((high for _, high in levels), default=2**16 - 1).bit_length()
    if bits <= _SUSPICIOUS_BITS:
        high = max(high for _, high in levels)
        warnings.append(
            f"the 16-bit files looked at ({len(levels)}) hold levels {low}..{high} only and come "
            f"out dark; if they have {max(9, bits)} bits, say so by --bit-depth {max(9, bits)}"
        )
    return warnings


def is_image_start(content: bytes) -> bool:
    """Return whether a file that starts so is an image that `decode_image` knows by its signature.

    Example:
        >>> is_image_start(b"\\xff\\xd8\\xff\\xe0 ..."), is_image_start(b"# Readme")
        (True, False)
    """
    accepts = (Image.OPEN[name][1] for name in _formats())
    return any(accept is not None and accept(content[:_PREFIX]) is True for accept in accepts)


def to_rgb(image: Image.Image, reading: Reading = AS_STORED.reading) -> Image.Image:
    """Convert an image to 8-bit RGB as this module's documentation says."""
    bits = _find_bits(image)
    scaled = _scaled_maximum(image)
    image.load()  # here, since NumPy may hide an error met while it asks for the pixels
    if image.mode == "RGB" and not reading.background:
        return image
    if image.mode in _SIXTEEN_BITS or image.mode == "I":
        depth = None if scaled else reading.bit_depth
        if bits is None and depth is None:
            raise ImageError(
                "expected 8- or 16-bit grey levels, got mode I (32-bit integers) without a known "
                "range; save them as 16 bits, or give their bits with --bit-depth (bit_depth=12)"
            )
        return Image.fromarray(_upper_bits(np.asarray(image), bits, depth)).convert("RGB")
    if image.mode == "F":
        raise ImageError(
            "expected 8- or 16-bit grey levels, got mode F (floats) without a known range; save "
            "them as 8 or 16 bits"
        )
    if reading.background and image.has_transparency_data:
        colour = ImageColor.getrgb(reading.background)[:3]
        base = Image.new("RGBA", image.size, (*colour, 255))
        return Image.alpha_composite(base, image.convert("RGBA")).convert("RGB")
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
        image = Image.open(io.BytesIO(content), formats=_formats())
    except UnidentifiedImageError:
        found = (
            f"{len(content)} bytes that start {content[:12]!r}" if content else "no bytes at all"
        )
        hint = "; a HEIF file needs pip install pillow-heif" if content[4:10] == b"ftyphe" else ""
        raise ImageError(f"expected an image ({', '.join(FORMATS)}), got {found}{hint}") from None
    except Image.DecompressionBombError as error:
        numbers = [int(number) for number in re.findall(r"\d+", str(error))]
        found = f", got {numbers[0]:,}" if numbers else ""
        raise ImageError(
            f"expected at most {MAX_PIXELS:,} pixels{found}; make the image smaller"
        ) from None
    is_progressive = "progressive" in image.info
    each = _PROGRESSIVE_BYTES if is_progressive else _PIXEL_BYTES.get(image.format or "", 4)
    _check_pixels(*image.size, f"{image.format} of ", most=min(MAX_PIXELS, _MAX_BYTES // each))
    return image


def _check_pixels(width: int, height: int, what: str = "", *, most: int = MAX_PIXELS) -> None:
    if width * height > most:
        raise ImageError(
            f"expected at most {most:,} pixels, got {what}{width}x{height} = {width * height:,}; "
            "make the image smaller"
        )


@cache
def _formats() -> tuple[str, ...]:
    """The formats that Pillow has opened plugins for, in the order of `FORMATS`."""
    Image.init()
    if "HEIF" in FORMATS and "HEIF" not in Image.OPEN:
        with suppress(ImportError):
            importlib.import_module(_HEIF).register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image, *, is_loaded: bool = True) -> int:
    """The EXIF orientation, 1..8; a PNG may have it behind its pixels."""
    with suppress(Exception):  # a broken tag does not break the image
        exif = image.getexif() if is_loaded else Image.Image.getexif(image)
        value = exif.get(_ORIENTATION)
        return value if value in _TURNS else 1
    return 1


def _find_turn(image: Image.Image, reading: Reading) -> _Turn | None:
    """What is still to be done to an image once it is decoded; Pillow turns TIFF itself."""
    is_turned, is_wanted = image.format == "TIFF", reading.exif_orientation == "apply"
    turn = None if is_turned == is_wanted else _TURNS.get(_orientation(image))
    return _BACK.get(turn, turn) if turn is not None and is_turned else turn


def _turned_size(image: Image.Image, turn: _Turn | None) -> tuple[int, int]:
    """Height and width of an image that is still to be turned."""
    width, height = image.size
    return (width, height) if turn in _ON_SIDE else (height, width)


def _decode(
    image: Image.Image, content: bytes, turn: _Turn | None, reading: Reading
) -> Image.Image:
    """The pixels of an opened file as 8-bit RGB."""
    if reading.bit_depth and _is_deep_colour(image, content):
        levels = _upper_bits(_deep_levels(content), 16, reading.bit_depth)
        image = Image.fromarray(levels)
    image = to_rgb(image, reading)
    return image if turn is None else image.transpose(turn)


def _find_bits(image: Image.Image) -> int | None:
    """How many bits the grey levels of an image have by its header, 8 or more; None if unknown."""
    tags: Any = getattr(image, "tag_v2", {})
    if _MAXIMUM in tags:
        with suppress(TypeError, ValueError):
            return max(8, int(np.max(tags[_MAXIMUM])).bit_length())
    if image.mode in _SIXTEEN_BITS:
        return int(np.max(tags.get(_BITS, 16)))
    if image.mode == "I":
        is_signed = image.format == "TIFF" and np.max(tags.get(_BITS, 32)) == 16
        return 15 if is_signed else 16 if image.format in ("PPM", "PNG") else None
    return 8


def _scaled_maximum(image: Image.Image) -> bool:
    """Whether Pillow scales the levels of a PGM, by the maximum in its header, to 16 bits."""
    tiles: Any = getattr(image, "tile", ())
    args = tiles[0].args if image.format == "PPM" and tiles else ""
    return isinstance(args, tuple) and args[-1] != 2**16 - 1


def _is_deep_colour(image: Image.Image, content: bytes) -> bool:
    """Whether a file has 16 bits in several channels, of which Pillow keeps the upper 8."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format == "TIFF":
        return set(np.atleast_1d(getattr(image, "tag_v2", {}).get(_BITS, 8)).tolist()) == {16}
    return image.format == "PNG" and content[24] == 16


def _deep_levels(content: bytes) -> Shaped[np.ndarray, "height width channel"]:
    """Decode a file with 16 bits in several channels, RGB or RGBA."""
    import cv2  # costs a command's help its time

    levels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16 or levels.ndim != 3:
        raise ImageError("its 16-bit colours cannot be decoded; save it as an 8- or 16-bit PNG")
    return np.ascontiguousarray(levels[..., [2, 1, 0, 3][: levels.shape[2]]])


def _upper_bits(
    levels: Shaped[np.ndarray, "*shape"], bits: int | None, given: int | None
) -> UInt8[np.ndarray, "*shape"]:
    """The upper 8 bits of levels that have so many bits by their header, or as given."""
    depth = given or bits or 16
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high >> depth:
        hint = " as said by --bit-depth" if given else ""
        raise ImageError(f"expected levels 0..{2**depth - 1}{hint}, got {low}..{high}")
    return (levels >> (depth - 8)).astype(np.uint8)


def _resize_part(
    image: Image.Image, box: tuple[float, float, float, float], size: int, interpolation: str
) -> Image.Image:
    """Resize a box with corners that may lie inside pixels, from nothing but what is in it."""
    left, top = math.floor(box[0]), math.floor(box[1])
    part = image.crop((left, top, math.ceil(box[2]), math.ceil(box[3])))
    inside = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return part.resize((size, size), INTERPOLATIONS[interpolation], box=inside)

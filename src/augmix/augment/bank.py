"""Banks of pictures that views are mixed with: drawn here from a seed, or the images of a folder.

PixMix and IPMix mix images with fractals and feature visualisations, a set of 1.6 GB without a
licence. The bank drawn here takes its place: 1,200 pictures of four families in turns, iterated
function systems, plasma, Perlin noise and Voronoi cells. Picture n of a version depends on n and
the size alone. The kernels of `procedural` add, multiply, divide and take square roots in double
precision without fused operations or tables of the C library, which IEEE 754 gives the same bits on
every processor.
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from augmix.errors import RunError
from augmix.files import cache_folder, load_npz, make_folder, write_npz
from augmix.rng import Purpose, Stream

Pictures = UInt8[np.ndarray, "picture height width channel"]

PROCEDURAL = "procedural-1"
"""Name of the bank drawn here; a change of its bytes is a new version, with a new name."""
FOLDER = "folder:"
"""In front of the path in the name of a bank that is a folder of images."""
FAMILIES = ("fractal", "plasma", "perlin", "voronoi")
NUM_PICTURES = 1200
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff")
_MAX_BYTES = 2**29  # of a folder's pictures in memory; evenly spaced ones are taken of more
_DRAWN_PX = 144  # pictures are drawn at this size or larger, then averaged down
_MAX_THREADS = 8
_NUM_UNIFORMS = 96  # that a picture is drawn by


def bank_name(folder: str | None) -> str:
    """The name of a bank: that of a folder of images, or of the one drawn here."""
    return PROCEDURAL if folder is None else f"{FOLDER}{Path(folder).expanduser().resolve()}"


def bank_size(size: tuple[int, int]) -> int:
    """Height and width of the pictures for images of a size: 36 for 32 pixels, as published."""
    return -(-max(size) * 9 // 8)


def find_bank(plan: Any) -> tuple[str, int] | None:
    """Name and size of the bank that the stages of a plan name, if they do."""
    for stage in plan.stages:
        name = getattr(stage, "bank", "")
        if stage.needs_pictures and (name == PROCEDURAL or name.startswith(FOLDER)):
            return name, stage.size_px
    return None


def pictures_of(plan: Any, channels: int) -> Pictures | None:
    """The pictures of the bank that the stages of a plan name, if they do."""
    found = find_bank(plan)
    return None if found is None else open_bank(*found, channels)


@lru_cache(maxsize=4)
def open_bank(name: str, size_px: int, channels: int = 3) -> Pictures:
    """The pictures of a bank, read-only.

    Those drawn here take seconds once for each size, and are then read from the cache folder.

    Args:
        name: `PROCEDURAL`, or ``folder:PATH``.
        size_px: Height and width of the pictures.
        channels: 3, or 1 for their luma.

    Raises:
        RunError: If there is no such bank, or an image of the folder cannot be read.
    """
    if channels == 1:
        weights = np.array([19595, 38470, 7471])  # those of Pillow's conversion to grey
        luma = (open_bank(name, size_px) @ weights + 2**15) >> 16
        pictures = luma.astype(np.uint8)[..., None]
    elif name == PROCEDURAL:
        pictures = _load_or_draw(size_px)
    elif name.startswith(FOLDER):
        pictures = _read_folder(Path(name.removeprefix(FOLDER)), size_px)
    else:
        raise RunError(f"there is no bank of pictures {name!r}, only {PROCEDURAL!r} and folders")
    pictures.setflags(write=False)
    return pictures


def fingerprint(name: str, size_px: int) -> str:
    """The sha256 of a bank's pixels, for the record of a run."""
    return hashlib.sha256(open_bank(name, size_px).tobytes()).hexdigest()


def draw_pictures(numbers: Any, size_px: int) -> Pictures:
    """Draw some pictures of the bank `PROCEDURAL`, by number, in colour.

    Example:
        >>> draw_pictures([0, 1, 2, 3], 16).shape
        (4, 16, 16, 3)
    """
    numbers = np.asarray(numbers, np.int64)
    if size_px < 1 or not np.all(numbers >= 0):
        raise ValueError(
            f"size_px must be at least 1 and numbers at least 0, got {size_px}, {numbers}"
        )
    stream = Stream(seed=0).at(Purpose.BANK)
    uniforms = stream.uniforms(numbers, count=_NUM_UNIFORMS)[0]
    addresses = stream.at(part=1).addresses(numbers)[0]
    pictures = np.empty((len(numbers), size_px, size_px, 3), np.uint8)
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    factor = -(-_DRAWN_PX // size_px)
    from augmix.augment import procedural  # loads numba
    from augmix.jit import run_on_threads

    arguments = (numbers % len(FAMILIES), uniforms, addresses, factor, pictures)
    run_on_threads(procedural.draw, arguments, len(numbers), threads)
    return pictures


def _load_or_draw(size_px: int) -> Pictures:
    path = cache_folder("pictures") / f"{PROCEDURAL}-{size_px}.npz"
    shape = (NUM_PICTURES, size_px, size_px, 3)
    if path.exists():
        try:
            pictures = load_npz(path)["pictures"]
        except (RunError, KeyError):
            pictures = np.empty(0)  # of another program, or cut short: drawn and written again
        if pictures.shape == shape and pictures.dtype == np.uint8:
            return pictures
    pictures = draw_pictures(np.arange(NUM_PICTURES), size_px)
    try:
        make_folder(path.parent)
        write_npz(path, {"pictures": pictures}, is_compressed=False)
    except (RunError, OSError):
        return pictures  # a cache that cannot be written costs seconds, no more
    return pictures


def count_pictures(name: str, size_px: int) -> int:
    """How many pictures a bank has.

    Raises:
        RunError: If it is a folder without images.
    """
    if name == PROCEDURAL:
        return NUM_PICTURES
    return len(_list_files(Path(name.removeprefix(FOLDER)), size_px))


@lru_cache(maxsize=4)
def _list_files(folder: Path, size_px: int) -> list[Path]:
    """The files of a folder that are taken as pictures of a size."""
    if not folder.is_dir():
        raise RunError(f"--pictures {folder} is no folder of images")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise RunError(f"--pictures {folder} holds no images ({', '.join(_SUFFIXES)})")
    most = max(_MAX_BYTES // (3 * size_px**2), 1)
    if len(files) <= most:
        return files
    return [files[len(files) * number // most] for number in range(most)]


def _read_folder(folder: Path, size_px: int) -> Pictures:
    files = _list_files(folder, size_px)
    pictures = np.empty((len(files), size_px, size_px, 3), np.uint8)
    for number, path in enumerate(files):
        try:
            with Image.open(path) as image:
                fitted = ImageOps.fit(image.convert("RGB"), (size_px, size_px))
                pictures[number] = np.asarray(fitted)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise RunError(f"cannot read the picture {path}: {error}") from error
    return pictures

"""Pictures of the damage: every corruption at five severities, every perturbation frame by frame.

An image goes in, sheets and animations come out. A sheet has a row for each corruption, grouped as
the benchmark groups them, the clean image in front; or a row for each perturbation sequence with
some of its frames. An animation shows all frames of one sequence. Images up to 256 pixels are shown
pixel by pixel, small ones every pixel as a square of several; larger ones are made smaller after
they were damaged.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augmix.corrupt import sequences, suite
from augmix.images import check_images
from augmix.records import RunError
from augmix.sheets import FORMATS, Row, check_file, draw_sheet, save_animation, save_picture, show

Pixels = UInt8[np.ndarray, "height width channel"]
Number = int | float


def render_gallery(
    image: Pixels,
    *,
    names: Sequence[str] = suite.ALL_19,
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
    frost_textures: Path | str | None = None,
) -> Image.Image:
    """A sheet with a row for each corruption: the clean image and its five severities.

    Args:
        image: uint8, RGB or grey.
        names: Corruptions and lists of them, in the order of the rows; a line divides the groups.
        preset: Whose severities, see `augmix.corrupt.presets.resolve_preset`.
        seed: Of the draws.
        sample: Dataset index of the image; with it the sheet shows the very bytes that
            `augmix.corrupt` gives for ``ids=[sample]``.
        frost_textures: Folder of the published photographs, see `augmix.corrupt.frost`.

    Returns:
        An RGB picture on white.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If its shape is none of an image, there are no names, or a name or the preset is
            unknown.
        RunError: If a frost photograph is missing or cannot be read.
    """
    _check_image(image)
    rows = []
    for name in suite.resolve_names(names):
        levels = [
            suite.corrupt(
                image[None],
                name,
                severity=severity,
                preset=preset,
                seed=seed,
                ids=np.array([sample]),
                frost_textures=frost_textures,
            )[0]
            for severity in suite.SEVERITIES
        ]
        tiles = [show(level) for level in (image, *levels)]
        rows.append(Row(tiles, _words(name), group=suite.GROUPS[name]))
    heads = ["clean", *(f"severity {severity}" for severity in suite.SEVERITIES)]
    return draw_sheet(rows, heads)


def write_gallery(
    path: str | PathLike[str],
    image: Pixels,
    *,
    names: Sequence[str] = suite.ALL_19,
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
    frost_textures: Path | str | None = None,
    quality: int = 90,
) -> Path:
    """Write the sheet of `render_gallery`; the ending of the name is the format.

    Raises:
        TypeError: As `render_gallery`.
        ValueError: As `render_gallery`, if the ending is none of `augmix.sheets.FORMATS`, or if the
            quality, of which PNG takes no notice, is not 0..100.
        RunError: If the file cannot be written.
    """
    path = check_file(path, FORMATS, quality)
    sheet = render_gallery(
        image, names=names, preset=preset, seed=seed, sample=sample, frost_textures=frost_textures
    )
    return save_picture(path, sheet, quality)


def render_strip(
    image: Pixels,
    name: str,
    *,
    num_tiles: int = 8,
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
    difficulty: int = 1,
) -> Image.Image:
    """One perturbation sequence as a strip of frames, the first and the last among them.

    Args:
        image: uint8, RGB or grey; the large image from whose middle the frame is cut, see
            `augmix.corrupt.sequences`.
        name: The sequence.
        num_tiles: Frames shown, evenly spaced; at least 2.
        preset: Whose parameters.
        seed: Of the draws.
        sample: Dataset index of the image.
        difficulty: 1, 2 or 3: how strong noise is.

    Returns:
        An RGB picture on white, the number of every frame under it.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If its shape is none of an image or an argument is out of range.
    """
    return render_strips(
        image,
        names=(name,),
        num_tiles=num_tiles,
        preset=preset,
        seed=seed,
        sample=sample,
        difficulty=difficulty,
    )


def render_strips(
    image: Pixels,
    *,
    names: Sequence[str] = sequences.ALL_14,
    num_tiles: int = 8,
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
    difficulty: int = 1,
) -> Image.Image:
    """A sheet with a strip for each perturbation sequence; everything else as `render_strip`."""
    _check_image(image)
    names = sequences.resolve_names(names)
    if num_tiles < 2:
        raise ValueError(f"num_tiles must be at least 2, got {num_tiles}")
    rows = []
    for name in names:
        frames = _frames(image, name, preset, seed, sample, difficulty)
        places = np.unique(np.linspace(0, len(frames) - 1, num_tiles).round().astype(int)).tolist()
        row = Row(
            tiles=[show(frames[place]) for place in places],
            label=_words(name),
            detail=f"{len(frames)} frames",
            group="standard" if name in sequences.STANDARD_10 else "extra",
            captions=[str(place) for place in places],
        )
        rows.append(row)
    return draw_sheet(rows, heads=())


def write_strips(
    path: str | PathLike[str],
    image: Pixels,
    *,
    names: Sequence[str] = sequences.ALL_14,
    num_tiles: int = 8,
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
    difficulty: int = 1,
    quality: int = 90,
) -> Path:
    """Write the sheet of `render_strips`; the ending of the name is the format.

    Raises:
        TypeError: As `render_strip`.
        ValueError: As `render_strip`, if the ending is none of `augmix.sheets.FORMATS`, or if the
            quality, of which PNG takes no notice, is not 0..100.
        RunError: If the file cannot be written.
    """
    path = check_file(path, FORMATS, quality)
    sheet = render_strips(
        image,
        names=names,
        num_tiles=num_tiles,
        preset=preset,
        seed=seed,
        sample=sample,
        difficulty=difficulty,
    )
    return save_picture(path, sheet, quality)


def write_animation(
    path: str | PathLike[str],
    image: Pixels,
    name: str,
    *,
    frames_per_second: Number = 10,
    quality: int = 90,
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
    difficulty: int = 1,
) -> Path:
    """Write all frames of a perturbation sequence as a WebP animation that starts over for ever.

    Frames that are enlarged for showing are stored without loss.

    Args:
        path: The file; its name ends in ``.webp``.
        image: As for `render_strip`.
        name: The sequence.
        frames_per_second: Above 0, at most 100.
        quality: Of frames shown at their own size or smaller, 0..100.
        preset: Whose parameters.
        seed: Of the draws.
        sample: Dataset index of the image.
        difficulty: How strong noise is.

    Returns:
        The path.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If its shape is none of an image or an argument is out of range.
        RunError: If the file cannot be written.
    """
    path = check_file(path, (".webp",), quality)
    if not 0 < frames_per_second <= 100:
        raise ValueError(
            f"frames_per_second must be above 0 and at most 100, got {frames_per_second}"
        )
    _check_image(image)
    frames = _frames(image, name, preset, seed, sample, difficulty)
    is_enlarged = show(frames[0]).height > frames.shape[1]
    return save_animation(
        path,
        [show(frame) for frame in frames],
        duration_ms=round(1000 / frames_per_second),
        quality=100 if is_enlarged else quality,
        is_lossless=is_enlarged,
    )


def write_galleries(
    folder: str | PathLike[str],
    image: Pixels,
    *,
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
) -> list[Path]:
    """Write everything there is to see of one image.

    Args:
        folder: Gets ``corruptions.png``, ``perturbations.png`` and an animation
            ``perturbations/NAME.webp`` for each sequence.
        image: uint8, RGB or grey, at least 16 x 16.
        preset: Whose severities and parameters.
        seed: Of the draws.
        sample: Dataset index of the image.

    Returns:
        The paths, the two sheets first.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If its shape does not fit or the preset is unknown. Nothing is written then.
        RunError: If a file cannot be written.
    """
    folder = Path(folder)
    animations = folder / "perturbations"
    sheets = {  # both are made before the first is written
        "corruptions.png": render_gallery(image, preset=preset, seed=seed, sample=sample),
        "perturbations.png": render_strips(image, preset=preset, seed=seed, sample=sample),
    }
    _make_folder(animations)
    paths = [save_picture(folder / name, sheet) for name, sheet in sheets.items()]
    for name in sequences.ALL_14:
        path = animations / f"{name}.webp"
        paths.append(write_animation(path, image, name, preset=preset, seed=seed, sample=sample))
    return paths


def _frames(
    image: Pixels, name: str, preset: str, seed: int, sample: int, difficulty: int
) -> UInt8[np.ndarray, "frame row column channel"]:
    """All frames of one image."""
    return sequences.perturb(
        image[None],
        name,
        preset=preset,
        seed=seed,
        ids=np.array([sample]),
        difficulty=difficulty,
    )[0]


def _words(name: str) -> str:
    """A name as people write it."""
    return name.replace("_", " ").replace("gaussian", "Gaussian").replace("jpeg", "JPEG")


def _check_image(image: Any) -> None:
    check_images(np.asarray(image)[None], where="image")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror or error}") from error

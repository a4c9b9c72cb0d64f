"""Contact sheets of images: every corruption at five severities, every sequence frame by frame.

`show` makes a tile of an image, `draw_sheet` sets rows of tiles under the headings of their groups,
`save_picture` writes the result. What the tiles mean is the caller's.

An image goes in, sheets and animations come out. A sheet has a row for each corruption, grouped as
the benchmark groups them, the clean image in front; or a row for each perturbation sequence with
some of its frames. An animation shows all frames of one sequence. Images up to 256 pixels are shown
pixel by pixel, small ones every pixel as a square of several; larger ones are made smaller after
they were damaged.
"""

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from augmix.arrays import check_images
from augmix.corruptions import corrupt, perturb, registry
from augmix.errors import RunError
from augmix.files import write_bytes

Number = int | float

FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}

_PAPER = (255, 255, 255)
_INK = (28, 29, 31)
_MUTED = (98, 102, 108)
_LINE = (214, 214, 210)
_SMALL = 128  # an image is enlarged by a whole number to at most this many pixels
_LARGE = 256  # and made smaller above this many
# In units of layout, of which a tile's longer side has _SMALL:
_MARGIN = 24
_GAP = 6  # between tiles
_GROUP_GAP = 22  # between the last tiles of a group and the line under them
_LABEL_GAP = 18  # between the longest label and the tiles
_HEAD = 40  # height of a group's heading
_LABEL = 36  # height of a label's two lines; rows are not lower
_CAPTION = 20  # height of the line under a tile


@dataclass(frozen=True, slots=True)
class Row:
    """What stands side by side.

    Attributes:
        tiles: All of one size, also across the rows of a sheet; from `show`.
        label: The row's name.
        group: Rows that follow each other in one group share a heading.
        detail: A quieter second line under the label.
        captions: One under each tile, or none.
    """

    tiles: list[Image.Image]
    label: str
    group: str
    detail: str = ""
    captions: Sequence[str] = ()


def draw_sheet(rows: Sequence[Row], heads: Sequence[str]) -> Image.Image:
    """Set rows from top to bottom; every group has a heading, with a line over all but the first.

    Args:
        rows: At least one.
        heads: Names of the columns, or none; repeated for every group.

    Returns:
        An RGB picture on white.
    """
    grid = _arrange(rows)
    sheet = Image.new("RGB", grid.size, _PAPER)
    pen = _Pen(ImageDraw.Draw(sheet), grid.unit)
    group = ""
    for row, top in zip(rows, grid.tops, strict=True):
        if row.group != group:
            _draw_heading(pen, grid, row.group, heads, top, has_line=bool(group))
            group = row.group
        _draw_row(sheet, pen, grid, row, top)
    return sheet


def show(pixels: UInt8[np.ndarray, "height width channel"]) -> Image.Image:
    """An image as it is shown: enlarged by a whole number, as it is, or made smaller."""
    height, width, channels = pixels.shape
    side = max(height, width)
    picture = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0]).convert("RGB")
    if side > _LARGE:
        size = (max(1, round(width * _LARGE / side)), max(1, round(height * _LARGE / side)))
        return picture.resize(size, Image.Resampling.LANCZOS)
    times = max(1, _SMALL // side)
    return picture.resize((width * times, height * times), Image.Resampling.NEAREST)


def check_file(path: str | PathLike[str], endings: Collection[str], quality: int) -> Path:
    """The path, once its ending and the quality are known to be good.

    Raises:
        ValueError: If they are not.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise ValueError(f"the file's name must end in {' or '.join(endings)}, got {path}")
    if not 0 <= quality <= 100:
        raise ValueError(f"quality must be 0..100, got {quality}")
    return path


def save_picture(path: Path, picture: Image.Image, quality: int = 90) -> Path:
    """Write a picture in the format of the path's ending, of `FORMATS`; PNG has no quality.

    Raises:
        RunError: If the file cannot be written.
    """
    buffer = io.BytesIO()
    picture.save(buffer, FORMATS[path.suffix.lower()], quality=quality)
    write_bytes(path, buffer.getvalue())
    return path


def save_animation(
    path: Path,
    frames: Sequence[Image.Image],
    *,
    duration_ms: int,
    quality: int = 90,
    is_lossless: bool = False,
) -> Path:
    """Write frames of one size as a WebP animation that starts over for ever.

    Every frame is stored whole. Pillow's own writer joins frames that differ little, which these
    often do, and leaves parts of old frames standing. Container: RFC 9649, sections 2.5 to 2.7.

    Raises:
        RunError: If the file cannot be written.
    """
    width, height = frames[0].size
    box = _bytes3(width - 1) + _bytes3(height - 1)
    chunks = _chunk(b"VP8X", bytes([0b10, 0, 0, 0]) + box)  # an animation
    chunks += _chunk(b"ANIM", bytes(4) + bytes(2))  # background unused; no end
    for frame in frames:
        buffer = io.BytesIO()
        frame.save(buffer, "WEBP", quality=quality, lossless=is_lossless)
        still = buffer.getvalue()[12:]  # after RIFF, the size, WEBP
        place = _bytes3(0) + _bytes3(0) + box + _bytes3(duration_ms)
        chunks += _chunk(b"ANMF", place + bytes([0b10]) + still)  # put in place, not blended
    write_bytes(path, _chunk(b"RIFF", b"WEBP" + chunks))
    return path


def _bytes3(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _chunk(name: bytes, content: bytes) -> bytes:
    """A RIFF chunk, filled up to an even length."""
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where everything stands, in pixels; all tiles of a sheet have one size."""

    unit: float
    margin: int
    gap: int
    left: int
    tops: list[int]
    width: int
    height: int
    size: tuple[int, int]

    def x(self, column: int) -> int:
        """Left edge of a column of tiles."""
        return self.left + column * (self.width + self.gap)


@dataclass(frozen=True, slots=True)
class _Pen:
    """Writes on a picture; places in pixels, sizes of letters in units of layout."""

    draw: ImageDraw.ImageDraw
    unit: float

    def text(
        self,
        x: Number,
        y: Number,
        text: str,
        *,
        anchor: str,
        size: Number = 14,
        colour: tuple[int, int, int] = _INK,
    ) -> None:
        """Text at a point; ``anchor`` as Pillow has it: m middle, l left, a top, s base line."""
        font = ImageFont.load_default(size * self.unit)
        self.draw.text((x, y), text, fill=colour, font=font, anchor=anchor)

    def line(self, left: Number, right: Number, y: Number) -> None:
        """A hairline."""
        self.draw.line([(left, y), (right, y)], fill=_LINE, width=max(1, round(self.unit)))


def _draw_heading(
    pen: _Pen, grid: _Grid, group: str, heads: Sequence[str], top: int, *, has_line: bool
) -> None:
    """The group's name, the columns' names, and a line over them."""
    base = top - 12 * grid.unit
    pen.text(grid.margin, base, group, anchor="ls", size=17)
    for column, head in enumerate(heads):
        middle = grid.x(column) + grid.width / 2
        pen.text(middle, base, head, anchor="ms", size=12.5, colour=_MUTED)
    if has_line:
        pen.line(grid.margin, grid.size[0] - grid.margin, top - _HEAD * grid.unit)


def _draw_row(sheet: Image.Image, pen: _Pen, grid: _Grid, row: Row, top: int) -> None:
    """Tiles with a hairline around them, and the label beside their middle."""
    middle = top + grid.height / 2
    anchor = "ls" if row.detail else "lm"
    pen.text(grid.margin, middle - 2 * grid.unit * bool(row.detail), row.label, anchor=anchor)
    below = middle + 4 * grid.unit
    pen.text(grid.margin, below, row.detail, anchor="la", size=12.5, colour=_MUTED)
    for column, tile in enumerate(row.tiles):
        x = grid.x(column)
        frame = (x - 1, top - 1, x + grid.width, top + grid.height)
        pen.draw.rectangle(frame, outline=_LINE)
        sheet.paste(tile, (x, top))
    for column, caption in enumerate(row.captions):
        x = grid.x(column) + grid.width / 2
        y = top + grid.height + 4 * grid.unit
        pen.text(x, y, caption, anchor="ma", size=12.5, colour=_MUTED)


def _arrange(rows: Sequence[Row]) -> _Grid:
    """Places from the size of the tiles, the longest label and the groups."""
    width, height = rows[0].tiles[0].size
    unit = max(width, height, _SMALL / 2) / _SMALL
    margin, gap = round(_MARGIN * unit), round(_GAP * unit)
    caption = round(_CAPTION * unit) if rows[0].captions else 0
    tops = [round((_MARGIN / 2 + _HEAD) * unit)]
    for above, below in pairwise(rows):
        step = max(height, round(_LABEL * unit)) + caption + gap
        if above.group != below.group:
            step += round((_GROUP_GAP + _HEAD) * unit) - gap
        tops.append(tops[-1] + step)
    label = max(
        ImageFont.load_default(size * unit).getlength(text)
        for row in rows
        for size, text in ((14, row.label), (12.5, row.detail), (17, row.group))
    )
    left = margin + round(label + _LABEL_GAP * unit)
    right = left + max(len(row.tiles) for row in rows) * (width + gap) - gap
    bottom = tops[-1] + max(height, round(_LABEL * unit)) + caption
    return _Grid(unit, margin, gap, left, tops, width, height, (right + margin, bottom + margin))


Pixels = UInt8[np.ndarray, "height width channel"]


def render_gallery(
    image: Pixels,
    *,
    names: Sequence[str] = ("paper-15", "extra-4"),
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
    frost_textures: Path | str | None = None,
) -> Image.Image:
    """A sheet with a row for each corruption: the clean image and its five severities.

    Args:
        image: uint8, RGB or grey.
        names: Corruptions and lists of them, in the order of the rows; a line divides the groups.
        preset: Whose severities, see `augmix.corruptions.registry.resolve_preset`.
        seed: Of the draws.
        sample: Dataset index of the image; with it the sheet shows the very bytes that
            `augmix.corrupt` gives for ``ids=[sample]``.
        frost_textures: Folder of the published photographs, see `augmix.corruptions.frost`.

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
    for name in registry.CORRUPTIONS.resolve(names):
        levels = [
            corrupt.corrupt(
                image[None],
                name,
                severity=severity,
                preset=preset,
                seed=seed,
                ids=np.array([sample]),
                frost_textures=frost_textures,
            )[0]
            for severity in registry.SEVERITIES
        ]
        tiles = [show(level) for level in (image, *levels)]
        rows.append(Row(tiles, _words(name), group=registry.CORRUPTIONS[name].group))
    heads = ["clean", *(f"severity {severity}" for severity in registry.SEVERITIES)]
    return draw_sheet(rows, heads)


def write_gallery(
    path: str | PathLike[str],
    image: Pixels,
    *,
    names: Sequence[str] = ("paper-15", "extra-4"),
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
    frost_textures: Path | str | None = None,
    quality: int = 90,
) -> Path:
    """Write the sheet of `render_gallery`; the ending of the name is the format.

    Raises:
        TypeError: As `render_gallery`.
        ValueError: As `render_gallery`, if the ending is none of `FORMATS`, or if the
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
            `augmix.corruptions.perturb`.
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
    names: Sequence[str] = ("standard-10", "extra-4"),
    num_tiles: int = 8,
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
    difficulty: int = 1,
) -> Image.Image:
    """A sheet with a strip for each perturbation sequence; everything else as `render_strip`."""
    _check_image(image)
    names = registry.SEQUENCES.resolve(names)
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
            group=registry.SEQUENCES[name].group,
            captions=[str(place) for place in places],
        )
        rows.append(row)
    return draw_sheet(rows, heads=())


def write_strips(
    path: str | PathLike[str],
    image: Pixels,
    *,
    names: Sequence[str] = ("standard-10", "extra-4"),
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
        ValueError: As `render_strip`, if the ending is none of `FORMATS`, or if the
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
    for name in registry.SEQUENCES.resolve(("standard-10", "extra-4")):
        path = animations / f"{name}.webp"
        paths.append(write_animation(path, image, name, preset=preset, seed=seed, sample=sample))
    return paths


def _frames(
    image: Pixels, name: str, preset: str, seed: int, sample: int, difficulty: int
) -> UInt8[np.ndarray, "frame row column channel"]:
    """All frames of one image."""
    return perturb.perturb(
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

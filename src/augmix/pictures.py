"""Draw contact sheets of corruptions and perturbation sequences, and animations of sequences.

A sheet has a row for each corruption, under the headings of their groups, the clean image in front;
or a row for each sequence with some of its frames. An animation shows all frames of one sequence.
Images up to 256 pixels are shown pixel by pixel, small ones with every pixel as a square; larger
ones are made smaller after they were corrupted.
"""

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from augmix.arrays import check_images
from augmix.corruptions import corrupt, perturb
from augmix.corruptions.registry import CORRUPTIONS, SEQUENCES, SEVERITIES
from augmix.errors import RunError
from augmix.files import write_bytes

Number = int | float

Pixels = UInt8[np.ndarray, "height width channel"]

FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}

_PAPER = (255, 255, 255)
_INK = (28, 29, 31)
_MUTED = (98, 102, 108)
_LINE = (214, 214, 210)
_SMALL = 128  # px; smaller images are enlarged by a whole number to at most this
_LARGE = 256  # px; larger images are reduced to this
# In units of layout, of which the longer edge of a tile has _SMALL:
_MARGIN = 24
_GAP = 6  # between tiles
_GROUP_GAP = 22  # between the last tiles of a group and the line under them
_LABEL_GAP = 18  # between the longest label and the tiles
_HEAD = 40  # height of a group's heading
_LABEL = 36  # height of a label's two lines; rows are not lower
_CAPTION = 20  # height of the line under a tile


def render_gallery(
    image: Pixels,
    *,
    names: Sequence[str] = ("paper-15", "extra-4"),
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
    frost_textures: Path | str | None = None,
) -> Image.Image:
    """Draw a sheet with a row for each corruption: the clean image and its five severities.

    Args:
        image: uint8, RGB or grey.
        names: Corruptions, lists of them or ``python:FILE:FUNCTION``, in the order of the rows.
        preset: Whose severities, see `augmix.corruptions.registry.resolve_preset`.
        seed: Of the draws.
        sample: Dataset index of the image; the sheet shows the bytes that `augmix.corrupt` gives
            for ``ids=[sample]``.
        frost_textures: Folder of the published photographs, see `augmix.corruptions.frost`.

    Returns:
        An RGB picture on white.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If it has not the shape of an image, there are no names, or a name or the preset
            is unknown.
        RunError: If a frost photograph is missing or cannot be read, or the user's code fails.
    """
    _check_image(image)
    rows = []
    for name in CORRUPTIONS.resolve(names):
        corrupted = [
            corrupt.corrupt(
                image[None],
                name,
                severity=severity,
                preset=preset,
                seed=seed,
                ids=np.array([sample]),
                frost_textures=frost_textures,
            )[0]
            for severity in SEVERITIES
        ]
        tiles = [to_tile(pixels) for pixels in (image, *corrupted)]
        rows.append(Row(tiles, _readable(name), group=CORRUPTIONS[name].group))
    return draw_sheet(rows, ["clean", *(f"severity {severity}" for severity in SEVERITIES)])


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
    """Draw a sheet with a row for each perturbation sequence: some of its frames.

    Args:
        image: uint8, RGB or grey; the large image from whose middle the frame is cut, see
            `augmix.corruptions.perturb`.
        names: Sequences, lists of them or ``python:FILE:FUNCTION``, in the order of the rows.
        num_tiles: Frames shown, evenly spaced, the first and the last among them; at least 2.
        preset: Whose parameters.
        seed: Of the draws.
        sample: Dataset index of the image.
        difficulty: 1, 2 or 3: how strong noise is.

    Returns:
        An RGB picture on white, the number of every frame under it.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If it has not the shape of an image, or an argument is out of range.
    """
    _check_image(image)
    names = SEQUENCES.resolve(names)
    if num_tiles < 2:
        raise ValueError(f"num_tiles must be at least 2, got {num_tiles}")
    settings = {"preset": preset, "seed": seed, "difficulty": difficulty}
    return _draw_strips(
        {name: _make_strip(image, name, sample, **settings) for name in names}, num_tiles
    )


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
    """Write all frames of a perturbation sequence as a WebP animation that loops.

    Frames that are shown enlarged are stored without loss.

    Args:
        path: The file; its name ends in ``.webp``.
        image: As for `render_strips`.
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
        ValueError: If it has not the shape of an image, or an argument is out of range.
        RunError: If the file cannot be written.
    """
    path = _check_file(path, (".webp",), quality)
    if not 0 < frames_per_second <= 100:
        raise ValueError(
            f"frames_per_second must be above 0 and at most 100, got {frames_per_second}"
        )
    _check_image(image)
    strip = _make_strip(image, name, sample, preset=preset, seed=seed, difficulty=difficulty)
    return _save_animation(path, strip, frames_per_second, quality)


def write_galleries(
    folder: str | PathLike[str],
    image: Pixels,
    *,
    names: Sequence[str] = ("paper-15", "extra-4"),
    sequences: Sequence[str] = ("standard-10", "extra-4"),
    preset: str = "auto",
    seed: int = 0,
    sample: int = 0,
) -> list[Path]:
    """Write the sheets of corruptions and sequences of one image, and the animations.

    Args:
        folder: Gets ``corruptions.png``, ``perturbations.png`` and an animation
            ``perturbations/NAME.webp`` for each sequence.
        image: uint8, RGB or grey, at least 16 x 16.
        names: Corruptions, as for `render_gallery`.
        sequences: Sequences, as for `render_strips`.
        preset: Whose severities and parameters.
        seed: Of the draws.
        sample: Dataset index of the image.

    Returns:
        The paths, the two sheets first.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If its shape does not fit, or a name or the preset is unknown. Nothing is
            written then.
        RunError: If a file cannot be written.
    """
    _check_image(image)
    sheet = render_gallery(image, names=names, preset=preset, seed=seed, sample=sample)
    strips = {
        name: _make_strip(image, name, sample, preset=preset, seed=seed)
        for name in SEQUENCES.resolve(sequences)
    }
    animations = Path(folder) / "perturbations"
    try:
        animations.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {animations}: {error.strerror or error}") from error
    return [
        save_picture(Path(folder) / "corruptions.png", sheet),
        save_picture(Path(folder) / "perturbations.png", _draw_strips(strips)),
        *(_save_animation(animations / f"{name}.webp", each) for name, each in strips.items()),
    ]


def save_picture(path: str | PathLike[str], picture: Image.Image, *, quality: int = 90) -> Path:
    """Write a picture in the format of the path's suffix, one of `FORMATS`.

    Args:
        path: The file.
        picture: Its content.
        quality: 0..100; ignored by PNG.

    Returns:
        The path.

    Raises:
        ValueError: If the suffix is none of `FORMATS`, or the quality is out of range.
        RunError: If the file cannot be written.
    """
    path = _check_file(path, FORMATS, quality)
    buffer = io.BytesIO()
    picture.save(buffer, FORMATS[path.suffix.lower()], quality=quality)
    write_bytes(path, buffer.getvalue())
    return path


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a contact sheet.

    Attributes:
        tiles: From `to_tile`; all of one size, also across rows.
        label: Name of the row.
        group: Consecutive rows of one group share a heading.
        detail: Second line under the label, in grey.
        captions: One under each tile, or none.
    """

    tiles: list[Image.Image]
    label: str
    group: str
    detail: str = ""
    captions: Sequence[str] = ()


def draw_sheet(rows: Sequence[Row], heads: Sequence[str]) -> Image.Image:
    """Draw rows of tiles under the headings of their groups, which a line divides.

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


def to_tile(pixels: Pixels) -> Image.Image:
    """Return an image as it is shown: enlarged by a whole number, unchanged, or reduced."""
    height, width, channels = pixels.shape
    longer = max(height, width)
    picture = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0]).convert("RGB")
    if longer > _LARGE:
        size = (max(1, round(width * _LARGE / longer)), max(1, round(height * _LARGE / longer)))
        return picture.resize(size, Image.Resampling.LANCZOS)
    times = max(1, _SMALL // longer)
    return picture.resize((width * times, height * times), Image.Resampling.NEAREST)


@dataclass(frozen=True, slots=True)
class _Strip:
    """All frames of a sequence, as tiles."""

    tiles: list[Image.Image]
    is_enlarged: bool


def _make_strip(image: Pixels, name: str, sample: int, **settings: Any) -> _Strip:
    frames = perturb.perturb(image[None], name, ids=np.array([sample]), **settings)[0]
    tiles = [to_tile(frame) for frame in frames]
    return _Strip(tiles, is_enlarged=tiles[0].height > frames.shape[1])


def _draw_strips(strips: Mapping[str, _Strip], num_tiles: int = 8) -> Image.Image:
    rows = []
    for name, strip in strips.items():
        count = len(strip.tiles)
        shown = np.unique(np.linspace(0, count - 1, num_tiles).round().astype(int)).tolist()
        row = Row(
            tiles=[strip.tiles[index] for index in shown],
            label=_readable(name),
            detail=f"{count} frames",
            group=SEQUENCES[name].group,
            captions=[str(index) for index in shown],
        )
        rows.append(row)
    return draw_sheet(rows, heads=())


def _save_animation(
    path: Path, strip: _Strip, frames_per_second: Number = 10, quality: int = 90
) -> Path:
    """Write frames of one size as a WebP animation that loops.

    Every frame is stored whole. Pillow's own writer merges frames that differ little, as these
    often do, and leaves parts of old frames visible. Container: RFC 9649, sections 2.5 to 2.7.
    """
    width, height = strip.tiles[0].size
    options = {"quality": 100 if strip.is_enlarged else quality, "lossless": strip.is_enlarged}
    box = _bytes3(width - 1) + _bytes3(height - 1)
    chunks = _chunk(b"VP8X", bytes([0b10, 0, 0, 0]) + box)  # an animation
    chunks += _chunk(b"ANIM", bytes(4) + bytes(2))  # no background, endless
    for tile in strip.tiles:
        buffer = io.BytesIO()
        tile.save(buffer, "WEBP", **options)
        still = buffer.getvalue()[12:]  # after RIFF, the size, WEBP
        frame_box = _bytes3(0) + _bytes3(0) + box + _bytes3(round(1000 / frames_per_second))
        chunks += _chunk(b"ANMF", frame_box + bytes([0b10]) + still)  # replaces, is not blended
    write_bytes(path, _chunk(b"RIFF", b"WEBP" + chunks))
    return path


def _bytes3(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _chunk(name: bytes, content: bytes) -> bytes:
    """A RIFF chunk, padded to an even length."""
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Positions in pixels; all tiles of a sheet have one size."""

    unit: float
    margin: int
    gap: int
    left: int
    tops: list[int]
    width: int
    height: int
    size: tuple[int, int]

    def x(self, column: int) -> int:
        """Return the left edge of a column of tiles."""
        return self.left + column * (self.width + self.gap)


@dataclass(frozen=True, slots=True)
class _Pen:
    """Writes on a picture; positions in pixels, font sizes in units of layout."""

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
        """Draw text at a point with an anchor of Pillow: m middle, l left, a top, s base line."""
        font = ImageFont.load_default(size * self.unit)
        self.draw.text((x, y), text, fill=colour, font=font, anchor=anchor)

    def line(self, left: Number, right: Number, y: Number) -> None:
        """Draw a thin horizontal line."""
        self.draw.line([(left, y), (right, y)], fill=_LINE, width=max(1, round(self.unit)))


def _draw_heading(
    pen: _Pen, grid: _Grid, group: str, heads: Sequence[str], top: int, *, has_line: bool
) -> None:
    """Draw the name of the group, the names of the columns, and a line above them."""
    base = top - 12 * grid.unit
    pen.text(grid.margin, base, group, anchor="ls", size=17)
    for column, head in enumerate(heads):
        middle = grid.x(column) + grid.width / 2
        pen.text(middle, base, head, anchor="ms", size=12.5, colour=_MUTED)
    if has_line:
        pen.line(grid.margin, grid.size[0] - grid.margin, top - _HEAD * grid.unit)


def _draw_row(sheet: Image.Image, pen: _Pen, grid: _Grid, row: Row, top: int) -> None:
    """Draw framed tiles, and the label beside their middle."""
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
    """Compute positions from the size of the tiles, the longest label and the groups."""
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


def _check_file(path: str | PathLike[str], suffixes: Collection[str], quality: int) -> Path:
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"the file's name must end in {' or '.join(suffixes)}, got {path}")
    if not 0 <= quality <= 100:
        raise ValueError(f"quality must be 0..100, got {quality}")
    return path


def _readable(name: str) -> str:
    return name.replace("_", " ").replace("gaussian", "Gaussian").replace("jpeg", "JPEG")


def _check_image(image: Any) -> None:
    check_images(np.asarray(image)[None], where="image")

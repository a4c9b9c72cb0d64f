"""Sheets of small images: rows of tiles with labels, in groups, on white.

`show` makes a tile of an image, `draw_sheet` sets rows of tiles under the headings of their groups,
`save_picture` writes the result. What the tiles mean is the caller's.
"""

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from augmix.records import write_bytes

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

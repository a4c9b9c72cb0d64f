"""Contact sheets of corruptions, sequences, operations and picture banks, and animations.

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
from PIL.PngImagePlugin import PngInfo

from augmix.arrays import check_images, from_pillow, to_pillow
from augmix.augment import bank
from augmix.augment.ops import (
    ALL_OPS,
    OVERLAPPING,
    PAPER_OPS,
    SIGNED,
    Op,
    apply_op,
    describe_step,
    level_to_amount,
)
from augmix.corruptions.corrupt import corrupt, perturb
from augmix.corruptions.presets import check_levels, open_preset
from augmix.corruptions.registry import CORRUPTIONS, SEQUENCES, SEVERITIES, AnyPreset, Preset
from augmix.files import check_replaceable, make_folder, write_bytes

Number = int | float
Pixels = UInt8[np.ndarray, "height width channel"]
Frames = UInt8[np.ndarray, "frame _ _ channel"]  # may be cut out of a larger image

FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}

_OP_ROWS = {
    "levels": tuple(op for op in PAPER_OPS if op not in SIGNED),
    "geometry": SIGNED,
    "enhancement": OVERLAPPING,
}
MADE_BY = ("Software", "augmix")  # in the file of every preview

PAPER = (255, 255, 255)
_INK = (28, 29, 31)
MUTED = (98, 102, 108)
_LINE = (214, 214, 210)
_BAR = (0, 114, 178)
_SMALL = 128  # px; smaller images are enlarged by a whole number to at most this
_LARGE = 256  # px; larger images are reduced to this
# Of a sheet, in units of layout, of which the longer edge of a tile has _SMALL:
_MARGIN = 24
_GAP = 6  # between tiles
_GROUP_GAP = 22  # between the last tiles of a group and the line under them
_LABEL_GAP = 18  # between the longest label and the tiles
_HEAD = 40  # height of a group's heading
_LABEL = 36  # height of a label's two lines; rows are not lower
_CAPTION = 20  # height of the line under a tile


@dataclass(frozen=True, slots=True)
class Pen:
    """Draws on a picture: positions in steps of so many pixels, sizes and widths in units."""

    picture: Image.Image
    unit: Number
    step: Number = 1

    def text(
        self,
        x: Number,
        y: Number,
        text: str,
        *,
        anchor: str = "ma",
        size: Number = 14,
        colour: tuple[int, int, int] = _INK,
    ) -> None:
        """Text at a point with an anchor of Pillow: m middle, l left, a top, s base line."""
        font = ImageFont.load_default(size * self.unit)
        point = (x * self.step, y * self.step)
        ImageDraw.Draw(self.picture).text(point, text, fill=colour, font=font, anchor=anchor)

    def line(self, *points: tuple[Number, Number], width: Number = 1) -> None:
        """A thin line through the points."""
        scaled = [(x * self.step, y * self.step) for x, y in points]
        width = max(1, round(width * self.unit))
        ImageDraw.Draw(self.picture).line(scaled, fill=_LINE, width=width)

    def bar(self, x: Number, y: Number, width: Number, height: Number, fraction: Number) -> None:
        """A fraction as a bar."""
        for part, colour in ((1.0, _LINE), (fraction, _BAR)):
            box = [x, y, x + max(part * width, 1), y + height]
            ImageDraw.Draw(self.picture).rectangle([at * self.step for at in box], fill=colour)

    def paste(self, tile: Image.Image, left: int, top: int, *, width: int = 1) -> None:
        """An image in a frame; all in pixels."""
        self.picture.paste(tile, (left, top))
        frame = (left - 1, top - 1, left + tile.width, top + tile.height)
        ImageDraw.Draw(self.picture).rectangle(frame, outline=_LINE, width=width)


def render_gallery(
    image: Pixels,
    *,
    names: Sequence[str] = ("paper-15", "extra-4"),
    preset: AnyPreset = "auto",
    seed: int = 0,
    sample: int = 0,
    frost_textures: Path | str | None = None,
) -> Image.Image:
    """Draw a sheet with a row for each corruption: the clean image and its five severities.

    Args:
        image: uint8, RGB or grey.
        names: Corruptions, lists of them or ``python:FILE:FUNCTION``, in the order of the rows.
        preset: Whose severities, see `augmix.corrupt`; a severity that a file lacks stays blank.
        seed: Of the draws.
        sample: Dataset index of the image; the sheet shows the bytes that `augmix.corrupt` gives
            for ``ids=[sample]``.
        frost_textures: Folder of the published photographs, see `augmix.corruptions.weather`.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If it has not the shape of an image, or another argument is out of range.
        RunError: If a frost photograph is missing or cannot be read, or the user's code fails.
    """
    check_image(image)
    rows, found = [], CORRUPTIONS.resolve(names)
    preset = open_preset(preset)  # once, and after the user's own corruptions
    if isinstance(preset, Preset):
        check_levels(preset, [(name, min(preset.levels(name), default=1)) for name in found])
    how: dict[str, Any] = {"preset": preset, "seed": seed, "ids": np.array([sample])}
    for name in found:
        levels = preset.levels(name) if isinstance(preset, Preset) else SEVERITIES
        made = {
            level: corrupt(image[None], name, severity=level, frost_textures=frost_textures, **how)
            for level in levels
        }
        blank = np.full_like(image[None], 255)
        corrupted = [made.get(level, blank)[0] for level in SEVERITIES]
        tiles = [to_tile(pixels) for pixels in (image, *corrupted)]
        rows.append(Row(tiles, _readable(name), group=CORRUPTIONS[name].group))
    return draw_sheet(rows, ["clean", *(f"severity {severity}" for severity in SEVERITIES)])


def render_operations(
    image: Pixels,
    *,
    ops: Sequence[Op] = PAPER_OPS,
    severity: Number = 3,
    is_wide: bool = False,
) -> Image.Image:
    """Draw a sheet of the image and of the result of each operation alone.

    Operations have the amount of the level ``severity``, which is the largest one that `AugMix` of
    that severity draws; rotations, shears and translations are drawn with the sign +. Figure 10 of
    Hendrycks et al. (2020) shows the same.

    Args:
        image: uint8, RGB or grey.
        ops: Operations, drawn in rows of `_OP_ROWS`.
        severity: Level, above 0 and at most 10.
        is_wide: Take the amounts of TrivialAugment's wide space.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If it has not the shape of an image, there is no operation, or the severity is
            out of range.
    """
    check_image(image)
    if not 0 < severity <= 10 or not set(ops) & set(ALL_OPS):
        raise ValueError(
            f"severity must be above 0 and at most 10, with at least one operation, got {severity} "
            f"and {list(ops)}"
        )
    rows = []
    for label, members in _OP_ROWS.items():
        shown = [op for op in members if op in ops]
        level, sign = np.full(len(shown), float(severity)), np.ones(len(shown))
        codes, size = np.array(shown, np.int8), image.shape[:2]
        amounts = level_to_amount(codes, level, sign, size, is_wide=is_wide).tolist()
        steps = [  # level 10, which no draw reaches, would leave 0 bits
            (op, max(amount, 1.0) if op == Op.POSTERIZE else amount)
            for op, amount in zip(shown, amounts, strict=True)
        ]
        tiles = [to_tile(from_pillow(apply_op(to_pillow(image), *step))) for step in steps]
        captions = [describe_step(*step).replace("_", " ") for step in steps]
        if not rows:
            tiles, captions = [to_tile(image), *tiles], ["clean", *captions]
        if tiles:
            rows.append(Row(tiles, label, group=f"severity {severity:g}", captions=captions))
    return draw_sheet(rows, heads=())


def render_bank(name: str, size_px: int, *, num_columns: int = 12) -> Image.Image:
    """Draw a sheet of pictures of a bank (`augmix.augment.bank`), those drawn here by family.

    Args:
        name: `bank.PROCEDURAL`, or ``folder:PATH``.
        size_px: Height and width of the pictures.
        num_columns: Pictures in a row.

    Raises:
        RunError: If there is no such bank, or a picture cannot be read.
    """
    pictures = bank.open_bank(name, size_px)
    families = bank.FAMILIES if name == bank.PROCEDURAL else ("",) * 4
    count = min(len(pictures), num_columns * len(families))
    rows = []
    for row, family in enumerate(families):
        numbers = range(row, count, len(families))
        if numbers:
            tiles = [to_tile(pictures[number]) for number in numbers]
            title = f"{len(pictures):,} pictures of {name.removeprefix(bank.FOLDER)}"
            captions = [str(number) for number in numbers]
            rows.append(Row(tiles, family, group=title, captions=captions))
    return draw_sheet(rows, heads=())


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
    """Draw a sheet with a row for each perturbation sequence: some of its frames, numbered.

    What is not said here is as for `render_gallery`.

    Args:
        image: The large image from whose middle the frame is cut, see `augmix.corruptions.corrupt`.
        names: Sequences, lists of them or ``python:FILE:FUNCTION``, in the order of the rows.
        num_tiles: Frames shown, evenly spaced, the first and the last among them; at least 2.
        difficulty: 1, 2 or 3: how strong noise is.
    """
    check_image(image)
    names = SEQUENCES.resolve(names)
    if num_tiles < 2:
        raise ValueError(f"num_tiles must be at least 2, got {num_tiles}")
    how = {"preset": preset, "seed": seed, "difficulty": difficulty}
    return _draw_strips({name: _frames(image, name, sample, **how) for name in names}, num_tiles)


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

    Frames that are shown enlarged are stored without loss. The image, and what is not said here,
    are as for `render_strips`.

    Args:
        path: The file; its name ends in ``.webp``. It is returned.
        frames_per_second: Above 0, at most 100.
        quality: Of frames shown at their own size or smaller, 0..100.

    Raises:
        RunError: If the file cannot be written.
    """
    path = _check_file(path, (".webp",), quality)
    if not 0 < frames_per_second <= 100:
        raise ValueError(
            f"frames_per_second must be above 0 and at most 100, got {frames_per_second}"
        )
    check_image(image)
    frames = _frames(image, name, sample, preset=preset, seed=seed, difficulty=difficulty)
    return _save_animation(path, frames, frames_per_second, quality)


def write_galleries(
    folder: str | PathLike[str],
    image: Pixels,
    *,
    names: Sequence[str] = ("paper-15", "extra-4"),
    sequences: Sequence[str] = ("standard-10", "extra-4"),
    preset: AnyPreset = "auto",
    seed: int = 0,
    sample: int = 0,
) -> list[Path]:
    """Write the sheets of corruptions and sequences of one image, and the animations.

    Arguments are as for `render_gallery` and `render_strips`; nothing is written if one is wrong.
    With a preset of a file the sequences have the published parameters for their size.

    Args:
        folder: Gets ``corruptions.png``, ``perturbations.png`` and an animation
            ``perturbations/NAME.webp`` for each sequence.
        image: uint8, RGB or grey, at least 16 x 16.

    Returns:
        The paths, the two sheets first.

    Raises:
        RunError: If a file cannot be written, or is there and is no earlier one.
    """
    check_image(image)
    sheet = render_gallery(image, names=names, preset=preset, seed=seed, sample=sample)
    of_strips = open_preset(preset)  # a file has none of sequences
    of_strips = of_strips if isinstance(of_strips, str) else "auto"
    strips = {
        name: _frames(image, name, sample, preset=of_strips, seed=seed)
        for name in SEQUENCES.resolve(sequences)
    }
    animations = Path(folder) / "perturbations"
    sheets = [Path(folder) / f"{name}.png" for name in ("corruptions", "perturbations")]
    for path in sheets:
        check_replaceable(path, "earlier sheet", *(word.encode() for word in MADE_BY))
    for name in strips:
        check_replaceable(animations / f"{name}.webp", "earlier animation", _MADE_HERE)
    make_folder(animations)
    return [
        save_preview(sheets[0], sheet),
        save_preview(sheets[1], _draw_strips(strips)),
        *(_save_animation(animations / f"{name}.webp", frames) for name, frames in strips.items()),
    ]


def save_picture(path: str | PathLike[str], picture: Image.Image, *, quality: int = 90) -> Path:
    """Write a picture in the format of the path's suffix, one of `FORMATS`, and return the path.

    The quality is 0..100; PNG ignores it.

    Raises:
        ValueError: If the suffix is none of `FORMATS`, or the quality is out of range.
        RunError: If the file cannot be written.
    """
    path = _check_file(path, FORMATS, quality)
    buffer = io.BytesIO()
    picture.save(buffer, FORMATS[path.suffix.lower()], quality=quality)
    write_bytes(path, buffer.getvalue())
    return path


def save_preview(path: str | PathLike[str], picture: Image.Image) -> Path:
    """Write a picture as PNG, in which `MADE_BY` is found again; its folder is made if needed."""
    path = _check_file(path, (".png",), 0)
    buffer = io.BytesIO()
    made_by = PngInfo()
    made_by.add_text(*MADE_BY)
    picture.save(buffer, "PNG", optimize=True, pnginfo=made_by)
    make_folder(path.parent)
    write_bytes(path, buffer.getvalue())
    return path


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a contact sheet."""

    tiles: list[Image.Image]  # from `to_tile`; all of one size, also across rows
    label: str  # name of the row
    group: str  # consecutive rows of one group share a heading
    detail: str = ""  # second line under the label, in grey
    captions: Sequence[str] = ()  # one under each tile, or none


def draw_sheet(rows: Sequence[Row], heads: Sequence[str]) -> Image.Image:
    """Draw one or more rows of tiles under the headings of their groups, which a line divides.

    The names of the columns, if there are any, are repeated for every group.
    """
    grid = _arrange(rows)
    pen = Pen(Image.new("RGB", grid.size, PAPER), grid.unit)
    group = ""
    for row, top in zip(rows, grid.tops, strict=True):
        if row.group != group:
            _draw_heading(pen, grid, row.group, heads, top, has_line=bool(group))
            group = row.group
        _draw_row(pen, grid, row, top)
    return pen.picture


def to_tile(pixels: Pixels) -> Image.Image:
    """Return an image as it is shown: enlarged by a whole number, unchanged, or reduced."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    picture = to_pillow(pixels).convert("RGB")
    if longer > _LARGE:
        size = (max(1, round(width * _LARGE / longer)), max(1, round(height * _LARGE / longer)))
        return picture.resize(size, Image.Resampling.LANCZOS)
    times = max(1, _SMALL // longer)
    return picture.resize((width * times, height * times), Image.Resampling.NEAREST)


def _frames(image: Pixels, name: str, sample: int, **how: Any) -> Frames:
    return perturb(image[None], name, ids=np.array([sample]), **how)[0]


def _draw_strips(strips: Mapping[str, Frames], num_tiles: int = 8) -> Image.Image:
    rows = []
    for name, frames in strips.items():
        count = len(frames)
        shown = np.unique(np.linspace(0, count - 1, num_tiles).round().astype(int)).tolist()
        row = Row(
            tiles=[to_tile(frames[index]) for index in shown],
            label=_readable(name),
            detail=f"{count} frames",
            group=SEQUENCES[name].group,
            captions=[str(index) for index in shown],
        )
        rows.append(row)
    return draw_sheet(rows, heads=())


def _save_animation(
    path: Path, frames: Frames, frames_per_second: Number = 10, quality: int = 90
) -> Path:
    """Write frames as a WebP animation that loops.

    Every frame is stored whole. Pillow's own writer merges frames that differ little, as these
    often do, and leaves parts of old frames visible. Container: RFC 9649, sections 2.5 to 2.7.
    """
    tiles = [to_tile(frame) for frame in frames]
    width, height = tiles[0].size
    is_enlarged = height > frames.shape[1]
    box = _bytes3(width - 1) + _bytes3(height - 1)
    chunks = _chunk(b"VP8X", bytes([0b10, 0, 0, 0]) + box)  # an animation
    chunks += _chunk(b"ANIM", bytes(4) + bytes(2))  # no background, endless
    for tile in tiles:
        buffer = io.BytesIO()
        tile.save(buffer, "WEBP", quality=100 if is_enlarged else quality, lossless=is_enlarged)
        still = buffer.getvalue()[12:]  # after RIFF, the size, WEBP
        frame_box = _bytes3(0) + _bytes3(0) + box + _bytes3(round(1000 / frames_per_second))
        chunks += _chunk(b"ANMF", frame_box + bytes([0b10]) + still)  # replaces, is not blended
    write_bytes(path, _chunk(b"RIFF", b"WEBP" + chunks + _MADE_HERE))
    return path


_MADE_HERE = b"MADE\x06\0\0\0augmix"  # a chunk that readers pass over


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
        """The left edge of a column of tiles."""
        return self.left + column * (self.width + self.gap)


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


def _draw_heading(
    pen: Pen, grid: _Grid, group: str, heads: Sequence[str], top: int, *, has_line: bool
) -> None:
    """Draw the name of the group, the names of the columns, and a line above them."""
    base = top - 12 * grid.unit
    pen.text(grid.margin, base, group, anchor="ls", size=17)
    for column, head in enumerate(heads):
        middle = grid.x(column) + grid.width / 2
        pen.text(middle, base, head, anchor="ms", size=12.5, colour=MUTED)
    if has_line:
        y = top - _HEAD * grid.unit
        pen.line((grid.margin, y), (grid.size[0] - grid.margin, y))


def _draw_row(pen: Pen, grid: _Grid, row: Row, top: int) -> None:
    """Draw framed tiles with their captions, and the label beside their middle."""
    middle = top + grid.height / 2
    anchor = "ls" if row.detail else "lm"
    pen.text(grid.margin, middle - 2 * grid.unit * bool(row.detail), row.label, anchor=anchor)
    below = middle + 4 * grid.unit
    pen.text(grid.margin, below, row.detail, anchor="la", size=12.5, colour=MUTED)
    for column, tile in enumerate(row.tiles):
        pen.paste(tile, grid.x(column), top)
    for column, caption in enumerate(row.captions):
        x, y = grid.x(column) + grid.width / 2, top + grid.height + 4 * grid.unit
        pen.text(x, y, caption, size=12.5, colour=MUTED)


def _check_file(path: str | PathLike[str], suffixes: Collection[str], quality: int) -> Path:
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"the file's name must end in {' or '.join(suffixes)}, got {path}")
    if not 0 <= quality <= 100:
        raise ValueError(f"quality must be 0..100, got {quality}")
    return path


def _readable(name: str) -> str:
    return name.replace("_", " ").replace("gaussian", "Gaussian").replace("jpeg", "JPEG")


def check_image(image: Any) -> None:
    """Refuse what is no uint8 image; raises as `check_images` does."""
    check_images(np.asarray(image)[None], where="image")

"""The picture of a plan: every chain step by step, its weight, the mixture and the finished view.

A realisation reads from left to right: the image as the chains receive it (mirrored and cropped
where the plan says so), a strip for each chain with operation and amount under every step, the
chain's weight, the mixture of the chains, and the view: clean image and mixture by their weights,
then the stages after the chains, which the title names. The pictures are made by the definition,
the executor ``pillow``.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from augmix.arrays import check_images, to_uint8
from augmix.augment import render
from augmix.augment.ops import apply_op, describe_step, from_pillow, to_pillow
from augmix.augment.plan import Plan, check_plan
from augmix.augment.stages.crop import CropFlip
from augmix.augment.stages.pairs import Pairs
from augmix.files import write_bytes

_PAPER = (255, 255, 255)
_INK = (28, 29, 31)
_MUTED = (98, 102, 108)
_LINE = (214, 214, 210)
_BAR = (0, 114, 178)
_TILE = 140  # longer edge of a shown image, px
_GAP = 22  # between the tiles of a chain
_COLUMN_GAP = 46  # between the columns
_CAPTION = 46  # height of the two lines under a tile, with the space after them
_WEIGHT = 74  # width of the weight column
_MARGIN = 26
_HEAD = 34  # height of the title over a realisation
_NOTES = 190  # where the notes beside the title begin

Picture = UInt8[np.ndarray, "height width channel"]
Number = int | float


def render_preview(
    image: Picture, plan: Plan, *, index: int = 0, view: int = 0, scale: Number = 1.0
) -> Image.Image:
    """Draw one realisation of one image.

    Args:
        image: uint8, RGB or grey, of the plan's size.
        plan: Holds the realisation.
        index: Position of the image in the plan's batch.
        view: Which of its views.
        scale: Pixels of the picture for one unit of layout; 1 is about 1,200 wide for chains of
            three, 2 is sharp in print.

    Returns:
        An RGB picture on white.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If its shape is not the plan's, index, view or scale is out of range, or the
            plan takes pixels of other images (see `write_preview`).
    """
    check_images(np.asarray(image)[None], where="image")
    if not 0 <= index < len(plan) or not 0 <= view < plan.num_views:
        raise ValueError(
            f"index and view must name one of {len(plan)} images and {plan.num_views} views, "
            f"got index {index} and view {view}"
        )
    if plan.pairs:
        raise ValueError("a plan of pairs is drawn with all its images: call write_preview")
    alone = plan[index : index + 1]
    check_plan(alone, (1, *image.shape))
    finished = render(image[None], alone, executor="pillow")[view, 0]
    return _render_strip(image, finished, plan, index, view, scale)


def write_preview(
    path: str | PathLike[str],
    images: UInt8[np.ndarray, "batch height width channel"],
    plan: Plan,
    *,
    scale: Number = 1.0,
) -> Path:
    """Write a PNG with a strip for every view of every image of a plan.

    Args:
        path: The file.
        images: As many as the plan has.
        plan: Drawn for them.
        scale: See `render_preview`.

    Returns:
        The path.

    Raises:
        ValueError: If images and plan do not fit, or there is nothing to draw.
        RunError: If the file cannot be written.
    """
    check_images(images)
    check_plan(plan, images.shape)
    if not len(plan) or not plan.num_views:
        raise ValueError(f"nothing to draw: {len(plan)} images with {plan.num_views} views")
    views = render(images, plan, executor="pillow")
    strips = [
        _render_strip(images[index], views[view, index], plan, index, view, scale)
        for index in range(len(plan))
        for view in range(plan.num_views)
    ]
    page = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), _PAPER)
    top = 0
    for strip in strips:
        page.paste(strip, (0, top))
        top += strip.height
        if top < page.height:
            margin = round(_MARGIN * scale)
            line = ((margin, top - 1), (page.width - margin, top - 1))
            ImageDraw.Draw(page).line(line, fill=_LINE, width=max(1, round(scale)))
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)  # a PNG, whatever the name's ending
    write_bytes(Path(path), buffer.getvalue())
    return Path(path)


def _render_strip(
    image: Picture,
    finished: Float32[np.ndarray, "channel height width"],
    plan: Plan,
    index: int,
    view: int,
    scale: Number,
) -> Image.Image:
    """One realisation, whose finished view is given."""
    if not scale > 0:
        raise ValueError(f"scale must be above 0, got {scale}")
    notes = "; ".join(plan.describe_finish(index, view))
    alone = plan.without(Pairs)[index : index + 1]
    pixels = image[None, None]
    for stage in alone.stages:
        pixels = stage.apply(pixels) if stage.gives == "images" else pixels
    start = np.asarray(pixels)[view if len(pixels) > 1 else 0, 0]
    chains = [_steps(start, alone, view, chain) for chain in range(alone.weight.shape[2])]
    canvas = _Canvas.empty(_layout(alone), scale)
    _draw(canvas, start, finished, alone, view, chains, notes)
    return canvas.picture


@dataclass(frozen=True, slots=True)
class _Step:
    """A tile of a chain: the operation, and the picture after it."""

    name: str
    amount: str
    picture: Image.Image


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the columns begin and how large the canvas is, in units of layout."""

    chains: int
    tile_height: int
    start: int
    weight: int
    mixture: int
    view: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Canvas:
    """A picture that is drawn on in units of layout."""

    picture: Image.Image
    draw: ImageDraw.ImageDraw
    layout: _Layout
    scale: Number

    @classmethod
    def empty(cls, layout: _Layout, scale: Number) -> "_Canvas":
        size = (round(layout.width * scale), round(layout.height * scale))
        picture = Image.new("RGB", size, _PAPER)
        return cls(picture, ImageDraw.Draw(picture), layout, scale)

    def tile(self, x: Number, y: Number, picture: Image.Image) -> None:
        """An image with a hairline around it; small ones show their pixels."""
        height = max(1, round(self.layout.tile_height * self.scale))
        width = min(round(height * picture.width / picture.height), round(_TILE * self.scale))
        size = (max(1, width), height)
        how = Image.Resampling.NEAREST if height >= picture.height else Image.Resampling.LANCZOS
        shown = picture.convert("RGB").resize(size, how)
        left = round((x + _TILE / 2) * self.scale - size[0] / 2)
        top = round(y * self.scale)
        self.picture.paste(shown, (left, top))
        frame = (left - 1, top - 1, left + size[0], top + size[1])
        self.draw.rectangle(frame, outline=_LINE, width=max(1, round(self.scale)))

    def text(
        self,
        x: Number,
        y: Number,
        text: str,
        *,
        size: Number = 14,
        colour: tuple[int, int, int] = _INK,
        anchor: str = "ma",
    ) -> None:
        """Text at a point; ``anchor`` as Pillow has it, m middle, l left, a top."""
        position = (x * self.scale, y * self.scale)
        font = ImageFont.load_default(size * self.scale)
        self.draw.text(position, text, fill=colour, font=font, anchor=anchor)

    def line(self, *points: tuple[Number, Number]) -> None:
        """A hairline through the points."""
        scaled = [(x * self.scale, y * self.scale) for x, y in points]
        self.draw.line(scaled, fill=_LINE, width=max(1, round(2 * self.scale)))

    def bar(self, x: Number, y: Number, width: Number, height: Number, fraction: Number) -> None:
        """A fraction as a bar."""
        for part, colour in ((1.0, _LINE), (fraction, _BAR)):
            box = [x, y, x + max(part * width, 1), y + height]
            self.draw.rectangle([edge * self.scale for edge in box], fill=colour)


def _steps(start: Picture, plan: Plan, view: int, chain: int) -> list[_Step]:
    """The pictures along one chain of the only image of a plan."""
    picture = to_pillow(start)
    steps = []
    for op, amount in plan.chains.steps(view, 0, chain):
        picture = apply_op(picture, op, amount)
        words = describe_step(op, amount).split(" ", 1)
        steps.append(_Step(words[0].replace("_", " "), "".join(words[1:]), picture))
    return steps or [_Step("unchanged", "", picture)]


def _layout(plan: Plan) -> _Layout:
    _, _, chains, depth = plan.op.shape
    start = _MARGIN + _TILE + _COLUMN_GAP
    weight = start + depth * _TILE + (depth - 1) * _GAP + _GAP
    mixture = weight + _WEIGHT + _COLUMN_GAP
    view = mixture + _TILE + _COLUMN_GAP
    tile_height = max(1, round(_TILE * min(1.0, plan.size[0] / plan.size[1])))
    return _Layout(
        chains=chains,
        tile_height=tile_height,
        start=start,
        weight=weight,
        mixture=mixture,
        view=view,
        width=view + _TILE + _MARGIN,
        height=_MARGIN + _HEAD + chains * (tile_height + _CAPTION) + _MARGIN // 2,
    )


def _draw(
    canvas: _Canvas,
    start: Picture,
    finished: Float32[np.ndarray, "channel height width"],
    plan: Plan,
    view: int,
    chains: Sequence[Sequence[_Step]],
    notes: str,
) -> None:
    """Columns from left to right; what is not a chain is drawn at half height."""
    layout = canvas.layout
    top = _MARGIN + _HEAD
    half = layout.tile_height / 2
    pitch = layout.tile_height + _CAPTION
    middle = top + (layout.chains * pitch - _CAPTION) / 2
    mix = float(plan.mix[view, 0])
    title = f"image {int(plan.ids[0])}, view {view}"
    canvas.text(_MARGIN, _MARGIN - 6, title, size=17, anchor="la")
    if notes:
        canvas.text(_NOTES, _MARGIN - 3, notes, size=13, colour=_MUTED, anchor="la")
    spread = layout.weight - _GAP / 2 + _WEIGHT + _COLUMN_GAP / 2
    fork = layout.start - _COLUMN_GAP / 2
    rows = [top + chain * pitch + half for chain in range(layout.chains)]
    canvas.line((_MARGIN + _TILE, middle), (fork, middle))
    canvas.line((fork, rows[0]), (fork, rows[-1]))
    canvas.line((spread, rows[0]), (spread, rows[-1]))
    canvas.line((spread, middle), (layout.view, middle))
    for y, weight, steps in zip(rows, plan.weight[view, 0], chains, strict=True):
        canvas.line((fork, y), (layout.weight, y))
        canvas.line((layout.weight + _WEIGHT, y), (spread, y))
        _draw_chain(canvas, y - half, steps)
        canvas.text(layout.weight + _WEIGHT / 2, y - 20, f"x {weight:.2f}", size=15)
        canvas.bar(layout.weight + 6, y + 3, _WEIGHT - 12, 6, float(weight))
    for x, pixels, lines in (
        (_MARGIN, start, ("clean", _moves(plan))),
        (layout.mixture, _mixture(start, plan, view), ("mixture", "sum of the chains")),
        (layout.view, _to_pixels(finished), ("view", f"{1 - mix:.2f} clean + {mix:.2f} mix")),
    ):
        canvas.tile(x, middle - half, to_pillow(pixels))
        _caption(canvas, x, middle + half, *lines)


def _draw_chain(canvas: _Canvas, y: Number, steps: Sequence[_Step]) -> None:
    for column, step in enumerate(steps):
        x = canvas.layout.start + column * (_TILE + _GAP)
        canvas.tile(x, y, step.picture)
        _caption(canvas, x, y + canvas.layout.tile_height, step.name, step.amount)


def _caption(canvas: _Canvas, x: Number, y: Number, first: str, second: str) -> None:
    canvas.text(x + _TILE / 2, y + 4, first, size=13.5)
    canvas.text(x + _TILE / 2, y + 20, second, size=12, colour=_MUTED)


def _mixture(start: Picture, plan: Plan, view: int) -> Picture:
    """The weighted sum of the chains alone."""
    total: Float32[np.ndarray, "height width channel"] = np.zeros(start.shape, np.float32)
    for chain, weight in enumerate(plan.weight[view, 0]):
        pixels = from_pillow(plan.chains.apply_chain(to_pillow(start), view, 0, chain))
        total += weight * pixels.astype(np.float32)
    return to_uint8(total / np.float32(255))


def _to_pixels(finished: Float32[np.ndarray, "channel height width"]) -> Picture:
    """A finished view, rounded to grey levels."""
    return to_uint8(np.ascontiguousarray(finished.transpose(1, 2, 0)))


def _moves(plan: Plan) -> str:
    """What was done before the chains, in a few words."""
    crop = plan.find(CropFlip)
    if crop is None:
        return ""
    words = ["mirrored"] if crop.flip[0] else []
    if crop.padding:
        down, right = (crop.padding - int(offset) for offset in crop.crop[0])
        words += [f"{abs(right)} px {'right' if right > 0 else 'left'}"] if right else []
        words += [f"{abs(down)} px {'down' if down > 0 else 'up'}"] if down else []
    return ", ".join(words)

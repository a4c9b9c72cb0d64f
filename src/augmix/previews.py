"""Previews of plans: every step of an augmentation, as the executor ``pillow`` renders it."""

import textwrap
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageFont

from augmix.arrays import check_images, from_pillow, to_pillow, to_uint8
from augmix.augment import bank, render
from augmix.augment.ops import apply_op, describe_step
from augmix.augment.plan import Plan, check_plan
from augmix.augment.policies.fourier import Spectra
from augmix.augment.stages import stage_name
from augmix.augment.stages.chains import Copies, CropFlip
from augmix.augment.stages.pairs import Pairs
from augmix.pictures import MUTED, PAPER, Number, Pen, Pixels, check_image, save_preview

View = Float32[np.ndarray, "channel height width"]

# In units of layout:
_STEP = 140  # longer edge of a shown image
_STEP_GAP = 22  # between the tiles of a chain
_COLUMN_GAP = 46  # between the columns
_STEP_CAPTION = 46  # height of the two lines under a tile, with the space after them
_WEIGHT = 74  # width of the weight column
_EDGE = 26
_TITLE = 34  # height of the title over a realisation
_NOTES = 190  # where the notes beside the title begin
_NOTES_SIZE = 13


def render_preview(
    image: Pixels, plan: Plan, *, index: int = 0, view: int = 0, scale: Number = 1.0
) -> Image.Image:
    """Draw one realisation of one image.

    From left to right: the image as the chains receive it, a strip for each chain with operation
    and amount under every step, the chain's weight, the mixture of the chains, and the view: the
    first image and the mixture by their weights, then the stages after the chains, which the title
    names. The first image is ``clean``, moved at most, or has the name of the stage that changed it
    before the chains, e.g. ``recombined`` (`policies.APR`); the title then begins with that change.
    Copies are drawn as the chains are, without weights and mixture.

    Args:
        image: uint8, RGB or grey, of the plan's size.
        plan: Holds the realisation: the view ``view`` of the image at position ``index``.
        scale: Pixels of the picture for one unit of layout; 1 is about 1,200 wide for chains of
            three, 2 is sharp in print.

    Raises:
        TypeError: If the image is not a uint8 array.
        ValueError: If its shape is not the plan's, index, view or scale is out of range, or the
            plan takes pixels of other images (see `write_preview`).
    """
    check_image(image)
    if not 0 <= index < len(plan) or not 0 <= view < plan.num_views:
        raise ValueError(
            f"index and view must name one of {len(plan)} images and {plan.num_views} views, "
            f"got index {index} and view {view}"
        )
    if plan.pairs or plan.find(Spectra):
        raise ValueError("a plan of pairs is drawn with all its images: call write_preview")
    alone = plan[index : index + 1]
    check_plan(alone, (1, *image.shape), bank.pictures_of(plan, image.shape[2]))
    finished = render(image[None], alone, executor="pillow")[view, 0]
    return _draw_realisation(image, finished, plan, index, view, scale)


def write_preview(
    path: str | PathLike[str],
    images: UInt8[np.ndarray, "batch height width channel"],
    plan: Plan,
    *,
    scale: Number = 1.0,
) -> Path:
    """Write a PNG with a strip for every view of every image of a plan, and return the path.

    See `render_preview`; the images are as many as the plan has.

    Raises:
        ValueError: If images and plan do not fit, or there is nothing to draw.
        RunError: If the file cannot be written.
    """
    check_images(images)
    check_plan(plan, images.shape, bank.pictures_of(plan, images.shape[3]))
    if not len(plan) or not plan.num_views:
        raise ValueError(f"nothing to draw: {len(plan)} images with {plan.num_views} views")
    views = render(images, plan, executor="pillow")
    strips = [
        _draw_realisation(images[index], views[view, index], plan, index, view, scale)
        for index in range(len(plan))
        for view in range(plan.num_views)
    ]
    page = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), PAPER)
    top = 0
    for strip in strips:
        page.paste(strip, (0, top))
        top += strip.height
        if top < page.height:
            margin = round(_EDGE * scale)
            Pen(page, scale).line((margin, top - 1), (page.width - margin, top - 1))
    return save_preview(path, page)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the columns begin and how large the picture is, in units of layout."""

    tile_height: int
    start: int
    weight: int
    mixture: int
    view: int
    width: int
    height: int


def _layout(plan: Plan) -> _Layout:
    _, _, chains, depth = plan.op.shape
    start = _EDGE + _STEP + _COLUMN_GAP
    weight = start + depth * (_STEP + _STEP_GAP)
    mixture = weight + _WEIGHT + _COLUMN_GAP
    view = mixture + _STEP + _COLUMN_GAP
    tile_height = max(1, round(_STEP * min(1.0, plan.size[0] / plan.size[1])))
    height = _EDGE + _TITLE + chains * (tile_height + _STEP_CAPTION) + _EDGE // 2
    return _Layout(tile_height, start, weight, mixture, view, view + _STEP + _EDGE, height)


def _draw_realisation(
    image: Pixels, finished: View, plan: Plan, index: int, view: int, scale: Number
) -> Image.Image:
    """Columns from left to right; what is not a chain is drawn at half height."""
    if not scale > 0:
        raise ValueError(f"scale must be above 0, got {scale}")
    changes = [stage for stage in plan.without(CropFlip).stages if stage.gives == "images"]
    first = [line for stage in changes for line in stage.describe(index, view, plan.ids)]
    notes = plan.describe_finish(index, view)
    plan = plan.without(Pairs).without(Spectra)[index : index + 1]  # partners are left out
    layout, (start, name) = _layout(plan), _start(image, plan, view)
    if name != "clean":
        notes = [*(f"first: {line}" for line in first), *(f"then: {line}" for line in notes)]
    notes = "; ".join(notes)
    size = (round(layout.width * scale), round(layout.height * scale))
    pen = Pen(Image.new("RGB", size, PAPER), scale, step=scale)
    title = f"image {int(plan.ids[0])}, view {view}"
    pen.text(_EDGE, _EDGE - 6, title, size=17, anchor="la")
    length = ImageFont.load_default(_NOTES_SIZE).getlength(notes)
    if length > (most := layout.width - _EDGE - _NOTES):
        notes = textwrap.shorten(notes, int(len(notes) * most / length), placeholder=" ...")
    pen.text(_NOTES, _EDGE - 3, notes, size=_NOTES_SIZE, colour=MUTED, anchor="la")

    weights, mix, has_copies = plan.weight[view, 0], float(plan.mix[view, 0]), plan.find(Copies)
    top, half = _EDGE + _TITLE, layout.tile_height / 2
    pitch = layout.tile_height + _STEP_CAPTION
    rows = [top + chain * pitch + half for chain in range(len(weights))]
    middle = top + (len(weights) * pitch - _STEP_CAPTION) / 2
    fork = layout.start - _COLUMN_GAP / 2
    join = layout.weight - _STEP_GAP / 2 + _WEIGHT + _COLUMN_GAP / 2
    for points in (
        ((_EDGE + _STEP, middle), (fork, middle)),
        ((fork, rows[0]), (fork, rows[-1])),
        ((join, rows[0]), (join, rows[-1])),
        ((join, middle), (layout.view, middle)),
    ):
        pen.line(*points, width=2)
    for chain, (y, weight) in enumerate(zip(rows, weights, strict=True)):
        pen.line((fork, y), (layout.weight, y), width=2)
        pen.line((layout.weight + (not has_copies) * _WEIGHT, y), (join, y), width=2)
        for column, (picture, *words) in enumerate(_steps(start, plan, view, chain)):
            x = layout.start + column * (_STEP + _STEP_GAP)
            _draw_tile(pen, layout, x, y - half, picture, *words)
        if not has_copies:
            pen.text(layout.weight + _WEIGHT / 2, y - 20, f"x {weight:.2f}", size=15)
            pen.bar(layout.weight + 6, y + 3, _WEIGHT - 12, 6, float(weight))
    view_pixels = to_uint8(np.ascontiguousarray(finished.transpose(1, 2, 0)))
    short = "clean" if name == "clean" else "first"
    mixed = "" if has_copies else f"{1 - mix:.2f} {short} + {mix:.2f} mix"
    columns = [
        (_EDGE, start, name, _moves(plan)),
        (layout.view, view_pixels, "view", mixed),
    ]
    if not has_copies:
        mixture = _mixture(start, plan, view)
        columns.insert(1, (layout.mixture, mixture, "mixture", "sum of the chains"))
    for x, pixels, first, second in columns:
        _draw_tile(pen, layout, x, middle - half, to_pillow(pixels), first, second)
    return pen.picture


def _draw_tile(
    pen: Pen, layout: _Layout, x: Number, y: Number, picture: Image.Image, first: str, second: str
) -> None:
    """Draw an image in a frame over two lines; small ones show their pixels."""
    height = max(1, round(layout.tile_height * pen.step))
    width = min(round(height * picture.width / picture.height), round(_STEP * pen.step))
    size = (max(1, width), height)
    how = Image.Resampling.NEAREST if height >= picture.height else Image.Resampling.LANCZOS
    left = round((x + _STEP / 2) * pen.step - size[0] / 2)
    shown = picture.convert("RGB").resize(size, how)
    pen.paste(shown, left, round(y * pen.step), width=max(1, round(pen.unit)))
    below = y + layout.tile_height
    pen.text(x + _STEP / 2, below + 4, first, size=13.5)
    pen.text(x + _STEP / 2, below + 20, second, size=12, colour=MUTED)


def _start(image: Pixels, plan: Plan, view: int) -> tuple[Pixels, str]:
    """The image as the chains of the only image of a plan receive it, and its name: that of the
    last stage that changed more than its position, or clean."""
    pixels, start, name = image[None, None], image, "clean"
    for stage in plan.stages:
        if stage.gives == "images":
            before, pixels = start, np.asarray(stage.apply(pixels))
            start = pixels[view if len(pixels) > 1 else 0, 0]
            if not isinstance(stage, CropFlip) and not np.array_equal(before, start):
                name = stage_name(type(stage))
    return start, name


def _steps(start: Pixels, plan: Plan, view: int, chain: int) -> list[tuple[Image.Image, str, str]]:
    """The pictures along one chain, each with operation and amount."""
    picture = to_pillow(start)
    steps = []
    for op, amount in plan.chains.steps(view, 0, chain):
        picture = apply_op(picture, op, amount)
        name, _, size = describe_step(op, amount).partition(" ")
        steps.append((picture, name.replace("_", " "), size))
    return steps or [(picture, "unchanged", "")]


def _mixture(start: Pixels, plan: Plan, view: int) -> Pixels:
    """The weighted sum of the chains alone."""
    total: Float32[np.ndarray, "height width channel"] = np.zeros(start.shape, np.float32)
    for chain, weight in enumerate(plan.weight[view, 0]):
        pixels = from_pillow(plan.chains.apply_chain(to_pillow(start), view, 0, chain))
        total += weight * pixels.astype(np.float32)
    return to_uint8(total / np.float32(255))


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

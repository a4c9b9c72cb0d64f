"""What a decoder is fitted to: an encoder, and batches of content and style by step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from augmix.data.batches import BatchOrder
from augmix.records import RunError
from augmix.stylize.adain import enlarge, pad_to_stride
from augmix.stylize.arithmetic import to_floats
from augmix.stylize.content import Content, open_content
from augmix.stylize.encoders import Encoder, check_side, open_encoder
from augmix.stylize.losses import measure_gains
from augmix.stylize.settings import FitConfig
from augmix.stylize.styles import (
    CUTTING,
    FITTING,
    StyleShelf,
    open_styles,
    style_side,
    style_stream,
)

_GAUGED = 64  # images that the gains of the stages are measured on


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Material:
    """What is learned from, all opened and checked."""

    content: Content
    shelf: StyleShelf
    encoder: Encoder
    side: int  # of the squares in pixels, before they are enlarged
    scale: int
    restyled: int  # number of the stage that is painted from


def open_material(config: FitConfig) -> Material:
    """Open images, style pictures and encoder.

    Raises:
        ValueError: If a size does not fit the images.
        RunError: If something is missing, broken or grey.
    """
    content = open_content(config)
    if content.source.channels != 3:
        raise RunError("a fit needs colour images, got grey ones; choose another --src")
    if config.crop > content.side:
        raise ValueError(
            f"crop must be at most the images' shorter side {content.side}, got {config.crop}"
        )
    side = config.crop or content.side
    styles = open_styles(config.styles)
    encoder = open_encoder(config.encoder, stages=config.stages, side=side)
    scale = config.scale or max(1, -(-encoder.least_side // side))
    picture_side = style_side(config.style_size, content.side * scale)
    check_side(encoder.stride, side * scale, "images, as cut and enlarged,")
    check_side(encoder.stride, picture_side, "style pictures")
    if config.crop and picture_side < side * scale:
        raise ValueError(
            f"style_size must be at least {side * scale} to cut squares of {side} enlarged "
            f"{scale} times, got {picture_side}"
        )
    shelf = StyleShelf(styles, side=picture_side, on_error=config.on_error)
    gauge = to_floats(content.source.load(np.arange(min(_GAUGED, len(content.ids)))))
    if encoder.identity["kind"] != "vgg":  # its weights were normalised so by its authors
        encoder.gains = measure_gains(encoder, pad_to_stride(gauge, encoder.stride))
    return Material(
        content=content,
        shelf=shelf,
        encoder=encoder,
        side=side,
        scale=scale,
        restyled=find_restyled(encoder, config.restyled),
    )


def find_restyled(encoder: Encoder, name: str) -> int:
    """The number of the stage that is restyled; without a name see `FitConfig`.

    Raises:
        RunError: If no stage has the name, or another than VGG's last is asked for.
    """
    names = [stage.name for stage in encoder.stages]
    is_vgg = encoder.identity.get("kind") == "vgg"
    if name:
        if name not in names or (is_vgg and name != names[-1]):
            offered = names[-1:] if is_vgg else names
            raise RunError(f"restyled must be one of {', '.join(offered)}, got {name!r}")
        return names.index(name)
    if is_vgg:
        return len(names) - 1
    fine = [number for number, stage in enumerate(encoder.stages) if stage.stride <= 2]
    return fine[-1] if fine else 0


def make_batches(
    config: FitConfig, material: Material
) -> Callable[[int], tuple[Float32[Tensor, "b 3 h w"], Float32[Tensor, "b 3 h2 w2"]]]:
    """Content and style of a step, a function of (seed, step): images in [0, 1]."""
    source = material.content.source
    order = BatchOrder(num_images=len(source), batch_size=config.batch_size, seed=config.seed)
    scale, side = material.scale, material.side

    def make(step: int) -> tuple[Tensor, Tensor]:
        rows, epoch = order.ids(step), order.epoch(step)
        drawn = material.shelf.draw(rows, style_stream(config.seed, FITTING).at(epoch=epoch))
        content = source.load(rows)
        style = np.stack([material.shelf.image(int(index)) for index in drawn])
        if config.crop:
            stream = style_stream(config.seed, CUTTING).at(epoch=epoch)
            places = stream.uniforms(rows, count=4)[0]  # batch (top, left of content, of style)
            content = cut_squares(content, places[:, :2], side)
            style = cut_squares(style, places[:, 2:], side * scale)
        stride = material.encoder.stride
        content_floats = pad_to_stride(enlarge(to_floats(content), scale), stride)
        return content_floats, pad_to_stride(to_floats(style), stride)

    return make


def cut_squares(batch: np.ndarray, places: np.ndarray, side: int) -> np.ndarray:
    """A square of every image, its corner at these shares of the room there is."""
    room = np.array(batch.shape[1:3]) - side + 1
    corners = (places * room).astype(int)
    squares = zip(batch, corners, strict=True)
    return np.stack([image[top : top + side, left : left + side] for image, (top, left) in squares])

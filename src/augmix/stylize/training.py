"""Training of a decoder.

Huang and Belongie (2017), section 4: content loss plus style loss, the encoder fixed. Added to it
is how well the decoder gives an image back whose features were not restyled; without it a decoder
of a small encoder forgets the content. A step depends on (seed, step) alone: a fit that was stopped
and started again ends with the same weights, bit for bit on the CPU.
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from augmix import files, results
from augmix.data.batches import BatchOrder, prefetch
from augmix.devices import resolve_device, torch_settings
from augmix.errors import RunError
from augmix.progress import DecoderStepsLogged, Note, OnProgress, ignore
from augmix.stylize.adain import (
    adapt,
    arithmetic,
    channel_statistics,
    enlarge,
    pad_to_stride,
    to_floats,
)
from augmix.stylize.config import FitConfig
from augmix.stylize.decoder import Fitted, write_decoder
from augmix.stylize.encoder import (
    VGG_DECODER_ROWS,
    Encoder,
    Row,
    build_decoder,
    check_side,
    mirror,
    open_encoder,
)
from augmix.stylize.styles import (
    CUTTING,
    FITTING,
    Content,
    StyleShelf,
    open_content,
    open_styles,
    style_side,
    style_stream,
)
from augmix.training import checkpoint
from augmix.training.config import learning_rate


def fit_loss(
    encoder: Encoder,
    decoder: nn.Module,
    content: Float[Tensor, "batch 3 height width"],
    style: Float[Tensor, "batch 3 style_height style_width"],
    *,
    restyled: int = -1,
) -> dict[str, Float[Tensor, ""]]:
    """The terms of the loss, not yet weighted.

    ``content`` is the mean squared distance of the picture's features to the restyled ones
    (equation 12), ``style`` that of means and deviations, summed over the stages (equation 13),
    ``identity`` that of the pixels where nothing was restyled. Stage number ``restyled`` is painted
    from; in the paper it is the last.
    """
    with torch.no_grad():
        features = encoder(content)[restyled]
        styles = [channel_statistics(found) for found in encoder(style)]
        wanted = adapt(features, styles[restyled])
    both = decoder(torch.cat([wanted, features])).float()
    pictures, same = both.chunk(2)
    seen = encoder(pictures)
    terms = {"content": F.mse_loss(seen[restyled].float(), wanted.float())}
    distances = [
        F.mse_loss(own.mean, style.mean) + F.mse_loss(own.std, style.std)
        for own, style in zip(map(channel_statistics, seen), styles, strict=True)
    ]
    return {**terms, "style": torch.stack(distances).sum(), "identity": F.mse_loss(same, content)}


def measure_gains(
    encoder: Encoder, gauge: Float32[Tensor, "batch 3 height width"]
) -> tuple[float, ...]:
    """Factors that bring every stage to a mean square of 1, so that no stage drowns the others."""
    with torch.no_grad():
        squares = [float(found.square().mean()) for found in encoder(gauge)]
    if not all(math.isfinite(square) and square > 0 for square in squares):
        raise RunError(f"the encoder's features must be finite and not all 0, got {squares}")
    return tuple(1 / math.sqrt(square) for square in squares)


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


def fit(config: FitConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Train a decoder, or continue its fit.

    Args:
        config: What is fitted to what.
        on_progress: Called with an event after every log line.

    Returns:
        The decoder's file.

    Raises:
        ResumeError: If the folder of the fit holds one of other settings.
        RunError: If encoder, images or pictures are not usable, or the loss is no longer finite.
    """
    device = resolve_device(config.device)
    if not config.encoder:
        raise RunError(
            "name an encoder with --encoder: a folder of augmix train, vgg_normalised.pth, or "
            "python:module:function"
        )
    with torch_settings(device, seed=config.seed, num_threads=config.num_threads):
        material = open_material(config)
        eye = material.encoder
        rows = decoder_rows(eye, depth=config.depth, restyled=material.restyled)
        decoder = build_decoder(rows)
        folder = config.out.with_suffix(".fit")
        with checkpoint.lock(folder):
            _learn(config, material, decoder, folder, device, on_progress or ignore)
            fitted = Fitted(
                rows=rows,
                encoder=config.encoder,
                identity={
                    **eye.identity,
                    "stages": eye.identity["stages"][: material.restyled + 1],
                },
                gains=eye.gains[: material.restyled + 1],
                least_side=material.side * material.scale,
                settings=files.to_plain(config),
            )
            write_decoder(config.out, decoder, fitted)
    return config.out


def decoder_rows(encoder: Encoder, *, depth: int, restyled: int) -> tuple[Row, ...]:
    """The published decoder for VGG, for anything else the mirror of its stages.

    Args:
        encoder: Whose features are painted from.
        depth: Convolutions at each size.
        restyled: Number of the stage to paint from.
    """
    if encoder.identity.get("kind") == "vgg":
        return VGG_DECODER_ROWS
    stages = encoder.stages[: restyled + 1]
    channels, strides = [s.channels for s in stages], [s.stride for s in stages]
    return mirror(channels, strides, depth=depth)


@dataclass(kw_only=True)
class _Progress:
    """Steps done and the sums since the last log line."""

    step: int = 0
    count: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, values: dict[str, float], seconds: float) -> None:
        self.step, self.count, self.seconds = self.step + 1, self.count + 1, self.seconds + seconds
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in values.items()}

    def line(self) -> dict[str, Any]:
        """The means since the last line; starts the sums anew."""
        means = {name: total / self.count for name, total in self.sums.items()}
        self.count, self.sums = 0, {}
        return {"step": self.step, **means, "seconds": self.seconds}

    def to_plain(self) -> dict[str, Any]:
        return {"count": self.count, "sums": dict(self.sums), "seconds": self.seconds}


def _learn(
    config: FitConfig,
    material: Material,
    decoder: nn.Module,
    folder: Path,
    device: torch.device,
    emit: OnProgress,
) -> None:
    """All steps that are not done yet; leaves the learned weights in the decoder."""
    encoder = material.encoder.to(device)
    decoder.to(device).train()
    optimizer = torch.optim.Adam(decoder.parameters(), lr=config.learning_rate)
    identity = {**_identity(config, material), **arithmetic(device)}
    progress = _resume(folder, decoder, optimizer, identity)
    if progress.step:
        emit(Note(text=f"continues {folder} after step {progress.step}"))
    weights = {
        "content": config.content_weight,
        "style": config.style_weight,
        "identity": config.identity_weight,
    }
    make = make_batches(config, material)
    with closing(prefetch(make, range(progress.step, config.steps))) as batches:
        for content, style in batches:
            began = perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(
                    progress.step, config.steps, peak=config.learning_rate, schedule="cosine"
                )
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                images, styles = content.to(device), style.to(device)
                terms = fit_loss(encoder, decoder, images, styles, restyled=material.restyled)
            loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            values = {name: float(term.detach()) for name, term in {"loss": loss, **terms}.items()}
            _check_finite(values, progress.step + 1)
            progress.add(values, perf_counter() - began)
            is_end = progress.step == config.steps
            if is_end or progress.step % config.log_every == 0:
                line = progress.line()
                files.append_line(folder / results.LOG_FILE, line)
                emit(DecoderStepsLogged(num_steps=config.steps, record=line))
            if is_end or progress.step % config.checkpoint_every == 0:
                _save(folder, progress, decoder, optimizer, identity)


def _resume(
    folder: Path, decoder: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> _Progress:
    """Where the fit stands; a new one leaves its first checkpoint at once."""
    state = checkpoint.load_state(folder)
    log = folder / results.LOG_FILE
    if state is None:
        files.write_bytes(log, b"")
        progress = _Progress()
        _save(folder, progress, decoder, optimizer, identity)
        return progress
    checkpoint.check_identity(state, identity, folder)
    checkpoint.restore(state, decoder, optimizer)
    kept = [line for line in files.load_lines(log) if line["step"] <= state.step]
    log.unlink(missing_ok=True)
    for line in kept:
        files.append_line(log, line)
    return _Progress(step=state.step, **state.tally)


def _save(
    folder: Path,
    progress: _Progress,
    decoder: nn.Module,
    optimizer: torch.optim.Optimizer,
    identity: dict[str, Any],
) -> None:
    state = checkpoint.capture(
        progress.step, decoder, optimizer, identity=identity, tally=progress.to_plain()
    )
    checkpoint.write_state(folder, state)


# Where things are; none of it changes a bit of the result.
_FREE = ("src", "styles", "encoder", "out", "device", "num_threads", "log_every")


def _identity(config: FitConfig, material: Material) -> dict[str, Any]:
    plain = files.to_plain(config)
    settings = {name: value for name, value in plain.items() if name not in _FREE}
    settings.pop("checkpoint_every")
    encoder = {f"encoder {name}": value for name, value in material.encoder.identity.items()}
    return {
        **settings,
        **encoder,
        "images": material.content.source.fingerprint,
        "style pictures": material.shelf.styles.fingerprint,
    }


def _check_finite(values: dict[str, float], step: int) -> None:
    if not all(map(math.isfinite, values.values())):
        shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
        raise RunError(
            f"the loss is no longer finite at step {step} ({shown}); the last checkpoint is from "
            "before it: start anew with a smaller --learning-rate in another --out"
        )

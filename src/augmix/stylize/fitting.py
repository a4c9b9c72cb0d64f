"""`augmix stylize fit`: a decoder learns to paint from an encoder's restyled features.

Huang and Belongie (2017), section 4: content loss plus style loss, the encoder fixed. Added to it
is how well the decoder gives an image back whose features were not restyled; without it a decoder
of a small encoder forgets the content. A step depends on (seed, step) alone: a fit that was stopped
and started again ends with the same weights, bit for bit on the CPU.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from augmix import images, records
from augmix.data.batches import BatchOrder, prefetch
from augmix.engine import checkpoint
from augmix.engine.evaluate import OnProgress, ignore, resolve_device
from augmix.engine.recipe import learning_rate
from augmix.records import RunError
from augmix.stylize.adain import adapt, channel_statistics, enlarge, pad_to_stride
from augmix.stylize.content import Content, Kind, open_content
from augmix.stylize.decoders import Fitted, write_decoder
from augmix.stylize.encoders import Encoder, open_encoder
from augmix.stylize.layers import VGG_DECODER_ROWS, Row, build_decoder, mirror
from augmix.stylize.styles import CUTTING, FITTING, StyleShelf, open_styles, style_stream

_GAUGED = 64  # images that the gains of the stages are measured on


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """A decoder for an encoder, learned from content images and style pictures."""

    src: str
    """Folder or file of the content images, or the word digits."""
    styles: str = ""
    """Folder of the style pictures, e.g. paintings."""
    encoder: str = ""
    """What sees: a folder of augmix train, vgg_normalised.pth, or python:module:function."""
    out: Path = Path("decoder.safetensors")
    """The decoder to write; beside it go NAME.json and the folder NAME.fit with log and state."""
    stages: tuple[str, ...] = ()
    """Modules of the encoder that are compared, shallow to deep; the last is restyled. By default
    the last one at each size down to a quarter of the image's."""
    source: Kind = "auto"
    """Kind of the images; auto takes digits, npz and parquet by name, all else for a folder."""
    split: str = "train"
    """Part of the images: train, test or val."""
    size: int = 0
    """Side of the images in pixels; 0 keeps the stored size; a folder is brought to 224."""
    max_images: int = 0
    """Fit on a fixed random part of the images; 0 takes all."""
    on_error: Literal["raise", "skip"] = "raise"
    """What a broken image or style picture does: stop the fit, or be left out."""
    crop: int = 0
    """Side of random squares that are cut out of images and pictures; 0 takes them whole."""
    scale: int = 0
    """Whole number of times that images are enlarged; 0 enlarges for VGG alone, to 128 pixels."""
    style_size: int = 0
    """Side in pixels of the style pictures, cut square; 0 takes that of the images as enlarged."""
    depth: int = 2
    """Convolutions of the decoder at each size; VGG has its own decoder."""
    steps: int = 2000
    """Steps of Adam."""
    batch_size: int = 8
    """Images in a step."""
    learning_rate: float = 1e-3
    """Where the learning rate starts; it falls by a cosine."""
    content_weight: float = 1.0
    """Weight of the distance to the restyled features."""
    style_weight: float = 10.0
    """Weight of the distance to the style's means and deviations at every stage."""
    identity_weight: float = 50.0
    """Weight of the distance to the image itself where nothing was restyled."""
    seed: int = 0
    """Seed of the start weights and of every draw."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the networks."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where they compute."""
    num_threads: int = 0
    """CPU threads of torch; 0 leaves torch's own choice."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    log_every: int = 20
    """Steps between lines of the log."""

    def __post_init__(self) -> None:
        for name in ("depth", "steps", "batch_size", "checkpoint_every", "log_every"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("crop", "scale", "size", "style_size", "max_images", "num_threads"):
            _require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        rate = self.learning_rate
        _require(0 < rate < math.inf, "learning_rate", "a finite number above 0", rate)
        for name in ("content_weight", "style_weight", "identity_weight"):
            weight = getattr(self, name)
            _require(0 <= weight < math.inf, name, "a finite number from 0", weight)
        if self.out.suffix != ".safetensors":
            raise ValueError(f"out must be a file NAME.safetensors, got {self.out}")


def fit(config: FitConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Train a decoder, or continue its fit.

    Args:
        config: What is fitted to what.
        on_progress: Called with a dict after every step, log line and checkpoint.

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
    with torch_settings(config.num_threads, config.seed, device):
        material = _open_material(config)
        rows = decoder_rows(material.encoder, depth=config.depth)
        decoder = build_decoder(rows)
        folder = config.out.with_suffix(".fit")
        with checkpoint.lock(folder):
            _learn(config, material, decoder, folder, device, on_progress or ignore)
            fitted = Fitted(
                rows=rows,
                encoder=config.encoder,
                identity=material.encoder.identity,
                gains=material.encoder.gains,
                least_side=material.side * material.scale,
                settings=records.to_plain(config),
            )
            write_decoder(config.out, decoder, fitted)
    return config.out


def decoder_rows(encoder: Encoder, *, depth: int) -> tuple[Row, ...]:
    """The published decoder for VGG, for anything else the mirror of its stages."""
    if encoder.identity.get("kind") == "vgg":
        return VGG_DECODER_ROWS
    return mirror(
        [stage.channels for stage in encoder.stages],
        [stage.stride for stage in encoder.stages],
        depth=depth,
    )


def fit_loss(
    encoder: Encoder,
    decoder: nn.Module,
    content: Float[Tensor, "batch 3 height width"],
    style: Float[Tensor, "batch 3 style_height style_width"],
) -> dict[str, Float[Tensor, ""]]:
    """The terms of the loss, not yet weighted.

    ``content`` is the mean squared distance of the picture's features to the restyled ones
    (equation 12), ``style`` that of means and deviations, summed over the stages (equation 13),
    ``identity`` that of the pixels where nothing was restyled.
    """
    with torch.no_grad():
        features = encoder(content)[-1]
        styles = [channel_statistics(found) for found in encoder(style)]
        wanted = adapt(features, styles[-1])
    both = decoder(torch.cat([wanted, features])).float()
    pictures, same = both.chunk(2)
    seen = encoder(pictures)
    terms = {"content": F.mse_loss(seen[-1].float(), wanted.float())}
    distances = [
        F.mse_loss(own.mean, style.mean) + F.mse_loss(own.std, style.std)
        for own, style in zip(map(channel_statistics, seen), styles, strict=True)
    ]
    return {**terms, "style": torch.stack(distances).sum(), "identity": F.mse_loss(same, content)}


@contextmanager
def torch_settings(num_threads: int, seed: int, device: torch.device) -> Iterator[None]:
    """torch seeded and with these threads; the caller's state is put back after."""
    threads = torch.get_num_threads()
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        if num_threads:
            torch.set_num_threads(num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def arithmetic(device: torch.device) -> dict[str, Any]:
    """What decides about the last bits: device, torch's version, threads."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability()
    )
    facts = {"device": f"{device.type} {name}", "torch": str(torch.__version__)}
    return {**facts, "threads": torch.get_num_threads() if device.type == "cpu" else 0}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Material:
    """What is learned from, all opened and checked."""

    content: Content
    shelf: StyleShelf
    encoder: Encoder
    side: int  # of the squares in pixels, before they are enlarged
    scale: int


def _open_material(config: FitConfig) -> _Material:
    content = open_content(
        config.src,
        kind=config.source,
        split=config.split,
        size=config.size,
        max_images=config.max_images,
        on_error=config.on_error,
    )
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
    style_side = config.style_size or content.side * scale
    if config.crop and style_side < side * scale:
        raise ValueError(
            f"style_size must be at least {side * scale} to cut squares of {side} enlarged "
            f"{scale} times, got {style_side}"
        )
    shelf = StyleShelf(styles, side=style_side, on_error=config.on_error)
    gauge = to_floats(content.source.load(np.arange(min(_GAUGED, len(content.ids)))))
    if encoder.identity["kind"] != "vgg":  # its weights were normalised so by its authors
        encoder.gains = measure_gains(encoder, pad_to_stride(gauge, encoder.stride))
    return _Material(content=content, shelf=shelf, encoder=encoder, side=side, scale=scale)


def measure_gains(
    encoder: Encoder, gauge: Float32[Tensor, "batch 3 height width"]
) -> tuple[float, ...]:
    """Factors that bring every stage to a mean square of 1, so that no stage drowns the others."""
    with torch.no_grad():
        squares = [float(found.square().mean()) for found in encoder(gauge)]
    if not all(math.isfinite(square) and square > 0 for square in squares):
        raise RunError(f"the encoder's features must be finite and not all 0, got {squares}")
    return tuple(1 / math.sqrt(square) for square in squares)


def to_floats(batch: np.ndarray) -> Float32[Tensor, "batch channel height width"]:
    """uint8 `batch height width channel` as a tensor in [0, 1]."""
    return torch.from_numpy(images.to_float(batch))


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
    material: _Material,
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
        emit({"event": "note", "text": f"continues {folder} after step {progress.step}"})
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
                terms = fit_loss(encoder, decoder, content.to(device), style.to(device))
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
                records.append_line(folder / records.LOG_FILE, line)
                emit({"event": "fit", "num_steps": config.steps, **line})
            if is_end or progress.step % config.checkpoint_every == 0:
                _save(folder, progress, decoder, optimizer, identity)


def make_batches(
    config: FitConfig, material: _Material
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
            content = _cut(content, places[:, :2], side)
            style = _cut(style, places[:, 2:], side * scale)
        stride = material.encoder.stride
        content_floats = pad_to_stride(enlarge(to_floats(content), scale), stride)
        return content_floats, pad_to_stride(to_floats(style), stride)

    return make


def _cut(batch: np.ndarray, places: np.ndarray, side: int) -> np.ndarray:
    """A square of every image, its corner at these shares of the room there is."""
    room = np.array(batch.shape[1:3]) - side + 1
    corners = (places * room).astype(int)
    squares = zip(batch, corners, strict=True)
    return np.stack([image[top : top + side, left : left + side] for image, (top, left) in squares])


def _resume(
    folder: Path, decoder: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> _Progress:
    """Where the fit stands; a new one leaves its first checkpoint at once."""
    state = checkpoint.load_state(folder)
    log = folder / records.LOG_FILE
    if state is None:
        records.write_bytes(log, b"")
        progress = _Progress()
        _save(folder, progress, decoder, optimizer, identity)
        return progress
    checkpoint.check_identity(state, identity, folder)
    checkpoint.restore(state, decoder, optimizer)
    kept = [line for line in records.load_lines(log) if line["step"] <= state.step]
    log.unlink(missing_ok=True)
    for line in kept:
        records.append_line(log, line)
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


def _identity(config: FitConfig, material: _Material) -> dict[str, Any]:
    plain = records.to_plain(config)
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


def _require(is_met: bool, name: str, expected: str, got: Any) -> None:
    if not is_met:
        raise ValueError(f"{name} must be {expected}, got {got!r}")

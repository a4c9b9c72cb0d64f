"""Train a decoder.

Huang and Belongie (2017), section 4: content loss plus style loss with a fixed encoder. An identity
loss is added, the distance of an image to the decoding of its own features; without it the decoder
of a small encoder loses the content. A step depends on (seed, step) only: a fit that was stopped
and continued ends with the same weights, bit for bit on the CPU.
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from augmix import files, run_folder
from augmix.data.batches import BatchOrder, run_ahead
from augmix.data.stores import Source
from augmix.devices import resolve_device, torch_settings
from augmix.errors import RunError
from augmix.progress import DecoderStepsLogged, Note, OnProgress, ignore
from augmix.stylize import FitConfig, networks
from augmix.stylize.networks import Encoder, Images
from augmix.stylize.styles import (
    CROPPING,
    FITTING,
    StyleImages,
    choose_style_size,
    open_content,
    open_styles,
    style_stream,
)
from augmix.training import checkpoint
from augmix.training.config import learning_rate
from augmix.training.loop import cut_log

_NUM_GAIN_IMAGES = 64  # images that the gains of the stages are measured on
# Where things are and how often the fit reports; none of it changes a bit of the result.
_WITHOUT_EFFECT = frozenset(
    ("src", "styles", "encoder", "out", "device", "num_threads", "log_every", "checkpoint_every")
)


def fit_loss(
    encoder: Encoder,
    decoder: nn.Module,
    content: Images,
    style: Float[Tensor, "batch 3 style_height style_width"],
    *,
    restyled: int = -1,
) -> dict[str, Float[Tensor, ""]]:
    """Compute the terms of the loss, not yet weighted.

    ``content`` is the mean squared distance of the stylised image's features to the restyled ones
    (equation 12), ``style`` that of channel means and stds, summed over the stages (equation 13),
    ``identity`` that of the pixels if nothing was restyled. Stage number ``restyled`` is decoded;
    in the paper it is the last.
    """
    with torch.no_grad():
        features = encoder(content)[restyled]
        styles = [networks.channel_statistics(stage) for stage in encoder(style)]
        target = networks.adapt(features, styles[restyled])
    stylised, same = decoder(torch.cat([target, features])).float().chunk(2)
    found = encoder(stylised)
    terms = {"content": F.mse_loss(found[restyled].float(), target.float())}
    distances = [
        F.mse_loss(own.mean, style.mean) + F.mse_loss(own.std, style.std)
        for own, style in zip(map(networks.channel_statistics, found), styles, strict=True)
    ]
    return {**terms, "style": torch.stack(distances).sum(), "identity": F.mse_loss(same, content)}


def measure_gains(encoder: Encoder, images: Images) -> tuple[float, ...]:
    """Measure the factors that bring every stage to a mean square of 1, so that none dominates."""
    with torch.no_grad():
        squares = [float(features.square().mean()) for features in encoder(images)]
    if not all(math.isfinite(square) and square > 0 for square in squares):
        raise RunError(f"the encoder's features must be finite and not all 0, got {squares}")
    return tuple(1 / math.sqrt(square) for square in squares)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FitInputs:
    """What a fit starts from, opened and checked."""

    content: Source
    styles: StyleImages
    encoder: Encoder
    size: int  # height and width in pixels of the crops, before they are enlarged
    scale: int  # whole factor by which they are enlarged
    restyled: int  # number of the stage that is decoded


def open_inputs(config: FitConfig) -> FitInputs:
    """Open content images, style images and encoder."""
    content = open_content(config)
    if content.channels != 3:
        raise RunError("a fit needs colour images, got grey ones; choose another --src")
    shorter = min(content.size)
    if config.crop and config.crop > shorter:
        raise ValueError(
            f"crop must be at most the images' shorter edge {shorter}, got {config.crop}"
        )
    size = config.crop or shorter
    encoder = networks.open_encoder(config.encoder, stages=config.stages, size=size)
    scale = config.scale or max(1, -(-encoder.min_size // size))
    style_size = choose_style_size(config.style_size, shorter * scale)
    networks.check_size(encoder.stride, size * scale, "images, as cropped and enlarged,")
    networks.check_size(encoder.stride, style_size, "style images")
    if config.crop and style_size < size * scale:
        raise ValueError(
            f"style_size must be at least {size * scale} to crop squares of {size} enlarged "
            f"{scale} times, got {style_size}"
        )
    first = np.arange(min(_NUM_GAIN_IMAGES, len(content)))
    images = networks.to_floats(content.load(first))
    if encoder.identity["kind"] != "vgg":  # whose authors normalised its weights
        encoder.gains = measure_gains(encoder, networks.pad_to_stride(images, encoder.stride))
    return FitInputs(
        content=content,
        styles=open_styles(config.styles, size=style_size, reading=config.reading),
        encoder=encoder,
        size=size,
        scale=scale,
        restyled=find_restyled(encoder, config.restyled),
    )


def find_restyled(encoder: Encoder, name: str | None) -> int:
    """Return the number of the stage that is restyled; without a name see `FitConfig`."""
    names = [stage.name for stage in encoder.stages]
    is_vgg = encoder.identity.get("kind") == "vgg"
    if not name:
        shallow = [n for n, stage in enumerate(encoder.stages) if is_vgg or stage.stride <= 2]
        return shallow[-1] if shallow else 0
    offered = names[-1:] if is_vgg else names
    if name not in offered:
        raise RunError(f"restyled must be one of {', '.join(offered)}, got {name!r}")
    return names.index(name)


def make_batches(
    config: FitConfig, inputs: FitInputs
) -> Callable[[int], tuple[Float32[Tensor, "b 3 h w"], Float32[Tensor, "b 3 h2 w2"]]]:
    """Return a function that makes content and style of a step, from (seed, step) only."""
    source = inputs.content
    order = BatchOrder(num_images=len(source), batch_size=config.batch_size, seed=config.seed)
    scale, size = inputs.scale, inputs.size

    def make(step: int) -> tuple[Tensor, Tensor]:
        ids, epoch = order.ids(step), order.epoch(step)
        drawn = inputs.styles.draw(ids, style_stream(config.seed, FITTING).at(epoch=epoch))
        content = source.load(ids)
        style = np.stack([inputs.styles.image(int(index)) for index in drawn])
        if config.crop:
            stream = style_stream(config.seed, CROPPING).at(epoch=epoch)
            corners = stream.uniforms(ids, count=4)[0]  # batch (top, left of content, of style)
            content = crop_squares(content, corners[:, :2], size)
            style = crop_squares(style, corners[:, 2:], size * scale)
        stride = inputs.encoder.stride
        images = networks.enlarge(networks.to_floats(content), scale)
        styles = networks.to_floats(style)
        return networks.pad_to_stride(images, stride), networks.pad_to_stride(styles, stride)

    return make


def crop_squares(
    batch: UInt8[np.ndarray, "batch height width channel"],
    corners: Float[np.ndarray, "batch 2"],
    size: int,
) -> UInt8[np.ndarray, "batch size size channel"]:
    """Crop a square of every image, its top left corner given in [0, 1) of the possible range."""
    num_corners = np.array(batch.shape[1:3]) - size + 1
    squares = zip(batch, (corners * num_corners).astype(int), strict=True)
    return np.stack([image[top : top + size, left : left + size] for image, (top, left) in squares])


def fit(config: FitConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Train a decoder, or continue its fit, and return its file.

    ``on_progress`` is called after every log line.

    Raises:
        ResumeError: If the folder of the fit holds one of other settings.
        RunError: If encoder or images are not usable, or the loss is no longer finite.
    """
    device = resolve_device(config.device)
    if not config.encoder:
        raise RunError(
            "name an encoder with --encoder: a folder of augmix train, vgg_normalised.pth, or "
            "python:MODULE:FUNCTION"
        )
    with torch_settings(device, seed=config.seed, num_threads=config.num_threads or 0):
        inputs = open_inputs(config)
        encoder, num_stages = inputs.encoder, inputs.restyled + 1
        layers = decoder_layers(encoder, depth=config.depth, restyled=inputs.restyled)
        decoder = networks.build_decoder(layers)
        folder = config.out.with_suffix(".fit")
        description = config.out.with_suffix(".json")
        files.check_replaceable(description, "description of a decoder", b'"gains": ')
        if not folder.exists() and not description.exists():
            files.check_replaceable(config.out, "decoder", b"^$")
        with files.hold_folder(folder):
            _train(config, inputs, decoder, folder, device, on_progress or ignore)
            fitted = networks.FittedDecoder(
                layers=layers,
                encoder=config.encoder,
                identity={**encoder.identity, "stages": encoder.identity["stages"][:num_stages]},
                gains=encoder.gains[:num_stages],
                min_size=inputs.size * inputs.scale,
                settings=files.to_plain(config),
            )
            networks.write_decoder(config.out, decoder, fitted)
    return config.out


def decoder_layers(encoder: Encoder, *, depth: int, restyled: int) -> tuple[networks.Layer, ...]:
    """Return the layers of VGG's published decoder, else the mirror of the encoder's stages."""
    if encoder.identity.get("kind") == "vgg":
        return networks.VGG_DECODER_LAYERS
    stages = encoder.stages[: restyled + 1]
    channels, strides = [s.channels for s in stages], [s.stride for s in stages]
    return networks.mirror(channels, strides, depth=depth)


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
        """Return the means since the last line, and reset the sums."""
        means = {name: total / self.count for name, total in self.sums.items()}
        self.count, self.sums = 0, {}
        return {"step": self.step, **means, "seconds": self.seconds}


def _train(
    config: FitConfig,
    inputs: FitInputs,
    decoder: nn.Module,
    folder: Path,
    device: torch.device,
    emit: OnProgress,
) -> None:
    """Take the remaining steps; the decoder then holds the trained weights."""
    encoder = inputs.encoder.to(device)
    decoder.to(device).train()
    optimizer = torch.optim.Adam(decoder.parameters(), lr=config.learning_rate)
    identity = {**_identity(config, inputs), **networks.describe_arithmetic(device)}
    progress = _resume(folder, decoder, optimizer, identity)

    def save() -> None:
        meters = asdict(progress)
        step = meters.pop("step")
        state = checkpoint.capture(step, decoder, optimizer, identity=identity, meters=meters)
        checkpoint.write_state(folder, state)

    if progress.step:
        emit(Note(text=f"continues {folder} after step {progress.step}"))
    else:
        save()
    names = ("content", "style", "identity")
    weights = {name: getattr(config, f"{name}_weight") for name in names}
    make = make_batches(config, inputs)
    with closing(run_ahead(make, range(progress.step, config.steps))) as batches:
        for content, style in batches:
            began = perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(
                    progress.step, config.steps, peak=config.learning_rate, schedule="cosine"
                )
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                images, styles = content.to(device), style.to(device)
                terms = fit_loss(encoder, decoder, images, styles, restyled=inputs.restyled)
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
                files.append_line(folder / run_folder.LOG_FILE, line)
                emit(DecoderStepsLogged(num_steps=config.steps, record=line))
            if is_end or progress.step % config.checkpoint_every == 0:
                save()


def _resume(
    folder: Path, decoder: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> _Progress:
    """Restore the last checkpoint of a fit, if there is one, and the log up to it."""
    state = checkpoint.load_state(folder)
    progress = _Progress()
    if state is not None:
        checkpoint.check_identity(state, identity, folder)
        checkpoint.restore(state, decoder, optimizer, folder=folder)
        progress = checkpoint.load_meters(folder, _Progress, state)
    cut_log(folder, progress.step)
    return progress


def _identity(config: FitConfig, inputs: FitInputs) -> dict[str, Any]:
    plain = files.to_plain(config)
    encoder = {f"encoder {name}": value for name, value in inputs.encoder.identity.items()}
    return {
        **{name: value for name, value in plain.items() if name not in _WITHOUT_EFFECT},
        **encoder,
        "images": inputs.content.fingerprint,
        "style images": inputs.styles.fingerprint,
    }


def _check_finite(values: dict[str, float], step: int) -> None:
    if not all(map(math.isfinite, values.values())):
        shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
        raise RunError(
            f"the loss is no longer finite at step {step} ({shown}); the last checkpoint is from "
            "before it: start again with a smaller --learning-rate and another --out"
        )

"""`augmix stylize fit`: a decoder learns to paint from an encoder's restyled features.

Huang and Belongie (2017), section 4: content loss plus style loss, the encoder fixed. Added to it
is how well the decoder gives an image back whose features were not restyled; without it a decoder
of a small encoder forgets the content. A step depends on (seed, step) alone: a fit that was stopped
and started again ends with the same weights, bit for bit on the CPU.
"""

import math
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from augmix import records
from augmix.data.batches import prefetch
from augmix.engine import checkpoint
from augmix.engine.devices import resolve_device, torch_settings
from augmix.engine.progress import OnProgress, ignore
from augmix.engine.recipe import learning_rate
from augmix.records import RunError
from augmix.stylize.arithmetic import arithmetic
from augmix.stylize.decoders import Fitted, write_decoder
from augmix.stylize.encoders import Encoder
from augmix.stylize.layers import VGG_DECODER_ROWS, Row, build_decoder, mirror
from augmix.stylize.losses import fit_loss
from augmix.stylize.material import Material, make_batches, open_material
from augmix.stylize.settings import FitConfig


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
                settings=records.to_plain(config),
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
                records.append_line(folder / records.LOG_FILE, line)
                emit({"event": "fit", "num_steps": config.steps, **line})
            if is_end or progress.step % config.checkpoint_every == 0:
                _save(folder, progress, decoder, optimizer, identity)


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


def _identity(config: FitConfig, material: Material) -> dict[str, Any]:
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

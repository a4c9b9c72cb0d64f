"""What paints: decoders in files, alone as published or with the description of their encoder.

`augmix stylize fit` writes ``NAME.safetensors`` and beside it ``NAME.json``: the rows of the
decoder, and the encoder it was fitted to with its stages, gains and sha256."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as pack_weights
from torch import nn

from augmix import files
from augmix.errors import RunError
from augmix.stylize.adain import Painter
from augmix.stylize.encoder import (
    VGG_DECODER_ROWS,
    Encoder,
    Row,
    build_decoder,
    check_side,
    fill,
    load_weights,
    open_encoder,
)

_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What ``NAME.json`` holds.

    Attributes:
        rows: Of the decoder; see `layers`.
        encoder: Where it lay: file, folder or ``python:module:function``.
        identity: What it was: kind, sha256 of its weights, stages.
        gains: Of its stages.
        least_side: Side in pixels of the pictures it was fitted with.
        settings: Of the fit, for the record.
    """

    rows: tuple[Row, ...]
    encoder: str
    identity: dict[str, Any]
    gains: tuple[float, ...]
    least_side: int
    settings: dict[str, Any]


def write_decoder(path: Path, decoder: nn.Module, fitted: Fitted) -> None:
    """Write the weights and beside them their description, each atomically.

    Raises:
        RunError: If a file cannot be written.
    """
    weights = {n: v.detach().cpu().contiguous() for n, v in decoder.state_dict().items()}
    files.write_bytes(path, pack_weights(weights))
    files.write_json(describe(path), {"schema": _SCHEMA, **files.to_plain(fitted)})


def describe(path: Path) -> Path:
    """The description that belongs to a file of weights."""
    return path.with_suffix(".json")


def load_fitted(path: Path) -> Fitted:
    """The description of a fitted decoder.

    Raises:
        RunError: If it is not one.
    """
    plain = files.load_json(path)
    if plain.pop("schema", None) != _SCHEMA:
        raise RunError(f"{path} does not describe a decoder of schema {_SCHEMA}; fit it again")
    try:
        rows = tuple(tuple(row) for row in plain.pop("rows"))
        return Fitted(rows=rows, gains=tuple(plain.pop("gains")), **plain)
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} does not describe a decoder: {error}; fit it again") from error


def open_painter(
    decoder: str, encoder: str, *, side: int, scale: int
) -> tuple[Painter, dict[str, Any]]:
    """Encoder and decoder, and what they are.

    Args:
        decoder: A fitted decoder, or the published one (``decoder.pth``).
        encoder: See `encoders.open_encoder`; empty takes the one a fitted decoder names.
        side: Shorter side of the images in pixels.
        scale: Whole number of times that images are enlarged; 0 takes the smallest that brings
            them to the least side of the encoder or of the fit.

    Returns:
        The painter, and identities and scale for the manifest.

    Raises:
        ValueError: If the images are too small.
        RunError: If a file is missing or not what it should be, or they do not fit.
    """
    if not decoder:
        raise RunError(
            "name a decoder with --decoder: the published decoder.pth together with --encoder "
            "vgg_normalised.pth, or a file written by augmix stylize fit"
        )
    path = Path(decoder).expanduser()
    eye, rows, least = _open_eye(path, encoder, side)
    weights, digest = load_weights(path, "the weights of a decoder")
    with torch.random.fork_rng(devices=[]):
        network = build_decoder(rows)
    fill(network, weights, path=path, what="the weights of a decoder of these layers")
    network.eval().requires_grad_(False)
    scale = scale or max(1, -(-least // side))
    check_side(eye.stride, side * scale, "images, as enlarged,")
    painter = Painter(eye, network, stride=eye.stride, scale=scale)
    return painter, {"encoder": eye.identity, "decoder": {"sha256": digest}, "scale": scale}


def _open_eye(path: Path, encoder: str, side: int) -> tuple[Encoder, tuple[Row, ...], int]:
    """The encoder a decoder belongs to, the decoder's rows, the least side of the images."""
    if not describe(path).exists():
        if not encoder:
            raise RunError(
                f"{path} has no {describe(path).name} beside it that names its encoder; name it "
                "with --encoder, e.g. vgg_normalised.pth"
            )
        eye = open_encoder(encoder, side=side)
        if eye.identity["kind"] != "vgg":
            raise RunError(
                f"the published decoder paints from VGG-19, got encoder {encoder}; fit a decoder "
                "for it with augmix stylize fit"
            )
        return eye, VGG_DECODER_ROWS, eye.least_side
    fitted = load_fitted(describe(path))
    spec = encoder or fitted.encoder
    if not spec.startswith("python:") and not Path(spec).expanduser().exists():
        raise RunError(
            f"{path} was fitted to the encoder {spec}, which is no longer there; name it with "
            "--encoder"
        )
    stages = fitted.identity.get("stages", ())
    eye = open_encoder(spec, stages=stages, side=max(side, fitted.least_side))
    if eye.identity != fitted.identity:
        raise RunError(
            f"{path} was fitted to an encoder of sha256 {fitted.identity.get('sha256')}, got "
            f"{spec} of {eye.identity['sha256']}; name the right one with --encoder, or fit again"
        )
    eye.gains = fitted.gains
    return eye, fitted.rows, fitted.least_side

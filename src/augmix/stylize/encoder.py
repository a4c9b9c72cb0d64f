"""Encoders: any network as a list of feature stages.

A row is one of ``("conv", inputs, outputs)``: reflection padding, 3x3 convolution, ReLU;
``("colour", 3, 3)``: a bare 1x1 convolution; ``("shrink", 2)``: maximum of 2x2 pixels;
``("grow", factor)``: every pixel repeated. Built in order into one `nn.Sequential`, they have the
numbering of the published weights (the released code of AdaIN).

| written as | is |
| --- | --- |
| ``vgg_normalised.pth`` | a file of the published VGG-19 weights, torch or safetensors |
| ``runs/small`` | a folder of `augmix train`: the model it holds |
| ``python:module:function`` | what the function gives: an `nn.Module` of images in [0, 1] |
"""

import hashlib
import importlib
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from augmix.errors import RunError, did_you_mean, first_line
from augmix.models.weights import check_state, load_model
from augmix.models.wrapper import hash_weights

Row = tuple[str | int, ...]

# VGG-19 up to relu4_1: 31 modules. The first convolution holds the normalisation of the input.
VGG_ROWS: tuple[Row, ...] = (
    *(("colour", 3, 3), ("conv", 3, 64), ("conv", 64, 64), ("shrink", 2)),
    *(("conv", 64, 128), ("conv", 128, 128), ("shrink", 2)),
    *(("conv", 128, 256), *[("conv", 256, 256)] * 3, ("shrink", 2)),
    ("conv", 256, 512),
)
VGG_STAGES = ("3", "10", "17", "30")  # relu1_1, relu2_1, relu3_1, relu4_1
# The mirror of it: 29 modules, the last without ReLU.
VGG_DECODER_ROWS: tuple[Row, ...] = (
    *(("conv", 512, 256), ("grow", 2), *[("conv", 256, 256)] * 3, ("conv", 256, 128)),
    *(("grow", 2), ("conv", 128, 128), ("conv", 128, 64), ("grow", 2)),
    *(("conv", 64, 64), ("conv", 64, 3)),
)
_LEAST_WIDTH = 32  # channels of a mirrored decoder at the image's own size


def build_encoder(rows: Sequence[Row]) -> nn.Sequential:
    """The modules of the rows, one after the other.

    Raises:
        ValueError: If a row is none of the kinds above.
    """
    return nn.Sequential(*(module for row in rows for module in _modules(row)))


def build_decoder(rows: Sequence[Row]) -> nn.Sequential:
    """The modules of the rows without the last ReLU, so that every colour can be reached.

    Raises:
        ValueError: As `build_encoder`, or if the last row does not give 3 channels.
    """
    if not rows or rows[-1][0] != "conv" or rows[-1][-1] != 3:
        raise ValueError(f"a decoder must end with a convolution to 3 channels, got {rows[-1:]}")
    return nn.Sequential(*list(build_encoder(rows))[:-1])


def mirror(channels: Sequence[int], strides: Sequence[int], *, depth: int) -> tuple[Row, ...]:
    """The rows of a decoder for an encoder whose stages have these channels and strides.

    From the last stage back to the image: ``depth`` convolutions at the size of each stage, then
    every pixel is repeated to the size of the stage before.

    Args:
        channels: Of every stage, the shallowest first.
        strides: Pixels of the image behind a pixel of every stage; each a multiple of the one
            before.
        depth: Convolutions at each size, at least 1.
    """
    rows: list[Row] = []
    width = channels[-1]
    stages = [(1, 0), *zip(strides, channels, strict=True)]
    for (before, fewer), (stride, _) in zip(stages[-2::-1], stages[:0:-1], strict=True):
        narrower = max(fewer, _LEAST_WIDTH)
        rows += [("conv", width, width)] * (depth - 1) + [("conv", width, narrower)]
        width = narrower
        if stride != before:
            rows += [("grow", stride // before)]
    return (*rows, *[("conv", width, width)] * (depth - 1), ("conv", width, 3))


def _modules(row: Row) -> list[nn.Module]:
    match row:
        case ("conv", int(inputs), int(outputs)):
            return [nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3), nn.ReLU()]
        case ("colour", int(inputs), int(outputs)):
            return [nn.Conv2d(inputs, outputs, 1)]
        case ("shrink", 2):
            return [nn.MaxPool2d(2, ceil_mode=True)]
        case ("grow", int(factor)) if factor > 1:
            return [nn.Upsample(scale_factor=factor, mode="nearest")]
    raise ValueError(f"no layer of a style transfer network is described by {row!r}")


def load_weights(path: Path, what: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file and the file's sha256; no code of the file is run.

    Args:
        path: ``.safetensors``, or anything that `torch.save` wrote from a state dict.
        what: What the file holds, for messages.

    Raises:
        RunError: If the file is missing, damaged or holds anything but tensors by name.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; expected {what}") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if path.suffix == ".safetensors":
            weights = parse_safetensors(content)
        else:
            weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise RunError(f"{path} is damaged or no safetensors file: {error}") from error
    except (UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read as {what}: expected a state dict saved by torch.save, without "
            f"other objects ({first_line(error)})"
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise RunError(
            f"{path}: expected tensors by name (a state dict), got {type(weights).__name__}"
        )
    return dict(weights), hashlib.sha256(content).hexdigest()


def fill(network: nn.Module, weights: dict[str, Tensor], *, path: Path, what: str) -> None:
    """Put weights into a network whose names and shapes they must have.

    Raises:
        RunError: If a name is missing or unknown, a shape is another, or a number is not finite.
    """
    check_state(weights, network.state_dict(), what=f"{path} does not hold {what}")
    for name, values in weights.items():
        if not bool(torch.isfinite(values).all()):
            raise RunError(f"{path}: {name} holds numbers that are not finite")
    network.load_state_dict(weights)


_PYTHON = "python:"
_SHOWN_STAGES = 24
_PROBE_STEP = 32  # so that every usual stride divides the side of the image that is looked at
_MOST_LEVELS = 2  # how deep below the network a module may lie to be offered as a stage
VGG_LEAST_SIDE = 128  # below it VGG's last stage has fewer than 16 x 16 pixels to paint with


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A module of a network whose output is looked at.

    Attributes:
        name: As in `nn.Module.named_modules`.
        channels: Of its output.
        stride: Pixels of the image, along a side, behind a pixel of the output.
    """

    name: str
    channels: int
    stride: int


def _reflect(network: nn.Module) -> None:
    """Let every convolution pad by reflection that pads with zeros."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
            module.padding_mode = "reflect"


class _Seen(Exception):
    """The last stage was reached: what lies behind it need not be computed."""


class Encoder(nn.Module):
    """Images in [0, 1] -> features of every stage, shallow to deep; fixed, it is never trained.

    Convolutions that pad with zeros pad by reflection here, as the paper has it: zeros would paint
    a frame around every picture.

    Attributes:
        network: What was wrapped, in evaluation mode.
        stages: What is looked at.
        gains: Every stage is multiplied by its gain.
        least_side: Smaller images are better enlarged first; in pixels.
        identity: Kind, sha256 of the weights, stages: what the encoder is, wherever it lies.
    """

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[Stage],
        *,
        least_side: int = 1,
        identity: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.stages = tuple(stages)
        self.gains = (1.0,) * len(self.stages)
        self.least_side = least_side
        self.identity = identity or {}
        self._found: list[Tensor] = []
        _reflect(network)
        for stage in self.stages:
            network.get_submodule(stage.name).register_forward_hook(self._keep)

    @property
    def stride(self) -> int:
        """Of the last stage."""
        return self.stages[-1].stride

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """Features of every stage."""
        self._found.clear()
        with suppress(_Seen):
            self.network(images)
        features = tuple(self._found)
        self._found.clear()
        return tuple(
            found if gain == 1 else gain * found
            for found, gain in zip(features, self.gains, strict=True)
        )

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        is_last = len(self._found) == len(self.stages) - 1
        self._found.append(output if is_last else output.clone())  # the next may work in place
        if is_last:
            raise _Seen


def open_encoder(spec: str, *, stages: Sequence[str] = (), side: int) -> Encoder:
    """Open an encoder; see the table of this module.

    Args:
        spec: File, folder or ``python:module:function``.
        stages: Names of modules, shallow to deep. Without any, VGG has the published four; of other
            networks each size of features gives one, down to a stride of 4.
        side: Side in pixels of a square image the network can take, to find sizes with.

    Raises:
        RunError: If there is no such encoder, or a stage cannot be used.
    """
    if spec.startswith(_PYTHON):
        return _wrap(_call(spec), "python", spec, stages, side)
    path = Path(spec).expanduser()
    if path.is_dir():
        return _wrap(load_model(path), "run", str(path), stages, side)
    return _open_vgg(path, stages)


def check_side(stride: int, side: int, what: str) -> None:
    """Refuse pictures of which too little is left at the last stage to have a variance.

    Raises:
        ValueError: If fewer than 2 x 2 pixels are left.
    """
    if side < 2 * stride:
        raise ValueError(
            f"{what} must have sides of at least {2 * stride} pixels for the encoder's "
            f"last stage, got {side}; choose a larger --scale or --style-size, or shallower "
            "--stages"
        )


def find_stages(network: nn.Module, *, side: int) -> tuple[Stage, ...]:
    """What may be a stage, in the order of computing: modules at most two levels deep.

    Only outputs of ``channel height width`` count whose sides divide those of the image.

    Args:
        network: Takes images in [0, 1].
        side: Of the square image that is looked at, rounded up to a multiple of 32 pixels.
    """
    side = -(-side // _PROBE_STEP) * _PROBE_STEP
    found: list[Stage] = []

    def watch(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] > 1:
                stride, rest = divmod(side, output.shape[2])
                if not rest and output.shape[2] == output.shape[3]:
                    found.append(Stage(name=name, channels=output.shape[1], stride=stride))

        return keep

    modules = network.named_modules()
    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in modules
        if name and name.count(".") < _MOST_LEVELS
    ]
    try:
        with torch.no_grad():
            network.eval()(torch.full((1, 3, side, side), 0.5))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(found)


def _wrap(network: nn.Module, kind: str, where: str, names: Sequence[str], side: int) -> Encoder:
    """An encoder of any network, once its stages are known to be usable."""
    try:
        offered = find_stages(network, side=side)
    except (RuntimeError, ValueError, TypeError) as error:
        raise RunError(
            f"{where} cannot look at square RGB images from {side} pixels on: {error}"
        ) from error
    stages = _choose(offered, names, where) if names else _shallow(offered)
    if not stages:
        raise RunError(
            f"{where} has no features of {side // 4} pixels or more at images of {side}; name "
            f"--stages out of: {_list(offered)}"
        )
    identity = {"kind": kind, "sha256": hash_weights(network), "stages": [s.name for s in stages]}
    return Encoder(network, stages, identity=identity)


def _shallow(offered: Sequence[Stage]) -> tuple[Stage, ...]:
    """The last module at each stride from 1 to 4; the whole network comes after its parts."""
    last = {stage.stride: stage for stage in offered if stage.stride in (1, 2, 4)}
    return tuple(last[stride] for stride in sorted(last))


def _choose(offered: Sequence[Stage], names: Sequence[str], where: str) -> tuple[Stage, ...]:
    order = [stage.name for stage in offered]
    for name in names:
        if order.count(name) != 1:
            raise RunError(
                f"--stages takes: {_list(offered)}; {where} has no usable stage {name!r}"
                f"{did_you_mean(name, order)}"
            )
    places = [order.index(name) for name in names]
    if places != sorted(set(places)):
        raise RunError(
            f"stages must go from shallow to deep, got {', '.join(names)}; the network computes "
            f"them in the order {', '.join(order[place] for place in sorted(set(places)))}"
        )
    stages = tuple(offered[place] for place in places)
    for before, stage in pairwise(stages):
        if stage.stride % before.stride:
            raise RunError(
                f"stage {stage.name} of {where} has stride {stage.stride}, which is no multiple "
                f"of the {before.stride} of {before.name}; leave one of them out"
            )
    return stages


def _list(offered: Sequence[Stage]) -> str:
    shown = [f"{stage.name} (stride {stage.stride})" for stage in offered[:_SHOWN_STAGES]]
    return ", ".join(shown) or "nothing"


def _open_vgg(path: Path, names: Sequence[str]) -> Encoder:
    """VGG-19 up to relu4_1; the published file holds its deeper layers too."""
    what = "the weights of VGG-19 (vgg_normalised.pth)"
    if names and tuple(names) != VGG_STAGES:
        raise RunError(f"VGG-19 has the stages {', '.join(VGG_STAGES)}, got {', '.join(names)}")
    weights, digest = load_weights(path, what)
    with torch.random.fork_rng(devices=[]):
        network = build_encoder(VGG_ROWS)
    fill(network, {n: v for n, v in weights.items() if not _is_deeper(n)}, path=path, what=what)
    channels, strides = (64, 128, 256, 512), (1, 2, 4, 8)
    stages = [
        Stage(name=name, channels=width, stride=stride)
        for name, width, stride in zip(VGG_STAGES, channels, strides, strict=True)
    ]
    identity = {"kind": "vgg", "sha256": digest, "stages": list(VGG_STAGES)}
    return Encoder(network, stages, least_side=VGG_LEAST_SIDE, identity=identity)


def _is_deeper(name: str) -> bool:
    """Whether a weight belongs to the layers behind relu4_1, numbers 31 to 52."""
    number = name.split(".")[0]
    return number.isdigit() and int(VGG_STAGES[-1]) < int(number) <= 52


def _call(spec: str) -> nn.Module:
    """The network that ``python:module:function`` gives."""
    module_name, _, function_name = spec.removeprefix(_PYTHON).partition(":")
    try:
        network = getattr(importlib.import_module(module_name), function_name)()
    except (ImportError, AttributeError, ValueError) as error:
        raise RunError(
            f"expected an encoder as python:module:function, got {spec!r}: {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise RunError(f"{spec} must give an nn.Module, got {type(network).__name__}")
    return network

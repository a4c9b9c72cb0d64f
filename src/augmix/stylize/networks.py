"""Adaptive instance normalisation, and its networks: any network as encoder, decoders in files.

Huang and Belongie (2017), "Arbitrary style transfer in real-time with adaptive instance
normalization". A style is the mean and std of every channel of its features (`ChannelStatistics`).

A layer is one of ``("conv", inputs, outputs)``: reflection padding, 3x3 convolution, ReLU;
``("colour", 3, 3)``: a bare 1x1 convolution; ``("shrink", 2)``: maximum of 2x2 pixels;
``("grow", factor)``: every pixel repeated. Built in order into one `nn.Sequential`, they have the
numbering of the published weights (released code of AdaIN).

| encoder | is |
| --- | --- |
| ``vgg_normalised.pth`` | a file of the published VGG-19 weights, torch or safetensors |
| ``runs/small`` | the model in a folder of `augmix train` |
| ``python:MODULE:FUNCTION`` | the `nn.Module` that the function returns; it takes [0, 1] |

`augmix stylize fit` writes ``NAME.safetensors``, the decoder's weights, and ``NAME.json``, its
layers and the encoder it was trained for.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from augmix import arrays, files
from augmix.errors import RunError, did_you_mean
from augmix.models.open_model import call_user_code
from augmix.models.weights import check_state, load_model, load_state, write_weights
from augmix.models.wrapper import hash_weights

VARIANCE_FLOOR = 1e-5  # added to every variance before its root (released code)
Layer = tuple[str | int, ...]
Images = Float[Tensor, "batch 3 height width"]
Maps = Float[Tensor, "batch channel height width"]

# VGG-19 up to relu4_1: 31 modules. The first convolution holds the normalisation of the input.
VGG_LAYERS: tuple[Layer, ...] = (
    *(("colour", 3, 3), ("conv", 3, 64), ("conv", 64, 64), ("shrink", 2)),
    *(("conv", 64, 128), ("conv", 128, 128), ("shrink", 2)),
    *(("conv", 128, 256), *[("conv", 256, 256)] * 3, ("shrink", 2)),
    ("conv", 256, 512),
)
VGG_STAGES = ("3", "10", "17", "30")  # relu1_1, relu2_1, relu3_1, relu4_1
# Its mirror image: 29 modules, the last without ReLU.
VGG_DECODER_LAYERS: tuple[Layer, ...] = (
    *(("conv", 512, 256), ("grow", 2), *[("conv", 256, 256)] * 3, ("conv", 256, 128)),
    *(("grow", 2), ("conv", 128, 128), ("conv", 128, 64), ("grow", 2)),
    *(("conv", 64, 64), ("conv", 64, 3)),
)
_SCHEMA = 2  # of NAME.json
_OLD_NAMES = {"rows": "layers", "least_side": "min_size"}
_SHOWN_STAGES = 24
_PROBE_STEP = 32  # pixels; the size of the probe image is a multiple of every usual stride
_MAX_LEVELS = 2  # nesting of modules that are offered as stages
VGG_MIN_SIZE = 128  # pixels; smaller images leave fewer than 16 x 16 features at VGG's last stage
_MIN_WIDTH = 32  # channels of a mirrored decoder at the size of the image


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """A style: mean and std of every channel of its features, over the pixels."""

    mean: Float[Tensor, "batch channel"]
    std: Float[Tensor, "batch channel"]  # root of the unbiased variance plus 1e-5


def channel_statistics(features: Maps) -> ChannelStatistics:
    """Compute mean and std of every channel over the pixels of each image.

    Raises:
        ValueError: If a feature map has a single pixel, which has no variance.
    """
    if features.shape[2] * features.shape[3] < 2:
        raise ValueError(
            "features must have at least 2 pixels for a variance, got shape "
            f"{tuple(features.shape)}; take larger images or a shallower stage"
        )
    pixels = features.flatten(2).float()
    variance, mean = torch.var_mean(pixels, dim=2, correction=1)
    return ChannelStatistics(mean=mean, std=(variance + VARIANCE_FLOOR).sqrt())


def adapt(content: Maps, style: ChannelStatistics, *, alpha: float = 1.0) -> Maps:
    """Give the features of the content the channel statistics of the style, one per image.

    t = (f - mean_c) / std_c * std_s + mean_s, then alpha t + (1 - alpha) f (equations 8 and 14).
    The strength ``alpha`` is 0..1; 0 leaves the features unchanged.

    Raises:
        ValueError: If alpha is out of range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be 0..1, got {alpha}")
    own = channel_statistics(content)
    normalised = (content - own.mean[..., None, None]) / own.std[..., None, None]
    adapted = normalised * style.std[..., None, None] + style.mean[..., None, None]
    return alpha * adapted + (1 - alpha) * content


class Stylizer(nn.Module):
    """Stylise images: an encoder, `adapt`, and a decoder.

    Attributes:
        encoder: Images in [0, 1] -> features of its stages; the last stage is adapted.
        decoder: Features of the last stage -> images, not yet clipped to [0, 1].
        stride: Image pixels per pixel of the last stage; images of other sizes are padded.
        scale: Whole factor by which images are enlarged first, and averaged back at the end.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, stride: int, scale: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.stride = stride
        self.scale = scale

    def encode_style(self, styles: Images) -> ChannelStatistics:
        """Compute the statistics of style images, which are not enlarged."""
        return channel_statistics(self.encoder(styles)[-1])

    def forward(self, images: Images, style: ChannelStatistics, *, alpha: float) -> Images:
        """Stylise images; the results have their size and are clipped to [0, 1]."""
        height, width = (self.scale * size for size in images.shape[2:])
        content = self.encoder(pad_to_stride(enlarge(images, self.scale), self.stride))[-1]
        stylised = self.decoder(adapt(content, style, alpha=alpha))[..., :height, :width]
        return F.avg_pool2d(stylised.float().clamp(0, 1), self.scale)


def enlarge(images: Maps, scale: int) -> Float[Tensor, "batch channel _ _"]:
    """Enlarge images ``scale`` times by bicubic interpolation, clipped to [0, 1]."""
    if scale == 1:
        return images
    larger = F.interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False)
    return larger.clamp(0, 1)


def pad_to_stride(images: Maps, stride: int) -> Float[Tensor, "batch channel _ _"]:
    """Pad images to multiples of ``stride`` by repeating the last row and column."""
    bottom, right = (-size % stride for size in images.shape[2:])
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images


def to_floats(batch: UInt8[np.ndarray, "batch height width channel"]) -> Maps:
    """Convert uint8 images to a tensor in [0, 1]."""
    return torch.from_numpy(arrays.to_float(batch))


def to_bytes(images: Maps) -> UInt8[np.ndarray, "batch height width channel"]:
    """Round images in [0, 1] to uint8."""
    return np.ascontiguousarray(arrays.to_channels_last(arrays.to_uint8(images.cpu().numpy())))


def describe_arithmetic(device: torch.device) -> dict[str, Any]:
    """Return what the last bits depend on: device, torch's version, threads."""
    is_cuda = device.type == "cuda"
    name = (
        torch.cuda.get_device_name(device) if is_cuda else torch.backends.cpu.get_cpu_capability()
    )
    threads = torch.get_num_threads() if device.type == "cpu" else 0
    return {"device": f"{device.type} {name}", "torch": str(torch.__version__), "threads": threads}


def build_encoder(layers: Sequence[Layer]) -> nn.Sequential:
    """Build the modules of the layers, one after the other."""
    return nn.Sequential(*(module for layer in layers for module in _build_layer(layer)))


def build_decoder(layers: Sequence[Layer]) -> nn.Sequential:
    """Build the modules of the layers, without the last ReLU so that every colour is possible."""
    if not layers or layers[-1][0] != "conv" or layers[-1][-1] != 3:
        raise ValueError(f"a decoder must end with a convolution to 3 channels, got {layers[-1:]}")
    return nn.Sequential(*list(build_encoder(layers))[:-1])


def mirror(channels: Sequence[int], strides: Sequence[int], *, depth: int) -> tuple[Layer, ...]:
    """Return the layers of a decoder for an encoder with these channels and strides of its stages.

    From the last stage back to the image: ``depth`` convolutions, at least 1, at the size of each
    stage, then every pixel is repeated to reach the size of the stage before. The shallowest stage
    is the first; each stride is a multiple of the one before.
    """
    layers: list[Layer] = []
    width = channels[-1]
    stages = [(1, 0), *zip(strides, channels, strict=True)]
    for (before, fewer), (stride, _) in zip(stages[-2::-1], stages[:0:-1], strict=True):
        narrower = max(fewer, _MIN_WIDTH)
        layers += [("conv", width, width)] * (depth - 1) + [("conv", width, narrower)]
        width = narrower
        if stride != before:
            layers += [("grow", stride // before)]
    return (*layers, *[("conv", width, width)] * (depth - 1), ("conv", width, 3))


def _build_layer(layer: Layer) -> list[nn.Module]:
    match layer:
        case ("conv", int(inputs), int(outputs)):
            return [nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3), nn.ReLU()]
        case ("colour", int(inputs), int(outputs)):
            return [nn.Conv2d(inputs, outputs, 1)]
        case ("shrink", 2):
            return [nn.MaxPool2d(2, ceil_mode=True)]
        case ("grow", int(factor)) if factor > 1:
            return [nn.Upsample(scale_factor=factor, mode="nearest")]
    raise ValueError(f"no layer of a style transfer network is described by {layer!r}")


def load_weights(network: nn.Module, weights: dict[str, Tensor], *, path: Path, what: str) -> None:
    """Load weights into a network; ``path`` should hold ``what``, for messages."""
    check_state(weights, network.state_dict(), what=f"{path} does not hold {what}")
    for name, values in weights.items():
        if not bool(torch.isfinite(values).all()):
            raise RunError(f"{path}: {name} holds numbers that are not finite")
    network.load_state_dict(weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A module of a network whose output is used as features."""

    name: str  # in `nn.Module.named_modules`
    channels: int
    stride: int  # image pixels per pixel of its output, along an edge


class _LastStageReached(Exception):
    """Ends a forward pass, since the later layers are not needed."""


class Encoder(nn.Module):
    """Encode images in [0, 1] as the features of every stage, shallow to deep; it is not trained.

    Convolutions that pad with zeros pad by reflection here, as in the paper: zeros would add a
    frame to every image.

    Attributes:
        gains: Factors by which the features of the stages are multiplied.
        min_size: Size in pixels below which images are better enlarged first.
        identity: Kind, sha256 of the weights and stages, independent of the file's location.
    """

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[Stage],
        *,
        min_size: int = 1,
        identity: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.stages = tuple(stages)
        self.gains = (1.0,) * len(self.stages)
        self.min_size = min_size
        self.identity = identity or {}
        self._found: list[Tensor] = []
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
                module.padding_mode = "reflect"
        for stage in self.stages:
            network.get_submodule(stage.name).register_forward_hook(self._keep)

    @property
    def stride(self) -> int:
        """Stride of the last stage."""
        return self.stages[-1].stride

    def forward(self, images: Images) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """Compute the features of every stage."""
        self._found = []
        with suppress(_LastStageReached):
            self.network(images)
        pairs = zip(self._found, self.gains, strict=True)
        self._found = []
        return tuple(found if gain == 1 else gain * found for found, gain in pairs)

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        is_last = len(self._found) == len(self.stages) - 1
        self._found.append(output if is_last else output.clone())  # a later layer may work in place
        if is_last:
            raise _LastStageReached


def open_encoder(spec: str, *, stages: Sequence[str] = (), size: int) -> Encoder:
    """Open an encoder; see the table of this module.

    Args:
        stages: Names of modules, shallow to deep. By default the published four of VGG; of other
            networks one for each size of features, down to a stride of 4.
        size: Height and width in pixels of an image the network can take, to find its strides.
    """
    if spec.startswith("python:"):
        _, network = call_user_code(spec)
        if not isinstance(network, nn.Module):
            raise RunError(f"{spec} must return an nn.Module, got {type(network).__name__}")
        return _wrap(network, "python", spec, stages, size)
    path = Path(spec).expanduser()
    if path.is_dir():
        return _wrap(load_model(path), "run", str(path), stages, size)
    return _open_vgg(path, stages)


def check_size(stride: int, size: int, what: str) -> None:
    """Refuse (ValueError) images that leave fewer than 2 x 2 pixels at the last stage."""
    if size < 2 * stride:
        raise ValueError(
            f"{what} must be at least {2 * stride} pixels wide and high for the encoder's "
            f"last stage, got {size}; choose a larger --scale or --style-size, or shallower "
            "--stages"
        )


def find_stages(network: nn.Module, *, size: int) -> tuple[Stage, ...]:
    """Find the modules that can be stages, in the order of computation, at most two levels deep.

    Their outputs are ``channel height width``, with a height and width that divide those of the
    probe image, which are ``size`` rounded up to a multiple of 32 pixels.
    """
    size = -(-size // _PROBE_STEP) * _PROBE_STEP
    found: list[Stage] = []

    def watch(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] > 1:
                stride, rest = divmod(size, output.shape[2])
                if not rest and output.shape[2] == output.shape[3]:
                    found.append(Stage(name=name, channels=output.shape[1], stride=stride))

        return keep

    with ExitStack() as hooks, torch.no_grad():
        for name, module in network.named_modules():
            if name and name.count(".") < _MAX_LEVELS:
                hooks.enter_context(module.register_forward_hook(watch(name)))
        network.eval()(torch.full((1, 3, size, size), 0.5))
    return tuple(found)


def _wrap(network: nn.Module, kind: str, where: str, names: Sequence[str], size: int) -> Encoder:
    """Make an encoder of any network, after checking its stages."""
    try:
        offered = find_stages(network, size=size)
    except (RuntimeError, ValueError, TypeError) as error:
        raise RunError(
            f"{where} cannot take square RGB images of {size} pixels and more: {error}"
        ) from error
    if names:
        stages = _choose_stages(offered, names, where)
    else:  # the last module at each stride; a module comes after its parts
        last = {stage.stride: stage for stage in offered if stage.stride in (1, 2, 4)}
        stages = tuple(last[stride] for stride in sorted(last))
    if not stages:
        raise RunError(
            f"{where} has no features of {size // 4} pixels or more for images of {size}; name "
            f"--stages out of: {_list_stages(offered)}"
        )
    identity = {"kind": kind, "sha256": hash_weights(network), "stages": [s.name for s in stages]}
    return Encoder(network, stages, identity=identity)


def _choose_stages(offered: Sequence[Stage], names: Sequence[str], where: str) -> tuple[Stage, ...]:
    order = [stage.name for stage in offered]
    for name in names:
        if order.count(name) != 1:
            raise RunError(
                f"--stages takes: {_list_stages(offered)}; {where} has no usable stage {name!r}"
                f"{did_you_mean(name, order)}"
            )
    indices = [order.index(name) for name in names]
    if indices != sorted(set(indices)):
        raise RunError(
            f"stages must go from shallow to deep, got {', '.join(names)}; the network computes "
            f"them in the order {', '.join(order[index] for index in sorted(set(indices)))}"
        )
    stages = tuple(offered[index] for index in indices)
    for before, stage in pairwise(stages):
        if stage.stride % before.stride:
            raise RunError(
                f"stage {stage.name} of {where} has stride {stage.stride}, which is no multiple "
                f"of the {before.stride} of {before.name}; leave one of them out"
            )
    return stages


def _list_stages(offered: Sequence[Stage]) -> str:
    shown = [f"{stage.name} (stride {stage.stride})" for stage in offered[:_SHOWN_STAGES]]
    return ", ".join(shown) or "nothing"


def _open_vgg(path: Path, names: Sequence[str]) -> Encoder:
    """Open VGG-19 up to relu4_1; the published file holds its deeper layers too."""
    if names and tuple(names) != VGG_STAGES:
        raise RunError(f"VGG-19 has the stages {', '.join(VGG_STAGES)}, got {', '.join(names)}")
    deeper = re.compile(r"(3[1-9]|4\d|5[0-2])\.")  # numbers of the layers after relu4_1
    weights = {
        name: value for name, value in load_state(path).tensors.items() if not deeper.match(name)
    }
    with torch.random.fork_rng(devices=[]):
        network = build_encoder(VGG_LAYERS)
    load_weights(network, weights, path=path, what="the weights of VGG-19 (vgg_normalised.pth)")
    stages = [
        Stage(name=name, channels=64 * 2**index, stride=2**index)
        for index, name in enumerate(VGG_STAGES)
    ]
    identity = {"kind": "vgg", "sha256": files.hash_file(path), "stages": list(VGG_STAGES)}
    return Encoder(network, stages, min_size=VGG_MIN_SIZE, identity=identity)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedDecoder:
    """The description of a fitted decoder, in ``NAME.json``."""

    layers: tuple[Layer, ...]
    encoder: str  # where its encoder was: file, folder or ``python:MODULE:FUNCTION``
    identity: dict[str, Any]  # kind, sha256 of the weights and stages of the encoder
    gains: tuple[float, ...]  # of its stages
    min_size: int  # of the images it was fitted with, in pixels
    settings: dict[str, Any]  # of the fit, for the record


def write_decoder(path: Path, decoder: nn.Module, fitted: FittedDecoder) -> None:
    """Write the weights and beside them their description, each atomically."""
    write_weights(path, decoder)
    files.write_json(path.with_suffix(".json"), {"schema": _SCHEMA, **files.to_plain(fitted)})


def load_fitted(path: Path) -> FittedDecoder:
    """Load the description of a fitted decoder, from the ``NAME.json`` beside its weights."""
    path = path.with_suffix(".json")
    plain = files.load_json(path)
    schema = plain.pop("schema", None)
    if schema == 1 and "rows" in plain:  # names before schema 2
        plain = {_OLD_NAMES.get(name, name): value for name, value in plain.items()}
    elif schema != _SCHEMA:
        raise RunError(f"{path} does not describe a decoder of schema {_SCHEMA}; fit it again")
    try:
        layers = tuple(tuple(layer) for layer in plain.pop("layers"))
        return FittedDecoder(layers=layers, gains=tuple(plain.pop("gains")), **plain)
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} does not describe a decoder: {error}; fit it again") from error


def open_stylizer(
    decoder: str, encoder: str | None, *, size: int, scale: int | None
) -> tuple[Stylizer, dict[str, Any]]:
    """Open encoder and decoder; return them, and their identities and scale for the manifest.

    Args:
        decoder: File of a fitted decoder, or of the published one (``decoder.pth``).
        encoder: See `open_encoder`; by default the one that a fitted decoder names.
        size: Shorter edge of the images in pixels.
        scale: Whole factor by which images are enlarged; by default the smallest that reaches the
            size the encoder needs, or that of the fit.
    """
    if not decoder:
        raise RunError(
            "name a decoder with --decoder: the published decoder.pth together with --encoder "
            "vgg_normalised.pth, or a file written by augmix stylize fit"
        )
    path = Path(decoder).expanduser()
    if path.with_suffix(".json").exists():
        fitted = load_fitted(path)
        opened = _open_fitted_encoder(path, fitted, encoder or fitted.encoder, size)
        layers, min_size = fitted.layers, fitted.min_size
    else:
        opened = _open_published_encoder(path, encoder, size)
        layers, min_size = VGG_DECODER_LAYERS, opened.min_size
    weights = load_state(path).tensors
    with torch.random.fork_rng(devices=[]):
        network = build_decoder(layers)
    load_weights(network, weights, path=path, what="the weights of a decoder of these layers")
    network.eval().requires_grad_(False)
    scale = scale or max(1, -(-min_size // size))
    check_size(opened.stride, size * scale, "images, as enlarged,")
    identity = {"encoder": opened.identity, "decoder": {"sha256": files.hash_file(path)}}
    return Stylizer(opened, network, stride=opened.stride, scale=scale), identity | {"scale": scale}


def _open_published_encoder(path: Path, encoder: str | None, size: int) -> Encoder:
    if not encoder:
        raise RunError(
            f"{path} has no {path.with_suffix('.json').name} beside it that names its encoder; "
            "name it with --encoder, e.g. vgg_normalised.pth"
        )
    opened = open_encoder(encoder, size=size)
    if opened.identity["kind"] != "vgg":
        raise RunError(
            f"the published decoder needs the features of VGG-19, got encoder {encoder}; fit a "
            "decoder for it with augmix stylize fit"
        )
    return opened


def _open_fitted_encoder(path: Path, fitted: FittedDecoder, spec: str, size: int) -> Encoder:
    if not spec.startswith("python:") and not Path(spec).expanduser().exists():
        raise RunError(
            f"{path} was fitted to the encoder {spec}, which is no longer there; name it with "
            "--encoder"
        )
    stages = fitted.identity.get("stages", ())
    opened = open_encoder(spec, stages=stages, size=max(size, fitted.min_size))
    if opened.identity != fitted.identity:
        raise RunError(
            f"{path} was fitted to an encoder of sha256 {fitted.identity.get('sha256')}, got "
            f"{spec} of {opened.identity['sha256']}; name the right one with --encoder, or fit "
            "again"
        )
    opened.gains = fitted.gains
    return opened

"""Weights: files read and checked, released checkpoints renamed, models saved and loaded.

Known are the networks of AugMix's released code for CIFAR and the blur-pooled ResNets of Zhang
(2019). ResNets without blur pools have torchvision's names, which are ours.

A folder holds `model.json` (the `ModelConfig`) and `weights.safetensors` (plain names, float32 as
trained), so anybody can load a model without running code from the file.

Files are safetensors, or what `torch.save` wrote with nothing but tensors, numbers and text in it
(``weights_only=True``). Wrappings of training scripts are undone: the state may lie under
``state_dict``, ``model`` or the like, its names may start with ``module.`` or ``_orig_mod.``.
"""

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_weights
from safetensors.torch import save as pack_weights
from torch import Tensor, nn

from augmix import files, results
from augmix.errors import RunError
from augmix.models import hub
from augmix.models.layers import Classifier, ModelConfig
from augmix.models.preprocessing import PRESETS, Preprocessing
from augmix.models.registry import build_network, find_family, usual_statistics
from augmix.models.wrapper import Subject

_SHOWN = 3  # names in a message
_COUNTER = "num_batches_tracked"  # of batch norm; older files have none, and nothing depends on it


def check_state(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    what: str,
    needs_counters: bool = True,
) -> None:
    """Refuse tensors whose names or shapes are not those of the network.

    Args:
        found: In the file.
        expected: The network's state.
        what: The beginning of the message: which file does not fit what.
        needs_counters: Whether the counters of batches seen must be there.

    Raises:
        RunError: If a name is missing or unknown, or a shape is another.
    """
    missing = [
        name
        for name in expected
        if name not in found and (needs_counters or not name.endswith(_COUNTER))
    ]
    unknown = [name for name in found if name not in expected]
    if missing or unknown:
        raise RunError(
            f"{what}: expected {len(expected)} tensors, got {len(found)}; "
            f"missing: {shorten(missing)}; unknown: {shorten(unknown)}"
        )
    for name, value in expected.items():
        if name in found and found[name].shape != value.shape:
            raise RunError(
                f"{what}: {name} must have shape {tuple(value.shape)}, "
                f"got {tuple(found[name].shape)}"
            )


def shorten(names: Iterable[str]) -> str:
    """The first names in order, and how many more there are."""
    listed = sorted(names)
    rest = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return (", ".join(listed[:_SHOWN]) or "none") + rest


_DENSE = [
    (r"conv1\.(.+)", r"stem.\1"),
    (r"bn1\.(.+)", r"norm.\1"),
    (r"fc\.(.+)", r"head.\1"),
]
_TRANSITIONS = [
    (r"trans1\.bn1\.(.+)", r"stages.1.norm.\1"),
    (r"trans1\.conv1\.(.+)", r"stages.1.conv.\1"),
    (r"trans2\.bn1\.(.+)", r"stages.3.norm.\1"),
    (r"trans2\.conv1\.(.+)", r"stages.3.conv.\1"),
]
# Family (its `form`) -> names of the released code as patterns, and ours.
_RULES: dict[str, list[tuple[str, str]]] = {
    "allconv": [(r"classifier\.(.+)", r"head.\1")],
    "wrn-D-W": [
        (r"conv1\.(.+)", r"stem.\1"),
        *(
            (rf"block{group + 1}\.layer\.(\d+)\.{theirs}\.(.+)", rf"groups.{group}.\1.{ours}.\2")
            for group in range(3)
            for theirs, ours in (
                ("bn1", "norm1"),
                ("bn2", "norm2"),
                ("conv1", "conv1"),
                ("conv2", "conv2"),
                ("convShortcut", "shortcut"),
            )
        ),
        (r"bn1\.(.+)", r"norm.\1"),
        (r"fc\.(.+)", r"head.\1"),
    ],
    "resnext-D-CxWd": [
        (r"conv_1_3x3\.(.+)", r"conv1.\1"),
        (r"bn_1\.(.+)", r"bn1.\1"),
        *(
            (rf"stage_(\d)\.(\d+)\.{theirs}\.(.+)", rf"layer\1.\2.{ours}.\3")
            for theirs, ours in (
                ("conv_reduce", "conv1"),
                ("bn_reduce", "bn1"),
                ("conv_conv", "conv2"),
                ("bn", "bn2"),
                ("conv_expand", "conv3"),
                ("bn_expand", "bn3"),
                ("downsample", "downsample"),
            )
        ),
        (r"classifier\.(.+)", r"fc.\1"),
    ],
}
_ALLCONV = re.compile(r"features\.(\d+)\.(.+)")
_ALLCONV_STAGE = 11  # layers: three times convolution, norm, activation; then pooling, dropout
_DENSE_LAYER = re.compile(r"dense(\d)\.(\d+)\.(bn|conv)(\d)\.(.+)")


def rename_released(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the published programs as one of ours; any other one comes back unchanged.

    Args:
        name: The network's name here, e.g. ``wrn-40-2`` or ``resnet50-maxblur``.
        state: Tensors by name, without the ``module.`` of data-parallel training.

    Returns:
        The same tensors; filters of blur pools, which are no weights here, are left out.

    Raises:
        ValueError: If no network has that name.
    """
    form = find_family(name).form.split(",")[0]  # without its narrow forms
    if form.startswith("resnet"):
        return _rename_blurred(state)
    renamed = {key: _rename(key, form, name) for key in state}
    if any(new is None for new in renamed.values()):
        return state
    return {str(renamed[key]): value for key, value in state.items()}


def _rename(key: str, form: str, name: str) -> str | None:
    """Our name of a tensor of the released CIFAR code; None if it has no such name."""
    if form == "allconv" and (match := _ALLCONV.fullmatch(key)):
        stage, layer = divmod(int(match[1]), _ALLCONV_STAGE)
        return f"stages.{stage}.{layer}.{match[2]}"
    rules = [*_DENSE, *_TRANSITIONS] if form == "densenet-D-K" else _RULES.get(form, [])
    if form == "densenet-D-K" and (match := _DENSE_LAYER.fullmatch(key)):
        block, layer, kind, place, rest = match.groups()
        ours = {"bn": "norm", "conv": "conv"}[kind] + (place if "-bc-" in name else "")
        return f"stages.{2 * int(block) - 2}.{layer}.{ours}.{rest}"
    for pattern, ours in rules:
        if re.fullmatch(pattern, key):
            return re.sub(pattern, ours, key)
    return None


def _rename_blurred(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A blur pool stands there as layer 0 in front of a convolution, and moves it to place 1."""
    renamed = {}
    for key, value in state.items():
        if key.endswith(".filt"):
            continue
        match = re.fullmatch(r"(.+\.(?:conv2|conv3|downsample))\.(\d)\.(.+)", key)
        if match and f"{match[1]}.0.filt" in state:
            at, place, rest = match[1], int(match[2]) - 1, match[3]
            key = f"{at}.{place}.{rest}" if at.endswith("downsample") else f"{at}.{rest}"
        renamed[key] = value
    return renamed


def build_model(
    name: str,
    *,
    num_classes: int,
    channels: int = 3,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    dropout: float = -1.0,
    blur_size: int = 5,
) -> Classifier:
    """Build a model by name, its start weights drawn from torch's generator.

    It takes float images in [0, 1], ``batch channel height width``, and gives logits. Use
    `torch.manual_seed` before the call for the same start weights. `docs/networks.md` lists the
    networks with their sizes and sources.

    Args:
        name: ``small``, ``allconv``, ``wrn-D-W``, ``densenet-D-K``, ``densenet-bc-D-K``,
            ``resnext-D-CxWd``, ``resnetD`` (ImageNet) or ``resnetD-cifar``; each of them also
            with ``-maxblur`` at the end, pooled without aliasing.
        num_classes: Logits given for an image.
        channels: Channels of an image, 1 or 3.
        mean: Subtracted from every channel, in [0, 1] units; as many numbers as channels. None
            given means the usual ones: 0.5, or those of ImageNet for its networks.
        std: Every channel is then divided by it; none given means the usual ones.
        dropout: Share of activations dropped in training, in [0, 1); -1 takes that of the
            published network, 0.5 for ``allconv`` and 0 for all others.
        blur_size: Side of the blur filter of a ``-maxblur`` network, 2..5 pixels.

    Raises:
        ValueError: If no model has that name, or a number is out of range.

    Example:
        >>> build_model("wrn-16-2", num_classes=10).config.num_classes
        10
    """
    usual_mean, usual_std = usual_statistics(name, channels)
    return build_network(
        ModelConfig(
            name=name,
            num_classes=num_classes,
            channels=channels,
            mean=tuple(mean) or usual_mean,
            std=tuple(std) or usual_std,
            dropout=find_family(name).dropout if dropout == -1 else dropout,
            blur_size=blur_size,
        )
    )


def save_model(folder: Path, model: nn.Module) -> None:
    """Write `weights.safetensors` and `model.json` into an existing folder, each atomically.

    Raises:
        TypeError: If the model is wrapped (DistributedDataParallel, compiled) or not one of ours.
        RunError: If the folder is missing or cannot be written.
    """
    if not isinstance(model, Classifier):
        raise TypeError(
            f"save_model takes a model of build_model, got {type(model).__name__}; "
            "unwrap it first (model.module, model._orig_mod)"
        )
    weights = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    folder = Path(folder)
    files.write_bytes(folder / results.WEIGHTS_FILE, pack_weights(weights))
    files.write_json(
        folder / results.MODEL_FILE, {"schema": results.SCHEMA, **asdict(model.config)}
    )


def load_model(where: str | Path, *, revision: str = "") -> Classifier:
    """Read a model written by `save_model`, on the CPU and in evaluation mode.

    Torch's generator is left as it was.

    Args:
        where: A folder, or the name ``owner/name`` of a model on the Hugging Face Hub; with
            ``hub:`` in front the hub is asked even if there is a folder of that name.
        revision: Branch, tag or commit on the hub; the main branch by default.

    Raises:
        RunError: If a file is missing or damaged, the weights are those of another model, or the
            hub has no such model or cannot be reached.
    """
    folder = hub.fetch(str(where), revision=revision) if hub.is_hub_id(where) else Path(where)
    config = _load_config(folder / results.MODEL_FILE)
    weights = _load_weights(folder / results.WEIGHTS_FILE)
    try:
        with torch.random.fork_rng(devices=[]):
            model = build_network(config)
    except ValueError as error:
        raise RunError(f"{folder / results.MODEL_FILE}: {error}") from error
    what = f"{folder / results.WEIGHTS_FILE} does not fit model {config.name!r}"
    check_state(weights, model.state_dict(), what=f"{what} with {config.num_classes} classes")
    model.load_state_dict(weights)
    return model.eval()


def _load_config(path: Path) -> ModelConfig:
    plain = files.load_json(path)
    schema = plain.pop("schema", None)
    if schema != results.SCHEMA:
        raise RunError(f"{path} must have schema {results.SCHEMA}, got {schema!r}")
    try:
        lists = {key: tuple(plain.pop(key)) for key in ("mean", "std")}
        return ModelConfig(**lists, **plain)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} does not describe a model: {error}") from error


def _load_weights(path: Path) -> dict[str, Tensor]:
    try:
        return parse_weights(path.read_bytes())
    except FileNotFoundError:
        raise RunError(
            f"{path} does not exist; is {path.parent} the folder of a trained model?"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise RunError(
            f"{path} is damaged or no safetensors file ({error}); copy or train it again"
        ) from error


Build = Callable[[int], nn.Module]  # a network of so many classes

_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_PROBE = 7919  # a number of classes that is no other size in a network


def open_checkpoint(name: str, file: Path, preprocessing: Preprocessing | None) -> Subject:
    """A network of this package by name, with the weights of a file; see `subjects`.

    Without ``preprocessing`` the network normalises its images as is usual for it, and an ImageNet
    network states ImageNet's geometry; with it, the stated mean and deviation take their place.

    Raises:
        ValueError: If no network has that name.
        RunError: If the file cannot be read or does not fit.
    """
    state = load_state(file)
    channels = _count_channels(state)
    plain: dict[str, Any] = {}
    if preprocessing is not None:  # which normalises in front of the network
        plain = {"mean": (0.0,) * channels, "std": (1.0,) * channels}

    def build(num_classes: int) -> nn.Module:
        return build_model(name, num_classes=num_classes, channels=channels, **plain)

    network, num_classes = fill_network(build, state, name=name, file=file)
    return Subject(
        network,
        name=f"{name}@{file.name}",
        num_classes=num_classes,
        preprocessing=preprocessing or usual_geometry(name),
    )


def usual_geometry(name: str) -> Preprocessing | None:
    """Of the photographs an ImageNet network of this package takes; None for the others."""
    return PRESETS["imagenet-none"] if find_family(name).size == 224 else None


def load_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU, without the wrappings of training scripts.

    Raises:
        RunError: If it is missing, broken, or holds objects that only running code could read.
    """
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise RunError(f"the weights file {file} {what}; name it as NAME@FILE")
    try:
        is_safe = file.suffix == ".safetensors"
        found: Any = parse_weights(file.read_bytes()) if is_safe else _load_torch(file)
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise RunError(f"{file} is damaged or no safetensors file: {error}") from error
    state = _unwrap(found)
    if not state:
        kind = ", ".join(map(str, list(found)[:8])) if isinstance(found, Mapping) else type(found)
        raise RunError(f"{file}: expected tensors by name, or such under state_dict, got {kind}")
    return state


def fill_network(
    build: Build, state: dict[str, Tensor], *, name: str, file: Path
) -> tuple[nn.Module, int]:
    """Build the network with as many classes as the weights have, and load them.

    Args:
        build: The network for a number of classes; torch's generator is left as it was.
        state: Tensors by name.
        name: Of the network, for messages.
        file: Of the weights, for messages.

    Raises:
        RunError: If names or shapes are not those of the network.
    """
    num_classes = _count_classes(build, state, name=name, file=file)
    with torch.random.fork_rng(devices=[]):
        network = build(num_classes)
    what = f"{file} does not fit {name}"
    check_state(state, network.state_dict(), what=what, needs_counters=False)
    network.load_state_dict(state, strict=False)  # what may miss are counters
    return network.eval(), num_classes


def _load_torch(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{file} holds more than tensors, and reading it would run code from it; save the "
            "weights alone where you trust the file: "
            "torch.save(torch.load(file, weights_only=False)['state_dict'], new_file)"
        ) from error
    except OSError:
        raise
    except Exception as error:
        raise RunError(f"{file} is damaged or no file of torch.save: {error}") from error


def _unwrap(found: Any) -> dict[str, Tensor]:
    """The state inside what a training script saved; empty if there is none."""
    if not isinstance(found, Mapping):
        return {}
    for key in _STATE_KEYS:
        if isinstance(found.get(key), Mapping):
            return _unwrap(found[key])
    state = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    for prefix in (*_PREFIXES, *_PREFIXES):  # twice: compiled inside distributed or outside
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _count_classes(build: Build, state: dict[str, Tensor], *, name: str, file: Path) -> int:
    """Found where a network of `_PROBE` classes has that size."""
    with torch.random.fork_rng(devices=[]):
        probe = build(_PROBE).state_dict()
    heads = [key for key, value in probe.items() if _PROBE in value.shape]
    for key in heads:
        axis = list(probe[key].shape).index(_PROBE)
        if key in state and state[key].ndim == probe[key].ndim:
            return state[key].shape[axis]
    raise RunError(
        f"{file} does not fit {name}: expected its last layer as {' or '.join(heads)}, got "
        f"{shorten(state)}; is it another network?"
    )


def _count_channels(state: dict[str, Tensor]) -> int:
    """Of the images: the inputs of the first convolution, 1 or 3."""
    first = next((value for value in state.values() if value.ndim == 4), None)
    has_one = first is not None and any(
        value.ndim == 4 and value.shape[1] == 1 and value.shape[2] > 1 for value in state.values()
    )
    has_three = any(value.ndim == 4 and value.shape[1] == 3 for value in state.values())
    return 1 if has_one and not has_three else 3

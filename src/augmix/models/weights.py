"""Weights from a file into a network known by name, whoever trained it.

Files are safetensors, or what `torch.save` wrote with nothing but tensors, numbers and text in it
(``weights_only=True``). Wrappings of training scripts are undone: the state may lie under
``state_dict``, ``model`` or the like, its names may start with ``module.`` or ``_orig_mod.``.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_weights
from torch import Tensor, nn

from augmix.models.build import build_model
from augmix.models.networks import find_family
from augmix.models.preprocessing import PRESETS, Preprocessing
from augmix.models.states import check_state, shorten
from augmix.models.wrapped import Subject
from augmix.records import RunError

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

"""Weights from files: a state dict of torch or safetensors, checked before it is used."""

import hashlib
import io
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from augmix.models.states import check_state
from augmix.records import RunError


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
            f"other objects ({str(error).splitlines()[0]})"
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

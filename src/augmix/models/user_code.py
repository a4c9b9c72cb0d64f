"""Models of the user's own code: what a function in a module of theirs returns.

The function is called without arguments and gives an `nn.Module`, or anything that can be called
with a float batch `batch channel height width` and gives logits `batch label` (a tensor or an
array). An attribute ``preprocessing`` of what it returns is taken as what the model states.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from augmix.errors import RunError
from augmix.models.preprocessing import Preprocessing
from augmix.models.wrapper import Subject, hash_weights
from augmix.user_code import describe_error, hash_module, import_object, search_path


def open_python(text: str, preprocessing: Preprocessing | None) -> Subject:
    """``MODULE:FUNCTION``; see `subjects`.

    MODULE is looked for in the current folder and then where Python looks (PYTHONPATH); it may
    also be the path of a ``.py`` file.

    Raises:
        ValueError: If the text has another form.
        RunError: If there is no such module or function, it fails, or it gives no model.
    """
    name = f"python:{text}"
    module, function = import_object(name)
    with search_path(Path(str(module.__file__)).parent):
        made = _call(function, name)
    if not callable(made):
        raise RunError(
            f"{name} must return an nn.Module or a function of a batch, got {type(made).__name__}"
        )
    network = made if isinstance(made, nn.Module) else _Called(made)
    stated = getattr(made, "preprocessing", None)
    return Subject(
        network,
        name=name,
        fingerprint=hash_weights(network) if network.state_dict() else hash_module(module),
        num_classes=_count(made),
        preprocessing=preprocessing or (stated if isinstance(stated, Preprocessing) else None),
        hint="the error is in your model's code; --debug shows where",
    )


class _Called(nn.Module):
    """A plain callable as a module; what it gives may be an array."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, images: Tensor) -> Any:
        logits = self._function(images)
        if isinstance(logits, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(logits)).to(images.device)
        return logits


def _call(function: Any, name: str) -> Any:
    """What the function returns; a module that is there already stands for itself."""
    if isinstance(function, nn.Module):
        return function
    if not callable(function):
        raise RunError(f"{name} must be a function, got {type(function).__name__}")
    needed = [
        parameter.name
        for parameter in _parameters(function)
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if needed:
        raise RunError(
            f"{name} is called without arguments and returns the model, but it asks for "
            f"{', '.join(needed)}; write a function around it that takes none"
        )
    try:
        return function()
    except Exception as error:
        raise RunError(f"{name} failed: {describe_error(error)}") from error


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # built-in functions may have none to tell
        return []


def _count(made: Any) -> int | None:
    count = getattr(made, "num_classes", None)
    return count if isinstance(count, int) else None

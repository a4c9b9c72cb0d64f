"""Models of the user's own code: what a function in a module of theirs returns.

The function is called without arguments and gives an `nn.Module`, or anything that can be called
with a float batch `batch channel height width` and gives logits `batch label` (a tensor or an
array). An attribute ``preprocessing`` of what it returns is taken as what the model states.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from augmix.errors import RunError, did_you_mean
from augmix.models.preprocessing import Preprocessing
from augmix.models.wrapper import Subject, hash_weights


def open_python(text: str, preprocessing: Preprocessing | None) -> Subject:
    """``MODULE:FUNCTION``; see `subjects`.

    MODULE is looked for in the current folder and then where Python looks (PYTHONPATH); it may
    also be the path of a ``.py`` file.

    Raises:
        ValueError: If the text has another form.
        RunError: If there is no such module or function, it fails, or it gives no model.
    """
    place, colon, function = text.rpartition(":")
    if not colon or not place or not function.isidentifier():
        raise ValueError(
            f"expected python:MODULE:FUNCTION, e.g. python:mymodels:resnet, got 'python:{text}'"
        )
    name = f"python:{text}"
    with _search_path(Path(place).parent if place.endswith(".py") else Path()):
        module = _import(place, name)
        made = _call(_find(module, function, name), name)
    if not callable(made):
        raise RunError(
            f"{name} must return an nn.Module or a function of a batch, got {type(made).__name__}"
        )
    network = made if isinstance(made, nn.Module) else _Called(made)
    stated = getattr(made, "preprocessing", None)
    return Subject(
        network,
        name=name,
        fingerprint=hash_weights(network) if network.state_dict() else _hash_code(module),
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


@contextmanager
def _search_path(folder: Path) -> Iterator[None]:
    """Modules are found in the current folder and in ``folder`` too, in front of all others."""
    added = list(dict.fromkeys((str(folder.resolve()), str(Path.cwd()))))
    sys.path[:0] = added
    try:
        yield
    finally:
        for entry in added:
            sys.path.remove(entry)


def _import(place: str, name: str) -> ModuleType:
    try:
        return (
            _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        )
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise RunError(
                f"{name}: there is no module {place!r} in {Path.cwd()} or on PYTHONPATH; "
                "start where it lies, set PYTHONPATH, or name the .py file"
            ) from None
        raise RunError(f"{name}: {_tell(error)}") from error
    except FileNotFoundError as error:
        raise RunError(f"{name}: {_tell(error)}") from error
    except Exception as error:
        raise RunError(f"{name}: importing it failed: {_tell(error)}") from error


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _find(module: ModuleType, function: str, name: str) -> Any:
    if hasattr(module, function):
        return getattr(module, function)
    public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
    guess = did_you_mean(function, public)
    raise RunError(f"{name}: {module.__name__} has no {function!r}{guess}")


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
        raise RunError(f"{name} failed: {_tell(error)}") from error


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # built-in functions may have none to tell
        return []


def _tell(error: BaseException) -> str:
    """The user's error with the place in their code."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if "importlib" not in frame.filename]
    last = theirs[-1] if theirs else None
    is_ours = last is None or Path(last.filename).resolve() == Path(__file__).resolve()
    where = "" if is_ours or last is None else f" ({last.filename}, line {last.lineno})"
    return f"{type(error).__name__}: {error}{where}"


def _hash_code(module: ModuleType) -> str:
    """Sha256 of the file of a module that keeps no weights torch knows of."""
    file = getattr(module, "__file__", None)
    content = Path(file).read_bytes() if file else module.__name__.encode()
    return hashlib.sha256(content).hexdigest()


def _count(made: Any) -> int | None:
    count = getattr(made, "num_classes", None)
    return count if isinstance(count, int) else None

"""Load functions of the user's own code, named ``MODULE:FUNCTION`` on the command line."""

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

from augmix.errors import RunError, did_you_mean
from augmix.files import hash_file

PREFIX = "python:"


def import_object(name: str) -> tuple[ModuleType, Any]:
    """Import the module of ``python:MODULE:FUNCTION`` and look up the function in it.

    MODULE is searched for in the current folder and then where Python looks (PYTHONPATH); it may
    also be the path of a ``.py`` file, whose folder is then searched too.

    Returns:
        The module, and the object of that name in it.

    Raises:
        ValueError: If the text has another form.
        RunError: If there is no such module or function, or importing it fails.
    """
    location, colon, function = name.removeprefix(PREFIX).rpartition(":")
    if not colon or not location or not function.isidentifier():
        raise ValueError(
            f"expected {PREFIX}MODULE:FUNCTION, e.g. {PREFIX}mycode:build or "
            f"{PREFIX}mycode.py:build, got {name!r}"
        )
    with search_path(Path(location).parent if location.endswith(".py") else Path()):
        module = _import(location, name)
    if hasattr(module, function):
        return module, getattr(module, function)
    public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
    raise RunError(f"{name}: {module.__name__} has no {function!r}{did_you_mean(function, public)}")


@contextmanager
def search_path(folder: Path) -> Iterator[None]:
    """Let imports search ``folder`` and the current folder before all others."""
    added = list(dict.fromkeys((str(folder.resolve()), str(Path.cwd()))))
    sys.path[:0] = added
    try:
        yield
    finally:
        for entry in added:
            sys.path.remove(entry)


def describe_error(error: BaseException) -> str:
    """Return the user's error with the file and line of their code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    package = Path(__file__).resolve().parent
    theirs = [
        frame
        for frame in frames
        if "importlib" not in frame.filename and package not in Path(frame.filename).parents
    ]
    where = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {error}{where}"


def hash_module(module: ModuleType) -> str:
    """Return the sha256 of a module's file."""
    file = getattr(module, "__file__", None)
    content = Path(file).read_bytes() if file else module.__name__.encode()
    return hashlib.sha256(content).hexdigest()


def source_file(function: Callable[..., Any]) -> Path | None:
    """Return the file that defines a function, or None if it was typed in interactively."""
    name = inspect.getsourcefile(inspect.unwrap(function))
    return Path(name).resolve() if name and Path(name).is_file() else None


def hash_function(function: Callable[..., Any]) -> str:
    """Return a sha256 of the code behind a function: of its whole file, so that helpers count.

    A function typed in interactively is hashed by its source, or by its bytecode.
    """
    file = source_file(function)
    if file:
        return hash_file(file)
    try:
        content = inspect.getsource(function).encode()
    except OSError:
        code = inspect.unwrap(function).__code__
        content = code.co_code + repr((code.co_consts, code.co_names)).encode()
    return hashlib.sha256(content).hexdigest()


def _import(location: str, name: str) -> ModuleType:
    try:
        if location.endswith(".py"):
            if not (path := Path(location)).is_file():
                raise RunError(f"{name}: there is no file {path.resolve()}; name one that exists")
            return _import_file(path)
        return importlib.import_module(location)
    except RunError:
        raise
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{location}.".startswith(f"{missing}."):
            raise RunError(
                f"{name}: there is no module {location!r} in {Path.cwd()} or on PYTHONPATH; "
                "start where it lies, set PYTHONPATH, or name the .py file"
            ) from None
        is_named = isinstance(error, ModuleNotFoundError | FileNotFoundError)
        failed = "" if is_named else "importing it failed: "
        raise RunError(f"{name}: {failed}{describe_error(error)}") from error


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    is_new = sys.modules.setdefault(path.stem, module) is module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if is_new:
            del sys.modules[path.stem]
        raise
    return module

"""Errors that users can cause, and the wording their messages share; too little memory is one.

Where a limit on the address space is nearly used up (``ulimit -v``), libraries abort the process
and threads that are being started wait forever, neither of which can be caught. So commands and
pools of threads look first whether what they need is there.
"""

import importlib
import re
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any


class RunError(Exception):
    """An error the user can fix: the message says what was expected, what came, and the way out."""


class ResumeError(RunError):
    """A run folder that cannot be continued as asked; the message names both values."""


class Interrupted(RunError):
    """Work that was stopped from outside and can be continued; the message says how."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if it has none.

    Example:
        >>> first_line(ValueError("no such device.\\nStack: ...")), first_line(KeyError())
        ('no such device', 'KeyError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


# Control characters but tab and line feed, line separators, text directions, half characters.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_cell(value: Any) -> Any:
    """A cell of a CSV file that no spreadsheet takes for a formula."""
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    return f"'{value}" if is_formula else value


def printable(text: str) -> str:
    r"""Write what could act on a terminal, or is no character, as escapes.

    Example:
        >>> print(printable("a\x1b[31m \udcff"))
        a\x1b[31m \udcff
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def import_library(module: str, needed_by: str, install: str) -> Any:
    """Import a module of an optional library, or say what needs it and what `pip` installs it.

    Args:
        module: Its full name.
        needed_by: What needs it, as the message says it.
        install: What to install: a package, or an extra of this one, ``augmix[NAME]``, whose
            packages are then named, so that the advice works wherever augmix came from.

    Raises:
        RunError: If the library is not installed, lacks another one, or cannot be imported.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except Exception as error:  # a build for another version of torch may raise anything
        missing = (isinstance(error, ModuleNotFoundError) and error.name) or ""
        if missing.partition(".")[0] == library:
            raise RunError(
                f"{needed_by} needs {library}, which is not installed: "
                f"pip install {_packages(install)}"
            ) from error
        raise RunError(f"{needed_by} needs {describe_import(error, library)}") from error


def _packages(install: str) -> str:
    """Arguments of `pip install`: the packages of an extra of augmix, or the package itself."""
    from importlib.metadata import PackageNotFoundError, requires

    extra = re.fullmatch(r"augmix\[(.+)\]", install)
    with suppress(PackageNotFoundError):
        lines = [line.partition(";") for line in requires("augmix") or []] if extra else []
        wanted = [f"{extra[1]!r}", f'"{extra[1]}"'] if extra else []
        packages = [name for name, _, when in lines if any(f"extra == {w}" in when for w in wanted)]
        if packages:
            return " ".join(f"'{name.strip()}'" for name in packages)
    return f"{install!r}"


def describe_import(error: Exception, library: str) -> str:
    """Say which library cannot be imported, and which one it lacks if that is the reason."""
    missing = (isinstance(error, ModuleNotFoundError) and error.name) or ""
    if missing.partition(".")[0] == library:
        return f"{library}, which is not installed: pip install {library}"
    if missing:
        lacks = missing.partition(".")[0]
        return f"{library}, which is installed but lacks {lacks}: pip install {lacks}"
    return (
        f"{library}, but it cannot be imported ({type(error).__name__}: {first_line(error)}); "
        "reinstall it, in a version made for the installed ones of torch and NumPy"
    )


def did_you_mean(word: str, names: Iterable[str], *, cutoff: float = 0.5) -> str:
    """Return ``", did you mean 'fog'?"`` for the name nearest to a misspelt one.

    Args:
        word: What the user wrote.
        names: What would have been valid.
        cutoff: Least similarity of a suggestion, 0 to 1; with 0 there is always one.

    Returns:
        The end of a sentence; empty if no name is similar, or if the word is one of them.

    Example:
        >>> did_you_mean("fogg", ["snow", "fog"]), did_you_mean("xyz", ["snow", "fog"])
        (", did you mean 'fog'?", '')
    """
    from difflib import get_close_matches

    names = list(names)
    if "," in word and set(parts := word.split(",")) <= set(names):
        return f", separate them by spaces: {' '.join(parts)}."
    near = get_close_matches(word, names, n=1, cutoff=cutoff)
    return f", did you mean {near[0]!r}?" if near and word not in names else ""


def check_name(what: str, name: str, known: Collection[str]) -> None:
    """Refuse a name that is not known, and suggest the nearest. Raises a ValueError."""
    if name not in known:
        guess = did_you_mean(name, known)
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {name!r}{guess}")


def check_integer(name: str, value: Any) -> int:
    """Return a whole number, Python's or NumPy's; anything else is a TypeError.

    Example:
        >>> check_integer("severity", 3.0)
        Traceback (most recent call last):
        TypeError: severity must be a whole number, got 3.0
    """
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    return int(value)


def check_fields(config: Any, **rules: tuple[bool, str]) -> None:
    """Refuse a configuration by the name of a field, whether it is fine, and what is expected.

    Raises:
        ValueError: At the first field that is not fine.
    """
    for name, (is_fine, expected) in rules.items():
        if not is_fine:
            raise ValueError(f"{name} must be {expected}, got {getattr(config, name)!r}")


def check_positive(config: Any, *names: str) -> None:
    """Refuse a configuration with fields below 1; None is fine. Raises a ValueError."""
    for name in names:
        value = getattr(config, name)
        check_fields(config, **{name: (value is None or value >= 1, "at least 1")})


def check_textures(folder: Path | None, names: Collection[str]) -> None:
    """Refuse photographs of frost, by a ValueError, where that is no corruption that is named."""
    if folder is not None and "frost" not in names:
        raise ValueError(
            f"frost_textures {folder} would have no effect: frost is not among the corruptions "
            "that are named"
        )


def check_shard(text: str) -> tuple[int, int]:
    """Return the two numbers of a shard ``i/n``, the first from 1 to n; else a ValueError."""
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"shard must be i/n with i from 1 to n, e.g. 1/8 to 8/8, got {text!r}")
    return int(found[1]), int(found[2])


# -- Too little memory -----------------------------------------------------------------------------

START_BYTES = 3 * 2**30  # torch, numba, OpenCV and their threads: 2.2 GB were not enough
_THREAD_BYTES = 2**27  # stack and arena of malloc
_WORDS = (
    "allocate memory",
    "bad_alloc",
    "failed to map segment",
    "insufficient memory",
    "out of memory",
    "start new thread",
    "unable to allocate",
)


def check_headroom(num_bytes: int, what: str) -> None:
    """Refuse to begin work for which the address space of this process is too small.

    Raises:
        RunError: If it is limited and fewer bytes are left.
    """
    free = _free_bytes()
    if free is not None and free < num_bytes:
        raise RunError(
            f"{what} needs {num_bytes / 2**20:,.0f} MiB of address space, and this process may "
            f"take {max(free, 0) / 2**20:,.0f} MiB more; raise its limit (ulimit -v unlimited)"
        )


def check_threads(num_threads: int) -> None:
    """Refuse to start threads that the address space of this process is too small for."""
    check_headroom(num_threads * _THREAD_BYTES, f"a pool of {num_threads} thread(s)")


def _free_bytes() -> int | None:
    """What is left of the address space; None if it has no limit or the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    import resource  # there on all systems but Windows

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return limit - pages * resource.getpagesize()


def memory_error(error: BaseException) -> str:
    """The line that says that memory was used up, of an error or a cause of it; else empty."""
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).lower()
        if isinstance(cause, MemoryError) or any(word in text for word in _WORDS):
            return first_line(cause)
        cause = cause.__cause__ or cause.__context__
    return ""

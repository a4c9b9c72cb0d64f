"""Files: durable writes, JSON, JSON lines and npz, locks and space of folders, the cache folder.

Every file is written under a temporary name, flushed to the disk, renamed, and its folder flushed,
so that a kill or a power loss leaves the old file or the new one. Every format has one reader,
which refuses what does not fit by the name of the file.
"""

import errno
import fnmatch
import glob
import hashlib
import json
import math
import os
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    BinaryIO,
    Literal,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import numpy as np
from filelock import FileLock, Timeout

from augmix.errors import RunError, first_line

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted anyway
    fcntl = None

Record = TypeVar("Record")

_MAX_NPZ_BYTES = 2**31  # of all arrays of a file
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # of file systems without it


def to_plain(value: Any) -> Any:
    """Convert dataclasses, paths, tuples and NumPy scalars to what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: to_plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    item = getattr(value, "item", None)  # NumPy scalars
    return value if item is None else item()


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; refuse NaN and infinity, which JSON does not have."""
    text = json.dumps(to_plain(value), indent=1, allow_nan=False, ensure_ascii=False)
    # Half characters, of names that are not UTF-8, become escapes, which JSON has too.
    write_bytes(path, (text + "\n").encode("utf-8", "backslashreplace"))


def load_json(path: Path, *, way_out: str = "delete it and run again") -> dict[str, Any]:
    """Read a JSON object, in which every number is finite.

    Raises:
        RunError: If the file is missing or damaged; the message names it and ends with ``way_out``.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; is {Path(path).parent} a finished run?") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not valid JSON ({first_line(error)}); {way_out}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def load_record(
    path: Path,
    kind: type[Record],
    plain: dict[str, Any] | None = None,
    *,
    way_out: str = "delete it and run again",
) -> Record:
    """Read a JSON object as a dataclass whose fields have the types of their annotations.

    Args:
        path: The file, also named in messages.
        kind: The dataclass; `from_plain` says which annotations it may have.
        plain: What the file holds, if it was read already.
        way_out: The end of the message.

    Raises:
        RunError: If the file is missing, is no JSON, or does not fit; the message names the field.
    """
    try:
        return from_plain(kind, load_json(path, way_out=way_out) if plain is None else plain)
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path}: {error}; the file is damaged or of another version of augmix: {way_out}"
        ) from error


def from_plain(kind: Any, value: Any, name: str = "") -> Any:
    """Convert what JSON holds to a type, checked throughout; the inverse of `to_plain`.

    Args:
        kind: A dataclass, TypedDict (beside whose keys there may be others), number, text, list,
            tuple, dict, Literal, union or Any. ``Annotated[dict, T]`` is checked as ``T``.
        name: Of the value, for messages.

    Raises:
        ValueError: If the value is of another type, a number is not finite, or the dataclass
            refuses it; the message names the entry.

    Example:
        >>> from_plain(tuple[int, ...], [1, 2])
        (1, 2)
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Annotated, Required):
        return from_plain(inner[-1], value, name)
    if origin in (Union, UnionType):
        return _one_of(inner, value, name)
    if origin is Literal:
        fits = any(value == each and type(value) is type(each) for each in inner)
        return _expect(fits, value, name, f"one of {', '.join(map(str, inner))}")
    if is_typeddict(kind) or is_dataclass(kind):
        return _to_fields(kind, value, name)
    if origin in (list, tuple):
        is_free = origin is list or inner[-1] is Ellipsis
        fits = isinstance(value, list) and (is_free or len(value) == len(inner))
        _expect(fits, value, name, "a list" if is_free else f"a list of {len(inner)}")
        kinds = [inner[0]] * len(value) if is_free else inner
        parts = enumerate(zip(kinds, value, strict=True))
        return origin(from_plain(each, entry, f"{name}[{n}]") for n, (each, entry) in parts)
    if origin is dict:
        _expect(isinstance(value, dict), value, name, "an object")
        return {key: from_plain(inner[1], entry, _below(name, key)) for key, entry in value.items()}
    is_number = type(value) is int or (type(value) is float and math.isfinite(value))
    if kind is float:
        return float(_expect(is_number and abs(value) < 1e300, value, name, "a finite number"))
    if kind is int:
        is_whole = type(value) is int and abs(value) < 2**63
        return _expect(is_whole, value, name, "a whole number of 64 bits")
    named = {str: "text", bool: "true or false", NoneType: "null"}
    return _expect(type(value) is kind, value, name, named[kind])


def _one_of(kinds: Iterable[Any], value: Any, name: str) -> Any:
    """The value as the first of several types that it fits."""
    kinds = [kind for kind in kinds if value is None or kind is not NoneType]
    for kind in kinds[:-1]:
        with suppress(ValueError):
            return from_plain(kind, value, name)
    return from_plain(kinds[-1], value, name)


def _to_fields(kind: Any, value: Any, name: str) -> Any:
    """A dataclass or TypedDict from an object of JSON."""
    make: Any = kind
    _expect(isinstance(value, dict), value, name, "an object")
    hints = _hints(kind)
    found = {
        key: from_plain(hints[key], entry, _below(name, key)) if key in hints else entry
        for key, entry in value.items()
    }
    if not is_dataclass(kind):
        for key in kind.__required_keys__ - found.keys():
            raise ValueError(f"{_below(name, key)} is missing")
        return found
    for key in found.keys() - hints:
        raise ValueError(f"{_below(name, key)} is no field of {make.__name__}")
    for entry in fields(kind):
        if entry.name not in found and entry.default is entry.default_factory is MISSING:
            raise ValueError(f"{_below(name, entry.name)} is missing")
    try:
        return make(**found)
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if name else f"{error}") from error


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _below(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _expect(fits: bool, value: Any, name: str, expected: str) -> Any:
    if not fits:
        text = repr(value)
        raise ValueError(
            f"{name or 'it'} must be {expected}, got {text[:77] + '...' if text[80:] else text}"
        )
    return value


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with open_atomic(path) as file:
        file.write(content)


OWN_NAMES = frozenset(
    [
        "config.json",
        "model.json",
        "results.json",
        "manifest.json",
        "log.jsonl",
        "log.csv",
        "state.pt",
        "draws.npz",
        "weights.safetensors",
        "examples.npz",
        "hardest.npz",
        "mistakes.npz",
        "images.npz",
        "SHA256SUMS",
    ]
)
"""Files of run folders and of written sets."""


def check_own_name(path: Path) -> None:
    """Refuse an output of a name by which run folders and sets are read, with a `RunError`."""
    if path.name in OWN_NAMES:
        raise RunError(
            f"{path.name} is the name of a file of run folders and written sets, which would be "
            f"read as one; choose another name than {path}"
        )


def check_replaceable(path: Path, what: str, *signs: bytes) -> None:
    """Refuse to write over a file that is no earlier output of the same kind.

    Args:
        what: The kind, for the message.
        signs: Patterns that the content of every such file has.

    Raises:
        RunError: If the path is a folder, or a file that lacks a sign and is not empty.
    """
    if path.is_dir():
        raise RunError(f"{path} is a folder; name a file in it")
    if not path.exists():
        check_own_name(path)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # whoever makes the folder says so
        return
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    if content and not all(re.search(sign, content) for sign in signs):
        raise RunError(
            f"{path} exists and is no {what}, so it is not written over; choose another --out, or "
            "delete it"
        )


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there."""
    try:
        _make_folder(folder)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror or error}") from error


def _make_folder(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


def replace_durably(names: Mapping[Path, Path]) -> None:
    """Give finished files their final names; folders are made as needed.

    After a power loss every file is the old one or the new one, and once this has returned, the new
    one: contents reach the disk before names, and names before this returns.

    Args:
        names: The final name of every file, on the same file system.

    Raises:
        OSError: If a file cannot be flushed or renamed.
    """
    for path in names:
        sync(path)
    folders = list(dict.fromkeys(path.parent for path in names.values()))
    for folder in folders:
        _make_folder(folder)
    for path, final in names.items():
        os.replace(path, final)
    for folder in folders:
        sync(folder)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk; `OSError` if that fails."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":  # which cannot open folders
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not is_folder or error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces ``path`` once the block ends without an error.

    Temporary files that killed processes left of the same file are deleted.

    Raises:
        RunError: If the folder is missing, read-only, or the disk is full; the old file stays.
    """
    path = Path(path)
    temporary = None
    with ExitStack() as held:
        try:
            remove_leftovers(path.parent, path.name)
            handle, temporary = _make_temporary(path)
            if fcntl:  # holds its lock until it has its final name
                held.callback(os.close, os.dup(handle))
            with os.fdopen(handle, "wb") as file:
                yield file
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
            replace_durably({Path(temporary): path})
            temporary = None
        except OSError as error:
            raise RunError(
                f"cannot write {path}: {error.strerror or error}; the earlier file, if any, is "
                "unharmed"
            ) from error
        finally:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)


_LEFTOVER = ".{}." + 8 * "?" + ".tmp"  # temporary name of a file


def _make_temporary(path: Path) -> tuple[int, str]:
    """Make the temporary file of ``path``, locked to distinguish it from one left behind."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        if not fcntl:
            return handle, name
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:  # else taken for a leftover before it was locked
            return handle, name
        os.close(handle)


def is_leftover(name: str) -> bool:
    """Whether a file name is that of a temporary file of `open_atomic`."""
    return fnmatch.fnmatchcase(name, _LEFTOVER.format("*"))


def remove_leftovers(folder: Path, name: str | None = None, *, is_deep: bool = False) -> None:
    """Delete the temporary files that killed processes have left in a folder.

    Args:
        name: The file they were to become; any if not given.
        is_deep: Look into the folders below too.
    """
    pattern = _LEFTOVER.format("*" if name is None else glob.escape(name))
    for path in folder.rglob(pattern) if is_deep else folder.glob(pattern):
        if path.is_symlink() or not path.is_file():
            continue
        with suppress(OSError):  # in use, or deleted meanwhile
            if not fcntl:
                path.unlink()
                continue
            with open(path, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def write_npz(path: Path, arrays: Mapping[str, Any], *, is_compressed: bool = True) -> None:
    """Write arrays as one ``.npz`` file, atomically; the same arrays give the same bytes.

    Raises:
        TypeError: If an array holds Python objects, which could be read back by pickle only.
    """
    for name, value in arrays.items():
        if np.asanyarray(value).dtype.hasobject:
            raise TypeError(f"{name} holds objects, expected numbers or text")
    with open_atomic(path) as file:
        (np.savez_compressed if is_compressed else np.savez)(file, **arrays)


def load_npz(path: Path, *, hint: str = "") -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file, none of which may hold Python objects.

    Raises:
        RunError: If the file is missing, damaged, no archive of arrays, or unpacks to more than
            2 GiB, which is refused before anything is unpacked. The message ends with ``hint``.
    """
    hint = hint and f"; {hint}"
    try:
        with open(path, "rb") as raw:
            with zipfile.ZipFile(raw) as archive:
                num_bytes = sum(member.file_size for member in archive.infolist())
            if num_bytes > _MAX_NPZ_BYTES:
                raise RunError(
                    f"{path} unpacks to {num_bytes:,} bytes, more than {_MAX_NPZ_BYTES:,}{hint}"
                )
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                found = dict(file)
        for name, values in found.items():
            if not isinstance(values, np.ndarray):
                raise ValueError(f"{name} is no array")
        return found
    except RunError:
        raise
    except FileNotFoundError:
        raise RunError(f"{path} does not exist{hint}") from None
    except Exception as error:  # of zipfile, of its decompressors, of NumPy's parser
        raise RunError(f"{path} is damaged ({first_line(error)}){hint}") from error


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one line to a file of JSON lines, durably."""
    line = json.dumps(to_plain(record), allow_nan=False) + "\n"
    try:
        is_new = not path.exists()
        with open(path, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync(path.parent)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def load_lines(path: Path, kind: Any = dict[str, Any]) -> list[Any]:
    """Read a file of JSON lines; a last line that a killed process cut short is left out.

    Args:
        kind: The type of a record, as for `from_plain`.

    Raises:
        RunError: If another line is not a record; the message names its number.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    records = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            record = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
            records.append(from_plain(kind, record))
        except (ValueError, RecursionError) as error:
            raise RunError(
                f"{path}, line {number}: {first_line(error)}; the file is damaged: delete its "
                "lines from there on"
            ) from error
    return records


LOCK_FILE = "lock"
_HOLDER_FILE = "lock.holder"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def hold_folder(
    folder: Path, *, what: str = "", way_out: str = "choose another --out"
) -> Iterator[None]:
    """Hold a folder, made if missing, for this process alone, until it ends in whatever way.

    Args:
        what: What is held, for messages, e.g. ``"set tiny-c"``; a run folder if not given.
        way_out: What else the user can do, for messages.

    Raises:
        RunError: If another process holds it, it cannot be written, or its file system has no
            locks.
    """
    what = what or f"run folder {folder}"
    holder = folder / _HOLDER_FILE
    with ExitStack() as stack:
        try:
            _make_folder(folder)
            for path in (folder / LOCK_FILE, holder):
                if path.is_symlink():
                    raise RunError(
                        f"{path} is a symbolic link, which is not followed for writing; delete it, "
                        f"or {way_out}"
                    )
            stack.enter_context(FileLock(folder / LOCK_FILE, timeout=0, thread_local=False))
            holder.write_text(f"{os.getpid()} {platform.node()}")
        except Timeout:
            raise RunError(
                f"{what} is in use by process {_read_holder(holder)}; wait until it has ended, or "
                f"{way_out}"
            ) from None
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            if getattr(error, "errno", errno.ENOSYS) in _NO_LOCKS:
                raise RunError(
                    f"the file system of {folder} cannot lock files ({reason}); take a local "
                    f"disk, or {way_out}"
                ) from error
            raise RunError(f"cannot write into the {what}: {reason}; {way_out}") from error
        stack.callback(holder.unlink, missing_ok=True)
        remove_leftovers(folder, is_deep=True)
        yield


def _read_holder(path: Path) -> str:
    """The number of the process that holds a folder, and its machine if that is another one."""
    try:
        process, _, host = path.read_text().partition(" ")
    except OSError:  # it has just ended
        return "unknown"
    return process if host == platform.node() else f"{process} on {host}"


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of cached files; it need not exist yet.

    It lies below ``$AUGMIX_CACHE`` if that is set, else where the system keeps caches.
    """
    if named := os.environ.get("AUGMIX_CACHE"):
        return Path(named).expanduser() / kind
    import pooch

    return pooch.os_cache("augmix") / kind


def describe_space(folder: Path, num_bytes: int) -> list[str]:
    """Say what is free on the disk of a folder, and warn if it is less than will be written.

    The folder need not exist; the nearest one above it that does is looked at.
    """
    above = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(above).free
    lines = [f"{format_size(free)} free in {above}"]
    if free < num_bytes:
        lines.append("warning: more than is free, unless part of it is written already")
    return lines


def format_size(num_bytes: int | float) -> str:
    """Write a number of bytes in the unit that suits it, to three digits.

    Example:
        >>> [format_size(num_bytes) for num_bytes in (128, 15_360, 999_999, 2.5e12)]
        ['128 bytes', '15.4 kB', '1 MB', '2.5 TB']
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 999.5:  # three digits of it are below 1000
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def hash_file(path: Path) -> str:
    """Return the sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_key(path: Path) -> str:
    """Return a key for caching what was made from a file; it changes when the file does."""
    path, state = path.resolve(), path.stat()
    state_text = f"{path}\0{state.st_size}\0{state.st_mtime_ns}"
    return hashlib.sha256(state_text.encode("utf-8", "surrogateescape")).hexdigest()[:32]

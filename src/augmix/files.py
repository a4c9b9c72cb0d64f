"""Files: atomic writes, JSON, JSON lines and npz, the lock of a folder, the cache folder."""

import errno
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from augmix.errors import RunError


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
    write_bytes(path, (text + "\n").encode())


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; is {Path(path).parent} a finished run?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is not valid JSON ({error}); delete it and run again") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with open_atomic(path) as file:
        file.write(content)


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror or error}") from error


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces ``path`` once the block ends without an error.

    Raises:
        RunError: If the folder is missing, read-only, or the disk is full; the old file stays.
    """
    path = Path(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; the earlier file, if any, is unharmed"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


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


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one line to a file of JSON lines."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(to_plain(record), allow_nan=False) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def load_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines, up to the first line that a killed process cut short."""
    if not Path(path).exists():
        return []
    records = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
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
            folder.mkdir(parents=True, exist_ok=True)
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


def hash_file(path: Path) -> str:
    """Return the sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_key(path: Path) -> str:
    """Return a key for caching what was made from a file; it changes when the file does."""
    path, state = path.resolve(), path.stat()
    state_text = f"{path}\0{state.st_size}\0{state.st_mtime_ns}"
    return hashlib.sha256(state_text.encode("utf-8", "surrogateescape")).hexdigest()[:32]

"""Atomic writes, JSON files, the folder lock and the cache folder.

The operating system gives a lock up when its process ends, however it ends, so nothing has to be
cleaned up after a crash. The locked file holds the process's number, for the message.

Nothing there is needed: a folder that cannot be written, or a file that is broken, costs time only.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

from augmix.errors import RunError


def to_plain(value: Any) -> Any:
    """Dataclasses, paths, tuples and NumPy scalars as what JSON knows."""
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
    """Write JSON atomically; NaN and infinity are refused, since JSON has none."""
    text = json.dumps(to_plain(value), indent=1, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: If the file is missing or is no JSON object.
    """
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


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` once the block ends without an error.

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
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; the earlier file, if any, is unharmed"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add one JSON line to a log."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(to_plain(record), allow_nan=False) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def load_lines(path: Path) -> list[dict[str, Any]]:
    """Read a log of JSON lines; a last line cut short by a killed process is left out."""
    if not Path(path).exists():
        return []
    records = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


LOCK_FILE = "lock"
_LOCK_BYTE = 1 << 30  # Windows locks a byte far behind the process number, which stays readable


@contextmanager
def hold_folder(folder: Path, *, what: str, way_out: str) -> Iterator[None]:
    """Hold a folder, made if missing, for this process alone, by locking a file in it.

    Args:
        folder: The folder that gets the file `LOCK_FILE`.
        what: What is held, as messages call it, e.g. ``"run folder runs/a"``.
        way_out: What else can be done, as messages say it, e.g. ``"choose another --out"``.

    Raises:
        RunError: If another process holds it, it cannot be written, or its file system has no
            locks.
    """
    path = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b")  # noqa: SIM115 - closed below
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"cannot write into the {what}: {reason}; {way_out}") from error
    with file:
        if not _try_lock(file, way_out):
            file.seek(0)
            holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
            raise RunError(
                f"{what} is in use by process {holder}; wait until it has ended, or {way_out}"
            )
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO, way_out: str) -> bool:
        """Lock one byte of the file, unless another process has it."""
        file.seek(_LOCK_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: BinaryIO, way_out: str) -> bool:
        """Lock the file, unless another process has it."""
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise RunError(
                f"the file system of {file.name} cannot lock files ({error.strerror or error}); "
                f"take a local disk, or {way_out}"
            ) from error
        return True


VARIABLE = "AUGMIX_CACHE"


def cache_folder(kind: str) -> Path:
    """The folder of one kind of files: below ``$AUGMIX_CACHE``, else where the system keeps caches.

    It need not exist yet.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser() / kind
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "augmix" / kind


def file_key(path: Path) -> str:
    """A name for what was made from a file: another one once the file is moved or written.

    Raises:
        OSError: If the file is not there.
    """
    path, state = path.resolve(), path.stat()
    told = f"{path}\0{state.st_size}\0{state.st_mtime_ns}"
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]

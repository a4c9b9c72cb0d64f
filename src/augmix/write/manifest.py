"""Manifest and checksums of a written set, and the lock of its folder.

`manifest.json` holds everything that determines the bytes of the set. It is written first, with
``complete`` false until the end. `SHA256SUMS` lists every file, in the form of ``sha256sum -c``,
and the manifest holds its checksum.
"""

import hashlib
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from augmix import results
from augmix.data.benchmarks import MANIFEST_FILE
from augmix.errors import RunError
from augmix.files import LOCK_FILE, hold_folder, load_json, open_atomic, to_plain, write_json
from augmix.write.sinks import MARKS, clear_work

SUMS_FILE = "SHA256SUMS"
WORK_FOLDER = ".work"
_SCHEMA = 1
_UNUSED = ("torch",)  # packages that do not influence the bytes


@contextmanager
def hold_destination(folder: Path, identity: dict[str, Any]) -> Iterator[Path | None]:
    """Lock a folder for a set, make it if missing, and yield its work folder.

    Args:
        folder: The destination.
        identity: Everything that determines the bytes of the set, as plain values.

    Yields:
        The work folder, which is deleted at the end; None if the set is complete already.

    Raises:
        RunError: If the folder holds another set or something else, is in use, or cannot be
            written.
    """
    ours = {"schema": _SCHEMA, **to_plain(identity)}
    work = folder / WORK_FOLDER
    try:
        _check_empty(folder)
        if _check_same(folder, ours) and not work.exists():
            yield None
            return
        (work / MARKS).mkdir(parents=True, exist_ok=True)
        with hold_folder(work, what=f"set {folder}", way_out="choose another destination"):
            is_complete = _check_same(folder, ours)
            if not is_complete:
                write_json(folder / MANIFEST_FILE, {**ours, "complete": False})
            yield None if is_complete else work
            clear_work(work, keep=LOCK_FILE)
    except OSError as error:
        path = error.filename or folder
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; what is finished is kept: start "
            "again to continue"
        ) from error
    with suppress(OSError):  # another process may hold the lock by now
        (work / LOCK_FILE).unlink()
        work.rmdir()


def complete(folder: Path, identity: dict[str, Any], sums: Iterable[tuple[str, int, str]]) -> None:
    """Write the checksums and the final manifest of a set whose files are all written.

    Args:
        folder: The destination.
        identity: As for `hold_destination`.
        sums: Path below the folder, bytes and sha256 of every file.
    """
    count, total = 0, 0
    hasher = hashlib.sha256()
    with open_atomic(folder / SUMS_FILE) as file:
        for path, num_bytes, digest in sums:
            line = f"{digest}  {path}\n".encode()
            file.write(line)
            hasher.update(line)
            count, total = count + 1, total + num_bytes
    files = {"count": count, "bytes": total, "sums": SUMS_FILE, "sha256": hasher.hexdigest()}
    manifest = {"schema": _SCHEMA, **identity, "complete": True, "files": files}
    write_json(folder / MANIFEST_FILE, manifest)


def versions() -> dict[str, str]:
    """Return the versions of the interpreter and the packages that determine the bytes."""
    packages = results.provenance()["versions"]
    kept = {name: version for name, version in packages.items() if name not in _UNUSED}
    return {**kept, "python": platform.python_version()}


def _check_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; choose a folder for the set")
    found = [path.name for path in folder.iterdir()] if folder.exists() else []
    others = sorted(name for name in found if name != WORK_FOLDER)
    if others and MANIFEST_FILE not in others:
        raise RunError(
            f"{folder} holds {others[0]} but no {MANIFEST_FILE}; choose an empty or new folder"
        )


def _check_same(folder: Path, ours: dict[str, Any]) -> bool:
    """Whether the set of this folder is complete; another set is refused."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        return False
    theirs = load_json(path)
    for name, found, wanted in _differences(theirs, ours):
        raise RunError(
            f"{folder} holds a set with {name} = {_short(found)}, asked for {_short(wanted)}; "
            "choose another destination, or delete the folder"
        )
    return theirs.get("complete") is True


def _differences(
    theirs: dict[str, Any], ours: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, their value and ours of every entry that differs."""
    absent = "nothing"
    for name, wanted in ours.items():
        found = theirs.get(name, absent)
        if isinstance(found, dict) and isinstance(wanted, dict):
            yield from _differences(found, wanted, f"{prefix}{name}.")
        elif found != wanted:
            yield f"{prefix}{name}", found, wanted
    if prefix:
        for name in sorted(set(theirs) - set(ours)):
            yield f"{prefix}{name}", theirs[name], absent


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."

"""One folder for one process at a time.

The operating system gives a lock up when its process ends, however it ends, so nothing has to be
cleaned up after a crash. The locked file holds the process's number, for the message.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from augmix.records import RunError

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

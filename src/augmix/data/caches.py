"""Where the package keeps what it can make again: the user's cache folder.

Nothing there is needed: a folder that cannot be written, or a file that is broken, costs time only.
"""

import hashlib
import os
import sys
from pathlib import Path

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

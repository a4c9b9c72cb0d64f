"""One large file over HTTP: what arrived is kept and continued, busy servers are waited for.

A file grows under the name ``FILE.part`` and gets its own name once its checksum holds. Zenodo
answers 429 to eager clients and drops long transfers; both are ordinary here.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from augmix.records import RunError

OnProgress = Callable[[dict[str, Any]], None]

_MAX_TRIES = 6  # without a new byte
_LONGEST_WAIT_S = 300.0
_TIMEOUT_S = 60
_CHUNK = 2**16
_PROGRESS_BYTES = 2**23  # between two events


def fetch_file(
    url: str,
    path: Path,
    *,
    checksum: str,
    on_progress: OnProgress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Download a file, going on with what an earlier try left.

    Args:
        url: Its address.
        path: Where it goes; if it is there, only its checksum is looked at.
        checksum: MD5 or sha256 of the whole file, hexadecimal; its length tells which.
        on_progress: Called with ``{"event": "download", "file", "bytes", "total"}`` as it grows,
            ``{"event": "waiting", "file", "seconds", "reason"}`` before a new try, and
            ``{"event": "checking", "file"}`` before its checksum is taken.
        sleep: Waits; for tests.

    Returns:
        ``path``.

    Raises:
        RunError: If the server says no, stays silent through all tries, or sends another file.
            What arrived stays, unless it is wrong.
    """
    emit = on_progress or _ignore
    checking = {"event": "checking", "file": path.name}
    if path.exists():
        emit(checking)
        return check_file(path, checksum=checksum)
    part = path.with_name(f"{path.name}.part")
    if part.exists() and _digest(part, checksum) == checksum:  # killed just before it got its name
        os.replace(part, path)
        return path
    tries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        problem, asked_s, is_final = _attempt(url, part, before, emit)
        if not problem:
            emit(checking)
            found = _digest(part, checksum)
            if found == checksum:
                os.replace(part, path)
                return path
            part.unlink()
            if not before:
                raise RunError(
                    f"{url}: expected a file with {_kind(checksum)} {checksum}, got {found}; "
                    "nothing was kept. The server may have sent a message instead: try again "
                    "later, or fetch it by hand"
                )
            problem = "the continued file has another checksum, so it is fetched anew"
        grown = part.exists() and part.stat().st_size > before
        tries = 0 if grown else tries + 1
        if is_final or tries >= _MAX_TRIES:
            raise RunError(
                f"cannot download {url}: {problem}; start again to go on with {part.name}, or "
                f"fetch the file by hand ({_kind(checksum)} {checksum}) and name its folder as the "
                "local one"
            )
        wait_s = min(max(asked_s, 2.0**tries), _LONGEST_WAIT_S)
        emit({"event": "waiting", "file": path.name, "seconds": wait_s, "reason": problem})
        sleep(wait_s)


def check_file(path: Path, *, checksum: str) -> Path:
    """The path itself, once the file's MD5 or sha256 holds.

    Raises:
        RunError: If it is missing, half-downloaded or another file.
    """
    kind = _kind(checksum)
    if not path.is_file():
        raise RunError(f"{path} does not exist; expected the published file with {kind} {checksum}")
    found = _digest(path, checksum)
    if found != checksum:
        raise RunError(
            f"{path}: expected {kind} {checksum}, got {found} ({path.stat().st_size:,} bytes); it "
            "is half-downloaded or another file: delete it and fetch it again"
        )
    return path


def _attempt(url: str, part: Path, start: int, emit: OnProgress) -> tuple[str, float, bool]:
    """Fetch what is missing; what went wrong, seconds the server asks for, whether it is final."""
    import pooch
    import requests

    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with open(part, "ab") as file:

            def on_response(response: Any, *_: Any, **__: Any) -> None:
                """Begin anew where the server does not continue at our last byte."""
                given = response.headers.get("Content-Range", "")
                if response.status_code == 416 or (
                    response.status_code == 206 and not given.startswith(f"bytes {start}-")
                ):
                    file.truncate(0)
                    raise _NotContinued(f"the server cannot continue at byte {start:,}")
                if response.status_code == 200:
                    file.truncate(0)

            growth: Any = _Growth(part.name.removesuffix(".part"), start, emit)
            fetch: Any = pooch.HTTPDownloader(
                progressbar=growth,
                chunk_size=_CHUNK,
                timeout=_TIMEOUT_S,
                headers=headers,
                hooks={"response": on_response},
            )
            fetch(url, file, None)
            file.flush()
            os.fsync(file.fileno())
    except _NotContinued as error:
        return str(error), 0.0, False
    except requests.HTTPError as error:
        response: Any = error.response
        is_busy = response.status_code in (408, 429) or response.status_code >= 500
        return str(error), _retry_after(response), not is_busy
    except requests.RequestException as error:
        return " ".join(str(error).split()), 0.0, False
    except OSError as error:
        raise RunError(f"cannot write {part}: {error.strerror or error}") from error
    return "", 0.0, False


class _NotContinued(Exception):
    """The server answered a request to continue with something else."""


class _Growth:
    """Pooch's face of a progress bar: an event every few megabytes."""

    def __init__(self, file: str, start: int, emit: OnProgress) -> None:
        self.file, self.num_bytes, self.emit = file, start, emit
        self.start, self.total, self.told = start, 0, start

    def update(self, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        if self.num_bytes - self.told >= _PROGRESS_BYTES:
            self._tell()

    def reset(self) -> None:
        """Called at the end, before the whole length is added once more."""
        self.num_bytes = self.start

    def close(self) -> None:
        self._tell()

    def _tell(self) -> None:
        self.told = self.num_bytes
        event = {"event": "download", "file": self.file, "bytes": self.num_bytes}
        self.emit({**event, "total": max(self.start + self.total, self.num_bytes)})


def _retry_after(response: Any) -> float:
    """Seconds the server asks to wait; dates are not used by the servers meant here."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0


def _kind(checksum: str) -> str:
    return "md5" if len(checksum) == 32 else "sha256"


def _digest(path: Path, checksum: str) -> str:
    """Of a file, by the algorithm of the checksum it is held against."""
    import pooch

    return pooch.file_hash(str(path), alg=_kind(checksum))


def _ignore(event: dict[str, Any]) -> None:
    pass

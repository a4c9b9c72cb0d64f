"""HTTP downloads, checked and unpacked safely.

A file grows under the name ``FILE.part`` and gets its own name once its checksum holds. Zenodo
answers 429 to eager clients and drops long transfers; both are ordinary here.
"""

import os
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from augmix.errors import RunError
from augmix.progress import (
    ChecksumStarted,
    DownloadDelayed,
    DownloadProgress,
    OnProgress,
    ignore,
)

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/"
_MAX_BYTES = 2**30  # unpacked; the official archives hold 186 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive on the web.

    Attributes:
        file: Its name below the address.
        sha256: Of the whole file, hexadecimal.
        folder: The only folder in it.
    """

    file: str
    sha256: str
    folder: str


CIFAR10 = Archive(
    file="cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    folder="cifar-10-batches-py",
)
CIFAR100 = Archive(
    file="cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    folder="cifar-100-python",
)


def fetch_archive(archive: Archive, root: Path, *, url: str = OFFICIAL_URL) -> Path:
    """Download an archive into ``root`` and unpack it there.

    The archive is kept, so a second call only checks it. The folder appears whole or not at all.

    Args:
        archive: What to fetch.
        root: The folder for both, made if missing.
        url: The address below which the file lies, ending in ``/``.

    Returns:
        The unpacked folder.

    Raises:
        RunError: If the download fails, its checksum is wrong, or the archive is not safe.
    """
    import pooch

    try:
        root.mkdir(parents=True, exist_ok=True)
        fetcher = pooch.create(
            path=root,
            base_url=url,
            registry={archive.file: f"sha256:{archive.sha256}"},
            retry_if_failed=1,
        )
        downloader: Any = pooch.HTTPDownloader(timeout=60)
        path = fetcher.fetch(archive.file, downloader=downloader)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise RunError(
            f"cannot download {url}{archive.file} (sha256 {archive.sha256}): {error}; try again, "
            f"or fetch the file by hand and unpack it in {root}"
        ) from error
    return unpack_archive(Path(path), root / archive.folder)


def unpack_archive(path: Path, folder: Path, *, max_bytes: int = 0) -> Path:
    """Unpack a tar archive that holds one folder, named like ``folder``, to ``folder``.

    Args:
        max_bytes: Refuse what unpacks to more; 0 is 1 GiB.

    Raises:
        RunError: If a member would lie outside the folder or is a link or device, if the archive
            is too large or broken, or if the disk is full. Nothing is left behind then.
    """
    if folder.exists():
        return folder
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with tarfile.open(path) as archive:
            write_members(
                archive,
                path,
                temporary,
                place=lambda parts: parts if parts[:1] == (folder.name,) else (),
                expected=f"{folder.name}/",
                max_bytes=max_bytes or _MAX_BYTES,
            )
        _move(temporary / folder.name, folder)
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"cannot unpack {path} to {folder}: {reason}; download it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _move(made: Path, folder: Path) -> None:
    """Rename; another process may have been faster."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def write_members(
    archive: tarfile.TarFile,
    path: Path,
    temporary: Path,
    *,
    place: Callable[[tuple[str, ...]], tuple[str, ...]],
    expected: str,
    max_bytes: int,
) -> None:
    """Write the files of an open archive below ``temporary``, and nothing elsewhere.

    Args:
        path: The archive's file, for messages.
        place: Where a member goes, from the parts of its name; () refuses it.
        expected: What members may lie below, for messages.
        max_bytes: Most bytes of all files together.

    Raises:
        RunError: If a member is refused, is a link or device, or there are too many bytes.
    """
    total = 0
    for member in archive:
        parts = PurePosixPath(member.name).parts
        target_parts = place(parts)
        is_safe = not {"..", "/"} & set(parts) and "\\" not in member.name
        if is_safe and member.isdir() and not target_parts:
            continue  # above what is expected; empty as far as it goes
        if not (is_safe and target_parts) or not (member.isfile() or member.isdir()):
            raise RunError(
                f"{path} holds {member.name!r}, expected only files and folders below {expected}; "
                "nothing was kept, take the official archive"
            )
        total += member.size
        if total > max_bytes:
            raise RunError(f"{path} unpacks to more than {max_bytes:,} bytes; nothing was kept")
        target = temporary.joinpath(*target_parts)
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        content = archive.extractfile(member)
        assert content is not None  # a regular file has content
        with open(target, "wb") as file:
            shutil.copyfileobj(content, file)


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
        on_progress: Called with `DownloadProgress` as the file grows, `DownloadDelayed` before a
            new try, and `ChecksumStarted`.
        sleep: Waits; for tests.

    Returns:
        ``path``.

    Raises:
        RunError: If the server says no, stays silent through all tries, or sends another file.
            What arrived stays, unless it is wrong.
    """
    emit = on_progress or ignore
    checking = ChecksumStarted(file=path.name)
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
        emit(DownloadDelayed(file=path.name, wait_s=wait_s, reason=problem))
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
        total = max(self.start + self.total, self.num_bytes)
        self.emit(DownloadProgress(file=self.file, num_bytes=self.num_bytes, total_bytes=total))


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

"""The official CIFAR archives: fetched, checked against their sha256, safely unpacked."""

import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from augmix.records import RunError

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

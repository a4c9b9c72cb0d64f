"""Tar and parquet files at addresses, as ``s3://bucket/train-000.tar``, fetched into the cache.

Addresses are those of fsspec. A file is fetched once, and again when its size, ETag or checksum at
the address changes; a stopped download is continued. Nothing of the addresses is executed, and no
name that a server lists leads out of the cache.
"""

import hashlib
import itertools
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from augmix.errors import RunError, first_line, import_library
from augmix.files import cache_folder, hash_file, make_folder, open_atomic, replace_durably
from augmix.progress import DownloadProgress, OnProgress, ignore

SUFFIXES = (".tar", ".parquet")
"""Endings of the files that are fetched."""

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_PACKAGES = {  # behind the protocols that are asked for most
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface-hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "az": "adlfs",
    "abfs": "adlfs",
}
_SUMS = "SHA256SUMS"  # beside the files, if there is one
_VERSIONS = ("ETag", "etag", "md5Hash", "blob_id", "LastModified", "last_modified", "updated")
_VERSIONS += ("mtime", "created")  # the first that a server gives
_CHUNK_BYTES = 2**22
_MAX_FILES = 100_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_listeners: list[OnProgress] = []


def is_address(data: object) -> bool:
    """Return whether data is named by an address, such as ``https://host/test.parquet``."""
    return isinstance(data, str) and bool(_ADDRESS.match(data))


@contextmanager
def watch_downloads(on_progress: OnProgress) -> Iterator[None]:
    """Call a function with the `DownloadProgress` of every file that is fetched meanwhile."""
    _listeners.append(on_progress)
    try:
        yield
    finally:
        _listeners.remove(on_progress)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at an address.

    Attributes:
        name: Its path below what was asked for.
        path: Its path for the file system.
        num_bytes: None if the server does not say.
        version: ETag or the like, which changes with the file; may be empty.
        sha256: None if it is not known.
    """

    name: str
    path: str
    num_bytes: int | None
    version: str
    sha256: str | None

    @property
    def key(self) -> str:
        """A key of the file and its version."""
        text = "\0".join((self.path, str(self.num_bytes), self.version, self.sha256 or ""))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def kind_of(address: str) -> str:
    """Return the kind of data at an address, ``tar`` or ``parquet``."""
    path = PurePosixPath(_without_checksum(address)[0].partition("?")[0])
    if path.suffix.lower() not in SUFFIXES:
        files = sorted(fetch(address).rglob("*.*"))
        is_table = any(each.suffix.lower() == ".parquet" for each in files)
        path = PurePosixPath("x.parquet" if is_table else "x.tar")
    return path.suffix.lower()[1:]


def fetch(address: str) -> Path:
    """Fetch what is at an address into the cache, unless it is there, and return its local path.

    Args:
        address: A ``.tar`` or ``.parquet`` file; several of them by ``{000..146}``, ``{a,b}`` or,
            where the server lists files, ``*``; or a folder, of which all such files are fetched,
            those of every split. ``#sha256=...`` behind the address of a file is compared with it.

    Returns:
        A file, or a folder with the files.

    Raises:
        RunError: If a package is missing, there is no such file, the connection fails (what came
            is kept for the next call), or a file is not the one whose size or checksum is known.
    """
    plain, sha256 = _without_checksum(address)
    if "::" in plain or plain.lower().startswith("file://"):
        raise RunError(f"{address}: name a folder or file by its path, and one protocol only")
    system, files = _list(plain, sha256)
    root = cache_folder("remote")
    single = len(files) == 1 and _is_file(plain)
    text = "\n".join([plain, *(f"{each.name} {each.key}" for each in files)])
    view = root / hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    for each in files:
        target = view / each.name
        if not target.exists():
            _link(_fetch_file(system, each, root / "objects"), target)
    return view / files[0].name if single else view


def _without_checksum(address: str) -> tuple[str, str | None]:
    """Split an address from the checksum behind it."""
    plain, mark, sha256 = address.partition("#sha256=")
    if mark and not _SHA256.fullmatch(sha256.lower()):
        raise RunError(f"{address}: expected 64 hexadecimal digits behind #sha256=")
    return plain, sha256.lower() or None


def _list(address: str, sha256: str | None) -> tuple[Any, list[RemoteFile]]:
    """The file system of an address, and the files that it stands for."""
    protocol = address.partition("://")[0].lower()
    fsspec = import_library("fsspec", f"reading {protocol}://", "augmix[remote]")
    try:
        system, _ = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        way_out = f"pip install {package}" if package else first_line(error)
        raise RunError(
            f"reading {protocol}:// needs a package that is missing: {way_out}"
        ) from error
    except ValueError as error:
        raise RunError(f"{address}: {first_line(error)}") from error
    with _connected(address):
        found = _find(system, address)
    if not found:
        raise RunError(
            f"{address} holds no .tar and no .parquet file; name a folder or file that does"
        )
    if len(found) > _MAX_FILES:
        raise RunError(
            f"{address} holds {len(found):,} files, more than {_MAX_FILES:,}; name a part"
        )
    if sha256 and len(found) > 1:
        raise RunError(f"{address}: a checksum is of one file, got {len(found)}")
    known = {} if sha256 else _load_sums(system, found)
    files = []
    for name, path in found.items():
        with _connected(path):
            info = system.info(path)
        size = info.get("size")
        files.append(
            RemoteFile(
                name=_check_name(name, address),
                path=path,
                num_bytes=size if isinstance(size, int) and size >= 0 else None,
                version=next((str(info[key]) for key in _VERSIONS if info.get(key)), ""),
                sha256=sha256 or known.get(path) or _own_sha256(info),
            )
        )
    return system, files


def _is_file(address: str) -> bool:
    return PurePosixPath(address.partition("?")[0]).suffix.lower() in SUFFIXES


def _find(system: Any, address: str) -> dict[str, str]:
    """Paths of the files that an address stands for, by their names."""
    found: dict[str, str] = {}
    for each in _expand(address):
        path = system._strip_protocol(each)
        if "*" in each.partition("?")[0]:
            above = path[: path.index("*")].rpartition("/")[0]
            named = {_below(one, above): one for one in sorted(system.glob(path))}
        elif _is_file(each):
            named = {PurePosixPath(path.partition("?")[0]).name: path}
        else:
            named = {_below(one, path): one for one in sorted(system.find(path))}
        for name, one in filter(lambda pair: _is_file(pair[0]), named.items()):
            if found.setdefault(name, one) != one:
                raise RunError(
                    f"{address} stands for {found[name]} and {one}, which are both named {name}; "
                    "name the folder above them, or one of them"
                )
    return found


def _below(path: str, folder: str) -> str:
    """A path below a folder; one that is elsewhere stays as it is, and is refused later."""
    return path[len(folder) :].lstrip("/") if path.startswith(folder.rstrip("/") + "/") else path


def _expand(address: str) -> list[str]:
    """Write out ``{000..146}`` and ``{a,b}``."""
    parts: list[Sequence[str]] = []
    for number, part in enumerate(re.split(r"\{([^{}]*)\}", address)):
        counted = re.fullmatch(r"(\d+)\.\.(\d+)", part) if number % 2 else None
        if counted:
            first, last = int(counted[1]), int(counted[2])
            if not first <= last < first + _MAX_FILES:
                raise RunError(f"{address}: expected {{first..last}}, got {{{part}}}")
            width = len(counted[1])
            parts.append([f"{each:0{width}d}" for each in range(first, last + 1)])
        else:
            parts.append(part.split(",") if number % 2 else [part])
    return ["".join(each) for each in itertools.product(*parts)]


def _check_name(name: str, address: str) -> str:
    """Refuse a name that is no relative path of printable characters."""
    path = PurePosixPath(name)
    is_plain = not any(unicodedata.category(each) == "Cc" for each in name)
    if path.is_absolute() or ".." in path.parts or set(name) & set("\\:") or not is_plain:
        raise RunError(f"{address} lists the file {name[:80]!r}, whose name leads elsewhere")
    return str(path)


def _own_sha256(info: dict[str, Any]) -> str | None:
    """The checksum of a file on the Hugging Face Hub."""
    value = (info.get("lfs") or {}).get("sha256") if isinstance(info.get("lfs"), dict) else None
    return value if isinstance(value, str) and _SHA256.fullmatch(value) else None


def _load_sums(system: Any, found: dict[str, str]) -> dict[str, str]:
    """The checksums in the files ``SHA256SUMS`` beside the files, by path."""
    known: dict[str, str] = {}
    for folder in {path.rpartition("/")[0] for path in found.values()}:
        with suppress(Exception):  # of any file system: there is none
            content = system.cat_file(f"{folder}/{_SUMS}").decode("utf-8", "replace")
            for line in content.splitlines():
                digest, _, name = line.partition(" ")
                if _SHA256.fullmatch(digest):
                    known[f"{folder}/{name.lstrip(' *')}"] = digest
    return known


def _fetch_file(system: Any, file: RemoteFile, folder: Path) -> Path:
    """Return the copy of a file in the cache, fetched and checked unless it is there."""
    make_folder(folder)
    target = folder / f"{file.key}{PurePosixPath(file.name).suffix.lower()}"
    with FileLock(folder / f"{file.key}.lock", thread_local=False):
        if target.exists():
            return target
        part = target.with_suffix(".part")
        with _connected(file.path):
            _download(system, file, part)
        size = part.stat().st_size
        if file.num_bytes is not None and size != file.num_bytes:
            if size > file.num_bytes:
                part.unlink()
            raise RunError(
                f"{file.path}: got {size:,} of {file.num_bytes:,} bytes; the connection was cut: "
                "start again to continue"
            )
        if file.sha256 and (found := hash_file(part)) != file.sha256:
            part.unlink()
            raise RunError(
                f"{file.path}: expected sha256 {file.sha256}, got {found}; what was fetched is "
                "deleted: start again, or ask its owner"
            )
        replace_durably({part: target})
    return target


def _download(system: Any, file: RemoteFile, part: Path) -> None:
    """Write a file, behind what an earlier call has written of it."""
    tell = _tell(file)
    with open(part, "ab") as sink, system.open(file.path, "rb", cache_type="none") as content:
        if done := sink.tell():
            try:
                content.seek(done)
            except ValueError:  # a server that gives whole files only
                sink.truncate(0)
                done = 0
        while block := _read(content, file, done):
            sink.write(block)
            done += len(block)
            tell(done)
        sink.flush()
        os.fsync(sink.fileno())


def _read(content: Any, file: RemoteFile, done: int) -> bytes:
    left = _CHUNK_BYTES if file.num_bytes is None else min(_CHUNK_BYTES, file.num_bytes - done)
    return content.read(left) if left > 0 else b""


def _tell(file: RemoteFile) -> Callable[[int], None]:
    listeners = list(_listeners) or [ignore]

    def tell(done: int) -> None:
        event = DownloadProgress(
            file=file.name,
            num_bytes=done,
            total_bytes=done if file.num_bytes is None else file.num_bytes,
        )
        for listener in listeners:
            listener(event)

    return tell


def _link(content: Path, target: Path) -> None:
    """Give a cached file its name in a folder of the cache."""
    make_folder(target.parent)
    try:
        os.link(content, target)
    except FileExistsError:  # made by another process
        pass
    except OSError:  # a file system without hard links
        with open(content, "rb") as source, open_atomic(target) as file:
            shutil.copyfileobj(source, file)


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Turn errors of file systems, each of which has its own, into `RunError`."""
    try:
        yield
    except RunError:
        raise
    except PermissionError as error:
        raise RunError(f"no permission to read {address} ({first_line(error)})") from error
    except Exception as error:
        found: BaseException = error
        if isinstance(error, FileNotFoundError):  # fsspec's http raises it for any failure
            cause = error.__cause__
            if cause is None or getattr(cause, "status", None) in (404, 410):
                raise RunError(f"there is no {address}") from error
            found = cause
        raise RunError(
            f"cannot read {address}: {type(found).__name__} {first_line(found)}; what was fetched "
            "is kept: start again to continue"
        ) from error

"""What a tar file holds: names, classes and places of its images, read from its headers once.

The listing is kept in the user's cache folder and made again when the file has changed.
"""

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int64

from augmix import records
from augmix.data.caches import cache_folder, file_key
from augmix.data.decoding import SUFFIXES
from augmix.data.splits import ALL_NAMES
from augmix.records import RunError

SYNSET = re.compile(r"n\d{8}")
_BLOCK = 512
_LABEL_BYTES = 200  # a .cls file holds a number or a name
_FORM = 1  # of a kept listing


@dataclass(frozen=True, kw_only=True, eq=False)
class Shard:
    """The images of one tar file.

    Attributes:
        path: The file.
        names: Of every image, with the folders and tars it lies in.
        classes: What the shard itself says about the class of each; empty where nothing.
        offset: Where its bytes begin.
        num_bytes: How many they are.
    """

    path: Path
    names: tuple[str, ...]
    classes: tuple[str, ...]
    offset: Int64[np.ndarray, " image"]
    num_bytes: Int64[np.ndarray, " image"]

    def __len__(self) -> int:
        return len(self.names)


def load_shard(path: Path) -> Shard:
    """The images of one tar file: from what was kept, else from its headers.

    Raises:
        RunError: If the file cannot be read, is no tar, or is broken or truncated.
    """
    try:
        kept = cache_folder("shards") / f"{file_key(path)}.npz"
        shard = _load_kept(path, kept)
        if shard is not None:
            return shard
        with open(path, "rb") as file:
            members = list(_list_members(file, str(path), "", 0))
    except (OSError, tarfile.TarError) as error:
        raise RunError(
            f"cannot read the shard {path}: {error}; it may be truncated or compressed: fetch it "
            "again, or unpack a .tar.gz to a .tar"
        ) from error
    shard = _gather(path, members)
    _keep(shard, kept)
    return shard


@dataclass(frozen=True, slots=True)
class _Member:
    """A file within a tar."""

    name: str
    offset: int
    num_bytes: int
    text: str = ""  # of a .cls file

    @property
    def is_class(self) -> bool:
        return self.name.lower().endswith(".cls")


def _list_members(file: Any, where: str, prefix: str, base: int) -> Iterator[_Member]:
    """Images and class files of a tar, those of the tars within it too.

    Args:
        file: Its bytes.
        where: How messages call it.
        prefix: Put before every name.
        base: Where the tar begins in its file.
    """
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (info := tar.next()) is not None:
            # a million of them would take a gigabyte; typeshed does not know the list
            tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
            if not info.isreg() or info.issparse():
                continue
            path = PurePosixPath(info.name)
            _check_name(info.name, path, where)
            name, kind = prefix + str(path), path.suffix.lower()
            offset = base + info.offset_data
            if path.name.startswith("."):
                continue
            if kind in SUFFIXES:
                yield _Member(name, offset, info.size)
            elif kind in (".cls", ".tar"):
                inner = tar.extractfile(info)
                assert inner is not None
                if kind == ".cls":
                    text = inner.read(_LABEL_BYTES).decode("utf-8", "replace").strip()
                    if not text.isprintable():
                        raise RunError(f"{where}, member {name}: expected a class, got {text!r}")
                    yield _Member(name, offset, info.size, text)
                else:
                    below = str(PurePosixPath(name).with_suffix("")) + "/"
                    yield from _list_members(inner, f"{where}, member {name}", below, offset)
        file.seek(tar.offset)
        if any(block := file.read(_BLOCK)) or len(block) < _BLOCK:
            what = "a broken header" if block else "the end of the file"
            raise tarfile.ReadError(f"expected an end mark at byte {tar.offset}, got {what}")


def _check_name(name: str, path: PurePosixPath, where: str) -> None:
    if not name.isprintable() or path.is_absolute() or ".." in path.parts or not path.name:
        raise RunError(f"{where}: expected relative printable names, got member {name[:80]!r}")


def _gather(path: Path, members: Sequence[_Member]) -> Shard:
    """Images of a shard with their classes: from a class file of the same key, else the folder."""
    images = [member for member in members if not member.is_class]
    told = {_key(member.name): member.text for member in members if member.is_class}
    own = path.stem if SYNSET.fullmatch(path.stem) else ""
    return Shard(
        path=path,
        names=tuple(image.name for image in images),
        classes=tuple(told.get(_key(image.name)) or _folder(image.name) or own for image in images),
        offset=np.array([image.offset for image in images], np.int64),
        num_bytes=np.array([image.num_bytes for image in images], np.int64),
    )


def _key(name: str) -> str:
    """A name without all that follows the first dot of its last part, as WebDataset has it."""
    folder, _, last = name.rpartition("/")
    return f"{folder}/{last.split('.')[0]}"


def _folder(name: str) -> str:
    """The folder a member lies in, unless it is a split."""
    folder = PurePosixPath(name).parent.name
    return "" if folder.lower() in ALL_NAMES else folder


def _load_kept(path: Path, kept: Path) -> Shard | None:
    """What an earlier process found in a shard; None if it is not there or not whole."""
    try:
        with np.load(io.BytesIO(kept.read_bytes()), allow_pickle=False) as file:
            if int(file["form"]) != _FORM:
                return None
            texts = bytes(file["texts"]).decode("utf-8", "surrogateescape")
            lines = texts.split("\n") if texts else []
            half = len(lines) // 2
            shard = Shard(
                path=path,
                names=tuple(lines[:half]),
                classes=tuple(lines[half:]),
                offset=file["offset"].astype(np.int64),
                num_bytes=file["num_bytes"].astype(np.int64),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return shard if len(shard.offset) == half == len(shard.classes) else None


def _keep(shard: Shard, kept: Path) -> None:
    """Write what was found, if the cache folder lets us."""
    texts = "\n".join((*shard.names, *shard.classes)).encode("utf-8", "surrogateescape")
    buffer = io.BytesIO()
    np.savez(
        buffer,
        form=np.array(_FORM),
        texts=np.frombuffer(texts, np.uint8),
        offset=shard.offset,
        num_bytes=shard.num_bytes,
    )
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        records.write_bytes(kept, buffer.getvalue())
    except (OSError, RunError):
        return

"""Tar shards, read at the offsets of their members.

An image's class is the number or name in the file ``KEY.cls`` beside ``KEY.jpg`` (WebDataset), else
the folder it lies in, else the synset that its own tar is called by; tars within tars (the official
``ILSVRC2012_img_train.tar``) are looked into.
"""

import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from augmix.data.decode import SUFFIXES, ImageError
from augmix.data.folders import (
    ALL_NAMES,
    SPLIT_NAMES,
    check_named_split,
    check_shards,
    is_image,
    list_entries,
    missing_split,
)
from augmix.data.stores import (
    ImageFiles,
    Labels,
    OpenOptions,
    Source,
    build_source,
    check_classes,
    check_labels,
    number_classes,
)
from augmix.errors import RunError
from augmix.files import cache_folder, file_key, write_npz

SYNSET = re.compile(r"n\d{8}")
_BLOCK = 512
_LABEL_BYTES = 200  # a .cls file holds a number or a name
_FORM = 1  # of a cached index


class _Index(NamedTuple):
    """The images of one tar file."""

    names: tuple[str, ...]  # with the folders and tars an image lies in
    classes: tuple[str, ...]  # as far as the file itself says; empty where it does not
    offset: np.ndarray  # where the bytes of an image begin
    num_bytes: np.ndarray


class _Member(NamedTuple):
    """A file within a tar; only a .cls file has a text."""

    name: str
    offset: int
    num_bytes: int
    text: str | None = None


def _load_index(path: Path) -> _Index:
    """Index the images of a tar file: from the cache if the file has not changed, else anew."""
    try:
        cached = cache_folder("shards") / f"{file_key(path)}.npz"
        index = _load_cached(cached)
        if index is not None:
            return index
        with open(path, "rb") as file:
            members = list(_list_members(file, str(path), "", 0))
    except (OSError, tarfile.TarError) as error:
        raise RunError(
            f"cannot read the shard {path}: {error}; it may be truncated or compressed: fetch it "
            "again, or unpack a .tar.gz to a .tar"
        ) from error
    index = _gather(path, members)
    texts = "\n".join((*index.names, *index.classes)).encode("utf-8", "surrogateescape")
    arrays = {
        "form": np.array(_FORM),
        "texts": np.frombuffer(texts, np.uint8),
        "offset": index.offset,
        "num_bytes": index.num_bytes,
    }
    with suppress(OSError, RunError):  # a cache that cannot be written costs time only
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_npz(cached, arrays, is_compressed=False)
    return index


def _load_cached(cached: Path) -> _Index | None:
    """Read the index that an earlier process made; None if there is none or it is damaged."""
    try:
        with np.load(io.BytesIO(cached.read_bytes()), allow_pickle=False) as file:
            if int(file["form"]) != _FORM:
                return None
            texts = bytes(file["texts"]).decode("utf-8", "surrogateescape")
            offset, num_bytes = (file[key].astype(np.int64) for key in ("offset", "num_bytes"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    lines = tuple(texts.split("\n")) if texts else ()
    count = len(offset)
    if len(lines) != 2 * count:
        return None
    return _Index(lines[:count], lines[count:], offset, num_bytes)


def _list_members(file: Any, where: str, prefix: str, base: int) -> Iterator[_Member]:
    """List images and class files of a tar, which begins at ``base``, and of the tars in it."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (info := tar.next()) is not None:
            # a million of them would take a gigabyte; typeshed does not know the list
            tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
            if not info.isreg() or info.issparse():
                continue
            path = PurePosixPath(info.name)
            is_named = info.name.isprintable() and bool(path.name)
            if not is_named or path.is_absolute() or ".." in path.parts:
                raise RunError(
                    f"{where}: expected relative printable names, got member {info.name[:80]!r}"
                )
            name, kind = prefix + str(path), path.suffix.lower()
            offset = base + info.offset_data
            if is_image(path.name):
                yield _Member(name, offset, info.size)
            elif kind in (".cls", ".tar") and not path.name.startswith("."):
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


def _gather(path: Path, members: Sequence[_Member]) -> _Index:
    """Images of a shard with their classes: from a class file of the same key, else the folder."""
    images = [member for member in members if member.text is None]
    texts = {_key(member.name): member.text for member in members if member.text is not None}
    own = path.stem if SYNSET.fullmatch(path.stem) else ""
    return _Index(
        names=tuple(image.name for image in images),
        classes=tuple(
            texts.get(_key(image.name)) or _folder(image.name) or own for image in images
        ),
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


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardItems(ImageFiles):
    """The images of several tar files, in their order; fields as of `_Index`."""

    paths: tuple[Path, ...]
    shard: Int32[np.ndarray, " image"]  # which of the paths an image lies in
    names: tuple[str, ...]
    offset: Int64[np.ndarray, " image"]
    num_bytes: Int64[np.ndarray, " image"]

    def __len__(self) -> int:
        return len(self.names)

    def where(self, index: int) -> str:
        return f"{self.paths[self.shard[index]]}, member {self.names[index]}"

    def digest(self, rows: np.ndarray) -> str:
        """Hash name and length of every member, which no image need be read for."""
        hasher = hashlib.sha256()
        for row in rows.tolist():
            line = f"{self.names[row]}\0{self.num_bytes[row]}\n"
            hasher.update(line.encode("utf-8", "surrogateescape"))
        return hasher.hexdigest()

    def content(self, index: int) -> bytes:
        expected = int(self.num_bytes[index])
        try:
            with open(self.paths[self.shard[index]], "rb", buffering=0) as file:
                file.seek(int(self.offset[index]))
                content = file.read(expected)
        except OSError as error:
            raise ImageError(f"cannot read the shard: {error.strerror or error}") from error
        if len(content) < expected:
            raise ImageError(f"expected {expected} bytes in the shard, got {len(content)}")
        return content


def open_shards(root: Path, options: OpenOptions) -> Source:
    """Open a set of tar shards; see `sources.open_source`."""
    split = options.split
    shards = find_shards(root, split)
    if not shards:
        forms = f"{split}.tar, {split}-*.tar or a folder {split} of tar files"
        found = list_entries(root) if root.is_dir() else []
        raise missing_split(root, split, forms, found)
    items, classes = load_shards(shards)
    every = _all_classes(root, split, classes)
    labels, class_names = _number(classes, every, str(root))
    return build_source(items, labels, class_names, options)


def find_shards(root: Path, split: str) -> tuple[Path, ...]:
    """Find the tar files of a split, in order; none if there are none.

    Args:
        root: A tar file, or a folder with ``train.tar`` or ``train-0001.tar`` (the split among the
            words of the name), or with a folder ``train`` of tar files.
    """
    if root.is_file():
        check_named_split(root, split)
        return (root,)
    here = sorted(root.glob("*.tar"))
    for name in SPLIT_NAMES[split]:
        named = [path for path in here if name in re.split(r"[-_.]", path.stem.lower())]
        found = tuple(named or sorted((root / name).glob("*.tar")))
        if found:
            check_shards(found)
            return found
    return ()


def load_shards(paths: Sequence[Path]) -> tuple[ShardItems, tuple[str, ...]]:
    """Index the images of tar files, with the class of each as far as the files say."""
    found = [_load_index(path) for path in paths]
    lengths = [len(index.names) for index in found]
    if not sum(lengths):
        shown = ", ".join(str(path) for path in paths[:3])
        raise RunError(f"expected images ({', '.join(sorted(SUFFIXES))}) in {shown}, got none")
    items = ShardItems(
        paths=tuple(paths),
        shard=np.repeat(np.arange(len(paths), dtype=np.int32), lengths),
        names=tuple(name for index in found for name in index.names),
        offset=np.concatenate([index.offset for index in found]),
        num_bytes=np.concatenate([index.num_bytes for index in found]),
    )
    return items, tuple(name for index in found for name in index.classes)


def _number(
    classes: Sequence[str], every: Collection[str], where: str
) -> tuple[Labels, tuple[str, ...]]:
    """Labels, and names of the classes: numbers as they are, names in sorted order."""
    if "" in classes:
        raise RunError(
            f"{where}: expected a class for every image, by a file KEY.cls or a folder, got none "
            f"for {classes.count('')} of {len(classes)}"
        )
    numbers = sorted(filter(_is_number, every))
    others = sorted(set(every) - set(numbers))
    if numbers and others:
        raise RunError(
            f"{where}: expected all classes as numbers or all as names, got {numbers[0]!r} and "
            f"{others[0]!r}"
        )
    if numbers:
        names = number_classes(np.array([max(map(int, numbers))], np.int64), where=where)
        labels = np.array([int(name) for name in classes], np.int64)
        return check_labels(labels, len(classes), where=where), names
    names = tuple(others)
    index = {name: number for number, name in enumerate(names)}
    return np.array([index[name] for name in classes], np.int64), names


def _all_classes(root: Path, split: str, classes: Sequence[str]) -> set[str]:
    """The classes of the set, the same for every split.

    Names are those of the training split; of numbers, every split's count.
    """
    own = set(classes) - {""}
    if root.is_file() or (split == "train" and not any(map(_is_number, own))):
        return own
    every = {
        other: set(load_shards(paths)[1]) - {""}
        for other in SPLIT_NAMES
        if other != split and (paths := find_shards(root, other))
    }
    train = every.get("train", set())
    if not train or any(map(_is_number, own | train)):
        return own.union(*every.values())
    check_classes(own, train, where=root, whose="the training shards")
    return train


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()

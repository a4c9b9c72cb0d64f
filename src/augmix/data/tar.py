"""Tar shards, read at the offsets of their members.

An image's class is the number or name in the file ``KEY.cls`` beside ``KEY.jpg`` (WebDataset), else
its class folder by the rule of `trees`, else the synset that its own tar is called by. A folder
around all class folders is no class. Tars within tars (the official ``ILSVRC2012_img_train.tar``)
are read as folders.
"""

import hashlib
import io
import posixpath
import re
import tarfile
import unicodedata
import zipfile
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from augmix.data.decode import SUFFIXES, ImageError, is_image_start
from augmix.data.folders import (
    check_named_split,
    check_shards,
    list_entries,
    missing_split,
    single_class,
)
from augmix.data.stores import (
    MAX_CLASSES,
    ImageFiles,
    Labels,
    OpenOptions,
    Source,
    build_source,
    check_classes,
    check_labels,
    number_classes,
)
from augmix.data.trees import (
    OUTSIDE,
    SERVING,
    FolderTree,
    Form,
    Listing,
    Tree,
    choose_splits,
    compose,
    find_splits,
    index_classes,
    inner_classes,
    is_hidden,
    is_split,
    join,
    order_classes,
    split_kind,
)
from augmix.errors import RunError
from augmix.files import cache_folder, file_key, write_npz

SYNSET = re.compile(r"n\d{8}")
_BLOCK = 512
_READ_BYTES = 2**20
_LABEL_BYTES = 200  # a .cls file holds a number or a name
_MAX_NESTED = 8  # tars within tars
_MAX_LENGTH = 4096  # of a path, as on disks
_MAX_LINKS = 40  # that lead to one file
_FORM = 2  # of a cached index
_FILE, _IMAGE, _FOLDER, _LINK, _OTHER, _LABEL = range(6)  # kinds of members


class _Index(NamedTuple):
    """The members of one tar file and of the tars in it, each at a path of its own."""

    names: tuple[str, ...]
    texts: tuple[str, ...]  # of a .cls file its content, of a link the path that it leads to
    kind: np.ndarray
    offset: np.ndarray  # where the bytes of a file begin
    num_bytes: np.ndarray


class _Member(NamedTuple):
    name: str
    text: str
    kind: int
    offset: int
    num_bytes: int


def _load_index(path: Path) -> _Index:
    """Index the members of a tar file: from the cache if the file has not changed, else again."""
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
    texts = "\n".join((*index.names, *index.texts)).encode("utf-8", "surrogateescape")
    arrays = {
        "form": np.array(_FORM),
        "texts": np.frombuffer(texts, np.uint8),
        "kind": index.kind,
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
            names = ("kind", "offset", "num_bytes")
            kind, offset, num_bytes = (file[name].astype(np.int64) for name in names)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    lines, count = tuple(texts.split("\n")), len(offset)
    if len(lines) != 2 * count:
        return None
    return _Index(lines[:count], lines[count:], kind, offset, num_bytes)


def _list_members(
    file: Any, where: str, prefix: str, base: int, depth: int = 0
) -> Iterator[_Member]:
    """List the members of a tar, which begins at ``base``, and of the tars in it."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (info := tar.next()) is not None:
            # a million of them would take a gigabyte; typeshed does not know the list
            tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
            name = prefix + _check_name(info.name, where)
            offset, suffix = base + info.offset_data, PurePosixPath(info.name).suffix.lower()
            if info.isdir():
                yield _Member(name, "", _FOLDER, 0, 0)
            elif info.islnk() or info.issym():
                near = "" if info.islnk() else posixpath.dirname(info.name)
                target = posixpath.normpath(posixpath.join(near, info.linkname))
                is_inside = not target.startswith(("/", "../")) and target != ".."
                text = prefix + target if is_inside and _is_printable(target) else ""
                yield _Member(name, text, _LINK, 0, 0)
            elif not info.isreg() or info.issparse():
                yield _Member(name, "", _OTHER, 0, 0)
            elif suffix == ".tar" and not posixpath.basename(name).startswith("."):
                if depth == _MAX_NESTED:
                    raise RunError(
                        f"{where}: expected at most {_MAX_NESTED} tars within tars, got more in "
                        f"member {name}; unpack it"
                    )
                below = str(PurePosixPath(name).with_suffix("")) + "/"
                inner = _open_member(tar, info)
                yield _Member(below[:-1], "", _FOLDER, 0, 0)
                yield from _list_members(inner, f"{where}, member {name}", below, offset, depth + 1)
            elif suffix == ".cls":
                content = _open_member(tar, info).read(_LABEL_BYTES)
                text = content.decode("utf-8-sig", "replace").strip()
                if not _is_printable(text):
                    raise RunError(f"{where}, member {name}: expected a class, got {text!r}")
                yield _Member(name, text, _LABEL, offset, info.size)
            else:
                is_unnamed = not suffix and not info.name.endswith(".")
                is_image = is_unnamed and is_image_start(_open_member(tar, info).read(_BLOCK))
                yield _Member(name, "", _IMAGE if is_image else _FILE, offset, info.size)
        _check_end(file, tar.offset, where)


def _open_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Any:
    opened = tar.extractfile(info)
    assert opened is not None
    return opened


def _is_printable(text: str) -> bool:
    """Whether a terminal shows a text as text; bytes that are not UTF-8 are allowed."""
    return not any(unicodedata.category(character) == "Cc" for character in text)


def _check_name(name: str, where: str) -> str:
    """The path of a member in its shortest form."""
    path = PurePosixPath(name)
    is_inside = not path.is_absolute() and ".." not in path.parts
    if not is_inside or not _is_printable(name) or len(name) > _MAX_LENGTH:
        raise RunError(
            f"{where}: expected relative printable names, got member {name[:80]!r}; rename it, or "
            "unpack the tar and name the folder"
        )
    return "" if str(path) == "." else str(path)


def _check_end(file: Any, end: int, where: str) -> None:
    """Refuse a tar that has no end mark, or data behind it."""
    file.seek(end)
    if any(block := file.read(_BLOCK)) or len(block) < _BLOCK:
        what = "a broken header" if block else "the end of the file"
        raise tarfile.ReadError(f"expected an end mark at byte {end}, got {what}")
    position = end + _BLOCK
    while block := file.read(_READ_BYTES):
        if any(block):
            first = position + next(at for at, byte in enumerate(block) if byte)
            raise RunError(
                f"{where}: expected nothing behind the end mark at byte {end}, got data at byte "
                f"{first}, as in tars that were joined; unpack it by tar --ignore-zeros, and pack "
                "it again"
            )
        position += len(block)


def _gather(path: Path, members: Sequence[_Member]) -> _Index:
    """The index of all members; a file that is there twice is refused."""
    kept: dict[str, _Member] = {}
    for member in members:
        before = kept.get(member.name)
        if before is not None and not before.kind == member.kind == _FOLDER:
            raise RunError(
                f"{path}: the member {member.name} is there twice; unpack the tar and pack it "
                "again, or name the unpacked folder"
            )
        kept[member.name] = member
    kept.pop("", None)
    found = list(kept.values())
    return _Index(
        names=tuple(member.name for member in found),
        texts=tuple(member.text for member in found),
        kind=np.array([member.kind for member in found], np.int64),
        offset=np.array([member.offset for member in found], np.int64),
        num_bytes=np.array([member.num_bytes for member in found], np.int64),
    )


class TarTree(Tree):
    """The folders and files of an indexed tar, links followed."""

    def __init__(self, path: Path, index: _Index) -> None:
        self.where = str(path)
        self.index = index
        self._row = {name: row for row, name in enumerate(index.names)}
        self._children: dict[str, dict[str, None]] = {"": {}}
        self._has_links = bool((index.kind == _LINK).any())
        self._resolved: dict[str, str | None] = {"": ""}
        for name, kind in zip(index.names, index.kind.tolist(), strict=True):
            if kind == _FOLDER:
                self._add(name)
            else:
                folder, _, last = name.rpartition("/")
                self._add(folder)[last] = None

    def _add(self, folder: str) -> dict[str, None]:
        """The names in a folder, which is made with those above it."""
        names = self._children.get(folder)
        if names is not None:
            return names
        missing = [folder]
        while (above := missing[-1].rpartition("/")[0]) not in self._children:
            missing.append(above)
        for path in reversed(missing):
            self._children[path] = {}
            parent, _, last = path.rpartition("/")
            self._children[parent][last] = None
        return self._children[folder]

    def resolve(self, path: str) -> str | None:
        """The path of the member that a path leads to, through links; None if to none."""
        if not self._has_links:
            return path if path in self._children or path in self._row else None
        known, rest = path, []
        while known not in self._resolved:
            known, _, name = known.rpartition("/")
            rest.append(name)
        here, num_links = self._resolved[known], 0
        while rest and here is not None:
            here = join(here, rest.pop())
            row = self._row.get(here)
            if row is not None and self.index.kind[row] == _LINK:
                num_links += 1
                target = self.index.texts[row]
                rest += [] if target == "." else target.split("/")[::-1]
                here = "" if target and num_links <= _MAX_LINKS else None
            elif row is None and here not in self._children:
                here = None
        self._resolved[path] = here
        return here

    def row(self, path: str) -> int | None:
        """The index of the file that a path leads to; None if there is none."""
        real = self.resolve(path)
        return None if real is None else self._row.get(real)

    def entries(self, folder: str) -> Iterator[tuple[str, Form]]:
        real = self.resolve(folder)
        for name in self._children.get(real, ()) if real is not None else ():
            yield name, self._form(join(real or "", name))

    def _form(self, path: str) -> Form:
        row = self._row.get(path)
        if row is not None and self.index.kind[row] == _LINK:
            real = self.resolve(path)
            if real is None:
                return "file"  # which cannot be read
            path, row = real, self._row.get(real)
        if path in self._children or row is None:
            return "folder"
        kind = self.index.kind[row]
        return "image" if kind == _IMAGE else "other" if kind == _OTHER else "file"

    def identify(self, folder: str) -> Hashable:
        return self.resolve(folder)

    def is_link(self, folder: str) -> bool:
        above, _, name = folder.rpartition("/")
        return join(self.resolve(above) or "", name) != self.resolve(folder)

    def start(self, file: str) -> bytes:
        return b""  # the index says what begins like an image

    def order(self, images: list[str]) -> Sequence[str]:
        """Return images in the order of their members; those in a linked folder by that."""

        def position(path: str) -> tuple[int, str]:
            part = path
            while part not in self._row:
                part = part.rpartition("/")[0]
            return self._row[part], path

        return sorted(images, key=position)

    def extent(self, row: int) -> tuple[int, int]:
        """Return where the bytes of a file begin, and how many there are."""
        return int(self.index.offset[row]), int(self.index.num_bytes[row])

    def labels(self) -> dict[str, str]:
        """The class in each .cls file, by the key of its path."""
        rows = np.flatnonzero(self.index.kind == _LABEL)
        return {_key(self.index.names[row]): self.index.texts[row] for row in rows}


def _key(name: str) -> str:
    """A name without all that follows the first dot of its last part, as WebDataset has it."""
    folder, _, last = name.rpartition("/")
    return join(folder, last.split(".")[0])


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

    def take(self, rows: np.ndarray) -> "ShardItems":
        """Return some of the images."""
        return ShardItems(
            paths=self.paths,
            shard=self.shard[rows],
            names=tuple(self.names[row] for row in rows.tolist()),
            offset=self.offset[rows],
            num_bytes=self.num_bytes[rows],
        )

    def where(self, index: int) -> str:
        return f"{self.paths[self.shard[index]]}, member {self.names[index]}"

    def digest(self, rows: np.ndarray) -> str:
        """Hash name and length of every member, and the ends of up to 1,000 of them."""
        hasher = hashlib.sha256()
        for row in rows.tolist():
            line = f"{self.names[row]}\0{self.num_bytes[row]}\n"
            hasher.update(line.encode("utf-8", "surrogateescape"))
        self.hash_ends(rows, hasher)
        return hasher.hexdigest()

    def content(self, index: int) -> bytes:
        expected = int(self.num_bytes[index])
        if expected < 0:
            raise ImageError("it is a link to a file that is not in the tar")
        try:
            with open(self.paths[self.shard[index]], "rb", buffering=0) as file:
                file.seek(int(self.offset[index]))
                content = file.read(expected)
        except OSError as error:
            raise ImageError(f"cannot read the shard: {error.strerror or error}") from error
        if len(content) < expected:
            raise ImageError(f"expected {expected} bytes in the shard, got {len(content)}")
        return content


@dataclass(frozen=True, kw_only=True, eq=False)
class Shards:
    """The images of a split, as far as its tar files describe them."""

    items: ShardItems
    classes: tuple[str, ...]  # of each image; empty where the files do not say
    folders: tuple[str, ...]  # class folders, also empty ones
    is_labelled: bool  # whether there are .cls files
    splits: frozenset[str]  # that the tar files hold in folders of their own
    left_out: tuple[tuple[str, str], ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in order."""
        return order_classes((set(self.classes) - {""}).union(self.folders))


def open_shards(root: Path, options: OpenOptions) -> Source:
    """Open a set of tar shards; see `sources.open_source`."""
    split = options.split
    shards = find_shards(root, split)
    if not shards:
        forms = f"{split}.tar, {split}-*.tar or a folder {split} of tar files"
        found = list_entries(root) if root.is_dir() else []
        raise missing_split(root, split, forms, found)
    own = load_shards(shards, split)
    others = {
        other: load_shards(paths, other, may_be_empty=True)
        for other in SERVING
        if other != split and (paths := _find_other(root, other, own))
    }
    labels, class_names = _number(own, others, root)
    outside = tuple(own.items.names[row] for row in np.flatnonzero(labels < 0))
    kept = np.flatnonzero(labels >= 0)
    left_out = (*own.left_out, *((name, OUTSIDE) for name in outside))
    items = own.items.take(kept)
    return build_source(items, labels[kept], class_names, options, left_out=left_out)


def find_shards(root: Path, split: str) -> tuple[Path, ...]:
    """Find the tar files of a split, in order; none if there are none.

    Args:
        root: A tar file, or a folder with ``train.tar`` or ``train-0001.tar`` (the split among the
            words of the name), or with a folder ``train`` of tar files, or with tar files none of
            which names a split.
    """
    if root.is_file():
        check_named_split(root, split)
        return (root,)
    if not root.is_dir():
        return ()
    here = _list_tars(root)
    named: dict[str, list[Path]] = {}
    for path in here:
        words = re.split(r"[-_.]", path.stem)
        for kind in {split_kind(word)[0] for word in words if is_split(word)}:
            named.setdefault(kind, []).append(path)
    folders = FolderTree(root).folders()
    for kind in SERVING[split]:
        inner = [_list_tars(root / name) for name in folders if split_kind(name) == (kind, "")]
        if found := tuple(named.get(kind) or next(filter(None, inner), ())):
            check_shards(found)
            return found
    return () if named else tuple(here)


def _list_tars(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.tar") if not is_hidden(path.name))


def _find_other(root: Path, split: str, own: Shards) -> tuple[Path, ...]:
    """The tar files of another split: other ones, or the same if the splits are in them."""
    if split in own.splits:
        return own.items.paths
    found = () if root.is_file() else find_shards(root, split)
    return () if found == own.items.paths else found


def load_shards(paths: Sequence[Path], split: str, *, may_be_empty: bool = False) -> Shards:
    """Index the images of tar files, with the class of each as far as the files say."""
    trees = [TarTree(path, _load_index(path)) for path in paths]
    labels = [tree.labels() for tree in trees]
    bases, splits = [], set[str]()
    for tree, texts in zip(trees, labels, strict=True):
        found = find_splits(tree, has_flat=bool(texts))
        serving = choose_splits(found, split)
        if found and not serving:
            raise missing_split(
                Path(tree.where), split, f"a folder {split}", sorted(found.values())
            )
        bases.append(serving[0] if serving else "")
        splits |= found.keys()
    listings = [tree.walk(base) for tree, base in zip(trees, bases, strict=True)]
    inside = "" if any(labels) else _find_wrapper(listings, str(paths[0]))
    rows, names, classes, left_out = [], [], [], []
    for tree, base, texts, listing in zip(trees, bases, labels, listings, strict=True):
        own = Path(tree.where).stem
        for path in listing.images:
            name = join(base, path)
            row = tree.row(name)
            names.append(name)
            rows.append((0, -1) if row is None else tree.extent(row))
            folder, slash, _ = path.removeprefix(inside).partition("/")
            named = folder if slash else own if SYNSET.fullmatch(own) else ""
            classes.append(texts.get(_key(name)) or named)
        keys = {_key(path) for path in listing.images} if texts else ()
        left_out += [each for each in listing.left_out if _is_left_out(each[0], keys)]
    if not names and not may_be_empty:
        shown = ", ".join(str(path) for path in paths[:3])
        raise RunError(
            f"expected images ({', '.join(sorted(SUFFIXES))}) in {shown}, got none"
            f"{''.join(listing.summary for listing in listings[:1])}"
        )
    offset, num_bytes = np.array(rows, np.int64).reshape(-1, 2).T
    lengths = [len(listing.images) for listing in listings]
    folders = [path for each in listings for path in each.folders if path.startswith(inside)]
    return Shards(
        items=ShardItems(
            paths=tuple(paths),
            shard=np.repeat(np.arange(len(paths), dtype=np.int32), lengths),
            names=tuple(names),
            offset=offset,
            num_bytes=num_bytes,
        ),
        classes=tuple(classes),
        folders=tuple(name for path in folders if "/" not in (name := path.removeprefix(inside))),
        is_labelled=any(labels),
        splits=frozenset(splits),
        left_out=tuple(left_out),
    )


def _find_wrapper(listings: Sequence[Listing], where: str) -> str:
    """The folder around all class folders, with a slash behind it; empty if there is none."""
    images = [path for each in listings for path in each.images]
    folders = [path for each in listings for path in each.folders]
    inside, names = inner_classes(images, folders)
    if inside and len({path.partition("/")[0] for path in folders}) > 1:
        raise RunError(single_class(where, inside, names, "unpack it and name that folder"))
    return f"{inside}/" if inside else ""


def _is_left_out(path: str, keys: Collection[str]) -> bool:
    """Whether a file that is no image belongs to no image's record either."""
    return not path.endswith(".cls") and _key(path) not in keys


def _number(
    own: Shards, others: Mapping[str, Shards], root: Path
) -> tuple[Labels, tuple[str, ...]]:
    """Labels, -1 for images outside class folders, and the names of the classes.

    Numbers in .cls files are taken as they are, up to the largest of every split; names are
    numbered in order, as in the training split if there is one.
    """
    missing = own.classes.count("")
    if missing == len(own.classes) or (missing and own.is_labelled):
        raise RunError(
            f"{root}: expected a class for every image, by a file KEY.cls or a folder, got none "
            f"for {missing} of {len(own.classes)}"
        )
    every = set(own.class_names).union(*(each.class_names for each in others.values()))
    numbers = sorted(filter(_is_number, every), key=lambda name: (len(name), name))
    if own.is_labelled and numbers:
        if names := sorted(every - set(numbers)):
            raise RunError(
                f"{root}: expected all classes as numbers or all as names, got {numbers[0]!r} and "
                f"{names[0]!r}"
            )
        if len(numbers[-1]) > len(str(MAX_CLASSES)):
            raise RunError(
                f"{root}: expected class numbers 0..{MAX_CLASSES - 1}, got {numbers[-1][:80]} in a "
                ".cls file"
            )
        class_names = number_classes(np.array([max(map(int, numbers))], np.int64), where=str(root))
        labels = np.array([int(name) for name in own.classes], np.int64)
        return check_labels(labels, len(labels), where=str(root)), class_names
    train = others.get("train")
    class_names = train.class_names if train else own.class_names
    if train:
        check_classes(own.class_names, class_names, where=root, whose="the training shards")
    index = index_classes(class_names, where=str(root))
    return np.array([index.get(compose(name), -1) for name in own.classes], np.int64), class_names


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()

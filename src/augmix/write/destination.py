"""The folder of a written set: its lock, manifest and checksums, and its arrays or image files.

`manifest.json` holds everything that determines the bytes of the set. It is written first, with
``complete`` false until the end. `SHA256SUMS` lists every file, in the form of ``sha256sum -c``,
and the manifest holds its checksum. Nothing half-written is ever visible under its final name,
also not after a power loss: arrays grow in the work folder, files are renamed into the tree, and a
piece is marked as finished once its bytes and names are on the disk. A set that is complete is
looked through when it is asked for again: files that are missing or of another size are written
again.
"""

import hashlib
import os
import platform
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

import numpy as np
from jaxtyping import UInt8

from augmix import results
from augmix.corruptions.registry import Real
from augmix.data.benchmarks import MANIFEST_FILE
from augmix.data.sources import Source
from augmix.errors import RunError
from augmix.files import (
    hash_file,
    is_leftover,
    load_json,
    load_record,
    make_folder,
    open_atomic,
    remove_leftovers,
    replace_durably,
    sync,
    to_plain,
    write_json,
)
from augmix.progress import Note, OnProgress, PieceWritten, ignore
from augmix.shards import Pieces, Shard, SharedFolder, share_folder

SUMS_FILE = "SHA256SUMS"
WORK_FOLDER = ".work"
MARKS = "done"  # folder of the marks of finished pieces, in the work folder
_SCHEMA = 1
_UNUSED = ("torch",)  # packages that do not influence the bytes
_JPEG = (".jpeg", ".jpg")
_SHOWN = 3  # damaged files in a message
_WRITING = "writing-"  # begins the names of files that are not finished, in the work folder
_DELETE = "delete {} to write the set again, or choose another destination"

Frame = UInt8[np.ndarray, "height width channel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some images under one corruption or perturbation."""

    name: str
    severity: int | float  # 1..5; 0 for sequences
    start: int
    stop: int
    row: int  # index of the first image in an array

    def __len__(self) -> int:
        return self.stop - self.start

    def mark(self, work: Path) -> Path:
        """Return the path of the file that says that this piece is finished, and what it wrote."""
        return work / MARKS / f"{self.name}-{self.severity}-{self.start}-{self.stop}.json"


class _Mark(TypedDict):
    """What the mark of a piece, or of a finished array, holds."""

    files: dict[str, tuple[int, str]]  # bytes and sha256 of every file that was written


class _RowsMark(_Mark):
    """What the mark of some rows of an array holds."""

    rows: str  # their sha256


class _Files(TypedDict):
    """What a complete manifest says of the files of the set."""

    count: int
    bytes: int
    sums: str  # file of their checksums
    sha256: str  # of that file


class _CompleteManifest(TypedDict):
    files: _Files


@contextmanager
def hold_destination(
    folder: Path,
    identity: dict[str, Any],
    *,
    shard: Shard | None = None,
    verify: bool = False,
    on_progress: OnProgress = ignore,
) -> Iterator[SharedFolder | None]:
    """Lock a folder for a set, make it if missing, and yield its work folder.

    Args:
        identity: Everything that determines the bytes of the set.
        shard: One of several processes that write the set together; None holds it alone.
        verify: Compare the files of a complete set with their checksums, not just with their sizes.
        on_progress: Called with a `Note` if files of a complete set are written again.

    Yields:
        The work folder, which the last process deletes; None if the set is complete already.

    Raises:
        RunError: If the folder holds another set or something else, is in use, or cannot be
            written.
    """
    ours = {"schema": _SCHEMA, **to_plain(identity)}
    work = folder / WORK_FOLDER
    try:
        _check_empty(folder)
        remove_leftovers(folder)
        if not work.exists() and _check_same(folder, ours) and not _damaged(folder, verify):
            yield None
            return
        what, way_out = f"set {folder}", "choose another destination"
        with share_folder(work, shard, what=what, way_out=way_out) as shared:
            with shared.once("begun") as is_first:
                is_complete = _begin(folder, ours, shared.path, is_first, verify, on_progress)
            yield None if is_complete else shared
    except OSError as error:
        path = error.filename or folder
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; what is finished is kept: start "
            "again to continue"
        ) from error


def _begin(
    folder: Path,
    ours: dict[str, Any],
    work: Path,
    is_first: bool,
    verify: bool,
    on_progress: OnProgress,
) -> bool:
    """Say in the manifest that a set is being written, unless it is complete: then return true."""
    make_folder(work / MARKS)
    if is_first:
        for path in work.glob(f"{_WRITING}*"):
            path.unlink()
    is_complete = _check_same(folder, ours)
    if is_complete and is_first and (damaged := _damaged(folder, verify)):
        on_progress(Note(text=_describe_damage(damaged)))
        if ours["layout"] == "cifar":  # the other arrays are kept
            _mark_arrays(folder, work, damaged)
        is_complete = False
    if not is_complete and is_first:
        write_json(folder / MANIFEST_FILE, {**ours, "complete": False})
    return is_complete


def list_missing(folder: Path, identity: dict[str, Any], pieces: Iterable[Piece]) -> list[Piece]:
    """Return the pieces of a set that its folder lacks, by their marks; nothing is written.

    Raises:
        RunError: If the folder holds another set or something else.
    """
    _check_empty(folder)
    if _check_same(folder, {"schema": _SCHEMA, **to_plain(identity)}):
        return []
    work = folder / WORK_FOLDER
    marks = {path.stem for path in (work / MARKS).glob("*.json")}
    return [each for each in pieces if not marks & {each.name, each.mark(work).stem}]


def complete(folder: Path, identity: dict[str, Any], sums: Iterable[tuple[str, int, str]]) -> None:
    """Write the checksums and the final manifest of a set whose files are all written.

    Args:
        sums: Path below the folder, bytes and sha256 of every file.
    """
    count, total = 0, 0
    hasher = hashlib.sha256()
    with open_atomic(folder / SUMS_FILE) as file:
        for path, num_bytes, digest in sums:
            escaped = path.translate(_ESCAPES)  # as sha256sum does
            mark = "\\" if escaped != path else ""
            line = f"{mark}{digest}  {escaped}\n".encode("utf-8", "surrogateescape")
            file.write(line)
            hasher.update(line)
            count, total = count + 1, total + num_bytes
    files = {"count": count, "bytes": total, "sums": SUMS_FILE, "sha256": hasher.hexdigest()}
    manifest = {"schema": _SCHEMA, **identity, "complete": True, "files": files}
    write_json(folder / MANIFEST_FILE, manifest)


def write_pieces(
    run: Callable[[Pieces[Piece]], Iterator[Piece]],
    sink: "Sink",
    pieces: Sequence[Piece],
    shared: SharedFolder,
    finish: Callable[[], None],
    *,
    prepare: Callable[[], None] = lambda: None,
    on_progress: OnProgress,
) -> None:
    """Write the pieces of a set that are not there yet, and complete it.

    Of several shards, the first prepares and the first to be done completes the set.

    Args:
        run: Writes pieces that it takes, and yields those, and what others have finished.
        pieces: All of the set, those of a name in a row.
        prepare: Called before anything is written.
        finish: Called once the arrays and files are whole; it completes the set.
        on_progress: Called with a `PieceWritten` for every piece.
    """
    groups = {name: list(group) for name, group in groupby(pieces, key=lambda piece: piece.name)}
    with shared.once("prepared") as is_first:
        if is_first:
            prepare()
            todo = {name: sink.prepare(name, group) for name, group in groups.items()}
        else:
            todo = {name: sink.missing(name, group) for name, group in groups.items()}

    def conclude(name: str) -> None:
        if shared.shard is None:  # else at the end, by one
            sink.finish(name, groups[name])

    for name, missing in todo.items():
        if not missing:
            conclude(name)
    while any(todo.values()):
        missing = list(chain.from_iterable(todo.values()))
        waiting = {name: len(group) for name, group in todo.items()}
        queue = Pieces(
            shared,
            missing,
            name=lambda piece: piece.mark(shared.path).stem,
            is_done=lambda piece: piece.mark(shared.path).exists(),
        )
        with closing(queue):
            for piece in report_pieces(run(queue), pieces, missing, on_progress=on_progress):
                waiting[piece.name] -= 1
                if not waiting[piece.name]:
                    conclude(piece.name)
        if shared.shard is None:
            break
        todo = {name: sink.missing(name, group) for name, group in groups.items()}
    with shared.alone():
        if shared.shard is not None:
            if load_json(sink.folder / MANIFEST_FILE).get("complete") is True:
                return
            for name, group in groups.items():
                sink.finish(name, group)
        finish()


def report_pieces(
    written: Iterable[Piece],
    pieces: Iterable[Piece],
    missing: Iterable[Piece],
    *,
    on_progress: OnProgress,
) -> Iterator[Piece]:
    """Yield those of the missing pieces of a set that are written, with a `PieceWritten` each."""
    total = sum(map(len, pieces))
    skipped = done = total - sum(map(len, missing))
    start_s = time.perf_counter()
    for piece in written:
        yield piece
        done += len(piece)
        rate = (done - skipped) / max(time.perf_counter() - start_s, 1e-9)
        on_progress(
            PieceWritten(
                name=piece.name,
                severity=piece.severity,
                done=done,
                total=total,
                images_per_second=rate,
            )
        )


def versions() -> dict[str, str]:
    """Return the versions of the interpreter and the packages that determine the bytes."""
    packages = results.provenance()["versions"]
    kept = {name: version for name, version in packages.items() if name not in _UNUSED}
    return {**kept, "python": platform.python_version()}


def describe_source(source: Source) -> dict[str, Any]:
    """Return what a manifest says of the clean images."""
    changes = source.geometry.reading.changes
    return {
        **({"reading": changes} if changes else {}),
        "name": source.name,
        "split": source.split,
        "num_images": len(source),
        "size": list(source.size) if any(source.size) else None,
        "channels": source.channels,
        "class_names": list(source.class_names),
        "fingerprint": source.fingerprint,
    }


def check_apart(images: str, folder: Path, way_out: str = "choose a destination beside it") -> None:
    """Refuse a destination inside the folder of the images, where it would become a class."""
    source, target = Path(images).expanduser().resolve(), folder.expanduser().resolve()
    if source.is_dir() and target.is_relative_to(source):
        raise RunError(
            f"{folder} lies in the folder of the images, {images}, and would be read as one of its "
            f"classes; {way_out}"
        )


def _check_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; choose a folder for the set")
    found = [path.name for path in folder.iterdir()] if folder.exists() else []
    others = sorted(name for name in found if name != WORK_FOLDER and not is_leftover(name))
    if others and MANIFEST_FILE not in others:
        raise RunError(
            f"{folder} holds {others[0]} but no {MANIFEST_FILE}; choose an empty or new folder"
        )


def _check_same(folder: Path, ours: dict[str, Any]) -> bool:
    """Whether the set of this folder is complete; another set is refused."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        return False
    theirs = load_json(path, way_out=_DELETE.format(folder))
    for name, found, wanted in _differences(theirs, ours):
        raise RunError(
            f"{folder} holds a set with {name} = {_short(found)}, asked for {_short(wanted)}; "
            "choose another destination, or delete the folder"
        )
    return theirs.get("complete") is True


def _damaged(folder: Path, verify: bool) -> dict[str, str]:
    """Why files of a complete set are not as they were written, by path below the folder.

    Sizes are looked at; checksums if ``verify``, or if the sum of the sizes is wrong.
    """
    path = folder / MANIFEST_FILE
    files = load_record(path, _CompleteManifest, way_out=_DELETE.format(folder))["files"]
    sums = folder / SUMS_FILE
    if not sums.exists() or hash_file(sums) != files["sha256"]:
        return {SUMS_FILE: "not as written"}
    listed = load_sums(sums)
    sizes = {name: _size(folder / name) for name in listed}
    damaged = {name: "missing" for name, size in sizes.items() if size is None}
    damaged |= {name: "empty" for name, size in sizes.items() if size == 0}
    if verify or (not damaged and sum(size or 0 for size in sizes.values()) != files["bytes"]):
        others = (name for name in listed if name not in damaged)
        wrong = (name for name in others if hash_file(folder / name) != listed[name])
        damaged |= dict.fromkeys(wrong, "another checksum")
    return damaged


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def load_sums(path: Path) -> dict[str, str]:
    """Read the sha256 of every file of a set, by path, from its `SHA256SUMS`."""
    found = {}
    for line in path.read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]:
        digest, _, name = line.partition("  ")
        if digest.startswith("\\"):  # sha256sum escapes names
            name = re.sub(r"\\([nr\\])", lambda found: _ESCAPED[found[1]], name)
        found[name] = digest.removeprefix("\\")
    return found


_ESCAPED = {"n": "\n", "r": "\r", "\\": "\\"}
_ESCAPES = str.maketrans({character: f"\\{letter}" for letter, character in _ESCAPED.items()})


def _describe_damage(damaged: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name} ({why})" for name, why in list(damaged.items())[:_SHOWN])
    return f"{len(damaged)} file(s) of the set are written again: {shown}"


def _mark_arrays(folder: Path, work: Path, damaged: Mapping[str, str]) -> None:
    """Mark the arrays of a complete set as finished, but for the damaged ones."""
    listed = {} if SUMS_FILE in damaged else load_sums(folder / SUMS_FILE)
    for name in listed.keys() - damaged:
        note = {name: [(folder / name).stat().st_size, listed[name]]}
        write_json(work / MARKS / f"{Path(name).stem}.json", {"files": note})


def _differences(
    theirs: dict[str, Any], ours: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, their value and ours of every entry that differs."""
    absent = "nothing"
    more = sorted(set(theirs) - set(ours)) if prefix else []
    for name in (*ours, *more):
        found, wanted = theirs.get(name, absent), ours.get(name, absent)
        if isinstance(found, dict) and isinstance(wanted, dict):
            yield from _differences(found, wanted, f"{prefix}{name}.")
        elif found != wanted:
            yield f"{prefix}{name}", found, wanted


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySink:
    """Writes one ``.npy`` file for each name, of the shapes given."""

    folder: Path
    work: Path
    shapes: dict[str, tuple[int, ...]]
    verify: bool = False  # compare what an earlier call wrote with its checksums

    def prepare(self, name: str, pieces: Sequence[Piece]) -> list[Piece]:
        """Allocate an array and return the pieces that are not yet in it."""
        if is_whole(self.folder, self._mark(name), verify=self.verify):
            return []
        path = self._growing(name)
        if not path.exists():
            for piece in pieces:
                piece.mark(self.work).unlink(missing_ok=True)
            sync(self.work / MARKS)  # before there are rows of zeros that they would vouch for
            empty = self.work / "empty.npy"
            np.lib.format.open_memmap(empty, "w+", dtype=np.uint8, shape=self.shapes[name]).flush()
            replace_durably({empty: path})
        if self.verify:
            self._digest(name, pieces)
        return _unmarked(self.work, pieces)

    def missing(self, name: str, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces that are not marked; a shard asks once another has prepared all."""
        return [] if self._mark(name).exists() else _unmarked(self.work, pieces)

    def write(self, piece: Piece, images: UInt8[np.ndarray, "batch *image"], **notes: Any) -> None:
        """Write the images of a piece into their rows, and mark it; notes are kept in the mark."""
        path = self._growing(piece.name)
        array = np.lib.format.open_memmap(path, mode="r")
        offset = array.offset + piece.row * int(array.strides[0])
        del array
        rows = np.ascontiguousarray(images)
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(rows.data)
            file.flush()
            os.fsync(file.fileno())
        mark = {"files": {}, "rows": hashlib.sha256(rows.data).hexdigest(), **notes}
        write_json(piece.mark(self.work), mark)

    def finish(self, name: str, pieces: Sequence[Piece]) -> None:
        """Give an array whose pieces are all written its final name.

        Raises:
            RunError: If rows are not as they were written; their marks are deleted.
        """
        if not is_whole(self.folder, self._mark(name)):
            path, final = self._growing(name), self._final(name)
            found = [path.stat().st_size, self._check_rows(name, pieces)]
            write_json(self._mark(name), {"files": {final.name: found}})
            replace_durably({path: final})

    def checksums(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, int, str]]:
        """Yield path, bytes and sha256 of every file, as noted when it was finished."""
        for path in sorted(self.folder.glob("*.npy")):
            noted = _noted(self._mark(path.stem))
            yield (path.name, *noted[path.name]) if noted else describe_file(path)

    def _check_rows(self, name: str, pieces: Sequence[Piece]) -> str:
        """The sha256 of an array that grows, whose rows must be those that were marked."""
        digest, damaged = self._digest(name, pieces)
        if damaged:
            raise RunError(
                f"{len(damaged)} part(s) of {self._final(name)} are not as they were written; "
                "start again to write them again, and check the disk"
            )
        return digest

    def _digest(self, name: str, pieces: Sequence[Piece]) -> tuple[str, list[Piece]]:
        """The sha256 of an array that grows, and the marked pieces whose rows are others.

        The marks of those are deleted.
        """
        array = np.lib.format.open_memmap(self._growing(name), mode="r")
        with open(self._growing(name), "rb") as file:
            hasher = hashlib.sha256(file.read(array.offset))
        damaged = []
        for piece in sorted(pieces, key=lambda piece: piece.row):
            rows = array[piece.row : piece.row + len(piece)].data
            hasher.update(rows)
            mark = piece.mark(self.work)
            if mark.exists():
                noted = load_record(mark, _RowsMark)["rows"]
                if noted != hashlib.sha256(rows).hexdigest():
                    mark.unlink()
                    damaged.append(piece)
        return hasher.hexdigest(), damaged

    def _mark(self, name: str) -> Path:
        """The mark of a finished array."""
        return self.work / MARKS / f"{name}.json"

    def _final(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _growing(self, name: str) -> Path:
        return self.work / f"{name}.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSink:
    """Writes files, whose paths and contents are given."""

    folder: Path
    work: Path
    verify: bool = False  # compare what an earlier call wrote with its checksums

    def prepare(self, name: str, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces whose files are missing, or not of the size their marks say.

        The marks of those are deleted.
        """
        missing = []
        for piece in pieces:
            mark = piece.mark(self.work)
            if not is_whole(self.folder, mark, self.verify):
                mark.unlink(missing_ok=True)
                missing.append(piece)
        return missing

    def missing(self, name: str, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces that are not marked; a shard asks once another has prepared all."""
        return _unmarked(self.work, pieces)

    def write_files(self, piece: Piece, files: Iterable[tuple[str, bytes]], **notes: Any) -> None:
        """Write the files of a piece, and mark it; notes are kept in the mark.

        Args:
            files: Path below the folder, and content.
        """
        written, names = {}, {}
        token = uuid.uuid4().hex  # process numbers of two machines may be equal
        try:
            for path, content in files:
                temporary = self.work / f"{_WRITING}{token}-{len(names)}"
                names[temporary] = self.folder / path
                temporary.write_bytes(content)
                written[path] = [len(content), hashlib.sha256(content).hexdigest()]
            replace_durably(names)
        except BaseException:
            for temporary in names:
                temporary.unlink(missing_ok=True)
            raise
        write_json(piece.mark(self.work), {"files": written, **notes})

    def finish(self, name: str, pieces: Sequence[Piece]) -> None:
        """Do nothing: files have their final names."""

    def checksums(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, int, str]]:
        """Yield path, bytes and sha256 of every file, as noted when it was written."""
        for piece in pieces:
            for path, (num_bytes, digest) in _noted(piece.mark(self.work)).items():
                yield path, num_bytes, digest


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSink(FileSink):
    """Writes image files: ``name/severity/class/image.JPEG``, or a folder of frames per image."""

    files: tuple[str, ...]  # class/image.JPEG of every image
    encode: Callable[[Frame], bytes]
    folders: Mapping[tuple[str, Real], str]  # name of a corruption and a severity

    def write(self, piece: Piece, images: Iterable[Frame | Iterable[Frame]], **notes: Any) -> None:
        """Write the images or sequences of a piece, and mark it; notes are kept in the mark."""
        files = (
            (path, self.encode(frame))
            for index, image in enumerate(images, piece.start)
            for path, frame in self._frames(piece, self.files[index], image)
        )
        self.write_files(piece, files, **notes)

    def _frames(
        self, piece: Piece, file: str, image: Frame | Iterable[Frame]
    ) -> Iterable[tuple[str, Frame]]:
        if isinstance(image, np.ndarray) and image.ndim == 3:
            yield f"{piece.name}/{self.folders[piece.name, piece.severity]}/{file}", image
            return
        folder = PurePosixPath(piece.name, file).with_suffix("")
        for number, frame in enumerate(image):
            yield f"{folder}/{number:02d}.JPEG", frame


def _unmarked(work: Path, pieces: Sequence[Piece]) -> list[Piece]:
    return [piece for piece in pieces if not piece.mark(work).exists()]


def _noted(mark: Path) -> dict[str, tuple[int, str]]:
    """Bytes and sha256 of the files that a mark lists; none without the mark."""
    return load_record(mark, _Mark)["files"] if mark.exists() else {}


def is_whole(folder: Path, mark: Path, verify: bool = False) -> bool:
    """Whether every file of a mark is there with its size, and if ``verify`` its checksum."""
    noted = _noted(mark)
    return bool(noted) and all(
        _size(folder / path) == num_bytes and (not verify or hash_file(folder / path) == digest)
        for path, (num_bytes, digest) in noted.items()
    )


Sink = ArraySink | FileSink


def name_files(
    files: Sequence[str], labels: np.ndarray, class_names: Sequence[str]
) -> tuple[str, ...]:
    """Return ``class/image.JPEG`` for every image: its own file name, or its number.

    A file of another kind keeps its whole name before the suffix: ``ant/1.png.JPEG``.

    Args:
        files: Paths of the images below their set, if they are files; else empty.

    Raises:
        RunError: If a class name cannot be a folder, or two images would be one file.
    """
    if not files or "/" not in files[0]:  # no folder of the class yet
        for name in class_names:
            if not name or name in (".", "..") or set(name) & set('/\\\0:*?"<>|'):
                raise RunError(f"class name {name!r} cannot be a folder; take the layout cifar")
        names = files or [f"{index:08d}.JPEG" for index in range(len(labels))]
        files = [f"{class_names[label]}/{name}" for label, name in zip(labels, names, strict=True)]
    named = tuple(
        file if PurePosixPath(file).suffix.lower() in _JPEG else f"{file}.JPEG" for file in files
    )
    seen: set[str] = set()
    for file in named:
        stem = file.rpartition(".")[0]
        if stem in seen:
            raise RunError(f"two images would become {file}; give every image its own file name")
        seen.add(stem)
    return named


def describe_file(path: Path) -> tuple[str, int, str]:
    """Return name, bytes and sha256 of a file."""
    return path.name, path.stat().st_size, hash_file(path)

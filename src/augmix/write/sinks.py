"""Write the images of a set: as arrays of all images, or as a tree of image files.

Nothing half-written is ever visible under its final name: arrays grow in the work folder, files are
renamed into the tree.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import UInt8

from augmix.errors import RunError
from augmix.files import load_json, write_json

MARKS = "done"  # folder of the marks of finished pieces, in the work folder
_JPEG = (".jpeg", ".jpg")

Frame = UInt8[np.ndarray, "height width channel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some images under one corruption or perturbation.

    Attributes:
        name: Of the corruption or perturbation.
        severity: 1..5; 0 for sequences.
        start: The first image.
        stop: One beyond the last.
        row: Index of the first image in an array.
    """

    name: str
    severity: int
    start: int
    stop: int
    row: int

    def mark(self, work: Path) -> Path:
        """Return the path of the file that says that this piece is finished, and what it wrote."""
        return work / MARKS / f"{self.name}-{self.severity}-{self.start}-{self.stop}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySink:
    """Writes one ``.npy`` file for each name.

    Attributes:
        folder: The destination.
        work: The work folder, in which arrays grow.
        shapes: Of every array, by name.
    """

    folder: Path
    work: Path
    shapes: dict[str, tuple[int, ...]]

    def prepare(self, name: str, pieces: Sequence[Piece]) -> list[Piece]:
        """Allocate an array and return the pieces that are not yet in it."""
        if self._final(name).exists():
            return []
        path = self._growing(name)
        if not path.exists():
            for piece in pieces:
                piece.mark(self.work).unlink(missing_ok=True)
            empty = self.work / "empty.npy"
            np.lib.format.open_memmap(empty, "w+", dtype=np.uint8, shape=self.shapes[name]).flush()
            os.replace(empty, path)
        return [piece for piece in pieces if not piece.mark(self.work).exists()]

    def write(self, piece: Piece, images: UInt8[np.ndarray, "batch *image"], **notes: Any) -> None:
        """Write the images of a piece into their rows, and mark it; notes are kept in the mark."""
        path = self._growing(piece.name)
        array = np.lib.format.open_memmap(path, mode="r")
        offset = array.offset + piece.row * int(array.strides[0])
        del array
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(np.ascontiguousarray(images).data)
            file.flush()
            os.fsync(file.fileno())
        write_json(piece.mark(self.work), {"files": {}, **notes})

    def finish(self, name: str) -> None:
        """Give an array whose pieces are all written its final name."""
        if not self._final(name).exists():
            os.replace(self._growing(name), self._final(name))

    def checksums(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, int, str]]:
        """Yield path, bytes and sha256 of every file."""
        for path in sorted(self.folder.glob("*.npy")):
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield path.name, path.stat().st_size, digest

    def _final(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _growing(self, name: str) -> Path:
        return self.work / f"{name}.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSink:
    """Writes image files: ``name/severity/class/image.JPEG``, or a folder of frames per image.

    Attributes:
        folder: The destination.
        work: The work folder, on the same disk.
        files: ``class/image.JPEG`` of every image.
        encode: Makes the content of a file from an image.
    """

    folder: Path
    work: Path
    files: tuple[str, ...]
    encode: Callable[[Frame], bytes]

    def prepare(self, name: str, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces whose files are missing, or not of the size their marks say."""
        return [piece for piece in pieces if not self._is_whole(piece)]

    def write(self, piece: Piece, images: Iterable[Frame | Iterable[Frame]], **notes: Any) -> None:
        """Write the images or sequences of a piece, and mark it; notes are kept in the mark."""
        written = {}
        for index, image in enumerate(images, piece.start):
            for path, frame in self._frames(piece, self.files[index], image):
                content = self.encode(frame)
                self._replace(path, content)
                written[path] = [len(content), hashlib.sha256(content).hexdigest()]
        write_json(piece.mark(self.work), {"files": written, **notes})

    def finish(self, name: str) -> None:
        """Do nothing: files have their final names."""

    def checksums(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, int, str]]:
        """Yield path, bytes and sha256 of every file, as noted when it was written."""
        for piece in pieces:
            for path, (num_bytes, digest) in self._noted(piece).items():
                yield path, num_bytes, digest

    def _frames(
        self, piece: Piece, file: str, image: Frame | Iterable[Frame]
    ) -> Iterable[tuple[str, Frame]]:
        if isinstance(image, np.ndarray) and image.ndim == 3:
            yield f"{piece.name}/{piece.severity}/{file}", image
            return
        folder = PurePosixPath(piece.name, file).with_suffix("")
        for number, frame in enumerate(image):
            yield f"{folder}/{number:02d}.JPEG", frame

    def _replace(self, path: str, content: bytes) -> None:
        """Write a file under its final name; not flushed to the disk, as `_is_whole` checks it."""
        temporary = self.work / f"writing-{os.getpid()}"
        temporary.write_bytes(content)
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)

    def _noted(self, piece: Piece) -> dict[str, list]:
        mark = piece.mark(self.work)
        return load_json(mark)["files"] if mark.exists() else {}

    def _is_whole(self, piece: Piece) -> bool:
        """Whether every file has the size noted: after a power cut it may be empty."""
        noted = self._noted(piece)
        return bool(noted) and all(
            _num_bytes(self.folder / path) == num_bytes for path, (num_bytes, _) in noted.items()
        )


Sink = ArraySink | TreeSink


def name_files(
    files: Sequence[str], labels: np.ndarray, class_names: Sequence[str]
) -> tuple[str, ...]:
    """Return ``class/image.JPEG`` for every image: its own file name, or its number.

    A file of another kind keeps its whole name before the suffix: ``ant/1.png.JPEG``.

    Args:
        files: Paths of the images below their set, if they are files; else empty.
        labels: Their classes.
        class_names: One for each class.

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
    stems = {str(PurePosixPath(file).with_suffix("")) for file in named}
    if len(stems) < len(named):
        seen: set[str] = set()
        twice = next(
            file for file in named if (stem := file.rsplit(".", 1)[0]) in seen or seen.add(stem)
        )
        raise RunError(f"two images would become {twice}; give every image its own file name")
    return named


def clear_work(work: Path, keep: str) -> None:
    """Delete the content of the work folder, except for the lock that is held."""
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != keep:
            path.unlink()


def _num_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1

"""How a stylised set lies on disk: PNG files in class folders, or one ``.npz`` of all images.

Both are what `open_source` reads, with the classes and the order of the original. What is finished
is marked below the work folder, with the style of every image; nothing half-written is ever seen
at its final place.
"""

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from augmix import records
from augmix.writers.shelves import Piece

STYLES_FILE = "styles.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureTree:
    """``class/image.png`` for every image; a class without an image keeps its folder.

    Attributes:
        folder: The destination.
        work: The work folder, on the same disk.
        files: Where every image goes.
        class_names: Folders of the classes.
    """

    folder: Path
    work: Path
    files: tuple[str, ...]
    class_names: tuple[str, ...]

    def prepare(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Make the folders; the pieces that are not on the disk, or not as their marks say."""
        for name in self.class_names:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        return [piece for piece in pieces if not self._is_whole(piece)]

    def put(
        self,
        piece: Piece,
        images: UInt8[np.ndarray, "batch height width channel"],
        styles: list[str],
    ) -> None:
        """Write the images of a piece, and mark it."""
        written = {}
        for path, image in zip(self.files[piece.start : piece.stop], images, strict=True):
            content = encode_png(image)
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.work / "writing.png"
            temporary.write_bytes(content)
            os.replace(temporary, target)
            written[path] = [len(content), hashlib.sha256(content).hexdigest()]
        records.write_json(piece.mark(self.work), {"files": written, "styles": styles})

    def finish(self, pieces: Sequence[Piece]) -> list[str]:
        """Write which style every image has; gives the styles."""
        styles = _noted_styles(self.work, pieces)
        _write_styles(self.folder, self.files, styles)
        return styles

    def sums(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, int, str]]:
        """Path, bytes and sha256 of every file, as noted when it was written."""
        for piece in pieces:
            for path, (num_bytes, digest) in records.load_json(piece.mark(self.work))[
                "files"
            ].items():
                yield path, num_bytes, digest
        yield _sum(self.folder / STYLES_FILE)

    def _is_whole(self, piece: Piece) -> bool:
        mark = piece.mark(self.work)
        if not mark.exists():
            return False
        noted = records.load_json(mark)["files"]
        paths = {path: self.folder / path for path in noted}
        return all(p.exists() and p.stat().st_size == noted[n][0] for n, p in paths.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureArray:
    """``<split>.npz`` with ``images``, ``labels`` and ``class_names``.

    Attributes:
        folder: The destination.
        work: The work folder, where the array grows.
        split: Names the file.
        shape: Of all images.
        labels: Of every image.
        class_names: One for each class.
    """

    folder: Path
    work: Path
    split: str
    shape: tuple[int, int, int, int]
    labels: Int64[np.ndarray, " image"]
    class_names: tuple[str, ...]

    @property
    def final(self) -> Path:
        return self.folder / f"{self.split}.npz"

    @property
    def growing(self) -> Path:
        return self.work / "images.npy"

    def prepare(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Make room for the images; the pieces that are not yet in it."""
        if self.final.exists():
            return []
        if not self.growing.exists():
            for piece in pieces:
                piece.mark(self.work).unlink(missing_ok=True)
            empty = self.work / "empty.npy"
            np.lib.format.open_memmap(empty, "w+", dtype=np.uint8, shape=self.shape).flush()
            os.replace(empty, self.growing)
        return [piece for piece in pieces if not piece.mark(self.work).exists()]

    def put(
        self,
        piece: Piece,
        images: UInt8[np.ndarray, "batch height width channel"],
        styles: list[str],
    ) -> None:
        """Write the images of a piece into their rows, and mark it."""
        array = np.lib.format.open_memmap(self.growing, "r+")
        array[piece.start : piece.stop] = images
        array.flush()
        records.write_json(piece.mark(self.work), {"styles": styles})

    def finish(self, pieces: Sequence[Piece]) -> list[str]:
        """Write the archive, and which style every image has; gives the styles."""
        styles = _noted_styles(self.work, pieces)
        numbers = [str(number) for number in range(self.shape[0])]
        _write_styles(self.folder, numbers, styles)
        if not self.final.exists():
            images = np.lib.format.open_memmap(self.growing, "r")
            with records.open_atomic(self.final) as file:
                np.savez(
                    file, images=images, labels=self.labels, class_names=np.array(self.class_names)
                )
        return styles

    def sums(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, int, str]]:
        """Path, bytes and sha256 of every file."""
        yield _sum(self.final)
        yield _sum(self.folder / STYLES_FILE)


Shelf = PictureTree | PictureArray


def encode_png(image: UInt8[np.ndarray, "height width channel"]) -> bytes:
    """A PNG file, which keeps every bit."""
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def name_pictures(
    files: Sequence[str], labels: Int64[np.ndarray, " image"], class_names: Sequence[str]
) -> tuple[str, ...]:
    """``class/image.png`` for every image, such that the paths sort as the images are numbered.

    A file keeps its name with the ending ``.png``. Where that would change the order, or make two
    images one, and where the images are no files, all are named by their numbers.
    """
    named = tuple(str(PurePosixPath(file).with_suffix(".png")) for file in files)
    pairs = list(zip(labels.tolist(), named, strict=bool(named)))
    if named and all(before < after for before, after in pairwise(pairs)):
        return named
    digits = max(8, len(str(len(labels))))
    return tuple(
        f"{class_names[label]}/{number:0{digits}d}.png" for number, label in enumerate(labels)
    )


def _noted_styles(work: Path, pieces: Sequence[Piece]) -> list[str]:
    return [style for p in pieces for style in records.load_json(p.mark(work))["styles"]]


def _write_styles(folder: Path, images: Sequence[str], styles: Sequence[str]) -> None:
    """``image,style``, a line an image; commas and quotes in names as usual in CSV."""
    lines = [f"{_cell(i)},{_cell(s)}\n" for i, s in zip(images, styles, strict=True)]
    text = "image,style\n" + "".join(lines)
    records.write_bytes(folder / STYLES_FILE, text.encode("utf-8", "surrogateescape"))


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text


def _sum(path: Path) -> tuple[str, int, str]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.name, path.stat().st_size, digest

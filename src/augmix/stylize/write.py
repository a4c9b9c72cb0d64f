"""Stylised copies of data sets.

Both are what `open_source` reads, with the classes and the order of the original. What is finished
is marked below the work folder, with the style of every image; nothing half-written is ever seen
at its final place.

Geirhos et al. (2019), "ImageNet-trained CNNs are biased towards texture". The style of an image is
drawn at its address, so neither order nor restarts change it; what is finished is marked, and a
writing that was killed and started again ends with the same files. `manifest.json` says how the set
was made, ``styles.csv`` which picture every image has, `SHA256SUMS` what every file must be.
"""

import hashlib
import io
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from augmix.data.batches import prefetch
from augmix.devices import resolve_device, torch_settings
from augmix.errors import RunError
from augmix.files import load_json, write_bytes, write_json, write_npz
from augmix.progress import OnProgress, PieceWritten, ignore
from augmix.rng import Stream
from augmix.stylize.adain import Painter, Statistics, arithmetic, to_floats, to_levels
from augmix.stylize.config import StylizeConfig
from augmix.stylize.decoder import open_painter
from augmix.stylize.encoder import check_side
from augmix.stylize.styles import (
    WRITING,
    Content,
    Styles,
    StyleShelf,
    open_content,
    open_styles,
    style_side,
    style_stream,
)
from augmix.write.manifest import complete, hold_destination, versions
from augmix.write.sinks import Piece

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
        write_json(piece.mark(self.work), {"files": written, "styles": styles})

    def finish(self, pieces: Sequence[Piece]) -> list[str]:
        """Write which style every image has; gives the styles."""
        styles = _noted_styles(self.work, pieces)
        _write_styles(self.folder, self.files, styles)
        return styles

    def sums(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, int, str]]:
        """Path, bytes and sha256 of every file, as noted when it was written."""
        for piece in pieces:
            for path, (num_bytes, digest) in load_json(piece.mark(self.work))["files"].items():
                yield path, num_bytes, digest
        yield _sum(self.folder / STYLES_FILE)

    def _is_whole(self, piece: Piece) -> bool:
        mark = piece.mark(self.work)
        if not mark.exists():
            return False
        noted = load_json(mark)["files"]
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
        write_json(piece.mark(self.work), {"styles": styles})

    def finish(self, pieces: Sequence[Piece]) -> list[str]:
        """Write the archive, and which style every image has; gives the styles."""
        styles = _noted_styles(self.work, pieces)
        numbers = [str(number) for number in range(self.shape[0])]
        _write_styles(self.folder, numbers, styles)
        if not self.final.exists():
            images = np.lib.format.open_memmap(self.growing, "r")
            names = np.array(self.class_names)
            arrays = {"images": images, "labels": self.labels, "class_names": names}
            write_npz(self.final, arrays, is_compressed=False)
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
    return [style for p in pieces for style in load_json(p.mark(work))["styles"]]


def _write_styles(folder: Path, images: Sequence[str], styles: Sequence[str]) -> None:
    """``image,style``, a line an image; commas and quotes in names as usual in CSV."""
    lines = [f"{_cell(i)},{_cell(s)}\n" for i, s in zip(images, styles, strict=True)]
    text = "image,style\n" + "".join(lines)
    write_bytes(folder / STYLES_FILE, text.encode("utf-8", "surrogateescape"))


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text


def _sum(path: Path) -> tuple[str, int, str]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.name, path.stat().st_size, digest


_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow turns colour into grey


def stylize(config: StylizeConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Write the stylised form of a data set, or go on with it.

    Images keep number, class, size and channels: `open_source` reads the set back as ``folder`` or
    ``npz``. Grey images are painted in colour and turned grey again.

    Args:
        config: What is painted how.
        on_progress: Called with `PieceWritten` after every batch.

    Returns:
        The set's folder.

    Raises:
        ValueError: If a setting is out of range.
        RunError: If networks, images or pictures are missing, broken or do not fit, or the folder
            holds something else.
    """
    device = resolve_device(config.device)
    with torch_settings(device, seed=config.seed, num_threads=config.num_threads):
        content = open_content(config)
        styles = open_styles(config.styles)
        painter, networks = open_painter(
            config.decoder, config.encoder, side=content.side, scale=config.scale
        )
        side = style_side(config.style_size, content.side * painter.scale)
        check_side(painter.stride, side, "style pictures")
        identity = _describe(config, content, styles, networks, side, device)
        studio = Studio(
            painter=painter.to(device),
            shelf=StyleShelf(styles, side=side, on_error=config.on_error),
            device=device,
            precision=config.precision,
        )
        with hold_destination(config.dst, identity) as work:
            if work is not None:
                shelf = _build_shelf(identity["layout"], content, config.dst, work)
                pieces = _cut(config, content)
                _paint_all(config, content, studio, shelf, pieces, on_progress or ignore)
                used = shelf.finish(pieces)
                stream = style_stream(config.seed, WRITING)
                skipped = {
                    "images": [where for where, _ in content.source.skipped],
                    "styles": find_passed_over(styles, content.ids, used, stream),
                }
                complete(config.dst, {**identity, "skipped": skipped}, shelf.sums(pieces))
    return config.dst


class Studio:
    """Paints batches of images; the statistics of a style are computed once.

    Args:
        painter: The networks.
        shelf: The style pictures.
        device: Where the networks are.
        precision: ``bf16`` computes in bfloat16 where that is safe.
    """

    def __init__(
        self, *, painter: Painter, shelf: StyleShelf, device: torch.device, precision: str
    ) -> None:
        self.painter = painter
        self.shelf = shelf
        self.device = device
        self.precision = precision
        self._known: dict[int, Statistics] = {}

    def read(self, indices: np.ndarray) -> Statistics:
        """The statistics of these pictures, each encoded by itself."""
        found = [self._read_one(int(index)) for index in indices]
        return Statistics(
            mean=torch.cat([style.mean for style in found]),
            std=torch.cat([style.std for style in found]),
        )

    def paint(
        self,
        images: UInt8[np.ndarray, "batch height width channel"],
        style: Statistics,
        alpha: float,
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images in these styles, one each.

        Raises:
            RunError: If a picture is not finite.
        """
        floats = to_floats(images).to(self.device)
        is_grey = floats.shape[1] == 1
        with self._computing():
            painted = self.painter(floats.expand(-1, 3, -1, -1), style, alpha=alpha)
        if not bool(torch.isfinite(painted).all()):
            raise RunError("a painted picture is not finite; take --precision fp32 or fit again")
        return to_levels(_to_grey(painted) if is_grey else painted)

    def _read_one(self, index: int) -> Statistics:
        if index not in self._known:
            picture = to_floats(self.shelf.image(index)[None]).to(self.device)
            with self._computing():
                self._known[index] = self.painter.read_style(picture)
        return self._known[index]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """No gradients, and the arithmetic asked for."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            is_bf16 = self.precision == "bf16"
            stack.enter_context(torch.autocast(self.device.type, torch.bfloat16, enabled=is_bf16))
            yield


def _to_grey(
    painted: Float32[Tensor, "batch 3 height width"],
) -> Float32[Tensor, "batch 1 height width"]:
    weights = painted.new_tensor(_LUMA)[None, :, None, None]
    return (painted * weights).sum(1, keepdim=True)


def find_passed_over(
    styles: Styles, ids: Int64[np.ndarray, " image"], used: Sequence[str], stream: Stream
) -> list[str]:
    """The broken pictures that were drawn before the ones that were used, sorted."""
    found: set[str] = set()
    waiting = np.arange(len(ids))
    for turn in itertools.count():
        drawn = [styles.files[index] for index in styles.draw(ids[waiting], stream, turn=turn)]
        is_other = np.array(
            [file != used[at] for file, at in zip(drawn, waiting.tolist(), strict=True)]
        )
        if not is_other.any():
            break
        found |= {file for file, other in zip(drawn, is_other, strict=True) if other}
        waiting = waiting[is_other]
    return sorted(found)


def _paint_all(
    config: StylizeConfig,
    content: Content,
    studio: Studio,
    shelf: Shelf,
    pieces: Sequence[Piece],
    emit: OnProgress,
) -> None:
    """Paint what is not there yet, in order; images are loaded while the networks compute."""
    missing = shelf.prepare(pieces)
    total = len(content.ids)
    skipped = done = total - sum(piece.stop - piece.start for piece in missing)
    stream = style_stream(config.seed, WRITING)
    start_s = time.perf_counter()

    def load(number: int) -> np.ndarray:
        return content.source.load(np.arange(missing[number].start, missing[number].stop))

    with closing(prefetch(load, range(len(missing)))) as batches:
        for piece, batch in zip(missing, batches, strict=True):
            drawn = studio.shelf.draw(content.ids[piece.start : piece.stop], stream)
            painted = studio.paint(batch, studio.read(drawn), config.alpha)
            shelf.put(piece, painted, [studio.shelf.styles.files[index] for index in drawn])
            done += len(batch)
            rate = (done - skipped) / max(time.perf_counter() - start_s, 1e-9)
            emit(
                PieceWritten(
                    name="stylised", severity=0, done=done, total=total, images_per_second=rate
                )
            )


def _cut(config: StylizeConfig, content: Content) -> list[Piece]:
    """The images in batches."""
    count = len(content.ids)
    bounds = [(at, min(at + config.batch_size, count)) for at in range(0, count, config.batch_size)]
    return [Piece(name="stylised", severity=0, start=a, stop=b, row=a) for a, b in bounds]


def _build_shelf(layout: str, content: Content, folder: Path, work: Path) -> Shelf:
    source = content.source
    if layout == "npz":
        return PictureArray(
            folder=folder,
            work=work,
            split=source.split,
            shape=(len(source), *source.size, source.channels),
            labels=source.labels,
            class_names=source.class_names,
        )
    files = name_pictures(content.files, source.labels, source.class_names)
    return PictureTree(folder=folder, work=work, files=files, class_names=source.class_names)


def _describe(
    config: StylizeConfig,
    content: Content,
    styles: Styles,
    networks: dict[str, Any],
    side: int,
    device: torch.device,
) -> dict[str, Any]:
    """All that decides about the bytes of the set."""
    source = content.source
    layout = config.layout
    if layout == "auto":
        layout = "folder" if content.files else "npz"
    return {
        "form": "stylised",
        "layout": layout,
        "alpha": config.alpha,
        "seed": config.seed,
        **networks,
        "style_size": side,
        "styles": {"num_pictures": len(styles), "fingerprint": styles.fingerprint},
        "batch_size": config.batch_size,
        "precision": config.precision,
        "arithmetic": arithmetic(device),
        "source": {
            "name": source.name,
            "split": source.split,
            "num_images": len(source),
            "size": list(source.size),
            "channels": source.channels,
            "class_names": list(source.class_names),
            "fingerprint": source.fingerprint,
        },
        "versions": versions(),
    }

"""Write stylised copies of data sets.

`open_source` reads them as ``folder`` or ``npz``, with the classes and the order of the original;
``styles.csv`` says which style every image has. The style is drawn at the image's address, so
neither order nor restarts change it. Geirhos et al. (2019), "ImageNet-trained CNNs are biased
towards texture".
"""

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, count, pairwise
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image

from augmix.data.batches import run_ahead
from augmix.data.inventory import describe_images
from augmix.data.stores import Source
from augmix.devices import resolve_device, torch_settings
from augmix.errors import RunError, escape_cell
from augmix.files import load_record, write_bytes, write_json, write_npz
from augmix.progress import Note, OnProgress, ignore
from augmix.rng import Stream
from augmix.shards import WAIT_S, Pieces, SharedFolder, find_shard
from augmix.stylize import StylizeConfig
from augmix.stylize.networks import (
    ChannelStatistics,
    Stylizer,
    check_size,
    describe_arithmetic,
    open_stylizer,
    to_bytes,
    to_floats,
)
from augmix.stylize.styles import (
    WRITING,
    StyleImages,
    choose_style_size,
    find_ids,
    find_styles,
    open_content,
    open_styles,
    style_stream,
)
from augmix.write.destination import (
    ArraySink,
    Frame,
    Piece,
    TreeSink,
    check_apart,
    complete,
    describe_file,
    describe_source,
    hold_destination,
    is_whole,
    list_missing,
    versions,
    write_pieces,
)
from augmix.write.forecast import forecast_set

STYLES_FILE = "styles.csv"
_NAME = "stylised"  # of the pieces
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow converts colour to grey


class _Mark(TypedDict):
    """What the mark of a piece holds besides its files."""

    styles: list[str]


def stylize(config: StylizeConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Write a stylised copy of a data set, or continue writing it.

    Images keep number, class, size and channels. Grey images are stylised in colour and converted
    back to grey. ``on_progress`` is called with `PieceWritten` after every batch. Return the set's
    folder.

    Raises:
        ValueError: If a setting is out of range.
        RunError: If networks or images are missing, broken or do not fit, or the folder holds
            something else.
    """
    check_apart(config.src, config.dst)
    device = resolve_device(config.device)
    with torch_settings(device, seed=config.seed, num_threads=config.num_threads or 0):
        content = open_content(config)
        for line in describe_images(content):
            (on_progress or ignore)(Note(text=line))
        find_styles(config.styles)
        stylizer, networks = open_stylizer(
            config.decoder, config.encoder, size=min(content.size), scale=config.scale
        )
        style_size = choose_style_size(config.style_size, min(content.size) * stylizer.scale)
        check_size(stylizer.stride, style_size, "style images")
        styles = open_styles(config.styles, size=style_size, reading=config.reading)
        identity = _describe(config, content, styles, networks, device)
        batches = _BatchStylizer(config, stylizer.to(device), styles, device)
        emit, shard = on_progress or ignore, find_shard(config.shard)
        if config.dry_run:
            for line in _forecast(content, batches, identity):
                emit(Note(text=line))
            return config.dst
        held = hold_destination(
            config.dst, identity, shard=shard, verify=config.verify, on_progress=emit
        )
        with held as shared:
            if shared is not None:
                _write_set(content, batches, identity, shared, emit)
    return config.dst


def _write_set(
    source: Source,
    batches: "_BatchStylizer",
    identity: dict[str, Any],
    shared: SharedFolder,
    on_progress: OnProgress,
) -> None:
    """Write what is missing of a set, then its styles, checksums and manifest."""
    config, ids, work = batches.config, find_ids(source), shared.path
    sink = _open_sink(identity["layout"], source, config, work)
    pieces = _list_pieces(len(source), config.batch_size)
    stream = style_stream(config.seed, WRITING)

    def run(queue: Pieces[Piece]) -> Iterator[Piece]:
        """Write pieces; the images of the next one are loaded while the networks compute."""
        taken: list[Piece] = []
        num_written = 0

        def take() -> Iterator[int]:
            while (piece := queue.take()) is not None:
                taken.append(piece)
                yield len(taken) - 1

        def load(number: int) -> np.ndarray:
            return source.load(np.arange(taken[number].start, taken[number].stop))

        while queue.num_left:
            with closing(run_ahead(load, take())) as loaded:
                for images in loaded:
                    piece = taken[num_written]
                    num_written += 1
                    drawn = batches.styles.draw(ids[piece.start : piece.stop], stream)
                    styles = [batches.styles.files[index] for index in drawn]
                    sink.write(piece, batches.stylize(images, drawn), styles=styles)
                    queue.finish(piece)
                    yield piece
                    yield from queue.finished_by_others()
            if queue.num_left:
                time.sleep(WAIT_S)
            yield from queue.finished_by_others()

    def finish() -> None:
        marks = (load_record(piece.mark(work), _Mark) for piece in pieces)
        used = [style for mark in marks for style in mark["styles"]]
        images = sink.files if isinstance(sink, FolderSink) else map(str, range(len(used)))
        _write_styles(config.dst, images, used)
        skipped = {
            "images": [where for where, _ in source.skipped],
            "styles": find_skipped_styles(batches.styles, ids, used, stream),
        }
        sums = chain(sink.checksums(pieces), [describe_file(config.dst / STYLES_FILE)])
        complete(config.dst, {**identity, "skipped": skipped}, sums)

    write_pieces(run, sink, pieces, shared, finish, on_progress=on_progress)


def _forecast(source: Source, batches: "_BatchStylizer", identity: dict[str, Any]) -> list[str]:
    """What writing the set will take, in words, from a few batches; nothing is written."""
    config, ids, stream = (
        batches.config,
        find_ids(source),
        style_stream(batches.config.seed, WRITING),
    )
    pieces = _list_pieces(len(source), config.batch_size)
    is_array = identity["layout"] == "npz"

    def make(piece: Piece) -> np.ndarray:
        drawn = batches.styles.draw(ids[piece.start : piece.stop], stream)
        return batches.stylize(source.load(np.arange(piece.start, piece.stop)), drawn)

    found = forecast_set(
        pieces,
        list_missing(config.dst, identity, pieces),
        make,
        lambda _: None,
        encode=None if is_array else encode_png,
        shapes={_NAME: (len(source), *source.size, source.channels)},
        num_files=len(source),
        num_processes=1,
        step=config.batch_size,
    )
    return found.lines(config.dst)


def _list_pieces(total: int, step: int) -> list[Piece]:
    """The batches of a set."""
    return [
        Piece(name=_NAME, severity=0, start=first, stop=min(first + step, total), row=first)
        for first in range(0, total, step)
    ]


@dataclass
class _BatchStylizer:
    """Stylise batches of uint8 images, computing the statistics of each style only once."""

    config: StylizeConfig
    stylizer: Stylizer
    styles: StyleImages
    device: torch.device
    _statistics: dict[int, ChannelStatistics] = field(default_factory=dict)

    def stylize(
        self,
        images: UInt8[np.ndarray, "batch height width channel"],
        drawn: Int64[np.ndarray, " batch"],
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """Stylise images, each in the style image that was drawn for it."""
        is_bf16 = self.config.precision == "bf16"
        floats = to_floats(images).to(self.device)
        is_grey = floats.shape[1] == 1
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=is_bf16),
        ):
            found = [self._encode_style(int(index)) for index in drawn]
            style = ChannelStatistics(
                mean=torch.cat([one.mean for one in found]),
                std=torch.cat([one.std for one in found]),
            )
            colour = floats.expand(-1, 3, -1, -1)
            stylised = self.stylizer(colour, style, alpha=self.config.alpha)
        if not bool(torch.isfinite(stylised).all()):
            raise RunError("a stylised image is not finite; use --precision fp32 or fit again")
        if is_grey:
            weights = stylised.new_tensor(_LUMA)[None, :, None, None]
            stylised = (stylised * weights).sum(1, keepdim=True)
        return to_bytes(stylised)

    def _encode_style(self, index: int) -> ChannelStatistics:
        if index not in self._statistics:
            image = to_floats(self.styles.image(index)[None]).to(self.device)
            self._statistics[index] = self.stylizer.encode_style(image)
        return self._statistics[index]


def find_skipped_styles(
    styles: StyleImages, ids: Int64[np.ndarray, " image"], used: Sequence[str], stream: Stream
) -> list[str]:
    """Return the broken style images that were drawn before those that were used, sorted."""
    files, wanted = (np.array(names, object) for names in (styles.files, used))
    found: set[str] = set()
    for attempt in count():
        drawn = files[styles.draw_any(ids, stream, attempt=attempt)]
        is_other = drawn != wanted
        if not is_other.any():
            break
        found.update(drawn[is_other])
        ids, wanted = ids[is_other], wanted[is_other]
    return sorted(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSink(TreeSink):
    """Writes ``class/image.png`` for every image."""

    def _frames(
        self, piece: Piece, file: str, image: Frame | Iterable[Frame]
    ) -> Iterable[tuple[str, Frame]]:
        yield file, np.asarray(image)


@dataclass(frozen=True, slots=True, kw_only=True)
class NpzSink(ArraySink):
    """Writes ``<split>.npz`` with ``images``, ``labels`` and ``class_names``."""

    split: str
    labels: Int64[np.ndarray, " image"]
    class_names: tuple[str, ...]

    def finish(self, name: str, pieces: Sequence[Piece]) -> None:
        """Write the archive from the array, whose pieces are all written."""
        if not is_whole(self.folder, self._mark(name)):
            self._check_rows(name, pieces)
            images = np.lib.format.open_memmap(self._growing(name), "r")
            names = np.array(self.class_names)
            arrays = {"images": images, "labels": self.labels, "class_names": names}
            write_npz(self._final(name), arrays, is_compressed=False)
            path, *found = describe_file(self._final(name))
            write_json(self._mark(name), {"files": {path: found}})

    def checksums(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, int, str]]:
        """Yield path, bytes and sha256 of the archive."""
        yield describe_file(self._final(_NAME))

    def _final(self, name: str) -> Path:
        return self.folder / f"{self.split}.npz"


def _open_sink(
    layout: str, source: Source, config: StylizeConfig, work: Path
) -> FolderSink | NpzSink:
    folder, verify = config.dst, config.verify
    if layout == "npz":
        return NpzSink(
            folder=folder,
            work=work,
            verify=verify,
            shapes={_NAME: (len(source), *source.size, source.channels)},
            split=source.split,
            labels=source.labels,
            class_names=source.class_names,
        )
    for name in source.class_names:  # a class without images gets its folder too
        (folder / name).mkdir(parents=True, exist_ok=True)
    files = name_files(source.files, source.labels, source.class_names)
    return FolderSink(
        folder=folder, work=work, files=files, encode=encode_png, folders={}, verify=verify
    )


def _describe(
    config: StylizeConfig,
    source: Source,
    styles: StyleImages,
    networks: dict[str, Any],
    device: torch.device,
) -> dict[str, Any]:
    """Return everything that the bytes of the set depend on."""
    usual = "folder" if source.files else "npz"
    return {
        "form": "stylised",
        "layout": usual if config.layout == "auto" else config.layout,
        "alpha": config.alpha,
        "seed": config.seed,
        **networks,
        "style_size": styles.size,
        "styles": {"num_pictures": len(styles.files), "fingerprint": styles.fingerprint},
        "batch_size": config.batch_size,
        "precision": config.precision,
        "arithmetic": describe_arithmetic(device),
        "source": describe_source(source),
        "versions": versions(),
    }


def encode_png(image: UInt8[np.ndarray, "height width channel"]) -> bytes:
    """Encode an image as PNG, which is lossless."""
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def name_files(
    files: Sequence[str], labels: Int64[np.ndarray, " image"], class_names: Sequence[str]
) -> tuple[str, ...]:
    """Return ``class/image.png`` for every image, in the order of the images.

    A file keeps its name with the suffix ``.png``. If that would change the order or make two names
    equal, or if the images are no files, all are named by their numbers.
    """
    named = tuple(str(PurePosixPath(file).with_suffix(".png")) for file in files)
    pairs = list(zip(labels.tolist(), named, strict=bool(named)))
    if named and all(before < after for before, after in pairwise(pairs)):
        return named
    digits = max(8, len(str(len(labels))))
    return tuple(
        f"{class_names[label]}/{number:0{digits}d}.png" for number, label in enumerate(labels)
    )


def _write_styles(folder: Path, images: Iterable[str], styles: Sequence[str]) -> None:
    lines = [f"{_quote(i)},{_quote(s)}\n" for i, s in zip(images, styles, strict=True)]
    text = "image,style\n" + "".join(lines)
    write_bytes(folder / STYLES_FILE, text.encode("utf-8", "surrogateescape"))


def _quote(text: str) -> str:
    text = escape_cell(text)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text

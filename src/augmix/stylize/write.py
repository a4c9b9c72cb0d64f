"""Write stylised copies of data sets.

`open_source` reads them as ``folder`` or ``npz``, with the classes and the order of the original.
The style of an image is drawn at its address, so neither order nor restarts change it: writing that
was killed and started again ends with the same files. `manifest.json` says how the set was made,
``styles.csv`` which style every image has, `SHA256SUMS` what every file must be. Geirhos et al.
(2019), "ImageNet-trained CNNs are biased towards texture".
"""

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, count, pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from augmix.data.batches import run_ahead
from augmix.devices import resolve_device, torch_settings
from augmix.errors import RunError
from augmix.files import load_json, write_bytes, write_npz
from augmix.progress import OnProgress, PieceWritten, ignore
from augmix.rng import Stream
from augmix.stylize import Precision, StylizeConfig
from augmix.stylize.adain import (
    ChannelStatistics,
    Stylizer,
    describe_arithmetic,
    to_bytes,
    to_floats,
)
from augmix.stylize.networks import check_size, open_stylizer
from augmix.stylize.styles import (
    WRITING,
    Content,
    StyleCache,
    StyleImages,
    choose_style_size,
    open_content,
    open_styles,
    style_stream,
)
from augmix.write.destination import (
    ArraySink,
    Frame,
    Piece,
    TreeSink,
    complete,
    describe_source,
    hash_file,
    hold_destination,
    versions,
)

STYLES_FILE = "styles.csv"
_NAME = "stylised"  # of the pieces
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow converts colour to grey


def stylize(config: StylizeConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Write a stylised copy of a data set, or continue writing it.

    Images keep number, class, size and channels. Grey images are stylised in colour and converted
    back to grey.

    Args:
        config: The settings.
        on_progress: Called with `PieceWritten` after every batch.

    Returns:
        The set's folder.

    Raises:
        ValueError: If a setting is out of range.
        RunError: If networks or images are missing, broken or do not fit, or the folder holds
            something else.
    """
    device = resolve_device(config.device)
    with torch_settings(device, seed=config.seed, num_threads=config.num_threads or 0):
        content = open_content(config)
        styles = open_styles(config.styles)
        stylizer, networks = open_stylizer(
            config.decoder, config.encoder, size=content.size, scale=config.scale
        )
        style_size = choose_style_size(config.style_size, content.size * stylizer.scale)
        check_size(stylizer.stride, style_size, "style images")
        identity = _describe(config, content, styles, networks, style_size, device)
        batches = BatchStylizer(
            stylizer=stylizer.to(device),
            styles=StyleCache(styles, size=style_size, on_error=config.on_error),
            device=device,
            precision=config.precision,
        )
        with hold_destination(config.dst, identity) as work:
            if work is not None:
                sink = _open_sink(identity["layout"], content, config.dst, work)
                pieces = _split(config, content)
                _write_missing(config, content, batches, sink, pieces, on_progress or ignore)
                sink.finish(_NAME)
                marks = [load_json(piece.mark(work)) for piece in pieces]
                used = [style for mark in marks for style in mark["styles"]]
                images = sink.files if isinstance(sink, FolderSink) else map(str, range(len(used)))
                _write_styles(config.dst, images, used)
                stream = style_stream(config.seed, WRITING)
                skipped = {
                    "images": [where for where, _ in content.source.skipped],
                    "styles": find_skipped_styles(styles, content.ids, used, stream),
                }
                sums = chain(sink.checksums(pieces), [hash_file(config.dst / STYLES_FILE)])
                complete(config.dst, {**identity, "skipped": skipped}, sums)
    return config.dst


class BatchStylizer:
    """Stylise batches of uint8 images, computing the statistics of each style only once.

    Args:
        stylizer: The networks, on the device.
        styles: The style images.
        device: The device.
        precision: ``fp32``, or ``bf16`` by autocast.
    """

    def __init__(
        self,
        *,
        stylizer: Stylizer,
        styles: StyleCache,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self.stylizer = stylizer
        self.styles = styles
        self.device = device
        self.precision = precision
        self._statistics: dict[int, ChannelStatistics] = {}

    def encode_styles(self, indices: Int64[np.ndarray, " batch"]) -> ChannelStatistics:
        """Return the statistics of style images, each encoded by itself."""
        found = [self._encode_style(int(index)) for index in indices]
        return ChannelStatistics(
            mean=torch.cat([style.mean for style in found]),
            std=torch.cat([style.std for style in found]),
        )

    def stylize(
        self,
        images: UInt8[np.ndarray, "batch height width channel"],
        style: ChannelStatistics,
        alpha: float,
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """Stylise images, each in its own style.

        Raises:
            RunError: If a stylised image is not finite.
        """
        floats = to_floats(images).to(self.device)
        is_grey = floats.shape[1] == 1
        with self._computing():
            stylised = self.stylizer(floats.expand(-1, 3, -1, -1), style, alpha=alpha)
        if not bool(torch.isfinite(stylised).all()):
            raise RunError("a stylised image is not finite; use --precision fp32 or fit again")
        return to_bytes(_to_grey(stylised) if is_grey else stylised)

    def _encode_style(self, index: int) -> ChannelStatistics:
        if index not in self._statistics:
            image = to_floats(self.styles.image(index)[None]).to(self.device)
            with self._computing():
                self._statistics[index] = self.stylizer.encode_style(image)
        return self._statistics[index]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        is_bf16 = self.precision == "bf16"
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=is_bf16),
        ):
            yield


def _to_grey(
    images: Float32[Tensor, "batch 3 height width"],
) -> Float32[Tensor, "batch 1 height width"]:
    weights = images.new_tensor(_LUMA)[None, :, None, None]
    return (images * weights).sum(1, keepdim=True)


def find_skipped_styles(
    styles: StyleImages, ids: Int64[np.ndarray, " image"], used: Sequence[str], stream: Stream
) -> list[str]:
    """Return the broken style images that were drawn before those that were used, sorted."""
    found: set[str] = set()
    waiting = np.arange(len(ids))
    for attempt in count():
        indices = styles.draw(ids[waiting], stream, attempt=attempt)
        drawn = [styles.files[index] for index in indices]
        is_other = np.array([file != used[int(i)] for file, i in zip(drawn, waiting, strict=True)])
        if not is_other.any():
            break
        found |= {file for file, other in zip(drawn, is_other, strict=True) if other}
        waiting = waiting[is_other]
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
    """Writes ``<split>.npz`` with ``images``, ``labels`` and ``class_names``.

    Attributes:
        split: Name of the file.
        labels: Label of every image.
        class_names: Names of the classes.
    """

    split: str
    labels: Int64[np.ndarray, " image"]
    class_names: tuple[str, ...]

    def finish(self, name: str) -> None:
        """Write the archive from the array, whose pieces are all written."""
        if not self._final(name).exists():
            images = np.lib.format.open_memmap(self._growing(name), "r")
            names = np.array(self.class_names)
            arrays = {"images": images, "labels": self.labels, "class_names": names}
            write_npz(self._final(name), arrays, is_compressed=False)

    def checksums(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, int, str]]:
        """Yield path, bytes and sha256 of the archive."""
        yield hash_file(self._final(_NAME))

    def _final(self, name: str) -> Path:
        return self.folder / f"{self.split}.npz"


def _write_missing(
    config: StylizeConfig,
    content: Content,
    batches: BatchStylizer,
    sink: FolderSink | NpzSink,
    pieces: Sequence[Piece],
    emit: OnProgress,
) -> None:
    """Stylise the pieces that are not written yet; images are loaded while the networks compute."""
    missing = sink.prepare(_NAME, pieces)
    total = len(content.ids)
    skipped = done = total - sum(piece.stop - piece.start for piece in missing)
    stream = style_stream(config.seed, WRITING)
    start_s = time.perf_counter()

    def load(number: int) -> np.ndarray:
        return content.source.load(np.arange(missing[number].start, missing[number].stop))

    with closing(run_ahead(load, range(len(missing)))) as loaded:
        for piece, images in zip(missing, loaded, strict=True):
            drawn = batches.styles.draw(content.ids[piece.start : piece.stop], stream)
            stylised = batches.stylize(images, batches.encode_styles(drawn), config.alpha)
            styles = [batches.styles.styles.files[index] for index in drawn]
            sink.write(piece, stylised, styles=styles)
            done += len(images)
            rate = (done - skipped) / max(time.perf_counter() - start_s, 1e-9)
            emit(
                PieceWritten(name=_NAME, severity=0, done=done, total=total, images_per_second=rate)
            )


def _split(config: StylizeConfig, content: Content) -> list[Piece]:
    """Split the images into batches."""
    total, step = len(content.ids), config.batch_size
    return [
        Piece(name=_NAME, severity=0, start=start, stop=min(start + step, total), row=start)
        for start in range(0, total, step)
    ]


def _open_sink(layout: str, content: Content, folder: Path, work: Path) -> FolderSink | NpzSink:
    source = content.source
    if layout == "npz":
        return NpzSink(
            folder=folder,
            work=work,
            shapes={_NAME: (len(source), *source.size, source.channels)},
            split=source.split,
            labels=source.labels,
            class_names=source.class_names,
        )
    for name in source.class_names:  # a class without images gets its folder too
        (folder / name).mkdir(parents=True, exist_ok=True)
    files = name_files(content.files, source.labels, source.class_names)
    return FolderSink(folder=folder, work=work, files=files, encode=encode_png)


def _describe(
    config: StylizeConfig,
    content: Content,
    styles: StyleImages,
    networks: dict[str, Any],
    style_size: int,
    device: torch.device,
) -> dict[str, Any]:
    """Describe everything that the bytes of the set depend on."""
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
        "style_size": style_size,
        "styles": {"num_pictures": len(styles), "fingerprint": styles.fingerprint},
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
    """Write a CSV file of image and style."""
    lines = [f"{_quote(i)},{_quote(s)}\n" for i, s in zip(images, styles, strict=True)]
    text = "image,style\n" + "".join(lines)
    write_bytes(folder / STYLES_FILE, text.encode("utf-8", "surrogateescape"))


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text

"""`augmix stylize`: every image of a set painted in the style of one picture (Stylized-ImageNet).

Geirhos et al. (2019), "ImageNet-trained CNNs are biased towards texture". The style of an image is
drawn at its address, so neither order nor restarts change it; what is finished is marked, and a
writing that was killed and started again ends with the same files. `manifest.json` says how the set
was made, ``styles.csv`` which picture every image has, `SHA256SUMS` what every file must be.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from augmix.data.batches import prefetch
from augmix.engine.devices import resolve_device, torch_settings
from augmix.engine.progress import OnProgress, ignore
from augmix.records import RunError
from augmix.streams import Stream
from augmix.stylize.adain import Painter, Statistics
from augmix.stylize.arithmetic import arithmetic, to_floats, to_levels
from augmix.stylize.content import Content, open_content
from augmix.stylize.decoders import open_painter
from augmix.stylize.encoders import check_side
from augmix.stylize.settings import StylizeConfig
from augmix.stylize.shelves import PictureArray, PictureTree, Shelf, name_pictures
from augmix.stylize.styles import WRITING, Styles, StyleShelf, open_styles, style_side, style_stream
from augmix.writers.manifests import complete, hold_destination, versions
from augmix.writers.shelves import Piece

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow turns colour into grey


def stylize(config: StylizeConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Write the stylised form of a data set, or go on with it.

    Images keep number, class, size and channels: `open_source` reads the set back as ``folder`` or
    ``npz``. Grey images are painted in colour and turned grey again.

    Args:
        config: What is painted how.
        on_progress: Called with ``{"event": "piece", "done", "total", ...}`` as images get ready.

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
            place = {"name": "stylised", "severity": 0, "images_per_second": rate}
            emit({"event": "piece", "done": done, "total": total, **place})


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

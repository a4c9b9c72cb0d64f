"""Writers of the -C and -P form of any data set, in the official layouts.

The clean images are laid down once in a work folder; processes then make piece after piece, each
at the addresses of its images, so their number does not matter. What is finished is marked: killed
and started again, the writing goes on to the same bytes. `manifest.json` says how a set was made,
`SHA256SUMS` (for ``sha256sum -c``) what every file must be; `data.official` and `data.frames` read
the set back.

| layout | corrupted | perturbed |
| --- | --- | --- |
| ``cifar`` | ``fog.npy`` [5 n, height, ...], ``labels.npy`` | ``tilt.npy`` [n, frame, ...] |
| ``imagenet`` | ``fog/<severity>/<class>/<image>.JPEG`` | ``tilt/<class>/<image>/<frame>.JPEG`` |

The published ImageNet-P holds an H.264 video for every image. No encoder of that comes with the
package, and what encoders write changes with their version, so frames are files here.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from augmix.corrupt import frost, sequences, suite
from augmix.corrupt.presets import check_sides, resolve_preset
from augmix.data.folders import Photographs
from augmix.data.items import default_threads
from augmix.data.layouts import LABELS_FILE
from augmix.data.sources import Source, Subset
from augmix.records import open_atomic
from augmix.writers.making import Corruption, Making, Perturbation, Shelf
from augmix.writers.manifests import complete, hold_destination, versions
from augmix.writers.pieces import run_pieces
from augmix.writers.shelves import ArrayShelf, Piece, TreeShelf, name_files

CLEAN_FILE = "clean.npy"
_PIECE_BYTES = 2**25  # of images made at a time
_MOST_IMAGES = 1024  # in a piece
_FRAME_BYTES = 224 * 224 * 3  # of a photograph's frame

Layout = Literal["cifar", "imagenet"]
OnProgress = Callable[[dict[str, Any]], None]


def write_corrupted(
    source: Source,
    destination: Path | str,
    *,
    names: Sequence[str] = suite.ALL_19,
    severities: Sequence[int] = suite.SEVERITIES,
    preset: str = "auto",
    seed: int = 0,
    layout: Layout = "cifar",
    num_processes: int = 0,
    jpeg_quality: int = 85,
    frost_textures: Path | str | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write the -C form of a source: each image under each corruption at each severity.

    The bytes depend on the images, their order, and the settings, not on the number of processes
    or on how often the writing was stopped. Image i is corrupted at id i, as `evaluate` does.

    Args:
        source: The clean images; all of one size.
        destination: The set's folder, made if missing. If it holds the same set, finished or not,
            the writing goes on.
        names: Corruptions and lists of them, see `suite.resolve_names`.
        severities: 1..5; the layout ``cifar`` needs all five.
        preset: As for `augmix.corrupt`.
        seed: As for `augmix.corrupt`.
        layout: ``cifar`` for arrays, which keep every bit; ``imagenet`` for JPEG files, which do
            not. Image files keep their names; grey images are read back as RGB from JPEG.
        num_processes: Processes; 0 takes every processor this process may use.
        jpeg_quality: 1..100; the published sets have 85.
        frost_textures: As for `augmix.corrupt`.
        on_progress: Called with ``{"event": "preset", "preset", "asked", "size"}`` at the start and
            ``{"event": "piece", "done", "total", "name", "severity", "images_per_second"}`` as
            images get ready.

    Returns:
        The destination.

    Raises:
        ValueError: If an argument is out of range.
        RunError: If the destination holds something else or cannot be written, or an image is
            broken.
    """
    names = suite.resolve_names(names)
    wrong = [severity for severity in severities if severity not in suite.SEVERITIES]
    if wrong or len(set(severities)) < len(severities) or not severities:
        raise ValueError(f"severities must be some of 1..5, each once, got {list(severities)}")
    if layout == "cifar" and tuple(sorted(severities)) != suite.SEVERITIES:
        raise ValueError(
            f"layout 'cifar' stores all severities 1..5 in one array, got {list(severities)}; take "
            "all five, or layout 'imagenet'"
        )
    num_processes = _check_common(layout, num_processes, jpeg_quality)
    check_sides(source.size, "corrupt")
    textures = None if frost_textures is None else Path(frost_textures)
    asked, preset = preset, resolve_preset(preset, source.size)
    _tell_preset(on_progress, asked, preset, source.size)
    identity = {
        "form": "corrupted",
        "layout": layout,
        "names": list(names),
        "severities": sorted(severities),
        "preset": preset,
        "seed": seed,
        "suite_version": suite.SUITE_VERSION,
        "frost_sha256": frost.fingerprint(textures) if "frost" in names else None,
        **_describe(source, layout, jpeg_quality),
    }
    count = len(source)
    image_shape = (*source.size, source.channels)
    pieces = [
        Piece(
            name=name, severity=severity, start=start, stop=stop, row=(severity - 1) * count + start
        )
        for name in names
        for severity in sorted(severities)
        for start, stop in _cut(count, math.prod(image_shape))
    ]
    folder = Path(destination)
    with hold_destination(folder, identity) as work:
        if work is not None:
            shapes = {name: (len(suite.SEVERITIES) * count, *image_shape) for name in names}
            shelf = _build_shelf(source, layout, folder, work, shapes, jpeg_quality)
            if layout == "cifar":
                _write_labels(folder / LABELS_FILE, np.tile(source.labels, len(suite.SEVERITIES)))
            corruption = Corruption(
                clean=_lay_down(source, work),
                names=names,
                preset=preset,
                seed=seed,
                frost_textures=textures,
            )
            _work_off(corruption, shelf, pieces, num_processes, on_progress)
            complete(folder, identity, shelf.sums(pieces))
    return folder


def write_perturbed(
    source: Source | Photographs,
    destination: Path | str,
    *,
    names: Sequence[str] = sequences.STANDARD_10,
    preset: str = "auto",
    seed: int = 0,
    difficulty: int = 1,
    layout: Layout = "cifar",
    num_processes: int = 0,
    jpeg_quality: int = 85,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write the -P form of a source: the perturbation sequences of each image.

    Noise of difficulty 2 or 3 goes by the names ``gaussian_noise_2`` etc., as published.

    Args:
        source: The clean images; see `augmix.corrupt.sequences` for which part is shown. With
            `Photographs`, which need the layout ``imagenet`` and a preset by name, the published
            preparation of photographs of any size.
        destination: As for `write_corrupted`.
        names: Perturbations and lists of them, see `sequences.resolve_names`.
        preset: As for `augmix.perturb`.
        seed: As for `augmix.perturb`.
        difficulty: 1, 2 or 3; how strong noise is.
        layout: ``cifar`` for arrays, ``imagenet`` for folders of JPEG frames.
        num_processes: As for `write_corrupted`.
        jpeg_quality: Of the frames, 1..100.
        on_progress: As for `write_corrupted`; images are sequences, their severity is 0.

    Returns:
        The destination.

    Raises:
        ValueError: If an argument is out of range.
        RunError: As for `write_corrupted`.
    """
    names = sequences.resolve_names(names)
    num_processes = _check_common(layout, num_processes, jpeg_quality)
    if difficulty not in sequences.DIFFICULTIES:
        raise ValueError(f"difficulty must be 1, 2 or 3, got {difficulty}")
    if isinstance(source, Photographs):
        if layout == "cifar" or preset == "auto":
            raise ValueError(
                "photographs of any size need layout 'imagenet' and a preset by name, got "
                f"{layout!r} and {preset!r}; or open the folder with a size"
            )
        size = ()
    else:
        check_sides(source.size, "perturb")
        asked, preset = preset, resolve_preset(preset, source.size)
        _tell_preset(on_progress, asked, preset, source.size)
        size = sequences.frame_size(source.size, preset)
    titles = {_title(name, difficulty): name for name in names}
    identity = {
        "form": "perturbed",
        "layout": layout,
        "names": list(titles),
        "difficulty": difficulty,
        "preset": preset,
        "seed": seed,
        "suite_version": sequences.SEQUENCE_VERSION,
        **_describe(source, layout, jpeg_quality),
    }
    counts = {title: sequences.num_frames(name, preset) for title, name in titles.items()}
    num_bytes = math.prod(size) * source.channels if size else _FRAME_BYTES
    pieces = [
        Piece(name=title, severity=0, start=start, stop=stop, row=start)
        for title in titles
        for start, stop in _cut(len(source), counts[title] * num_bytes)
    ]
    folder = Path(destination)
    with hold_destination(folder, identity) as work:
        if work is not None:
            shapes = {
                title: (len(source), count, *size, source.channels)
                for title, count in counts.items()
            }
            shelf = _build_shelf(source, layout, folder, work, shapes, jpeg_quality)
            perturbation = Perturbation(
                clean=source if isinstance(source, Photographs) else _lay_down(source, work),
                titles=titles,
                preset=preset,
                seed=seed,
                difficulty=difficulty,
            )
            _work_off(perturbation, shelf, pieces, num_processes, on_progress)
            complete(folder, identity, shelf.sums(pieces))
    return folder


def _work_off(
    damage: Corruption | Perturbation,
    shelf: Shelf,
    pieces: Sequence[Piece],
    num_processes: int,
    on_progress: OnProgress | None,
) -> None:
    """Make what is not there yet; a name is finished when all its pieces are."""
    groups: dict[str, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(piece.name, []).append(piece)
    open_pieces = {name: shelf.prepare(name, group) for name, group in groups.items()}
    waiting = {name: len(group) for name, group in open_pieces.items()}
    for name in groups:
        if not waiting[name]:
            shelf.finish(name)
    missing = [piece for group in open_pieces.values() for piece in group]
    total = sum(piece.stop - piece.start for piece in pieces)
    skipped = done = total - sum(piece.stop - piece.start for piece in missing)
    start_s = time.perf_counter()
    making = Making(damage=damage, shelf=shelf)
    for piece, _ in run_pieces(making, missing, num_processes=num_processes):
        waiting[piece.name] -= 1
        if not waiting[piece.name]:
            shelf.finish(piece.name)
        done += piece.stop - piece.start
        if on_progress is not None:
            rate = (done - skipped) / max(time.perf_counter() - start_s, 1e-9)
            place = {"name": piece.name, "severity": piece.severity, "images_per_second": rate}
            on_progress({"event": "piece", "done": done, "total": total, **place})


def _tell_preset(
    on_progress: OnProgress | None, asked: str, preset: str, size: tuple[int, int]
) -> None:
    if on_progress is not None:
        on_progress({"event": "preset", "preset": preset, "asked": asked, "size": size})


def _build_shelf(
    source: Source | Photographs,
    layout: Layout,
    folder: Path,
    work: Path,
    shapes: dict[str, tuple[int, ...]],
    jpeg_quality: int,
) -> Shelf:
    if layout == "cifar":
        return ArrayShelf(folder=folder, work=work, shapes=shapes)
    files = name_files(_find_files(source), source.labels, source.class_names)
    return TreeShelf(folder=folder, work=work, files=files, quality=jpeg_quality)


def _find_files(source: Source | Photographs) -> tuple[str, ...]:
    """Where the images lie below their set, for sources made of image files; else empty."""
    if isinstance(source, Subset):
        files = _find_files(source.source)
        return tuple(files[index] for index in source.ids) if files else ()
    return getattr(source, "files", ())


def _lay_down(source: Source, work: Path) -> Path:
    """Decode every image once, to a file that all processes map into their memory."""
    path = work / CLEAN_FILE
    if path.exists():  # whole, and of this very source, as the manifest says
        return path
    shape = (len(source), *source.size, source.channels)
    growing = path.with_suffix(".growing")
    clean = np.lib.format.open_memmap(growing, "w+", dtype=np.uint8, shape=shape)
    for start, stop in _cut(len(source), math.prod(shape[1:])):
        clean[start:stop] = source.load(np.arange(start, stop))
    clean.flush()
    del clean
    os.replace(growing, path)
    return path


def _cut(count: int, num_bytes: int) -> list[tuple[int, int]]:
    """The images 0 .. count - 1 in pieces, from what is made of an image in bytes."""
    step = max(1, min(_MOST_IMAGES, _PIECE_BYTES // num_bytes))
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def _write_labels(path: Path, labels: np.ndarray) -> None:
    with open_atomic(path) as file:
        np.save(file, labels.astype(np.int64))


def _title(name: str, difficulty: int) -> str:
    is_noise = sequences.find(name).kind == "noise"
    return f"{name}_{difficulty}" if is_noise and difficulty > 1 else name


def _describe(source: Source | Photographs, layout: Layout, jpeg_quality: int) -> dict[str, Any]:
    """What decides about the bytes besides the damage."""
    is_tree = isinstance(source, Photographs)
    return {
        "jpeg_quality": jpeg_quality if layout == "imagenet" else None,
        "source": {
            "name": "folder" if is_tree else source.name,
            "split": source.split,
            "num_images": len(source),
            "size": None if is_tree else list(source.size),
            "channels": source.channels,
            "class_names": list(source.class_names),
            "fingerprint": source.fingerprint,
        },
        "versions": versions(),
    }


def _check_common(layout: str, num_processes: int, jpeg_quality: int) -> int:
    """The number of processes, all of this process's processors for 0."""
    if layout not in ("cifar", "imagenet"):
        raise ValueError(f"layout must be 'cifar' or 'imagenet', got {layout!r}")
    if num_processes < 0:
        raise ValueError(f"num_processes must be 0 (all processors) or more, got {num_processes}")
    if not 1 <= jpeg_quality <= 100:
        raise ValueError(f"jpeg_quality must be 1..100, got {jpeg_quality}")
    return num_processes or default_threads()

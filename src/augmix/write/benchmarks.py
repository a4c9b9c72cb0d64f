"""The -C and -P form of any data set, in the official layouts.

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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from augmix.corruptions import corrupt, frost, perturb, registry
from augmix.corruptions.registry import check_size, resolve_preset
from augmix.data.benchmarks import LABELS_FILE
from augmix.data.folders import Photographs, open_photographs
from augmix.data.items import default_threads
from augmix.data.sources import Source, Subset, name_source, open_source, take
from augmix.files import open_atomic
from augmix.progress import Note, OnProgress, PieceWritten
from augmix.write.manifests import complete, hold_destination, versions
from augmix.write.pieces import Corruption, Making, Perturbation, Shelf, run_pieces
from augmix.write.sinks import ArrayShelf, Piece, TreeShelf, name_files

CLEAN_FILE = "clean.npy"
_PIECE_BYTES = 2**25  # of images made at a time
_MOST_IMAGES = 1024  # in a piece
_FRAME_BYTES = 224 * 224 * 3  # of a photograph's frame

Layout = Literal["cifar", "imagenet"]


def write_corrupted(
    source: Source,
    destination: Path | str,
    *,
    names: Sequence[str] = ("paper-15", "extra-4"),
    severities: Sequence[int] = registry.SEVERITIES,
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
        on_progress: Called with a `Note` of the preset if it was chosen, and with `PieceWritten`.

    Returns:
        The destination.

    Raises:
        ValueError: If an argument is out of range.
        RunError: If the destination holds something else or cannot be written, or an image is
            broken.
    """
    names = registry.CORRUPTIONS.resolve(names)
    wrong = [severity for severity in severities if severity not in registry.SEVERITIES]
    if wrong or len(set(severities)) < len(severities) or not severities:
        raise ValueError(f"severities must be some of 1..5, each once, got {list(severities)}")
    if layout == "cifar" and tuple(sorted(severities)) != registry.SEVERITIES:
        raise ValueError(
            f"layout 'cifar' stores all severities 1..5 in one array, got {list(severities)}; take "
            "all five, or layout 'imagenet'"
        )
    num_processes = _check_common(layout, num_processes, jpeg_quality)
    check_size(source.size, "corrupt")
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
        "suite_version": corrupt.SUITE_VERSION,
        "frost_sha256": frost.fingerprint(textures) if "frost" in names else None,
        **_describe_own(registry.CORRUPTIONS, names),
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
            shapes = {name: (len(registry.SEVERITIES) * count, *image_shape) for name in names}
            shelf = _build_shelf(source, layout, folder, work, shapes, jpeg_quality)
            if layout == "cifar":
                _write_labels(
                    folder / LABELS_FILE, np.tile(source.labels, len(registry.SEVERITIES))
                )
            corruption = Corruption(
                clean=_lay_down(source, work),
                names=names if num_processes == 1 else registry.CORRUPTIONS.references(names),
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
    names: Sequence[str] = ("standard-10",),
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
        source: The clean images; see `augmix.corruptions.perturb` for which part is shown. With
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
    names = registry.SEQUENCES.resolve(names)
    num_processes = _check_common(layout, num_processes, jpeg_quality)
    if difficulty not in registry.DIFFICULTIES:
        raise ValueError(f"difficulty must be 1, 2 or 3, got {difficulty}")
    if isinstance(source, Photographs):
        if layout == "cifar" or preset == "auto":
            raise ValueError(
                "photographs of any size need layout 'imagenet' and a preset by name, got "
                f"{layout!r} and {preset!r}; or open the folder with a size"
            )
        size = ()
    else:
        check_size(source.size, "perturb")
        asked, preset = preset, resolve_preset(preset, source.size)
        _tell_preset(on_progress, asked, preset, source.size)
        size = perturb.frame_size(source.size, preset)
    titles = {_title(name, difficulty): name for name in names}
    identity = {
        "form": "perturbed",
        "layout": layout,
        "names": list(titles),
        "difficulty": difficulty,
        "preset": preset,
        "seed": seed,
        "suite_version": perturb.SEQUENCE_VERSION,
        **_describe_own(registry.SEQUENCES, names),
        **_describe(source, layout, jpeg_quality),
    }
    counts = {title: registry.num_frames(name, preset) for title, name in titles.items()}
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
                names=names if num_processes == 1 else registry.SEQUENCES.references(names),
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
            on_progress(
                PieceWritten(
                    name=piece.name,
                    severity=piece.severity,
                    done=done,
                    total=total,
                    images_per_second=rate,
                )
            )


def _tell_preset(
    on_progress: OnProgress | None, asked: str, preset: str, size: tuple[int, int]
) -> None:
    if on_progress is not None and asked == "auto":
        height, width = size
        on_progress(Note(text=f"preset {preset}, by the size of {height} x {width} pixels"))


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
    is_noise = registry.SEQUENCES[name].is_noise
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


def _describe_own(known: registry.Registry, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The sha256 of the code behind each of the user's own, if there are any."""
    own = known.hash_own(names)
    return {"own": own} if own else {}


def _check_common(layout: str, num_processes: int, jpeg_quality: int) -> int:
    """The number of processes, all of this process's processors for 0."""
    if layout not in ("cifar", "imagenet"):
        raise ValueError(f"layout must be 'cifar' or 'imagenet', got {layout!r}")
    if num_processes < 0:
        raise ValueError(f"num_processes must be 0 (all processors) or more, got {num_processes}")
    if not 1 <= jpeg_quality <= 100:
        raise ValueError(f"jpeg_quality must be 1..100, got {jpeg_quality}")
    return num_processes or default_threads()


@dataclass(frozen=True, kw_only=True, slots=True)
class CorruptConfig:
    """The -C form of a data set: every image under every corruption at every severity."""

    src: str
    """Folder or file of the images, or the word digits."""
    dst: Path
    """Folder of the set to write; an unfinished one of the same settings is continued."""
    source: Literal["auto", "digits", "cifar10", "cifar100", "folder", "parquet", "npz"] = "auto"
    """Kind of the images; auto takes digits, npz and parquet by name, all else for a folder."""
    split: str = "test"
    """Part of the images: train, test or val."""
    size: int = 0
    """Side of the images in pixels; 0 keeps the stored size; a folder is brought to 224 (299 for
    imagenet-299)."""
    max_images: int = 0
    """Write a fixed random part of the images; 0 takes all."""
    on_error: Literal["raise", "skip"] = "raise"
    """What a broken image does: stop the writing, or be left out."""
    names: tuple[str, ...] = ("paper-15", "extra-4")
    """Corruptions, paper-15, extra-4, or your own as python:FILE:FUNCTION."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Severities, 1..5; the layout cifar needs all."""
    preset: Literal["auto", "cifar", "tiny", "imagenet", "imagenet-299"] = "auto"
    """Strength table; auto goes by image size."""
    seed: int = 0
    """Seed of the draws."""
    layout: Literal["auto", "cifar", "imagenet"] = "auto"
    """Arrays (cifar) or JPEG files (imagenet); auto takes files for image folders."""
    jpeg_quality: int = 85
    """Quality of JPEG files, 1..100; the published sets have 85."""
    frost_textures: str = ""
    """Folder of the published frost photographs; empty takes the textures the package draws."""
    num_processes: int = 0
    """Processes that work; 0 takes every processor. They do not change a byte."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PerturbConfig:
    """The -P form of a data set: the perturbation sequences of every image."""

    src: str
    """Folder or file of the images, or the word digits."""
    dst: Path
    """Folder of the set to write; an unfinished one of the same settings is continued."""
    source: Literal["auto", "digits", "cifar10", "cifar100", "folder", "parquet", "npz"] = "auto"
    """Kind of the images; auto takes digits, npz and parquet by name, all else for a folder."""
    split: str = "test"
    """Part of the images: train, test or val."""
    size: int = 0
    """Side of the images in pixels. 0 keeps the stored size; images of a folder are then prepared
    as the published scripts do: at 224 pixels out of 256, at 64, or at 299."""
    max_images: int = 0
    """Write a fixed random part of the images; 0 takes all. Not for a folder of size 0."""
    on_error: Literal["raise", "skip"] = "raise"
    """What a broken image does: stop the writing, or be left out. Not for a folder of size 0."""
    names: tuple[str, ...] = ("standard-10",)
    """Perturbations, standard-10, cifar-script-10, extra-4, or your own as python:FILE:FUNCTION."""
    preset: Literal["auto", "cifar", "tiny", "imagenet", "imagenet-299"] = "auto"
    """Table of the parameters; auto goes by image size (a folder of size 0: imagenet)."""
    seed: int = 0
    """Seed of the draws."""
    difficulty: Literal[1, 2, 3] = 1
    """How strong noise is."""
    layout: Literal["auto", "cifar", "imagenet"] = "auto"
    """Arrays (cifar) or folders of JPEG frames (imagenet); auto takes files for image folders."""
    jpeg_quality: int = 85
    """Quality of JPEG files, 1..100."""
    num_processes: int = 0
    """Processes that work; 0 takes every processor. They do not change a byte."""


def corrupt_source(config: CorruptConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Write the -C form of a data set; see `writing.write_corrupted`.

    Returns:
        The set's folder.
    """
    kind = name_source(config.src) if config.source == "auto" else config.source
    return write_corrupted(
        _open(config, kind),
        config.dst,
        names=config.names,
        severities=config.severities,
        preset=config.preset,
        seed=config.seed,
        layout=_layout(config.layout, kind),
        num_processes=config.num_processes,
        jpeg_quality=config.jpeg_quality,
        frost_textures=config.frost_textures or None,
        on_progress=on_progress,
    )


def perturb_source(config: PerturbConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Write the -P form of a data set; see `writing.write_perturbed`.

    Returns:
        The set's folder.

    Raises:
        ValueError: If a setting does not go with a folder of images of any size.
    """
    kind = name_source(config.src) if config.source == "auto" else config.source
    layout, preset = _layout(config.layout, kind), config.preset
    if kind == "folder" and not config.size:
        if config.max_images or config.on_error == "skip":
            raise ValueError("max_images and on_error='skip' need a size for a folder of images")
        source = open_photographs(Path(config.src).expanduser(), split=config.split)
        preset = "imagenet" if preset == "auto" else preset
    else:
        source = _open(config, kind)
    return write_perturbed(
        source,
        config.dst,
        names=config.names,
        preset=preset,
        seed=config.seed,
        difficulty=config.difficulty,
        layout=layout,
        num_processes=config.num_processes,
        jpeg_quality=config.jpeg_quality,
        on_progress=on_progress,
    )


def _layout(
    layout: Literal["auto", "cifar", "imagenet"], kind: str
) -> Literal["cifar", "imagenet"]:
    if layout != "auto":
        return layout
    return "imagenet" if kind == "folder" else "cifar"


def _open(config: CorruptConfig | PerturbConfig, kind: str) -> Source:
    usual = 299 if config.preset == "imagenet-299" else 224
    size = config.size or (usual if kind == "folder" else 0)
    source = open_source(
        kind,
        root=None if kind == "digits" else config.src,
        split=config.split,
        size=size,
        on_error=config.on_error,
    )
    return take(source, config.max_images) if config.max_images else source

"""Write the -C, C-bar and -P form of any data set, in the official layouts.

Processes make piece after piece, each at the addresses of its images, so that their number does not
change a byte. Finished pieces are marked: a run that was killed is continued to the same bytes.
`augmix.data.benchmarks` reads the set.

| layout | corrupted | perturbed |
| --- | --- | --- |
| ``cifar`` | ``fog.npy`` [5 n, height, ...], ``labels.npy`` | ``tilt.npy`` [n, frame, ...] |
| ``imagenet`` | ``fog/<severity>/<class>/<image>.JPEG`` | ``tilt/<class>/<image>/<frame>.JPEG`` |

The published ImageNet-P holds an H.264 video for every image. The package brings no encoder for
that, and what encoders write changes with their version, so frames are files here.

``--manifest`` writes the list of a set's images, which another program fills in with its
predictions for `augmix.evaluation.predictions`. ``list.csv`` has a row for every image that a model
must see: its ``id``, ``path`` (below the folder of the list, or relative to it), ``row`` and
``frame`` within an array, ``label``, ``suite``, ``corruption`` and ``severity``. The clean images
lie beside it, as the model of the package would see them.
"""

import csv
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from augmix.corruptions import corrupt, weather
from augmix.corruptions.digital import encode_jpeg
from augmix.corruptions.presets import check_levels, describe_preset, find_preset
from augmix.corruptions.registry import (
    CORRUPTIONS,
    SEQUENCES,
    SEVERITIES,
    AnyPreset,
    Real,
    Registry,
    check_severity,
    check_size,
)
from augmix.corruptions.registry import Preset as OwnPreset
from augmix.data.annotated import (
    ANNOTATED_LAYOUTS,
    AnnotatedLayout,
    check_whole,
    find_annotated,
)
from augmix.data.benchmarks import LABELS_FILE
from augmix.data.derived import take
from augmix.data.inventory import describe_images, record_images
from augmix.data.sources import Source, name_source, open_source
from augmix.data.stores import Photographs
from augmix.errors import RunError
from augmix.files import make_folder, open_atomic
from augmix.progress import Note, OnProgress, ignore
from augmix.shards import Pieces, find_shard
from augmix.write import (
    CorruptConfig,
    CorruptOptions,
    Layout,
    LayoutChoice,
    PerturbConfig,
    PerturbOptions,
)
from augmix.write.annotated import write_annotated
from augmix.write.destination import (
    ArraySink,
    Frame,
    Piece,
    TreeSink,
    check_apart,
    complete,
    describe_source,
    hold_destination,
    list_missing,
    name_files,
    versions,
    write_pieces,
)
from augmix.write.forecast import forecast_set
from augmix.write.processes import CleanImages, choose_num_processes, run_pieces

CLEAN_FILE = "clean.npy"
LIST_FILE = "list.csv"
LIST_FOLDER = "clean"  # of the clean images beside the list
LIST_COLUMNS = ("id", "label", "suite", "corruption", "severity", "frame", "path", "row")
_PIECE_BYTES = 2**25  # of images made at a time
_MAX_IMAGES = 1024  # in a piece
_FRAME_BYTES = 224 * 224 * 3  # of a photograph's frame
_ANY_SIZE = 256  # of images that are used as stored
_OF_ANY_SIZE = ("folder", "tar", "imagenet")  # sources whose images differ in size
_LIST_BYTES = 2**20  # of lines of the list written at a time

ListRow = tuple[Real | str, ...]


def corrupt_source(config: CorruptConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Open the images of a config, write their -C form as `write_corrupted` does, return it."""
    _check_places(config)
    if layout := _annotated_layout(config):
        return write_annotated(config, layout, on_progress=on_progress)
    kind = config.source or name_source(config.src)
    size = 299 if str(config.preset) == "imagenet-299" else 224
    source = _open(config, kind, size=config.size or (size if kind in _OF_ANY_SIZE else 0))
    _tell(source, on_progress)
    return write_corrupted(source, config.dst, config, on_progress=on_progress)


def perturb_source(config: PerturbConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Open the images of a config, write their -P form as `write_perturbed` does, return it."""
    _check_places(config)
    if layout := _annotated_layout(config):
        return write_annotated(config, layout, on_progress=on_progress)
    kind = config.source or name_source(config.src)
    is_large = config.preset in ("tiny", "imagenet", "imagenet-299")
    if config.size is None and (kind in _OF_ANY_SIZE or (kind == "parquet" and is_large)):
        config = replace(config, preset="imagenet" if config.preset == "auto" else config.preset)
        opened = _open(config, kind, size=_ANY_SIZE, is_lazy=True)
        source = opened.photographs() or opened
    else:
        source = _open(config, kind, size=config.size or 0)
    _tell(source, on_progress)
    return write_perturbed(source, config.dst, config, on_progress=on_progress)


def _check_places(config: CorruptConfig | PerturbConfig) -> None:
    """Refuse to write the set or its list into the folder of the images."""
    check_apart(config.src, config.dst)
    if config.manifest is not None:
        check_apart(config.src, config.manifest, "choose another --manifest")


def _annotated_layout(config: CorruptConfig | PerturbConfig) -> AnnotatedLayout | None:
    """The layout of images with boxes, polygons or masks; None for images of classes."""
    named = config.source if config.source in ANNOTATED_LAYOUTS else None
    root, layout = Path(config.src).expanduser(), None
    if named or config.source is None:
        layout = find_annotated(root, named)
        check_whole(root, layout)
    if layout is None and config.labels is not None:
        raise ValueError(
            f"labels {config.labels!r} is for boxes, polygons and masks, and {config.src} is no "
            "tree in the layout of COCO, YOLO or Cityscapes; leave it out"
        )
    return layout


def write_corrupted(
    source: Source,
    destination: Path | str,
    options: CorruptOptions,
    *,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write each image of a source under each corruption at each severity; return the folder.

    The bytes depend on the images, their order, and the options, not on the number of processes
    or on how often writing was interrupted. Image i is corrupted at id i, as `evaluate` does.

    Args:
        source: The clean images, all of one size.
        destination: The set's folder, made if missing. If it holds the same set, unfinished, the
            set is completed.
        options: Corruptions and form of the set. The layout ``cifar`` keeps every bit; in
            ``imagenet``, JPEG files keep the names of image files, and grey images are read back as
            RGB.
        on_progress: Called with a `Note` of the preset if it was chosen, and with `PieceWritten`.

    Raises:
        RunError: If the destination holds something else or cannot be written, an image is broken,
            or the user's code fails.
    """
    names = CORRUPTIONS.resolve(options.names)
    severities = sorted(map(check_severity, options.severities))
    layout = _choose_layout(options.layout, source)
    if layout == "cifar" and tuple(severities) != SEVERITIES:
        raise ValueError(
            f"layout 'cifar' stores all severities 1..5 in one array, got {severities}; take "
            "all five, or layout 'imagenet'"
        )
    options.check_names(names)
    _check_quality(layout, options)
    check_size(source.size, "corrupt")
    preset = _choose_preset(options.preset, source.size, on_progress or ignore)
    check_levels(preset, product(names, severities))
    folders = _name_folders(names, severities)
    if options.value_folders:
        folders = _name_by_value(layout, names, severities, preset)
    textures = options.frost_textures
    identity = {
        "form": "corrupted",
        "layout": layout,
        "names": list(names),
        "severities": severities,
        **describe_preset(preset),
        **({} if isinstance(preset, str) else {"preset_parameters": _rows(preset, names)}),
        "seed": options.seed,
        "suite_version": corrupt.SUITE_VERSION,
        "frost_sha256": weather.frost_fingerprint(textures) if "frost" in names else None,
        **({"value_folders": True} if options.value_folders else {}),
        **_describe(source, layout, options.jpeg_quality, CORRUPTIONS.hash_own(names)),
    }
    count, shape = len(source), (*source.size, source.channels)
    parts = list(_split(count, math.prod(shape)))
    pieces = [
        Piece(name=name, severity=level, start=start, stop=stop, row=row)
        for name, level, (start, stop) in product(names, severities, parts)
        for row in [int((level - 1) * count) + start]
    ]
    shapes = {name: (len(SEVERITIES) * count, *shape) for name in names}
    make = partial(
        _corrupt,
        references=_references(CORRUPTIONS, names, options),
        preset=preset,
        seed=options.seed,
        frost_textures=textures,
    )
    folder = _write_set(
        source,
        Path(destination),
        options,
        identity,
        pieces,
        shapes,
        make,
        on_progress or ignore,
        folders,
    )
    if options.manifest is not None and not options.dry_run:
        suites = {name: CORRUPTIONS[name].suite for name in names}
        rows = partial(list_corrupted, source, suites, folders, _files(source, layout))
        write_list(options.manifest, rows, folder, source)
    return folder


def write_perturbed(
    source: Source,
    destination: Path | str,
    options: PerturbOptions,
    *,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write the perturbation sequences of each image of a source; return the folder.

    Noise of difficulty 2 or 3 goes by the names ``gaussian_noise_2`` etc., as published.

    Args:
        source: The clean images; see `augmix.corruptions.corrupt` for which part is shown.
            `Photographs` are images of any size, prepared as the published scripts do; they need
            JPEG files and a preset by name.
        on_progress: As for `write_corrupted`; it counts sequences, whose severity is 0.
    """
    names = SEQUENCES.resolve(options.names)
    layout, preset = _choose_layout(options.layout, source), options.preset
    if isinstance(source, Photographs):
        if layout == "cifar" or preset == "auto":
            raise ValueError(
                "photographs of any size need layout 'imagenet' and a preset by name, got "
                f"{layout!r} and {preset!r}; or open the folder with a size"
            )
        size = ()
    else:
        check_size(source.size, "perturb")
        preset = _choose_preset(preset, source.size, on_progress or ignore)
        if not isinstance(preset, str):
            raise ValueError(
                f"preset {preset.name!r} has parameters of corruptions and none of sequences; take "
                "a published preset"
            )
        size = corrupt.frame_size(source.size, preset)
    difficulty = options.difficulty
    options.check_names(names, [name for name in names if SEQUENCES[name].is_noise])
    _check_quality(layout, options)
    titles = {
        f"{name}_{difficulty}" if SEQUENCES[name].is_noise and difficulty > 1 else name: name
        for name in names
    }
    identity = {
        "form": "perturbed",
        "layout": layout,
        "names": list(titles),
        "difficulty": difficulty,
        "preset": preset,
        "seed": options.seed,
        "suite_version": corrupt.SEQUENCE_VERSION,
        **_describe(source, layout, options.jpeg_quality, SEQUENCES.hash_own(names)),
    }
    counts = {title: SEQUENCES[name].num_frames[preset] for title, name in titles.items()}
    num_bytes = math.prod(size) * source.channels if size else _FRAME_BYTES
    pieces = [
        Piece(name=title, severity=0, start=start, stop=stop, row=start)
        for title in titles
        for start, stop in _split(len(source), counts[title] * num_bytes)
    ]
    shapes = {
        title: (len(source), count, *size, source.channels) for title, count in counts.items()
    }
    make = partial(
        _perturb,
        references=_references(SEQUENCES, names, options),
        titles=titles,
        preset=preset,
        seed=options.seed,
        difficulty=difficulty,
    )
    folder = _write_set(
        source,
        Path(destination),
        options,
        identity,
        pieces,
        shapes,
        make,
        on_progress or ignore,
        {},
    )
    if options.manifest is not None and not options.dry_run:
        rows = partial(list_perturbed, source, titles, counts, _files(source, layout))
        write_list(options.manifest, rows, folder)
    return folder


def _references(
    registry: Registry[Any], names: tuple[str, ...], options: CorruptOptions | PerturbOptions
) -> tuple[str, ...]:
    """What the processes that write find the functions by; one process alone has them."""
    is_alone = choose_num_processes(options.num_processes) == 1
    return names if is_alone else registry.references(names)


def _check_quality(layout: Layout, options: CorruptOptions | PerturbOptions) -> None:
    """Refuse a quality of JPEG files where none are written."""
    if layout == "cifar" and options.jpeg_quality != CorruptOptions().jpeg_quality:
        raise ValueError(
            f"jpeg_quality {options.jpeg_quality} would have no effect: layout 'cifar' holds "
            "arrays; take layout 'imagenet' for JPEG files"
        )


def _files(source: Source, layout: Layout) -> tuple[str, ...]:
    """Path of every image below the folder of its set or severity; none for arrays."""
    if layout == "cifar":
        return ()
    return name_files(source.files, source.labels, source.class_names)


def _write_set(
    source: Source,
    folder: Path,
    options: CorruptOptions | PerturbOptions,
    identity: dict[str, Any],
    pieces: Sequence[Piece],
    shapes: dict[str, tuple[int, ...]],
    make: Callable[..., Any],
    on_progress: OnProgress,
    folders: Mapping[tuple[str, Real], str],
) -> Path:
    """Write the pieces of a set that ``make(piece, clean=...)`` makes, unless it is complete."""
    verify, shard = options.verify, find_shard(options.shard)
    if options.dry_run:
        for line in _forecast(source, folder, options, identity, pieces, shapes, make):
            on_progress(Note(text=line))
        return folder
    held = hold_destination(folder, identity, shard=shard, verify=verify, on_progress=on_progress)
    with held as shared:
        if shared is None:
            return folder
        work = shared.path
        sink: ArraySink | TreeSink
        if identity["layout"] == "cifar":
            sink = ArraySink(folder=folder, work=work, shapes=shapes, verify=verify)
        else:
            files = _files(source, "imagenet")
            encode = partial(encode_jpeg, quality=options.jpeg_quality)
            sink = TreeSink(
                folder=folder,
                work=work,
                files=files,
                encode=encode,
                verify=verify,
                folders=folders,
            )
        own = f"clean-{shard.index}-of-{shard.count}.npy" if shard else CLEAN_FILE
        clean = CleanImages(source, work / own, is_partial=shard is not None)
        if shard is None:
            clean.decode(0, len(source))
        path = source if isinstance(source, Photographs) else clean.path
        write = partial(_write_piece, make=partial(make, clean=path), sink=sink)

        def prepare() -> None:
            if identity["layout"] == "cifar" and identity["form"] == "corrupted":
                with open_atomic(folder / LABELS_FILE) as file:
                    np.save(file, np.tile(source.labels, len(SEVERITIES)).astype(np.int64))

        def finish() -> None:
            complete(folder, {**identity, **record_images(source)}, sink.checksums(pieces))

        def run(queue: Pieces[Piece]) -> Iterator[Piece]:
            return run_pieces(
                write, queue, choose_num_processes(options.num_processes), clean.decode
            )

        write_pieces(run, sink, pieces, shared, finish, prepare=prepare, on_progress=on_progress)
    return folder


def _forecast(
    source: Source,
    folder: Path,
    options: CorruptOptions | PerturbOptions,
    identity: dict[str, Any],
    pieces: Sequence[Piece],
    shapes: dict[str, tuple[int, ...]],
    make: Callable[..., Any],
) -> list[str]:
    """What writing the pieces will take, in words."""
    is_array, is_corrupted = identity["layout"] == "cifar", identity["form"] == "corrupted"
    frames = {name: 1 if is_corrupted else shape[1] for name, shape in shapes.items()}
    shard = find_shard(options.shard)
    labels = {"labels": (len(SEVERITIES) * len(source) * np.int64().nbytes,)}
    found = forecast_set(
        pieces,
        list_missing(folder, identity, pieces),
        partial(make, clean=source),
        lambda index: source.load(np.array([index])) if _is_array(source) else None,
        encode=None if is_array else partial(encode_jpeg, quality=options.jpeg_quality),
        shapes=shapes | (labels if is_corrupted else {}),
        num_files=sum(len(piece) * frames[piece.name] for piece in pieces),
        num_processes=choose_num_processes(options.num_processes),
        num_working_bytes=_count_decoded(source, shard.count if shard else 1),
    )
    return found.lines(folder)


def _count_decoded(source: Source, num_shards: int) -> int:
    """Bytes of the clean images that are decoded into a file, by each shard at most."""
    if not _is_array(source):
        return 0
    return num_shards * len(source) * math.prod((*source.size, source.channels))


def _is_array(source: Source) -> bool:
    """Whether images are decoded once, before any is made of them."""
    return not isinstance(source, Photographs)


def _write_piece(piece: Piece, *, make: Callable[[Piece], Any], sink: ArraySink | TreeSink) -> None:
    sink.write(piece, make(piece))


def _corrupt(
    piece: Piece, *, clean: Path | Source, references: tuple[str, ...], **settings: Any
) -> np.ndarray:
    """Corrupt the images of a piece, of a source or decoded into a file."""
    CORRUPTIONS.resolve(references)  # another process has to load the user's own
    ids = np.arange(piece.start, piece.stop)
    return corrupt.corrupt(
        _load(clean, ids), piece.name, severity=piece.severity, ids=ids, **settings
    )


def _perturb(
    piece: Piece,
    *,
    clean: Path | Source,
    references: tuple[str, ...],
    titles: dict[str, str],
    **settings: Any,
) -> np.ndarray | Iterable[Iterable[Frame]]:
    """Make the sequences of a piece; ``titles`` gives the perturbation behind every name."""
    SEQUENCES.resolve(references)
    name, ids = titles[piece.name], np.arange(piece.start, piece.stop)
    if isinstance(clean, Photographs):
        return (
            corrupt.photograph_frames(clean.load_one(index), name, sample=index, **settings)
            for index in ids.tolist()
        )
    return corrupt.perturb(_load(clean, ids), name, ids=ids, **settings)


def _load(clean: Path | Source, ids: np.ndarray) -> np.ndarray:
    return clean.load(ids) if isinstance(clean, Source) else np.load(clean, mmap_mode="r")[ids]


def _split(count: int, num_bytes: int) -> Iterator[tuple[int, int]]:
    """Start and stop of pieces of ``count`` images, each of so many bytes."""
    step = max(1, min(_MAX_IMAGES, _PIECE_BYTES // num_bytes))
    return ((start, min(start + step, count)) for start in range(0, count, step))


def _tell(source: Source, on_progress: OnProgress | None) -> None:
    """Say what is written, and what of the images is left out."""
    for line in describe_images(source):
        (on_progress or ignore)(Note(text=line))


def _choose_preset(
    preset: AnyPreset, size: tuple[int, int], on_progress: OnProgress
) -> str | OwnPreset:
    chosen = find_preset(preset, size)
    if not isinstance(chosen, str):
        on_progress(Note(text=f"preset {chosen.name}, sha256 {chosen.sha256[:12]}"))
    elif str(preset) == "auto":
        on_progress(Note(text=f"preset {chosen}, by the size of {size[0]} x {size[1]} pixels"))
    return chosen


def _rows(preset: OwnPreset, names: Sequence[str]) -> dict[str, list[Any]]:
    """The parameters of some corruptions, for the manifest."""
    return {name: [row and list(row) for row in preset.table[name]] for name in names}


def _name_folders(names: Sequence[str], severities: Sequence[Real]) -> dict[tuple[str, Real], str]:
    return {(name, severity): str(severity) for name, severity in product(names, severities)}


def _name_by_value(
    layout: Layout, names: Sequence[str], severities: Sequence[Real], preset: str | OwnPreset
) -> dict[tuple[str, Real], str]:
    """Name folders by values, unless a reader, who sorts them, could not tell the severities."""
    if layout == "cifar":
        raise ValueError("value_folders are for files, got layout 'cifar'; take layout 'imagenet'")
    if tuple(severities) != SEVERITIES:
        raise ValueError(f"value_folders need all severities 1..5, got {list(severities)}")
    folders: dict[tuple[str, Real], str] = {}
    for name in names:
        table = [CORRUPTIONS[name].parameters_at(preset, level) for level in SEVERITIES]
        is_number = [
            len(each) == 1 and isinstance(each[0], int | float) and each[0] >= 0 for each in table
        ]
        values = [f"{each[0]:.2f}" for each in table] if all(is_number) else []
        if any(float(low) >= float(high) for low, high in pairwise(values)) or not values:
            raise ValueError(
                "value_folders need corruptions with one value a severity that grows with it, as "
                f"those of C-bar have, got {name!r} with {', '.join(map(str, table))}"
            )
        folders |= {(name, level): value for level, value in zip(SEVERITIES, values, strict=True)}
    return folders


def _describe(
    source: Source, layout: Layout, jpeg_quality: int, own: dict[str, str]
) -> dict[str, Any]:
    """What determines the bytes besides the corruptions."""
    return {
        **({"own": own} if own else {}),
        "jpeg_quality": jpeg_quality if layout == "imagenet" else None,
        "source": describe_source(source),
        "versions": versions(),
    }


def _choose_layout(layout: LayoutChoice, source: Source) -> Layout:
    if layout != "auto":
        return layout
    is_large = source.name in _OF_ANY_SIZE or isinstance(source, Photographs)
    return "imagenet" if is_large else "cifar"


def _open(
    config: CorruptConfig | PerturbConfig, kind: str, *, size: int, is_lazy: bool = False
) -> Source:
    """Open the images, decoded as they are asked for if so."""
    source = open_source(
        kind,
        root=config.src,
        split=config.split,
        size=size,
        is_lazy=True if is_lazy or config.max_images else None,
        **config.reading.given,
    )
    return take(source, config.max_images) if config.max_images else source


def list_corrupted(
    source: Source,
    suites: Mapping[str, str],
    folders: Mapping[tuple[str, Real], str],
    files: Sequence[str],
) -> Iterator[ListRow]:
    """List the clean images of a source and those of its -C form, in the order of `LIST_COLUMNS`.

    Args:
        suites: Suite of every corruption.
        folders: Name of the folder of every corruption and severity.
        files: Path of every image below the folder of a severity; none if they are in arrays.
    """
    labels = source.labels.tolist()
    for index, label in enumerate(labels):
        yield index, label, "clean", "clean", 0, "", _clean_name(index), ""
    for (name, severity), folder in folders.items():
        for index, label in enumerate(labels):
            path, row = f"{name}.npy", int(severity - 1) * len(labels) + index
            where = (f"{name}/{folder}/{files[index]}", "") if files else (path, row)
            yield index, label, suites[name], name, severity, "", *where


def list_perturbed(
    source: Source, titles: Mapping[str, str], counts: Mapping[str, int], files: Sequence[str]
) -> Iterator[ListRow]:
    """List the frames of the -P form of a source, in the order of `LIST_COLUMNS`.

    Args:
        titles: Perturbation behind the name of every array or folder, which names the difficulty.
        counts: Frames of a sequence, by that name.
        files: As for `list_corrupted`.
    """
    for title, name in titles.items():
        for index, label in enumerate(source.labels.tolist()):
            folder = PurePosixPath(title, files[index]).with_suffix("") if files else ""
            for frame in range(counts[title]):
                where = (f"{folder}/{frame:02d}.JPEG", "") if files else (f"{title}.npy", index)
                yield index, label, "p", name, 0, frame, *where


def write_list(
    folder: Path,
    rows: Callable[[], Iterator[ListRow]],
    set_folder: Path,
    clean: Source | None = None,
) -> None:
    """Write the list of a set, and its clean images where they are listed.

    Raises:
        RunError: If the folder holds another list, which may be filled in by now.
    """
    if folder.resolve().is_relative_to(set_folder.resolve()):
        raise RunError(f"{folder} lies in the set {set_folder}; name a folder outside of it")
    make_folder(folder)
    path = folder / LIST_FILE
    beside = os.path.relpath(set_folder.resolve(), folder.resolve())
    if path.exists():
        with open(path, "rb") as file:
            is_same = all(line == file.readline() for line in _list_lines(rows(), beside))
            if not is_same or file.readline():
                raise RunError(
                    f"{path} is another list, or was changed; name another folder with --manifest"
                )
    if clean is not None:
        make_folder(folder / LIST_FOLDER)
        for index in range(len(clean)):
            image = folder / _clean_name(index)
            if not image.exists():
                pixels = clean.load(np.array([index]))[0]
                with open_atomic(image) as file:
                    Image.fromarray(pixels.squeeze(-1) if clean.channels == 1 else pixels).save(
                        file, "PNG"
                    )
    if not path.exists():
        with open_atomic(path) as file:
            file.writelines(_list_lines(rows(), beside))


def _list_lines(rows: Iterator[ListRow], beside: str) -> Iterator[bytes]:
    """The lines of the list; paths of the set become relative to the list's folder."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LIST_COLUMNS)
    for *keys, path, row in rows:
        is_clean = keys[2] == "clean"
        writer.writerow([*keys, path if is_clean else f"{beside}/{path}", row])
        if text.tell() > _LIST_BYTES:
            yield from _drain(text)
    yield from _drain(text)


def _drain(text: io.StringIO) -> Iterator[bytes]:
    yield from text.getvalue().encode("utf-8", "surrogateescape").splitlines(keepends=True)
    text.seek(0)
    text.truncate()


def _clean_name(index: int) -> str:
    return f"{LIST_FOLDER}/{index:08d}.png"

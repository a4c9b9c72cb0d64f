"""Write the -C and -P forms of images with boxes, polygons or masks, each with its labels.

Below ``NAME/SEVERITY/``, or ``NAME/FRAME/`` for sequences, lies a tree of the layout that was read,
with the same names of files and sizes of images. Labels move with the pixels where a corruption
displaces them (`augmix.corruptions.warps`), else their files are copied; or they are all copied,
which is the protocol of Michaelis et al. (2019), "Benchmarking Robustness in Object Detection".
"""

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from augmix.arrays import to_pillow
from augmix.corruptions import corrupt, weather
from augmix.corruptions.digital import encode_jpeg
from augmix.corruptions.presets import check_levels, describe_preset, find_preset
from augmix.corruptions.registry import CORRUPTIONS, SEQUENCES, Image, Real, check_severity
from augmix.corruptions.registry import Preset as OwnPreset
from augmix.corruptions.warps import (
    MOVING,
    MOVING_SEQUENCES,
    Warp,
    corruption_warp,
    sequence_warps,
)
from augmix.data import Reading
from augmix.data.annotated import (
    AnnotatedLayout,
    AnnotatedTree,
    CocoFile,
    coco_files,
    describe_tree,
    open_annotated,
    yolo_names,
)
from augmix.data.decode import Geometry, ImageError, decode_image
from augmix.data.derived import draw_part
from augmix.errors import RunError
from augmix.files import load_json
from augmix.progress import Note, OnProgress, ignore
from augmix.shards import Pieces, find_shard
from augmix.write import CorruptConfig, PerturbConfig
from augmix.write.destination import (
    FileSink,
    Piece,
    complete,
    hold_destination,
    list_missing,
    versions,
    write_pieces,
)
from augmix.write.forecast import forecast_set
from augmix.write.labels import move_cityscapes, move_coco, move_yolo
from augmix.write.processes import choose_num_processes, run_pieces

_PIECE = 16  # images; sequences come one by one
_FORMATS = {  # by the suffix of the file's name
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
_NEW_KEYS = ("train", "val", "test")  # of a written data.yaml
_OLD_KEYS = (*_NEW_KEYS, "path", "minival", "download")


class File(NamedTuple):
    """A file to write."""

    path: str  # below the folder of the set
    content: bytes
    num_removed: int = 0  # objects of which nothing is left in the image


def write_annotated(
    config: CorruptConfig | PerturbConfig,
    layout: AnnotatedLayout,
    *,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write the -C or -P form of a tree of images with labels; return the folder.

    Image i of the sorted paths of the split is corrupted at id i, whichever images are written.

    Args:
        config: What to write. Images keep their sizes, so it must set no size and no layout, and
            no list of images, which is for classes.
        layout: That of the tree.

    Raises:
        RunError: If the tree or its labels are not as expected, or the destination holds something
            else.
        ValueError: If the config asks for what these trees do not have.
    """
    _check(config)
    report = on_progress or ignore
    tree = open_annotated(Path(config.src).expanduser(), layout, config.split)
    _check_names(tree)
    if config.max_images is not None and config.max_images < len(tree):
        tree = tree.keep(draw_part(len(tree), config.max_images).tolist())
    for line in describe_tree(tree):
        report(Note(text=line))
    maker: _Maker
    if isinstance(config, CorruptConfig):
        maker = _make_corrupted(config, tree)
    else:
        maker = _make_perturbed(config, tree)
    for line in maker.describe():
        report(Note(text=line))
    maker.check_labels()
    names = tuple(maker.folders)
    parts = [
        (start, min(start + maker.step, len(tree))) for start in range(0, len(tree), maker.step)
    ]
    parts += [(len(tree), len(tree))] if tree.shared else []
    pieces = [
        Piece(name=name, severity=level, start=start, stop=stop, row=start)
        for name in names
        for level in maker.folders[name]
        for start, stop in parts
    ]
    identity = maker.identity()
    num_processes = choose_num_processes(config.num_processes)
    folder = config.dst
    if config.dry_run:
        num_folders = sum(len(each) for level in maker.folders.values() for each in level.values())
        num_labels = sum(map(len, tree.labels)) + len(tree.shared)
        found = forecast_set(
            pieces,
            list_missing(folder, identity, pieces),
            maker,
            lambda index: None,
            encode=lambda file: file.content,
            shapes={},
            num_files=num_folders * (len(tree) + num_labels),
            num_processes=num_processes,
        )
        num_shared = num_folders * sum(len(tree.read(file)) for file in tree.shared)
        found = replace(found, num_bytes=found.num_bytes + num_shared)
        for line in found.lines(folder):
            report(Note(text=line))
        return folder
    shard = find_shard(config.shard)
    held = hold_destination(folder, identity, shard=shard, verify=config.verify, on_progress=report)
    with held as shared:
        if shared is None:
            return folder
        sink = FileSink(folder=folder, work=shared.path, verify=config.verify)
        write = partial(_write_piece, maker=maker, sink=sink)

        def finish() -> None:
            removed: Counter[str] = Counter()
            for piece in pieces:
                count = load_json(piece.mark(sink.work))["num_removed"]
                removed[f"{piece.name}/{piece.severity}"] += count
            kept = {name: count for name, count in removed.items() if count}
            complete(folder, {**identity, "num_removed_labels": kept}, sink.checksums(pieces))

        def run(queue: Pieces[Piece]) -> Iterator[Piece]:
            return run_pieces(write, queue, num_processes)

        write_pieces(run, sink, pieces, shared, finish, on_progress=report)
    return folder


def _write_piece(piece: Piece, *, maker: "_Maker", sink: FileSink) -> None:
    files = [file for each in maker(piece) for file in each]
    count = sum(file.num_removed for file in files)
    sink.write_files(piece, ((file.path, file.content) for file in files), num_removed=count)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    """Makes the images and labels of a piece, in whatever process.

    Attributes:
        folders: By name and severity (0 for sequences) the folders of the trees: one, or one for
            each frame.
        are_moved: Whether labels move.
    """

    tree: AnnotatedTree
    preset: str | OwnPreset
    seed: int
    reading: Reading
    jpeg_quality: int
    are_moved: bool
    references: tuple[str, ...]
    folders: dict[str, dict[Real, tuple[str, ...]]]

    @property
    def step(self) -> int:
        """Images in a piece."""
        raise NotImplementedError

    @property
    def moving(self) -> tuple[str, ...]:
        """Names under which labels can move."""
        raise NotImplementedError

    def frames(self, piece: Piece, image: Image, id: int) -> Iterator[Image]:
        """Yield the corrupted image, or the frames of a sequence."""
        raise NotImplementedError

    def warps(self, piece: Piece, size: tuple[int, int], id: int) -> Sequence[Warp | None]:
        """Return how each of them moves the content."""
        raise NotImplementedError

    def __call__(self, piece: Piece) -> Iterator[list[File]]:
        """Yield the files of every image, or for an empty piece those about all images."""
        tree, folders = self.tree, self.folders[piece.name][piece.severity]
        if piece.start == piece.stop:
            yield from self._shared(piece, folders)
        for index in range(piece.start, piece.stop):
            file, id = tree.images[index], tree.ids[index]
            image = self._load(index)
            files = []
            warps = self._moves(piece, image.shape[:2], id) if tree.labels[index] else ()
            for number, frame in enumerate(self.frames(piece, image, id)):
                path = f"{folders[number]}/{file}"
                files.append(File(path, _encode(frame, file, self.jpeg_quality)))
                for label in tree.labels[index]:
                    moved = self._move(label, warps[number])
                    files += [moved._replace(path=f"{folders[number]}/{label}")] if moved else []
            yield files

    def _moves(self, piece: Piece, size: tuple[int, int], id: int) -> Sequence[Warp | None]:
        """How labels move: not at all if they are kept."""
        count = len(self.folders[piece.name][piece.severity])
        return self.warps(piece, size, id) if self.are_moved else [None] * count

    def _load(self, index: int) -> Image:
        path = self.tree.root / self.tree.images[index]
        try:
            image = decode_image(
                self.tree.read(self.tree.images[index]), Geometry(reading=self.reading)
            )
        except ImageError as error:
            raise RunError(f"{path}: {error}") from error
        size = self.tree.sizes[index] if self.tree.sizes else image.shape[:2]
        if image.shape[:2] != size:
            raise RunError(
                f"{path} has {image.shape[1]} x {image.shape[0]} pixels, but the annotations say "
                f"{size[1]} x {size[0]}; if it is turned by its EXIF tag, give "
                "--exif-orientation apply, else correct the annotations"
            )
        return image

    def _move(self, file: str, warp: Warp | None) -> File | None:
        """Move or copy a file of labels; None if it cannot be moved."""
        content = self.tree.read(file)
        if warp is None:
            return File(file, content)
        try:
            if self.tree.layout == "cityscapes":
                moved = move_cityscapes(file, content, warp)
                return None if moved is None else File(file, moved)
            text = content.decode()
            after = move_yolo(text, warp, keypoint_shape=self._keypoint_shape())
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise RunError(
                f"{self.tree.root / file}: labels are not as expected: {error}"
            ) from error
        count = sum(1 for line in text.splitlines() if line.split()) - len(after.splitlines())
        return File(file, after.encode(), count)

    def _keypoint_shape(self) -> tuple[int, int] | None:
        """The shape of key points in ``data.yaml``."""
        for file in self.tree.shared:
            text = self.tree.read(file).decode("utf-8-sig")
            value = yolo_names(text).get("kpt_shape", ("", 0, 0))[0]
            if numbers := re.findall("[0-9]+", value):
                return int(numbers[0]), int(numbers[-1])
        return None

    def _shared(self, piece: Piece, folders: Sequence[str]) -> Iterator[list[File]]:
        """Yield the files about all images."""
        if self.tree.layout == "yolo":
            for file in self.tree.shared:
                text = _point_to(self.tree.read(file).decode("utf-8-sig"), self.tree.images)
                yield [File(f"{folder}/{file}", text.encode()) for folder in folders]
            return
        for annotations in coco_files(self.tree):
            yield self._coco(piece, folders, annotations)

    def _coco(self, piece: Piece, folders: Sequence[str], annotations: CocoFile) -> list[File]:
        """Write the annotations of the images that are written, moved for each folder."""
        tree, name = self.tree, annotations.file
        index_of = {path: index for index, path in enumerate(tree.images)}
        written = {id: index_of[path] for id, path in annotations.paths.items() if path in index_of}
        if not self._is_moving(piece.name) and len(written) == len(annotations.paths):
            content = tree.read(name)
            return [File(f"{folder}/{name}", content) for folder in folders]
        content = tree.load_json(name)
        by_image: dict[int, list[int]] = {id: [] for id in written}
        for position, each in enumerate(content["annotations"]):
            if each.get("image_id") in by_image:
                by_image[each["image_id"]].append(position)
        moved: list[dict[int, Any]] = [{} for _ in folders]
        for id, positions in by_image.items():
            if not positions:
                continue
            index = written[id]
            warps = self._moves(piece, tree.sizes[index], tree.ids[index])
            for position, (into, warp) in product(positions, zip(moved, warps, strict=True)):
                annotation = content["annotations"][position]
                into[position] = self._move_coco(name, annotation, warp) if warp else annotation
        images = [each for each in content["images"] if each["id"] in written]
        files = []
        for folder, found in zip(folders, moved, strict=True):
            kept = [found[position] for position in sorted(found) if found[position] is not None]
            text = json.dumps({**content, "images": images, "annotations": kept})
            files.append(File(f"{folder}/{name}", text.encode(), len(found) - len(kept)))
        return files

    def _move_coco(
        self, file: str, annotation: dict[str, Any], warp: Warp
    ) -> dict[str, Any] | None:
        try:
            return move_coco(annotation, warp)
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.tree.root / file}: annotation {annotation.get('id')} is not as expected: "
                f"{error}"
            ) from error

    def check_labels(self) -> None:
        """Refuse labels that cannot be moved, before images are written: move them by nothing.

        Those of Cityscapes are files of single images, written with them.
        """
        if not any(map(self._is_moving, self.folders)):
            return
        if self.tree.layout == "yolo":
            for file in (name for each in self.tree.labels for name in each):
                self._move(file, _unmoved((1, 1)))
            return
        index_of = {path: index for index, path in enumerate(self.tree.images)}
        for annotations in coco_files(self.tree):
            for each in self.tree.load_json(annotations.file)["annotations"]:
                index = index_of.get(annotations.paths.get(each.get("image_id"), ""))
                if index is not None:
                    self._move_coco(annotations.file, each, _unmoved(self.tree.sizes[index]))

    def identity(self) -> dict[str, Any]:
        """Return what determines the bytes of the set, for its manifest."""
        tree = self.tree
        changes = self.reading.changes
        return {
            "layout": tree.layout,
            "names": list(self.folders),
            **describe_preset(self.preset),
            "seed": self.seed,
            "jpeg_quality": self.jpeg_quality,
            "labels": {
                "protocol": "move" if self.are_moved else "keep",
                "moved": [name for name in self.folders if self._is_moving(name)],
                "copied": [name for name in self.folders if not self._is_moving(name)],
            },
            "source": {
                **({"reading": changes} if changes else {}),
                "split": tree.split,
                "num_images": len(tree),
                "left_out": dict(tree.left_out),
                "fingerprint": tree.fingerprint,
            },
            "versions": versions(),
        }

    def describe(self) -> Iterator[str]:
        """Yield lines about the preset and the labels for the terminal."""
        name = self.preset if isinstance(self.preset, str) else self.preset.name
        yield f"preset {name}"
        moving = [each for each in self.folders if self._is_moving(each)]
        if not self.are_moved:
            yield "labels are copied for all, as Michaelis et al. (2019) do"
        elif not moving:
            yield "labels are copied, as nothing of these moves the content of images"
        elif len(moving) == len(self.folders):
            yield f"labels move with {', '.join(moving)}"
        else:
            yield f"labels move with {', '.join(moving)}, and are copied for the others"
        own = [each for each in self.folders if self._is_own(each)]
        if own and self.are_moved:
            yield f"warning: labels are copied for {', '.join(own)}: write them if pixels move"

    def _is_moving(self, name: str) -> bool:
        return self.are_moved and name in self.moving

    def _is_own(self, name: str) -> bool:
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Corruptions(_Maker):
    """Makes a piece under a corruption."""

    textures: Path | None

    @property
    def step(self) -> int:
        return _PIECE

    @property
    def moving(self) -> tuple[str, ...]:
        return MOVING

    def frames(self, piece: Piece, image: Image, id: int) -> Iterator[Image]:
        CORRUPTIONS.resolve(self.references)  # another process has to load the user's own
        yield corrupt.corrupt(
            image,
            piece.name,
            severity=piece.severity,
            preset=self.preset,
            seed=self.seed,
            ids=id,
            frost_textures=self.textures,
        )

    def warps(self, piece: Piece, size: tuple[int, int], id: int) -> Sequence[Warp | None]:
        CORRUPTIONS.resolve(self.references)
        how = {"severity": piece.severity, "preset": self.preset, "seed": self.seed}
        return [corruption_warp(size, piece.name, **how, id=id)]

    def identity(self) -> dict[str, Any]:
        names = tuple(self.folders)
        preset, own = self.preset, CORRUPTIONS.hash_own(names)
        table = {} if isinstance(preset, str) else preset.table
        rows = {name: [row and list(row) for row in table[name]] for name in names if table}
        return {
            "form": "corrupted",
            **_Maker.identity(self),
            "severities": sorted(next(iter(self.folders.values()))),
            **({"preset_parameters": rows} if rows else {}),
            "suite_version": corrupt.SUITE_VERSION,
            "frost_sha256": weather.frost_fingerprint(self.textures) if "frost" in names else None,
            **({"own": own} if own else {}),
        }

    def _is_own(self, name: str) -> bool:
        return CORRUPTIONS[name].is_own


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sequences(_Maker):
    """Makes a piece of a perturbation sequence; the frames show the whole image."""

    titles: dict[str, str]
    difficulty: int

    @property
    def step(self) -> int:
        return 1

    @property
    def moving(self) -> tuple[str, ...]:
        return MOVING_SEQUENCES

    def frames(self, piece: Piece, image: Image, id: int) -> Iterator[Image]:
        SEQUENCES.resolve(self.references)
        yield from corrupt.iterate_frames(
            image,
            self.titles[piece.name],
            preset=str(self.preset),
            seed=self.seed,
            ids=np.array([id]),
            difficulty=self.difficulty,
            size=image.shape[:2],
        )

    def warps(self, piece: Piece, size: tuple[int, int], id: int) -> Sequence[Warp | None]:
        SEQUENCES.resolve(self.references)
        found = sequence_warps(size, self.titles[piece.name], preset=str(self.preset))
        return found or [None] * len(self.folders[piece.name][piece.severity])

    def identity(self) -> dict[str, Any]:
        own = SEQUENCES.hash_own(tuple(self.titles.values()))
        return {
            "form": "perturbed",
            **_Maker.identity(self),
            "difficulty": self.difficulty,
            "suite_version": corrupt.SEQUENCE_VERSION,
            **({"own": own} if own else {}),
        }

    def _is_own(self, name: str) -> bool:
        return SEQUENCES[self.titles[name]].is_own


def _make_corrupted(config: CorruptConfig, tree: AnnotatedTree) -> _Corruptions:
    names = CORRUPTIONS.resolve(config.names)
    config.check_names(names)
    severities = sorted(map(check_severity, config.severities))
    preset = "imagenet" if str(config.preset) == "auto" else find_preset(config.preset, (224, 224))
    check_levels(preset, product(names, severities))
    return _Corruptions(
        **_common(config, tree, CORRUPTIONS.references, names),
        preset=preset,
        folders={name: {level: (f"{name}/{level}",) for level in severities} for name in names},
        textures=config.frost_textures,
    )


def _make_perturbed(config: PerturbConfig, tree: AnnotatedTree) -> _Sequences:
    names = SEQUENCES.resolve(config.names)
    config.check_names(names, [name for name in names if SEQUENCES[name].is_noise])
    preset = "imagenet" if config.preset == "auto" else config.preset
    is_harder = config.difficulty > 1
    titles = {
        f"{name}_{config.difficulty}" if SEQUENCES[name].is_noise and is_harder else name: name
        for name in names
    }
    counts = {title: SEQUENCES[name].num_frames[preset] for title, name in titles.items()}
    return _Sequences(
        **_common(config, tree, SEQUENCES.references, names),
        preset=preset,
        folders={
            title: {0: tuple(f"{title}/{frame:02d}" for frame in range(count))}
            for title, count in counts.items()
        },
        titles=titles,
        difficulty=config.difficulty,
    )


def _common(
    config: CorruptConfig | PerturbConfig,
    tree: AnnotatedTree,
    references: Callable[[Sequence[str]], tuple[str, ...]],
    names: tuple[str, ...],
) -> dict[str, Any]:
    reading = config.reading
    if tree.layout == "yolo" and reading.exif_orientation is None:
        reading = replace(reading, exif_orientation="apply")  # as Ultralytics reads images
    is_alone = choose_num_processes(config.num_processes) == 1
    return {
        "tree": tree,
        "seed": config.seed,
        "reading": reading,
        "jpeg_quality": config.jpeg_quality,
        "are_moved": config.labels != "keep",
        "references": names if is_alone else references(names),
    }


def _unmoved(size: tuple[int, int]) -> Warp:
    """The warp that leaves an image as it is."""
    return Warp(size=size, original=size, matrix=np.eye(3))


def _check(config: CorruptConfig | PerturbConfig) -> None:
    """Refuse what is for images of classes."""
    given = {
        "--layout": config.layout != "auto",
        "--size": config.size is not None,
        "--manifest": config.manifest is not None,
        "--value-folders": isinstance(config, CorruptConfig) and config.value_folders,
        "--image-column": config.reading.image_column is not None,
        "--label-column": config.reading.label_column is not None,
        "--on-error skip": config.reading.on_error == "skip",
    }
    if wrong := [name for name, is_given in given.items() if is_given]:
        raise ValueError(
            f"{wrong[0]} is for images of classes, but {config.src} has boxes, polygons or masks: "
            "all of its images are written, at their own size and in their own layout; leave it "
            "out, or read class folders with --source folder"
        )


def _check_names(tree: AnnotatedTree) -> None:
    """Refuse images whose files cannot keep their names."""
    wrong = [image for image in tree.images if _suffix(image) not in _FORMATS]
    if wrong:
        raise RunError(
            f"{tree.root / wrong[0]}: images are written under their names as "
            f"{', '.join(_FORMATS)}, got {_suffix(wrong[0]) or 'no ending'}; convert "
            f"{'it' if len(wrong) == 1 else f'these {len(wrong):,} images'} first"
        )


def _suffix(file: str) -> str:
    return PurePosixPath(file).suffix.lower()


def _encode(image: Image, file: str, quality: int) -> bytes:
    """Encode an image in the format of its file, without losses but for JPEG."""
    if (kind := _FORMATS[_suffix(file)]) == "JPEG":
        return encode_jpeg(image, quality=quality)
    content = io.BytesIO()
    to_pillow(image).save(content, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return content.getvalue()


def _point_to(text: str, images: Sequence[str]) -> str:
    """Make a ``data.yaml`` name the folder of the written images, and no other folder."""
    parts = PurePosixPath(images[0]).parts
    above = parts[: len(parts) - 1 - parts[::-1].index("images")]
    below = [PurePosixPath(*PurePosixPath(each).parts[len(above) + 1 :]).parts for each in images]
    inner = {each[0] if len(each) > 1 else "" for each in below}
    folder = PurePosixPath(*above, "images", *(inner if len(inner) == 1 else ()))
    lines = text.splitlines()
    old = {line for key in _OLD_KEYS for line in _lines_of(text, key)}
    kept = [line for index, line in enumerate(lines) if index not in old]
    new = [f"{key}: {folder.as_posix()}" for key in _NEW_KEYS]
    return "".join(f"{line}\n" for line in (*new, *kept))


def _lines_of(text: str, key: str) -> range:
    _, first, last = yolo_names(text).get(key, ("", 0, 0))
    return range(first, last)

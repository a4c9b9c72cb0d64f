"""Readers of published and written benchmark files: -C and -P.

| kind | files |
| --- | --- |
| ``cifar-c`` | ``fog.npy`` [5 n, height, width, channel], ``labels.npy`` [5 n] |
| ``imagenet-c`` | ``fog/<severity>/<class>/<image>.JPEG`` |
| ``cifar-p`` | ``tilt.npy`` [n, frame, height, width, channel] |
| ``imagenet-p`` | ``tilt/<class>/<image>.mp4``, or ``tilt/<class>/<image>/<frame>.JPEG`` |

The sets are those of Hendrycks & Dietterich (2019), between whose folder and names there may be the
group folders of the archives (``noise``, ``blur``, ...), C-bar of Mintun et al. (2021), whose
script names the folder of a severity by its value (``plasma_noise/4.75``), or written by
`augmix.write`. No more than
one batch is in memory: ``.npy`` files are mapped, images and videos decoded when loaded.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from augmix.arrays import MAX_PIXELS
from augmix.data.annotated import ANNOTATED_LAYOUTS
from augmix.data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES
from augmix.data.decode import SUFFIXES, ImageError, decode_image
from augmix.data.folders import FileItems, show_entries
from augmix.data.published_sets import GROUPS
from augmix.data.stores import (
    ArraySource,
    Ids,
    Labels,
    LazySource,
    Source,
    check_ids,
    check_labels,
    hash_array,
    number_classes,
)
from augmix.data.trees import FolderTree
from augmix.errors import RunError, did_you_mean
from augmix.files import load_json

MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.npy"
SEVERITIES = (1, 2, 3, 4, 5)

_VIDEOS = frozenset((".mp4",))

Frame = UInt8[np.ndarray, "height width channel"]
Frames = UInt8[np.ndarray, "batch frame height width channel"]
Kind = Literal["cifar-c", "imagenet-c", "cifar-p", "imagenet-p"]
_KNOWN_CLASSES = {
    f"{root}-{form}": names
    for root, names in (("CIFAR-10", CIFAR10_CLASSES), ("CIFAR-100", CIFAR100_CLASSES))
    for form in ("C", "P", "C-Bar", "C-bar")
}
_FILE_NAMES = {"blue_noise_sample": "blue_noise"}  # by which other projects store a corruption
_VALUE = re.compile(r"\d+\.\d\d")  # a severity as the script of ImageNet-C-bar names its folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A benchmark on disk, of a kind in the table of this module."""

    root: Path
    kind: Kind
    paths: Mapping[str, Path]  # the file or folder of every corruption or perturbation, by name
    class_names: tuple[str, ...]  # in the order of the labels, where the folder says; else empty

    @property
    def names(self) -> tuple[str, ...]:
        """The corruptions or perturbations, sorted."""
        return tuple(sorted(self.paths))

    @property
    def own_preset(self) -> str:
        """Name and checksum of the file of a preset that the set was written with; else empty."""
        path = self.root / MANIFEST_FILE
        manifest = load_json(path) if path.exists() else {}
        digest = manifest.get("preset_sha256")
        return f"{manifest.get('preset')} {str(digest)[:12]}" if digest else ""

    def path(self, name: str) -> Path:
        """Look up the file or folder of a corruption or perturbation."""
        for found in (name, _FILE_NAMES.get(name)):
            if found is not None and found in self.paths:
                return self.paths[found]
        guess = did_you_mean(name, self.names, cutoff=0.0)
        raise RunError(f"{self.root} holds no {name!r}{guess} It holds {', '.join(self.names)}")


def find_layout(root: Path) -> Layout:
    """Find out which benchmark a folder holds, or the only set in it."""
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise RunError(f"{root} {what}; expected the folder of a -C or -P set")
    if layout := _read(root):
        return layout
    below = [found for path in _subfolders(root) if (found := _read(path))]
    if not below:
        raise RunError(
            f"{root}: expected a -C or -P set (fog.npy and labels.npy, or fog/1/<class>/*.JPEG, or "
            f"tilt.npy, or tilt/<class>/*.mp4), got {show_entries(root)}"
        )
    if len(below) > 1:
        names = ", ".join(found.root.name for found in below)
        raise RunError(f"{root} holds several sets: {names}; name one")
    return below[0]


def open_array(path: Path) -> np.ndarray:
    """Map an ``.npy`` file into memory."""
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; expected an .npy array") from None
    except Exception as error:  # NumPy's parser of a broken header may raise anything
        raise RunError(
            f"cannot read {path}: {' '.join(str(error).split())}; expected a whole .npy array of "
            "numbers: fetch or write it again"
        ) from error


def _read(folder: Path) -> Layout | None:
    """The layout of this very folder, its group folders included; None if it has none."""
    class_names = _class_names(folder)
    found = _entries(folder)
    for group in (folder / name for name in GROUPS if (folder / name).is_dir()):
        found = _entries(group) | found
    if not found:
        return None
    kinds: list[Kind] = sorted({kind for kind, _ in found.values()})
    if len(kinds) > 1:
        raise RunError(f"{folder} mixes the forms {' and '.join(kinds)}; name a folder of one")
    paths = {name: path for name, (_, path) in found.items()}
    return Layout(root=folder, kind=kinds[0], paths=paths, class_names=class_names)


def _entries(folder: Path) -> dict[str, tuple[Kind, Path]]:
    entries: dict[str, tuple[Kind, Path]] = {}
    for path in sorted(folder.glob("*.npy")):
        if path.name != LABELS_FILE and not path.name.startswith("."):
            is_sequence = open_array(path).ndim == 5
            entries[path.stem] = ("cifar-p" if is_sequence else "cifar-c", path)
    for path in _subfolders(folder):
        if kind := _tree_kind(path):
            entries[path.name] = (kind, path)
    return entries


def _tree_kind(folder: Path) -> Kind | None:
    """Whether a folder is one corruption (severities) or one perturbation (videos) of a tree."""
    inner = _subfolders(folder)
    if any(_is_severity(path.name) for path in inner):
        return "imagenet-c"
    for path in inner[:1]:
        tree = FolderTree(path)
        frames = [frame for video in tree.folders()[:1] for frame in tree.images(video)]
        is_numbered = any(Path(frame).stem.isdigit() for frame in frames)
        if is_numbered or tree.images(suffixes=_VIDEOS):
            return "imagenet-p"
    return None


def _is_severity(name: str) -> bool:
    return name in map(str, SEVERITIES) or _VALUE.fullmatch(name) is not None


def _severity_folder(path: Path, severity: int) -> Path:
    """The folder of a severity, whose name is its number or the value of that rank."""
    names = [folder.name for folder in _subfolders(path)]
    values = sorted(filter(_VALUE.fullmatch, names), key=float)
    is_by_value = len(values) == len(SEVERITIES) and not {*map(str, SEVERITIES)} & {*names}
    return path / (values[severity - 1] if is_by_value else str(severity))


def _subfolders(folder: Path) -> list[Path]:
    return [folder / name for name in FolderTree(folder).folders()]


def _class_names(folder: Path) -> tuple[str, ...]:
    """As the manifest of a set written by this package says, or the name of a published one."""
    path = folder / MANIFEST_FILE
    manifest = load_json(path) if path.exists() else {}
    if manifest.get("form") not in ("corrupted", "perturbed"):
        return _KNOWN_CLASSES.get(folder.name, ())
    if (layout := manifest.get("layout")) in ANNOTATED_LAYOUTS:
        raise RunError(
            f"{folder} holds images with boxes, polygons or masks in the layout of {layout}, and "
            "sets are read that have classes; open its folders NAME/SEVERITY by what reads "
            f"{layout}"
        )
    if manifest.get("complete") is not True:
        raise RunError(
            f"{folder} is not complete: {path.name} says that its writing was stopped or is in "
            "progress; start it again with the same settings to complete it"
        )
    severities = manifest.get("severities") or SEVERITIES
    if not set(severities) & set(SEVERITIES):
        raise RunError(
            f"{folder} was written at severities {', '.join(map(str, severities))}, and sets are "
            "read at 1, 2, 3, 4 or 5; measure those between on the fly, without --official"
        )
    source = manifest.get("source")
    names = source.get("class_names") if isinstance(source, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RunError(f"{path} names no classes, as that of a written set would; write it again")
    return tuple(names)


def open_corrupted(
    root: Path | str | Layout, name: str, severity: int, *, class_names: Sequence[str] = ()
) -> Source:
    """Open one corruption at one severity of a -C set on disk, as a source.

    Image i is the same image of the clean set for every corruption and severity, since files and
    classes are in one order.

    Args:
        root: The set's folder or the one above it, or the result of `find_layout` for it.
        severity: 1..5.
        class_names: The classes in the order of the model's outputs; for a tree the names of its
            class folders. If none: those of the set's manifest or of a published set of this
            name, else the sorted class folders, or the numbers up to the largest label.

    Raises:
        RunError: If the set, the corruption or the severity is missing, a file is broken or of
            another form, or the labels do not fit.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1..5, got {severity} for corruption {name!r}")
    layout = root if isinstance(root, Layout) else find_layout(Path(root).expanduser())
    path = layout.path(name)
    known = tuple(class_names) or layout.class_names
    title = f"{layout.root.name}/{name}/{severity}"
    if layout.kind == "cifar-c":
        return _open_slice(path, severity, known, title)
    if layout.kind == "imagenet-c":
        return _open_tree(path, severity, known, title)
    raise RunError(
        f"{layout.root} holds perturbation sequences ({layout.kind}), expected corrupted images; "
        "open them with open_perturbed"
    )


def _open_slice(path: Path, severity: int, class_names: tuple[str, ...], title: str) -> Source:
    """Open images n (s - 1) .. n s - 1 of the file, n a fifth of its length."""
    images = open_array(path)
    is_fit = images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] in (1, 3)
    if not is_fit or 0 in images.shape or len(images) % len(SEVERITIES):
        raise RunError(
            f"{path}: expected uint8 [5 n, height, width, 1 or 3], five severities of n images, "
            f"got {images.dtype} {list(images.shape)}"
        )
    labels_path = path.parent / LABELS_FILE
    if not labels_path.exists() and (path.parents[1] / LABELS_FILE).exists():
        labels_path = path.parents[1] / LABELS_FILE  # of a set with group folders
    labels = check_labels(
        np.array(open_array(labels_path)),
        len(images),
        num_classes=len(class_names),
        where=f"{labels_path}, for {path.name}",
        hint="the set has more classes than the names given",
    )
    count = len(images) // len(SEVERITIES)
    rows = slice(count * (severity - 1), count * severity)
    return ArraySource(
        name=title,
        split="test",
        class_names=class_names or number_classes(labels, where=str(labels_path)),
        labels=labels[rows],
        size=(images.shape[1], images.shape[2]),
        channels=images.shape[3],
        images=images[rows],
    )


def _open_tree(path: Path, severity: int, class_names: tuple[str, ...], title: str) -> Source:
    folder = _severity_folder(path, severity)
    if not folder.is_dir():
        raise RunError(
            f"{folder} is missing: expected the severities 1 to 5, or five values with two "
            f"decimals, in {path}, got {show_entries(path)}; unpack or write the set again"
        )
    paths, labels, names = _list_classes(folder, class_names, SUFFIXES)
    items = FileItems(root=folder, paths=paths)
    try:
        height, width, _ = items.image(0).shape
    except ImageError as error:
        raise RunError(f"cannot use image {items.where(0)}: {error}") from error
    rows = np.arange(len(paths))
    return LazySource(
        name=title,
        split="test",
        class_names=names,
        labels=labels,
        size=(height, width),
        channels=items.channels,
        items=items,
        rows=rows,
        digest=items.digest(rows),
    )


def _list_classes(
    folder: Path, class_names: tuple[str, ...], suffixes: frozenset[str]
) -> tuple[tuple[str, ...], Labels, tuple[str, ...]]:
    """Files of a folder of class folders: sorted paths below it, classes, and all class names."""
    listing = FolderTree(folder).walk(suffixes=suffixes)
    found = listing.class_names
    names = class_names or found
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise RunError(
            f"{folder}: expected the {len(names)} classes {', '.join(names[:4])}, ..., got "
            f"{', '.join(unknown[:4])} besides ({len(unknown)} in all); name the set's classes"
        )
    paths = [path for path in listing.images if "/" in path]
    if not paths:
        raise RunError(f"{folder}: expected files in class folders, got none; write the set again")
    rank = {name: position for position, name in enumerate(found)}
    paths.sort(key=lambda path: rank[_class_of(path)])
    number = {name: label for label, name in enumerate(names)}
    return tuple(paths), np.array([number[_class_of(path)] for path in paths], np.int64), names


def _class_of(path: str) -> str:
    return path.partition("/")[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """The sequences of one perturbation; sequence i belongs to test image i of the set."""

    name: str
    root: Path
    num_frames: int  # of every sequence
    size: tuple[int, int]  # height and width of the frames
    channels: int
    stored: Sequence[Any]  # arrays, or videos or folders of frames
    decode: Callable[[Any], Iterator[Frame]]  # iterates over the frames of a stored sequence
    digest: Callable[[], str]  # computes the fingerprint

    @property
    def fingerprint(self) -> str:
        """Sha256 of the stored frames, computed when asked for; of paths and sizes for trees."""
        return self.digest()

    def __len__(self) -> int:
        return len(self.stored)

    def load(self, ids: Ids) -> Frames:
        """Load whole sequences, in the order of the ids; raises as `frames` does."""
        chosen = check_ids(ids, len(self))
        loaded = np.empty((len(chosen), self.num_frames, *self.size, self.channels), np.uint8)
        for position, index in enumerate(chosen):
            for number, frame in enumerate(self.frames(int(index))):
                loaded[position, number] = frame
        return loaded

    def frames(self, index: int) -> Iterator[Frame]:
        """Iterate over the frames of one sequence.

        Raises:
            RunError: If it is broken, cut short, or of another size.
        """
        check_ids(np.array([index]), len(self))
        stored, count = self.stored[index], 0
        for frame in self.decode(stored):
            if count == self.num_frames or frame.shape[:2] != self.size:
                break
            count += 1
            yield frame
        else:
            if count == self.num_frames:
                return
        raise RunError(
            f"{stored}: expected {self.num_frames} frames of {self.size[0]}x{self.size[1]} (height "
            f"x width) like the first of {self.root}, got another number or size after {count} "
            "frames; fetch or write it again"
        )


def open_perturbed(root: Path | str | Layout, name: str) -> Sequences:
    """Open the sequences of one perturbation of a -P set on disk; ``root`` as `open_corrupted`.

    Raises:
        RunError: If the set or the perturbation is missing, or the first sequence is broken.
    """
    layout = root if isinstance(root, Layout) else find_layout(Path(root).expanduser())
    path = layout.path(name)
    title = f"{layout.root.name}/{name}"
    if layout.kind == "cifar-p":
        return _open_array(path, title)
    if layout.kind == "imagenet-p":
        return _open_tree_frames(path, layout.class_names, title)
    raise RunError(
        f"{layout.root} holds corrupted images ({layout.kind}), expected perturbation sequences; "
        "open them with open_corrupted"
    )


def _open_array(path: Path, title: str) -> Sequences:
    array = open_array(path)
    is_fit = array.dtype == np.uint8 and array.ndim == 5 and array.shape[-1] in (1, 3)
    if not is_fit or 0 in array.shape:
        raise RunError(
            f"{path}: expected uint8 [n, frame, height, width, 1 or 3], got {array.dtype} "
            f"{list(array.shape)}"
        )
    return Sequences(
        name=title,
        root=path,
        num_frames=array.shape[1],
        size=(array.shape[2], array.shape[3]),
        channels=array.shape[4],
        stored=list(array),
        decode=lambda sequence: (np.array(frame) for frame in sequence),
        digest=partial(hash_array, array),
    )


def _open_tree_frames(folder: Path, class_names: tuple[str, ...], title: str) -> Sequences:
    tree = FolderTree(folder)
    is_video = any(tree.images(name, _VIDEOS) for name in tree.folders())
    files, _, _ = _list_classes(folder, class_names, _VIDEOS if is_video else SUFFIXES)
    videos = files
    if not is_video:  # a folder for each sequence
        rank = {name: position for position, name in enumerate(map(_class_of, files))}
        folders = {str(Path(file).parent) for file in files}
        videos = sorted(folders, key=lambda path: (rank[_class_of(path)], path))
    num_frames, size = 0, (0, 0)
    for frame in _decode(folder / videos[0]):
        num_frames, size = num_frames + 1, (frame.shape[0], frame.shape[1])
    if not num_frames:
        raise RunError(f"{folder / videos[0]} holds no frame; fetch or write it again")
    return Sequences(
        name=title,
        root=folder,
        num_frames=num_frames,
        size=size,
        channels=3,
        stored=[folder / video for video in videos],
        decode=_decode,
        digest=partial(FileItems(root=folder, paths=files).digest, np.arange(len(files))),
    )


def _decode(path: Path) -> Iterator[Frame]:
    """The frames of a video file, or of a folder of images in the order of their numbers, RGB."""
    if path.suffix == ".mp4":
        yield from _decode_video(path)
        return
    files = [path / name for name in FolderTree(path).images()]
    wrong = [file.name for file in files if not file.stem.isdigit()]
    if wrong:
        raise RunError(f"{path}: expected frames named by number, e.g. 00.JPEG, got {wrong[0]}")
    for file in sorted(files, key=lambda file: int(file.stem)):
        try:
            yield decode_image(file.read_bytes())
        except (ImageError, OSError) as error:
            raise RunError(f"cannot use frame {file}: {error}") from error


def _decode_video(path: Path) -> Iterator[Frame]:
    with open(path, "rb") as file:
        start = file.read(12)
    if start[4:8] != b"ftyp":
        raise RunError(f"{path}: expected an mp4 video, got a file that starts {start[:8]!r}")
    video = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    try:
        width, height = (
            int(video.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if not video.isOpened() or not 0 < width * height <= MAX_PIXELS:
            raise RunError(
                f"cannot read the video {path} ({width}x{height}); it is half-downloaded or of an "
                "unknown codec, expected H.264 in mp4: fetch it again"
            )
        while True:
            has_frame, frame = video.read()
            if not has_frame:
                return
            yield np.ascontiguousarray(frame[:, :, ::-1], np.uint8)
    finally:
        video.release()

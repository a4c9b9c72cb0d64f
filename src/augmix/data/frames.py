"""Readers of the official perturbation sequences: CIFAR-10-P arrays and ImageNet-P videos.

A `Sequences` is what a `sources.Source` is for images: sequences by id, whole or frame by frame,
so that no more than one batch is ever in memory. Videos are decoded by OpenCV's FFmpeg; the lossy
published H.264 comes out as its decoder makes it, RGB.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Integer, UInt8

from augmix.data.decoding import SUFFIXES, ImageError, decode_image
from augmix.data.folders import FileItems
from augmix.data.labels import check_ids
from augmix.data.layouts import Layout, find_layout, open_array
from augmix.data.official import list_classes
from augmix.images import MAX_PIXELS
from augmix.records import RunError

Frame = UInt8[np.ndarray, "height width channel"]
Frames = UInt8[np.ndarray, "batch frame height width channel"]


@runtime_checkable
class Sequences(Protocol):
    """The sequences of one perturbation; sequence i belongs to test image i of the set.

    Attributes:
        name: Set and perturbation.
        num_frames: Frames of every sequence.
        size: Height and width of the frames.
        channels: 1 for grey, 3 for RGB.
        fingerprint: Sha256 of the stored frames; of paths and sizes for trees.
    """

    @property
    def name(self) -> str: ...
    @property
    def num_frames(self) -> int: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def channels(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def load(self, ids: Integer[np.ndarray, " batch"]) -> Frames:
        """Whole sequences, in the order asked for."""
        ...

    def frames(self, index: int) -> Iterator[Frame]:
        """One sequence frame by frame."""
        ...


def open_perturbed(root: Path | str | Layout, name: str) -> Sequences:
    """The sequences of one perturbation of a -P set on disk.

    Args:
        root: The set's folder or the one above it, or what `layouts.find_layout` gave for it.
        name: A perturbation the set holds.

    Raises:
        RunError: If the set or the perturbation is missing, or the first sequence is broken.
    """
    layout = root if isinstance(root, Layout) else find_layout(Path(root).expanduser())
    place = layout.place(name)
    title = f"{layout.root.name}/{name}"
    if layout.kind == "cifar-p":
        return _open_array(place, title)
    if layout.kind == "imagenet-p":
        return _open_tree(place, layout.class_names, title)
    raise RunError(
        f"{layout.root} holds corrupted images ({layout.kind}), expected perturbation sequences; "
        "open them with open_corrupted"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedSequences:
    """The sequences of a ``.npy`` file; see `Sequences`."""

    name: str
    array: Frames

    @property
    def num_frames(self) -> int:
        return self.array.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        return self.array.shape[2], self.array.shape[3]

    @property
    def channels(self) -> int:
        return self.array.shape[4]

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        hasher = hashlib.sha256(repr(self.array.shape).encode())
        for sequence in self.array:
            hasher.update(np.ascontiguousarray(sequence).data)
        return hasher.hexdigest()

    def __len__(self) -> int:
        return len(self.array)

    def load(self, ids: Integer[np.ndarray, " batch"]) -> Frames:
        """A copy of the sequences asked for."""
        return np.array(self.array[check_ids(ids, len(self))])

    def frames(self, index: int) -> Iterator[Frame]:
        """One sequence frame by frame."""
        check_ids(np.array([index]), len(self))
        return (np.array(frame) for frame in self.array[index])


@dataclass(frozen=True, kw_only=True, eq=False)
class FileSequences:
    """A tree of videos, or of folders of frames; see `Sequences`.

    Attributes:
        root: The perturbation's folder.
        videos: The video or frame folder of every sequence, below the root.
    """

    name: str
    root: Path
    videos: tuple[str, ...]
    num_frames: int
    size: tuple[int, int]
    channels: int
    fingerprint: str

    def __len__(self) -> int:
        return len(self.videos)

    def load(self, ids: Integer[np.ndarray, " batch"]) -> Frames:
        """Decode the sequences asked for.

        Raises:
            RunError: If one is broken, cut short, or of another size.
        """
        chosen = check_ids(ids, len(self))
        loaded = np.empty((len(chosen), self.num_frames, *self.size, self.channels), np.uint8)
        for place, index in enumerate(chosen):
            for number, frame in enumerate(self.frames(int(index))):
                loaded[place, number] = frame
        return loaded

    def frames(self, index: int) -> Iterator[Frame]:
        """Decode one sequence frame by frame; see `load`."""
        check_ids(np.array([index]), len(self))
        path = self.root / self.videos[index]
        count = 0
        for frame in _decode(path):
            if count == self.num_frames or frame.shape[:2] != self.size:
                break
            count += 1
            yield frame
        else:
            if count == self.num_frames:
                return
        raise RunError(
            f"{path}: expected {self.num_frames} frames of {self.size[0]}x{self.size[1]} (height x "
            f"width) like the first of {self.root}, got another number or size after {count} "
            "frames; fetch or write it again"
        )


def _open_array(path: Path, title: str) -> MappedSequences:
    array = open_array(path)
    is_fit = array.dtype == np.uint8 and array.ndim == 5 and array.shape[-1] in (1, 3)
    if not is_fit or 0 in array.shape:
        raise RunError(
            f"{path}: expected uint8 [n, frame, height, width, 1 or 3], got {array.dtype} "
            f"{list(array.shape)}"
        )
    return MappedSequences(name=title, array=array)


def _open_tree(folder: Path, class_names: tuple[str, ...], title: str) -> FileSequences:
    is_video = any(folder.glob("*/*.mp4"))
    suffixes = frozenset((".mp4",)) if is_video else SUFFIXES
    files, _, _ = list_classes(folder, class_names, suffixes)
    videos = files if is_video else tuple(sorted({str(Path(file).parent) for file in files}))
    num_frames, size = 0, (0, 0)
    for frame in _decode(folder / videos[0]):
        num_frames, size = num_frames + 1, (frame.shape[0], frame.shape[1])
    if not num_frames:
        raise RunError(f"{folder / videos[0]} holds no frame; fetch or write it again")
    listing = FileItems(root=folder, paths=files)
    return FileSequences(
        name=title,
        root=folder,
        videos=videos,
        num_frames=num_frames,
        size=size,
        channels=3,
        fingerprint=listing.digest(np.arange(len(files))),
    )


def _decode(path: Path) -> Iterator[Frame]:
    """The frames of a video file or of a folder of images, RGB."""
    return _decode_video(path) if path.suffix == ".mp4" else _decode_images(_frame_files(path))


def _decode_images(paths: Sequence[Path]) -> Iterator[Frame]:
    for path in paths:
        try:
            yield decode_image(path.read_bytes())
        except (ImageError, OSError) as error:
            raise RunError(f"cannot use frame {path}: {error}") from error


def _frame_files(folder: Path) -> list[Path]:
    """Frames in the order of their numbers."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    wrong = [path.name for path in files if not path.stem.isdigit()]
    if wrong:
        raise RunError(f"{folder}: expected frames named by number, e.g. 00.JPEG, got {wrong[0]}")
    return sorted(files, key=lambda path: int(path.stem))


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

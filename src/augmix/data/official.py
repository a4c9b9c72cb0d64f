"""Readers of the official files: CIFAR-10-C, Tiny-ImageNet-C, ImageNet-C as sources of images.

A set of one corruption at one severity is a `sources.Source` like any other. ``.npy`` files are
mapped into memory, image trees are decoded when loaded, so opening is quick and memory stays free.
What is read was published by Hendrycks & Dietterich (2019) or written by `augmix.writing`.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer, UInt8

from augmix.data.decoding import SUFFIXES, ImageError
from augmix.data.folders import FileItems
from augmix.data.items import default_threads
from augmix.data.labels import check_ids, check_labels, fingerprint, number_classes
from augmix.data.layouts import LABELS_FILE, SEVERITIES, Layout, find_layout, open_array
from augmix.data.splits import list_entries
from augmix.data.stores import LazySource
from augmix.records import RunError


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedSource:
    """One severity of a ``.npy`` file; the fields are those of `sources.Source`."""

    name: str
    class_names: tuple[str, ...]
    labels: Int64[np.ndarray, " image"]
    images: UInt8[np.ndarray, "image height width channel"]
    split: str = "test"
    crop_padding: int = 0
    flip: bool = False
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    @property
    def channels(self) -> int:
        return self.images.shape[3]

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        hasher = hashlib.sha256(repr(self.images.shape).encode())
        hasher.update(np.ascontiguousarray(self.images).data)
        return fingerprint(hasher.hexdigest(), self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def load(
        self, ids: Integer[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """A copy of the images asked for."""
        return np.array(self.images[check_ids(ids, len(self))])


def open_corrupted(
    root: Path | str | Layout,
    name: str,
    severity: int,
    *,
    class_names: Sequence[str] = (),
    num_threads: int = 0,
) -> MappedSource | LazySource:
    """One corruption at one severity of a -C set on disk, as a source of its test images.

    Image i is the same image of the clean set for every corruption and severity, since files and
    classes are in one order.

    Args:
        root: The set's folder or the one above it, or what `layouts.find_layout` gave for it.
        name: A corruption the set holds.
        severity: 1..5.
        class_names: The classes in the order of the model's outputs; for a tree the names of its
            class folders. If none: as the set's manifest or the name of its folder tells, else
            the sorted class folders, or the numbers up to the largest label.
        num_threads: Threads that decode an image tree; 0 takes every processor of this process.

    Raises:
        ValueError: If the severity is not 1..5.
        RunError: If the set, the corruption or the severity is missing, a file is broken or of
            another form, or the labels do not fit.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1..5, got {severity} for corruption {name!r}")
    layout = root if isinstance(root, Layout) else find_layout(Path(root).expanduser())
    place = layout.place(name)
    known = tuple(class_names) or layout.class_names
    title = f"{layout.root.name}/{name}/{severity}"
    if layout.kind == "cifar-c":
        return _open_rows(place, severity, known, title)
    if layout.kind == "imagenet-c":
        return _open_tree(place, severity, known, title, num_threads or default_threads())
    raise RunError(
        f"{layout.root} holds perturbation sequences ({layout.kind}), expected corrupted images; "
        "open them with open_perturbed"
    )


def _open_rows(path: Path, severity: int, class_names: tuple[str, ...], title: str) -> MappedSource:
    """Rows n (s - 1) .. n s - 1 of the file, n a fifth of its length."""
    images = _check_images(open_array(path), path)
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
    return MappedSource(
        name=title,
        class_names=class_names or number_classes(labels, where=str(labels_path)),
        labels=labels[rows],
        images=images[rows],
    )


def _check_images(images: np.ndarray, path: Path) -> np.ndarray:
    is_fit = images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] in (1, 3)
    if not is_fit or 0 in images.shape or len(images) % len(SEVERITIES):
        raise RunError(
            f"{path}: expected uint8 [5 n, height, width, 1 or 3], five severities of n images, "
            f"got {images.dtype} {list(images.shape)}"
        )
    return images


def _open_tree(
    place: Path, severity: int, class_names: tuple[str, ...], title: str, num_threads: int
) -> LazySource:
    folder = place / str(severity)
    if not folder.is_dir():
        shown = ", ".join(list_entries(place)[:8]) or "nothing"
        raise RunError(
            f"{folder} is missing: expected the severities 1 to 5 in {place}, got {shown}; unpack "
            "or write the set again"
        )
    paths, labels, names = list_classes(folder, class_names, SUFFIXES)
    items = FileItems(root=folder, paths=paths)
    try:
        size = items.image(0, 0).shape[:2]
    except ImageError as error:
        raise RunError(f"cannot use image {items.where(0)}: {error}") from error
    rows = np.arange(len(paths))
    return LazySource(
        items=items,
        rows=rows,
        size=(size[0], size[1]),
        resize=0,
        num_threads=num_threads,
        name=title,
        split="test",
        class_names=names,
        labels=labels,
        fingerprint=fingerprint(items.digest(rows), labels),
        crop_padding=0,
        flip=False,
    )


def list_classes(
    folder: Path, class_names: tuple[str, ...], suffixes: frozenset[str]
) -> tuple[tuple[str, ...], Int64[np.ndarray, " image"], tuple[str, ...]]:
    """Files of a folder of class folders: sorted paths below it, classes, and all class names.

    Raises:
        RunError: If there is no file, or a class folder is none of the names.
    """
    found = sorted(path.name for path in folder.iterdir() if path.is_dir())
    names = class_names or tuple(found)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise RunError(
            f"{folder}: expected the {len(names)} classes {', '.join(names[:4])}, ..., got "
            f"{', '.join(unknown[:4])} besides ({len(unknown)} in all); name the set's classes"
        )
    number = {name: label for label, name in enumerate(names)}
    paths, labels = [], []
    for name in found:
        files = _list_files(folder, name, suffixes)
        paths += files
        labels += [number[name]] * len(files)
    if not paths:
        raise RunError(f"{folder}: expected files in class folders, got none; write the set again")
    return tuple(paths), np.array(labels, np.int64), names


def _list_files(folder: Path, name: str, suffixes: frozenset[str]) -> list[str]:
    found = []
    for place, _, files in os.walk(folder / name):
        below = Path(place).relative_to(folder)
        found += [
            (below / file).as_posix() for file in files if Path(file).suffix.lower() in suffixes
        ]
    return sorted(found)

"""Data sources by name, subsets and mixtures of them.

`open_source` gives a `Source`: labels and class names at once, images as uint8 batches when asked.
The readers are `cifar`, `folders`, `tables` and `arrays`; `stores` keeps the images, `items` makes
them one by one, and `decoding` turns files into pixels.

A folder without splits, a single table or archive serves any split asked for, so training and
testing on the same images would go unnoticed. Fingerprints tell.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, Integer, UInt8

from augmix.data.cifar import open_cifar
from augmix.data.decode import Draws, ResizedCrop
from augmix.data.digits import open_digits
from augmix.data.folders import SPLIT_NAMES, open_folder
from augmix.data.imagenet import SIZE, open_imagenet
from augmix.data.items import Geometry, OnError, default_threads
from augmix.data.npz import open_npz
from augmix.data.parquet import open_parquet
from augmix.data.stores import check_ids
from augmix.data.tar import open_shards
from augmix.errors import RunError, did_you_mean
from augmix.rng import Purpose, Stream

NAMES = ("digits", "cifar10", "cifar100", "folder", "parquet", "npz", "tar", "imagenet")
_BY_ENDING = {".npz": "npz", ".parquet": "parquet"}
_MAX_SIZE = 4096
_TAKE_PART = 1  # of Purpose.SPLIT; part 0 splits the digits


@runtime_checkable
class Source(Protocol):
    """A split of a data set; image i is the same in every run.

    Attributes:
        name: As in `open_source`.
        split: ``train``, ``test`` or ``val``.
        num_classes: Classes of the set, also of those without an image in this split.
        class_names: One for each class.
        labels: The class of every image.
        size: Height and width of the images `load` gives.
        channels: 1 for grey, 3 for RGB.
        fingerprint: Sha256 of labels and stored images; of paths and sizes for image folders.
        crop_padding: Border in pixels of the training crop that is usual for the set.
        flip: Whether its training images are usually mirrored.
        skipped: What was left out as broken: file or row, and the reason.
    """

    @property
    def name(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> Int64[np.ndarray, " image"]: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def channels(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def crop_padding(self) -> int: ...
    @property
    def flip(self) -> bool: ...
    @property
    def skipped(self) -> tuple[tuple[str, str], ...]: ...

    def __len__(self) -> int: ...

    def load(
        self, ids: Integer[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images asked for, in that order; repeats allowed, safe from any thread."""
        ...


@runtime_checkable
class CroppingSource(Source, Protocol):
    """A source that can decode a random crop of every image, for training.

    Attributes:
        crop: The law of the crops; None where there are none after all.
    """

    @property
    def crop(self) -> ResizedCrop | None: ...

    def load_crops(
        self, ids: Integer[np.ndarray, " batch"], draws: Draws
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images asked for, each cropped as drawn for it."""
        ...


def find_crop(source: Source) -> ResizedCrop | None:
    """By what law a source's training images are cropped when they are decoded; None if by none."""
    return source.crop if isinstance(source, CroppingSource) else None


def load_at(
    source: Source, ids: Integer[np.ndarray, " batch"], *, stream: Stream
) -> UInt8[np.ndarray, "batch height width channel"]:
    """The images a training step starts from, each cropped at its address if the source crops.

    Args:
        source: Where they come from.
        ids: Which ones.
        stream: The run's seed and the step's epoch.
    """
    crop = find_crop(source)
    if crop is None:
        return source.load(ids)
    assert isinstance(source, CroppingSource)
    return source.load_crops(ids, crop.sample(ids, stream=stream))


def open_source(
    name: str,
    *,
    root: str | PathLike[str] | None = None,
    split: str = "train",
    size: int = 0,
    resize: int = 0,
    interpolation: str = "bilinear",
    squash: bool = False,
    crop: ResizedCrop | None = None,
    is_reduced: bool = True,
    download: bool = False,
    on_error: OnError = "raise",
    num_threads: int = 0,
) -> Source:
    """Open a split of a data set.

    | name | root |
    | --- | --- |
    | ``digits`` | none: scikit-learn's 1,797 digits, 1,400 to train on, RGB at 32x32 |
    | ``cifar10`` ``cifar100`` | the official python folder or its parent, or a parquet folder |
    | ``folder`` | ``[train|test|val]/class/image.png``; without splits, it is the split asked for |
    | ``parquet`` | a file, or a folder with ``train.parquet`` or ``train-*.parquet`` |
    | ``tar`` | ``train*.tar``, ``train/*.tar``; images in folders or beside ``.cls`` |
    | ``imagenet`` | as folders, tar or parquet shards; val also flat with a listing (`imagenet`) |
    | ``npz`` | arrays ``images`` and ``labels``, or ``x_train``, ``y_train``, ``x_test``, ... |

    Sets whose pixels take at most 1 GiB are decoded once, here; larger ones when loaded.

    Args:
        name: One of `NAMES`.
        root: Where the data lies.
        split: ``train``, ``test`` (which also takes ``val``) or ``val``.
        size: 0 for images as stored, which then must have one size (digits: 32; imagenet: 224).
            N for N x N: the shorter side is resized to N (to N * 256 / 224 from N = 64 on), then
            the centre is cut.
        resize: The shorter side before the cut, at least ``size``; 0 takes the rule above.
        interpolation: Pillow's filter for resizing: nearest, box, bilinear, hamming, bicubic or
            lanczos. Digits are always enlarged whole and bilinearly to ``size``.
        squash: Resize both sides to ``size``, whatever the picture's shape, and cut nothing.
        crop: Decode a random crop of each image anew in every epoch, resized to ``size`` (see
            `load_at`); for image files only. `load` gives the centre as before.
        is_reduced: Whether JPEGs much larger than their crop are decoded at 1/2, 1/4 or 1/8 of
            their size.
        download: Fetch a CIFAR set into ``root`` if it is not there.
        on_error: ``raise`` stops at a broken image and names it; ``skip`` leaves it out and lists
            it in ``skipped``.
        num_threads: Threads that decode; 0 takes every processor this process may use.

    Raises:
        ValueError: If an argument is out of range.
        RunError: If the data is missing, broken, or not of the form expected.
    """
    _check_arguments(name, split, size, on_error, num_threads)
    geometry = Geometry(
        size=size or (SIZE if name == "imagenet" else 0),
        resize=resize,
        interpolation=interpolation,
        squash=squash,
        crop=crop,
        is_reduced=is_reduced,
    )
    path = None if root is None else Path(root).expanduser()
    threads = num_threads or default_threads()
    if download and not name.startswith("cifar"):
        raise ValueError(f"download is for cifar10 and cifar100, got {name!r}")
    if crop and name in ("digits", "npz"):
        raise ValueError(f"random resized crops need image files, got the arrays of {name!r}")
    if name == "digits":
        return open_digits(split, size or 32)
    if name in ("cifar10", "cifar100"):
        return open_cifar(
            name,
            path,
            split=split,
            geometry=geometry,
            download=download,
            on_error=on_error,
            num_threads=threads,
        )
    if path is None:
        raise RunError(f"source {name} needs to know where its data lies; name it with --data")
    readers = {
        "folder": open_folder,
        "parquet": open_parquet,
        "npz": open_npz,
        "tar": open_shards,
        "imagenet": open_imagenet,
    }
    return readers[name](
        path, split=split, geometry=geometry, on_error=on_error, num_threads=threads
    )


def name_source(place: str) -> str:
    """The source that reads what lies at a place: digits, npz and parquet by name, else a folder.

    Example:
        >>> [name_source(place) for place in ("digits", "x/test.NPZ", "photographs")]
        ['digits', 'npz', 'folder']
    """
    if place == "digits":
        return place
    return _BY_ENDING.get(Path(place).suffix.lower(), "folder")


@dataclass(frozen=True, kw_only=True, eq=False)
class Derived:
    """What a source that is made of another one has of it; the rest it says itself.

    Attributes:
        source: The other one.
    """

    source: Source

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def split(self) -> str:
        return self.source.split

    @property
    def size(self) -> tuple[int, int]:
        return self.source.size

    @property
    def channels(self) -> int:
        return self.source.channels

    @property
    def crop_padding(self) -> int:
        return self.source.crop_padding

    @property
    def flip(self) -> bool:
        return self.source.flip


@dataclass(frozen=True, kw_only=True, eq=False)
class Subset(Derived):
    """Some images of a source, renumbered 0 .. len - 1.

    Attributes:
        source: The whole.
        ids: The image of the whole behind every image of this.
    """

    ids: Int64[np.ndarray, " image"]

    @property
    def num_classes(self) -> int:
        return self.source.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.class_names

    @property
    def labels(self) -> Int64[np.ndarray, " image"]:
        return self.source.labels[self.ids]

    @property
    def fingerprint(self) -> str:
        hasher = hashlib.sha256(self.source.fingerprint.encode())
        hasher.update(self.ids.astype("<i8").tobytes())
        return hasher.hexdigest()

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        return self.source.skipped

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def crop(self) -> ResizedCrop | None:
        return find_crop(self.source)

    def load(
        self, ids: Integer[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images asked for, by their numbers here."""
        return self.source.load(self.ids[check_ids(ids, len(self))])

    def load_crops(
        self, ids: Integer[np.ndarray, " batch"], draws: Draws
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images asked for, by their numbers here, each cropped as drawn for it."""
        assert isinstance(self.source, CroppingSource)
        return self.source.load_crops(self.ids[check_ids(ids, len(self))], draws)


def subset(source: Source, ids: Integer[np.ndarray, " image"]) -> Source:
    """The images ``ids`` of a source as a source of its own.

    Raises:
        IndexError: If an id is not in the source.
        ValueError: If there is none.
    """
    if not len(ids):
        raise ValueError("a subset needs at least one id, got none")
    return Subset(source=source, ids=check_ids(ids, len(source)).astype(np.int64))


def take(source: Source, count: int, *, seed: int = 0) -> Source:
    """A random subset of ``count`` images in stored order, the same for the same seed.

    A larger count contains the smaller ones; the source itself if it has no more images.

    Raises:
        ValueError: If count is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if count >= len(source):
        return source
    order = Stream(seed=seed).at(Purpose.SPLIT, part=_TAKE_PART).permutation(len(source))
    return subset(source, np.sort(order[:count]))


def _check_arguments(name: str, split: str, size: int, on_error: str, num_threads: int) -> None:
    if name not in NAMES:
        guess = did_you_mean(name, NAMES)
        raise ValueError(f"source must be one of {', '.join(NAMES)}, got {name!r}{guess}")
    if split not in SPLIT_NAMES:
        raise ValueError(f"split must be one of {', '.join(SPLIT_NAMES)}, got {split!r}")
    if not 0 <= size <= _MAX_SIZE:
        raise ValueError(f"size must be 0 (as stored) or 1..{_MAX_SIZE} pixels, got {size}")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    if num_threads < 0:
        raise ValueError(f"num_threads must be 0 (all processors) or more, got {num_threads}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Mix(Derived):
    """The images of two sources, those of the first in front; see `mix`.

    Attributes:
        source: The first: the images themselves; name, split, crop and flip are theirs.
        second: What is mixed in.
        labels: The class of every image.
    """

    second: Source
    labels: Int64[np.ndarray, " image"]

    @property
    def num_classes(self) -> int:
        return self.source.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.class_names

    @property
    def fingerprint(self) -> str:
        """Sha256 of both fingerprints and of how many images each part has."""
        parts = [f"{part.fingerprint} {len(part)}" for part in (self.source, self.second)]
        return hashlib.sha256("\n".join(["mix", *parts]).encode()).hexdigest()

    @property
    def crop(self) -> ResizedCrop | None:
        return find_crop(self.source)

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        return (*self.source.skipped, *self.second.skipped)

    def __len__(self) -> int:
        return len(self.labels)

    def load(
        self, ids: Integer[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images asked for, each from its own source."""
        return self._gather(ids, lambda part, here, _: part.load(here))

    def load_crops(
        self, ids: Integer[np.ndarray, " batch"], draws: Draws
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images asked for, each cropped as drawn for it if its own source crops."""

        def load(part: Source, here: np.ndarray, rows: np.ndarray) -> np.ndarray:
            if find_crop(part) is None:
                return part.load(here)
            assert isinstance(part, CroppingSource)
            return part.load_crops(here, draws[rows])

        return self._gather(ids, load)

    def _gather(
        self,
        ids: Integer[np.ndarray, " batch"],
        load: Callable[[Source, np.ndarray, np.ndarray], np.ndarray],
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """``load(part, its ids, their rows)`` of both sources, in the order of the ids."""
        ids = check_ids(ids, len(self))
        images = np.empty((len(ids), *self.size, self.channels), np.uint8)
        is_second = ids >= len(self.source)
        for part, start, rows in (
            (self.source, 0, np.flatnonzero(~is_second)),
            (self.second, len(self.source), np.flatnonzero(is_second)),
        ):
            if len(rows):
                images[rows] = load(part, ids[rows] - start, rows)
        return images


def mix(first: Source, second: Source) -> Mix:
    """The images of both sources as one: 0 .. len(first) - 1, then those of the second.

    An epoch sees each image of both once, so their sizes are their shares.

    Raises:
        RunError: If classes, image sizes or channels differ.
    """
    names = zip(first.class_names, second.class_names, strict=False)
    other = next((pair for pair in enumerate(names) if pair[1][0] != pair[1][1]), None)
    for what, ours, theirs in (
        ("classes", first.num_classes, second.num_classes),
        *(((f"class {other[0]}", *other[1]),) if other else ()),
        ("images of height and width", first.size, second.size),
        ("channels", first.channels, second.channels),
    ):
        if ours != theirs:
            raise RunError(
                f"sets that are mixed must agree; expected {what} {ours}, got {theirs} in source "
                f"{second.name!r}; make the second from the first, at the same size (augmix "
                "stylize)"
            )
    return Mix(source=first, second=second, labels=np.concatenate([first.labels, second.labels]))


def open_stylised(root: str | PathLike[str], like: Source) -> Source:
    """The stylised copies of a source, as `augmix stylize` writes them.

    Args:
        root: A folder of class folders, one that holds ``train.npz``, or an ``.npz`` file.
        like: The source they were made from; they must have its size, channels and classes, but
            are cropped to that size where it is cropped.

    Raises:
        RunError: If they are missing or broken.
    """
    path = Path(root).expanduser()
    is_archive = path.suffix == ".npz" or (path / f"{like.split}.npz").exists()
    crop = None if is_archive else find_crop(like)
    return open_source(
        "npz" if is_archive else "folder",
        root=path,
        split=like.split,
        crop=crop,
        size=like.size[0] if crop else 0,
    )


def check_disjoint(train_fingerprint: str, test: Source, *, max_train_images: int = 0) -> None:
    """Refuse to measure a model on the set it was trained on.

    What is found: the same images, classes and order, whole or as the parts `sources.take` and
    `sources.subset` give, whatever labels they were mapped to since. What is not found: a set
    stored in another form, or one that shares some images only.

    Args:
        train_fingerprint: Of the source that was trained on, as its run recorded it.
        test: The images to measure on.
        max_train_images: What the run limited its training images to; 0 for all.

    Raises:
        RunError: If they are the same.
    """
    if overlaps(train_fingerprint, test, max_train_images=max_train_images):
        raise RunError(
            f"the {test.split!r} images of source {test.name!r} are those the model was trained "
            "on: data without splits serves any split. Measure on other images (--data, or "
            "folders train and test), or take them all the same with --allow-train-data"
        )


def overlaps(train_fingerprint: str, test: Source, *, max_train_images: int = 0) -> bool:
    """Whether a model's training images are (a part of, or contain) these; see `check_disjoint`."""
    for whole in _layers(test):
        seen = {whole.fingerprint}
        if max_train_images:
            seen.add(take(whole, max_train_images).fingerprint)
        if train_fingerprint in seen:
            return True
    return False


def _layers(source: Source) -> list[Source]:
    """A source, what it is a part or mapping of, and so on."""
    found: list[Any] = [source]
    while (inner := getattr(found[-1], "source", None)) is not None:
        found.append(inner)
    return found

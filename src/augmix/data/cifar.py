"""CIFAR-10 and CIFAR-100: the official python folder, or parquet in the Hub's layout.

Krizhevsky (2009), "Learning Multiple Layers of Features from Tiny Images". 50,000 training and
10,000 test images of 32x32 RGB; CIFAR-100 by its 100 fine labels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from augmix.data import downloads
from augmix.data.downloads import Archive
from augmix.data.geometry import Geometry
from augmix.data.items import ArrayItems, Items, OnError
from augmix.data.labels import check_labels
from augmix.data.pickles import load_pickle
from augmix.data.stores import ArraySource, LazySource, build_source
from augmix.data.tables import find_tables, load_table
from augmix.records import RunError

_NAMES10 = "airplane automobile bird cat deer dog frog horse ship truck"
_NAMES100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
    mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
    porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
    tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR10_CLASSES = tuple(_NAMES10.split())
CIFAR100_CLASSES = tuple(_NAMES100.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One of the two sets.

    Attributes:
        name: As in `open_source`.
        class_names: In the official order.
        archive: The official download; its folder's name is that of the unpacked set.
        files: The pickles of each split.
        key: Labels in a pickle.
        column: Labels in a table.
        sibling: The other set, whose files are the usual mistake.
    """

    name: str
    class_names: tuple[str, ...]
    archive: Archive
    files: dict[str, tuple[str, ...]]
    key: str
    column: str
    sibling: str


EDITIONS = {
    "cifar10": Edition(
        name="cifar10",
        class_names=CIFAR10_CLASSES,
        archive=downloads.CIFAR10,
        files={
            "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
            "test": ("test_batch",),
        },
        key="labels",
        column="label",
        sibling="cifar100",
    ),
    "cifar100": Edition(
        name="cifar100",
        class_names=CIFAR100_CLASSES,
        archive=downloads.CIFAR100,
        files={"train": ("train",), "test": ("test",)},
        key="fine_labels",
        column="fine_label",
        sibling="cifar10",
    ),
}


def open_cifar(
    name: str,
    root: Path | None,
    *,
    split: str,
    geometry: Geometry,
    download: bool,
    on_error: OnError,
    num_threads: int,
    url: str = downloads.OFFICIAL_URL,
) -> ArraySource | LazySource:
    """Open a CIFAR set; see `sources.open_source`.

    Args:
        root: The official folder or its parent, or a folder of parquet files; None looks where
            downloads are kept.
        url: Where to download from.
    """
    edition = EDITIONS[name]
    if split not in edition.files:
        raise RunError(f"{name} has the splits train and test, got {split!r}")
    folder = _cache() if root is None else root
    official = _find_official(edition, folder)
    tables = () if official else find_tables(folder, split=split, extra=(name,), strict=False)
    if not official and not tables and download:
        official = downloads.fetch_archive(edition.archive, folder, url=url)
    if official:
        items, labels = _load_official(edition, official, split)
    elif tables:
        items, labels, _ = load_table(tables, label_columns=(edition.column,), hint=_hint(edition))
        labels = _check(labels, len(items), edition, where=str(tables[0]))
    else:
        raise _missing(edition, folder, split, given=root is not None)
    return build_source(
        items,
        labels,
        name=name,
        split=split,
        class_names=edition.class_names,
        geometry=geometry,
        on_error=on_error,
        num_threads=num_threads,
    )


def _find_official(edition: Edition, folder: Path) -> Path | None:
    """The official folder, whether it or its parent was named."""
    below = folder / edition.archive.folder
    if below.is_dir():
        return below
    files = [folder / file for files in edition.files.values() for file in files]
    is_official = folder.name == edition.archive.folder and folder.is_dir()
    return folder if is_official or any(file.is_file() for file in files) else None


def _load_official(
    edition: Edition, folder: Path, split: str
) -> tuple[Items, Int64[np.ndarray, " image"]]:
    images, labels = [], []
    for file in edition.files[split]:
        path = folder / file
        if not path.is_file():
            raise RunError(
                f"{edition.name} needs {', '.join(edition.files[split])} for split {split!r}, "
                f"{path} is missing; unpack the official {edition.archive.file} again"
            )
        batch = load_pickle(path)
        images.append(_batch_images(batch, path))
        labels.append(_batch_labels(batch, edition, path, len(images[-1])))
    items = ArrayItems(images=np.concatenate(images), path=str(folder))
    return items, np.concatenate(labels)


def _batch_images(batch: dict[str, Any], path: Path) -> UInt8[np.ndarray, "image 32 32 3"]:
    data = batch.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3072:
        got = f"shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise RunError(f"{path}: expected 'data' as uint8 rows of 3072 (3x32x32), got {got}")
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _batch_labels(
    batch: dict[str, Any], edition: Edition, path: Path, num_images: int
) -> Int64[np.ndarray, " image"]:
    values = batch.get(edition.key)
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise RunError(
            f"{path}: expected {edition.key!r}, a list of whole numbers, among "
            f"{', '.join(sorted(batch))}; {_hint(edition)}"
        )
    if any(abs(value) >= 2**31 for value in values):
        raise RunError(f"{path}: expected labels below {len(edition.class_names)}, got more")
    return _check(np.array(values, np.int64), num_images, edition, where=str(path))


def _check(
    labels: np.ndarray, num_images: int, edition: Edition, *, where: str
) -> Int64[np.ndarray, " image"]:
    return check_labels(
        labels,
        num_images,
        num_classes=len(edition.class_names),
        where=f"{edition.name} in {where}",
        hint=_hint(edition),
    )


def _missing(edition: Edition, folder: Path, split: str, *, given: bool) -> RunError:
    if given and not folder.exists():
        return RunError(
            f"{edition.name}: {folder} does not exist; name the folder that holds "
            f"{edition.archive.folder}, or let --download fetch it there"
        )
    other = EDITIONS[edition.sibling]
    hint = f" ({_hint(edition)})" if _find_official(other, folder) else ""
    return RunError(
        f"{edition.name}: expected {edition.archive.folder}/ or {split}.parquet in {folder}, got "
        f"neither{hint}; name the folder with --data, or let --download fetch it"
    )


def _hint(edition: Edition) -> str:
    return f"if this is {edition.sibling}, open it as {edition.sibling}"


def _cache() -> Path:
    """Where downloads are kept when no folder is named."""
    import pooch

    return Path(pooch.os_cache("augmix"))

"""The list of a written set's images, which another program fills in with its predictions.

`augmix.evaluation.predictions` reads what comes back. ``list.csv`` has a row for every image that a
model must see: its ``id``, ``path`` (below the folder of the list, or relative to it), ``row`` and
``frame`` within an array, ``label``, ``suite``, ``corruption`` and ``severity``. The clean images
lie beside it, as the model of the package would see them.
"""

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from augmix.corruptions.registry import Real
from augmix.data.sources import Source
from augmix.errors import RunError
from augmix.files import make_folder, open_atomic

LIST_FILE = "list.csv"
CLEAN_FOLDER = "clean"
_CHUNK_BYTES = 2**20  # of lines written at a time
COLUMNS = ("id", "label", "suite", "corruption", "severity", "frame", "path", "row")

Row = tuple[Real | str, ...]


def list_corrupted(
    source: Source,
    suites: Mapping[str, str],
    folders: Mapping[tuple[str, Real], str],
    files: Sequence[str],
) -> Iterator[Row]:
    """List the clean images of a source and those of its -C form, in the order of `COLUMNS`.

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
) -> Iterator[Row]:
    """List the frames of the -P form of a source, in the order of `COLUMNS`.

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
    folder: Path, rows: Callable[[], Iterator[Row]], set_folder: Path, clean: Source | None = None
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
            is_same = all(line == file.readline() for line in _lines(rows(), beside))
            if not is_same or file.readline():
                raise RunError(
                    f"{path} is another list, or was changed; name another folder with --manifest"
                )
    if clean is not None:
        make_folder(folder / CLEAN_FOLDER)
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
            file.writelines(_lines(rows(), beside))


def _lines(rows: Iterator[Row], beside: str) -> Iterator[bytes]:
    """The lines of the list; paths of the set become relative to the list's folder."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for *keys, path, row in rows:
        is_clean = keys[2] == "clean"
        writer.writerow([*keys, path if is_clean else f"{beside}/{path}", row])
        if text.tell() > _CHUNK_BYTES:
            yield from _drain(text)
    yield from _drain(text)


def _drain(text: io.StringIO) -> Iterator[bytes]:
    yield from text.getvalue().encode("utf-8", "surrogateescape").splitlines(keepends=True)
    text.seek(0)
    text.truncate()


def _clean_name(index: int) -> str:
    return f"{CLEAN_FOLDER}/{index:08d}.png"

"""The official files as images of a source: opened when their turn comes, and known to fit.

Image i of an official set is image i of the clean one, which its size, number and labels confirm.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from augmix.corrupt import sequence_rows
from augmix.data.frames import Sequences, open_perturbed
from augmix.data.layouts import Layout, find_layout
from augmix.data.official import open_corrupted
from augmix.data.sources import Source
from augmix.records import RunError

_NUM_OPEN = 4  # sets that are kept open: the cell measured, the next one, the examples'


@dataclass(frozen=True, kw_only=True, eq=False)
class OfficialFiles:
    """A -C or -P set on disk.

    Attributes:
        layout: Where everything is.
        source: The clean images it was made of.
        difficulty: Of a -P set: noise of difficulty 2 or 3 lies under names of its own.
    """

    layout: Layout
    source: Source
    difficulty: int = 1

    @property
    def suite(self) -> str:
        """``c`` or ``p``."""
        return self.layout.kind[-1]

    @property
    def title(self) -> str:
        """The set's folder and form."""
        return f"{self.layout.root.name} ({self.layout.kind})"

    def images(self, name: str, severity: int) -> Source:
        """The images of a corruption at a severity.

        Raises:
            RunError: If a file is missing, broken, or not of this source.
        """
        return _open_images(self, name, severity)

    def sequences(self, name: str) -> Sequences:
        """The sequences of a perturbation.

        Raises:
            RunError: If a file is missing, broken, or not of this source.
        """
        return _open_sequences(self, name)

    def fingerprint(self, name: str, severity: int) -> str:
        """sha256 of the files of a cell; of paths and sizes where they are trees."""
        if self.suite == "p":
            return self.sequences(name).fingerprint
        return self.images(name, severity).fingerprint


def find_official(
    folders: Iterable[Path | str], source: Source, *, difficulty: int = 1
) -> dict[str, OfficialFiles]:
    """The sets that lie in some folders, by suite: ``c``, ``p`` or both.

    Raises:
        RunError: If a folder holds no set, or two hold sets of one suite.
    """
    found: dict[str, OfficialFiles] = {}
    for folder in folders:
        layout = find_layout(Path(folder).expanduser())
        files = OfficialFiles(layout=layout, source=source, difficulty=difficulty)
        if files.suite in found:
            raise RunError(
                f"{found[files.suite].layout.root} and {layout.root} both hold sets of suite "
                f"{files.suite}; name one of them with --official"
            )
        found[files.suite] = files
    return found


@lru_cache(maxsize=_NUM_OPEN)
def _open_images(files: OfficialFiles, name: str, severity: int) -> Source:
    is_tree = files.layout.kind == "imagenet-c"
    class_names = files.source.class_names if is_tree else ()
    images = open_corrupted(files.layout, name, severity, class_names=class_names)
    _check_fit(files, f"{name} {severity}", len(images), images.size)
    if not np.array_equal(images.labels, files.source.labels):
        first = int((images.labels != files.source.labels).argmax())
        raise RunError(
            f"{files.title}, {name} {severity}: expected the images of {_describe(files.source)} "
            f"in its order, but the label of image {first} is {int(images.labels[first])} there "
            f"and {int(files.source.labels[first])} here; name the clean set that it was made of"
        )
    return images


@lru_cache(maxsize=_NUM_OPEN)
def _open_sequences(files: OfficialFiles, name: str) -> Sequences:
    is_noise = sequence_rows.find(name).kind == "noise"
    stored = f"{name}_{files.difficulty}" if is_noise and files.difficulty > 1 else name
    sequences = open_perturbed(files.layout, stored)
    _check_fit(files, stored, len(sequences), sequences.size)
    return sequences


def _check_fit(files: OfficialFiles, what: str, count: int, size: tuple[int, int]) -> None:
    source = files.source
    if (count, size) != (len(source), source.size):
        raise RunError(
            f"{files.title}, {what}: expected {len(source)} images of {source.size[0]}x"
            f"{source.size[1]} (height x width) like {_describe(source)}, got {count} of "
            f"{size[0]}x{size[1]}; name the clean set that it was made of, and its --size"
        )


def _describe(source: Source) -> str:
    return f"{source.name}, split {source.split}"

"""Official files: -C, C-bar and -P sets that are measured in place of images made on the fly.

Image i of a set is image i of the clean images, which its size, number and labels confirm.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from augmix.corruptions import registry
from augmix.data.benchmarks import Layout, Sequences, find_layout, open_corrupted, open_perturbed
from augmix.data.derived import MappedSource
from augmix.data.sources import Source
from augmix.errors import RunError
from augmix.results import CellKey

_NUM_OPEN = 4  # official sets kept open: of the cell measured, of the next one, of the examples


@dataclass(frozen=True, kw_only=True, eq=False)
class OfficialFiles:
    """A -C, C-bar or -P set on disk."""

    layout: Layout
    source: Source  # the clean images it was made of
    difficulty: int = 1  # of a -P set, whose noise of difficulty 2 and 3 has names of its own

    @property
    def suites(self) -> set[str]:
        """``p``, or ``c``, ``c-bar`` or both, by the names of the corruptions."""
        return _suites(self.layout)

    @property
    def title(self) -> str:
        """The set's folder and form, and the preset of a file that it was written with."""
        preset = self.layout.own_preset
        return f"{self.layout.root.name} ({self.layout.kind}{preset and f', preset {preset}'})"

    def open(self, key: CellKey) -> Any:
        """Open the images of a corruption, or the `Sequences` of a perturbation."""
        return _open_files(self, key)


def official_suites(folder: Path) -> set[str]:
    """The suites whose official files a folder holds; a folder without a set is a `RunError`."""
    return _suites(find_layout(folder.expanduser()))


def _suites(layout: Layout) -> set[str]:
    if layout.kind[-1] == "p":
        return {"p"}
    known = {name: registry.CORRUPTIONS[name].suite for name in registry.CORRUPTIONS}
    known |= {name: known[other] for name, other in registry.CORRUPTIONS.aliases.items()}
    return {registry.BAR if known.get(name) == registry.BAR else "c" for name in layout.names}


def find_official(
    folders: Iterable[Path], source: Source, *, difficulty: int = 1
) -> Mapping[str, OfficialFiles]:
    """Find the sets that some folders hold, by suite: ``c``, ``c-bar``, ``p`` or several.

    A folder without a set, or two with sets of one suite, is a `RunError`.
    """
    found: dict[str, OfficialFiles] = {}
    for folder in folders:
        layout = find_layout(Path(folder).expanduser())
        files = OfficialFiles(layout=layout, source=source, difficulty=difficulty)
        for suite in sorted(files.suites):
            if suite in found:
                raise RunError(
                    f"{found[suite].layout.root} and {layout.root} both hold sets of suite "
                    f"{suite}; name one of them with --official"
                )
            found[suite] = files
    return found


@lru_cache(maxsize=_NUM_OPEN)
def _open_files(files: OfficialFiles, key: CellKey) -> Source | Sequences:
    source, layout = files.source, files.layout
    if isinstance(source, MappedSource):  # the set has the classes of the images, not the model's
        source = source.source
    if key.suite == "p":
        is_noise = registry.SEQUENCES.find(key.name).is_noise
        what = f"{key.name}_{files.difficulty}" if is_noise and files.difficulty > 1 else key.name
        opened = open_perturbed(layout, what)
    else:
        what = f"{key.name} {key.severity}"
        class_names = source.class_names if layout.kind == "imagenet-c" else ()
        opened = open_corrupted(layout, key.name, int(key.severity), class_names=class_names)
    where = f"{source.name}, split {source.split}"
    if (len(opened), opened.size) != (len(source), source.size):
        raise RunError(
            f"{files.title}, {what}: expected {len(source)} images of {source.size[0]}x"
            f"{source.size[1]} (height x width) like {where}, got {len(opened)} of "
            f"{opened.size[0]}x{opened.size[1]}; name the clean set that it was made of, and its "
            "--size"
        )
    labels = getattr(opened, "labels", source.labels)  # sequences have none of their own
    if not np.array_equal(labels, source.labels):
        first = int((labels != source.labels).argmax())
        raise RunError(
            f"{files.title}, {what}: expected the images of {where} in its order, but the label of "
            f"image {first} is {int(labels[first])} there and {int(source.labels[first])} "
            "here; name the clean set that it was made of"
        )
    return opened

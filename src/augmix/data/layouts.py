"""What lies in a folder of a published or written benchmark: which form, which names, where.

| kind | files |
| --- | --- |
| ``cifar-c`` | ``fog.npy`` [5 n, height, width, channel], ``labels.npy`` [5 n] |
| ``imagenet-c`` | ``fog/<severity>/<class>/<image>.JPEG`` |
| ``cifar-p`` | ``tilt.npy`` [n, frame, height, width, channel] |
| ``imagenet-p`` | ``tilt/<class>/<image>.mp4``, or ``tilt/<class>/<image>/<frame>.JPEG`` |

Between the folder and the names there may be the group folders of the published archives
(``noise``, ``blur``, ``weather``, ``digital``, ``extra``).
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from augmix.data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES
from augmix.data.decoding import SUFFIXES
from augmix.data.splits import list_entries
from augmix.records import RunError, load_json

MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.npy"
SEVERITIES = (1, 2, 3, 4, 5)

Kind = Literal["cifar-c", "imagenet-c", "cifar-p", "imagenet-p"]
_GROUPS = ("noise", "blur", "weather", "digital", "extra")
_KNOWN_CLASSES = {
    **dict.fromkeys(("CIFAR-10-C", "CIFAR-10-P"), CIFAR10_CLASSES),
    **dict.fromkeys(("CIFAR-100-C", "CIFAR-100-P"), CIFAR100_CLASSES),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A benchmark on disk.

    Attributes:
        root: The folder that holds it.
        kind: See the table of this module.
        places: The file or folder of every corruption or perturbation, by name.
        class_names: In the order of the labels, where the folder tells; else empty.
    """

    root: Path
    kind: Kind
    places: Mapping[str, Path]
    class_names: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The corruptions or perturbations, sorted."""
        return tuple(sorted(self.places))

    def place(self, name: str) -> Path:
        """The file or folder of a corruption or perturbation.

        Raises:
            RunError: If it is not there; names the nearest.
        """
        if name in self.places:
            return self.places[name]
        near = difflib.get_close_matches(name, self.names, n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise RunError(f"{self.root} holds no {name!r}; {guess}It holds {', '.join(self.names)}")


def find_layout(root: Path) -> Layout:
    """Find out what a folder holds.

    Args:
        root: The folder of the set, or the one above it if that holds a single set.

    Raises:
        RunError: If it holds none of the forms, several, or mixes them.
    """
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise RunError(f"{root} {what}; expected the folder of a -C or -P set")
    layout = _read(root)
    if layout is not None:
        return layout
    below = [found for path in _folders(root) if (found := _read(path)) is not None]
    if len(below) > 1:
        raise RunError(
            f"{root} holds several sets: {', '.join(found.root.name for found in below)}; name one"
        )
    if not below:
        shown = ", ".join(list_entries(root)[:8]) or "nothing"
        raise RunError(
            f"{root}: expected a -C or -P set (fog.npy and labels.npy, or fog/1/<class>/*.JPEG, or "
            f"tilt.npy, or tilt/<class>/*.mp4), got {shown}"
        )
    return below[0]


def open_array(path: Path) -> np.ndarray:
    """An ``.npy`` file, mapped into memory and read only where it is looked at.

    Raises:
        RunError: If it is missing, cut short, or no plain array.
    """
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
    for group in (folder / name for name in _GROUPS if (folder / name).is_dir()):
        found = _entries(group) | found
    if not found:
        return None
    kinds: list[Kind] = sorted({kind for kind, _ in found.values()})
    if len(kinds) > 1:
        raise RunError(f"{folder} mixes the forms {' and '.join(kinds)}; name a folder of one")
    places = {name: path for name, (_, path) in found.items()}
    return Layout(root=folder, kind=kinds[0], places=places, class_names=class_names)


def _entries(folder: Path) -> dict[str, tuple[Kind, Path]]:
    entries: dict[str, tuple[Kind, Path]] = {}
    for path in sorted(folder.glob("*.npy")):
        if path.name != LABELS_FILE and not path.name.startswith("."):
            is_sequence = open_array(path).ndim == 5
            entries[path.stem] = ("cifar-p" if is_sequence else "cifar-c", path)
    for path in _folders(folder):
        kind = _tree_kind(path)
        if kind is not None:
            entries[path.name] = (kind, path)
    return entries


def _tree_kind(folder: Path) -> Kind | None:
    """Whether a folder is one corruption (severities) or one perturbation (videos) of a tree."""
    inner = _folders(folder)
    if any(path.name in map(str, SEVERITIES) for path in inner):
        return "imagenet-c"
    for path in inner[:1]:
        if any(path.glob("*.mp4")) or any(_has_frames(video) for video in _folders(path)[:1]):
            return "imagenet-p"
    return None


def _has_frames(folder: Path) -> bool:
    """Whether a folder holds image files named by number."""
    return any(path.suffix.lower() in SUFFIXES and path.stem.isdigit() for path in folder.iterdir())


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _class_names(folder: Path) -> tuple[str, ...]:
    """As the manifest of a set written by this package says, or the name of a published one."""
    path = folder / MANIFEST_FILE
    manifest = load_json(path) if path.exists() else {}
    if manifest.get("form") not in ("corrupted", "perturbed"):
        return _KNOWN_CLASSES.get(folder.name, ())
    if manifest.get("complete") is not True:
        raise RunError(
            f"{folder} is not complete: {path.name} says that its writing was stopped or goes on; "
            "write it again with the same settings to go on"
        )
    source = manifest.get("source")
    names = source.get("class_names") if isinstance(source, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RunError(f"{path} names no classes, as that of a written set would; write it again")
    return tuple(names)

"""Which class of a model a class of a data set is: for subsets of ImageNet, and any other set.

An image folder numbers the class folders it finds, a model its own classes. A listing says what the
model's classes are called; every class of the source is looked up in it. Then either the source
takes over the model's numbers (`map_classes`: a prediction may be any class of the model), or the
model is cut down to the classes of the source (`match_classes` gives the columns to keep)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer, UInt8

from augmix.data.sources import Derived, Source
from augmix.errors import RunError, did_you_mean

_SHOWN = 5  # names in a message
_MAX_CLASSES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassList:
    """The classes of a model.

    Attributes:
        path: Where they were read from.
        names: For every index, all that the class is called, e.g. synset and name; none for an
            index the listing leaves out.
    """

    path: str
    names: tuple[tuple[str, ...], ...]

    @property
    def num_classes(self) -> int:
        return len(self.names)


def load_class_list(path: Path | str) -> ClassList:
    """Read a listing: one class a line, its index and then what it is called.

    ``0 n01440764 tench``: the second word (a synset, the name of a folder) and all that follows it
    are two names of the class. Empty lines and lines that start with ``#`` are left out.

    Raises:
        RunError: If the file cannot be read, a line is of another form, or an index or name is
            there twice.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(
            f"the class list {path} does not exist; name one with --class-list"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read the class list {path}: {error}") from error
    found: dict[int, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(maxsplit=2)
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 2 or not words[0].isdecimal() or int(words[0]) >= _MAX_CLASSES:
            raise RunError(
                f"{path}, line {number}: expected 'index synset name' such as '0 n01440764 tench', "
                f"got {line[:80]!r}"
            )
        index = int(words[0])
        if index in found:
            raise RunError(f"{path}, line {number}: index {index} is there already")
        found[index] = tuple(dict.fromkeys(word.strip() for word in words[1:]))
    if not found:
        raise RunError(f"{path}: expected lines 'index synset name', got none")
    names = tuple(found.get(index, ()) for index in range(max(found) + 1))
    classes = ClassList(path=str(path), names=names)
    _index_names(classes)
    return classes


def match_classes(class_names: tuple[str, ...], classes: ClassList) -> Int64[np.ndarray, " label"]:
    """The model's index of every class of a source: the columns a subset of its logits keeps.

    Args:
        class_names: Of the source; each is the first or the second name of a class in the listing.
        classes: The classes of the model.

    Raises:
        RunError: If a name is not in the listing, or two name the same class.

    Example:
        >>> animals = ClassList(path="list", names=(("n1", "ant"), ("n2", "bee"), ("n3", "cat")))
        >>> match_classes(("n3", "n1"), animals).tolist()
        [2, 0]
    """
    known = _index_names(classes)
    unknown = [name for name in class_names if name not in known]
    if unknown:
        rest = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise RunError(
            f"{classes.path} lists {sum(map(bool, classes.names))} classes, but not "
            f"{', '.join(map(repr, unknown[:_SHOWN]))}{rest} of the source's {len(class_names)}"
            f"{did_you_mean(unknown[0], known) or ';'} its lines must name the "
            "classes as the source does"
        )
    indices = np.array([known[name] for name in class_names], np.int64)
    owner: dict[int, str] = {}
    for name, index in zip(class_names, indices.tolist(), strict=True):
        if index in owner:
            raise RunError(
                f"{classes.path}: {owner[index]!r} and {name!r} of the source are both class "
                f"{index} of the model; merge them, or list them apart"
            )
        owner[index] = name
    return indices


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedSource(Derived):
    """A source whose labels are the model's; its images are untouched.

    Attributes:
        source: With labels of its own.
        classes: The classes of the model.
        indices: The model's class for every class of the source.
    """

    classes: ClassList
    indices: Int64[np.ndarray, " label"]

    @property
    def num_classes(self) -> int:
        return self.classes.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The last name in the listing for each, which is the readable one."""
        return tuple(
            names[-1] if names else f"class {index}"
            for index, names in enumerate(self.classes.names)
        )

    @property
    def labels(self) -> Int64[np.ndarray, " image"]:
        return self.indices[self.source.labels]

    @property
    def fingerprint(self) -> str:
        hasher = hashlib.sha256(self.source.fingerprint.encode())
        hasher.update(f"{self.num_classes}\n".encode() + self.indices.astype("<i8").tobytes())
        return hasher.hexdigest()

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        return self.source.skipped

    def __len__(self) -> int:
        return len(self.source)

    def load(
        self, ids: Integer[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images asked for."""
        return self.source.load(ids)


def map_classes(source: Source, classes: ClassList) -> Source:
    """The source with the labels and classes of the model.

    Raises:
        RunError: As `match_classes`.
    """
    indices = match_classes(tuple(source.class_names), classes)
    return MappedSource(source=source, classes=classes, indices=indices)


def _index_names(classes: ClassList) -> dict[str, int]:
    """Index by name; a first name (synset) stands above an equal second name of another class."""
    found: dict[str, int] = {}
    for index, names in enumerate(classes.names):
        if names and names[0] in found:
            raise RunError(
                f"{classes.path}: {names[0]!r} is the name of both class {found[names[0]]} "
                f"and class {index}"
            )
        found.update(dict.fromkeys(names[:1], index))
    second: dict[str, list[int]] = {}
    for index, names in enumerate(classes.names):
        for name in names[1:]:
            second.setdefault(name, []).append(index)
    unique = {name: held[0] for name, held in second.items() if len(held) == 1}
    return {**unique, **found}

"""Sources made of other sources: subsets, mixtures, and sources with the classes of a model.

A class list names the classes of a model. Either a source gets the model's numbers (`map_classes`:
a prediction may be any class of the model), or the logits of the model are cut down to the classes
of the source (`match_classes` gives the columns to keep).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer

from augmix.data.decode import Draws, ImageError
from augmix.data.folders import FileItems
from augmix.data.sources import open_source
from augmix.data.stores import (
    MAX_CLASSES,
    ArrayItems,
    ArraySource,
    Ids,
    ImageFiles,
    Images,
    Items,
    Labels,
    LazySource,
    Photographs,
    Source,
    check_ids,
    fingerprint,
    hash_array,
)
from augmix.data.trees import compose
from augmix.errors import RunError, did_you_mean
from augmix.rng import Purpose, Stream

_TAKE_PART = 1  # of Purpose.SPLIT; part 0 splits the digits
_HOLD_PART = 3  # of Purpose.SPLIT; part 2 chooses measured images
_MOST_COMPARED = 50_000  # images whose contents are read to find copies
_SHOWN = 5  # names in a message


@dataclass(frozen=True, kw_only=True, eq=False)
class Subset(Source):
    """Some images of a source, whose ``ids`` these are, renumbered 0 .. len - 1."""

    source: Source
    ids: Labels

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.source.fingerprint, self.ids)

    def load(self, ids: Ids) -> Images:
        return self.source.load(self.ids[check_ids(ids, len(self))])

    def load_crops(self, ids: Ids, draws: Draws) -> Images:
        return self.source.load_crops(self.ids[check_ids(ids, len(self))], draws)

    def photographs(self) -> Photographs | None:
        found = self.source.photographs()
        return None if found is None else found.take(self.ids)


def subset(source: Source, ids: Integer[np.ndarray, " image"]) -> Source:
    """Make a source of some images of another; there must be at least one."""
    if not len(ids):
        raise ValueError("a subset needs at least one id, got none")
    ids = check_ids(ids, len(source)).astype(np.int64)
    kept = tuple(source.files[index] for index in ids) if source.files else ()
    described = source.fields(labels=source.labels[ids], files=kept)
    return Subset(source=source, ids=ids, **described)


def take(source: Source, count: int, *, seed: int = 0) -> Source:
    """Draw a random subset of ``count`` images in stored order, the same for the same seed.

    A larger count contains the smaller ones; the source itself if it has no more images.
    """
    if count >= max(len(source), 1):
        return source
    return subset(source, draw_part(len(source), count, seed=seed))


def draw_part(total: int, count: int, *, seed: int = 0) -> Int64[np.ndarray, " image"]:
    """Draw which of ``total`` images `take` keeps, in stored order."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    order = Stream(seed=seed).at(Purpose.SPLIT, part=_TAKE_PART).permutation(total)
    return np.sort(order[:count])


def hold_out(source: Source, fraction: float) -> tuple[Source, Source]:
    """Split a source into images to train on and images held out, in equal parts of every class.

    The same images are held out every time. Every class keeps at least one image to train on, and
    an image of which another copy would be trained on is not held out (see `find_shared`).

    Args:
        fraction: Of the images that are held out, in (0, 1).

    Raises:
        RunError: If the classes have too few images for that.
    """
    order = Stream(seed=0).at(Purpose.SPLIT, part=_HOLD_PART).permutation(len(source))
    counts = np.bincount(source.labels, minlength=source.num_classes)
    wanted = np.minimum(fraction * counts, np.maximum(counts - 1, 0))
    numbers = np.floor(wanted).astype(np.int64)
    # classes with the largest rest get one more, until the fraction of all images is reached
    ranks = np.argsort(numbers - wanted, kind="stable")
    numbers[ranks[: max(round(float(wanted.sum())) - int(numbers.sum()), 0)]] += 1
    numbers = np.minimum(numbers, np.maximum(counts - 1, 0))
    by_class = order[np.argsort(source.labels[order], kind="stable")]
    ranks = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_held = np.zeros(len(source), bool)
    is_held[by_class] = ranks < np.repeat(numbers, counts)
    if not is_held.any():
        raise RunError(
            f"{fraction:g} of {len(source)} images in {source.num_classes} classes leaves no image "
            "to hold out; take a larger --val-fraction, or name validation images with --val"
        )
    rest, held = np.flatnonzero(~is_held), np.flatnonzero(is_held)
    copies = find_shared(subset(source, rest), subset(source, held))
    if len(copies) == len(held):
        raise RunError(
            f"all {len(held)} images to hold out are in source {source.name!r} twice; remove the "
            "copies, or name validation images with --val"
        )
    is_held[held[copies]] = False
    rest, held = subset(source, np.flatnonzero(~is_held)), np.flatnonzero(is_held)
    kept = subset(source, held).fields(split="val", crop=None, skipped=(), left_out=(), warnings=())
    return rest, Subset(source=source, ids=held, **kept)


def find_shared(first: Source, second: Source) -> Int64[np.ndarray, " image"]:
    """Find the images of the second source of which the first has a copy, stored alike.

    Files are compared by their bytes, arrays by their pixels. Where more images than can be read
    in a while would have to be compared, none is found.
    """
    one, other = _stored(first), _stored(second)
    none = np.zeros(0, np.int64)
    if one is None or other is None:
        return np.arange(len(second)) if first.fingerprint == second.fingerprint else none
    sizes, other_sizes = _file_sizes(*one), _file_sizes(*other)
    ours, theirs = np.arange(len(first)), np.arange(len(second))
    if sizes is not None and other_sizes is not None:  # only files of one length can be equal
        ours = np.flatnonzero(np.isin(sizes, other_sizes))
        theirs = np.flatnonzero(np.isin(other_sizes, sizes))
    if len(ours) + len(theirs) > _MOST_COMPARED and not _in_memory(one, other):
        return none
    known = {_hash(one[0], row) for row in one[1][ours].tolist()} - {""}
    return theirs[[_hash(other[0], row) in known for row in other[1][theirs].tolist()]]


def _stored(source: Source) -> tuple[Items, Labels] | None:
    """What a source is made of, and the item of every image; None for several or unknown ones."""
    if isinstance(source, Subset):
        found = _stored(source.source)
        return found and (found[0], found[1][source.ids])
    if isinstance(source, MappedSource):
        return _stored(source.source)
    if isinstance(source, LazySource) or (isinstance(source, ArraySource) and source.items):
        assert source.items is not None
        return source.items, source.rows
    if isinstance(source, ArraySource):
        return ArrayItems(images=source.images, path=source.name), np.arange(len(source))
    return None


def _in_memory(*stored: tuple[Items, Labels]) -> bool:
    return all(isinstance(items, ArrayItems) for items, _ in stored)


def _file_sizes(items: Items, rows: Labels) -> Int64[np.ndarray, " image"] | None:
    if not isinstance(items, FileItems):
        return None
    return np.array([items.num_bytes(row) for row in rows.tolist()], np.int64)


def _hash(items: Items, row: int) -> str:
    """A hash of what is stored for an image; empty if it cannot be read."""
    if isinstance(items, ImageFiles):
        try:
            return hashlib.sha256(items.content(row)).hexdigest()
        except ImageError:
            return ""
    return hash_array(items.images[row] if isinstance(items, ArrayItems) else items.image(row))


@dataclass(frozen=True, kw_only=True, eq=False)
class Mix(Source):
    """The images of two sources, of which the first gives name, split, crop and flip.

    Images of the second are cropped as drawn only if it crops too.
    """

    source: Source
    second: Source

    @property
    def fingerprint(self) -> str:
        """Sha256 of both fingerprints and of how many images each part has."""
        parts = [f"{part.fingerprint} {len(part)}" for part in (self.source, self.second)]
        return hashlib.sha256("\n".join(["mix", *parts]).encode()).hexdigest()

    def load(self, ids: Ids) -> Images:
        return self._gather(ids, lambda part, here, _: part.load(here))

    def load_crops(self, ids: Ids, draws: Draws) -> Images:
        def load(part: Source, here: np.ndarray, rows: np.ndarray) -> np.ndarray:
            return part.load(here) if part.crop is None else part.load_crops(here, draws[rows])

        return self._gather(ids, load)

    def _gather(
        self, ids: Ids, load: Callable[[Source, np.ndarray, np.ndarray], np.ndarray]
    ) -> Images:
        """Call ``load(part, its ids, their rows)`` of both; gather in the order of the ids."""
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
    """Make one source of two: the images 0 .. len(first) - 1, then those of the second.

    An epoch has each image of both once. Classes, image sizes and channels must agree.
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
    labels = np.concatenate([first.labels, second.labels])
    skipped = (*first.skipped, *second.skipped)
    described = first.fields(labels=labels, skipped=skipped, files=())
    return Mix(source=first, second=second, **described)


def open_stylised(root: str | PathLike[str], like: Source) -> Source:
    """Open the stylised copies of a source, as `augmix stylize` writes them.

    Args:
        root: A folder of class folders, one that holds ``train.npz``, or an ``.npz`` file.
        like: The source they were made from; they must have its size, channels and classes, in any
            order, but are cropped to that size where it is cropped.
    """
    path = Path(root).expanduser()
    if path.suffix == ".npz" or (path / f"{like.split}.npz").exists():
        copies = open_source("npz", root=path, split=like.split)
    else:
        size = like.size[0] if like.crop else 0
        copies = open_source("folder", root=path, split=like.split, crop=like.crop, size=size)
    names = tuple(like.class_names)
    if tuple(copies.class_names) == names or sorted(copies.class_names) != sorted(names):
        return copies  # what differs is said where they are mixed
    indices = match_classes(tuple(copies.class_names), name_classes(names, where=like.name))
    described = copies.fields(class_names=names, labels=indices[copies.labels])
    return MappedSource(source=copies, indices=indices, **described)


def check_disjoint(train_fingerprint: str, test: Source, *, max_train_images: int = 0) -> None:
    """Refuse to measure a model on the set it was trained on, as data without splits would.

    What is found: the same images, classes and order, whole or as the parts that `take` and
    `subset` return, whatever labels they were mapped to since. What is not found: a set stored in
    another form, or one that has only some images in common.

    Args:
        train_fingerprint: Of the source that was trained on, as its run recorded it.
        max_train_images: What the run limited its training images to; 0 for all.
    """
    whole: Source | None = test
    while whole is not None:
        parts = [whole, take(whole, max_train_images)] if max_train_images else [whole]
        if any(part.fingerprint == train_fingerprint for part in parts):
            raise RunError(
                f"the {test.split!r} images of source {test.name!r} are those the model was "
                "trained on: data without splits serves any split. Measure on other images "
                "(--data, or folders train and test), or take them all the same with "
                "--allow-train-data"
            )
        whole = getattr(whole, "source", None)  # what it is a part or mapping of


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassList:
    """The classes of a model, each with all its names, e.g. synset and word, by its index.

    There are no names for an index that the file leaves out.
    """

    path: str
    names: tuple[tuple[str, ...], ...]

    @property
    def num_classes(self) -> int:
        return len(self.names)


def load_class_list(path: Path | str) -> ClassList:
    """Read a class list: one class a line, its index and then its names.

    ``0 n01440764 tench``: the second word (a synset, the name of a folder) and all that follows it
    are two names of the class. Empty lines and lines that start with ``#`` are left out; an index
    or a name must not be there twice.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
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
        if len(words) < 2 or not words[0].isdecimal() or int(words[0]) >= MAX_CLASSES:
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


def name_classes(class_names: Sequence[str], *, where: str) -> ClassList:
    """Make a class list of the names that a model brings, in the order of its logits.

    Args:
        class_names: One name for each class; where two have the same, it stands for neither. Words
            between commas, as Hugging Face writes ImageNet's classes, are names of it too.
        where: The model, for messages.

    Example:
        >>> match_classes(("bee", "ant"), name_classes(["ant", "bee", "cat"], where="run")).tolist()
        [1, 0]
    """
    count = Counter(class_names)
    names = tuple(
        (name, *(word.strip() for word in name.split(",")), name) if count[name] == 1 else ()
        for name in class_names
    )
    return ClassList(path=where, names=names)


def match_classes(class_names: tuple[str, ...], classes: ClassList) -> Int64[np.ndarray, " class"]:
    """Look up the model's index of every class of a source: the columns to keep of its logits.

    Args:
        class_names: Of the source; each is the first or the second name of a class of the model.

    Raises:
        RunError: If a name is not in the list, or two name the same class.

    Example:
        >>> animals = ClassList(path="list", names=(("n1", "ant"), ("n2", "bee"), ("n3", "cat")))
        >>> match_classes(("n3", "n1"), animals).tolist()
        [2, 0]
    """
    known = {compose(name): index for name, index in _index_names(classes).items()}
    unknown = [name for name in class_names if compose(name) not in known]
    if unknown:
        rest = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise RunError(
            f"{classes.path} lists {sum(map(bool, classes.names))} classes, but not "
            f"{', '.join(map(repr, unknown[:_SHOWN]))}{rest} of the source's {len(class_names)}"
            f"{did_you_mean(unknown[0], known)}; list the model's classes by the names of the "
            "images (--class-list), or take class i of the images as class i of the model "
            "(--classes-by-position)"
        )
    indices = np.array([known[compose(name)] for name in class_names], np.int64)
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
class MappedSource(Source):
    """A source with the labels of a model; ``indices`` gives its class for each of the source."""

    source: Source
    indices: Int64[np.ndarray, " class"]

    @property
    def fingerprint(self) -> str:
        hasher = hashlib.sha256(self.source.fingerprint.encode())
        hasher.update(f"{self.num_classes}\n".encode() + self.indices.astype("<i8").tobytes())
        return hasher.hexdigest()

    def load(self, ids: Ids) -> Images:
        return self.source.load(ids)

    def load_crops(self, ids: Ids, draws: Draws) -> Images:
        return self.source.load_crops(ids, draws)

    def photographs(self) -> Photographs | None:
        return self.source.photographs()


def map_classes(source: Source, classes: ClassList) -> Source:
    """Give a source the labels of a model, and the last, readable name of each of its classes."""
    indices = match_classes(tuple(source.class_names), classes)
    names = (held[-1] if held else f"class {i}" for i, held in enumerate(classes.names))
    changes = {"class_names": tuple(names), "labels": indices[source.labels]}
    described = source.fields(**changes, crop=None, files=())
    return MappedSource(source=source, indices=indices, **described)


def _index_names(classes: ClassList) -> dict[str, int]:
    """Index by name; a first name (synset) wins over an equal second name of another class."""
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

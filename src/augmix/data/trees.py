"""Image trees: which files are images, and which folders are splits and classes.

Folders and tar files are read by one walker and one rule.

- Hidden files and folders, and those that systems leave (``__MACOSX``, ``@eaDir`` ...), are neither
  images nor classes. Links are followed; a folder that is linked into itself is refused.
- A folder named for a split (``train``, ``Testing``, ``seg_val``) that holds folders is that split.
  Splits may lie in a folder of their own, as in most archives.
- The folders of a split are its classes. An image belongs to the class folder that it lies in at
  any depth.
- Class names that are whole numbers are ordered as numbers, others as text.
"""

import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from augmix.data.decode import SUFFIXES, is_image_start
from augmix.errors import RunError, did_you_mean

# What serves for each split, best first: what is not for training may have any of these names.
SPLIT_NAMES = {
    "train": ("train",),
    "test": ("test", "val", "validation", "valid"),
    "val": ("val", "validation", "valid"),
}
ALL_SPLIT_NAMES = tuple(dict.fromkeys(name for names in SPLIT_NAMES.values() for name in names))
SERVING = {"train": ("train",), "test": ("test", "val"), "val": ("val",)}  # kinds of `split_kind`
OUTSIDE = "outside class folders"  # why an image is left out
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "lost+found", "$recycle.bin", "#recycle"}
_SYSTEM_FOLDERS |= {"system volume information"}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db"}
_SPLIT_WORD = re.compile(r"(train|test|val)(ing|id|idation)?(set|data|images)?")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_FOLD = re.compile(r"(fold|split|part|subset|cv)[-_ ]?\d+", re.IGNORECASE)
_ARCHIVES = {".zip", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"}  # that are not read
_OTHER_STARTS = {"te", "ts", "va", "ev", "de", "ho"}  # of test, valid, evaluation, dev, holdout
_COMMON_WORDS = {"set", "data", "dataset", "images", "image", "img", "imgs", "photos", "split"}
_NUMBER = re.compile(r"[+-]?[0-9]{1,300}")
_MAX_DEPTH = 8  # of folders around the splits
_MAX_LINKS = 10_000  # to folders, followed in a walk
_START = 16  # bytes of a file without suffix that are looked at
_SHOWN = 8  # names in a message

Form = Literal["file", "image", "folder", "other"]  # image: by its first bytes; other: a device ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What lies below a folder, as paths below it.

    Attributes:
        images: Sorted; for a tar file in the order of its members.
        folders: All folders, also empty ones.
        left_out: Files that are no images or in no class folder, each with the reason: their
            suffix, or ``hidden``, ``no suffix``, ``no file``, `OUTSIDE`.
    """

    images: tuple[str, ...]
    folders: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class folders, in order."""
        return order_classes(path for path in self.folders if "/" not in path)

    @property
    def summary(self) -> str:
        """How many files are left out for which reason, for a message; may be empty."""
        count = Counter(reason for _, reason in self.left_out).most_common(_SHOWN)
        shown = ", ".join(f"{number} {reason}" for reason, number in count)
        return f"; {len(self.left_out)} files are left out ({shown})" if shown else ""


class Tree(ABC):
    """Folders and files, on disk or in a tar file; paths are below its root, which is ``""``."""

    where: str  # the root, for messages

    @abstractmethod
    def entries(self, folder: str) -> Iterable[tuple[str, Form]]:
        """List names and forms right in a folder, links followed; a `RunError` if that fails."""

    @abstractmethod
    def identify(self, folder: str) -> Hashable:
        """Return what is the same for two paths to one folder."""

    @abstractmethod
    def is_link(self, folder: str) -> bool:
        """Whether the path of a folder ends in a link."""

    @abstractmethod
    def start(self, file: str) -> bytes:
        """Return the first bytes of a file; none if it cannot be read."""

    def order(self, images: list[str]) -> Sequence[str]:
        """Return images in the order of the tree."""
        return sorted(images)

    def folders(self, folder: str = "") -> list[str]:
        """List the folders right in a folder, sorted, without hidden ones and those of systems."""
        found = self.entries(folder)
        return sorted(name for name, form in found if form == "folder" and not is_hidden(name))

    def images(self, folder: str = "", suffixes: Collection[str] = SUFFIXES) -> list[str]:
        """List the images right in a folder, sorted."""
        return sorted(
            name
            for name, form in self.entries(folder)
            if form != "folder" and not self._judge(join(folder, name), name, form, suffixes)
        )

    def walk(self, folder: str = "", suffixes: Collection[str] = SUFFIXES) -> Listing:
        """List everything below a folder.

        Raises:
            RunError: If a folder cannot be listed, or is linked into itself.
        """
        images: list[str] = []
        folders: list[str] = []
        left_out: list[tuple[str, str]] = []
        waiting: list[tuple[str, tuple[Hashable, ...]]] = [(folder, (self.identify(folder),))]
        num_links, start = 0, len(folder) + 1 if folder else 0
        while waiting:
            here, above = waiting.pop()
            for name, form in self.entries(here):
                path = join(here, name)
                if form == "folder":
                    if is_hidden(name):
                        continue
                    identity, is_link = self.identify(path), self.is_link(path)
                    num_links += is_link
                    if identity in above or num_links > _MAX_LINKS:
                        raise RunError(
                            f"{self.where}: the folder {path} is a link to a folder that it lies "
                            "in, or there are too many links to folders; remove the link"
                        )
                    folders.append(path[start:])
                    waiting.append((path, (*above, identity)))
                elif reason := self._judge(path, name, form, suffixes):
                    if reason != "system":
                        left_out.append((path[start:], reason))
                else:
                    images.append(path)
        return Listing(
            images=tuple(path[start:] for path in self.order(images)),
            folders=tuple(sorted(folders)),
            left_out=tuple(sorted(left_out)),
        )

    def _judge(self, path: str, name: str, form: Form, suffixes: Collection[str]) -> str:
        """Why a file is left out; nothing if it is an image, ``system`` if nobody put it there."""
        suffix = os.path.splitext(name)[1].lower()
        if is_hidden(name):
            return "hidden" if suffix in suffixes and not name.startswith("._") else "system"
        if name.lower() in _SYSTEM_FILES:
            return "system"
        if form == "other":
            return "no file"
        if suffix in suffixes or form == "image":
            return ""
        if suffix or name.endswith("."):
            return suffix or "."
        return "" if suffixes is SUFFIXES and is_image_start(self.start(path)) else "no suffix"


def no_folder(path: Path) -> RunError:
    """Make the error for a path of images that is no folder: missing, or a file of another kind."""
    if path.exists():
        way = (
            "unpack it, and name the folder"
            if path.suffix.lower() in _ARCHIVES
            else "name a folder"
        )
        return RunError(
            f"{path} is no folder, and images are read from class folders, .tar, .npz and .parquet "
            f"files; {way}"
        )
    parent = path.parent
    guess = did_you_mean(path.name, os.listdir(parent)) if parent.is_dir() else ""
    if not guess and "," in path.name:
        guess = "; name one folder"
    return RunError(f"{path} does not exist{guess or '; name a folder of class folders'}")


@dataclass(frozen=True)
class FolderTree(Tree):
    """A folder on disk."""

    root: Path

    @property
    def where(self) -> str:
        return str(self.root)

    def entries(self, folder: str) -> list[tuple[str, Form]]:
        try:
            with os.scandir(self.root / folder) as found:
                return [(entry.name, _form(entry)) for entry in found]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise no_folder(self.root / folder) from error
        except OSError as error:
            raise RunError(
                f"cannot list the folder {self.root / folder}: {error.strerror or error}; make it "
                "readable, or move it away"
            ) from error

    def identify(self, folder: str) -> Hashable:
        try:
            found = os.stat(self.root / folder)
        except OSError as error:
            raise RunError(f"cannot read {self.root / folder}: {error.strerror}") from error
        return found.st_dev, found.st_ino

    def is_link(self, folder: str) -> bool:
        return os.path.islink(self.root / folder)

    def start(self, file: str) -> bytes:
        try:
            with open(self.root / file, "rb") as opened:
                return opened.read(_START)
        except OSError:
            return b""


def _form(entry: "os.DirEntry[str]") -> Form:
    """The form of an entry; a link that leads nowhere is a file that cannot be read."""
    if entry.is_dir():
        return "folder"
    return "file" if entry.is_file() or entry.is_symlink() else "other"


def join(folder: str, name: str) -> str:
    """Join two parts of a path, the first of which may be empty."""
    return f"{folder}/{name}" if folder else name


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or made by a system beside the user's.

    Example:
        >>> [is_hidden(name) for name in (".git", "__MACOSX", "._1.png", "ant")]
        [True, True, True, False]
    """
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def is_image(name: str, suffixes: Collection[str] = SUFFIXES) -> bool:
    """Return whether a file of this name is an image; hidden files are none."""
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in suffixes


def is_number(name: str) -> bool:
    """Return whether a name is a whole number."""
    return _NUMBER.fullmatch(name) is not None


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Put the names of classes in order: as numbers if all are whole numbers, else as text.

    Example:
        >>> order_classes(["10", "9", "1"]), order_classes(["10", "9", "x"])
        (('1', '9', '10'), ('10', '9', 'x'))
    """
    unique = sorted(set(names))
    return tuple(sorted(unique, key=int) if all(map(is_number, unique)) else unique)


def compose(name: str) -> str:
    """Return a name with accents as parts of their letters; macOS writes them apart."""
    return unicodedata.normalize("NFC", name)


def index_classes(names: Sequence[str], *, where: str) -> dict[str, int]:
    """Return the number of each class by its name as `compose` writes it.

    Raises:
        RunError: If two names differ in how their accents are written only.
    """
    index = {compose(name): number for number, name in enumerate(names)}
    if len(index) < len(names):
        twice = next(name for name, count in Counter(map(compose, names)).items() if count > 1)
        raise RunError(
            f"{where}: two classes are called {twice}, with accents written in two ways; put their "
            "images into one folder"
        )
    return index


def split_kind(name: str) -> tuple[str, str]:
    """Return which split a folder is named for, if any, and what else its name says.

    Example:
        >>> split_kind("Training"), split_kind("seg_test"), split_kind("val2017")
        (('train', ''), ('test', 'seg'), ('val', ''))
        >>> split_kind("valley"), split_kind("train_station")
        (('', 'valley'), ('train', 'station'))
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    kinds = [found[1] for word in words if (found := _SPLIT_WORD.fullmatch(word))]
    rest = [w for w in words if not _SPLIT_WORD.fullmatch(w) and w not in _COMMON_WORDS]
    return (kinds[0] if len(kinds) == 1 else ""), " ".join(rest)


def is_split(name: str) -> bool:
    """Return whether a name is one word for a split."""
    return split_kind(name)[0] != "" and name.isalpha()


def find_splits(tree: Tree, *, has_flat: bool = False) -> dict[str, str]:
    """Find the folders of the splits: path by kind (``train``, ``test``, ``val``); or none.

    Names of several words (``seg_train``) count where there is one for another split beside.

    Args:
        has_flat: Whether the folders of splits may hold images without class folders.

    Raises:
        RunError: If several folders are one split, or folders look like splits of unknown names.
    """
    here = ""
    for _ in range(_MAX_DEPTH):
        folders = tree.folders(here)
        found = _name_splits(tree, here, folders, has_flat=has_flat)
        if found or len(folders) != 1 or tree.images(here):
            return found
        here = join(here, folders[0])
    return {}


def _name_splits(
    tree: Tree, here: str, folders: Sequence[str], *, has_flat: bool
) -> dict[str, str]:
    kinds = {name: split_kind(name) for name in folders}
    plain = [name for name in folders if kinds[name][0] and not kinds[name][1]]
    others = [name for name in folders if kinds[name][0] and kinds[name][1]]
    pairs = Counter(rest for kind, rest in set(kinds.values()) if kind)
    named = [*plain, *(name for name in others if pairs[kinds[name][1]] > 1)]
    inner = {name: tree.folders(join(here, name)) for name in named}
    if not (any(inner.values()) or (named and (has_flat or len(named) == len(folders)))):
        _check_unknown(tree, here, folders)
        return {}
    found: dict[str, str] = {}
    for name in sorted(named, key=lambda name: (not is_split(name), name)):
        kind = kinds[name][0]
        if kind not in found:
            found[kind] = name
        elif is_split(name) == is_split(found[kind]) and inner[name] and inner[found[kind]]:
            raise RunError(
                f"{tree.where}: the folders {found[kind]} and {name} are both named for the split "
                f"{kind}; rename the one that is not to be used"
            )
    return {kind: _descend(tree, join(here, name), kind) for kind, name in found.items()}


def _descend(tree: Tree, folder: str, kind: str) -> str:
    """The split below its only folder: of the same kind of name, as in ``seg_train/seg_train``, or
    called ``images`` or the like, with the classes in it."""
    inner = tree.folders(folder)
    if len(inner) != 1 or tree.images(folder):
        return folder
    below = join(folder, inner[0])
    is_wrapper = inner[0].lower() in _COMMON_WORDS and len(tree.folders(below)) > 1
    return below if split_kind(inner[0])[0] == kind or is_wrapper else folder


def _check_unknown(tree: Tree, here: str, folders: Sequence[str]) -> None:
    """Refuse what looks like splits and is not named so, or lies below the classes."""
    if len(folders) < 2:
        return
    below = tree.folders(join(here, folders[0]))
    if len({split_kind(name)[0] for name in below}) == len(below) > 1 and all(map(is_split, below)):
        raise RunError(
            f"{tree.where}: the folder {folders[0]} holds the splits {', '.join(below)}; put class "
            "folders into the folders of splits, e.g. train/ant"
        )
    starts = {name[:2].lower() for name in folders}
    is_named = len({split_kind(name)[0] for name in folders} - {""}) > 1
    is_named |= all(_FOLD.fullmatch(name) for name in folders)
    if not is_named and not ("tr" in starts and starts & _OTHER_STARTS):
        return
    inner = {tuple(tree.folders(join(here, name))) for name in folders}
    if len(inner) == 1 and len(below) > 1:
        raise RunError(
            f"{tree.where}: the folders {', '.join(folders[:_SHOWN])} look like splits, each with "
            f"the folders {', '.join(below[:_SHOWN])}; rename them to train and test"
        )


def choose_splits(splits: Mapping[str, str], split: str) -> list[str]:
    """Return the folders that serve for a split, best first."""
    return [splits[kind] for kind in SERVING[split] if kind in splits]


def inner_classes(images: Iterable[str], folders: Iterable[str]) -> tuple[str, list[str]]:
    """Return the folder that holds several folders in the only class with images, and their names.

    Args:
        images: As in `Listing`.
        folders: As in `Listing`. If several have images, nothing is returned.
    """
    held = {image.partition("/")[0] for image in images if "/" in image}
    children: dict[str, list[str]] = {}
    for path in sorted(set(folders)):
        parent, _, name = path.rpartition("/")
        children.setdefault(parent, []).append(name)
    if len(held) != 1:
        return "", []
    here = held.pop()
    while len(children.get(here, ())) == 1:
        here = join(here, *children[here])
    return (here, children[here]) if here in children else ("", [])

"""Trees of images with boxes, polygons or masks: the layouts of COCO, YOLO and Cityscapes.

| layout | recognised by | images |
| --- | --- | --- |
| ``coco`` | ``annotations/*.json`` | ``val2017/``, ``images/val/`` ... |
| ``coco`` | ``valid/_annotations.coco.json`` | beside it |
| ``yolo`` | ``images/`` and ``labels/`` | ``images/val/`` |
| ``yolo`` | ``valid/images/`` and ``valid/labels/`` | ``valid/images/`` |
| ``cityscapes`` | ``leftImg8bit/`` and ``gtFine/`` | ``leftImg8bit/val/<city>/`` |

Names of splits are those of image folders: for ``test`` a ``val`` serves if there is no other.
"""

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np

from augmix.data.folders import FileItems
from augmix.data.trees import SERVING, SPLIT_NAMES, FolderTree, split_kind
from augmix.errors import RunError

AnnotatedLayout = Literal["coco", "yolo", "cityscapes"]
ANNOTATED_LAYOUTS: tuple[AnnotatedLayout, ...] = get_args(AnnotatedLayout)

_COCO, _COCO_FILE = "annotations", "_annotations.coco.json"
_LEFT = "leftImg8bit"
_GROUND_TRUTHS = ("gtFine", "gtCoarse")
_YAML = (".yaml", ".yml")
_KEY = re.compile(r"([A-Za-z_]\w*)[ \t]*:(?:[ \t]+(.*))?$")
_SPLIT = re.compile(r"(?<![a-z])(train|val|test|valid|validation)(?![a-z])")
_TRIED = 16  # images by which a folder is found
_SHOWN = 3
_LEVELS = 3  # of folders that images lie below the root of their tree


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedTree:
    """The images of a split, with the files of their labels; paths are below the root.

    Attributes:
        images: Sorted.
        labels: Files of the labels of each image.
        shared: Files about all images: COCO's annotations, YOLO's ``data.yaml``.
        ids: Position of each image in its split, at which it is corrupted.
        sizes: Height and width of each image, where the labels say them; else empty.
        left_out: Files of labels that are not understood, each with the reason.
    """

    root: Path
    layout: AnnotatedLayout
    split: str
    images: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    ids: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...] = ()
    shared: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def keep(self, positions: Iterable[int]) -> "AnnotatedTree":
        """Return a part of the images, at their ids."""
        kept = list(positions)
        return replace(
            self,
            images=tuple(self.images[index] for index in kept),
            labels=tuple(self.labels[index] for index in kept),
            ids=tuple(self.ids[index] for index in kept),
            sizes=tuple(self.sizes[index] for index in kept if self.sizes),
        )

    def read(self, file: str) -> bytes:
        """Read a file of the tree."""
        try:
            return (self.root / file).read_bytes()
        except OSError as error:
            raise RunError(f"cannot read {self.root / file}: {error.strerror or error}") from error

    def load_json(self, file: str) -> dict[str, Any]:
        """Read a JSON file of the tree that holds an object."""
        return _load_json(self.root / file)

    @property
    def fingerprint(self) -> str:
        """Sha256 of the images, as `FileItems.digest` hashes them, and of all files of labels."""
        items = FileItems(root=self.root, paths=self.images)
        hasher = hashlib.sha256(items.digest(np.arange(len(items))).encode())
        for file in (*(name for each in self.labels for name in each), *self.shared):
            hasher.update(os.fsencode(file) + b"\0" + hashlib.sha256(self.read(file)).digest())
        return hasher.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoFile:
    """A file of COCO annotations: the path of the image behind every id."""

    file: str
    paths: dict[int, str]


def find_annotated(root: Path, layout: str | None = None) -> AnnotatedLayout | None:
    """Return the layout of a tree by its files; None if it has none of these.

    Args:
        layout: The one it must have, if it is known.

    Raises:
        RunError: If it has not the layout it must have.
    """
    is_folder = root.is_dir()
    found: list[AnnotatedLayout] = [
        name for name in ANNOTATED_LAYOUTS if is_folder and _SIGNS[name](root)
    ]
    if layout is None:
        return found[0] if found else None
    if layout not in found:
        raise RunError(
            f"{root} is no tree of the layout {layout}, which has {_EXPECTED[layout]}; "
            + (f"it looks like {found[0]}" if found else "name the folder above these")
        )
    return next(name for name in found if name == layout)


def check_whole(root: Path, layout: AnnotatedLayout | None) -> None:
    """Refuse a folder of images alone that lies in a tree with their labels."""
    if layout is not None or not root.is_dir() or FolderTree(root).folders():
        return
    for above in list(root.resolve().parents)[:_LEVELS]:
        if found := find_annotated(above):
            raise RunError(
                f"{root} holds images whose labels are elsewhere in {above} (layout {found}); name "
                "that folder, and the split with --split"
            )


def open_annotated(root: Path, layout: AnnotatedLayout, split: str) -> AnnotatedTree:
    """List the images of a split and their labels.

    Raises:
        RunError: If the split or an image is missing, or a file of labels is broken.
    """
    tree = {"coco": _open_coco, "yolo": _open_yolo, "cityscapes": _open_cityscapes}[layout](
        root, split
    )
    if not tree.images:
        raise RunError(f"{root}: expected images of split {split!r} ({layout}), got none")
    return tree


def coco_files(tree: AnnotatedTree) -> list[CocoFile]:
    """Return which image is behind every id in the annotations of a tree."""
    return [
        CocoFile(file=file, paths=_coco_paths(tree.root, file, tree.load_json(file)))
        for file in tree.shared
    ]


def yolo_names(text: str) -> dict[str, tuple[str, int, int]]:
    """Return the top-level entries of a ``data.yaml``: what stands behind the key, first and last.

    The numbers are of the lines that the entry takes, the last one excluded.
    """
    lines = text.splitlines()
    starts = [(index, found) for index, line in enumerate(lines) if (found := _KEY.match(line))]
    stops = [*(index for index, _ in starts[1:]), len(lines)]
    return {
        found[1]: (found[2] or "", index, stop)
        for (index, found), stop in zip(starts, stops, strict=False)
    }


def _is_coco(root: Path) -> bool:
    return any(_json_files(root))


def _is_yolo(root: Path) -> bool:
    if (root / "images").is_dir() and (root / "labels").is_dir():
        return True
    return any((each / "images").is_dir() and (each / "labels").is_dir() for each in root.iterdir())


def _is_cityscapes(root: Path) -> bool:
    return (root / _LEFT).is_dir() and any((root / name).is_dir() for name in _GROUND_TRUTHS)


_SIGNS: dict[AnnotatedLayout, Callable[[Path], bool]] = {
    "coco": _is_coco,
    "yolo": _is_yolo,
    "cityscapes": _is_cityscapes,
}
_EXPECTED = {
    "coco": "annotations/*.json or SPLIT/_annotations.coco.json",
    "yolo": "images/ and labels/, or SPLIT/images/ and SPLIT/labels/",
    "cityscapes": "leftImg8bit/ and gtFine/ or gtCoarse/",
}


def _json_files(root: Path) -> Iterator[Path]:
    yield from sorted((root / _COCO).glob("*.json"))
    yield from sorted(root.glob(f"*/{_COCO_FILE}"))


def _open_coco(root: Path, split: str) -> AnnotatedTree:
    by_kind: dict[str, list[str]] = defaultdict(list)
    for path in _json_files(root):
        file = path.relative_to(root).as_posix()
        words = _SPLIT.findall(file.lower())
        by_kind[split_kind(words[-1])[0] if words else ""].append(file)
    tried = [kind for kind in SERVING[split] if kind in by_kind]
    if not tried and list(by_kind) == [""]:
        tried = [""]  # the only ones
    left_out: list[tuple[str, str]] = []
    for kind in tried:
        shared, images = [], dict[str, tuple[int, int]]()
        for file in by_kind[kind]:
            content = _load_json(root / file)
            if reason := _refuse(content):
                left_out.append((file, reason))
            else:
                shared.append(file)
                paths = _coco_paths(root, file, content)
                images |= {
                    paths[each["id"]]: _coco_size(root / file, each) for each in content["images"]
                }
        if shared:
            paths = tuple(sorted(images))
            return AnnotatedTree(
                root=root,
                layout="coco",
                split=split,
                images=paths,
                labels=((),) * len(paths),
                ids=tuple(range(len(paths))),
                sizes=tuple(images[path] for path in paths),
                shared=tuple(shared),
                left_out=tuple(left_out),
            )
    names = ", ".join(path.relative_to(root).as_posix() for path in _json_files(root))
    reasons = "; ".join(f"{file}: {reason}" for file, reason in left_out)
    raise RunError(
        f"{root}: expected annotations of split {split!r}, e.g. "
        f"{_COCO}/instances_{SPLIT_NAMES[split][0]}2017.json, got {names}"
        f"{f' ({reasons})' if reasons else ''}; name another with --split"
    )


def _refuse(content: dict[str, Any]) -> str:
    """Why annotations cannot be written again; nothing if they can."""
    if not isinstance(content.get("images"), list):
        return "no list of images"
    if not isinstance(content.get("annotations"), list):
        return "no annotations"
    if not all(isinstance(each, dict) for each in content["annotations"]):
        return "annotations that are no objects"
    if any("segments_info" in each for each in content["annotations"][:1]):
        return "panoptic"
    return ""


def _coco_paths(root: Path, file: str, content: dict[str, Any]) -> dict[int, str]:
    """Path of every image by its id."""
    try:
        names = {int(each["id"]): str(each["file_name"]) for each in content["images"]}
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{root / file}: expected an id and a file_name of every image, got {error!r}"
        ) from error
    if not names:
        return {}
    folder = _coco_folder(root, file, list(names.values())[:_TRIED])
    paths = {number: (folder / name).as_posix() for number, name in names.items()}
    missing = [path for path in paths.values() if not (root / path).is_file()]
    if missing:
        raise RunError(
            f"{root / file} lists {len(paths):,} images, of which {len(missing):,} are missing, "
            f"e.g. {root / missing[0]}"
        )
    outside = next((path for path in paths.values() if ".." in PurePosixPath(path).parts), None)
    if outside is not None:
        raise RunError(f"{root / file}: image {outside} lies outside of {root}")
    return paths


def _coco_size(path: Path, image: dict[str, Any]) -> tuple[int, int]:
    """Height and width of an image by its entry."""
    size = (image.get("height"), image.get("width"))
    if not all(isinstance(each, int) and each > 0 for each in size):
        raise RunError(f"{path}: image {image['file_name']} has no height and width, got {size}")
    return int(image["height"]), int(image["width"])


def _coco_folder(root: Path, file: str, names: list[str]) -> PurePosixPath:
    """The folder of the images of a file, found by some of them."""
    path = PurePosixPath(file)
    if path.name == _COCO_FILE:
        candidates = [str(path.parent)]
    else:
        ends = re.findall(r"(?:train|val|test|valid|validation)[0-9]*", path.stem)
        words = [*ends, *(re.sub("[0-9]", "", end) for end in ends)]
        words += [each for end in words for each in SPLIT_NAMES[split_kind(end)[0]]]
        candidates = [f"{above}{word}" for word in words for above in ("", "images/")]
        candidates += [f"{word}/images" for word in words] + ["images", ""]
    for candidate in dict.fromkeys(candidates):
        if any((root / candidate / name).is_file() for name in names):
            return PurePosixPath(candidate)
    shown = ", ".join(each or "." for each in dict.fromkeys(candidates))
    raise RunError(
        f"{root / file} lists the image {names[0]}, which is in none of the folders {shown} of "
        f"{root}"
    )


def _load_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected an object of JSON, got {type(content).__name__}")
    return content


def _open_yolo(root: Path, split: str) -> AnnotatedTree:
    configs = sorted(path for path in root.iterdir() if path.suffix in _YAML)
    shared = tuple(path.name for path in configs if _is_data_yaml(path))
    if len(shared) > 1:
        raise RunError(f"{root} holds {', '.join(shared)}; leave one of them in it")
    images = _listed(root, root / shared[0], split) if shared else []
    images = sorted(set(images or _conventional(root, split)))
    labels = [_label_file(image) for image in images]
    found = tuple((name,) if (root / name).is_file() else () for name in labels)
    if images and not any(found):
        raise RunError(
            f"{root}: none of the {len(images):,} images of split {split!r} has a file of labels; "
            f"expected e.g. {labels[0]} for {images[0]}"
        )
    return AnnotatedTree(
        root=root,
        layout="yolo",
        split=split,
        images=tuple(images),
        labels=found,
        ids=tuple(range(len(images))),
        shared=shared,
    )


def _is_data_yaml(path: Path) -> bool:
    entries = yolo_names(path.read_text(encoding="utf-8-sig"))
    return "names" in entries or "nc" in entries


def _listed(root: Path, config: Path, split: str) -> list[str]:
    """The images that a ``data.yaml`` names for a split: of folders, or of lists."""
    text = config.read_text(encoding="utf-8-sig")
    entries = yolo_names(text)
    values = (_values(text, entries, key) for key in dict.fromkeys(SERVING[split]))
    named = next(filter(None, values), [])
    base = next(iter(_values(text, entries, "path")), "")
    found = []
    for name in named:
        options = (root / base / name, root / name, root / name.removeprefix("../"))
        path = next((each.resolve() for each in options if each.exists()), None)
        if path is None:
            raise RunError(f"{config} names {name} for split {split!r}, which is not in {root}")
        if not path.is_relative_to(root.resolve()):
            raise RunError(f"{config} names {path}, which lies outside of {root}")
        if path.is_dir():
            found += _images_in(root, path.relative_to(root.resolve()).as_posix())
        else:
            above = path.parent
            for line in filter(None, map(str.strip, path.read_text().splitlines())):
                file = (above / line).resolve()
                if not file.is_relative_to(root.resolve()) or not file.is_file():
                    raise RunError(f"{path} names {line}, which is no file in {root}")
                found.append(file.relative_to(root.resolve()).as_posix())
    return found


def _values(text: str, entries: dict[str, tuple[str, int, int]], key: str) -> list[str]:
    """The word or list of words behind a key of a ``data.yaml``."""
    if key not in entries:
        return []
    value, first, last = entries[key]
    value = re.sub(r"(^|\s)#.*", "", value).strip()
    lines = text.splitlines()[first + 1 : last]
    items = [line.strip()[1:] for line in lines if line.strip().startswith("- ")]
    if value.startswith("["):
        items = value.strip("[]").split(",")
    elif value:
        items = [value]
    cut = (re.sub(r"\s#.*", "", item).strip().strip("'\"") for item in items)
    return [item for item in cut if item and item not in ("null", "~")]


def _conventional(root: Path, split: str) -> list[str]:
    """The images in the folder of a split: ``images/val``, ``val/images``, or ``images``."""
    inside = FolderTree(root).folders("images") if (root / "images").is_dir() else []
    kinds = {name: split_kind(name)[0] for name in inside if _SPLIT.search(name.lower())}
    for kind in SERVING[split]:
        for name, found in kinds.items():
            if found == kind:
                return _images_in(root, f"images/{name}")
        for name in SPLIT_NAMES[kind]:
            if (root / name / "images").is_dir():
                return _images_in(root, f"{name}/images")
    if inside and kinds:
        raise RunError(f"{root}/images has {', '.join(inside)} and no split {split!r}")
    return _images_in(root, "images") if (root / "images").is_dir() else []


def _images_in(root: Path, folder: str) -> list[str]:
    if "images" not in folder.split("/"):
        raise RunError(
            f"{root / folder}: expected a folder images/ in its path, beside which labels/ lies"
        )
    return [f"{folder}/{name}" for name in FolderTree(root).walk(folder).images]


def _label_file(image: str) -> str:
    """Where the labels of an image are, by the rule of Ultralytics."""
    above, _, below = f"/{image}".rpartition("/images/")
    return f"{above}/labels/{PurePosixPath(below).with_suffix('.txt')}".removeprefix("/")


def _open_cityscapes(root: Path, split: str) -> AnnotatedTree:
    tree = FolderTree(root)
    folders = {split_kind(name)[0]: name for name in tree.folders(_LEFT) if name in SPLIT_NAMES}
    name = next((folders[kind] for kind in SERVING[split] if kind in folders), None)
    if name is None:
        raise RunError(
            f"{root / _LEFT} has no split {split!r}, it has {', '.join(tree.folders(_LEFT))}"
        )
    end = f"_{_LEFT}.png"
    listed = (f"{_LEFT}/{name}/{image}" for image in tree.walk(f"{_LEFT}/{name}").images)
    images = tuple(image for image in listed if image.endswith(end))
    files: dict[str, list[str]] = defaultdict(list)
    for truth in _GROUND_TRUTHS:
        for path in sorted((root / truth / name).glob("*/*")):
            stem, _, kind = path.name.partition(f"_{truth}_")
            if kind:
                relative = path.relative_to(root).as_posix()
                files[f"{_LEFT}/{name}/{path.parent.name}/{stem}{end}"].append(relative)
    if images and not files:
        raise RunError(
            f"{root}: expected labels of split {split!r} in {_GROUND_TRUTHS[0]}/{name}, got none"
        )
    return AnnotatedTree(
        root=root,
        layout="cityscapes",
        split=split,
        images=images,
        labels=tuple(tuple(files.get(image, ())) for image in images),
        ids=tuple(range(len(images))),
    )


def describe_tree(tree: AnnotatedTree) -> list[str]:
    """Describe the images of a tree and what is left out, in lines for the terminal."""
    num_files = sum(map(len, tree.labels)) + len(tree.shared)
    folder = os.path.commonpath([os.path.dirname(image) for image in tree.images]) or "."
    files = "file" if num_files == 1 else "files"
    lines = [
        f"layout {tree.layout}: {len(tree):,} images in {folder}, {num_files:,} {files} of labels"
    ]
    shown: Sequence[str] = [f"{file} ({reason})" for file, reason in tree.left_out]
    if shown:
        lines.append(f"warning: left out: {', '.join(shown[:_SHOWN])}")
    return lines

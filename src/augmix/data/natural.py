"""Natural shift: other photographs of a model's classes, in the layouts that they are published in.

| set | layout | compared outputs |
| --- | --- | --- |
| ImageNet-A, -R, -O | ``imagenet-a/SYNSET/`` | the set's 200 classes |
| ImageNet-Sketch | ``sketch/SYNSET/`` | all |
| ImageNet-V2 | ``imagenetv2-.../0 .. 999/``, numbers and not synsets | all |
| ImageNet ReaL | a JSON list of the right classes of each validation image | all |
| ImageNet-Hard | a parquet file with a list of classes an image | all |
| ObjectNet | ``images/FOLDER/`` and ``mappings/*.json``; a frame of 2 pixels is cut | all |
| ImageNet-D, -ES | folders of class folders, one for each condition | the classes there |
| CIFAR-10.1 | ``cifar10.1_v6_data.npy``, ``cifar10.1_v6_labels.npy`` | all |

Of several right classes any one counts. A folder of class folders named like classes of the clean
images is a set, too, e.g. Tiny-ImageNet's validation images. The lists of classes are those of the
authors' scripts (`hendrycks/natural-adv-examples`, `hendrycks/imagenet-r`), as indices of ILSVRC's
1,000 classes in the order of their synsets.
"""

import json
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from augmix.data.cifar import CIFAR10_CLASSES
from augmix.data.decode import AS_STORED, Geometry, decode_image
from augmix.data.derived import MappedSource
from augmix.data.folders import FileItems, check_shards, list_images
from augmix.data.parquet import load_images, load_label_sets
from augmix.data.stores import (
    ArrayItems,
    Ids,
    Items,
    Labels,
    OpenOptions,
    Source,
    build_source,
)
from augmix.data.tar import SYNSET
from augmix.data.trees import FolderTree
from augmix.errors import RunError, first_line
from augmix.files import load_json

_MASKS = {
    "imagenet-a": """
        6 11 13 15 17 22 23 27 30 37 39 42 47 50 57 70 71 76 79 89 90 94 96 97 99 105 107 108 110
        113 124 125 130 132 143 144 150 151 207 234 235 254 277 283 287 291 295 298 301 306 307 308
        309 310 311 313 314 315 317 319 323 324 326 327 330 334 335 336 347 361 363 372 378 386 397
        400 401 402 404 407 411 416 417 420 425 428 430 437 438 445 456 457 461 462 470 472 483 486
        488 492 496 514 516 528 530 539 542 543 549 552 557 561 562 569 572 573 575 579 589 606 607
        609 614 626 627 640 641 642 643 658 668 677 682 684 687 701 704 719 736 746 749 752 758 763
        765 768 773 774 776 779 780 786 792 797 802 803 804 813 815 820 823 831 833 835 839 845 847
        850 859 862 870 879 880 888 890 897 900 907 913 924 932 933 934 937 943 945 947 951 954 956
        957 959 971 972 980 981 984 986 987 988
    """,
    "imagenet-r": """
        1 2 4 6 8 9 11 13 22 23 26 29 31 39 47 63 71 76 79 84 90 94 96 97 99 100 105 107 113 122 125
        130 132 144 145 147 148 150 151 155 160 161 162 163 171 172 178 187 195 199 203 207 208 219
        231 232 234 235 242 245 247 250 251 254 259 260 263 265 267 269 276 277 281 288 289 291 292
        293 296 299 301 308 309 310 311 314 315 319 323 327 330 334 335 337 338 340 341 344 347 353
        355 361 362 365 366 367 368 372 388 390 393 397 401 407 413 414 425 428 430 435 437 441 447
        448 457 462 463 469 470 471 472 476 483 487 515 546 555 558 570 579 583 587 593 594 596 609
        613 617 621 629 637 657 658 701 717 724 763 768 774 776 779 780 787 805 812 815 820 824 833
        847 852 866 875 883 889 895 907 928 931 932 933 934 936 937 943 945 947 948 949 951 953 954
        957 963 965 967 980 981 983 988
    """,
    "imagenet-o": """
        1 51 70 79 89 90 107 109 117 149 327 328 341 363 392 397 398 401 411 416 418 419 420 424 434
        439 447 451 455 459 462 464 465 470 475 489 491 494 496 498 507 512 517 522 525 530 533 537
        539 540 545 549 550 551 552 554 556 558 559 562 563 567 574 580 583 588 589 593 599 604 606
        607 611 613 621 624 626 629 633 635 640 641 642 643 644 645 646 648 666 669 674 677 678 679
        680 684 686 687 688 691 694 699 703 710 712 714 716 720 722 723 729 731 736 738 740 741 743
        747 749 753 758 761 767 769 771 772 773 778 783 784 789 791 793 794 795 797 800 802 804 807
        811 813 815 827 828 830 833 842 843 844 845 852 853 854 855 857 858 859 870 877 879 886 891
        897 898 900 902 906 910 911 918 920 929 931 932 934 935 937 938 939 941 943 945 948 949 950
        951 953 954 955 957 960 962 963 965 971 980 987 988 996
    """,
}
MASKS: Mapping[str, tuple[int, ...]] = {
    name: tuple(map(int, text.split())) for name, text in _MASKS.items()
}
_COUNTS = {  # images published
    "imagenet-a": 7_500,
    "imagenet-r": 30_000,
    "imagenet-o": 2_000,
    "imagenet-sketch": 50_889,
    "cifar10.1-v4": 2_021,
    "cifar10.1-v6": 2_000,
}
_V2_COUNT = 10_000  # each of the three forms
_NUM_CLASSES = 1000  # of ILSVRC
_DEPTH = 4  # folders above the class folders
_VALIDATION = re.compile(r"val_(\d{8})")  # number of a validation image of ILSVRC
_FRAME = 2  # pixels around the photographs of ObjectNet
_NAMES = (  # of a folder, its separators taken out, and the set it is
    (re.compile(r"(imagenet)?v2.*matched.*"), "imagenet-v2-matched-frequency"),
    (re.compile(r"(imagenet)?v2.*threshold.*"), "imagenet-v2-threshold0.7"),
    (re.compile(r"(imagenet)?v2.*top.*"), "imagenet-v2-top-images"),
    (re.compile(r"imagenet([aro])"), "imagenet-{1}"),
    (re.compile(r"(imagenet)?sketch"), "imagenet-sketch"),
    (re.compile(r"imagenet(d|es)"), "imagenet-{1}"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class NaturalSet:
    """Images, what is right for each, and which outputs of a model are compared."""

    name: str  # of results
    source: Source  # of the size of the clean images; its labels are outputs of the model
    outputs: Int64[np.ndarray, " class"] | None = None  # ascending; None for all
    answers: tuple[frozenset[int], ...] | None = None  # right outputs where there may be several
    ids: Ids | None = None  # images that count; None for all

    @property
    def is_outlier(self) -> bool:
        """Whether its images are of no class of the model, as those of ImageNet-O."""
        return self.name == "imagenet-o"

    @property
    def note(self) -> str:
        """Say if the number of images is not the published one; else empty."""
        published = _V2_COUNT if self.name.startswith("imagenet-v2") else _COUNTS.get(self.name, 0)
        if not published or len(self.source) == published:
            return ""
        return (
            f"{self.name} holds {len(self.source):,} images, {published:,} are published: a part "
            "of it, or another version"
        )


def open_natural(path: Path, clean: Source) -> list[NaturalSet]:
    """Open the sets that a folder or file holds, prepared like the clean images.

    Args:
        path: See the table of this module.
        clean: The clean test images; their classes are the outputs of the model, in its order.

    Raises:
        RunError: If nothing is recognised, a class is unknown, or a file is broken.
    """
    path = path.expanduser()
    if path.suffix == ".json":
        return [_open_real(path, clean)]
    if path.suffix == ".parquet" or (path.is_dir() and _parquets(path)):
        return [_open_hard(path, clean)]
    if not path.is_dir():
        what = "is no folder" if path.exists() else "does not exist"
        raise RunError(f"{path} {what}; name the folder of a set of natural shift, or ReaL's JSON")
    versions = sorted(path.glob("cifar10.1_v*_data.npy"))
    if versions:
        return [_open_cifar(file, clean) for file in versions]
    mapping = next(path.rglob("objectnet_to_imagenet_1k.json"), None)
    if mapping is not None:
        return [_open_objectnet(path, mapping, clean)]
    index = _class_index(clean)
    found = list(_leaves(FolderTree(path), "", index))
    if not found:
        raise RunError(
            f"{path}: expected class folders (synsets, the numbers of ImageNet-V2, or the names of "
            "the clean images' classes), CIFAR-10.1's arrays or ObjectNet's mappings, got none"
        )
    return [_open_classes(path, folder, index, clean) for folder in found]


def _class_index(clean: Source) -> dict[str, int]:
    """The output of the model for every name of a class, in lower case."""
    names: dict[str, set[int]] = {}
    given = list(enumerate(clean.class_names))
    if isinstance(clean, MappedSource):
        given += list(zip(clean.indices.tolist(), clean.source.class_names, strict=True))
    for output, name in given:
        for word in (name, *name.split(",")):
            names.setdefault(_plain(word), set()).add(output)
    return {name: next(iter(outputs)) for name, outputs in names.items() if len(outputs) == 1}


def _ilsvrc_outputs(clean: Source) -> Int64[np.ndarray, " class"] | None:
    """The model's output for each class of ILSVRC, in the order of synsets; None if not known.

    The clean images have these classes in this order, or else the model has.
    """
    if not isinstance(clean, MappedSource):
        return np.arange(clean.num_classes)
    if clean.source.num_classes in (clean.num_classes, _NUM_CLASSES):
        return clean.indices
    return np.arange(_NUM_CLASSES) if clean.num_classes == _NUM_CLASSES else None


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")


def _leaves(tree: FolderTree, folder: str, index: Mapping[str, int], depth: int = 0) -> Any:
    """Folders whose folders are classes."""
    names = tree.folders(folder)
    is_class = [bool(SYNSET.fullmatch(n)) or n.isdecimal() or _plain(n) in index for n in names]
    if (names and all(is_class)) or (tree.root / folder / "val_annotations.txt").is_file():
        yield folder
    elif depth < _DEPTH:
        for name in names:
            if name == "train":
                continue
            yield from _leaves(tree, f"{folder}/{name}".lstrip("/"), index, depth + 1)


def _open_classes(root: Path, folder: str, index: Mapping[str, int], clean: Source) -> NaturalSet:
    path = root / folder
    found = list_images(FolderTree(path), "")
    name = _name_set(root, folder)
    mask, ordered = None, _ilsvrc_outputs(clean)
    if ordered is not None and len(ordered) == _NUM_CLASSES:
        numbers = range(_NUM_CLASSES) if name == "imagenet-sketch" else MASKS.get(name)
        mask = None if numbers is None else ordered[list(numbers)].tolist()
    outputs = np.array(_find_outputs(found.class_names, index, mask, clean, path), np.int64)
    outside = sorted(set(outputs.tolist()) - set(mask or outputs.tolist()))
    if outside:
        raise RunError(
            f"{path}: class {outside[0]} ({clean.class_names[outside[0]]}) is none of the "
            f"{len(mask or ())} of {name}; rename the folder if it is another set"
        )
    kept = np.array(sorted(mask or set(outputs.tolist())), np.int64)
    return NaturalSet(
        name=name,
        source=_build(found.items, outputs[found.labels], clean, name),
        outputs=None if len(kept) == clean.num_classes else kept,
    )


def _name_set(root: Path, folder: str) -> str:
    parts = [root.resolve().name, *filter(None, folder.split("/"))]
    for number, part in reversed([*enumerate(parts, start=1)]):
        plain = re.sub(r"[-_ ]", "", part.lower())
        for pattern, name in _NAMES:
            match = pattern.fullmatch(plain)
            if match:
                known = name.format(match[0], *match.groups())
                return "-".join([known, *parts[number:]])
    return "-".join(parts)


def _find_outputs(
    names: Sequence[str],
    index: Mapping[str, int],
    mask: Sequence[int] | None,
    clean: Source,
    path: Path,
) -> list[int]:
    """The model's output for each class folder: by name, by number, or by the order of synsets."""
    known = [index.get(_plain(name)) for name in names]
    if all(output is not None for output in known):
        return [output for output in known if output is not None]
    ordered = _ilsvrc_outputs(clean)
    in_order = ordered.tolist() if ordered is not None else []
    if in_order and all(name.isdecimal() for name in names):  # ImageNet-V2: 10 after 9
        if {int(name) for name in names} != set(range(len(in_order))):
            raise RunError(
                f"{path}: expected the folders 0..{len(in_order) - 1} of ImageNet-V2, got "
                f"{len(names)}: {', '.join(names[:5])}, ...; unpack it again, or name a -C set "
                "with --official"
            )
        return [in_order[int(name)] for name in names]
    order = sorted(names)
    in_order = mask or (in_order if len(in_order) == _NUM_CLASSES else ())
    if len(in_order) == len(names) and all(map(SYNSET.fullmatch, names)):
        return [in_order[order.index(name)] for name in names]
    unknown = [name for name, output in zip(names, known, strict=True) if output is None]
    raise RunError(
        f"{path}: expected the names of the clean images' {clean.num_classes} classes "
        f"({', '.join(clean.class_names[:3])}, ...), got {', '.join(unknown[:3])} "
        f"({len(unknown)} unknown); name clean images in folders of synsets with --data, so that "
        "the classes can be looked up"
    )


def _build(items: Items, labels: Labels, clean: Source, name: str) -> Source:
    geometry = replace(clean.geometry, crop=None)
    options = OpenOptions(name=name, split="test", geometry=geometry, is_lazy=True)
    source = build_source(items, labels, clean.class_names, options)
    if (source.size, source.channels) != (clean.size, clean.channels):
        raise RunError(
            f"{name}: expected images of {clean.size[0]}x{clean.size[1]} with {clean.channels} "
            f"channels like the clean ones, got {source.size[0]}x{source.size[1]} with "
            f"{source.channels}; name a size (--crop)"
        )
    return source


def _open_cifar(data: Path, clean: Source) -> NaturalSet:
    labels_path = data.with_name(data.name.replace("_data", "_labels"))
    try:
        images, labels = np.load(data), np.load(labels_path).astype(np.int64)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {data} and {labels_path.name}: {first_line(error)}") from error
    fits = images.dtype == np.uint8 and images.ndim == 4 and labels.shape == images.shape[:1]
    largest = len(CIFAR10_CLASSES) - 1
    if not fits or not len(labels) or not 0 <= labels.min() <= labels.max() <= largest:
        raise RunError(
            f"{data}: expected uint8 [n, height, width, 3] and labels 0..{largest}, got "
            f"{images.dtype} {list(images.shape)} and labels {list(labels.shape)}"
        )
    index = _class_index(clean)
    outputs = [index.get(name, -1) for name in CIFAR10_CLASSES]
    if min(outputs) < 0:
        if clean.num_classes != len(outputs) or isinstance(clean, MappedSource):
            missing = CIFAR10_CLASSES[outputs.index(-1)]
            raise RunError(
                f"{data}: {missing!r} is none of the clean images' {clean.num_classes} classes; "
                "name CIFAR-10's test images with --data"
            )
        outputs = list(range(len(outputs)))  # under other names
    labels = np.array(outputs, np.int64)[labels]
    name = "cifar10.1-" + data.name.split("_")[1]
    source = _build(ArrayItems(images=images, path=str(data)), labels, clean, name)
    kept = np.sort(outputs)
    return NaturalSet(
        name=name, source=source, outputs=None if len(kept) == clean.num_classes else kept
    )


def _open_real(path: Path, clean: Source) -> NaturalSet:
    """ReaL's right classes; image ``..._00000293`` of the validation set has the 293rd list."""
    found: Any = _load_list(path)
    files = clean.source.files if isinstance(clean, MappedSource) else clean.files
    numbers = [_VALIDATION.search(file) for file in files]
    rows = [int(match[1]) - 1 for match in numbers if match]
    if not files and len(found) == len(clean):
        rows = list(range(len(clean)))
    if len(rows) != len(clean) or not 0 <= min(rows) <= max(rows) < len(found):
        raise RunError(
            f"{path}: expected the lists of ImageNet's validation images, ILSVRC2012_val_00000001 "
            f"first, got {len(found)} lists for {len(clean)} clean images; name the validation set "
            "with --data"
        )
    answers = _map_answers([found[row] for row in rows], path, clean)
    ids = np.array([i for i, each in enumerate(answers) if each], np.int64)
    agreeing = sum(label in answers[i] for i, label in zip(ids, clean.labels[ids], strict=True))
    if 2 * agreeing < len(ids):
        raise RunError(
            f"{path}: only {agreeing} of {len(ids)} lists hold the label of their clean image, so "
            "these have another order or other classes; name ImageNet's validation set with --data"
        )
    return NaturalSet(name="imagenet-real", source=clean, answers=answers, ids=ids)


def _load_list(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise RunError(f"cannot read {path}: {first_line(error)}") from error
    if not isinstance(found, list) or not all(isinstance(each, list) for each in found):
        raise RunError(f"{path}: expected a JSON list of lists of classes, as ReaL's")
    return found


def _parquets(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


def _open_hard(path: Path, clean: Source) -> NaturalSet:
    """ImageNet-Hard: a table of images with a list of right classes each."""
    paths = _parquets(path) if path.is_dir() else [path]
    check_shards(paths)
    items = load_images(paths, image_columns=("image",))
    answers = _map_answers(load_label_sets(paths, "label"), path, clean)
    labels = np.array([min(each, default=0) for each in answers], np.int64)
    ids = np.array([i for i, each in enumerate(answers) if each], np.int64)
    source = _build(items, labels, clean, "imagenet-hard")
    return NaturalSet(name="imagenet-hard", source=source, answers=answers, ids=ids)


def _map_answers(
    found: Iterable[Iterable[Any]], path: Path, clean: Source
) -> tuple[frozenset[int], ...]:
    """Turn sets of classes of ILSVRC into outputs of the model."""
    ordered = _ilsvrc_outputs(clean)
    if ordered is None:
        raise RunError(
            f"{path}: which of the {clean.num_classes} outputs are the classes of ILSVRC is not "
            "known; name ImageNet's validation set with --data"
        )
    try:
        numbers = [[operator.index(number) for number in each] for each in found]
    except TypeError as error:
        raise RunError(f"{path}: expected whole numbers, got {error}") from error
    wrong = [number for each in numbers for number in each if not 0 <= number < len(ordered)]
    if wrong or not any(numbers):
        raise RunError(
            f"{path}: expected lists of classes 0..{len(ordered) - 1}, those of the clean images, "
            f"got {wrong[0] if wrong else 'empty lists'}"
        )
    return tuple(frozenset(ordered[each].tolist()) for each in numbers)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Framed(FileItems):
    """Photographs in a red frame, which is cut off."""

    def image(
        self, index: int, geometry: Geometry = AS_STORED
    ) -> UInt8[np.ndarray, "height width channel"]:
        stored = Geometry(reading=geometry.reading)
        whole = decode_image(self.content(index), stored)
        inner = Image.fromarray(whole[_FRAME:-_FRAME, _FRAME:-_FRAME])
        return np.asarray(geometry.apply(inner))

    def stored_size(self, index: int, reading: Any = AS_STORED.reading) -> tuple[int, int]:
        height, width = super().stored_size(index, reading)
        return height - 2 * _FRAME, width - 2 * _FRAME


def _open_objectnet(path: Path, mapping: Path, clean: Source) -> NaturalSet:
    """ObjectNet: its 113 classes that are one or several of ImageNet's, the others left out."""
    folders = load_json(mapping.with_name("folder_to_objectnet_label.json"))
    to_imagenet = load_json(mapping)
    index = _class_index(clean)
    words = mapping.with_name("imagenet_to_label_2012_v2")
    ordered = _ilsvrc_outputs(clean)
    if (
        words.is_file() and ordered is not None
    ):  # a line for each class, in another order than that of the outputs
        order = load_json(mapping.with_name("pytorch_to_imagenet_2012_id.json"))
        lines = words.read_text(encoding="utf-8").splitlines()
        index = {
            _plain(lines[int(line)]): int(ordered[int(output)])
            for output, line in order.items()
            if int(output) < len(ordered) and int(line) < len(lines)
        }
    right: dict[str, frozenset[int]] = {}
    for folder, label in folders.items():
        names = [_plain(name) for name in str(to_imagenet.get(label, "")).split(";") if name]
        unknown = [name for name in names if name not in index]
        if unknown:
            raise RunError(
                f"{mapping}: {unknown[0]!r} ({label}) is no class of the clean images; put "
                "imagenet_to_label_2012_v2 and pytorch_to_imagenet_2012_id.json beside it"
            )
        if names:
            right[folder] = frozenset(index[name] for name in names)
    root = path / "images" if (path / "images").is_dir() else path
    listing = FolderTree(root).walk()
    paths = tuple(file for file in listing.images if file.partition("/")[0] in right)
    if not paths:
        raise RunError(f"{root}: expected folders of {mapping.name}, such as {next(iter(right))}")
    answers = tuple(right[file.partition("/")[0]] for file in paths)
    labels = np.array([min(each) for each in answers], np.int64)
    source = _build(_Framed(root=root, paths=paths), labels, clean, "objectnet")
    return NaturalSet(name="objectnet", source=source, answers=answers)

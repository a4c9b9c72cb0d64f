"""The images of an evaluation: opened from what Python gives, chosen, or read from official files.

Official files are -C, C-bar and -P sets, measured in place of images made on the fly. Image i of a
set is image i of the clean images, which its size, number and labels confirm.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from augmix.arrays import to_float
from augmix.corruptions import registry
from augmix.data.benchmarks import Layout, Sequences, find_layout, open_corrupted, open_perturbed
from augmix.data.decode import Geometry
from augmix.data.derived import ClassList, MappedSource, map_classes, name_classes
from augmix.data.inventory import record_images
from augmix.data.sources import OpenOptions, Source, as_source, name_source, open_source
from augmix.data.tar import SYNSET
from augmix.errors import RunError
from augmix.evaluation.predictor import ready
from augmix.models.preprocessing import Preprocessing
from augmix.models.wrapper import find_logits, num_classes_of
from augmix.results import CellKey
from augmix.rng import Purpose, Stream

_NUM_OPEN = 4  # official sets kept open: of the cell measured, of the next one, of the examples
_MEASURED_PART = 2  # of Purpose.SPLIT; data.sources has 0 and 1


def open_data(data: Any, model: nn.Module) -> Source:
    """Turn what `evaluate` takes into a source; see there for its forms.

    Images of a path are resized and cut as the model's ``preprocessing`` says, if it has one, and
    classes are mapped by name to those of the model. Data without names of classes has as many as
    the model has logits.

    Raises:
        TypeError: If the data has none of the forms.
        RunError: If it cannot be read, or does not go with the model.
    """
    if isinstance(data, Source):
        return data
    names = getattr(model, "class_names", None)
    if isinstance(data, (str, PathLike)):
        kind = name_source(str(data))
        own = getattr(model, "preprocessing", None)
        geometry = own.geometry if isinstance(own, Preprocessing) and own.crop else {}
        root = None if kind == "digits" else data
        source = open_source(kind, root=root, split="test", **geometry)
        classes = choose_class_list(names, source, where="the model")
        return map_classes(source, classes) if classes else source
    if isinstance(data, DataLoader):
        is_stream = isinstance(data.dataset, IterableDataset)
        data = _collect(data) if is_stream else data.dataset
    if isinstance(data, tuple) and len(data) == 2 and getattr(data[0], "ndim", 0) in (3, 4):
        data = _Pairs(*data)
    options = OpenOptions(name=type(data).__name__.strip("_"), split="test", geometry=Geometry())
    source = as_source(data, options)
    if any(getattr(data, name, None) for name in ("class_names", "classes")):
        return source
    count = num_classes_of(model) or _count_logits(model, source)
    if count <= source.num_classes:
        return source
    known = names if names and len(names) == count else tuple(map(str, range(count)))
    return as_source(_Named(data, known), options)


def choose_class_list(
    names: Sequence[str] | None, source: Source, *, where: str
) -> ClassList | None:
    """The classes of a model by which those of a source are looked up; None leaves them.

    That is so where the names are equal, the model has none, or words of ImageNet's classes are in
    the order of its synsets.
    """
    if not names or tuple(names) == tuple(source.class_names):
        return None
    is_imagenet = len(names) == source.num_classes and has_synsets(source.class_names)
    if is_imagenet and not has_synsets(names):
        return None
    return name_classes(names, where=where)


def has_synsets(class_names: Sequence[str]) -> bool:
    """Whether classes are named by synsets of WordNet, as ImageNet's folders are."""
    return all(SYNSET.fullmatch(name) for name in class_names)


class _Pairs:
    """Images and labels as a data set."""

    def __init__(self, images: Any, labels: Any) -> None:
        if len(images) != len(labels):
            raise ValueError(
                f"there must be a label for each image, got {len(images)} images and "
                f"{len(labels)} labels"
            )
        self.pictures, self.labels = images, np.asarray(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.pictures[index], int(self.labels[index])


class _Named:
    """A data set whose classes have names."""

    def __init__(self, data: Any, class_names: Sequence[str]) -> None:
        self.data, self.class_names = data, tuple(class_names)

    def __len__(self) -> int:
        return len(self.data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def __getitem__(self, index: int) -> Any:
        return self.data[index]


def _collect(loader: DataLoader) -> _Pairs:
    """All batches of a loader whose data set has no indices."""
    images, labels = zip(*((images, labels) for images, labels, *_ in loader), strict=True)
    return _Pairs(torch.cat(images), torch.cat(labels))


def _count_logits(model: nn.Module, source: Source) -> int:
    """The logits that a model gives for an image; the classes of the source if it fails."""
    parameter = next(model.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    image = torch.from_numpy(to_float(source.load(np.zeros(1, np.int64)))).to(device)
    try:
        with ready(model, device), torch.inference_mode():
            found = find_logits(model(image), "the model")
    except (RuntimeError, RunError):  # said where it is measured
        return source.num_classes
    return found.shape[-1] if isinstance(found, torch.Tensor) else source.num_classes


def describe_source(source: Source, num_images: int) -> dict[str, Any]:
    """Return what results say of the images, of which so many are measured."""
    return {
        "name": source.name,
        "split": source.split,
        "num_images": num_images,
        "num_classes": source.num_classes,
        "class_names": list(source.class_names),
        "fingerprint": source.fingerprint,
        "size": list(source.size),
        "geometry": source.geometry.describe(),
        **record_images(source),
    }


def choose_images(
    num_images: int, *, max_images: int | None = None, num_held: int = 0, seed: int
) -> tuple[Int64[np.ndarray, " image"], Int64[np.ndarray, " held"]]:
    """Choose the images that are measured, and those held out for the temperature; ids ascending.

    Both are fixed random subsets. Fewer measured images are a subset of more, and the same whether
    or not others are held out, as long as enough images are left.

    Raises:
        ValueError: If so many cannot be held out.
        RunError: If there is no image.
    """
    if num_images == 0:
        raise RunError("the source holds no image")
    if not 0 <= num_held < num_images:
        raise ValueError(
            f"temperature_images must be at least 0 and leave some of the source's {num_images} "
            f"images to measure, got {num_held}"
        )
    num_rest = num_images - num_held
    num_measured = min(max_images or num_rest, num_rest)
    if num_measured == num_images:
        return np.arange(num_images), np.empty(0, np.int64)
    order = Stream(seed=seed, purpose=Purpose.SPLIT, part=_MEASURED_PART).permutation(num_images)
    return np.sort(order[:num_measured]), np.sort(order[num_rest:])


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

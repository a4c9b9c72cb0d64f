"""Suite natural on small trees in the published layouts, measured by a model that reads colours.

Images of class c are of one colour, 10 (c + 1); logit k is minus the distance of the mean to that
of class k, so that the model is right about every image in its class's colour.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from augmix.data.cifar import CIFAR10_CLASSES
from augmix.data.derived import ClassList, map_classes
from augmix.data.natural import MASKS, open_natural
from augmix.data.sources import Source, open_source
from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.loop import evaluate
from augmix.evaluation.suites import open_suites
from augmix.per_image import load_predictions
from augmix.report.comparison import compare
from augmix.report.robustness import natural_table
from augmix.results import CellKey, Results

SYNSETS = tuple(f"n0000000{number}" for number in range(6))


class Reader(nn.Module):
    """Tells the class by the colour."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        level = 255 * images.mean(dim=(1, 2, 3))
        colours = 10.0 * (torch.arange(self.num_classes, device=images.device) + 1)
        return -self.scale * (level[:, None] - colours).abs() / 5


def write(path: Path, shown: int, size: tuple[int, int] = (16, 16)) -> None:
    """Write an image in the colour of a class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10 * (shown + 1),) * 3).save(path)


def tree(root: Path, shown: Mapping[str, int]) -> Path:
    for name, colour in shown.items():
        write(root / f"{name}.png", colour)
    return root


@pytest.fixture
def clean(tmp_path: Path) -> Source:
    files = {f"{name}/{i}": c for c, name in enumerate(SYNSETS) for i in range(2)}
    return open_source("folder", root=tree(tmp_path / "val", files), split="val")


def measure(clean: Source, *folders: Path, **settings: Any) -> Results:
    model = Reader(clean.num_classes)
    settings = {"suite": ("clean", "natural"), "bin_size": 2, **settings}
    return evaluate(model, clean, natural=folders, **settings)


def errors(results: Results) -> dict[str, tuple[int, int]]:
    cells = [cell for cell in results.cells if cell.suite == "natural"]
    return {cell.name: (cell.num_errors, cell.num_images) for cell in cells}


def test_only_the_classes_of_the_set_are_compared(clean: Source, tmp_path: Path):
    """The colour of class 5 is read as class 4 where class 5 is not compared."""
    shown = {"n00000002/a": 2, "n00000004/a": 4, "n00000004/b": 5, "n00000004/c": 2}
    folder = tree(tmp_path / "others", shown)
    write(folder / "n00000002" / "d.png", 5)
    results = measure(clean, folder, out=tmp_path / "run")
    assert errors(results) == {"others": (2, 5), "others-clean": (0, 4)}
    found = load_predictions(tmp_path / "run", "natural", "others", 0)
    assert found.prediction.tolist()[1] == 4  # colour of class 5, shown in the folder of class 2
    assert set(found.prediction.tolist()) == {2, 4}
    # two classes at distances 0 and 20, by a softmax of two
    np.testing.assert_allclose(found.confidence[0], 1 / (1 + np.exp(-4)), rtol=1e-5)
    assert results.num_images == 12
    table = natural_table(compare([tmp_path / "run"]))
    assert table is not None
    assert [row.label for row in table.rows] == ["others"]
    assert [entry.text for entry in table.rows[0].entries][::2] == ["40.0", "0.0"]


def test_imagenet_v2_has_numbers(tmp_path: Path):
    """Folder 10 is class 10, though it comes after 1 by its name."""
    files = {f"class {c:02d}/a": c for c in range(12)}
    clean = open_source("folder", root=tree(tmp_path / "val", files), split="val")
    shown = {f"{c}/a": c for c in range(12)}
    folder = tree(tmp_path / "imagenetv2-top-images-format-val", shown)
    results = measure(clean, folder)
    assert errors(results) == {"imagenet-v2-top-images": (0, 12)}
    for number in (0, *range(6, 12)):  # what is left are names of severities
        (folder / f"{number}" / "a.png").unlink()
        (folder / f"{number}").rmdir()
    with pytest.raises(RunError, match=r"expected the folders 0..11 of ImageNet-V2, got 5: 1, 2,"):
        open_natural(folder, clean)


def test_real_has_several_right_classes(clean: Source, tmp_path: Path):
    path = tmp_path / "real.json"
    path.write_text(json.dumps([[0], [1], [], [1, 2], *[[c // 2] for c in range(4, 12)]]))
    ordered = open_source(
        "folder",
        root=tree(
            tmp_path / "ilsvrc" / "val",
            {f"{SYNSETS[i // 2]}/ILSVRC2012_val_{i + 1:08d}": i // 2 for i in range(12)},
        ),
        split="val",
    )
    results = measure(ordered, path)
    assert errors(results) == {"imagenet-real": (1, 11)}  # the second image shows class 0
    listed = ClassList(path="list", names=tuple((name,) for name in reversed(SYNSETS)))
    mapped = map_classes(ordered, listed)
    (found,) = open_natural(path, mapped)
    assert found.answers is not None
    assert found.answers[:4] == (frozenset({5}), frozenset({4}), frozenset(), frozenset({4, 3}))
    path.write_text(json.dumps([[c // 2] for c in range(12)][::-1]))
    with pytest.raises(RunError, match="only 0 of 12 lists hold the label of their clean image"):
        open_natural(path, ordered)
    with pytest.raises(RunError, match="expected the lists of ImageNet's validation images"):
        open_natural(path, clean)  # whose files have no such numbers
    path.write_text(json.dumps([[-1]] * 12))
    with pytest.raises(RunError, match=r"expected lists of classes 0..5, .* got -1"):
        open_natural(path, ordered)


def test_imagenet_hard(clean: Source, tmp_path: Path):
    """An image counts if any of its classes is read; one without classes is left out."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    cells = []
    for shown in (0, 2, 3, 4):
        write(tmp_path / "image.png", shown)
        cells.append({"bytes": (tmp_path / "image.png").read_bytes(), "path": None})
    table = pyarrow.table({"image": cells, "label": [[0], [1, 2], [4, 5], []]})
    file = tmp_path / "hard" / "data" / "validation-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    parquet.write_table(table, file)
    assert errors(measure(clean, tmp_path / "hard")) == {"imagenet-hard": (1, 3)}
    file.rename(file.with_name("validation-00000-of-00002.parquet"))
    with pytest.raises(RunError, match="expected 2 files like"):
        open_natural(tmp_path / "hard", clean)


def test_cifar_10_1(tmp_path: Path):
    files = {f"{c}/a": c for c in range(10)}
    clean = open_source("folder", root=tree(tmp_path / "val", files), split="val")
    folder = tmp_path / "CIFAR-10.1"
    folder.mkdir()
    colours = np.array([3, 9, 0, 0], np.uint8)
    images = np.broadcast_to(10 * (colours[:, None, None, None] + 1), (4, 16, 16, 3))
    np.save(folder / "cifar10.1_v6_data.npy", images.astype(np.uint8))
    np.save(folder / "cifar10.1_v6_labels.npy", np.array([3, 9, 0, 7], np.int32))
    (found,) = open_natural(folder, clean)
    assert found.note == (
        "cifar10.1-v6 holds 4 images, 2,000 are published: a part of it, or another version"
    )
    assert errors(measure(clean, folder)) == {"cifar10.1-v6": (1, 4)}
    named = replace(clean, class_names=CIFAR10_CLASSES)
    listed = ClassList(path="list", names=tuple((name,) for name in reversed(CIFAR10_CLASSES)))
    (found,) = open_natural(folder, map_classes(named, listed))
    assert found.source.labels.tolist() == [6, 0, 9, 2]
    with pytest.raises(RunError, match="'airplane' is none of the clean images' 12 classes"):
        open_natural(folder, replace(clean, class_names=tuple(map(str, range(12)))))
    (folder / "cifar10.1_v6_labels.npy").unlink()
    with pytest.raises(RunError, match=r"cannot read .*cifar10.1_v6_data.npy and cifar10.1_v6_lab"):
        open_natural(folder, clean)


def test_objectnet(clean: Source, tmp_path: Path):
    """Two of three folders have classes of the model, one of them two; the red frame is cut."""
    folder = tmp_path / "objectnet-1.0"
    mappings = folder / "mappings"
    mappings.mkdir(parents=True)
    for name, content in {
        "folder_to_objectnet_label": {"chair": "Chair", "cup": "Cup", "pen": "Pen"},
        "objectnet_to_imagenet_1k": {"Chair": "stool; bench", "Cup": "mug"},
        "pytorch_to_imagenet_2012_id": {"0": 3, "1": 0, "2": 1, "3": 2},
    }.items():
        (mappings / f"{name}.json").write_text(json.dumps(content))
    (mappings / "imagenet_to_label_2012_v2").write_text("mug\nstool\nbench\nother\n")
    for name, shown in (("chair/a", 2), ("chair/b", 3), ("chair/c", 0), ("cup/a", 1), ("pen/a", 0)):
        image = Image.new("RGB", (20, 20), (255, 0, 0))
        image.paste((10 * (shown + 1),) * 3, (2, 2, 18, 18))
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / "images" / f"{name}.png")
    assert errors(measure(clean, folder)) == {"objectnet": (1, 4)}


def test_sets_by_condition(clean: Source, tmp_path: Path):
    shown = {f"{light}/param_1/{SYNSETS[0]}/a": 0 for light in ("l1", "l5")}
    folder = tree(tmp_path / "ImageNet-ES" / "es-test" / "param_control", shown)
    names = [each.name for each in open_natural(folder.parents[1], clean)]
    assert names == [f"imagenet-es-es-test-param_control-{light}-param_1" for light in ("l1", "l5")]


def test_the_200_classes_by_the_order_of_synsets(tmp_path: Path):
    """Clean images without synsets: the folders are the set's classes in order."""
    labels = np.arange(1000) % 1000
    images = np.zeros((1000, 16, 16, 3), np.uint8)
    names = np.array([f"class {c}" for c in range(1000)])
    np.savez(tmp_path / "val.npz", images=images, labels=labels, class_names=names)
    clean = open_source("npz", root=tmp_path / "val.npz", split="val")
    shown = {f"n{number:08d}/a": 0 for number in range(200)}
    for name in ("imagenet-a", "imagenet-r", "imagenet-o"):
        (found,) = open_natural(tree(tmp_path / name, shown), clean)
        assert found.name == name
        assert found.outputs is not None
        assert tuple(found.outputs.tolist()) == MASKS[name] == tuple(found.source.labels.tolist())
        assert len(MASKS[name]) == len(set(MASKS[name])) == 200
    inner = tree(tmp_path / "twice" / "imagenet-a" / "imagenet-a", shown)
    assert [each.name for each in open_natural(inner.parent, clean)] == ["imagenet-a"]
    sketch = tree(tmp_path / "sketch", {"5/a": 0})
    (sketch / "5").rename(sketch / "class 5")
    (found,) = open_natural(sketch, clean)  # a part, whose images may be of any class
    assert (found.name, found.outputs) == ("imagenet-sketch", None)
    assert MASKS["imagenet-a"][:3] == (6, 11, 13)
    assert MASKS["imagenet-r"][-2:] == (983, 988)
    with pytest.raises(RunError, match=r"expected the names of the clean images' 1000 classes"):
        open_natural(tree(tmp_path / "unknown", shown), clean)


def test_outliers_have_a_precision(clean: Source, tmp_path: Path):
    """Both images of no class lie between two colours, so their confidence is the lowest."""
    folder = tree(tmp_path / "imagenet-o", {"n00000002/a": 2, "n00000004/a": 4})
    for name in ("n00000002", "n00000004"):
        Image.new("RGB", (16, 16), (40, 40, 40)).save(folder / name / "a.png")
    measure(clean, folder, out=tmp_path / "run")
    table = natural_table(compare([tmp_path / "run"]))
    assert table is not None
    assert [entry.text for entry in table.rows[0].entries] == ["–", "–", "0.0", "100.0"]


def test_part_of_a_set(clean: Source, tmp_path: Path):
    folder = tree(tmp_path / "others", {f"{SYNSETS[0]}/{i}": 0 for i in range(9)})
    config = EvaluateConfig(suite=("natural",), natural=(folder,), max_images=4)
    suite = open_suites(config, clean)["natural"]
    key = CellKey("natural", "others", 0)
    few = suite.ids(key, np.arange(4))
    assert len(few) == 4
    again = open_suites(EvaluateConfig(**{**vars_of(config), "max_images": 6}), clean)["natural"]
    assert set(few) <= set(again.ids(key, np.arange(4)))


def vars_of(config: EvaluateConfig) -> dict[str, Any]:
    return {"suite": config.suite, "natural": config.natural}


def test_mistakes_are_named(clean: Source, tmp_path: Path):
    with pytest.raises(ValueError, match="suite 'natural' needs the folders of its sets"):
        evaluate(Reader(6), clean, suite=("natural",))
    with pytest.raises(ValueError, match="natural .*other would have no effect"):
        EvaluateConfig(natural=(tmp_path / "other",))
    with pytest.raises(RunError, match="missing does not exist; name the folder of a set"):
        open_natural(tmp_path / "missing", clean)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        RunError, match="expected class folders .synsets, the numbers of ImageNet-V2"
    ):
        open_natural(tmp_path / "empty", clean)

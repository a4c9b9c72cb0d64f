"""The forms of data that `evaluate` takes give the same numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.evaluation.loop import evaluate
from augmix.models.open_model import open_model
from augmix.models.preprocessing import Preprocessing
from augmix.models.weights import build_model, save_model
from augmix.models.wrapper import OpenedModel
from augmix.results import Results

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
LABELS = np.arange(12) % 3  # of 4 classes, one without an image
HOW: dict[str, Any] = {"suite": ("clean", "c"), "names": ("contrast",), "severities": (2, 5)}


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model("small", num_classes=4)


class Pairs(torch.utils.data.Dataset):
    """PIL images with labels."""

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(IMAGES[index]), int(LABELS[index])


class Stream(torch.utils.data.IterableDataset):
    """The same without indices, as ToTensor makes them."""

    def __iter__(self):
        for image, label in zip(IMAGES, LABELS, strict=True):
            yield torch.from_numpy(image).permute(2, 0, 1).float() / 255, int(label)


def numbers(results: Results) -> list[Any]:
    return [(cell.num_errors, cell.nll_sum) for cell in results.cells]


def test_all_forms_give_the_same_numbers(model: torch.nn.Module) -> None:
    tensors = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    labels = torch.from_numpy(LABELS)
    forms = [
        (IMAGES, LABELS),
        (tensors, labels),
        (tensors / 255, LABELS.tolist()),
        Pairs(),
        TensorDataset(tensors.float() / 255, labels),
        DataLoader(Pairs(), batch_size=5, shuffle=True),
        DataLoader(Stream(), batch_size=5),
    ]
    found = [numbers(evaluate(model, form, **HOW)) for form in forms]
    assert len(found[0]) == 3
    assert all(each == found[0] for each in found)
    assert model.training  # as it was


def test_a_path_is_prepared_as_the_model_says(tmp_path: Path) -> None:
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        folder = tmp_path / "photos" / "test" / ("bee", "ant", "cat")[label]
        folder.mkdir(parents=True, exist_ok=True)
        large = Image.fromarray(image).resize((40, 30 + index), Image.Resampling.BILINEAR)
        large.save(folder / f"{index}.png")
    names = ("ant", "bee", "cat", "dog")
    torch.manual_seed(1)
    network = build_model("small", num_classes=4, class_names=names)
    prepared = Preprocessing(resize=20, crop=16)
    opened = OpenedModel(
        network, name="x", num_classes=4, class_names=names, preprocessing=prepared
    )
    results = evaluate(opened, tmp_path / "photos", suite=("clean",))
    assert results.source["class_names"] == list(names)
    source = open_source("folder", root=tmp_path / "photos", split="test", size=16, resize=20)
    assert source.class_names == ("ant", "bee", "cat")
    expected = network.eval()(
        torch.from_numpy(source.load(np.arange(12))).permute(0, 3, 1, 2) / 255
    )
    wrong = expected.argmax(1).numpy() != source.labels
    assert results.cells[0].num_errors == wrong.sum()
    save_model(tmp_path, network)
    with pytest.raises(RunError, match="images have 7 sizes|one size|--size|size="):
        evaluate(open_model(tmp_path), str(tmp_path / "photos"), suite=("clean",))


def test_other_data_is_refused(model: torch.nn.Module) -> None:
    normalised = torch.randn(12, 3, 16, 16)
    with pytest.raises(RunError, match="leave out transforms that normalise"):
        evaluate(model, (normalised, LABELS), suite=("clean",))
    with pytest.raises(ValueError, match="a label for each image, got 12 images and 11 labels"):
        evaluate(model, (IMAGES, LABELS[1:]), suite=("clean",))
    with pytest.raises(TypeError, match="data must be a Source"):
        evaluate(model, 3, suite=("clean",))

"""The images kept are those most often wrong or flipped, counted by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toy_runs import write_npz

from augmix.data.sources import open_source
from augmix.evaluation.loop import evaluate
from augmix.evaluation.store import HARDEST_FILE
from augmix.results import load_images, load_predictions, load_sequence_predictions


class Guess(torch.nn.Module):
    """Classes by brightness, so that corruptions of it err."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        level = images.mean((1, 2, 3))
        centres = torch.tensor([0.3, 0.5, 0.7])
        return -((level[:, None] - centres) ** 2) * 50


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hardest")
    source = open_source("npz", root=write_npz(folder / "toy.npz"), split="test")
    evaluate(
        Guess(),
        source,
        suite=("clean", "c", "p"),
        names=("brightness", "contrast"),
        sequences=("brightness",),
        out=folder / "out",
    )
    return folder / "out"


def test_most_often_wrong_and_flipped(measured: Path):
    with np.load(measured / HARDEST_FILE) as file:
        kept = {name: file[name] for name in file.files}
    images = load_images(measured)
    wrong = {
        name: sum(
            load_predictions(measured, "c", name, s).prediction != images.labels
            for s in range(1, 6)
        )
        for name in ("brightness", "contrast")
    }
    flips = load_sequence_predictions(measured, "brightness").flips
    total = wrong["brightness"] + wrong["contrast"]
    assert total.max() > 0
    place = {int(number): row for row, number in enumerate(images.ids)}
    assert list(kept["ids"]) == sorted(set(kept["ids"].tolist()))
    for score, num in ((total, 12), (flips, 12), (wrong["brightness"], 4), (wrong["contrast"], 4)):
        order = [row for row in np.argsort(-score.astype(float), kind="stable") if score[row] > 0]
        assert {int(images.ids[row]) for row in order[:num]} <= set(kept["ids"].tolist())
    for number, label, errors in zip(kept["ids"], kept["labels"], kept["errors"], strict=True):
        assert label == images.labels[place[int(number)]]
        assert errors == total[place[int(number)]]
    assert kept["images"].dtype == np.uint8
    assert kept["images"].shape == (len(kept["ids"]), 16, 16, 3)


def test_the_examples_know_their_numbers(measured: Path):
    with np.load(measured / "examples.npz") as file, np.load(measured / HARDEST_FILE) as hard:
        assert len(file["ids"]) == len(file["clean"])
        shared = set(file["ids"].tolist()) & set(hard["ids"].tolist())
        for number in shared:
            one = file["clean"][file["ids"].tolist().index(number)]
            assert np.array_equal(one, hard["images"][hard["ids"].tolist().index(number)])

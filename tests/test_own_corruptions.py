"""A corruption of the user's own is evaluated, reported, written and drawn like a published one."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import augmix
from augmix import pictures
from augmix.corruptions.registry import CORRUPTIONS, SEQUENCES
from augmix.data.benchmarks import open_corrupted
from augmix.data.sources import Source, open_source
from augmix.errors import ResumeError, RunError
from augmix.report.comparison import compare
from augmix.report.estimates import Key, Scope, summarise
from augmix.write import CorruptOptions
from augmix.write.sets import write_corrupted

CODE = """
def black(image, severity, *, generator):
    return image * 0

def white(image, severity, *, generator):
    return image * 0 + 255

def blink(scene, *, num_frames, generator):
    for frame in range(num_frames):
        yield scene.crop() * 0 + 255 * (frame % 2)
"""


class IsBright(torch.nn.Module):
    """Class 1 for an image whose mean is above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.mean(dim=(1, 2, 3)) * self.scale
        return torch.stack([torch.full_like(mean, 0.5), mean], dim=1)


@pytest.fixture
def own(tmp_path: Path):
    """``python:FILE:`` of two corruptions and a sequence, forgotten afterwards."""
    (tmp_path / "o_own.py").write_text(CODE)
    yield f"python:{tmp_path / 'o_own.py'}:"
    for name in ("black", "white"):
        CORRUPTIONS.pop(name, None)
    SEQUENCES.pop("blink", None)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Eight images, six of them dark (class 0), two bright (class 1)."""
    images = np.full((8, 16, 16, 3), 40, np.uint8)
    images[6:] = 220
    path = tmp_path / "clean.npz"
    np.savez(path, images=images, labels=np.repeat([0, 1], [6, 2]), class_names=["dark", "bright"])
    return open_source("npz", root=path, split="test")


def evaluate(source: Source, out: Path, *names: str, **settings):
    settings = {"severities": (1, 5), "bin_size": 4, **settings}
    return augmix.evaluate(IsBright(), source, names=names, out=out, **settings)


def test_it_is_measured_and_reported_outside_the_means(source, own, tmp_path):
    run = tmp_path / "run"
    evaluate(source, run, "contrast", f"{own}white")
    results = evaluate(source, run, f"{own}black")  # added to the same folder
    assert results.protocol["suite"] == ["clean", "c", "own"]
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    assert results.protocol["own"] == {"white": digest, "black": digest}
    errors = {(c.suite, c.name, c.severity): c.num_errors for c in results.cells}
    assert errors == {
        ("clean", "clean", 0): 0,
        **{("c", "contrast", level): 0 for level in (1, 5)},
        **{("own", "white", level): 6 for level in (1, 5)},
        **{("own", "black", level): 2 for level in (1, 5)},
    }
    assert summarise(results)["corruption_error"] == 0
    comparison = compare([run])
    numbers = comparison.groups[0].estimates[0]
    assert numbers[Key("error", Scope.CORRUPTED)].value == 0
    assert numbers[Key("error", "corruption", "white")].value == 0.75
    assert numbers[Key("error", "corruption", "black")].draws is not None
    page = tmp_path / "report.html"
    augmix.write_report([run], page, ["csv", "json"])
    assert "white (own, not in the mean)" in page.read_text()
    assert "white" in json.dumps(json.loads(page.with_suffix(".json").read_text()))


def test_alone_there_is_no_mean(source, own, tmp_path):
    results = evaluate(source, tmp_path / "run", f"{own}white", suite=("c",))
    assert [cell.suite for cell in results.cells] == ["own", "own"]
    assert summarise(results)["corruption_error"] is None
    augmix.write_report([tmp_path / "run"], tmp_path / "report.html")


def test_a_sequence_is_outside_the_mean_too(source, own, tmp_path):
    sequences = ("brightness", f"{own}blink")
    results = evaluate(source, tmp_path / "run", suite=("p",), sequences=sequences)
    assert list(results.protocol["own_sequences"]) == ["blink"]
    flips = {cell.name: cell.num_flips / cell.num_pairs for cell in results.sequences}
    assert flips["blink"] == 1
    assert summarise(results)["flip_probability"] == flips["brightness"] < 1
    numbers = compare([tmp_path / "run"]).groups[0].estimates[0]
    assert numbers[Key("flip", Scope.PERTURBED)].value == flips["brightness"]
    assert numbers[Key("flip", "perturbation", "blink")].value == 1


def test_changed_code_is_not_the_same_measurement(source, own, tmp_path):
    evaluate(source, tmp_path / "run", f"{own}white")
    Path(own.removeprefix("python:")[:-1]).write_text(CODE + "\n# edited\n")
    with pytest.raises(ResumeError, match="own white = "):
        evaluate(source, tmp_path / "run", f"{own}white")


@pytest.mark.parametrize("num_processes", [1, 2])
def test_it_is_written(source, own, tmp_path, num_processes):
    out = tmp_path / "out"
    names = ("contrast", f"{own}white")
    write_corrupted(source, out, CorruptOptions(names=names, num_processes=num_processes))
    assert (open_corrupted(out, "white", 3).load(np.arange(8)) == 255).all()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["names"] == ["contrast", "white"]
    assert list(manifest["own"]) == ["white"]
    Path(own.removeprefix("python:")[:-1]).write_text(CODE + "\n# edited\n")
    with pytest.raises(RunError, match=r"holds a set with own.white = .*, asked for"):
        write_corrupted(source, out, CorruptOptions(names=names, num_processes=1))


def test_it_is_drawn(source, own):
    image = source.load(np.array([0]))[0]
    sheet = pictures.render_gallery(image, names=(f"{own}white",))
    assert isinstance(sheet, Image.Image)
    assert (np.asarray(sheet)[-60] == 255).sum() > 5 * 100

"""What the README shows is run: its Python in order, its commands at toy size."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_runs import replace_flags

from augmix import cli
from augmix.paper.config import SCALES

README = (Path(__file__).parents[1] / "README.md").read_text()
TOY = {
    "train": ["--epochs", "1", "--max-train-images", "60"],
    "corrupt": ["--max-images", "2", "--names", "contrast", "--num-processes", "1"],
    "perturb": ["--max-images", "2", "--names", "translate", "--num-processes", "1"],
    "reproduce": ["--methods", "standard", "--num-processes", "1"],
    "evaluate": ["--max-images", "10", "--names", "contrast", "--severities", "3"],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    assert len(blocks("python")) >= 5
    for block in blocks("python"):
        exec(block, names)
    assert names["view"].size == (32, 32)
    batch = (names["clean"], names["first"], names["second"])
    assert [tuple(view.shape) for view in batch] == [(3, 32, 32)] * 3
    assert names["views"].shape == (2, 8, 3, 32, 32)
    assert np.isfinite(names["loss"].item())
    assert [cell.name for cell in names["results"].cells] == ["clean", "fog"]
    assert names["damaged"].shape == names["images"].shape


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    few = {name: replace(scale, measuring={"max_images": 4}) for name, scale in SCALES.items()}
    monkeypatch.setattr("augmix.paper.reproduce.SCALES", few)
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("augmix ")]
    assert [command[0] for command in commands] == [
        *["train", "evaluate", "report"],
        *["corrupt", "perturb", "preview", "reproduce"],
    ]
    for command in commands:
        assert cli.main(replace_flags(command, TOY.get(command[0], []))) == 0
    assert Path("runs/mine/report.html").exists()
    assert Path("preview.png").exists()


def test_files_named_exist():
    root = Path(__file__).parents[1]
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    for target in [*targets, *re.findall(r'src(?:set)?="([^"]+)"', README)]:
        if "://" not in target:
            assert (root / target).exists(), target


def test_make_targets_named_exist():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_chart_of_speed_shows_the_numbers_of_the_results():
    results = (Path(__file__).parents[1] / "docs" / "results.md").read_text()
    shown = re.search(r'alt="Views per second[^"]*"', README)
    assert shown
    for number in re.findall(
        r": augmix ([\d,]+)|and ([\d,]+) one|timm (\d+)|torchvision (\d+)", shown[0]
    ):
        assert re.search(rf" {next(filter(None, number))}(,| \|)", results), number


def test_it_begins_with_a_picture_and_how_to_install():
    lines = README.splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("pip install"))
    assert first < 20
    assert "<picture>" in lines[:first]

"""`augmix export`: what it writes, says, and refuses."""

import json
from pathlib import Path

import pytest
import torch

from augmix import cli
from augmix.models.weights import build_model, save_model
from augmix.results import Results, write_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path, build_model("small", num_classes=4))
    return tmp_path


def test_writes_beside_the_model_and_says_what_it_takes(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["export", str(folder), "--format", "safetensors"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"safetensors: {folder / 'model.safetensors'}, 1.1 MB" in text
    assert "input: images [batch, 3, 32, 32], float32 in [0, 1]; output: logits [batch, 4]" in text
    assert "read back and compared: logits differ by at most 0.0e+00" in text
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("trained", "measured", "words", "expected"),
    [
        (0, None, [], "32, 32"),
        (48, None, [], "48, 48"),
        (0, [40, 44], [], "40, 44"),
        (48, [40, 44], [], "48, 48"),
        (48, [40, 44], ["--size", "16"], "16, 16"),
    ],
    ids=["unknown", "trained", "measured", "both", "asked"],
)
def test_size_is_asked_or_trained_or_measured(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    trained: int,
    measured: list[int] | None,
    words: list[str],
    expected: str,
):
    (folder / "config.json").write_text(json.dumps({"schema": 1, "size": trained}))
    if measured:
        found = Results(model={}, source={"size": measured}, protocol={})
        write_results(folder / "results.json", found)
    out = folder / "there.safetensors"
    words = ["--format", "safetensors", "--out", str(out), *words]
    assert cli.main(["export", str(folder), *words]) == 0
    assert f"[batch, 3, {expected}]" in capsys.readouterr().out
    assert out.is_file()


@pytest.mark.parametrize(("facts", "expected"), [("bicubic", "bicubic"), (None, "bilinear")])
def test_description_has_the_filter_of_the_training(folder: Path, facts: str | None, expected: str):
    trained = {"schema": 1, "size": 96, "interpolation": facts}
    (folder / "config.json").write_text(json.dumps(trained))
    assert cli.main(["export", str(folder), "--format", "safetensors"]) == 0
    described = json.loads((folder / "model.safetensors.json").read_text())["preprocessing"]
    assert (described["interpolation"], described["crop"]) == (expected, 96)


def test_mistakes_are_one_message(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["export", str(folder / "nowhere"), "--format", "safetensors"]) == 2
    assert "nowhere/model.json does not exist" in capsys.readouterr().err
    assert cli.main(["export", str(folder), "--size", "-1"]) == 2
    assert "size must be at least 1" in capsys.readouterr().err

"""The commands at toy size: a decoder is fitted, a set is written, a mistake is one message."""

from pathlib import Path

import pytest
from toy_styles import ENCODER, write_images, write_styles

from augmix import cli
from augmix.data.sources import open_source

TOY = ["--device", "cpu", "--batch-size", "3"]


def test_fit_then_stylize(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    images, styles = write_images(tmp_path / "x.npz"), write_styles(tmp_path / "styles")
    decoder, out = tmp_path / "decoder.safetensors", tmp_path / "out"
    shared = [str(images), "--styles", str(styles), *TOY]
    fit = ["stylize", "fit", *shared, "--encoder", ENCODER, "--out", str(decoder)]
    assert cli.main([*fit, "--steps", "3", "--depth", "1"]) == 0
    printed = capsys.readouterr().out
    assert f"decoder: {decoder}" in printed
    assert "decoder: 3/3, loss" in printed
    paint = ["stylize", shared[0], str(out), *shared[1:], "--decoder", str(decoder)]
    assert cli.main(paint) == 0
    printed = capsys.readouterr().out
    assert f"set: {out}" in printed
    assert "written: 7/7, stylised" in printed
    assert len(open_source("npz", root=out, split="train")) == 7
    assert cli.main([*paint, "--alpha", "0.5"]) == 2
    assert "holds a set with alpha = 1.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits", "out"], "name a folder of style images with --styles"),
        (["fit", "digits"], "name an encoder with --encoder"),
        (["fit", "digits", "--out", "x.pth"], "out must be a file NAME.safetensors"),
    ],
    ids=["styles", "encoder", "out"],
)
def test_what_is_missing_is_named(words, message, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["stylize", *words]) == 2
    assert message in capsys.readouterr().err


def test_help_of_both(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["stylize", "--help"]) == 0
    assert "stylize fit" in capsys.readouterr().out
    assert cli.main(["stylize", "fit", "--help"]) == 0
    assert "--style-weight" in capsys.readouterr().out

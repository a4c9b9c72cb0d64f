"""The notebooks of `docs/tutorials`: their code runs, and what they say of the outputs holds."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from augmix.corruptions.registry import CORRUPTIONS

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 130_000  # bytes of a notebook with its outputs


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def run(name: str) -> dict:
    """Run the code of a notebook in the current folder; return its names."""
    names: dict = {"__name__": "__main__"}
    for number, cell in enumerate(cells(FOLDER / f"{name}.ipynb", "code")):
        exec(compile("".join(cell["source"]), f"{name}, cell {number}", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_kept_and_small(path):
    """A cell that ends with an expression, or prints, shows what it gave; none shows an error."""
    assert path.stat().st_size < LARGEST
    for cell in cells(path, "code"):
        text = "".join(cell["source"])
        if "print(" in text or isinstance(ast.parse(text).body[-1], ast.Expr):
            assert cell["outputs"], text
        assert cell["execution_count"] is None
        for output in cell["outputs"]:
            assert output["output_type"] in ("stream", "display_data")
            assert output.get("name") != "stderr", output


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    text = "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert links
    for link in links:
        assert (FOLDER / link).exists(), link


def test_see_augmix():
    names = run("see-augmix")
    assert np.array_equal(names["fast"], names["readable"])


@pytest.mark.slow
def test_corrupt_your_images():
    names = run("corrupt-your-images")
    assert np.array_equal(names["alone"], names["together"][2])
    assert not np.array_equal(names["together"][0], names["together"][2])
    assert Path("photos-c/fog/3/flower").is_dir()


@pytest.mark.slow
def test_fine_tune():
    """AugMix is wrong less often, and the images show it."""
    names = run("fine-tune")
    assert names["low"] > 0
    assert names["page"].exists()


@pytest.mark.slow
def test_read_a_report():
    names = run("read-a-report")
    assert len(names["names"]) == 15
    assert len(names["lead"]) > 0


@pytest.mark.slow
def test_your_own_corruption():
    try:
        names = run("your-own-corruption")
    finally:
        CORRUPTIONS.pop("dirty_lens", None)
    assert "dirty lens" in names["page"].read_text()

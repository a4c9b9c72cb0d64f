"""docs/corruptions.md is up to date, and its example of an own corruption runs."""

import subprocess
import sys
from pathlib import Path

import numpy as np

import augmix
from augmix.corruptions.registry import CORRUPTIONS

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_the_corruptions_is_up_to_date():
    code = "import gallery_page; print(gallery_page.page_text(), end='')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=DOCS
    )
    assert done.stdout == (DOCS / "corruptions.md").read_text(), "run make docs"


def test_the_example_of_an_own_corruption_runs(tmp_path: Path):
    page = (DOCS / "corruptions.md").read_text()
    code = page.split("# scratches.py\n")[1].split("```")[0]
    (tmp_path / "scratches.py").write_text(code)
    images = np.zeros((2, 64, 64, 3), np.uint8)
    try:
        name = f"python:{tmp_path / 'scratches.py'}:scratches"
        result = augmix.corrupt(images, name, severity=1)
    finally:
        CORRUPTIONS.pop("scratches", None)
    assert [(image == 255).all(axis=(1, 2)).sum() in (1, 2) for image in result] == [True, True]

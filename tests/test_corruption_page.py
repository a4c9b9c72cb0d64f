"""The page of the corruptions says what the program's own tables say."""

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_the_corruptions_is_up_to_date():
    code = "import gallery_page; print(gallery_page.page_text(), end='')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=DOCS
    )
    assert done.stdout == (DOCS / "corruptions.md").read_text(), "run make docs"

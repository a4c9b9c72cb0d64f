"""The part of the package that `pyproject.toml` cannot say: a README whose links are absolute.

A package index shows the README without the files beside it.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]


def index_readme() -> str:
    """Return the README with links to pages and pictures of the repository."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r'(!\[[^\]]*\]\(|\bsrc(?:set)?=")(?![a-z]+:|#)', rf"\1{SOURCE}/raw/main/", text)
    return re.sub(r"(?<!!)(\[[^\]]*\]\()(?![a-z]+:|#)", rf"\1{SOURCE}/blob/main/", text)


setup(long_description=index_readme(), long_description_content_type="text/markdown")

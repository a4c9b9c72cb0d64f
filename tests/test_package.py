"""Wheel and sdist: what is in them, and what a package index shows."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from lower_bounds import lower_bounds

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCE = PROJECT["urls"]["Source"]
FILES = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"]
BUILD = (
    "from setuptools import build_meta as b; print(b.build_sdist('dist'), b.build_wheel('dist'))"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both files, built from a copy of the repository."""
    tree = tmp_path_factory.mktemp("tree")
    for name in [*FILES, "CITATION.cff"]:
        shutil.copy(ROOT / name, tree)
    for name in ("src", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.nb[ic]")
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    (tree / "dist").mkdir()
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", BUILD]
    done = subprocess.run(command, cwd=tree, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return tree / "dist"


def sources() -> set[str]:
    """The files of the package in the repository."""
    folder = ROOT / "src" / "augmix"
    kept = [
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    return {path.relative_to(folder.parent).as_posix() for path in kept}


def test_wheel_holds_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if not name.startswith("augmix-")} == sources()
    assert {"augmix/py.typed", "augmix/report/templates/page.html"} <= names
    information = {name.partition("/")[2] for name in names if name.startswith("augmix-")}
    needed = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert information == needed | {"top_level.txt"}


def test_sdist_holds_what_builds_the_package(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = {name.partition("/")[0] for name in names if "/" in name}
    assert folders == {"src"}
    assert {f"src/{name}" for name in sources()} <= names
    assert {*FILES, "CITATION.cff", "PKG-INFO"} <= names


def metadata(built: Path) -> Message:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        return message_from_string(archive.read(name).decode())


def test_links_of_the_index_page_are_absolute(built):
    page = str(metadata(built).get_payload())
    links = re.findall(r'\]\(([^)\s]+)\)|\bsrc(?:set)?="([^"]+)"', page)
    found = [first or second for first, second in links]
    assert len(found) > 10
    for link in found:
        assert re.match(r"https://|#", link), link
    assert f"{SOURCE}/blob/main/docs/" in page
    assert f"{SOURCE}/raw/main/docs/" in page


def test_metadata(built):
    found = metadata(built)
    assert found["Description-Content-Type"] == "text/markdown"
    assert found["License-Expression"] == "Apache-2.0"
    urls = dict(entry.split(", ") for entry in found.get_all("Project-URL") or [])
    assert urls == PROJECT["urls"]
    assert set(found.get_all("Provides-Extra") or []) == set(PROJECT["optional-dependencies"])
    if importlib.util.find_spec("twine"):
        command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_extras_are_those_of_the_page():
    page = (ROOT / "docs" / "install.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    assert set(rows) == set(extras)
    for extra, packages in rows.items():
        names = {re.split(r"[>=\[;]", line)[0] for line in extras[extra]} - {"ruff"}
        if extra != "dev":
            assert set(packages.split(", ")) == names


def test_one_address_and_one_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"repository-code: {SOURCE}\n" in citation
    assert f"version: {PROJECT['version']}\n" in citation
    import augmix

    assert augmix.__version__ == PROJECT["version"]


def test_every_dependency_has_a_lower_bound():
    extras = PROJECT["optional-dependencies"].values()
    for line in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]:
        assert ">=" in line or line.startswith("augmix["), line
    bounds = lower_bounds()
    assert bounds["torch"] == "2.7"
    assert bounds["pyarrow"] == "16.1"
    assert bounds["timm"] == "1.0.17"  # of an extra that `dev` names


def test_workflows_call_targets_that_exist():
    makefile = (ROOT / "Makefile").read_text()
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for target in re.findall(r"run: make ([\w-]+)", path.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target

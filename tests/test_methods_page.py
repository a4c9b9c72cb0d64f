"""The pages of the methods: one each, as the program writes them, with pictures and real flags."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from augmix.flags import parse_training
from augmix.methods import METHODS, build_method
from augmix.training.settings import general_settings, method_settings

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "methods"


@pytest.fixture(scope="module")
def pages() -> Iterator[ModuleType]:
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("methods_page")
    sys.path.remove(str(DOCS))


@pytest.mark.parametrize("name", METHODS)
def test_the_page_is_what_the_program_writes(pages: ModuleType, name: str):
    assert (FOLDER / f"{name}.md").read_text() == pages.page(name), "run make docs"


def test_the_index_is_what_the_program_writes(pages: ModuleType):
    index = pages.index_page()
    assert (FOLDER / "README.md").read_text() == index, "run make docs"
    assert all(f"({name}.md)" in index for name in METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_what_a_page_names_is_there(name: str):
    text = (FOLDER / f"{name}.md").read_text()
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 110
    method = name if name == "cutout" else f"{name}+cutout"
    settings = [method_settings(build_method(method)), general_settings()]
    flags = {flag.replace("_", "-") for known in settings for flag in known} | {"method"}
    assert set(re.findall(r"--([a-z][a-z0-9-]*)", text)) <= flags
    (picture,) = re.findall(r"!\[.*\]\((.*)\)", text)
    assert (FOLDER / picture).stat().st_size < 200_000
    for link in re.findall(r"\]\(([^)]*\.md)\)", text):
        assert (FOLDER / link).exists(), link


def test_examples_are_settings_that_go_together(pages: ModuleType):
    for name, text in pages.TEXTS.items():
        needed = ["--stylised", "styled"] if METHODS[name].needs_stylised else []
        words = text.example.split() or needed
        config, _ = parse_training(["--method", name, *words])
        assert str(config.method) == name


def test_published_rows_are_those_of_the_paper(pages: ModuleType):
    text = pages.page("mixup")
    assert "| Table 1: CIFAR-10-C, WideResNet, mean error | 26.9 | 22.3 | 11.2 |" in text
    assert "| Table 2: ImageNet-C, ResNet-50, mCE | 80.6 | 73.3 | 68.4 |" in pages.page("sin")
    assert "| Table 4: CIFAR-100-C, WideResNet, mean error | 53.3 | 40.8 | 35.9 |" in pages.page(
        "random-aa-jsd"
    )

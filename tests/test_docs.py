"""The documentation: pages are in the navigation, links lead somewhere, public names are there."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_runs import replace_flags

import augmix
from augmix import cli
from augmix.results import load_results

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SETTINGS = (ROOT / "mkdocs.yml").read_text()
FROM_ROOT = {"changelog.md", "contributing.md"}  # made of files of the root
RUN = ["index", "transforms", "calibration", "coming-from/torchvision", "coming-from/timm"]
RUN += ["coming-from/imagecorruptions", "coming-from/robustbench", "detection"]


def name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def slugs(text: str) -> set[str]:
    """The anchors of a page's titles, as MkDocs and GitHub make them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles]
    return {re.sub(r"[\s]+", "-", title) for title in plain}


def links(text: str) -> list[str]:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def test_navigation_names_every_page_once():
    named = re.findall(r"^ *- (?:[^:\n]+: )?([\w/-]+\.md)\b", SETTINGS, re.MULTILINE)
    named += [name(page) for page in (DOCS / "methods").glob("[!R]*.md")]  # by site_hooks.py
    notebooks = {name(path.with_suffix(".md")) for path in DOCS.rglob("*.ipynb")}
    assert sorted(named) == sorted({*map(name, PAGES), *FROM_ROOT, *notebooks})


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in links(page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in slugs(target.read_text()), link


def test_public_names_are_on_a_page_of_the_reference():
    text = "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: augmix\.(\w+)$", text, re.MULTILINE))
    assert shown == set(augmix.__all__)


def public_functions():
    for title in augmix.__all__:
        value = getattr(augmix, title)
        yield title, value
        parts = vars(value).items() if inspect.isclass(value) else inspect.getmembers(value)
        for inner, part in parts:
            own = getattr(part, "__module__", None) or ""
            if not inner.startswith("_") and inspect.isroutine(part) and own.startswith("augmix"):
                yield f"{title}.{inner}", part


def test_public_names_have_docstrings():
    assert [title for title, value in public_functions() if not inspect.getdoc(value)] == []


@pytest.mark.parametrize("page", RUN)
def test_python_of_pages_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    text = (DOCS / f"{page}.md").read_text()
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(block, names)


@pytest.mark.slow
def test_predictions_of_another_program(tmp_path, monkeypatch):
    """The walk of `evaluation.md` with a random forest, under one corruption."""
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "evaluation.md").read_text().split("## Predictions of other programs")[1]
    text = text.split("\n## ")[0]
    write, measure = re.findall(r"^augmix (.*)$", text, re.MULTILINE)[:2]
    assert cli.main(replace_flags(write.split(), ["--names", "contrast"])) == 0
    listed = re.search(r"^```text\n(id,label.*?)```", text, re.MULTILINE | re.DOTALL)
    assert listed
    assert Path("sets/list/list.csv").read_text().startswith(listed[1])
    script = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert script
    exec(script[1], {})
    assert cli.main(measure.split()) == 0
    clean = load_results(Path("runs/forest/results.json")).find("clean", "clean", 0)
    assert clean
    assert f"{100 * clean.error:.2f}" == "1.26"  # as on the page


@pytest.mark.slow
def test_five_minutes_at_toy_size(tmp_path, monkeypatch):
    """The commands of `quickstart.md`, the calibration page's and the record of `files.md`."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "quickstart.md").read_text() + (DOCS / "calibration.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    commands = [line.split()[1:] for line in "".join(blocks).splitlines()]
    toy = {
        "train": ["--epochs", "1", "--max-train-images", "60"],
        "evaluate": ["--max-images", "20", "--names", "contrast", "--severities", "3"],
    }
    assert [words[0] for words in commands].count("evaluate") == 4
    for words in commands[1:]:  # the demo has tests of its own
        if "--temperature-images" in words:
            words[words.index("--temperature-images") + 1] = "10"
        assert cli.main(replace_flags(words, toy.get(words[0], []))) == 0
    assert Path("runs/report.html").exists()
    record = re.search(r"^```python\n(.*?)^```", (DOCS / "files.md").read_text(), re.M | re.S)
    assert record
    exec(record[1].replace("runs/mine", "runs/augmix"), {"np": np, "torch": torch})

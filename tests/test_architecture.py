"""Imports between packages point down without circles, and figure and page show them."""

import ast
import functools
import importlib.util
import re
import xml.etree.ElementTree as ET
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "augmix"
PAGE = ROOT / "docs" / "architecture.md"
LAYERS = [  # of packages and top-level modules, the lowest first
    "errors rng jit files shards user_code arrays distributed devices results "
    "run_folder per_image bootstrap metrics published progress",
    "augment corruptions data models transforms",
    "methods",
    "training evaluation write stylize pictures previews",
    "report",
    "paper",
    "benchmarks commands console flags cli __main__ __init__",
]
LAYER = {package: index for index, names in enumerate(LAYERS) for package in names.split()}
WITHOUT_TORCH = {
    "report",
    "metrics",
    "results",
    "run_folder",
    "per_image",
    "bootstrap",
    "published",
    "corruptions",
}


@functools.cache
def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages() -> set[str]:
    """Return the names of the packages and top-level modules on disk."""
    return {path.relative_to(SOURCE).with_suffix("").parts[0] for path in SOURCE.rglob("*.py")}


def graph() -> dict[str, set[str]]:
    """Return each package or top-level module with those and the libraries it imports."""
    found: dict[str, set[str]] = {name: set() for name in packages()}
    for path in SOURCE.rglob("*.py"):
        package = path.relative_to(SOURCE).with_suffix("").parts[0]
        for name in imports(path):
            top, _, rest = name.partition(".")
            found[package].add(rest.partition(".")[0] if top == "augmix" else f"library {top}")
    return found


def violations(imported: dict[str, set[str]]) -> list[str]:
    """Return the imports that point up, and libraries where they do not belong."""
    return [
        f"{package} imports {name}"
        for package, names in imported.items()
        for name in names
        if LAYER.get(name, 0) > LAYER[package]
        or name == "library torchvision"
        or (name == "library torch" and package in WITHOUT_TORCH)
    ]


def test_imports_point_down():
    assert violations(graph()) == []


def test_packages_import_each_other_in_no_circle():
    below = {package: names & set(LAYER) - {package} for package, names in graph().items()}
    below.pop("__init__")
    assert list(TopologicalSorter(below).static_order())


def test_a_wrong_import_is_seen():
    assert violations({"metrics": {"training"}})
    assert violations({"report": {"library torch"}})
    assert not violations({"report": {"metrics", "library jinja2"}})


def test_every_package_has_a_layer():
    assert packages() == set(LAYER)


def test_the_figure_has_a_box_for_every_package_and_no_arrow_up():
    path = ROOT / "docs" / "architecture_figure.py"
    spec = importlib.util.spec_from_file_location("architecture_figure", path)
    assert spec is not None
    assert spec.loader is not None
    figure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figure)
    picture = figure.draw()
    assert picture == figure.draw()
    boxes = ET.fromstring(picture).findall(".//*[@data-name]")
    assert sorted(box.get("data-name", "") for box in boxes) == sorted(packages())
    top = {box.get("data-name"): float(box[0].get("y", "")) for box in boxes}
    for package, names in figure.local_imports().items():
        assert all(top[package] < top[name] for name in names if LAYER[name] > 0), package


def test_the_page_lists_every_package():
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(packages())


def test_the_page_names_functions_that_exist():
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", PAGE.read_text())
    assert len(named) > 20
    assert [f"{file}:{name}" for file, name in named if name not in definitions(file)] == []


def definitions(file: str) -> set[str]:
    """Return the functions and classes of a module, and its methods as ``Class.method``."""
    found = set()
    for node in ast.parse((SOURCE / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef)
            }
    return found

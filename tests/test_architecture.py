"""Imports between packages point down, and never in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "augmix"
FLOORS = [
    "errors rng jit files user_code arrays distributed devices results bootstrap metrics "
    "published progress",
    "augment corruptions data models transforms",
    "methods",
    "training evaluation write stylize pictures preview",
    "report",
    "paper",
    "benchmarks commands cli __main__ __init__",
]
FLOOR = {package: floor for floor, names in enumerate(FLOORS) for package in names.split()}
WITHOUT_TORCH = {"report", "metrics", "results", "bootstrap", "published", "corruptions"}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def graph() -> dict[str, set[str]]:
    """Each package or top-level module with those it imports, and the libraries it takes."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        package = path.relative_to(SOURCE).with_suffix("").parts[0]
        for name in imports(path):
            top, _, rest = name.partition(".")
            found.setdefault(package, set()).add(
                rest.partition(".")[0] if top == "augmix" else f"library {top}"
            )
    return found


def violations(packages: dict[str, set[str]]) -> list[str]:
    """Imports that point up, and libraries where they do not belong."""
    return [
        f"{package} imports {name}"
        for package, names in packages.items()
        for name in names
        if FLOOR.get(name, 0) > FLOOR[package]
        or name == "library torchvision"
        or (name == "library torch" and package in WITHOUT_TORCH)
    ]


def test_imports_point_down():
    assert violations(graph()) == []


def test_packages_import_each_other_in_no_circle():
    below = {package: names & set(FLOOR) - {package} for package, names in graph().items()}
    below.pop("__init__")
    assert list(TopologicalSorter(below).static_order())


def test_a_wrong_import_is_seen():
    assert violations({"metrics": {"training"}})
    assert violations({"report": {"library torch"}})
    assert not violations({"report": {"metrics", "library jinja2"}})

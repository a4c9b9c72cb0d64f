"""Every import of the package is held against the table of who may import whom.

Imports only point down: ground < wings < learning < engine < runs < door. Inside a wing the floor
is imported by the others, and they do not import each other.
"""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "augmix"
GROUND = [
    "streams",
    "images",
    "ranks",
    "records",
    "metrics",
    "published",
    "intervals",
    "jit",
    "locks",
    "allocation",
]
LEARNING = ["attacks", "objectives", "methods", "transforms"]
EXAM = [f"engine.{name}" for name in ("checkpoint", "spots", "official", "sets", "ledger")]
SCORING = [f"engine.{name}" for name in ("adversary", "inference", "scores", "stability", "rows")]
KERNELS = [
    *["augment.lookup", "augment.mixing", "augment.blends", "augment.tables", "augment.warps"],
    "augment.finishing",
]
RENDERED = ["plan", "pillow", "compiled", "batched"]
PLAN_PARTS = ["augment.ops", "augment.patches", "augment.pairing", "augment.plan_files"]
PLAN = ["augment.plan", *PLAN_PARTS]
WINGS = ["augment", "corrupt", "data", "models"]

# module (or package, for all its modules) -> what it may import of ours
TABLE: dict[str, list[str]] = {
    **{module: [] for module in GROUND},
    "locks": ["records"],
    "metrics": ["metrics"],
    "intervals": ["streams"],
    "outcomes": ["records"],
    "ranks": ["records"],
    "augment.plan": [*GROUND, *PLAN_PARTS],
    **{module: [*GROUND, *PLAN_PARTS] for module in PLAN_PARTS},
    "augment.policies": [*GROUND, *PLAN, "augment.policies"],
    "augment.pillow": [*GROUND, *PLAN],
    **{module: [*GROUND, *PLAN, *KERNELS] for module in KERNELS},
    "augment.compiled": [*GROUND, *PLAN, *KERNELS],
    "augment.device": [*GROUND, *PLAN, "augment.device"],
    "augment.batched": [*GROUND, *PLAN, "augment.device"],
    "augment.render": [*GROUND, *[f"augment.{name}" for name in RENDERED]],
    "corrupt": [*GROUND, "corrupt"],
    "data": [*GROUND, "data"],
    "models": [*GROUND, "models"],
    "attacks": [*GROUND, "augment.device"],
    "objectives": [*GROUND, "attacks", "augment.plan"],
    "methods": [*GROUND, "attacks", "objectives", "augment.policies", "models.layers"],
    "transforms": [*GROUND, "augment", "transforms"],
    "engine.checkpoint": [*GROUND, *WINGS, *LEARNING],
    "engine.recipe": ["augment.render"],
    "engine.devices": ["ranks", "records"],
    "engine.progress": ["data.batches"],
    "engine.spots": [*GROUND, "corrupt"],
    "engine.rows": ["ranks"],
    "engine.scores": ["metrics", "outcomes", "records", "engine.rows"],
    "engine.stability": ["outcomes", "records"],
    "engine.official": ["corrupt", "data", "records"],
    "engine.sets": ["corrupt", "data", "engine.official", "engine.spots"],
    "engine.inference": ["models", "records", "engine.spots"],
    "engine.adversary": [*GROUND, "attacks", "models", "engine.inference", "engine.spots"],
    "engine.ledger": [*GROUND, "outcomes", *EXAM],
    "engine.hardest": ["data", "outcomes", "records"],
    "engine.measure": [*GROUND, "corrupt", *EXAM, *SCORING, "engine.progress"],
    "engine.evaluate": [
        *[*GROUND, "attacks", "outcomes", *WINGS, *EXAM, *SCORING],
        *["engine.devices", "engine.hardest", "engine.measure", "engine.progress"],
    ],
    "engine.resident": [*GROUND, *WINGS, *LEARNING, "engine.recipe"],
    "engine.synced": [],
    "engine.averaging": [],
    "engine.stopping": [],
    "engine.mishaps": ["ranks", "records", "engine.recipe"],
    "engine.tally": ["ranks", "records", "objectives", "engine.devices"],
    "engine.learning": [
        *["ranks", "objectives", "methods", "models.layers", "engine.recipe"],
        *["engine.averaging", "engine.checkpoint", "engine.synced"],
    ],
    "engine.keeping": [
        *["ranks", "records", "engine.checkpoint", "engine.learning", "engine.tally"]
    ],
    "engine.train": [
        *[*GROUND, *WINGS, *LEARNING, "engine.recipe", "engine.resident", "engine.checkpoint"],
        *["engine.progress", "engine.keeping", "engine.learning", "engine.mishaps"],
        *["engine.stopping", "engine.tally"],
    ],
    "engine.forecast": [
        *["data", "methods", "models.layers", "engine.devices", "engine.learning"],
        *["engine.mishaps", "engine.progress", "engine.recipe", "engine.train"],
    ],
    "writers": [*GROUND, "corrupt", "data", "writers"],
    "stylize": [
        *[*GROUND, "data", "models", "writers", "stylize"],
        *["engine.recipe", "engine.checkpoint", "engine.devices", "engine.progress"],
    ],
    "report": ["records", "outcomes", "metrics", "intervals", "published", "report"],
    "preview": [*GROUND, "augment"],
    "sheets": ["records"],
    "gallery": [*GROUND, "corrupt", "sheets"],
    "experiments": [*GROUND, *WINGS, *LEARNING, "engine", "report", "preview", "experiments"],
    "bench": [*GROUND, "corrupt"],
    "rates": [*GROUND, "augment", "bench"],
    "pace": ["bench", "engine", "experiments"],
}
DOORS = {
    "",
    "cli",
    "console",
    "commands",
    "__main__",
}  # the face and the door may import everything
TORCH = {
    "ranks",
    "augment.batched",
    "augment.device",
    "models",
    "attacks",
    "objectives",
    "methods",
    "transforms",
    "engine",
    "experiments",
    "pace",
    "rates",
    "stylize",
}
NUMBA = {"jit", "augment.compiled", *KERNELS, "corrupt"}


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found.append((".".join(parts), path))
    return found


def imports(path: Path) -> list[str]:
    """Dotted names of everything a file imports, wherever in the file."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def lies_in(name: str, places: list[str] | set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def row_of(module: str) -> str:
    """The module's own row, or that of the nearest package around it."""
    while module not in TABLE and "." in module:
        module = module.rpartition(".")[0]
    return module


def violations(module: str, names: list[str]) -> list[str]:
    row = row_of(module)
    if row not in TABLE:
        return [f"{module or 'augmix'} has no row in the table"]
    wrong = []
    for name in names:
        top = name.split(".")[0]
        if top == "augmix" and not lies_in(name.removeprefix("augmix").lstrip("."), TABLE[row]):
            wrong.append(f"{module} may not import {name}")
        if top == "torch" and not lies_in(module, TORCH):
            wrong.append(f"{module} may not import torch")
        if top == "numba" and not lies_in(module, NUMBA):
            wrong.append(f"{module} may not import numba")
    return wrong


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: str(value))
def test_imports_point_down(module: str, path: Path):
    names = imports(path)
    assert not [name for name in names if name.split(".")[0] == "torchvision"]
    is_empty_wing = module in [*WINGS, "engine", "experiments", "writers", "stylize"] and not names
    if module.split(".")[0] not in DOORS and not is_empty_wing:
        assert violations(module, names) == []


def test_a_wrong_import_is_seen():
    assert violations("streams", ["augmix.images.to_float"])
    assert violations("augment.policies", ["augmix.augment.pillow.render"])
    assert violations("report", ["augmix.engine.train.train"])
    assert violations("data.sources", ["torch"])
    assert violations("metrics", ["numba"])
    assert violations("somewhere", [])
    assert violations("augment.policies.pairs", ["augmix.augment.compiled.render"])
    assert not violations("augment.policies", ["augmix.augment.plan.Plan", "numpy"])


def test_every_row_has_a_module():
    known = {module for module, _ in modules()}
    rows = set(TABLE) - known
    assert rows <= {*WINGS}, f"rows without a module: {sorted(rows)}"

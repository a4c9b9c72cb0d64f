"""Write the report of the headline script as Markdown for `docs/results.md`."""

from collections.abc import Iterable, Mapping
from typing import Any

Facts = Mapping[str, Any]


def to_markdown(facts: Facts) -> str:
    """Return all parts that were measured, in their order."""
    machine = facts["machine"]
    versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
    parts = [
        "## One GPU",
        f"`python benchmarks/gpu/headline.py`, {machine['date']}, {facts['seconds']:.0f} s in all: "
        f"{machine['device']}, {machine['processors']} processors, executor "
        f"{machine['executor']}; {versions}.",
    ]
    for name, write in {
        "equality": _equality,
        "throughput": _throughput,
        "step": _step,
        "training": _training,
        "corruptions": _corruptions,
        "c-bar": _corruptions,
        "perturbations": _perturbations,
    }.items():
        found = facts.get(name)
        if found is not None and "error" in found:
            parts.append(f"{name.capitalize()}: failed with {found['error']}")
        elif found is not None:
            parts += write(found)
    return "\n\n".join(parts) + "\n"


def _equality(found: Facts) -> list[str]:
    rows = [
        [
            *(row["operation"], row["size"], row["backend"]),
            *(f"{100 * row[name]:.4f} %" for name in ("equal", "within_1")),
            f"{row['largest']:.2f}",
        ]
        for row in found["rows"]
    ]
    head = ("operation", "size", "backend", "equal bits", "within 1 level", "largest distance")
    return ["### Views compared with the definition", _table(head, rows)]


def _throughput(found: Facts) -> list[str]:
    rows = [
        [
            *(row["size"], row["batch"], row["work"]),
            *(f"{row['milliseconds']:.2f}", f"{row['images_per_second']:,.0f}"),
            f"{2 * row['images_per_second']:,.0f}",
        ]
        for row in found["rows"]
    ]
    head = ("size", "batch", "work", "ms a batch", "images/s (two views each)", "views/s")
    return ["### Executor", _table(head, rows)]


def _step(found: Facts) -> list[str]:
    text = (
        f"{found['model']}, {found['method']}, batch {found['batch_size']}, bfloat16, "
        f"channels last, {'compiled' if found['is_compiled'] else 'eager'}; {found['executor']}. "
        f"A step that makes its views: {found['step_ms']:.2f} ms; on ready views: "
        f"{found['step_on_ready_views_ms']:.2f} ms; ratio {found['ratio']:.3f}."
    )
    rows = [
        [f"`{row['kernel']}`", row["calls"], f"{100 * row['fraction']:.1f} %"]
        for row in found["profile"]
    ]
    return ["### A training step", text, _table(("kernel", "calls", "fraction of the time"), rows)]


def _training(found: Facts) -> list[str]:
    return [
        "### The headline run",
        f"{found['model']}, {found['method']}, {found['epochs']} epochs in "
        f"{found['seconds']:.0f} s ({found['images_per_second']:,.0f} images/s with all their "
        f"views), seed {found['seed']}, batch {found['batch_size']}; "
        f"{100 * found['wait_fraction']:.2f} % of the time spent "
        f"waiting for plans or drawing them; loss of the last step {found['losses'][-1]:.3f}.",
    ]


def _corruptions(found: Facts) -> list[str]:
    rows = [
        ["clean error", _percent(found["clean_error"])],
        ["mean corruption error", _percent(found["mean_corruption_error"])],
        ["RMS calibration error, clean", _percent(found["clean_rms_calibration_error"])],
        ["RMS calibration error, corrupted", _percent(found["mean_rms_calibration_error"])],
    ]
    by_name = [[name, _percent(error)] for name, error in found["errors"].items()]
    return [_table(("measure", "%"), rows), _table(("corruption", "error %"), by_name)]


def _perturbations(found: Facts) -> list[str]:
    rows = [[name, _percent(fraction)] for name, fraction in found["flip_probabilities"].items()]
    mean = ["mean", _percent(found["mean_flip_probability"])]
    return [
        f"Perturbations of {found['images']} test images:",
        _table(("perturbation", "flip probability %"), [*rows, mean]),
    ]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [list(head), ["---"] * len(list(head)), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

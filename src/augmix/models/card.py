"""The model card of a run: a Markdown page about what the model is, how it was trained, and what
was measured; the first page of a model on the hub.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmix import records
from augmix.metrics import rms_from_bins
from augmix.records import Cell, Results

_FRONT = """---
library_name: augmix
pipeline_tag: image-classification
tags:
- robustness
- augmix
---
"""
# Where things were on the machine that trained; of no use and no business of anybody else.
PRIVATE = ("data", "out", "schema")


def write_card(run: Path, name: str) -> str:
    """The model card of a run folder as Markdown.

    Args:
        run: Folder with `model.json`; `config.json` and `results.json` are used where they are.
        name: What the card calls the model; ``owner/name`` stands in its example.

    Raises:
        RunError: If one of the files is damaged.
    """
    model = records.load_json(run / records.MODEL_FILE)
    parts = [_FRONT, f"# {_escape(name)}\n", _introduction(model, name)]
    if (run / records.CONFIG_FILE).is_file():
        parts.append(_training(records.load_json(run / records.CONFIG_FILE)))
    if (run / records.RESULTS_FILE).is_file():
        parts.append(_measurements(records.load_results(run / records.RESULTS_FILE)))
    else:
        parts.append("## Measurements\n\nNothing was measured.\n")
    return "\n".join(parts)


def _introduction(model: dict[str, Any], name: str) -> str:
    return (
        f"A `{_escape(model['name'])}` for {model['num_classes']} classes, trained with "
        f"[augmix](https://pypi.org/project/augmix/). It takes images in [0, 1], "
        f"{model['channels']} channel(s), and normalises them itself.\n\n"
        "```python\nimport augmix\n\n"
        f"model = augmix.load_model({name!r})  # logits = model(images)\n```\n"
    )


def _training(config: dict[str, Any]) -> str:
    rows = [(key, value) for key, value in config.items() if key not in PRIVATE]
    return "## Training\n\n" + _table(("setting", "value"), rows)


def _measurements(results: Results) -> str:
    source = results.source
    lines = [
        "## Measurements\n",
        f"On `{_escape(source.get('name', ''))}`, split `{_escape(source.get('split', ''))}`, "
        f"{source.get('num_images', 'unknown')} images; percent.\n",
    ]
    clean = results.find("clean", "clean", 0)
    corrupted = _complete(results)
    attacked = [cell for cell in results.cells if cell.suite == "attack"]
    groups = {
        "clean": [clean] if clean else [],
        "corrupted (mean)": [cell for row in corrupted.values() for cell in row],
        **{f"attacked ({cell.name})": [cell] for cell in attacked},
    }
    rows = [(title, _error(group), _calibration(group)) for title, group in groups.items() if group]
    lines.append(_table(("images", "error", "RMS calibration error"), rows))
    lines += _attack(results) if attacked else []
    if corrupted:
        lines.append(
            f"Corrupted: {len(corrupted)} corruptions at severities "
            f"{', '.join(map(str, _severities(results)))}, each cell counting equally.\n"
        )
        rows = [(name, _error(row), _calibration(row)) for name, row in corrupted.items()]
        lines.append(_table(("corruption", "error", "RMS calibration error"), rows))
    if results.sequences:
        flips = [(cell.name, cell.num_flips / cell.num_pairs) for cell in results.sequences]
        rows = [(name, _percent([share])) for name, share in flips]
        rows.append(("mean", _percent([share for _, share in flips])))
        lines.append(_table(("perturbation", "flip probability"), rows))
    return "\n".join(lines)


def _attack(results: Results) -> list[str]:
    """By what images were attacked."""
    settings = {
        title: results.protocol[f"attack_{title}"]
        for title in ("norm", "epsilon", "steps", "step_size", "restarts")
        if f"attack_{title}" in results.protocol
    }
    told = ", ".join(f"{title.replace('_', ' ')} {value}" for title, value in settings.items())
    return [
        f"Attacked: projected gradient descent ({_escape(told)}); an image counts as an error if "
        "the model is wrong about it or any attacked form of it.\n"
    ]


def _complete(results: Results) -> dict[str, list[Cell]]:
    """The cells of every corruption that was measured at all severities that were asked for."""
    found: dict[str, list[Cell]] = {}
    for name in dict.fromkeys(cell.name for cell in results.cells if cell.suite == "c"):
        row = [results.find("c", name, severity) for severity in _severities(results)]
        if all(row):
            found[name] = [cell for cell in row if cell is not None]
    return found


def _severities(results: Results) -> list[int]:
    measured = {cell.severity for cell in results.cells if cell.suite == "c"}
    return sorted({*results.protocol.get("severities", ()), *measured}) if measured else []


def _error(cells: Sequence[Cell]) -> str:
    return _percent([cell.num_errors / cell.num_images for cell in cells])


def _calibration(cells: Sequence[Cell]) -> str:
    bins = [cell.adaptive for cell in cells]
    return _percent([rms_from_bins(*_arrays(each)) for each in bins])


def _arrays(bins: records.Bins) -> tuple[Any, Any, Any]:
    return (
        np.array(bins.count, np.int64),
        np.array(bins.confidence_sum, np.float64),
        np.array(bins.correct_sum, np.int64),
    )


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * sum(shares) / len(shares):.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_escape(cell) for cell in line)} |\n" for line in lines)


def _escape(value: Any) -> str:
    """Text that stays text in a Markdown page."""
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(text.replace("`", "'").split())

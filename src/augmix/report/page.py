"""The report: run folders -> numbers and figures -> one self-contained HTML page.

The walk: `comparison` reads the runs and says what may be compared; every section below turns its
numbers into the plain values and SVG texts that `page.html` lays out. Percentages exist only
here: records hold fractions. The page needs no network, and jinja2 escapes every text on it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from augmix.metrics import ece_from_bins
from augmix.records import REPORT_FILE, Cell, RunError, provenance, write_bytes
from augmix.report import figures
from augmix.report.comparison import (
    Grid,
    Run,
    arrays,
    common_grid,
    differences,
    error_of,
    load_runs,
    mean_over,
    pooled,
    remarks,
    rms_of,
    settings,
    summarise,
)

__all__ = ["summarise", "write_report"]

_EXAMPLE_PIXELS = 700_000  # pixels of all example images together: keeps the page below 5 MB
_MAX_EXAMPLES = 5
_LARGEST_SIDE = 160
_MAX_POINTS = 300  # of a training curve; longer logs are averaged
_MIN_IN_BIN = 10  # predictions behind a point of a reliability diagram
_COLUMNS = (  # of the summary: key in `summarise`, whether it is a share, decimals
    ("clean_error", True, 1),
    ("rms_calibration_error_clean", True, 1),
    ("nll_clean", False, 3),
    ("brier_clean", False, 3),
    ("corruption_error", True, 1),
    ("rms_calibration_error", True, 1),
    ("nll", False, 3),
    ("brier", False, 3),
)


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write one HTML page that compares any number of runs.

    Args:
        runs: Run folders with a `results.json`; `config.json`, `log.jsonl` and `examples.npz` are
            shown where they exist.
        out: The page; a folder gets a `report.html`. Missing parent folders are made.

    Returns:
        The path of the page.

    Raises:
        RunError: If there is no run, one has no results or damaged files, or the page cannot be
            written.
    """
    loaded = load_runs(runs)
    out = Path(out)
    out = out / REPORT_FILE if out.is_dir() else out
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {out.parent}: {error.strerror}") from error
    write_bytes(out, render_page(loaded).encode())
    return out


def render_page(runs: Sequence[Run]) -> str:
    """The page's HTML."""
    grid = common_grid([run.results for run in runs])
    unlike = differences(runs)
    here = Path(__file__).parent / "templates"
    pages = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template("page.html").render(
        css=Markup((here / "page.css").read_text(encoding="utf-8")),
        js=Markup((here / "page.js").read_text(encoding="utf-8")),
        version=provenance()["versions"].get("augmix", "from its source tree"),
        keys=[Markup(figures.key(style)) for style in range(len(runs))],
        labels=[run.label for run in runs],
        about=_about(runs),
        notes=remarks(runs, grid),
        unlike=unlike,
        grid=grid,
        readable=_readable,
        summary=_summary(runs, grid, is_comparable=len(runs) > 1 and not unlike),
        corruptions=_corruptions(runs, grid),
        severity=_severity(runs, grid),
        calibration=_calibration(runs, grid),
        min_in_bin=_MIN_IN_BIN,
        training=_training(runs),
        examples=_examples(runs),
        setup=settings(runs),
    )


def _about(runs: Sequence[Run]) -> dict[str, Any]:
    """What was measured, for the head of the page."""
    sources = [run.results.source for run in runs]
    first = sources[0]
    facts = [f"{len(runs)} run{'s' if len(runs) > 1 else ''}"]
    if all(source.get("fingerprint") == first.get("fingerprint") for source in sources):
        facts.append(" ".join(str(first[key]) for key in ("name", "split") if key in first))
        facts.append(f"{max(cell.num_images for cell in runs[0].results.cells):,} images")
        size = first.get("size")
        if isinstance(size, (list, tuple)):
            facts.append(" × ".join(map(str, size)) + " pixels")
    return {"facts": facts}


def _summary(runs: Sequence[Run], grid: Grid, *, is_comparable: bool) -> dict[str, Any]:
    """The headline table; the best of a column is marked where comparing makes sense."""
    numbers = [summarise(run.results, grid) for run in runs]
    columns = []
    for key, is_share, decimals in _COLUMNS:
        values = [each[key] for each in numbers]
        columns.append([_entry(value, is_share=is_share, decimals=decimals) for value in values])
        if is_comparable:
            _mark_best(columns[-1])
    rows = [
        {
            "label": run.label,
            "method": str(run.results.model.get("method") or "–"),
            "model": str(run.results.model.get("name") or "–"),
            "entries": [column[index] for column in columns],
        }
        for index, run in enumerate(runs)
    ]
    return {"rows": rows, "lead": _lead(runs, numbers, is_comparable), "marked": is_comparable}


def _lead(runs: Sequence[Run], numbers: list[dict], is_comparable: bool) -> str:
    """The result in one sentence, or nothing where runs must not be compared."""
    measured = [
        (each["corruption_error"], each["clean_error"], run.label)
        for each, run in zip(numbers, runs, strict=True)
        if each["corruption_error"] is not None and each["clean_error"] is not None
    ]
    if not measured or (len(runs) > 1 and not is_comparable):
        return ""
    best, clean, label = min(measured)
    among = f"Of {len(measured)} runs, " if len(measured) > 2 else ""
    least = " least:" if among else ""
    lead = f"{among}{label} errs{least} on {100 * best:.1f} % of corrupted images"
    lead += f" and {100 * clean:.1f} % of clean ones"
    worst, clean, label = max(measured)
    if worst > best:
        most = " most:" if among else ""
        lead += f"; {label}{most} on {100 * worst:.1f} % and {100 * clean:.1f} %"
    return lead + "."


def _corruptions(runs: Sequence[Run], grid: Grid) -> dict[str, Any]:
    """Bars of the error per corruption, and each run's table of corruption x severity."""
    values = np.full((len(runs), len(grid.names)), np.nan)
    for row, run in enumerate(runs):
        for column, name in enumerate(grid.names):
            cells = Grid(names=(name,), severities=grid.severities).cells(run.results)
            values[row, column] = _percent(mean_over(cells, error_of))
    categories = [_readable(name) for name in grid.names]
    charts = {
        form: Markup(figures.bar_chart(f"bars-{form}", categories, values, narrow=form == "narrow"))
        for form in ("wide", "narrow")
        if categories
    }
    everything = [error_of(cell) for run in runs for cell in run.results.cells]
    top = max(max(everything), 1e-9)
    return {"charts": charts, "tables": [_cell_table(run, top) for run in runs]}


def _cell_table(run: Run, top: float) -> dict[str, Any]:
    """All measured corruption cells of a run; ``heat`` is the share of the page's largest error."""
    cells = [cell for cell in run.results.cells if cell.suite == "c"]
    severities = sorted({cell.severity for cell in cells})
    rows = []
    for name in dict.fromkeys(cell.name for cell in cells):
        found = [run.results.find("c", name, severity) for severity in severities]
        errors = [error_of(cell) if cell else None for cell in found]
        known = [error for error in errors if error is not None]
        mean = float(np.mean(known)) if len(known) == len(errors) else None
        entries = [_entry(error, is_share=True, decimals=1) for error in [*errors, mean]]
        for entry in entries:
            entry["heat"] = round(100 * (entry["value"] or 0) / top)
        rows.append({"name": _readable(name), "entries": entries})
    return {"label": run.label, "severities": severities, "rows": rows}


def _severity(runs: Sequence[Run], grid: Grid) -> list[dict[str, Any]]:
    """Error and calibration error against severity; the clean images are severity 0."""
    return [
        _severity_figure(runs, grid, name="error", title="Error", value=error_of),
        _severity_figure(runs, grid, name="rms", title="RMS calibration error", value=rms_of),
    ]


def _severity_figure(
    runs: Sequence[Run], grid: Grid, *, name: str, title: str, value: Callable[[Cell], float]
) -> dict[str, Any]:
    levels = [0, *grid.severities]
    rows, curves = [], []
    for style, run in enumerate(runs):
        clean = run.results.find("clean", "clean", 0)
        means = [mean_over([clean] if clean else [], value)]
        for level in grid.severities:
            cells = Grid(names=grid.names, severities=(level,)).cells(run.results)
            means.append(mean_over(cells, value))
        rows.append([_entry(mean, is_share=True, decimals=1) for mean in means])
        curves.append(figures.Curve(style=style, x=levels, y=[_percent(mean) for mean in means]))
    chart = figures.line_chart(f"severity-{name}", curves, x_label="severity", x_ticks=levels)
    return {"name": name, "title": title, "chart": Markup(chart), "levels": levels, "rows": rows}


def _calibration(runs: Sequence[Run], grid: Grid) -> list[dict[str, Any]]:
    """Reliability diagrams of the clean images and of all corrupted images together."""
    result = []
    for name, title in (("clean", "Clean images"), ("corrupted", "Corrupted images, pooled")):
        curves, rows = [], []
        for style, run in enumerate(runs):
            clean = run.results.find("clean", "clean", 0)
            cells = grid.cells(run.results) if name == "corrupted" else [clean] if clean else []
            curve, row = _reliability(style, cells)
            rows.append(row)
            curves += [curve] if curve else []
        if curves:
            chart = Markup(figures.reliability_chart(f"reliability-{name}", curves))
            result.append({"name": name, "title": title, "chart": chart, "rows": rows})
    return result


def _reliability(style: int, cells: list[Cell]) -> tuple[figures.Curve | None, list[dict]]:
    """One run's curve, and its accuracy, mean confidence and ECE."""
    if not cells:
        return None, [_entry(None, is_share=True, decimals=1)] * 3
    count, confidence, correct = arrays(pooled(cells))
    numbers = (
        correct.sum() / count.sum(),
        confidence.sum() / count.sum(),
        ece_from_bins(count, confidence, correct),
    )
    used = count >= _MIN_IN_BIN
    curve = figures.Curve(
        style=style,
        x=(100 * confidence[used] / count[used]).tolist(),
        y=(100 * correct[used] / count[used]).tolist(),
        size=(count[used] / count.sum()).tolist(),
    )
    return curve, [_entry(float(number), is_share=True, decimals=1) for number in numbers]


def _training(runs: Sequence[Run]) -> dict[str, Any]:
    """Loss, training error and learning rate against the epoch, of the runs that kept a log."""
    logged = [(style, run) for style, run in enumerate(runs) if run.log]
    charts = []
    for key, title, is_log, scale in (
        ("loss", "Loss, logarithmic", True, 1.0),
        ("train_error", "Training error, %", False, 100.0),
        ("learning_rate", "Learning rate", False, 1.0),
    ):
        curves = [_training_curve(style, run, key, scale) for style, run in logged]
        curves = [curve for curve in curves if not np.isnan(curve.y).all()]
        if curves:
            chart = figures.line_chart(
                f"training-{key.replace('_', '-')}",
                curves,
                x_label="epoch",
                width_px=310,
                is_log=is_log,
                has_markers=False,
            )
            charts.append({"name": key, "title": title, "chart": Markup(chart)})
    return {
        "charts": charts,
        "missing": [run.label for run in runs if not run.log],
        "is_averaged": any(len(run.log) > _MAX_POINTS for run in runs),
        "max_points": _MAX_POINTS,
    }


def _training_curve(style: int, run: Run, key: str, scale: float) -> figures.Curve:
    """A column of the log against the epoch, averaged down to a readable number of points."""
    pairs = [(record.get("epoch", record["step"]), record.get(key)) for record in run.log]
    values = np.array([(x, np.nan if y is None else scale * y) for x, y in pairs], np.float64)
    chunks = np.array_split(values, min(len(values), _MAX_POINTS))
    means = np.array([chunk.mean(axis=0) for chunk in chunks])
    return figures.Curve(style=style, x=means[:, 0].tolist(), y=means[:, 1].tolist())


def _examples(runs: Sequence[Run]) -> dict[str, Any]:
    """Example images of the first run that kept some: each clean, and damaged at every severity."""
    owner = next((run for run in runs if "clean" in run.examples), None)
    if owner is None:
        return {"label": "", "images": [], "others": []}
    pictures = owner.examples
    clean = pictures["clean"][:_MAX_EXAMPLES]
    names = [name for name in pictures if name not in ("clean", "labels")]
    planned = owner.results.protocol.get("severities", [])
    levels = max((len(pictures[name]) for name in names), default=0)
    num, side = _example_budget(len(clean), 1 + len(names) * levels, max(clean.shape[1:3]))
    return {
        "label": owner.label,
        "names": [_readable(name) for name in names],
        "severities": planned if len(planned) == levels else list(range(1, levels + 1)),
        "side": side,
        "reduced_from": max(clean.shape[1:3]) if max(clean.shape[1:3]) > side else 0,
        "images": [
            {
                "title": _example_title(owner, index),
                "clean": figures.data_uri(clean[index], side=side),
                "rows": [
                    [figures.data_uri(level[index], side=side) for level in pictures[name]]
                    for name in names
                ],
            }
            for index in range(num)
        ],
        "others": [
            run.label
            for run in runs
            if run is not owner
            and not np.array_equal(run.examples.get("clean", pictures["clean"]), pictures["clean"])
        ],
    }


def _example_budget(available: int, tiles: int, side: int) -> tuple[int, int]:
    """How many images are shown and how large, so that noise still fits into the page."""
    side = min(side, _LARGEST_SIDE)
    num = max(1, min(available, _EXAMPLE_PIXELS // (tiles * side * side)))
    largest = int((_EXAMPLE_PIXELS / (num * tiles)) ** 0.5)
    return num, max(16, min(side, largest))


def _example_title(run: Run, index: int) -> str:
    labels = run.examples.get("labels")
    names = run.results.source.get("class_names") or []
    if labels is None or index >= len(labels):
        return f"image {index + 1}"
    label = int(labels[index])
    return str(names[label]) if 0 <= label < len(names) else f"class {label}"


def _entry(value: float | None, *, is_share: bool, decimals: int) -> dict[str, Any]:
    """A number of a table: what is sorted by, what is read, and whether it is the best."""
    if value is None:
        return {"value": None, "text": "–", "best": False}
    scaled = 100 * value if is_share else value
    return {"value": value, "text": f"{scaled:.{decimals}f}", "best": False}


def _mark_best(column: list[dict[str, Any]]) -> None:
    """Mark the smallest value, and all that read the same."""
    measured = [entry for entry in column if entry["value"] is not None]
    if len(measured) > 1:
        best = min(measured, key=lambda entry: entry["value"])["text"]
        for entry in measured:
            entry["best"] = entry["text"] == best


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value


def _readable(name: str) -> str:
    return name.replace("_", " ")

"""What commands print: lines, tables and progress bars on standard output."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augmix.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

    from augmix.evaluation.predict import Prediction
    from augmix.progress import ProgressDisplay
    from augmix.results import Results

_HEADINGS = {
    "size": "pixels",
    "views_per_second": "views/s",
    "ms_per_image": "ms an image",
    "times_pillow": "x pillow",
    "times_first": "x first",
    "planning_fraction": "planning",
    "error_fraction": "error",
}
_SUMMARY = {
    "clean_error": "clean error %",
    "corruption_error": "corruption error %",
    "bar_error": "C-bar error %",
    "rms_calibration_error": "RMS calibration error %",
    "flip_probability": "flip probability %",
    "robust_error": "robust error %",
    "fourier_error": "error at single frequencies %",
}
_ALWAYS = ("clean_error", "corruption_error", "rms_calibration_error")


def open_console() -> "Console":
    """Open standard output; where it is no terminal, lines are long enough for every table."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 120
    return Console(soft_wrap=True, width=width, markup=False, emoji=False, highlight=False)


def show_progress() -> "ProgressDisplay":
    """Show the progress of long work, as long as the returned context is open."""
    from augmix.progress import ProgressDisplay

    return ProgressDisplay(open_console())


def say(text: str) -> None:
    """Print a text, with what could act on a terminal as escapes."""
    open_console().print(printable(text))


def print_summaries(folders: Sequence[Path]) -> None:
    """Print a table of the runs' main numbers in percent, with other suites where any has them."""
    from rich.table import Table

    from augmix import report
    from augmix.results import RESULTS_FILE, load_results

    found = [load_results(folder / RESULTS_FILE) for folder in folders]
    numbers = [report.summarise(results) for results in found]
    columns = [
        name
        for name in _SUMMARY
        if name in _ALWAYS or any(each[name] is not None for each in numbers)
    ]
    table = Table("run", *(_SUMMARY[name] for name in columns))
    for folder, results, each in zip(folders, found, numbers, strict=True):
        values = [each[name] for name in columns]
        cells = ["-" if value is None else f"{100 * value:.2f}" for value in values]
        table.add_row(printable(str(results.model.get("label") or folder.name)), *cells)
    open_console().print(table)
    natural = [
        {"set": cell.name, "images": cell.num_images, "error_fraction": cell.error}
        for results in found
        for cell in results.cells
        if cell.suite == "natural" and cell.name != "imagenet-o"
    ]
    if natural:
        print_table(natural)
    for results in found:
        if outliers := _outlier_rows(results):
            print_table(outliers)
        if asked := _asked_measures(results):
            print_table(asked)


def _outlier_rows(results: "Results") -> list[dict[str, Any]]:
    """How well images of no class are distinguished from clean ones, by every score."""
    return [
        {
            "images of no class": cell.name,
            "images": cell.num_images,
            "score": score.replace("_", " "),
            "AUROC %": 100 * value,
            "FPR95 %": 100 * cell.fpr95[score],
        }
        for cell in results.outliers
        for score, value in cell.auroc.items()
    ]


def _asked_measures(results: "Results") -> list[dict[str, Any]]:
    """The measures of ``evaluate --metrics``, means over the clean and the corrupted cells."""
    from augmix.report import METRICS

    rows = []
    for name, metric in METRICS.items():
        row = {"measure": metric.title}
        for part, suite in (("clean", "clean"), ("corrupted", "c")):
            cells = [cell for cell in results.cells if cell.suite == suite]
            values = [cell.measures[name] for cell in cells if name in cell.measures]
            if values and len(values) == len(cells):
                mean = metric.scale * sum(values) / len(values)
                row[part] = f"{mean:.2f} {metric.unit}"
        if metric.is_asked and metric.tables and len(row) > 1:
            rows.append({"clean": "-", "corrupted": "-"} | row)
    return [{key: row[key] for key in ("measure", "clean", "corrupted")} for row in rows]


def print_predictions(predictions: Iterable["Prediction"]) -> None:
    """Print the most probable classes of images, a line each."""
    from rich.table import Table

    table = Table("image", "class", "confidence %")
    for each in predictions:
        pairs = zip(each.classes, each.confidences, strict=True)
        for rank, (name, number) in enumerate(pairs):
            path = "" if rank else printable(each.path)
            table.add_row(path, printable(name), f"{100 * number:.1f}")
    open_console().print(table)


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print records as a table; fractions in percent, large numbers without decimals."""
    from rich.table import Table

    table = Table(*(_HEADINGS.get(name, name.replace("_", " ")) for name in rows[0]))
    for row in rows:
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    open_console().print(table)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if not isinstance(value, float):
        return str(value)
    if name.endswith("_fraction"):
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"

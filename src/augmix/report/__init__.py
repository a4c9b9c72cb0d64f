"""The report: run folders -> numbers with intervals -> one self-contained HTML page.

Run folders are loaded (`load`), every number is estimated with its bootstrap draws (`estimates`),
and runs that differ only in their seed become rows (`comparison`). Sections turn a comparison into
tables and charts as data; `page` draws them, `exports` writes them for other programs. No torch,
and matplotlib only where a page is drawn.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

from augmix.errors import RunError
from augmix.files import check_replaceable, make_folder, write_bytes
from augmix.report.comparison import compare
from augmix.report.estimates import METRICS as METRICS
from augmix.report.estimates import CellArrays as CellArrays
from augmix.report.estimates import Metric as Metric
from augmix.report.estimates import register_metric as register_metric
from augmix.report.estimates import summarise as summarise
from augmix.report.exports import EXPORT_SIGNS, EXPORTS
from augmix.report.sections import decision_words as decision_words
from augmix.report.sections import register_section as register_section
from augmix.run_folder import REPORT_FILE

Export = Literal["csv", "json", "latex", "markdown"]


def write_report(
    runs: Sequence[str | PathLike[str]],
    out: Path,
    export: Sequence[Export] = (),
    *,
    title: str = "Robustness report",
) -> Path:
    """Write one HTML page that compares any number of runs.

    Args:
        runs: Run folders with a `results.json`; predictions of single images, `config.json`,
            `log.jsonl`, `examples.npz` and `hardest.npz` are shown where they exist.
        out: The page; a folder gets a `report.html`. Missing parent folders are made.
        export: Further files beside the page, of its name: ``csv`` (every number, one a line),
            ``json`` (the same, nested), ``latex`` (the tables), ``markdown`` (a model card).
        title: Heading of the page.

    Returns:
        The path of the page.

    Raises:
        RunError: If there is no run, one has no results or damaged files, or a file cannot be
            written, or is there and is no earlier report.
        ValueError: If an export is unknown.
    """
    unknown = [name for name in export if name not in EXPORTS]
    if unknown:
        raise ValueError(f"export must be of {', '.join(EXPORTS)}, got {unknown[0]!r}")
    out = Path(out)
    out = out / REPORT_FILE if out.is_dir() else out
    exports = {name: export_path(out, name) for name in dict.fromkeys(export)}
    check_replaceable(out, "report", b"Written by augmix")
    for name, path in exports.items():
        if path == out:
            raise RunError(
                f"the page and its {name} would both be {out}; name the page *.html with --out"
            )
        check_replaceable(path, f"report as {name}", *EXPORT_SIGNS[name])
    comparison = compare([Path(run) for run in runs])
    if export and not comparison.runs:
        raise RunError(
            "an export needs the results of a whole evaluation, got only ones to a margin of error"
        )
    make_folder(out.parent)
    from augmix.report.page import render_page  # loads matplotlib

    contents = {out: render_page(comparison, title)}
    contents |= {path: EXPORTS[name][1](comparison) for name, path in exports.items()}
    for path, text in contents.items():
        write_bytes(path, text.encode("utf-8", "backslashreplace"))
    return out


def export_path(page: Path, name: Export) -> Path:
    """Return the path of an export: beside the page, under its name."""
    return page.with_suffix(EXPORTS[name][0])

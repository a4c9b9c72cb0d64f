"""From run folders to files: the page, and the same numbers for other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from augmix.errors import RunError
from augmix.files import write_bytes
from augmix.report.comparison import compare
from augmix.report.exports import EXPORTS
from augmix.results import REPORT_FILE

Export = Literal["csv", "json", "latex", "markdown"]


def write_report(runs: Sequence[Path], out: Path, export: Sequence[Export] = ()) -> Path:
    """Write one HTML page that compares any number of runs.

    Args:
        runs: Run folders with a `results.json`; outcomes, `config.json`, `log.jsonl`,
            `examples.npz` and `hardest.npz` are shown where they exist.
        out: The page; a folder gets a `report.html`. Missing parent folders are made.
        export: Further files beside the page, of its name: ``csv`` (every number, one a line),
            ``json`` (the same, nested), ``latex`` (the tables), ``markdown`` (a model card).

    Returns:
        The path of the page.

    Raises:
        RunError: If there is no run, one has no results or damaged files, or a file cannot be
            written.
        ValueError: If an export is unknown.
    """
    unknown = [name for name in export if name not in EXPORTS]
    if unknown:
        raise ValueError(f"export must be of {', '.join(EXPORTS)}, got {unknown[0]!r}")
    comparison = compare(runs)
    out = Path(out)
    out = out / REPORT_FILE if out.is_dir() else out
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {out.parent}: {error.strerror}") from error
    from augmix.report.page import render_page  # here, since figures need matplotlib

    write_bytes(out, render_page(comparison).encode())
    for name in dict.fromkeys(export):
        write_bytes(export_path(out, name), EXPORTS[name][1](comparison).encode())
    return out


def export_path(page: Path, name: Export) -> Path:
    """Where an export of a page lies: beside it, under its name."""
    return page.with_suffix(EXPORTS[name][0])

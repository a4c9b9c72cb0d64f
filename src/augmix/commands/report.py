"""`augmix report`: one page about any number of runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from augmix.commands.terminal import parse


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """Which runs the page compares, and what is written."""

    runs: tuple[Path, ...]
    """Run folders that were evaluated; those that differ only in their seed become one row."""
    out: Path = Path("report.html")
    """The page to write."""
    export: tuple[Literal["csv", "json", "latex", "markdown"], ...] = ()
    """More files beside the page: every number, the tables, a model card."""


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(ReportConfig, "report", words)
    from augmix import report

    path = report.write_report(config.runs, config.out, config.export)
    print(f"report: {path}")
    for name in dict.fromkeys(config.export):
        print(f"{name}: {report.export_path(path, name)}")

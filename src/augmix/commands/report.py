"""`augmix report`: one page about any number of runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from augmix.commands.terminal import parse


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """Which runs the page compares."""

    runs: tuple[Path, ...]
    """Run folders that were evaluated."""
    out: Path = Path("report.html")
    """The page to write."""


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(ReportConfig, "report", words)
    from augmix import report

    path = report.write_report(config.runs, config.out)
    print(f"report: {path}")

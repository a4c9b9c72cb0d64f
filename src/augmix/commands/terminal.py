"""What the commands share at the terminal: flags from a dataclass, the console, tables."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

from augmix.cli import COMMANDS

Config = TypeVar("Config")

_HEADINGS = {
    "size": "pixels",
    "views_per_second": "views/s",
    "ms_per_image": "ms an image",
    "times_pillow": "x pillow",
    "times_first": "x first",
    "planning_fraction": "planning",
}

_SUMMARY = {
    "clean_error": "clean error %",
    "corruption_error": "corruption error %",
    "rms_calibration_error": "RMS calibration error %",
    "flip_probability": "flip probability %",
    "robust_error": "robust error %",
}
_ALWAYS = ("clean_error", "corruption_error", "rms_calibration_error")


def parse(
    config: Callable[..., Config],
    name: str,
    words: Sequence[str],
    *,
    default: Config | None = None,
    note: str = "",
) -> Config:
    """The command's configuration from its flags; tyro prints help and mistakes.

    Args:
        config: A dataclass.
        name: Of the command.
        words: The flags.
        default: What they are changes of; none takes the defaults of the dataclass.
        note: A line of the help below the command's own.
    """
    given: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(
        config,
        prog=f"augmix {name}",
        args=list(words),
        description=COMMANDS[name] + (f"\n{note}" if note else ""),
        **given,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
    )


def make_console() -> Console:
    """Standard output; where it is no terminal, lines are long enough for every table."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def print_summaries(console: Console, folders: Sequence[Path]) -> None:
    """A table of the runs' main numbers, in percent; those of other suites where any has them."""
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
        table.add_row(str(results.model.get("label") or folder.name), *cells)
    console.print(table)


def print_table(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Records as a table; fractions in per cent, large numbers without decimals."""
    table = Table(*(_HEADINGS.get(name, name.replace("_", " ")) for name in rows[0]))
    for row in rows:
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    console.print(table)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if not isinstance(value, float):
        return str(value)
    if name.endswith("_fraction"):
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"

"""Run folders: their files, the runs in a folder, and the records of configuration and log.

The log is appended to; every other file is written atomically, so a killed process leaves either
the old file or the new one.
"""

import re
from pathlib import Path
from typing import Required, TypedDict

from augmix.errors import RunError
from augmix.files import load_lines

CONFIG_FILE = "config.json"
LOG_FILE = "log.jsonl"
MODEL_FILE = "model.json"
REPORT_FILE = "report.html"
STATE_FILE = "state.pt"
WEIGHTS_FILE = "weights.safetensors"
CONFIG_SCHEMA = 2  # of config.json, which holds the flags of `augmix train` by name
MODEL_SCHEMA = 1  # of model.json
_MEMBER = re.compile(r"seed-\d+")  # run of an ensemble, see `RunConfig.seeds`
_SHOWN = 8  # runs in a message


class ConfigFacts(TypedDict, total=False):
    """The types of what `config.json` holds, as far as it is looked at."""

    size: int | None
    interpolation: str | None


class ModelFile(TypedDict):
    """The types of what `model.json` holds, as far as it is looked at."""

    name: str
    num_classes: int
    channels: int


class ValidationRecord(TypedDict):
    """What `log.jsonl` holds about the validation of an epoch; errors are fractions."""

    clean_error: float
    corrupted_error: float
    selected_epoch: int  # whose weights the run keeps so far, counted from 1
    seconds: float
    time_fraction: float  # of the training of the epoch


class LogRecord(TypedDict, total=False):
    """The types of what a line of `log.jsonl` holds."""

    step: Required[int]
    epoch: float
    loss: float
    terms: dict[str, float]
    learning_rate: float
    train_error: float
    images_per_second: float
    wait_fraction: float
    peak_memory_mib: float
    seconds: float
    flop: float  # of all passes since the start of the run, see `training.logging.Cost`
    validation: ValidationRecord  # only at the end of an epoch
    skipped: list[str]  # only of step 0
    left_out: dict[str, int]  # only of step 0


def list_runs(folder: Path) -> list[Path]:
    """Return the run folders inside a folder that is none itself, by name; empty for a run."""
    own = (CONFIG_FILE, MODEL_FILE)
    if not folder.is_dir() or any((folder / name).exists() for name in own):
        return []
    inside = [each for each in folder.iterdir() if any((each / name).exists() for name in own)]
    return sorted(inside, key=lambda each: (len(each.name), each.name))


def list_members(folder: Path) -> list[Path]:
    """Return the runs that `augmix train --seeds N` left in a folder; empty if it holds others.

    Raises:
        RunError: If the folder holds runs of another kind; the message lists them.
    """
    runs = list_runs(folder)
    if runs and not all(_MEMBER.fullmatch(run.name) for run in runs):
        shown = ", ".join(map(str, runs[:_SHOWN]))
        rest = f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else ""
        raise RunError(
            f"{folder} is no run, but holds {len(runs)}: {shown}{rest}; name one of them"
        )
    return runs


def load_log(folder: Path) -> list[LogRecord]:
    """Load `log.jsonl` of a run folder, empty if it has none; a damaged line is a `RunError`."""
    return load_lines(folder / LOG_FILE, LogRecord)


def load_steps(folder: Path) -> list[LogRecord]:
    """Load the lines of `load_log` that are about steps; a first one may be about the images."""
    return [record for record in load_log(folder) if record["step"]]

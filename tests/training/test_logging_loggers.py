"""CSV, wandb and mlflow get every line of the log; the last two are fakes of their surface."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_runs import toy_config

from augmix.errors import RunError
from augmix.progress import (
    CheckpointWritten,
    EpochValidated,
    Event,
    Note,
    OnProgress,
    StepFinished,
    StepsLogged,
)
from augmix.training.run import train
from augmix.training.settings import build_config, update_config

# What is called of wandb 0.22: init, Run.id, Run.log, Run.finish; everything goes into a file.
WANDB = """
import json, os
calls = os.environ["TRACKED"]

def note(*call):
    with open(calls, "a") as file:
        file.write(json.dumps(call) + "\\n")

class Run:
    def __init__(self, id):
        self.id = id or "made"
    def log(self, data, step=None, commit=None):
        if os.environ.get("FAILS_AT") == str(step):
            raise ConnectionError("the server is gone")
        note("log", data, step)
    def finish(self, exit_code=None, quiet=None):
        note("finish", exit_code)

def init(entity=None, project=None, dir=None, id=None, name=None, config=None, resume=None):
    if os.environ.get("FAILS_AT") == "init":
        raise RuntimeError("api_key not configured")
    note("init", project, name, id, resume, config["seed"])
    return Run(id)
"""

# The same of mlflow 3: set_experiment, start_run, log_params, log_metrics, end_run.
MLFLOW = """
import json, os
from types import SimpleNamespace
calls = os.environ["TRACKED"]

def note(*call):
    with open(calls, "a") as file:
        file.write(json.dumps(call) + "\\n")

def set_experiment(experiment_name=None, experiment_id=None):
    note("experiment", experiment_name)

def start_run(run_id=None, experiment_id=None, run_name=None, nested=False):
    note("start", run_id, run_name)
    return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "made"))

def log_params(params, synchronous=None, run_id=None):
    note("params", params["seed"], params["epochs"])

def log_metrics(metrics, step=None, synchronous=None, run_id=None):
    note("log", metrics, step)

def end_run(status="FINISHED"):
    note("end", status)
"""


class Crash(Exception):
    """Stands for anything that ends the process."""


def crash_at(step: int) -> OnProgress:
    def watch(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == step:
            raise Crash

    return watch


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """Puts both libraries on the path; returns what has been called so far."""
    (tmp_path / "site").mkdir()
    for name, text in (("wandb", WANDB), ("mlflow", MLFLOW)):
        (tmp_path / "site" / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("TRACKED", str(tmp_path / "calls"))
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    return lambda: [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_table_has_a_row_for_each_line(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", logger=("csv",), val_fraction=0.2)
    with pytest.raises(Crash):
        train(config, on_progress=crash_at(5))
    train(config)
    assert not (config.run.out / "tensorboard").exists()
    with (config.run.out / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    log = read_log(config.run.out)
    assert [int(row["step"]) for row in rows] == [line["step"] for line in log] == [2, 4, 6]
    for row, line in zip(rows, log, strict=True):
        assert float(row["loss"]) == line["loss"]
        assert float(row["terms/consistency"]) == line["terms"]["consistency"]
        found = line.get("validation", {}).get("clean_error")
        assert row["validation/clean_error"] == ("" if found is None else str(found))


def test_wandb_gets_the_log_and_goes_on_in_the_same_run(
    tmp_path: Path, calls: Callable[[], list[Any]]
) -> None:
    config = toy_config(tmp_path / "run", logger=("wandb", "csv"), name="mine", epochs=2)
    with pytest.raises(Crash):
        train(config, on_progress=crash_at(4))
    assert calls()[0] == ["init", "augmix", "mine", None, "allow", 0]
    assert calls()[-1] == ["finish", 1]
    num_calls = len(calls())
    train(config)
    assert calls()[num_calls] == ["init", "augmix", "mine", "made", "allow", 0]
    assert calls()[-1] == ["finish", 0]
    sent = {call[2]: call[1]["loss"] for call in calls() if call[0] == "log"}
    assert sent == {line["step"]: line["loss"] for line in read_log(config.run.out)}
    assert (config.run.out / "log.csv").exists()


def test_mlflow_gets_the_log_and_goes_on_in_the_same_run(
    tmp_path: Path, calls: Callable[[], list[Any]]
) -> None:
    config = toy_config(tmp_path / "run", logger=("mlflow",), epochs=2)
    with pytest.raises(Crash):
        train(config, on_progress=crash_at(4))
    start = [["experiment", "augmix"], ["start", None, "run"], ["params", 0, 2]]
    assert calls()[:3] == start
    assert calls()[-1] == ["end", "KILLED"]
    num_calls = len(calls())
    train(config)
    assert calls()[num_calls + 1] == ["start", "made", None]
    assert calls()[-1] == ["end", "FINISHED"]
    sent = {call[2]: call[1] for call in calls() if call[0] == "log"}
    assert list(sent) == [2, 3, 4, 6]
    assert sent[6]["terms/cross_entropy"] == read_log(config.run.out)[-1]["terms"]["cross_entropy"]


def test_a_run_that_is_tracked_later_sends_its_whole_log(
    tmp_path: Path, calls: Callable[[], list[Any]]
) -> None:
    config = toy_config(tmp_path / "run", logger=("none",), epochs=2)
    with pytest.raises(Crash):
        train(config, on_progress=crash_at(5))
    train(update_config(config, logger=("wandb",)))
    assert [call[2] for call in calls() if call[0] == "log"] == [2, 3, 4, 6]


def test_a_lost_server_does_not_end_the_training(
    tmp_path: Path, calls: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path / "run", logger=("wandb",), epochs=2)
    monkeypatch.setenv("FAILS_AT", "3")
    notes: list[str] = []
    train(config, callbacks=[lambda e: notes.append(e.text) if isinstance(e, Note) else None])
    (lost,) = [note for note in notes if "wandb" in note]
    assert "gets no more lines (the server is gone); the training continues" in lost
    assert [call[2] for call in calls() if call[0] == "log"] == [2]
    assert len(read_log(config.run.out)) == 4


def test_a_server_that_cannot_begin_is_said_before_the_first_step(
    tmp_path: Path, calls: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS_AT", "init")
    config = toy_config(tmp_path / "run", logger=("wandb",))
    with pytest.raises(RunError, match="--logger wandb cannot begin a run: api_key not config"):
        train(config)
    assert read_log(config.run.out) == []


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    config = toy_config(tmp_path / "run", logger=(name,))
    with pytest.raises(RunError, match=rf"--logger {name} needs {name}, which is not installed"):
        train(config)
    assert not config.run.out.exists()


def test_unknown_loggers_are_refused() -> None:
    with pytest.raises(ValueError, match="logger must be some of .*, or none alone"):
        build_config(data="digits", logger=("none", "csv"))


def test_callbacks_get_typed_events(tmp_path: Path) -> None:
    seen: list[type[Event]] = []
    errors: list[float] = []

    def watch(event: Event) -> None:
        seen.append(type(event))
        if isinstance(event, EpochValidated):
            errors.append(event.clean_error)

    config = toy_config(tmp_path / "run", logger=("none",), val_fraction=0.2, epochs=2)
    train(config, callbacks=[watch, lambda event: None])
    assert {StepFinished, StepsLogged, CheckpointWritten, EpochValidated} <= set(seen)
    log = [line["validation"] for line in read_log(config.run.out) if "validation" in line]
    assert errors == [each["clean_error"] for each in log]

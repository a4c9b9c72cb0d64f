"""`augmix reproduce` ends with code 1 where runs failed, behind the table of those that did not."""

import json
from pathlib import Path
from typing import Any

import pytest

from augmix import cli
from augmix.errors import RunError
from augmix.paper import runs
from augmix.paper.reproduce import ReproduceConfig, Reproduction, plan_tasks
from augmix.paper.runs import TaskResult
from augmix.training import run
from augmix.training.config import TrainConfig


def test_a_failed_run_is_listed_behind_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = run.train

    def train_all_but_one(config: TrainConfig, **options: Any) -> Path:
        if config.method == "mixup":
            raise RunError("no more mixups")
        return train(config, **options)

    flags = ["--scale", "smoke", "--data", "digits", "--num-processes", "1", "--out", str(tmp_path)]
    words = ["reproduce", "table1", *flags, "--families", "wrn", "--methods", "standard", "mixup"]
    monkeypatch.setattr(runs, "train", train_all_but_one)
    assert cli.main(words) == 1
    told = capsys.readouterr()
    assert "augmix: 1 of 2 runs failed; the same command tries them again:" in told.err
    assert "cifar10-wrn-mixup-seed0: RunError: no more mixups" in told.err
    made = json.loads((tmp_path / "smoke" / "table1.json").read_text())
    assert made["runs"] == {
        "cifar10-wrn-standard-seed0": "done",
        "cifar10-wrn-mixup-seed0": "failed",
    }
    assert "| Standard" in told.out
    monkeypatch.setattr(runs, "train", train)
    assert cli.main(words) == 0
    assert "failed" not in capsys.readouterr().err


def test_a_run_that_another_process_has_is_no_failure() -> None:
    config = ReproduceConfig(table="table1", scale="smoke", data="digits")
    task = next(iter(plan_tasks(config).values()))
    outcomes = [TaskResult(task=task, state=state) for state in ("done", "held", "open", "failed")]
    assert Reproduction(paths=[], runs=outcomes).unfinished == outcomes[2:]

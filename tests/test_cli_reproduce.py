"""`augmix reproduce` ends with code 1 where runs failed, after the table of those that did not."""

import json
from pathlib import Path
from typing import Any

import pytest

from augmix import cli
from augmix.errors import RunError
from augmix.evaluation.config import Measurement
from augmix.paper import runs
from augmix.paper.config import ReproduceConfig
from augmix.paper.reproduce import Reproduction, plan_tasks
from augmix.paper.runs import TaskResult
from augmix.published import ALEXNET_ERRORS
from augmix.results import RESULTS_FILE, Bins, Cell, Results, write_results
from augmix.training.config import TrainConfig


def measured(error: float) -> Results:
    """The 76 cells of a run with the same error everywhere."""
    bins = Bins(count=[10], confidence_sum=[5.0], correct_sum=[5])
    keys = [("clean", "clean", 0)]
    keys += [("c", name, severity) for name in ALEXNET_ERRORS for severity in range(1, 6)]
    sums: dict[str, Any] = {"num_images": 10, "nll_sum": 1.0, "brier_sum": 1.0, "seconds": 0.0}
    cells = tuple(
        Cell(
            suite=suite,
            name=name,
            severity=severity,
            num_errors=round(10 * error),
            adaptive=bins,
            equal_width=bins,
            **sums,
        )
        for suite, name, severity in keys
    )
    return Results(model={}, source={}, protocol={}, cells=cells)


def test_a_failed_run_is_listed_after_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training and measuring are replaced; `tests/paper/test_reproduce.py` runs the real ones."""

    def train_all(config: TrainConfig, **options: Any) -> Path:
        return config.run.out

    def train_all_but_one(config: TrainConfig, **options: Any) -> Path:
        if config.run.out.name == "cifar10-wrn-mixup-seed0":
            raise RunError("no more mixups")
        return config.run.out

    def measure(measurement: Measurement, **options: Any) -> Results:
        folder = Path(measurement.how.out or "")
        folder.mkdir(parents=True, exist_ok=True)
        write_results(folder / RESULTS_FILE, measured(0.3))
        return measured(0.3)

    flags = ["--scale", "smoke", "--data", "digits", "--num-processes", "1", "--out", str(tmp_path)]
    words = ["reproduce", "table1", *flags, "--families", "wrn", "--methods", "standard", "mixup"]
    monkeypatch.setattr(runs, "train", train_all_but_one)
    monkeypatch.setattr(runs, "run_measurement", measure)
    assert cli.main(words) == 1
    printed = capsys.readouterr()
    assert "augmix: 1 of 2 runs failed; the same command tries them again:" in printed.err
    assert "cifar10-wrn-mixup-seed0: RunError: no more mixups" in printed.err
    made = json.loads((tmp_path / "smoke" / "table1.json").read_text())
    assert made["runs"] == {
        "cifar10-wrn-standard-seed0": "done",
        "cifar10-wrn-mixup-seed0": "failed",
    }
    assert "| Standard | 30.0 (26.9) |" in printed.out
    monkeypatch.setattr(runs, "train", train_all)
    assert cli.main(words) == 0
    assert "failed" not in capsys.readouterr().err


def test_a_run_that_another_process_has_is_no_failure() -> None:
    config = ReproduceConfig(tables=("table1",), scale="smoke", data="digits")
    task = next(iter(plan_tasks(config, "table1").values()))
    outcomes = [TaskResult(task=task, state=state) for state in ("done", "held", "open", "failed")]
    assert Reproduction(paths=[], runs=outcomes).unfinished == outcomes[2:]

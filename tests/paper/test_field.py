"""The table of the field: numbers worked by hand, epochs at equal cost, every row end to end."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import make_cell

from augmix import cli, published
from augmix.corruptions import CORRUPTIONS
from augmix.errors import Interrupted
from augmix.methods import METHODS
from augmix.paper.compare import RunKey
from augmix.paper.config import PAPER_TABLES, RECIPE_TITLES, SCALES, ReproduceConfig
from augmix.paper.field import (
    FieldFinding,
    RunCost,
    RunFacts,
    count_runs,
    equal_epochs,
    field_tables,
    list_field,
    literature,
)
from augmix.paper.reproduce import _count_baseline, plan_tasks, reproduce
from augmix.progress import CellFinished, Event, StepFinished
from augmix.report.tables import to_markdown_table
from augmix.results import Results, SequenceCell
from augmix.training.logging import Cost

SLOW_METHODS = [
    name
    for name in PAPER_TABLES["field"].methods
    if name not in METHODS or not METHODS[name].needs_stylised
]


def key(method: str, seed: int = 0, data_set: str = "cifar10") -> RunKey:
    return RunKey(data_set=data_set, family="wrn", method=method, seed=seed)


def make_results(clean: float, corrupted: float, bar: float, flips: float) -> Results:
    cells = [make_cell("clean", "clean", 0, clean, 0.02)]
    cells += [make_cell("c", "fog", s, corrupted, 0.01 * s) for s in range(1, 6)]
    cells += [make_cell("c-bar", "lines", s, bar, 0.3) for s in range(1, 6)]
    tilt = SequenceCell(
        name="tilt",
        num_images=10,
        num_pairs=1000,
        num_flips=round(1000 * flips),
        top5_distance_sum=None,
        seconds=0.0,
    )
    return Results(model={}, source={}, protocol={}, cells=tuple(cells), sequences=(tilt,))


def facts(epochs: int, flop: float) -> RunFacts:
    return RunFacts(epochs=epochs, flop=flop, seconds=60.0)


def of(findings: list[FieldFinding], row: str, column: str) -> FieldFinding:
    return next(f for f in findings if f.row == row and f.column == f"cifar10 {column}")


def test_a_row_has_every_number_in_its_unit():
    keys = [key("augmix"), key("augmix", 1), key("hybridaugment-pp"), key("prime")]
    measured = {
        keys[0]: make_results(0.10, 0.20, 0.30, 0.05),
        keys[1]: make_results(0.12, 0.24, 0.30, 0.07),
        keys[2]: make_results(0.10, 0.15, 0.25, 0.04),
    }
    costs = {keys[0]: facts(5, 3e13), keys[1]: facts(5, 3e13), keys[2]: facts(5, 2e13)}
    found = list_field(
        keys, measured, costs, tolerance={"cifar10": 9.0}, networks={"wrn": "wrn-10-1"}
    )
    clean = of(found, "AugMix", "clean error")
    assert (clean.measured, clean.published) == (pytest.approx(11.0), 4.9)
    error = of(found, "AugMix", "C error")
    assert (error.measured, error.published, error.num_seeds) == (pytest.approx(22.0), 11.2, 2)
    assert error.verdict == "fail"
    assert of(found, "HybridAugment++", "C error").verdict == "pass"
    assert clean.verdict == of(found, "AugMix", "C-bar error").verdict == ""
    assert of(found, "AugMix", "C-bar error").measured == pytest.approx(30.0)
    assert of(found, "AugMix", "P flip probability").measured == pytest.approx(6.0)
    assert of(found, "AugMix", "RMS calibration error, clean").measured == pytest.approx(2.0)
    assert of(found, "AugMix", "RMS calibration error, C").measured == pytest.approx(3.0)
    cost = of(found, "HybridAugment++", "training cost")
    assert (cost.measured, cost.unit) == (pytest.approx(20.0), "TFLOP")
    share = of(found, "HybridAugment++", "cost by AugMix's")
    assert (share.measured, share.unit) == (pytest.approx(200 / 3), "%")
    assert of(found, "AugMix", "training time").unit == "s"
    assert of(found, "PRIME", "C error").measured is None  # its run has failed
    (table,) = field_tables("field", found)
    lines = to_markdown_table(table).splitlines()
    ours = next(line for line in lines if line.startswith("| HybridAugment++ | wrn-10-1"))
    assert "| wrn-10-1 (WRN-40-2) | 10.0 (4.7) | 15.0 (8.3) pass | 25.0 | 4.0 | 2.0 | 3.0 |" in ours
    assert "| 5 | 20 TFLOP | 66.7 | 60 | random weights | Yucel et al. (2023): 200 epochs" in ours
    assert any("| AugMix | ResNet-18 | (4.2) | (10.5) |" in line for line in lines)
    assert any("| AugMix | WRN-40-2 |  | (11.1) | (16.0) |" in line for line in lines)
    alone = list_field(keys, measured, costs, tolerance={}, networks={}, has_published=False)
    assert all(finding.published is None for finding in alone)
    ours = [keys[2]], {keys[2]: measured[keys[2]]}, {keys[2]: costs[keys[2]]}
    how: dict[str, Any] = {"tolerance": {}, "networks": {}}
    found = list_field(*ours, **how, counted={("cifar10", "wrn"): 8e13})
    assert of(found, "HybridAugment++", "cost by AugMix's").measured == pytest.approx(25.0)
    assert of(list_field(*ours, **how), "HybridAugment++", "cost by AugMix's").measured is None


def test_the_literature_of_a_method():
    def shown(method: str, data_set: str) -> list[tuple[str, float | None, float]]:
        return [(r.network, r.clean, r.corrupted) for r in literature(method, data_set)]

    assert shown("augmix", "cifar10")[0] == ("WRN-40-2", 4.9, 11.2)
    assert shown("autoaugment", "cifar10") == [("WRN-40-2", None, 23.9), ("WRN-40-2", None, 19.4)]
    assert shown("random-aa-jsd", "cifar100") == [("WRN-40-2", None, 40.8)]
    assert shown("noise2net", "cifar10") == []
    assert "unverified" in literature("pixmix", "cifar10")[0].source
    starts = {row.starts_from for row in published.LATER_ROWS if row.data != "imagenet"}
    assert starts == {"random weights"}


def test_epochs_at_equal_cost_by_hand():
    def run(passes: int, attacks: int = 0, num_images: int = 100) -> RunCost:
        cost = Cost(multiply_adds=7, passes=passes, attacks=attacks)
        return RunCost(epochs=5, num_images=num_images, cost=cost)

    augmix = run(3)  # 18 operations a multiply-add, 5 epochs: 90
    assert equal_epochs(run(1), augmix) == 15  # 6
    assert equal_epochs(run(2), augmix) == 8  # 12: 7.5
    assert equal_epochs(run(3, 5), augmix) == 2  # 38: 2.4
    assert equal_epochs(run(1, 10), replace(augmix, epochs=1)) == 1  # 46: 0.4
    assert equal_epochs(run(1, num_images=200), augmix) == 8  # with stylised copies: 7.5


@pytest.fixture(scope="module")
def equal() -> dict[RunKey, Any]:
    config = ReproduceConfig(tables=(), scale="smoke", data="digits", out=Path("runs"))
    return plan_tasks(config, "field-equal-cost")


def test_runs_at_equal_cost(equal: dict[RunKey, Any]):
    epochs = {each.method: task.training.optimisation.epochs for each, task in equal.items()}
    assert set(epochs) == set(SLOW_METHODS)
    assert (epochs["standard"], epochs["augmix"], epochs["afa"]) == (3, 1, 2)  # 1.5 is rounded up
    assert epochs["adversarial"] == epochs["augmax"] == 1
    folders = {each.method: task.name for each, task in equal.items()}
    assert folders["augmix"] == "cifar10-wrn-augmix-seed0"  # the run of the other tables
    assert folders["standard"] == "cifar10-wrn-standard-epochs-3-seed0"


def test_the_cost_of_augmix_is_counted_where_it_has_no_run(equal: dict[RunKey, Any]):
    config = ReproduceConfig(tables=(), scale="smoke", data="digits", out=Path("runs"))
    (augmix,) = [each for each in equal if each.method == "augmix"]
    others = [each for each in equal if each.method != "augmix"]
    counted = _count_baseline(config, "field-equal-cost", others)
    assert counted == {("cifar10", "wrn"): count_runs({augmix: equal[augmix]})[augmix].flop}
    assert _count_baseline(config, "field-equal-cost", [augmix]) == {}


@pytest.mark.parametrize("scale", sorted(SCALES))
def test_every_row_can_be_trained_and_measured_at_every_scale(scale: Any):
    config = ReproduceConfig(
        tables=(), scale=scale, data="c10", data_cifar100="c100", stylised="copies"
    )
    tasks = plan_tasks(config, "field")
    per_set = len(PAPER_TABLES["field"].methods)
    assert len(tasks) == 2 * per_set * (config.seeds or 1)
    assert {each.method for each in tasks} == {*METHODS, *RECIPE_TITLES}
    for task in tasks.values():
        suites = [measurement.how.suite for measurement in task.measurements]
        assert suites == [("clean", "c"), ("c-bar",), ("p",)]
        folders = {measurement.folder for measurement in task.measurements}
        assert len(folders) == 3


def test_a_recipe_is_a_row_with_the_length_of_the_others() -> None:
    config = ReproduceConfig(tables=(), scale="smoke", data="digits", methods=("robust", "augmix"))
    runs = {key.method: task.training for key, task in plan_tasks(config, "field").items()}
    own, other = runs["robust"], runs["augmix"]
    assert (str(own.method), own.method.num_passed) == ("augmix+prime", 2)
    assert (own.optimisation.schedule, own.optimisation.ema_decay) == ("one-cycle", 0.998)
    assert own.optimisation.epochs == other.optimisation.epochs
    assert own.network == other.network
    equal = {
        key.method: task.training for key, task in plan_tasks(config, "field-equal-cost").items()
    }
    assert equal["robust"].optimisation.epochs == 2  # 1.5 epochs of three passes are one of two


def test_released_weights_for_imagenet_are_no_run_of_it():
    config = ReproduceConfig(
        tables=(), scale="smoke", data="digits", maxblur_weights=Path("resnet50_lpf5.pth")
    )
    assert "maxblur" in {each.method for each in plan_tasks(config, "field")}
    assert "maxblur" not in {each.method for each in plan_tasks(config, "table2")}


def test_a_dry_run_counts_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "field", "--scale", "smoke", "--data", "digits", "--dry-run"]
    words += ["--methods", "standard", "augmix", "augmax", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "x 3 pass(es) + 5 attack step(s)" in next(line for line in lines if "augmax" in line)
    assert "33 % of augmix" in next(line for line in lines if "standard" in line)
    assert lines[-1].startswith("3 run(s), ")
    words.remove("augmix")  # it is counted all the same
    assert cli.main(words) == 0
    assert "33 % of augmix" in capsys.readouterr().out.splitlines()[0]
    assert not (tmp_path / "out").exists()


def test_the_cost_of_a_run_goes_by_its_own_settings():
    config = ReproduceConfig(tables=(), scale="smoke", data="digits", out=Path("runs"))
    costs = count_runs(plan_tasks(config, "figure8"))
    views = {key.value: run.cost.passes for key, run in costs.items() if key.setting == "num_views"}
    assert views == {1: 2, 3: 4, 4: 5}  # beside the clean image


def test_official_files_go_to_the_suite_that_they_are_of(tmp_path: Path):
    """A folder for each of -C and C-bar; sequences are made on the fly."""
    names = {"c": CORRUPTIONS.protocols["paper-15"], "c-bar": CORRUPTIONS.protocols["cifar-bar"]}
    for suite, own in names.items():
        (tmp_path / suite).mkdir()
        for name in own:
            np.save(tmp_path / suite / f"{name}.npy", np.zeros((5, 1, 1, 3), np.uint8))
        np.save(tmp_path / suite / "labels.npy", np.zeros(5, np.uint8))
    config = ReproduceConfig(
        tables=(), scale="smoke", data="c10", official=(tmp_path / "c", tmp_path / "c-bar")
    )
    task = next(iter(plan_tasks(config, "field").values()))
    official = [measurement.how.official for measurement in task.measurements]
    assert official == [(tmp_path / "c",), (tmp_path / "c-bar",), ()]


@pytest.mark.slow
def test_every_row_end_to_end_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Interrupted within the training of one method and the measuring of another."""
    scale = replace(SCALES["smoke"], measuring={"max_images": 2})
    monkeypatch.setattr("augmix.paper.reproduce.SCALES", {**SCALES, "smoke": scale})
    config = ReproduceConfig(
        tables=("field",), scale="smoke", data="digits", num_processes=1, out=tmp_path
    )
    seen: list[Event] = []

    def stop(event: Event) -> None:
        seen.append(event)
        steps = [each for each in seen if isinstance(each, StepFinished)]
        cells = [each for each in seen if isinstance(each, CellFinished)]
        if len(steps) == 3 and isinstance(event, StepFinished):
            raise Interrupted("stopped")
        if len(cells) == 100 and isinstance(event, CellFinished):
            raise Interrupted("stopped")

    for _ in range(2):
        with pytest.raises(Interrupted):
            reproduce(config, on_progress=stop)
    made = reproduce(config)
    assert {run.state for run in made.runs} == {"done"}
    assert [path.suffix for path in made.paths] == [".json", ".csv", ".md", ".tex"]
    with made.paths[1].open() as file:
        rows = [row for row in csv.DictReader(file) if row["measured"]]
    measured = {(row["row"], row["column"]) for row in rows}
    columns = {column for _, column in measured}
    assert len(columns) == 10
    titles = [RECIPE_TITLES.get(name) or METHODS[name].title for name in SLOW_METHODS]
    assert measured == {(title, column) for title in titles for column in columns}
    plain = json.loads(made.paths[0].read_text())
    assert all(0 <= e["measured"] <= 100 for e in plain["findings"] if "error" in e["column"]
               and e["measured"] is not None)  # fmt: skip
    before = [path.read_bytes() for path in made.paths]
    assert [path.read_bytes() for path in reproduce(config).paths] == before

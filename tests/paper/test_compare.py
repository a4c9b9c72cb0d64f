"""Findings against numbers worked by hand, and tables against the published ones."""

import csv
import json
import math
from pathlib import Path

import pytest
from fake_runs import make_cell

from augmix import published
from augmix.methods import build_method
from augmix.methods.registry import METHODS
from augmix.paper.compare import (
    ENSEMBLE,
    Finding,
    RunKey,
    ablated,
    agreement,
    find,
    list_findings,
    mean_error,
    write_findings,
)
from augmix.paper.config import PAPER_TABLES, RECIPE_TITLES, SCALES
from augmix.paper.figures import FIGURES, _height, draw
from augmix.results import FrequencyCell, Results, SequenceCell


def make_results(error: float, *, gap: float = 0.1, flips: float = 0.05) -> Results:
    """Clean error a tenth of `error`; severity s errs by `error` * s / 3."""
    cells = [make_cell("clean", "clean", 0, error / 10, gap)]
    for name in published.ALEXNET_ERRORS:
        cells += [make_cell("c", name, s, error * s / 3, gap * s) for s in range(1, 6)]
    sequences = tuple(
        SequenceCell(
            name=name,
            num_images=100,
            num_pairs=3000,
            num_flips=round(3000 * flips),
            top5_distance_sum=None,
            seconds=0.0,
        )
        for name in published.ALEXNET_FLIP_PROBABILITIES
    )
    return Results(model={}, source={}, protocol={}, cells=tuple(cells), sequences=sequences)


def key(family: str, method: str, seed: int = 0, data_set: str = "cifar10") -> RunKey:
    return RunKey(data_set=data_set, family=family, method=method, seed=seed)


def test_mean_error_is_the_mean_of_75_cells():
    assert mean_error(make_results(0.3)) == pytest.approx(30.0)


def test_mean_and_spread_over_seeds():
    finding = find("Standard", "x", [30.0, 32.0, 34.0], published=31.0, tolerance=1.5)
    assert finding.measured == pytest.approx(32.0)
    assert finding.spread == pytest.approx(2.0)
    assert finding.difference == pytest.approx(1.0)
    assert finding.verdict == "pass"
    assert find("Standard", "x", [35.0], published=31.0, tolerance=1.5).verdict == "fail"
    assert find("Standard", "x", [31.0], published=31.0).verdict == ""
    assert find("Standard", "x", [], published=31.0, tolerance=1.5).verdict == ""


def test_table1_puts_each_run_in_the_cell_of_the_paper():
    measured = {key("wrn", "augmix"): make_results(0.12), key("wrn", "mixup"): make_results(0.24)}
    entries = {
        (e.row, e.column): e for e in list_findings("table1", measured, tolerance={"cifar10": 1.0})
    }
    assert set(entries) == {
        ("AugMix", "cifar10 WideResNet"),
        ("Mixup", "cifar10 WideResNet"),
    }
    augmix = entries["AugMix", "cifar10 WideResNet"]
    assert (augmix.published, augmix.measured) == (11.2, pytest.approx(12.0))
    assert augmix.verdict == "pass"
    assert entries["Mixup", "cifar10 WideResNet"].verdict == "fail"


def test_table1_averages_the_four_networks():
    errors = {"allconv": 0.1, "densenet": 0.2, "wrn": 0.3, "resnext": 0.4}
    measured = {key(family, "augmix"): make_results(error) for family, error in errors.items()}
    measured[key("wrn", "augmix", 1)] = make_results(0.5)  # a seed of one network alone
    networks = {"densenet": "densenet-40-12"}
    found = {e.column: e for e in list_findings("table1", measured, networks=networks)}
    mean = found["cifar10 mean of the four"]
    assert (mean.published, mean.measured, mean.num_seeds) == (12.5, pytest.approx(25.0), 1)
    assert found["cifar10 DenseNet (densenet-40-12)"].measured == pytest.approx(20.0)
    assert "cifar10 DenseNet" not in found
    del measured[key("allconv", "augmix")]
    assert "cifar10 mean of the four" not in {e.column for e in list_findings("table1", measured)}


def test_the_two_densenets_have_columns_of_their_own():
    measured = {
        key("densenet", "augmix"): make_results(0.1),
        key("densenet-bc", "augmix"): make_results(0.2),
    }
    networks = {"densenet": "densenet-40-12", "densenet-bc": "densenet-bc-100-12"}
    found = list_findings("table1", measured, networks=networks)
    assert {e.column: (e.published, round(e.measured or 0, 6)) for e in found} == {
        "cifar10 DenseNet (densenet-40-12)": (12.7, 10.0),
        "cifar10 DenseNet (densenet-bc-100-12)": (12.7, 20.0),
    }


def test_tables_5_and_6_have_a_column_for_each_network():
    measured = {key("wrn", "augmix"): make_results(0.3), key("resnext", "mixup"): make_results(0.5)}
    five = {(e.row, e.column): e.measured for e in list_findings("table5", measured)}
    assert five["AugMix", "WideResNet, clean"] == pytest.approx(10.0)
    assert five["AugMix", "WideResNet, corrupted"] == pytest.approx(30.0)
    six = {(e.row, e.column): e.measured for e in list_findings("table6", measured)}
    assert six["Mixup", "ResNeXt, clean error"] == pytest.approx(5.0)
    assert six["Mixup", "ResNeXt, mean flip probability"] == pytest.approx(5.0)
    assert ("Mixup", "WideResNet, clean error") not in six


def test_figure_8_has_a_row_for_each_value():
    keys = ablated(key("wrn", "augmix"))
    assert len(keys) == 6 + 6 + 5 + 4 + 5 + 5
    assert len({each.name for each in keys}) == len(keys) - 5  # the paper's own is one run
    assert (
        RunKey(data_set="cifar10", family="wrn", method="augmix", seed=0, setting="depth", value=2)
        in keys
    )
    errors = {
        each: make_results(0.1 + 0.01 * place) for place, each in enumerate(dict.fromkeys(keys))
    }
    found = list_findings("figure8", errors)
    rows = [e.row for e in found if e.column == "error on CIFAR-10-C"]
    assert rows[:3] == ["chains 1", "chains 2", "chains 3 (paper)"]
    assert rows[11] == "depth random (paper)"
    by_row = {e.row: e.measured for e in found if e.column == "error on CIFAR-10-C"}
    assert by_row["chains 1"] == pytest.approx(10.0)
    assert by_row["lambda 12 (paper)"] == by_row["chains 3 (paper)"] == pytest.approx(12.0)


def make_fourier(more: int) -> Results:
    """A map of 3x3: at (v, h) of 20 images more + v + 2 |h| are misclassified."""
    cells = tuple(
        FrequencyCell(
            name=f"vertical-{vertical}",
            vertical=vertical,
            horizontal=list(horizontal),
            num_images=20,
            num_errors=[more + vertical + 2 * abs(each) for each in horizontal],
            seconds=0.0,
        )
        for vertical, horizontal in ((0, (0, 1)), (1, (-1, 0, 1)))
    )
    return Results(
        model={}, source={"size": [8, 8]}, protocol={"fourier_size": [3, 3]}, frequencies=cells
    )


def test_figure_9_has_a_column_for_each_frequency():
    found = {e.column: e for e in list_findings("figure9", {key("wrn", "augmix"): make_fourier(0)})}
    start = "cycles over height and width: "
    assert len([name for name in found if name.startswith(start)]) == 9
    assert found[f"{start}0 0"].measured == 0
    assert found[f"{start}1 -1"].measured == found[f"{start}-1 1"].measured == pytest.approx(15.0)
    assert found[f"{start}-1 0"].measured == pytest.approx(5.0)
    assert found["low frequencies"].measured == 0


def test_figure_11_has_a_column_for_each_corruption():
    found = {
        e.column: e.measured
        for e in list_findings("figure11", {key("resnext", "augmix"): make_results(0.2)})
    }
    assert list(found) == list(published.ALEXNET_ERRORS)
    assert found["fog"] == pytest.approx(20.0)


def test_numbers_from_memory_give_no_verdict():
    found = list_findings(
        "table4-extended",
        {key("wrn", "augmix+mixup"): make_results(0.2), key("wrn", "augmix"): make_results(0.2)},
        tolerance={"cifar10": 1.5},
    )
    assert {e.row: (e.published, e.verdict) for e in found} == {
        "AugMix": (11.2, "fail"),
        "AugMix + Mixup (unverified)": (13.3, ""),
    }


def test_table4_reads_the_ablation():
    measured = {key("wrn", "random-aa-jsd"): make_results(0.2)}
    (entry,) = list_findings("table4", measured)
    assert (entry.row, entry.published) == ("Random AA* + JSD", 14.7)


def test_table2_divides_by_alexnet():
    """All errors .6 give mCE 77.607."""
    cells = [make_cell("clean", "clean", 0, 0.24)]
    cells += [make_cell("c", n, s, 0.6) for n in published.ALEXNET_ERRORS for s in range(1, 6)]
    results = Results(model={}, source={}, protocol={}, cells=tuple(cells))
    measured = {key("resnet", "augmix", data_set="imagenet"): results}
    entries = {entry.column: entry for entry in list_findings("table2", measured)}
    assert entries["mCE"].measured == pytest.approx(77.607088)
    assert entries["mCE"].published == 68.4
    assert entries["clean error"].measured == pytest.approx(24.0)
    assert entries["fog"].measured == pytest.approx(100 * 0.6 / 0.819324)


def test_table3_divides_by_alexnet():
    """All flip probabilities .05 give mFR 49.564."""
    measured = {key("resnet", "augmix", data_set="imagenet"): make_results(0.3)}
    entries = {entry.column: entry for entry in list_findings("table3", measured)}
    assert entries["mFR"].measured == pytest.approx(49.563986)
    assert entries["mFR"].published == 37.4


def test_figures_list_what_they_draw():
    resnext = {key("resnext", "augmix"): make_results(0.12)}
    (bar,) = list_findings("figure5", resnext)
    assert (bar.column, bar.published) == ("error on CIFAR-10-C", 10.9)
    six = {entry.column: entry.measured for entry in list_findings("figure6", resnext)}
    assert six["mean flip probability"] == pytest.approx(5.0)
    assert six["RMS calibration error, clean"] == pytest.approx(10.0)
    assert six["RMS calibration error, corrupted"] == pytest.approx(30.0)
    assert six["RMS calibration error, clean (published script's bins)"] == 0  # of a single bin
    seven = list_findings(
        "figure7",
        {
            key("resnet", "augmix", 0, "imagenet"): make_results(0.3),
            key("resnet", "augmix", 1, "imagenet"): make_results(0.3, gap=0.08),
            key("resnet", "augmix", ENSEMBLE, "imagenet"): make_results(0.3, gap=0.05),
        },
    )
    assert [entry.row for entry in seven[::18]] == ["AugMix", "AugMix ensemble"]
    by_column = {entry.column: entry for entry in seven[:18]}
    assert by_column["RMS calibration error, severity 2"].measured == pytest.approx(18.0)
    assert by_column["error, severity 0"].measured == pytest.approx(3.0)
    assert by_column["error, severity 4"].measured == pytest.approx(40.0)
    assert seven[18].num_seeds == 1


def test_pairs_in_the_published_order():
    def entry(row: str, printed: float, value: float) -> Finding:
        return find(row, "x", [value], published=printed)

    three = [entry("a", 30.0, 25.0), entry("b", 20.0, 22.0), entry("c", 10.0, 23.0)]
    assert agreement(three) == {"x": (2, 3)}  # b and c have changed places
    assert agreement([entry("a", 30.0, 25.0), entry("b", 30.0, 22.0)]) == {}


def test_files(tmp_path: Path):
    numbers = [
        find("Standard", "x", [25.0, 27.0], published=26.9, tolerance=1.5),
        find("AugMix", "x", [], published=11.2, tolerance=1.5),
    ]
    about = {
        "title": "t",
        "scale": "paper",
        "summary": "s",
        "runs": {"r": "done"},
        "remarks": ["one remark"],
    }
    paths = write_findings(tmp_path, "table1", numbers, about)
    assert [path.name for path in paths] == [f"table1.{x}" for x in ("json", "csv", "md", "tex")]
    assert r"Standard & 26.0 $\pm$ 1.4 (26.9) pass \\" in paths[3].read_text()
    plain = json.loads(paths[0].read_text())
    assert plain["findings"][0]["measured"] == 26.0
    assert plain["findings"][0]["verdict"] == "pass"
    assert plain["findings"][1]["measured"] is None
    rows = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert math.isclose(float(rows[0]["difference"]), -0.9)
    page = paths[2].read_text()
    assert "| Standard | 26.0 ± 1.4 (26.9) pass |" in page
    assert "| AugMix | - (11.2) |" in page
    assert "one remark" in page


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn(name: str, tmp_path: Path):
    family = "resnet" if name == "figure7" else "resnext"
    if name == "figure9":
        measured = {key("wrn", "augmix"): make_fourier(0), key("wrn", "standard"): make_fourier(4)}
    elif name == "figure8":
        measured = dict.fromkeys(ablated(key("wrn", "augmix")), make_results(0.2))
    else:
        measured = {
            key(family, "augmix"): make_results(0.12),
            key(family, "standard"): make_results(0.3),
        }
    page = draw(tmp_path / "f.svg", name, list_findings(name, measured)).read_text()
    assert page.count("<path") > 10
    with pytest.raises(ValueError, match="got 'table1'"):
        draw(tmp_path / "f.svg", "table1", [])


def test_an_error_of_zero_is_drawn_and_a_gap_is_not():
    assert _height(find("AugMix", "x", [0.0])) == 0.0
    assert math.isnan(_height(find("AugMix", "x", [])))


def test_every_table_can_be_made_at_every_scale():
    for table in PAPER_TABLES.values():
        for method in set(table.methods) - set(RECIPE_TITLES):
            build_method(method)
        assert table.is_field or set(table.methods) <= set(published.LABELS)
        for scale in SCALES.values():
            assert set(table.families) <= set(scale.networks)
            assert set(scale.by_method) <= set(METHODS)
            assert {method for _, method in scale.by_cell} <= set(METHODS)

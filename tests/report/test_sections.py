"""Metrics, sections and corruptions of the user's own in page, CSV, JSON, LaTeX and card."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_runs import NAMES, make_run

from augmix import report
from augmix.bootstrap import resample_means
from augmix.per_image import predictions_path
from augmix.report.comparison import Comparison, compare
from augmix.report.estimates import METRICS, Key, Scope, summarise
from augmix.report.sections import SECTIONS, all_tables
from augmix.report.tables import Column, Row, Table, plain
from augmix.results import RESULTS_FILE, load_results, write_results

FEW = {"names": NAMES[:2], "num_images": 120, "has_log": False, "has_examples": False}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sections")
    make_run(folder / "a", **FEW)
    make_run(folder / "b", label="AugMix", weakness=0.3, seed=1, **FEW)
    return [folder / "a", folder / "b"]


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is gone afterwards."""
    before = dict(METRICS), dict(SECTIONS)
    monkeypatch.setattr("augmix.report.page.draw", lambda chart: {"wide": "", "narrow": ""})
    yield
    for registry, entries in zip((METRICS, SECTIONS), before, strict=True):
        registry.clear()
        registry.update(entries)


def sure_errors(cell: report.CellArrays) -> np.ndarray:
    return (cell.confidence > 0.7) & ~cell.correct


def by_hand(comparison: Comparison) -> np.ndarray:
    """Fraction of sure errors of every image of the first run, over all corrupted cells."""
    predictions = comparison.runs[0].predictions
    assert predictions is not None
    cells = [each for key, each in predictions.cells.items() if key.suite == "c"]
    wrong = [
        (cell.confidence > 0.7) & (cell.prediction != predictions.images.labels) for cell in cells
    ]
    return np.mean(wrong, axis=0)


def test_a_metric_of_images_is_a_column_everywhere(folders: list[Path], tmp_path: Path):
    scopes = ("clean", "corrupted", Scope.SEVERITY)
    metric = report.Metric(title="Sure errors", scopes=scopes, per_image=sure_errors)
    report.register_metric("sure", metric)
    page = report.write_report(folders, tmp_path / "x.html", ("csv", "json", "latex", "markdown"))
    number = compare(folders).groups[0].number(Key("sure", Scope.CORRUPTED))
    assert number is not None
    images = by_hand(compare(folders))
    assert number.value == pytest.approx(images.mean())
    interval = resample_means(images[None])[0].interval()
    assert (number.low, number.high) == pytest.approx((interval.low, interval.high))
    shown = f"{100 * number.value:.1f}"
    html = page.read_text(encoding="utf-8")
    summary = html.split('id="table-summary"')[1].split("</table>")[0]
    assert summary.count(">Sure errors <") == 2
    assert f">{shown}<" in summary
    assert 'id="table-severity-sure"' in html
    assert 'id="figure-severity-sure"' in html
    assert "sure errors, corrupted" in html.split('id="table-contrast-0"')[1]
    lines = page.with_suffix(".csv").read_text().splitlines()
    assert any(f",sure,corrupted,,{number.value}" in line for line in lines)
    content = json.loads(page.with_suffix(".json").read_text())
    assert {"sure"} <= {each["metric"] for each in content["numbers"]}
    assert {"sure"} <= {each["metric"] for each in content["differences"]}
    for suffix in (".tex", ".md"):
        text = page.with_suffix(suffix).read_text()
        assert "Sure errors" in text
        assert shown in text


def test_a_metric_of_sets_is_resampled(folders: list[Path]):
    """The largest confidence: each set by itself, averaged, and an interval that holds it."""
    largest = report.Metric(title="Largest", per_set=lambda cell: float(cell.confidence.max()))
    report.register_metric("largest", largest)
    comparison = compare(folders)
    predictions = comparison.runs[0].predictions
    assert predictions is not None
    expected = [
        each.confidence.max() for key, each in predictions.cells.items() if key.suite == "c"
    ]
    number = comparison.groups[0].number(Key("largest", Scope.CORRUPTED))
    assert number is not None
    assert number.low is not None
    assert number.high is not None
    assert number.value == pytest.approx(np.mean(expected))
    assert number.low <= number.value <= number.high


def test_metrics_that_cannot_be_computed_are_refused():
    with pytest.raises(ValueError, match="'error' is registered already"):
        report.register_metric("error", report.Metric(title="E", per_image=sure_errors))
    with pytest.raises(ValueError, match="either per_image or per_set"):
        report.register_metric("nothing", report.Metric(title="Nothing"))


def test_validations_are_curves_with_the_kept_epoch_marked(folders: list[Path], tmp_path: Path):
    make_run(tmp_path / "c", **FEW)
    errors = [(0.5, 0.75, 1), (0.25, 0.5, 2), (0.125, 0.625, 2)]
    lines = [{"step": 5, "epoch": 0.5, "loss": 2.0}]
    for epoch, (clean, corrupted, selected) in enumerate(errors, start=1):
        found = {"clean_error": clean, "corrupted_error": corrupted, "selected_epoch": selected}
        found |= {"seconds": 1.0, "time_fraction": 0.05}
        lines.append({"step": 10 * epoch, "epoch": epoch, "loss": 1.0, "validation": found})
    log = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "c" / "log.jsonl").write_text(log)
    content = SECTIONS["training"].content(compare([folders[0], tmp_path / "c"]))
    assert content is not None
    charts = {chart.name: chart for chart in content["charts"]}
    (clean,) = charts["validation-clean-error"].curves
    assert (clean.style, clean.x, clean.y) == (1, [1, 2, 3], [50, 25, 12.5])
    (corrupted,) = charts["validation-corrupted-error"].curves
    assert (corrupted.y, corrupted.marked) == ([75, 50, 62.5], (2, 50))
    text = report.write_report([folders[0], tmp_path / "c"], tmp_path / "x.html").read_text()
    assert "a ring marks the epoch" in text
    plain_page = report.write_report(folders, tmp_path / "y.html").read_text()
    assert "a ring marks the epoch" not in plain_page


def test_a_section_is_on_the_page_and_in_latex(folders: list[Path], tmp_path: Path):
    def build(comparison: Comparison) -> list:
        rows = tuple(Row(label=g.label, entries=(plain(0.5),)) for g in comparison.groups)
        half = Table(name="half", title="Half", columns=(Column(title="x"),), rows=rows)
        return ["<b>One half</b>", half]

    report.register_section("halves", "Halves", build, before="training")
    assert [table.name for table in all_tables(compare(folders))].count("half") == 1
    html = report.write_report(folders, tmp_path / "x.html").read_text(encoding="utf-8")
    names = re.findall(r'<section id="(\w+)"', html)
    assert names[names.index("halves") + 1] == "training"
    assert "&lt;b&gt;One half" in html
    assert 'id="table-half"' in html
    with pytest.raises(ValueError, match="'halves' is registered already"):
        report.register_section("halves", "Halves", build)
    with pytest.raises(ValueError, match="before must be one of summary, .* got 'nowhere'"):
        report.register_section("other", "Other", build, before="nowhere")


def test_an_own_corruption_is_in_no_mean(tmp_path: Path):
    make_run(tmp_path / "c", **{**FEW, "names": (*NAMES[:2], "scratches")})
    results = load_results(tmp_path / "c" / RESULTS_FILE)
    cells = [
        replace(cell, suite="own") if cell.name == "scratches" else cell for cell in results.cells
    ]
    protocol = {**results.protocol, "names": list(NAMES[:2])}
    results = replace(results, protocol=protocol, cells=tuple(cells))
    write_results(tmp_path / "c" / RESULTS_FILE, results)
    for severity in range(1, 6):
        old = predictions_path(tmp_path / "c", "c", "scratches", severity)
        old.rename(predictions_path(tmp_path / "c", "own", "scratches", severity))
    comparison = compare([tmp_path / "c"])
    assert comparison.grid.names == NAMES[:2]
    mean = np.mean([cell.error for cell in cells if cell.suite == "c"])
    assert summarise(comparison.runs[0].results)["corruption_error"] == pytest.approx(mean)
    own = np.mean([cell.error for cell in cells if cell.suite == "own"])
    number = comparison.groups[0].number(Key("error", "corruption", "scratches"))
    assert number is not None
    assert number.value == pytest.approx(own)
    assert number.low is not None
    table = all_tables(comparison)[1]
    rows = [(row.label, row.entries[0].text) for row in table.rows[2:]]
    assert rows == [
        ("mean", f"{100 * mean:.1f}"),
        ("scratches (own, not in the mean)", f"{100 * own:.1f}"),
    ]


def test_more_rows_than_bars_can_show_are_lines_by_error(tmp_path: Path):
    few = {"names": NAMES[:2], "num_images": 60, "has_log": False, "has_examples": False}
    letters = "abcdefg"
    for place, letter in enumerate(letters):
        weakness = 0.3 + 0.1 * ((place * 3) % 7)
        make_run(tmp_path / letter, label=letter, method=letter, weakness=weakness, **few)
    comparison = compare([tmp_path / letter for letter in letters])
    content = SECTIONS["corruptions"].content(comparison)
    assert content["bars"] is None
    table = content["matrix"]
    assert [column.title for column in table.columns] == ["Mean", "Gauss", "Shot"]
    means = [row.entries[0].value for row in table.rows]
    assert means == sorted(means)
    assert len(table.rows) == 7
    assert max(entry.heat for row in table.rows for entry in row.entries) == 100
    fewer = compare([tmp_path / letter for letter in letters[:2]])
    assert SECTIONS["corruptions"].content(fewer)["matrix"] is None

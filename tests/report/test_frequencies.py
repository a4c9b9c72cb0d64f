"""Fourier maps in the report: numbers by band, their intervals, heat maps, gaps."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import NAMES, add_frequencies, make_run

from augmix.bootstrap import FRACTION, resample_means
from augmix.errors import RunError
from augmix.per_image import load_frequency_predictions, load_images, predictions_path
from augmix.report import write_report
from augmix.report.comparison import compare
from augmix.report.estimates import Key, Scope, summarise
from augmix.report.robustness import fourier_maps, fourier_table
from augmix.results import RESULTS_FILE, load_results, write_results

FEW: dict[str, Any] = {
    "names": NAMES[:1],
    "num_images": 60,
    "has_log": False,
    "has_examples": False,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("frequencies")
    make_run(folder / "a", **FEW)
    make_run(folder / "b", label="AugMix", seed=1, **FEW)
    add_frequencies(folder / "a")
    add_frequencies(folder / "b", weakness=0.3)
    return [folder / "a", folder / "b"]


def by_hand(folder: Path) -> dict[tuple[int, int], np.ndarray]:
    """Whether each image is misclassified at every frequency that was measured."""
    labels = load_images(folder).labels
    return {
        (cell.vertical, horizontal): prediction != labels
        for cell in load_results(folder / RESULTS_FILE).frequencies
        for horizontal, prediction in zip(
            cell.horizontal,
            load_frequency_predictions(folder, cell.name).prediction.T,
            strict=True,
        )
    }


def test_the_map_has_low_frequencies_in_its_middle_and_is_symmetric(folders: list[Path]) -> None:
    errors = load_results(folders[0] / RESULTS_FILE).fourier_map
    assert errors is not None
    assert errors.shape == (9, 9)
    wrong = by_hand(folders[0])
    assert len(wrong) == (81 + 1) / 2
    for (vertical, horizontal), images in wrong.items():
        assert errors[4 + vertical, 4 + horizontal] == pytest.approx(images.mean())
        assert errors[4 - vertical, 4 - horizontal] == pytest.approx(images.mean())


def test_means_by_band_are_those_of_the_frequencies(folders: list[Path]) -> None:
    comparison = compare(folders)
    wrong = by_hand(folders[0])
    bands: dict[str, list[np.ndarray]] = {
        "": [*wrong.values()],
        "low": [],
        "middle": [],
        "high": [],
    }
    for (vertical, horizontal), images in wrong.items():
        distance = max(vertical, abs(horizontal)) / 4.5
        bands["low" if distance < 1 / 3 else "middle" if distance < 2 / 3 else "high"].append(
            images
        )
    assert [len(each) for each in bands.values()] == [41, 5, 8, 28]
    for band, images in bands.items():
        number = comparison.groups[0].number(
            Key("error", Scope.BAND if band else Scope.FOURIER, band)
        )
        assert number is not None
        per_image = np.mean(images, axis=0)
        assert number.value == pytest.approx(per_image.mean())
        interval = resample_means(per_image[None], limits=[FRACTION])[0].interval()
        assert (number.low, number.high) == pytest.approx((interval.low, interval.high))
    mean = np.mean(list(wrong.values()))
    assert summarise(comparison.runs[0].results)["fourier_error"] == pytest.approx(mean)
    table = fourier_table(comparison)
    assert table is not None
    assert [column.title for column in table.columns] == [
        *("Norm", "Map", "Clean error", "All frequencies", "Low", "Middle", "High")
    ]
    assert [entry.text for entry in table.rows[0].entries[:2]] == ["4", "9 × 9"]
    assert table.rows[1].entries[3].mark == "best"


def test_maps_share_one_scale_and_seeds_are_averaged(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"a-{seed}", label=f"a-{seed}", seed=seed, **FEW)
        add_frequencies(tmp_path / f"a-{seed}", weakness=1 - seed / 2)
    make_run(tmp_path / "b", label="AugMix", seed=1, **FEW)
    add_frequencies(tmp_path / "b", weakness=0.2)
    found = [
        load_results(tmp_path / name / RESULTS_FILE).fourier_map for name in ("a-0", "a-1", "b")
    ]
    first, second, third = (100 * each for each in found if each is not None)
    charts = fourier_maps(compare([tmp_path / name for name in ("a-0", "a-1", "b")]))
    assert [chart.title for chart in charts] == ["a", "AugMix"]
    np.testing.assert_allclose(charts[0].values, (first + second) / 2)
    np.testing.assert_allclose(charts[1].values, third)
    assert [chart.top for chart in charts] == [pytest.approx(((first + second) / 2).max())] * 2


def test_the_page_shows_the_maps(folders: list[Path], tmp_path: Path) -> None:
    page = write_report(folders, tmp_path / "x.html", ("csv", "json", "latex", "markdown"))
    text = page.read_text(encoding="utf-8")
    for style, label in enumerate(("Standard", "AugMix")):
        figure = text.split(f'id="figure-fourier-{style}"')[1].split("</figure>")[0]
        assert f"<h3>{label}</h3>" in figure
        assert len(re.findall(r'<image [^>]*href="data:image/png;base64,', figure)) == 2
        assert "cycles over the width" in figure
    assert "Error under single Fourier-basis perturbations" in text
    numbers = json.loads(page.with_suffix(".json").read_text())
    scopes = {(each["scope"], each["name"]) for each in numbers["numbers"]}
    assert {("fourier", ""), ("band", "low"), ("band", "high")} <= scopes
    differences = {(each["metric"], each["scope"]) for each in numbers["differences"]}
    assert ("error", "fourier") in differences
    assert "single Fourier-basis perturbations of norm 4" in page.with_suffix(".md").read_text()
    assert "Fourier-basis" in page.with_suffix(".tex").read_text()


def test_a_map_with_gaps_has_no_mean_and_is_said_to_be_incomplete(tmp_path: Path) -> None:
    results = make_run(tmp_path / "a", **FEW)
    add_frequencies(tmp_path / "a", size=5)
    results = load_results(tmp_path / "a" / RESULTS_FILE)
    part = replace(results, frequencies=results.frequencies[:2])
    write_results(tmp_path / "a" / RESULTS_FILE, part)
    comparison = compare([tmp_path / "a"])
    assert any("10 of 25 positions of the Fourier map" in note for note in comparison.notes)
    assert fourier_table(comparison) is None
    (chart,) = fourier_maps(comparison)
    assert np.isnan(chart.values).sum() == 10
    assert "figure-fourier-0" in write_report([tmp_path / "a"], tmp_path / "x.html").read_text()


def test_maps_of_other_norms_are_not_compared(tmp_path: Path) -> None:
    for name, norm in (("a", 4.0), ("b", 2.0)):
        make_run(tmp_path / name, label=name, method=name, **FEW)
        add_frequencies(tmp_path / name, size=3, norm=norm)
    comparison = compare([tmp_path / "a", tmp_path / "b"])
    assert comparison.unlike == ("protocol fourier norm: 4.0 for a; 2.0 for b",)
    assert not comparison.is_comparable


def test_damaged_predictions_of_a_frequency_are_named(folders: list[Path], tmp_path: Path) -> None:
    make_run(tmp_path / "a", **FEW)
    add_frequencies(tmp_path / "a", size=3)
    path = predictions_path(tmp_path / "a", "fourier", "vertical-1")
    np.savez(path, prediction=np.zeros((7, 3), np.uint8))
    with pytest.raises(RunError, match="must be of the 60 images"):
        compare([tmp_path / "a"])
    results = load_results(tmp_path / "a" / RESULTS_FILE)
    add_frequencies(tmp_path / "a", size=3, weakness=0.5)
    found = load_results(tmp_path / "a" / RESULTS_FILE)
    swapped = replace(found, frequencies=results.frequencies)
    write_results(tmp_path / "a" / RESULTS_FILE, swapped)
    with pytest.raises(RunError, match=r"counts \d+, \d+ errors for vertical-0 0, fourier-vert"):
        compare([tmp_path / "a"])
    write_results(path, replace(found, protocol=found.protocol | {"fourier_size": [10**9, 3]}))
    with pytest.raises(RunError, match="fourier_size must be within source.size"):
        load_results(path)
    results = load_results(folders[0] / RESULTS_FILE)
    with pytest.raises(ValueError, match="num_errors"):
        replace(results.frequencies[0], num_errors=[61] + [0] * 4)

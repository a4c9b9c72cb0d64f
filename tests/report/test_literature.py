"""Published rows are shown beside measured ones only where both are of the same benchmark."""

from pathlib import Path

import numpy as np
import pytest
from fake_runs import make_run

from augmix import published
from augmix.corruptions import CIFAR_BAR, IMAGENET_BAR
from augmix.report.comparison import compare
from augmix.report.estimates import summarise
from augmix.report.literature import literature_tables
from augmix.report.sections import SECTIONS
from augmix.report.tables import Table

PAPER = tuple(published.ALEXNET_ERRORS)
TEN = tuple(published.ALEXNET_FLIP_PROBABILITIES)
FEW = {"num_images": 120, "has_log": False, "has_examples": False, "has_predictions": False}


def value(table: Table, row: str, column: str) -> str:
    place = [each.title for each in table.columns].index(column)
    found = [each.entries[place] for each in table.rows if each.label == row]
    assert len(found) == 1
    return found[0].text


def test_cifar_has_plain_means(tmp_path: Path):
    """Both methods of the paper in their rows, a method of one's own below; no CE anywhere."""
    own = {"source": "cifar10", "model": "wrn-40-2", "preset": "cifar", **FEW}
    results = make_run(tmp_path / "a", label="mine", method="augmix", names=PAPER, **own)
    make_run(tmp_path / "b", label="new idea", method="new", weakness=0.3, names=PAPER, **own)
    comparison = compare([tmp_path / "a", tmp_path / "b"])
    (table,) = literature_tables(comparison)
    assert value(table, "AugMix", "WideResNet") == "11.2"
    assert value(table, "Random AA* + JSD", "WideResNet") == "14.7"  # of Table 4
    assert value(table, "Random AA* + JSD", "AllConv") == "–"
    assert value(table, "HybridAugment++ (2023)", "WideResNet") == "8.3"
    assert value(table, "APR-SP (2021)", "ResNeXt") == "9.1"
    assert value(table, "APR-SP (2021)", "AllConv") == "–"
    error = summarise(results)["corruption_error"]
    assert error is not None
    assert value(table, "AugMix", "wrn-40-2") == f"{100 * error:.1f}"
    assert value(table, "new idea", "WideResNet") == "–"
    assert {row.kind for row in table.rows} == {"published", "measured"}
    assert {column.group for column in table.columns} == {"Published", "Measured here"}
    assert "Official CIFAR-10-C files" in table.note
    assert "cifar10, 120 images, corrupted on the fly" in table.note


def test_more_corruptions_do_not_change_the_benchmark(tmp_path: Path):
    names = (*PAPER, "speckle_noise")
    results = make_run(tmp_path / "a", names=names, source="cifar100", preset="cifar", **FEW)
    comparison = compare([tmp_path / "a"])
    (table,) = literature_tables(comparison)
    cells = [cell for cell in results.cells if cell.name in PAPER]
    mean = sum(cell.num_errors / cell.num_images for cell in cells) / len(cells)
    assert value(table, "Standard", "small") == f"{100 * mean:.1f}"
    assert value(table, "Standard", "DenseNet") == "59.3"


def test_c_bar_has_plain_means_of_its_own(tmp_path: Path):
    names = published.BAR_NAMES["cifar10"]
    settings = {"source": "cifar10", "model": "wrn-40-2", "preset": "cifar", **FEW}
    results = make_run(tmp_path / "a", label="mine", names=(*names, "fog"), **settings)
    comparison = compare([tmp_path / "a"])
    (table,) = literature_tables(comparison)
    assert table.name == "literature-bar"
    assert value(table, "AugMix", "lines") == "18.0"
    assert value(table, "AugMix", "Mean") == "16.0"
    assert value(table, "AutoAugment*", "lines") == "–"
    error = {
        suite: np.mean([cell.error for cell in results.cells if cell.suite == suite])
        for suite in ("c", "c-bar")
    }
    assert value(table, "mine", "Mean") == f"{100 * error['c-bar']:.1f}"
    found = summarise(results)
    assert (found["corruption_error"], found["bar_error"]) == pytest.approx(tuple(error.values()))
    make_run(tmp_path / "b", names=names[1:], **settings)
    assert not literature_tables(compare([tmp_path / "b"]))  # one is missing


@pytest.mark.parametrize("data", ["cifar10", "imagenet"])
def test_published_means_of_c_bar(data: str):
    rows = [row for row in published.BAR_ROWS if row.data == data and row.cells]
    assert len(rows) == 2
    for row in rows:
        assert row.cells is not None
        assert row.mean == pytest.approx(np.mean(list(row.cells.values())), abs=0.1)
        assert set(row.cells) == set({"cifar10": CIFAR_BAR, "imagenet": IMAGENET_BAR}[data])


def test_imagenet_is_divided_by_alexnet(tmp_path: Path):
    make_run(tmp_path / "a", label="mine", source="imagenet", names=PAPER, sequences=TEN, **FEW)
    comparison = compare([tmp_path / "a"])
    errors, flips = literature_tables(comparison)
    assert value(errors, "AugMix", "mCE") == "68.4"
    assert value(errors, "SIN", "JPEG") == "77"
    assert value(flips, "Standard", "mFR") == "57.2"
    group = comparison.groups[0]
    ce, fr = (
        next(each.value for key, each in group.estimates[0].items() if key[:2] == wanted)
        for wanted in (("ce", "corrupted"), ("fr", "perturbed"))
    )
    assert value(errors, "mine", "mCE") == f"{100 * ce:.1f}"
    assert value(flips, "mine", "mFR") == f"{100 * fr:.1f}"


@pytest.mark.parametrize(
    ("source", "names"), [("digits", PAPER), ("cifar10", PAPER[:14]), ("imagenet", PAPER[1:])]
)
def test_nothing_is_set_beside_another_benchmark(tmp_path: Path, source: str, names: tuple):
    make_run(tmp_path / "a", source=source, names=names, **FEW)
    comparison = compare([tmp_path / "a"])
    assert literature_tables(comparison) == []
    assert SECTIONS["literature"].content(comparison) is None

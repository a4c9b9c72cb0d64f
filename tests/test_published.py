"""Printed means against their printed cells, and the baselines against independent sources."""

import numpy as np
import pytest

from augmix.metrics import (
    corruption_error,
    flip_rate,
    mean_corruption_error,
    mean_error,
    mean_flip_rate,
)
from augmix.published import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    ALEXNET_EXTRA_ERRORS,
    ALEXNET_EXTRA_FLIP_PROBABILITIES,
    ALEXNET_FLIP_PROBABILITIES,
    LABELS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLES,
    UNVERIFIED,
)

# The means over severities as AugMix's own evaluation script has them: another source of the table.
MEANS = (
    *(0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816),
    *(0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500),
)
# torchvision's ResNet-50: top-1 accuracy in %, CE in %.
RESNET_50 = {
    "brightness": (68.02, 56.64),
    "contrast": (39.06, 71.43),
    "defocus_blur": (38.75, 74.71),
    "elastic_transform": (45.25, 84.75),
    "fog": (45.83, 66.11),
    "frost": (38.14, 74.84),
    "gaussian_noise": (29.29, 79.77),
    "glass_blur": (26.79, 88.61),
    "impulse_noise": (23.81, 82.58),
}
RESNET_50_FLIPS = (14.04, 17.38, 6.00, 4.29, 7.54, 3.03, 4.86, 6.79, 4.01, 11.32)


def test_alexnet_by_severity_averages_to_its_means():
    found = [np.mean(errors) for errors in ALEXNET_ERRORS.values()]
    assert found == pytest.approx(MEANS, abs=1e-9)
    assert mean_error(ALEXNET_ERRORS) == pytest.approx(0.788993, abs=5e-7)
    assert len(ALEXNET_EXTRA_ERRORS) == len(ALEXNET_EXTRA_FLIP_PROBABILITIES) == 4
    assert not set(ALEXNET_EXTRA_ERRORS) & set(ALEXNET_ERRORS)
    assert not set(ALEXNET_EXTRA_FLIP_PROBABILITIES) & set(ALEXNET_FLIP_PROBABILITIES)
    denominators = [np.mean(errors) - ALEXNET_CLEAN_ERROR for errors in ALEXNET_ERRORS.values()]
    expected = (
        *(0.451628, 0.459668, 0.487840, 0.385080, 0.391468, 0.351148, 0.363560, 0.432016),
        *(0.391772, 0.384524, 0.129792, 0.418404, 0.211256, 0.283040, 0.171700),
    )
    assert denominators == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", RESNET_50)
def test_resnet_50_against_the_table(name: str):
    accuracy, expected = RESNET_50[name]
    found = 100 * corruption_error([1 - accuracy / 100] * 5, ALEXNET_ERRORS[name])
    assert found == pytest.approx(expected, abs=0.02)


def test_resnet_50_has_the_flip_rate_of_the_benchmark():
    flips = {n: v / 100 for n, v in zip(ALEXNET_FLIP_PROBABILITIES, RESNET_50_FLIPS, strict=True)}
    found = 100 * mean_flip_rate(flips, ALEXNET_FLIP_PROBABILITIES)
    assert found == pytest.approx(58.005, abs=5e-4)
    assert round(found, 1) == 58.0  # as listed by hendrycks/robustness
    assert np.mean(list(ALEXNET_FLIP_PROBABILITIES.values())) == pytest.approx(0.140463, abs=5e-7)


@pytest.mark.parametrize("row", TABLE_2.rows, ids=lambda row: row.method)
def test_mce_of_table_2_from_its_cells(row):
    """CE columns back to errors by AlexNet's table, forward again by the metric."""
    assert row.cells is not None
    errors = {
        name: [value / 100 * np.mean(ALEXNET_ERRORS[name])] * 5 for name, value in row.cells.items()
    }
    found = 100 * mean_corruption_error(errors, ALEXNET_ERRORS)
    assert found == pytest.approx(np.mean(list(row.cells.values())))
    assert found == pytest.approx(row.mean, abs=TABLE_2.rounding)


def test_means_of_table_2_are_those_of_the_specification():
    found = [np.mean(list(row.cells.values())) for row in TABLE_2.rows if row.cells]
    expected = [80.73, 74.27, 72.67, 76.07, 73.47, 73.40, 68.47, 64.93]
    assert found == pytest.approx(expected, abs=0.005)
    assert [row.mean for row in TABLE_2.rows] == [80.6, 74.3, 72.7, 76.1, 73.4, 73.3, 68.4, 64.9]


@pytest.mark.parametrize("row", TABLE_3.rows, ids=lambda row: row.method)
def test_mfr_of_table_3_from_its_cells(row):
    assert row.cells is not None
    flips = {n: v / 100 * ALEXNET_FLIP_PROBABILITIES[n] for n, v in row.cells.items()}
    assert flip_rate(flips["tilt"], ALEXNET_FLIP_PROBABILITIES["tilt"]) == pytest.approx(
        row.cells["tilt"] / 100
    )
    found = 100 * mean_flip_rate(flips, ALEXNET_FLIP_PROBABILITIES)
    assert found == pytest.approx(row.mean, abs=TABLE_3.rounding)


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_means_of_table_1_over_its_networks(data: str):
    rows = [row for row in TABLE_1.rows if row.data == data]
    methods = dict.fromkeys(row.method for row in rows)
    assert len(rows) == 5 * len(methods) == 35
    for method in methods:
        *networks, mean = [row.mean for row in rows if row.method == method]
        assert np.mean(networks) == pytest.approx(mean, abs=TABLE_1.rounding), method


def test_table_4_shares_its_rows_with_table_1():
    """The ablation is of the WideResNet: Standard, AutoAugment* and AugMix stand in both."""
    wide = {(row.data, row.method): row.mean for row in TABLE_1.rows if row.network == "WideResNet"}
    shared = [row for row in TABLE_4.rows if (row.data, row.method) in wide]
    assert len(shared) == 6
    assert all(wide[row.data, row.method] == row.mean for row in shared)


def test_every_row_has_a_printed_name():
    rows = [*UNVERIFIED, *(row for table in TABLES.values() for row in table.rows)]
    assert {row.method for row in rows} == set(LABELS)
    assert [table.number for table in TABLES.values()] == [1, 2, 3, 4]
    assert all(row.clean is not None for row in (*TABLE_2.rows, *TABLE_3.rows))

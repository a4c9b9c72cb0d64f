"""Errors, CE and mCE against worked numbers of the literature."""

import inspect

import numpy as np
import pytest

from augmix.metrics import (
    class_errors,
    confusion_matrix,
    corruption_error,
    error_by_severity,
    error_rate,
    image_corruption_error,
    mean_corruption_error,
    mean_error,
    relative_corruption_error,
    relative_mean_corruption_error,
)
from augmix.published import ALEXNET_CLEAN_ERROR, ALEXNET_ERRORS, ALEXNET_EXTRA_ERRORS

ALEXNET = {name: float(np.mean(errors)) for name, errors in ALEXNET_ERRORS.items()}
EXTRA = ALEXNET_EXTRA_ERRORS
ALEXNET_CLEAN = ALEXNET_CLEAN_ERROR
GAUSSIAN = ALEXNET_ERRORS["gaussian_noise"]
unchecked = inspect.unwrap  # past the checker of shapes, to the messages users see


def test_error_rate():
    assert error_rate(np.array([0, 1, 2, 1]), np.array([0, 1, 0, 2])) == 0.5
    with pytest.raises(ValueError, match=r"one axis of equal length, got .*\(2,\).*\(3,\)"):
        unchecked(error_rate)(np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(ValueError, match="at least 1 image, got none"):
        error_rate(np.zeros(0, int), np.zeros(0, int))


def test_confusion_matrix_and_errors_of_classes():
    """Against scikit-learn, and by hand for a class without images."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 5, 300), rng.integers(0, 6, 300).astype(np.uint8)
    counts = confusion_matrix(predictions, labels, 6)
    reference = pytest.importorskip("sklearn.metrics", reason="the reference of this test")
    expected = reference.confusion_matrix(labels, predictions, labels=range(6))
    np.testing.assert_array_equal(counts, expected)
    errors = class_errors(predictions, labels, 6)
    recall = reference.recall_score(labels, predictions, labels=range(5), average=None)
    np.testing.assert_allclose(errors[:5], 1 - recall)
    assert np.isnan(errors[5])
    with pytest.raises(ValueError, match="below num_classes 5, got 5"):
        confusion_matrix(predictions, labels, 5)


def test_the_baseline_has_100_percent():
    errors = {name: [value] * 5 for name, value in ALEXNET.items()}
    assert mean_corruption_error(errors, ALEXNET) == pytest.approx(1, abs=1e-12)
    relative = relative_mean_corruption_error(errors, ALEXNET_CLEAN, ALEXNET, ALEXNET_CLEAN)
    assert relative == pytest.approx(1, abs=1e-12)
    assert mean_error(errors) == pytest.approx(0.788993, abs=5e-7)


def test_every_error_60_percent():
    errors = {name: np.full(5, 0.6) for name in ALEXNET}
    assert mean_corruption_error(errors, ALEXNET) == pytest.approx(0.77607088, abs=5e-9)
    relative = relative_mean_corruption_error(errors, 0.24, ALEXNET, ALEXNET_CLEAN)
    assert relative == pytest.approx(1.17222176, abs=5e-9)
    all_19 = {name: np.full(5, 0.6) for name in [*ALEXNET, *EXTRA]}
    found = mean_corruption_error(all_19, {**ALEXNET, **EXTRA})
    assert found == pytest.approx(0.78214494, abs=5e-9)
    for name, expected in zip(EXTRA, (0.70972, 0.76229, 0.83624, 0.91144), strict=True):
        assert corruption_error([0.6], EXTRA[name]) == pytest.approx(expected, abs=5e-6)


def test_resnet_50():
    accuracy = {"brightness": 0.6802, "contrast": 0.3906, "fog": 0.4583, "frost": 0.3814}
    expected = {"brightness": 0.5664, "contrast": 0.7143, "fog": 0.6611, "frost": 0.7484}
    for name, value in accuracy.items():
        found = corruption_error([1 - value], ALEXNET[name])
        assert found == pytest.approx(expected[name], abs=2e-4)


def test_severities_are_averaged_before_the_division():
    errors = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert corruption_error(errors, GAUSSIAN) == pytest.approx(1.5 / sum(GAUSSIAN))
    assert corruption_error(errors, GAUSSIAN) == pytest.approx(0.3 / 0.886428)
    assert corruption_error(errors, GAUSSIAN) != pytest.approx(
        np.mean(np.array(errors) / GAUSSIAN), abs=1e-3
    )


def test_the_corruption_error_is_a_mean_over_images():
    wrong = np.random.default_rng(0).random((5, 40)) < 0.4
    images = image_corruption_error(wrong, GAUSSIAN)
    assert images.shape == (40,)
    assert images.mean() == pytest.approx(corruption_error(wrong.mean(axis=1), GAUSSIAN))


def test_corruptions_weigh_the_same():
    assert mean_error({"fog": [0.2, 0.4], "snow": np.array([0.1])}) == pytest.approx(0.2)


def test_wrong_tables():
    with pytest.raises(ValueError, match=r"the baseline lacks \['spatter'\]; it has \['gauss"):
        mean_corruption_error({"spatter": [0.1]}, ALEXNET)
    with pytest.raises(ValueError, match="at least 1 corruption"):
        mean_error({})
    with pytest.raises(ValueError, match=r"at least 1 severity .* \['fog'\]"):
        mean_error({"fog": []})
    with pytest.raises(ValueError, match="baseline's error must be above 0, got 0.0"):
        mean_corruption_error({"fog": [0.1]}, {"fog": 0.0})
    with pytest.raises(ValueError, match="must be above its clean error 0.4, got 0.4"):
        relative_mean_corruption_error({"fog": [0.1]}, 0.0, {"fog": 0.4}, 0.4)


def test_an_incomplete_set_is_refused():
    errors = {name: [0.5] * 5 for name in ALEXNET_ERRORS}
    assert mean_corruption_error(errors, ALEXNET_ERRORS) == pytest.approx(
        mean_corruption_error(errors, ALEXNET)
    )
    less = {name: values for name, values in errors.items() if name != "fog"}
    for refuse in (
        lambda table: mean_corruption_error(table, ALEXNET_ERRORS),
        lambda table: relative_mean_corruption_error(table, 0.2, ALEXNET_ERRORS, ALEXNET_CLEAN),
    ):
        with pytest.raises(ValueError, match=r"incomplete: \['fog'\] of the baseline's 15"):
            refuse(less)
        with pytest.raises(ValueError, match=r"same severities .* 'fog': 4"):
            refuse(less | {"fog": [0.5] * 4})
        with pytest.raises(ValueError, match=r"same severities .* 'fog of the baseline': 5"):
            refuse({name: [0.5] * 3 for name in errors})


def test_relative_corruption_error_by_hand():
    """What fog adds: 0.35 - 0.1 to the model, 0.819324 - 0.4348 to AlexNet."""
    found = relative_corruption_error([0.3, 0.4], 0.1, ALEXNET["fog"], ALEXNET_CLEAN)
    assert found == pytest.approx(0.25 / 0.384524)


def test_error_by_severity():
    table = {"fog": [0.1, 0.2], "snow": np.array([0.3, 0.6])}
    assert error_by_severity(table).tolist() == pytest.approx([0.2, 0.4])
    with pytest.raises(ValueError, match=r"same severities .*'fog': 2, 'snow': 1"):
        error_by_severity({"fog": [0.1, 0.2], "snow": [0.3]})

import inspect

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from augmix.models import calibration
from augmix.models.calibration import (
    bound_note,
    fit_temperature,
    mean_nll,
    measure_temperature,
)


def draw(true: float, *, seed: int = 0, num_images: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose honest temperature is known: labels are drawn from their softmax at it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_images, 6)) * 3
    labels = np.array([rng.choice(6, p=row) for row in np.exp(log_softmax(logits / true, axis=1))])
    return logits, labels


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_true_temperature_is_found(true):
    logits, labels = draw(true)

    def loss(value: float) -> float:
        scores = log_softmax(logits / value, axis=1)
        return -float(scores[np.arange(len(labels)), labels].mean())

    best = minimize_scalar(loss, bounds=(0.2, 5), method="bounded", options={"xatol": 1e-7}).x
    got = fit_temperature(logits, labels)
    assert got == pytest.approx(best, abs=1e-4)
    assert got == pytest.approx(true, rel=0.06)
    assert mean_nll(logits, labels, 1.7) == pytest.approx(loss(1.7), rel=1e-12)


def test_by_hand():
    """Three of four right at logits (3, 0): confidence 3/4 needs 3 / T = ln 3."""
    logits = np.tile([3.0, 0.0], (4, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(3 / np.log(3), abs=1e-4)


def test_the_ends_of_the_range():
    logits = np.tile([1.0, 0.0], (4, 1))
    assert fit_temperature(logits, np.zeros(4, int)) == pytest.approx(0.2, abs=1e-4)
    assert fit_temperature(logits, np.ones(4, int)) == pytest.approx(1000, abs=1e-3)
    for value, word in ((0.2, "lowest"), (1000.0, "highest")):
        assert f"the temperature {value:.4g} is the {word} that is tried" in bound_note(value)
    assert bound_note(1.0) == bound_note(20.0) == ""


def test_logits_that_are_far_too_large():
    """Over-confident logits need more than 5."""
    logits, labels = draw(1.0)
    expected = fit_temperature(logits, labels)
    assert fit_temperature(20 * logits, labels) == pytest.approx(20 * expected, abs=5e-3)


def test_what_it_does_is_told():
    logits, labels = draw(2.5)
    told = measure_temperature(logits, labels)
    assert told.num_images == 3000
    assert told.nll_before == pytest.approx(mean_nll(logits, labels, 1.0))
    assert told.nll_after == pytest.approx(mean_nll(logits, labels, told.value))
    assert told.nll_after < told.nll_before


def test_pieces_change_nothing(monkeypatch):
    logits, labels = draw(2.0, num_images=200)
    whole = fit_temperature(logits, labels)
    monkeypatch.setattr(calibration, "_CHUNK", 7)
    assert fit_temperature(logits, labels) == pytest.approx(whole, abs=1e-9)


def test_float32_and_huge_logits():
    logits, labels = draw(2.0)
    assert fit_temperature(logits.astype(np.float32), labels) == pytest.approx(
        fit_temperature(logits, labels), abs=1e-4
    )
    assert np.isfinite(mean_nll(np.array([[1e300, 0.0]]), np.array([1]), 1.0))


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((2, 3)), np.array([0]), r"got shapes \(2, 3\) and \(1,\)"),
        (np.zeros((0, 3)), np.zeros(0, int), "one label per image"),
        (np.zeros((1, 3)), np.array([3]), r"labels must be 0..2, got 3..3"),
        (np.full((1, 3), np.nan), np.array([0]), "logits must be finite"),
    ],
    ids=["lengths", "empty", "label", "nan"],
)
def test_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(fit_temperature)(logits, labels)  # past the checker of shapes

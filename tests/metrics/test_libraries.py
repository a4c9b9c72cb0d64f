"""Metrics against the numbers that other libraries give for the same predictions.

The numbers were computed once with relplot 1.0.3, netcal 1.4.0, torch-uncertainty 0.13.0 and
scikit-learn 1.9.1.
"""

import numpy as np
import pytest

from augmix import metrics

_i, _c = np.arange(500)[:, None], np.arange(4)[None]
LOGITS = np.round(2.5 * np.sin(1.7 * _i + 2.3 * _c**2 + 0.01 * _i * _c), 4)
IS_KEPT = (37 * _i[:, 0]) % 100 < 70
LABELS = np.where(IS_KEPT, LOGITS.argmax(axis=1), (_i[:, 0] // 3) % 4)
PROBABILITIES = np.exp(metrics.log_softmax(LOGITS))
CONFIDENCE = PROBABILITIES.max(axis=1)
CORRECT = PROBABILITIES.argmax(axis=1) == LABELS
N = len(LABELS)


def test_relplot_and_netcal():
    smooth = metrics.smooth_calibration_error(CONFIDENCE, CORRECT)
    assert smooth == pytest.approx(0.15498418946387, abs=2e-4)  # relplot's bandwidth: 1/1024
    ece = metrics.expected_calibration_error(CONFIDENCE, CORRECT, num_bins=15)
    assert ece == pytest.approx(0.1918853450844255, abs=1e-12)  # netcal.metrics.ECE(15)
    classwise = metrics.classwise_calibration_error(PROBABILITIES, LABELS)
    assert classwise == pytest.approx(0.0964131912027854, abs=1e-12)  # its mean over classes


def test_torch_uncertainty():
    """Its areas leave out the part below a coverage of 1 / n, and are divided by the rest."""
    coverage, risk = metrics.risk_coverage_curve(CONFIDENCE, CORRECT)
    aurc, augrc = (
        float(np.trapezoid(each, coverage)) / (1 - 1 / N) for each in (risk, risk * coverage)
    )
    assert aurc == pytest.approx(0.24851575325531222, abs=1e-7)
    assert augrc == pytest.approx(0.12081162327455731, abs=1e-7)
    found = metrics.aurc(CONFIDENCE, CORRECT), metrics.augrc(CONFIDENCE, CORRECT)
    assert found == pytest.approx((aurc, augrc), abs=2 / N)
    assert metrics.risk_at_coverage(CONFIDENCE, CORRECT) == pytest.approx(0.2425, abs=1e-7)
    assert metrics.coverage_at_risk(CONFIDENCE, CORRECT, risk=0.2) == pytest.approx(0.01)
    adaptive = metrics.adaptive_calibration_error(CONFIDENCE, CORRECT)
    assert adaptive == pytest.approx(0.19104641675949097, abs=1e-7)


def test_scikit_learn():
    """Rounded scores have many ties; `roc_curve` gives the rate at the first recall of 0.95."""
    inside = np.round(LOGITS[:300].max(axis=1), 1)
    outside = np.round(LOGITS[300:].mean(axis=1) + 1.5, 1)
    assert metrics.auroc(inside, outside) == pytest.approx(0.6391583333333333, abs=1e-12)
    assert metrics.fpr_at_recall(inside, outside) == 0.83
    # the identity of Traub et al. with its roc_auc_score of correct predictions by confidence
    error, auroc = float(np.mean(~CORRECT)), 0.4800830153310572
    augrc = (1 - auroc) * error * (1 - error) + error**2 / 2
    assert metrics.augrc(CONFIDENCE, CORRECT) == pytest.approx(augrc, abs=1e-12)

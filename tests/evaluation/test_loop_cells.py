import math

import numpy as np
import pytest

from augmix.errors import RunError
from augmix.evaluation.loop import (
    choose_images,
    gather,
    keep_sequence_predictions,
    make_cell,
    make_sequence_cell,
    score_sequences,
)
from augmix.metrics import image_scores
from augmix.results import CellKey


def test_all_images_are_measured_in_order() -> None:
    ids, held = choose_images(7, seed=3)
    assert ids.tolist() == list(range(7))
    assert held.tolist() == []


def test_held_out_images_are_never_measured() -> None:
    ids, held = choose_images(50, num_held=12, seed=3)
    assert len(held) == 12
    assert sorted([*ids, *held]) == list(range(50))
    assert (np.diff(ids) > 0).all()
    assert (np.diff(held) > 0).all()
    assert held.tolist() == choose_images(50, num_held=12, seed=3)[1].tolist()
    assert held.tolist() != choose_images(50, num_held=12, seed=4)[1].tolist()


def test_fewer_images_are_a_subset_of_more_with_or_without_held_out_ones() -> None:
    few, _ = choose_images(50, max_images=10, seed=0)
    more, _ = choose_images(50, max_images=30, seed=0)
    assert set(few) < set(more)
    assert choose_images(50, max_images=10, num_held=20, seed=0)[0].tolist() == few.tolist()
    assert len(choose_images(50, max_images=45, num_held=20, seed=0)[0]) == 30


def test_a_choice_out_of_range_is_refused() -> None:
    with pytest.raises(RunError, match="no image"):
        choose_images(0, seed=0)
    for number in (-1, 5, 6):
        with pytest.raises(ValueError, match=f"leave some of the source's 5 .*got {number}"):
            choose_images(5, num_held=number, seed=0)


def test_a_cell_holds_sums_over_all_batches() -> None:
    # worked example A of the calibration metrics, as two-class logits in two batches
    confidence = np.array([0.95, 0.55, 0.80, 0.60, 0.99, 0.70, 0.90])
    correct = np.array([1, 0, 1, 1, 1, 0, 1])
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    parts = (slice(4, 7), slice(0, 4))
    batches = [image_scores(logits[part], 1 - correct[part]) for part in parts]
    scores = gather(batches, [(4, np.arange(3)), (0, np.arange(4))])
    assert scores is not None
    cell = make_cell(CellKey("c", "fog", 2), scores, bin_size=3, seconds=1.5)
    assert (cell.key, cell.seconds) == (("c", "fog", 2), 1.5)
    assert (cell.num_images, cell.num_errors, cell.error) == (7, 2, 2 / 7)
    assert cell.adaptive.count == [3, 4]
    assert cell.adaptive.correct_sum == [1, 4]
    np.testing.assert_allclose(cell.adaptive.confidence_sum, [1.85, 3.64])
    expected = -sum(math.log(c if r else 1 - c) for c, r in zip(confidence, correct, strict=True))
    assert cell.nll_sum == pytest.approx(expected)
    assert cell.nll == pytest.approx(expected / 7)
    assert sum(cell.equal_width.count) == 7
    assert len(cell.equal_width.count) == 15


def test_a_sequence_cell_holds_sums_over_images_and_pairs() -> None:
    top = np.stack([[np.arange(5), np.arange(5), [0, 1, 2, 3, 9]], [np.arange(5)] * 3])
    scores = score_sequences(top, is_noise=False, difficulty=1)
    cell = make_sequence_cell("tilt", scores, num_pairs=2, num_classes=10, seconds=0.5)
    assert (cell.num_images, cell.num_pairs, cell.num_flips) == (2, 4, 0)
    assert (cell.top5_distance_sum, cell.seconds) == (1.0, 0.5)
    assert (cell.flip_probability, cell.top5_distance) == (0, 0.25)
    few = score_sequences(top[:, :, :3], is_noise=False, difficulty=1)
    cell = make_sequence_cell("tilt", few, num_pairs=2, num_classes=3, seconds=0.5)
    assert cell.top5_distance_sum is cell.top5_distance is None


def test_predictions_of_every_frame_are_kept() -> None:
    top = np.array([[0, 1, 0, 1], [5, 5, 5, 5]])[..., None]
    scores = score_sequences(top, is_noise=False, difficulty=1)
    kept = keep_sequence_predictions(scores, num_pairs=3, num_classes=10)
    assert kept.prediction.dtype == np.uint8
    assert kept.prediction.tolist() == [[0, 1, 0, 1], [5, 5, 5, 5]]
    assert (kept.flips.tolist(), kept.pairs.tolist()) == ([3, 0], [3, 3])

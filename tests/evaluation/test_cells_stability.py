import numpy as np
import pytest

from augmix import metrics
from augmix.evaluation.cells import (
    count_pairs,
    gather_sequence,
    score_frames,
    to_outcome_stability,
    top5_distances,
    top_classes,
)


def top_of(predictions: list[list[int]]) -> np.ndarray:
    return np.array(predictions)[..., None]


def flip_share(predictions: list[list[int]], *, is_noise: bool, difficulty: int = 1) -> float:
    scores = score_frames(top_of(predictions), is_noise=is_noise, difficulty=difficulty)
    pairs = count_pairs(len(predictions[0]), is_noise=is_noise, difficulty=difficulty)
    return scores.flips.sum() / (pairs * len(predictions))


def test_flips_of_the_worked_examples() -> None:
    """perturbations.md, section 5."""
    predictions = [[0, 1, 1, 1, 0], [2, 2, 2, 2, 2]]
    assert flip_share(predictions, is_noise=False) == 0.25
    assert flip_share(predictions, is_noise=True) == 0.375
    assert flip_share(predictions, is_noise=False, difficulty=2) == pytest.approx(1 / 3)
    # the difficulty of noise is in its frames, not in which frames are compared
    assert flip_share(predictions, is_noise=True, difficulty=3) == 0.375


@pytest.mark.parametrize(
    ("order", "distance"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0),
        ([1, 0, 2, 3, 4, 5, 6, 7, 8, 9], 2),
        ([0, 1, 2, 3, 5, 4, 6, 7, 8, 9], 1),
        ([9, 1, 2, 3, 4, 5, 6, 7, 8, 0], 5),
        ([5, 6, 7, 8, 9, 0, 1, 2, 3, 4], 15),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 15),
    ],
)
def test_top5_distances_of_the_worked_examples(order: list[int], distance: int) -> None:
    reference, other = np.arange(5)[None, None], np.array(order[:5])[None, None]
    assert top5_distances(reference, other).tolist() == [[distance]]


@pytest.mark.parametrize("is_noise", [False, True])
@pytest.mark.parametrize("num_classes", [5, 6, 40])
def test_the_kept_classes_give_the_metrics_of_all_logits(is_noise: bool, num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    logits = rng.integers(0, 9, (6, 7, num_classes)).astype(float)  # ties in plenty
    top = top_classes(logits.reshape(-1, num_classes)).reshape(6, 7, 5)
    scores = score_frames(top, is_noise=is_noise)
    assert scores.prediction.tolist() == logits.argmax(axis=2).tolist()
    assert scores.flips.sum() / 36 == pytest.approx(
        metrics.flip_probability(logits.argmax(axis=2), is_noise=is_noise)
    )
    assert scores.distance.sum() / 36 == pytest.approx(
        metrics.top5_distance(logits, is_noise=is_noise)
    )


def test_the_top_is_ordered_by_logit_then_class_and_holds_all_of_few() -> None:
    assert top_classes(np.array([[1.0, 3.0, 3.0, 2.0]]), 3).tolist() == [[1, 2, 3]]
    assert top_classes(np.array([[1.0, 2.0]])).tolist() == [[1, 0]]
    logits = np.array([[1.0, 2.0]])
    top_classes(logits)
    assert logits.tolist() == [[1.0, 2.0]]


def test_a_cell_holds_sums_over_images_and_pairs() -> None:
    top = np.stack([[np.arange(5), np.arange(5), [0, 1, 2, 3, 9]], [np.arange(5)] * 3])
    scores = score_frames(top, is_noise=False)
    cell = gather_sequence("tilt", scores, num_pairs=2, num_classes=10, seconds=0.5)
    assert (cell.num_images, cell.num_pairs, cell.num_flips) == (2, 4, 0)
    assert (cell.top5_distance_sum, cell.seconds) == (1.0, 0.5)
    few = score_frames(top[:, :, :3], is_noise=False)
    cell = gather_sequence("tilt", few, num_pairs=2, num_classes=3, seconds=0.5)
    assert cell.top5_distance_sum is None


def test_an_outcome_keeps_every_image() -> None:
    scores = score_frames(top_of([[0, 1, 0, 1], [5, 5, 5, 5]]), is_noise=False)
    outcome = to_outcome_stability(scores, num_pairs=3, num_classes=10)
    assert outcome.prediction.dtype == np.uint8
    assert outcome.prediction.tolist() == [[0, 1, 0, 1], [5, 5, 5, 5]]
    assert (outcome.flips.tolist(), outcome.pairs.tolist()) == ([3, 0], [3, 3])

"""Flip probability and top-5 distance against worked numbers and slow loops."""

import numpy as np
import pytest

from augmix.metrics import (
    flip_probability,
    flip_rate,
    image_flips,
    image_top5_distance,
    mean_flip_rate,
    mean_top5_distance,
    num_pairs,
    top5_distance,
    top_classes,
    zipf_distance,
)
from augmix.published import ALEXNET_FLIP_PROBABILITIES

ALEXNET_FLIPS = ALEXNET_FLIP_PROBABILITIES


def test_flip_probability():
    predictions = np.array([[0, 1, 1, 1, 0], [2, 2, 2, 2, 2]])
    assert flip_probability(predictions) == 0.25
    assert flip_probability(predictions, is_noise=True) == 0.375
    assert flip_probability(predictions, difficulty=2) == pytest.approx(1 / 3)
    assert image_flips(predictions).tolist() == [2, 0]
    # the difficulty of noise is in its frames, not in which frames are compared
    assert image_flips(predictions, is_noise=True, difficulty=3).tolist() == [3, 0]
    assert num_pairs(5, is_noise=True, difficulty=3) == 4
    assert num_pairs(5, is_noise=False, difficulty=3) == 2


@pytest.mark.parametrize("difficulty", [1, 2, 3, 7])
def test_difficulty_is_interleaved_subsequences(difficulty: int):
    predictions = np.random.default_rng(difficulty).integers(0, 3, (6, 31))
    per_sequence = []
    for sequence in predictions:
        flips = []
        for offset in range(difficulty):
            part = sequence[offset::difficulty]
            flips += [int(a != b) for a, b in zip(part[1:], part, strict=False)]
        per_sequence.append(sum(flips) / len(flips))
    found = flip_probability(predictions, difficulty=difficulty)
    assert found == pytest.approx(np.mean(per_sequence))


def test_mean_flip_rate():
    flips = dict.fromkeys(ALEXNET_FLIPS, 0.05)
    assert mean_flip_rate(flips, ALEXNET_FLIPS) == pytest.approx(0.49563986, abs=5e-9)
    resnet = (14.04, 17.38, 6.00, 4.29, 7.54, 3.03, 4.86, 6.79, 4.01, 11.32)
    flips = {n: value / 100 for n, value in zip(ALEXNET_FLIPS, resnet, strict=True)}
    assert mean_flip_rate(flips, ALEXNET_FLIPS) == pytest.approx(0.58005, abs=5e-6)


def test_wrong_predictions():
    with pytest.raises(ValueError, match=r"more than 1 frame\(s\), got shape \(2, 1\)"):
        flip_probability(np.zeros((2, 1), int))
    with pytest.raises(ValueError, match="difficulty must be at least 1, .* got 0"):
        flip_probability(np.zeros((2, 3), int), difficulty=0)
    with pytest.raises(ValueError, match="1 for noise, got 2"):
        flip_probability(np.zeros((2, 3), int), is_noise=True, difficulty=2)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0),
        ([1, 0, 2, 3, 4, 5, 6, 7, 8, 9], 2),
        ([0, 1, 2, 3, 5, 4, 6, 7, 8, 9], 1),
        ([9, 1, 2, 3, 4, 5, 6, 7, 8, 0], 5),
        ([5, 6, 7, 8, 9, 0, 1, 2, 3, 4], 15),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 15),
        ([0, 1, 2, 3, 4, 9, 8, 7, 6, 5], 0),
    ],
)
def test_top5_distance_of_rankings(classes: list[int], expected: int):
    first = -np.arange(10.0)
    second = np.empty(10)
    second[classes] = -np.arange(10.0)
    assert top5_distance(np.stack([first, second])[None]) == expected


@pytest.mark.parametrize("is_noise", [False, True])
@pytest.mark.parametrize("num_classes", [5, 6, 40])
def test_five_classes_a_frame_give_the_distance_of_all_logits(is_noise: bool, num_classes: int):
    rng = np.random.default_rng(num_classes)
    logits = rng.integers(0, 9, (6, 7, num_classes)).astype(float)  # ties in plenty
    top = top_classes(logits.reshape(-1, num_classes)).reshape(6, 7, 5)
    assert top[..., 0].tolist() == logits.argmax(axis=2).tolist()
    distance = image_top5_distance(top, is_noise=is_noise)
    assert distance.sum() / 36 == pytest.approx(top5_distance(logits, is_noise=is_noise))


def test_the_top_is_ordered_by_logit_then_class_and_holds_all_of_few():
    assert top_classes(np.array([[1.0, 3.0, 3.0, 2.0]]), 3).tolist() == [[1, 2, 3]]
    logits = np.array([[1.0, 2.0]])
    assert top_classes(logits).tolist() == [[1, 0]]
    assert logits.tolist() == [[1.0, 2.0]]


def test_top5_distance_of_logits():
    logits = np.array([[9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [8, 9, 1, 6, 5, 4, 3, 2, 7, 0.0]])
    assert top5_distance(logits[None]) == 5
    assert top5_distance(logits[None], is_noise=True) == 5
    assert top5_distance(np.zeros((1, 2, 10))) == 0  # ties by class
    assert zipf_distance(logits[None]) == pytest.approx(0.848765, abs=5e-7)
    assert zipf_distance(logits[None], is_noise=True) == pytest.approx(0.848765, abs=5e-7)


@pytest.mark.parametrize("is_noise", [False, True])
def test_top5_distance_is_the_published_double_sum(is_noise: bool):
    logits = np.random.default_rng(0).normal(size=(4, 6, 12)).round(1)
    sequences = []
    for frames in logits:
        ranked = [sorted(range(12), key=lambda k, f=frame: (-f[k], k)) for frame in frames]
        distances = []
        for number in range(1, 6):
            reference = ranked[0 if is_noise else number - 1]
            total = 0
            for i in range(1, 6):
                sigma = ranked[number].index(reference[i - 1]) + 1
                for j in range(min(i, sigma) + 1, max(i, sigma) + 1):
                    total += 1 <= j - 1 <= 5
            distances.append(total)
        sequences.append(np.mean(distances))
    assert top5_distance(logits, is_noise=is_noise) == pytest.approx(np.mean(sequences))


def test_top5_distance_needs_five_classes():
    with pytest.raises(ValueError, match=r"at least 2 frames and 5 classes, got .* \(1, 2, 4\)"):
        top5_distance(np.zeros((1, 2, 4)))


def test_an_incomplete_set_of_perturbations_is_refused():
    flips = dict.fromkeys(ALEXNET_FLIPS, 0.05)
    del flips["tilt"]
    with pytest.raises(ValueError, match=r"incomplete: \['tilt'\] of the baseline's 10"):
        mean_flip_rate(flips, ALEXNET_FLIPS)
    with pytest.raises(ValueError, match=r"the baseline lacks \['shear'\]"):
        mean_flip_rate({**flips, "tilt": 0.1, "shear": 0.1}, ALEXNET_FLIPS)
    with pytest.raises(ValueError, match="flip probability must be above 0, got 0"):
        flip_rate(0.1, 0.0)


def test_mean_top5_distance():
    """By hand: 3 / 6 and 2 / 8."""
    baseline = {"tilt": 6.0, "scale": 8.0}
    found = mean_top5_distance({"tilt": 3.0, "scale": 2.0}, baseline)
    assert found == pytest.approx(0.375)
    with pytest.raises(ValueError, match=r"incomplete: \['scale'\]"):
        mean_top5_distance({"tilt": 3.0}, baseline)
    with pytest.raises(ValueError, match="must be above 0, got 0"):
        mean_top5_distance({"tilt": 3.0}, {"tilt": 0.0})

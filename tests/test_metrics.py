"""Metrics against worked numbers of the literature and against slow loops written out here."""

import inspect
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmix import metrics
from augmix.metrics import (
    adaptive_bins,
    aurra,
    brier_score,
    corruption_error,
    ece_from_bins,
    equal_width_bins,
    error_rate,
    expected_calibration_error,
    flip_probability,
    maximum_calibration_error,
    mce_from_bins,
    mean_absolute_deviation,
    mean_corruption_error,
    mean_error,
    mean_flip_rate,
    negative_log_likelihood,
    relative_mean_corruption_error,
    rms_calibration_error,
    rms_from_bins,
    soft_f1,
    top5_distance,
)

# AlexNet's errors on ImageNet-C: mean over severities (clovaai/assembled-cnn), fifteen and four.
ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
EXTRA = {"speckle_noise": 0.8454, "gaussian_blur": 0.7871, "spatter": 0.7175, "saturate": 0.6583}
ALEXNET_CLEAN = 0.4348
GAUSSIAN = [0.69528, 0.82542, 0.93554, 0.98138, 0.99452]  # AlexNet, severities 1..5
ALEXNET_FLIPS = {
    "gaussian_noise": 0.23653,
    "shot_noise": 0.30062,
    "motion_blur": 0.09297,
    "zoom_blur": 0.05942,
    "snow": 0.11928,
    "brightness": 0.04889,
    "translate": 0.11007,
    "rotate": 0.13104,
    "tilt": 0.07050,
    "scale": 0.23531,
}
unchecked = inspect.unwrap  # past the checker of shapes, to the messages users see


class TestCorruptionError:
    def test_error_rate(self):
        assert error_rate(np.array([0, 1, 2, 1]), np.array([0, 1, 0, 2])) == 0.5
        with pytest.raises(ValueError, match=r"one axis of equal length, got .*\(2,\).*\(3,\)"):
            unchecked(error_rate)(np.zeros(2, int), np.zeros(3, int))
        with pytest.raises(ValueError, match="at least 1 image, got none"):
            error_rate(np.zeros(0, int), np.zeros(0, int))

    def test_the_baseline_has_100_percent(self):
        errors = {name: [value] * 5 for name, value in ALEXNET.items()}
        assert mean_corruption_error(errors, ALEXNET) == pytest.approx(1, abs=1e-12)
        relative = relative_mean_corruption_error(errors, ALEXNET_CLEAN, ALEXNET, ALEXNET_CLEAN)
        assert relative == pytest.approx(1, abs=1e-12)
        assert mean_error(errors) == pytest.approx(0.788993, abs=5e-7)

    def test_every_error_60_percent(self):
        errors = {name: np.full(5, 0.6) for name in ALEXNET}
        assert mean_corruption_error(errors, ALEXNET) == pytest.approx(0.77607088, abs=5e-9)
        relative = relative_mean_corruption_error(errors, 0.24, ALEXNET, ALEXNET_CLEAN)
        assert relative == pytest.approx(1.17222176, abs=5e-9)
        all_19 = {name: np.full(5, 0.6) for name in [*ALEXNET, *EXTRA]}
        found = mean_corruption_error(all_19, {**ALEXNET, **EXTRA})
        assert found == pytest.approx(0.78214494, abs=5e-9)
        for name, expected in zip(EXTRA, (0.70972, 0.76229, 0.83624, 0.91144), strict=True):
            assert corruption_error([0.6], EXTRA[name]) == pytest.approx(expected, abs=5e-6)

    def test_resnet_50(self):
        accuracy = {"brightness": 0.6802, "contrast": 0.3906, "fog": 0.4583, "frost": 0.3814}
        expected = {"brightness": 0.5664, "contrast": 0.7143, "fog": 0.6611, "frost": 0.7484}
        for name, value in accuracy.items():
            found = corruption_error([1 - value], ALEXNET[name])
            assert found == pytest.approx(expected[name], abs=2e-4)

    def test_severities_are_averaged_before_the_division(self):
        errors = [0.1, 0.2, 0.3, 0.4, 0.5]
        assert corruption_error(errors, GAUSSIAN) == pytest.approx(1.5 / sum(GAUSSIAN))
        assert corruption_error(errors, GAUSSIAN) == pytest.approx(0.3 / 0.886428)
        assert corruption_error(errors, GAUSSIAN) != pytest.approx(
            np.mean(np.array(errors) / GAUSSIAN), abs=1e-3
        )

    def test_corruptions_weigh_the_same(self):
        assert mean_error({"fog": [0.2, 0.4], "snow": np.array([0.1])}) == pytest.approx(0.2)

    def test_wrong_tables(self):
        with pytest.raises(ValueError, match=r"the baseline lacks \['spatter'\]; it has \['gauss"):
            mean_corruption_error({"spatter": [0.1]}, ALEXNET)
        with pytest.raises(ValueError, match="at least 1 corruption"):
            mean_error({})
        with pytest.raises(ValueError, match=r"at least 1 severity .* \['fog'\]"):
            mean_error({"fog": []})
        with pytest.raises(ValueError, match="baseline's error must be above 0, got 0.0"):
            mean_corruption_error({"fog": [0.1]}, {"fog": 0.0})
        with pytest.raises(ValueError, match="error under 'fog' must be above its clean error 0.4"):
            relative_mean_corruption_error({"fog": [0.1]}, 0.0, {"fog": 0.4}, 0.4)


class TestStability:
    def test_flip_probability(self):
        predictions = np.array([[0, 1, 1, 1, 0], [2, 2, 2, 2, 2]])
        assert flip_probability(predictions) == 0.25
        assert flip_probability(predictions, is_noise=True) == 0.375
        assert flip_probability(predictions, difficulty=2) == pytest.approx(1 / 3)

    @pytest.mark.parametrize("difficulty", [1, 2, 3, 7])
    def test_difficulty_is_interleaved_subsequences(self, difficulty: int):
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

    def test_mean_flip_rate(self):
        flips = dict.fromkeys(ALEXNET_FLIPS, 0.05)
        assert mean_flip_rate(flips, ALEXNET_FLIPS) == pytest.approx(0.49563986, abs=5e-9)
        resnet = (14.04, 17.38, 6.00, 4.29, 7.54, 3.03, 4.86, 6.79, 4.01, 11.32)
        flips = {n: value / 100 for n, value in zip(ALEXNET_FLIPS, resnet, strict=True)}
        assert mean_flip_rate(flips, ALEXNET_FLIPS) == pytest.approx(0.58005, abs=5e-6)

    def test_wrong_predictions(self):
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
    def test_top5_distance_of_rankings(self, classes: list[int], expected: int):
        first = -np.arange(10.0)
        second = np.empty(10)
        second[classes] = -np.arange(10.0)
        assert top5_distance(np.stack([first, second])[None]) == expected

    def test_top5_distance_of_logits(self):
        logits = np.array([[9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [8, 9, 1, 6, 5, 4, 3, 2, 7, 0.0]])
        assert top5_distance(logits[None]) == 5
        assert top5_distance(logits[None], is_noise=True) == 5
        assert top5_distance(np.zeros((1, 2, 10))) == 0  # ties by class

    @pytest.mark.parametrize("is_noise", [False, True])
    def test_top5_distance_is_the_published_double_sum(self, is_noise: bool):
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

    def test_top5_distance_needs_five_classes(self):
        with pytest.raises(
            ValueError, match=r"at least 2 frames and 5 classes, got .* \(1, 2, 4\)"
        ):
            top5_distance(np.zeros((1, 2, 4)))


A_CONFIDENCE = np.array([0.95, 0.55, 0.80, 0.60, 0.99, 0.70, 0.90])
A_CORRECT = np.array([1, 0, 1, 1, 1, 0, 1])
_i = np.arange(1050)
B_CONFIDENCE = 0.1 + 0.9 * ((37 * _i) % 1050) / 1050
B_CORRECT = (53 * _i + _i // 7) % 100 < 60


def slow_calibration(confidence, correct, bin_size: int, legacy: bool) -> tuple[float, ...]:
    """The published loop over bins, with its last bin unless legacy."""
    order = sorted(range(len(confidence)), key=lambda k: confidence[k])
    num_bins = max(len(confidence) // bin_size, 1)
    bins = [order[j * bin_size : (j + 1) * bin_size] for j in range(num_bins)]
    bins[-1] = order[(num_bins - 1) * bin_size :]
    squares, deviations = 0.0, 0.0
    for members in bins[: len(bins) - 1] if legacy else bins:
        gap = sum(float(correct[k]) - float(confidence[k]) for k in members) / len(members)
        squares += len(members) / len(confidence) * gap**2
        deviations += len(members) / len(confidence) * abs(gap)
    return math.sqrt(squares), deviations


class TestCalibration:
    def test_example_a(self):
        given = (A_CONFIDENCE, A_CORRECT)
        near = {"abs": 5e-11}
        rms = rms_calibration_error(*given, bin_size=3)
        by_hand = math.sqrt(3 / 7 * (17 / 60) ** 2 + 4 / 7 * 0.09**2)
        assert rms == pytest.approx(by_hand, abs=1e-15)
        assert rms == pytest.approx(0.1975685535, **near)
        legacy = rms_calibration_error(*given, bin_size=3, legacy=True)
        assert legacy == pytest.approx(0.1854852067, **near)
        mad = mean_absolute_deviation(*given, bin_size=3)
        assert mad == pytest.approx(0.1728571429, **near)
        legacy = mean_absolute_deviation(*given, bin_size=3, legacy=True)
        assert legacy == pytest.approx(0.1214285714, **near)
        largest = mce_from_bins(*adaptive_bins(*given, bin_size=3))
        assert largest == pytest.approx(0.2833333333, **near)
        assert aurra(*given) == pytest.approx(0.9068027211, **near)
        assert soft_f1(*given) == pytest.approx(0.4273504274, **near)

    def test_example_b(self):
        given = (B_CONFIDENCE, B_CORRECT)
        near = {"abs": 5e-11}
        assert B_CORRECT.mean() == pytest.approx(0.6)
        assert B_CONFIDENCE.mean() == pytest.approx(0.5495714286, **near)
        assert rms_calibration_error(*given) == pytest.approx(0.2643975170, **near)
        assert rms_calibration_error(*given, legacy=True) == pytest.approx(0.2306546268, **near)
        assert mean_absolute_deviation(*given) == pytest.approx(0.2276122449, **near)
        legacy = mean_absolute_deviation(*given, legacy=True)
        assert legacy == pytest.approx(0.1787619048, **near)
        bins = adaptive_bins(*given)
        assert bins[0].tolist() == [100] * 9 + [150]
        assert mce_from_bins(*bins) == pytest.approx(0.4575714286, **near)
        assert expected_calibration_error(*given) == pytest.approx(0.2289684354, **near)
        assert maximum_calibration_error(*given) == pytest.approx(0.4990989011, **near)
        equal = rms_from_bins(*equal_width_bins(*given))
        assert equal == pytest.approx(0.2656087010, **near)
        assert aurra(*given) == pytest.approx(0.5969297918, **near)
        assert soft_f1(*given) == pytest.approx(0.4229128171, **near)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60),
        st.integers(1, 25),
        st.booleans(),
    )
    def test_equals_the_slow_loop(self, pairs: list, bin_size: int, legacy: bool):
        confidence = np.array([pair[0] for pair in pairs], np.float32)
        correct = np.array([pair[1] for pair in pairs])
        rms, mad = slow_calibration(confidence, correct, bin_size, legacy)
        options = {"bin_size": bin_size, "legacy": legacy}
        assert rms_calibration_error(confidence, correct, **options) == pytest.approx(rms, abs=1e-9)
        found = mean_absolute_deviation(confidence, correct, **options)
        assert found == pytest.approx(mad, abs=1e-9)

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=40),
        st.sampled_from([1, 2, 15]),
    )
    def test_equal_width_equals_the_slow_loop(self, pairs: list, num_bins: int):
        confidence = np.array([pair[0] / 30 for pair in pairs])  # many on an edge
        correct = np.array([pair[1] for pair in pairs])
        edges = np.linspace(0, 1, num_bins + 1)
        expected, largest = 0.0, 0.0
        for low, high in itertools.pairwise(edges):
            inside = (confidence > low) & (confidence <= high)
            if inside.any():
                gap = abs(correct[inside].mean() - confidence[inside].mean())
                expected += inside.mean() * gap
                largest = max(largest, gap)
        found = expected_calibration_error(confidence, correct, num_bins=num_bins)
        assert found == pytest.approx(expected, abs=1e-12)
        found = maximum_calibration_error(confidence, correct, num_bins=num_bins)
        assert found == pytest.approx(largest, abs=1e-12)

    def test_few_predictions_are_one_bin(self):
        for num, expected in ((1, [1]), (99, [99]), (199, [199]), (200, [100, 100])):
            count = adaptive_bins(np.linspace(0.1, 1, num), np.ones(num, bool))[0]
            assert count.tolist() == expected
        assert rms_calibration_error(np.array([0.75]), np.array([True])) == 0.25
        assert rms_calibration_error(np.array([0.75]), np.array([True]), legacy=True) == 0

    def test_ties_keep_the_order_of_the_images(self):
        correct = np.array([True, False, True, True])
        _, _, right = adaptive_bins(np.full(4, 0.5), correct, bin_size=2)
        assert right.tolist() == [1, 2]

    def test_bins_of_a_record(self):
        bins = [values.tolist() for values in adaptive_bins(B_CONFIDENCE, B_CORRECT)]
        assert rms_from_bins(*bins) == rms_calibration_error(B_CONFIDENCE, B_CORRECT)
        assert sum(bins[0]) == 1050
        assert sum(bins[1]) == pytest.approx(B_CONFIDENCE.sum())
        assert sum(bins[2]) == B_CORRECT.sum()

    def test_single_precision_is_enough(self):
        single = rms_calibration_error(B_CONFIDENCE.astype(np.float32), B_CORRECT)
        assert single == pytest.approx(0.2643975170, abs=1e-7)

    def test_confidence_on_an_edge(self):
        count, _, _ = equal_width_bins(
            np.array([0.0, 0.5, 0.5001, 1.0]), np.ones(4, bool), num_bins=2
        )
        assert count.tolist() == [1, 2]
        above = np.array([1.0000001], np.float32)
        assert equal_width_bins(above, np.array([1]))[0].tolist() == [0] * 14 + [1]
        assert expected_calibration_error(np.zeros(1), np.zeros(1, bool)) == 0
        assert maximum_calibration_error(np.zeros(1), np.zeros(1, bool)) == 0

    @pytest.mark.parametrize(
        ("confidence", "correct", "message"),
        [
            ([0.5, 1.5], [1, 0], r"confidence must be in \[0, 1\], got 1.5"),
            ([0.5, math.nan], [1, 0], r"confidence must be in \[0, 1\], got nan"),
            ([-0.5], [1], r"confidence must be in \[0, 1\], got -0.5"),
            ([0.5], [2], "correct must be booleans or 0 and 1, got values up to 2"),
            ([0.5], [1, 0], "one axis of equal length"),
            ([], [], "at least 1 image, got none"),
        ],
    )
    @pytest.mark.parametrize("name", ["adaptive_bins", "equal_width_bins", "aurra", "soft_f1"])
    def test_wrong_predictions(self, name: str, confidence: list, correct: list, message: str):
        with pytest.raises(ValueError, match=message):
            unchecked(getattr(metrics, name))(np.array(confidence, float), np.array(correct, int))

    def test_wrong_bins(self):
        with pytest.raises(ValueError, match="bin_size must be at least 1 prediction, got 0"):
            rms_calibration_error(A_CONFIDENCE, A_CORRECT, bin_size=0)
        with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
            expected_calibration_error(A_CONFIDENCE, A_CORRECT, num_bins=0)
        with pytest.raises(ValueError, match=r"bins must agree .* \(2,\), \(1,\), \(1,\)"):
            rms_from_bins([1, 1], [0.5], [1])
        with pytest.raises(ValueError, match="hold a prediction, got .* with 0 in all"):
            ece_from_bins([0], [0.0], [0])


class TestScores:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.25, 0.5, 0.25]])
    labels = np.array([0, 1, 0, 2])

    def test_worked_example(self):
        assert brier_score(self.probabilities, self.labels) == pytest.approx(0.45375, abs=1e-12)
        nll = negative_log_likelihood(self.probabilities, self.labels)
        assert nll == pytest.approx(0.7925214152, abs=5e-11)
        assert error_rate(self.probabilities.argmax(axis=1), self.labels) == 0.5

    def test_terms(self):
        expected = ((0.14, 0.35667494), (0.06, 0.22314355), (0.74, 1.2039728), (0.875, 1.38629436))
        for image, (brier, nll) in enumerate(expected):
            one = self.probabilities[image : image + 1], self.labels[image : image + 1]
            assert brier_score(*one) == pytest.approx(brier, abs=1e-12)
            assert negative_log_likelihood(*one) == pytest.approx(nll, abs=5e-9)

    def test_input_is_left_alone(self):
        before = self.probabilities.copy()
        brier_score(self.probabilities, self.labels)
        assert np.array_equal(before, self.probabilities)

    def test_bounds(self):
        certain = np.array([[1.0, 0.0]])
        assert brier_score(certain, np.array([1])) == 2
        assert negative_log_likelihood(certain, np.array([1])) == math.inf
        assert negative_log_likelihood(certain, np.array([0])) == 0
        assert math.isnan(soft_f1(np.ones(3), np.ones(3, bool)))

    def test_wrong_input(self):
        for score in (brier_score, negative_log_likelihood):
            with pytest.raises(ValueError, match=r"labels must be 0..2, got 3"):
                score(self.probabilities, np.array([0, 1, 3, 2]))
            with pytest.raises(ValueError, match=r"got shapes \(4, 3\) and \(3,\)"):
                unchecked(score)(self.probabilities, self.labels[:3])

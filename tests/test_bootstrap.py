"""Intervals against SciPy, against formulas, and against what many simulated sets really do."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from augmix import bootstrap, metrics
from augmix.bootstrap import (
    Draws,
    Interval,
    average,
    difference,
    proportion_interval,
    resample_counts,
    resample_ece,
    resample_means,
    resample_rms,
    seed_difference,
    spread,
    widened,
)
from augmix.rng import Purpose, Stream


def stream(seed: int) -> Stream:
    return Stream(seed=seed, purpose=Purpose.BOOTSTRAP)


def wrong(rng: np.random.Generator, fraction: float, num: int) -> np.ndarray:
    return (rng.random(num) < fraction).astype(float)


class TestDraws:
    def test_every_set_has_as_many_images(self):
        counts = np.concatenate(list(resample_counts(50, num_resamples=30)))
        assert counts.shape == (30, 50)
        assert (counts.sum(axis=1) == 50).all()
        assert len(np.unique(counts, axis=0)) == 30

    def test_block_size_changes_nothing(self, monkeypatch: pytest.MonkeyPatch):
        values = np.random.default_rng(0).random((2, 40))
        before = [each.resampled for each in resample_means(values, num_resamples=25)]
        monkeypatch.setattr(bootstrap, "_BLOCK", 90)
        after = [each.resampled for each in resample_means(values, num_resamples=25)]
        assert np.allclose(before, after, rtol=1e-14)
        more = resample_means(values, num_resamples=60)[0].resampled[:25]
        assert np.allclose(before[0], more, rtol=1e-14)

    def test_another_seed_draws_other_sets(self):
        values = np.random.default_rng(0).random((1, 40))
        one, other = (resample_means(values, stream=stream(seed))[0] for seed in (0, 1))
        assert one.estimate == other.estimate
        assert not np.allclose(one.resampled, other.resampled)

    def test_means_by_hand(self):
        """One set: the mean of the images drawn, each as often as it was drawn."""
        values = np.array([[1.0, 2.0, 4.0, 8.0]])
        counts = np.concatenate(list(resample_counts(4, num_resamples=5)))
        found = resample_means(values, num_resamples=5)[0]
        assert found.estimate == 3.75
        for drawn, mean in zip(counts, found.resampled, strict=True):
            assert mean == pytest.approx(np.repeat(values[0], drawn).mean())

    def test_memory_does_not_grow_with_the_number_of_sets(self):
        values = np.random.default_rng(0).random((3, 20_000))
        peaks = []
        for num_resamples in (10, 200):
            tracemalloc.start()
            resample_means(values, num_resamples=num_resamples)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.5 * peaks[0] < 6e6  # all sets at once take 16 MB

    def test_too_little(self):
        with pytest.raises(ValueError, match="at least 1 image and 2 resampled sets"):
            next(resample_counts(0))
        with pytest.raises(ValueError, match="at least 1 image and 2 resampled sets"):
            next(resample_counts(5, num_resamples=1))
        draws = Draws(estimate=0.5, resampled=np.array([0.4, 0.6]))
        with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
            draws.interval(95.0)
        with pytest.raises(ValueError, match=r"same resampled sets are needed, got counts"):
            average([draws, Draws(estimate=0.5, resampled=np.zeros(3))])
        with pytest.raises(ValueError, match="same resampled sets"):
            average([])


class TestMeans:
    def test_one_cell_agrees_with_the_binomial_formula(self):
        for fraction, num in ((0.3, 1000), (0.05, 4000)):
            values = wrong(np.random.default_rng(1), fraction, num)
            draws = resample_means(values[None], num_resamples=4000)[0]
            std = np.sqrt(values.mean() * (1 - values.mean()) / num)
            assert draws.resampled.std() == pytest.approx(std, rel=0.04)
            found, wilson = draws.interval(), proportion_interval(int(values.sum()), num)
            assert found.low == pytest.approx(wilson.low, abs=0.2 * std)
            assert found.high == pytest.approx(wilson.high, abs=0.2 * std)

    @pytest.mark.parametrize("level", [0.8, 0.95])
    def test_agrees_with_scipy(self, level: float):
        values = np.random.default_rng(2).exponential(size=300)
        found = resample_means(values[None], num_resamples=6000)[0].interval(level)
        expected = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=6000,
            confidence_level=level,
            method="percentile",
            rng=np.random.default_rng(3),
        ).confidence_interval
        near = 0.1 * (expected.high - expected.low)
        assert found.low == pytest.approx(expected.low, abs=near / 2)
        assert found.high == pytest.approx(expected.high, abs=near / 2)

    def test_cells_of_one_image_stay_together(self):
        """Five equal cells are worth one; five independent cells narrow the range by sqrt(5)."""
        rng = np.random.default_rng(4)
        cell = wrong(rng, 0.3, 600)
        same = np.stack([cell] * 5)
        apart = np.stack([wrong(rng, 0.3, 600) for _ in range(5)])
        one, all_same, all_apart = (
            resample_means(values.mean(axis=0)[None], num_resamples=3000)[0].resampled.std()
            for values in (cell[None], same, apart)
        )
        assert all_same == pytest.approx(one, rel=1e-9)
        assert all_apart == pytest.approx(one / np.sqrt(5), rel=0.1)

    def test_pairs_share_their_noise(self):
        """Two models that fail on the same images differ by far less than their ranges."""
        rng = np.random.default_rng(5)
        first = wrong(rng, 0.3, 1000)
        second = first.copy()
        second[np.flatnonzero(first)[:30]] = 0
        draws = resample_means(np.stack([first, second]))
        found = difference(*draws).interval()
        assert found.estimate == pytest.approx(0.03)
        assert found.verdict == "higher"
        assert difference(*draws[::-1]).interval().verdict == "lower"
        one, other = draws[0].interval(), draws[1].interval()
        assert one.low < other.high  # the single ranges overlap
        assert (found.high - found.low) < 0.5 * (one.high - one.low)
        scipy = stats.bootstrap((first - second,), np.mean, method="percentile", rng=rng)
        assert found.low == pytest.approx(scipy.confidence_interval.low, abs=0.002)

    def test_rare_events_stay_above_0(self):
        """One of 500: a percentile of counts, never below none."""
        values = np.zeros((1, 500))
        values[0, 0] = 1
        found = resample_means(values)[0].interval()
        assert found.low == 0
        assert found.high == pytest.approx(0.006, abs=0.0021)

    def test_nothing_varies(self):
        found = resample_means(np.zeros((1, 30)))[0].interval()
        assert (found.low, found.estimate, found.high) == (0, 0, 0)
        assert found.verdict == "within noise"


class TestCalibration:
    @pytest.mark.parametrize(("num", "bin_size"), [(60, 7), (30, 1), (9, 100), (40, 20)])
    def test_equals_the_metric_of_the_copies(self, num: int, bin_size: int):
        """Each resampled set written out image by image and given to the metric."""
        rng = np.random.default_rng(num)
        confidence = rng.random((2, num)).round(1).astype(np.float32)  # with ties
        correct = rng.random((2, num)) < confidence
        found = resample_rms(confidence, correct, bin_size=bin_size, num_resamples=20)
        counts = np.concatenate(list(resample_counts(num, num_resamples=20)))
        for cell, draws in enumerate(found):
            expected = metrics.rms_calibration_error(
                confidence[cell], correct[cell], bin_size=bin_size
            )
            assert draws.estimate == pytest.approx(expected, abs=1e-12)
            for drawn, value in zip(counts, draws.resampled, strict=True):
                copies = np.repeat(np.arange(num), drawn)
                expected = metrics.rms_calibration_error(
                    confidence[cell][copies], correct[cell][copies], bin_size=bin_size
                )
                assert value == pytest.approx(expected, abs=1e-9)

    def test_ece_equals_the_metric_of_the_pooled_cells(self):
        rng = np.random.default_rng(6)
        confidence = rng.random((3, 50))
        correct = rng.random((3, 50)) < 0.6
        found = resample_ece(confidence, correct, num_resamples=10)
        pooled = metrics.expected_calibration_error(confidence.ravel(), correct.ravel())
        assert found.estimate == pytest.approx(pooled)
        counts = np.concatenate(list(resample_counts(50, num_resamples=10)))
        copies = np.repeat(np.arange(50), counts[7])
        pooled = metrics.expected_calibration_error(
            confidence[:, copies].ravel(), correct[:, copies].ravel()
        )
        assert found.resampled[7] == pytest.approx(pooled)

    def test_the_range_is_around_the_number(self):
        """A perfectly calibrated model: resampled values all lie above the measured one."""
        rng = np.random.default_rng(7)
        confidence = rng.uniform(0.2, 1, (1, 1000))
        draws = resample_rms(confidence, rng.random((1, 1000)) < confidence, num_resamples=200)[0]
        assert np.mean(draws.resampled > draws.estimate) > 0.8
        found = draws.interval()
        assert found.low < found.estimate < found.high


def test_proportions_agree_with_scipy():
    for hits, trials in ((0, 397), (3, 200), (100, 200), (200, 200), (1, 1)):
        expected = stats.binomtest(hits, trials).proportion_ci(method="wilson")
        found = proportion_interval(hits, trials)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert found.low <= found.estimate == hits / trials <= found.high
    for hits, trials in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ValueError, match=rf"0\.\.trials, got {hits} of {trials}"):
            proportion_interval(hits, trials)


class TestSeeds:
    def test_mean_and_std(self):
        expected = (0.3, np.sqrt((0.04 + 0.01 + 0.09) / 2))
        assert spread([0.1, 0.2, 0.6]) == pytest.approx(expected)
        assert np.isnan(spread([0.1])[1])
        with pytest.raises(ValueError, match="at least 1 seed is needed, got none"):
            spread([])

    def test_welch_agrees_with_scipy(self):
        first, second = [0.30, 0.32, 0.29], [0.18, 0.25, 0.20, 0.17]
        found = seed_difference(first, second)
        test = stats.ttest_ind(first, second, equal_var=False)
        expected = test.confidence_interval(0.95)  # type: ignore
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
        assert found.verdict == "higher"
        same = seed_difference([0.1, 0.1], [0.1, 0.1])
        assert (same.low, same.high, same.verdict) == (0, 0, "within noise")
        with pytest.raises(ValueError, match="at least 2 seeds of each are needed, got 1, 4"):
            seed_difference([0.3], second)

    def test_noise_of_images_and_seeds_adds_up(self):
        images = Interval(estimate=0.1, low=0.07, high=0.14)
        found = widened(images, Interval(estimate=0.1, low=0.06, high=0.14))
        assert (found.low, found.high) == (pytest.approx(0.05), pytest.approx(0.1 + 0.04 * 2**0.5))


@pytest.mark.slow
class TestCoverage:
    """95 % intervals of simulated sets contain the truth in 92-98 % of 400 tries (3 std)."""

    TRIES = 400

    def test_error_and_difference(self):
        rng, inside = np.random.default_rng(8), np.zeros(2)
        for number in range(self.TRIES):
            luck = rng.random(300)  # images that are hard for one are hard for the other
            first = (0.7 * luck + 0.3 * rng.random(300) < 0.3).astype(float)
            second = (0.7 * luck + 0.3 * rng.random(300) < 0.4).astype(float)
            draws = resample_means(
                np.stack([first, second]), num_resamples=200, stream=stream(number)
            )
            for which, found, truth in (
                (0, draws[0].interval(), self.chance(0.3)),
                (1, difference(*draws).interval(), self.chance(0.3) - self.chance(0.4)),
            ):
                inside[which] += found.low <= truth <= found.high
        assert (np.abs(inside / self.TRIES - 0.95) < 0.035).all(), inside

    def test_rms_calibration_error(self):
        """The truth is the mean of the metric over sets of this size."""
        rng = np.random.default_rng(9)

        def simulate(gap: float) -> tuple[np.ndarray, np.ndarray]:
            confidence = rng.uniform(0.3, 1, (1, 400))
            return confidence, rng.random((1, 400)) < confidence - gap * (1 - confidence)

        for gap in (0.0, 0.5):
            values = [
                metrics.rms_calibration_error(*(part[0] for part in simulate(gap)))
                for _ in range(2000)
            ]
            inside = 0
            for number in range(self.TRIES):
                draws = resample_rms(*simulate(gap), num_resamples=200, stream=stream(number))[0]
                found = draws.interval()
                inside += found.low <= np.mean(values) <= found.high
            assert inside / self.TRIES > 0.91, gap

    @staticmethod
    def chance(limit: float) -> float:
        """P(0.7 u + 0.3 v < limit) for independent uniforms, limit in 0.3..0.7: a trapezium."""
        return (limit - 0.15) / 0.7

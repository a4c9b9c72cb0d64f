"""Intervals against SciPy, against formulas, and against what many simulated sets really do."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from augmix import bootstrap, metrics
from augmix.bootstrap import (
    FRACTION,
    Draws,
    Interval,
    average,
    difference,
    proportion_interval,
    resample_counts,
    resample_ece,
    resample_means,
    resample_outliers,
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

    def test_outliers_are_resampled_block_by_block(self, monkeypatch: pytest.MonkeyPatch):
        rng = np.random.default_rng(0)
        inside, outside = rng.random(4000), 0.9 * rng.random(6000)
        tracemalloc.start()
        found = resample_outliers(inside, outside, num_resamples=300)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40e6  # the scores of all sets at once take 120 MB
        monkeypatch.setattr(bootstrap, "_BLOCK", 10**8)
        at_once = resample_outliers(inside, outside, num_resamples=300)
        for ours, theirs in zip(found, at_once, strict=True):
            np.testing.assert_array_equal(ours.resampled, theirs.resampled)

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


class TestLimits:
    def test_a_mean_of_one_set_has_wilsons_interval(self):
        for hits, trials in ((0, 7), (1, 1), (3, 40), (25, 25), (12, 400)):
            values = (np.arange(trials) < hits).astype(float)[None]
            found = resample_means(values, limits=[FRACTION])[0].interval()
            assert found == proportion_interval(hits, trials)
        half = resample_means(values / 2, limits=[(0.0, 0.5)])[0].interval()
        assert (half.low, half.high) == pytest.approx((found.low / 2, found.high / 2))

    def test_equal_sets_are_worth_one(self):
        cell = wrong(np.random.default_rng(0), 0.3, 60)
        one, both = (
            resample_means(values[None], limits=[FRACTION])[0].interval()
            for values in (cell, np.stack([cell] * 5).mean(axis=0))
        )
        assert (both.low, both.high) == (one.low, one.high)

    @pytest.mark.parametrize("num", [1, 2, 3, 8, 30])
    def test_no_interval_leaves_its_limits(self, num: int):
        rng = np.random.default_rng(num)
        for chance in (0.0, 0.1, 0.9, 1.0):
            confidence = 1 - rng.beta(1, 20, (2, num))
            correct = rng.random((2, num)) < chance
            means = resample_means(correct * 1, limits=[FRACTION] * 2, num_resamples=50)
            rms = resample_rms(confidence, correct, num_resamples=50)
            ece = resample_ece(confidence, correct, num_resamples=50)
            for draws in (*means, *rms, ece, average(means), average(rms)):
                found = draws.interval()
                assert 0 <= found.low <= found.estimate <= found.high <= 1, (chance, draws)
                assert draws.num_images == 0 or found.high - found.low > 0.05
            for first, second in (means, rms):
                apart = difference(first, second)
                assert apart.limits == (-1, 1)
                wide = Interval(estimate=0.0, low=-9.0, high=9.0)
                for found in (apart.interval(), widened(apart.interval(), wide, apart.limits)):
                    assert -1 <= found.low <= found.estimate <= found.high <= 1

    def test_a_calibration_error_that_left_its_range(self):
        """0.6 %, with the interval -0.1 to 1.9 %, of a calibrated model."""
        rng = np.random.default_rng(0)
        found = [
            resample_rms(confidence, rng.random((1, 300)) < confidence, num_resamples=100)[0]
            for confidence in 1 - rng.beta(1, 60, (20, 1, 300))
        ]
        percentiles = [np.quantile(each.resampled, 0.025) - each.bias for each in found]
        assert min(percentiles) < 0
        assert min(each.interval().low for each in found) == 0

    def test_the_kind_is_named(self):
        draws = resample_means(np.eye(3), limits=[FRACTION] * 3)
        assert draws[0].interval().kind == "Wilson"
        assert difference(draws[0], draws[1]).interval().kind == "bootstrap"
        assert resample_means(np.eye(3))[0].interval().kind == "bootstrap"
        assert proportion_interval(1, 3).kind == "Wilson"
        assert seed_difference([1.0, 2.0], [3.0, 4.0]).kind == "Student's t"


def correlated(rng: np.random.Generator, num: int, num_cells: int, chance: float) -> np.ndarray:
    """Errors `cell image`; an image that is hard in one cell is hard in the others."""
    hardness = rng.standard_normal(num)
    latent = 0.6**0.5 * hardness + 0.4**0.5 * rng.standard_normal((num_cells, num))
    return (latent < stats.norm.ppf(chance)).astype(float)


class TestCoverageOfFewImages:
    """95 % intervals of few images contain the truth in at least 90 % of tries (2 std below)."""

    @pytest.mark.parametrize("num_cells", [1, 15])
    @pytest.mark.parametrize("num", [5, 10, 20])
    def test_means(self, num: int, num_cells: int):
        rng = np.random.default_rng(num)
        for chance in (0.05, 0.3):
            values = [correlated(rng, num, num_cells, chance).mean(axis=0) for _ in range(600)]
            draws = [
                resample_means(each[None], limits=[FRACTION], num_resamples=2)[0].interval()
                for each in values
            ]
            inside = np.mean([found.low <= chance <= found.high for found in draws])
            assert inside > 0.88, (chance, inside)

    @pytest.mark.parametrize("num", [5, 20])
    def test_calibration_errors(self, num: int):
        """Confident models, of which most sets show no error at all: the hardest case."""
        rng = np.random.default_rng(num)

        def simulate() -> tuple[np.ndarray, np.ndarray]:
            confidence = 1 - rng.beta(1, 30, (1, num))
            return confidence, rng.random((1, num)) < confidence

        sets = [simulate() for _ in range(1000)]
        truth = np.mean([metrics.rms_calibration_error(c[0], r[0]) for c, r in sets])
        found = [resample_rms(c, r, num_resamples=50)[0].interval() for c, r in sets[:200]]
        assert np.mean([each.low <= truth <= each.high for each in found]) > 0.9


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

    @pytest.mark.parametrize("num", [5, 10, 20, 50, 200])
    def test_means_of_cells(self, num: int):
        """Lower where fewer than two of the images are expected to err at all."""
        rng = np.random.default_rng(num)
        for num_cells in (1, 15, 75):
            for chance in (0.02, 0.1, 0.5):
                inside = 0
                for _ in range(1000):
                    values = correlated(rng, num, num_cells, chance).mean(axis=0)
                    draws = resample_means(values[None], limits=[FRACTION], num_resamples=2)[0]
                    found = draws.interval()
                    inside += found.low <= chance <= found.high
                least = 0.75 if num * chance < 1.5 and num_cells > 1 else 0.85
                assert inside / 1000 > least, (num_cells, chance)

    @pytest.mark.parametrize("num", [5, 10, 20, 50, 100])
    def test_calibration_errors_of_few_images(self, num: int):
        """At least 80 %: less than 95 % where most sets show no error."""
        rng = np.random.default_rng(num)
        for shape, chance in (((1, 1), None), ((1, 30), None), ((1, 10), 0.7)):

            def simulate(shape=shape, chance=chance) -> tuple[np.ndarray, np.ndarray]:
                confidence = 1 - 0.7 * rng.beta(*shape, (1, num))
                return confidence, rng.random((1, num)) < (chance or confidence)

            sets = [simulate() for _ in range(1500)]
            rms = np.mean([metrics.rms_calibration_error(c[0], r[0]) for c, r in sets])
            ece = np.mean([metrics.expected_calibration_error(c[0], r[0]) for c, r in sets])
            inside = np.zeros(2)
            for confidence, right in sets[: self.TRIES]:
                for which, draws, truth in (
                    (0, resample_rms(confidence, right, num_resamples=200)[0], rms),
                    (1, resample_ece(confidence, right, num_resamples=200), ece),
                ):
                    found = draws.interval()
                    inside[which] += found.low <= truth <= found.high
            assert (inside / self.TRIES > 0.8).all(), (shape, chance, inside)

    @staticmethod
    def chance(limit: float) -> float:
        """P(0.7 u + 0.3 v < limit) for independent uniforms, limit in 0.3..0.7: a trapezium."""
        return (limit - 0.15) / 0.7


class TestRanked:
    def test_every_set_is_measured_as_a_set(self):
        """Copies of an image are equal in every metric but the bins of equal mass, which split."""
        rng = np.random.default_rng(2)
        confidence = rng.random((2, 60)) * 0.8 + 0.2
        correct = rng.random((2, 60)) < confidence
        found = bootstrap.resample_ranked(confidence, correct, num_bins=4, num_resamples=6)
        measures = {
            "aurc": metrics.aurc,
            "augrc": metrics.augrc,
            "risk": metrics.risk_at_coverage,
            "smooth_ece": metrics.smooth_calibration_error,
        }
        counts = np.concatenate(list(resample_counts(60, num_resamples=6)))
        for cell in range(2):
            for name, measure in measures.items():
                draws = found[name][cell]
                assert draws.estimate == pytest.approx(measure(confidence[cell], correct[cell]))
                for count, value in zip(counts, draws.resampled, strict=True):
                    images = np.repeat(np.arange(60), count)
                    expected = measure(confidence[cell][images], correct[cell][images])
                    assert value == pytest.approx(expected, abs=1e-9)
            adaptive = found["adaptive_ece"][cell]
            error = metrics.adaptive_calibration_error(confidence[cell], correct[cell], num_bins=4)
            assert adaptive.estimate == pytest.approx(error)
            for count, value in zip(counts, adaptive.resampled, strict=True):
                images = np.repeat(
                    np.argsort(confidence[cell]), count[np.argsort(confidence[cell])]
                )
                own = confidence[cell][images], correct[cell][images]
                assert value == pytest.approx(
                    metrics.adaptive_calibration_error(*own, num_bins=4), abs=1e-9
                )

    @pytest.mark.slow
    def test_how_often_an_interval_holds_the_number(self):
        """The AURC of predictions whose confidence is the probability that they are right."""
        rng, hits, truth = np.random.default_rng(0), 0, []
        sets = []
        for _ in range(60):
            confidence = rng.beta(4, 1.5, 400)
            correct = rng.random(400) < confidence
            truth.append(metrics.aurc(confidence, correct))
            sets.append((confidence, correct))
        middle = float(np.mean(truth))
        for confidence, correct in sets:
            draws = bootstrap.resample_ranked(confidence[None], correct[None], num_resamples=200)
            interval = draws["aurc"][0].interval()
            hits += interval.low <= middle <= interval.high
        assert hits >= 51  # 57 of 60 on average; fewer than 51 is a chance of 0.1 %

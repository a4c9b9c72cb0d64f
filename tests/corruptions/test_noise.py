"""Noise against formulas on the published draws, and the statistics of addressed draws."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats
from toy_images import checkered, cut, legacy, random_images, run

from augmix.corruptions import noise
from augmix.corruptions.corrupt import corrupt
from augmix.corruptions.noise import (
    _poisson_tables,
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)
from augmix.corruptions.registry import Preset
from augmix.rng import Purpose, Stream


def test_gaussian_noise():
    for image in random_images():
        noise = legacy().normal(0, 0.12, image.shape)
        result = gaussian_noise(image, 0.12, generator=legacy())
        np.testing.assert_array_equal(result, cut(image / 255.0 + noise))


def test_shot_noise():
    for image in random_images():
        counts = legacy().poisson(image / 255.0 * 12)
        result = shot_noise(image, 12, generator=legacy())
        np.testing.assert_array_equal(result, cut(counts / 12.0))


def test_impulse_noise():
    for image in random_images():
        generator = legacy()
        flipped = generator.choice([True, False], size=image.shape, p=[0.2, 0.8])
        salted = generator.choice([True, False], size=image.shape, p=[0.5, 0.5])
        expected = image.copy()
        expected[flipped & salted] = 255
        expected[flipped & ~salted] = 0
        result = impulse_noise(image, 0.2, generator=legacy())
        np.testing.assert_array_equal(result, expected)


def test_speckle_noise():
    for image in random_images():
        x = image / 255.0
        expected = cut(x + x * legacy().normal(0, 0.35, image.shape))
        result = speckle_noise(image, 0.35, generator=legacy())
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("photons", [3.0, 12.0, 60.0, 500.0])
def test_addressed_photon_counts_follow_poisson(photons: float):
    levels = np.array([0, 1, 20, 100, 255], np.uint8)
    image = np.repeat(levels, 40_000).reshape(5, 40_000, 1)
    counts = noise.poisson_counts(np.random.default_rng(1), image, photons)[..., 0]
    assert not counts[0].any()
    for level, row in zip(levels[1:], counts[1:], strict=True):
        top = int(photons)
        mean = level / 255 * photons
        expected = stats.poisson.pmf(np.arange(top + 1), mean) * row.size
        expected = np.append(expected, stats.poisson.sf(top, mean) * row.size)
        found = np.bincount(row, minlength=top + 2)
        assert len(found) == top + 2
        keep = expected > 5
        chi2 = ((found - expected)[keep] ** 2 / expected[keep]).sum()
        assert stats.chi2.sf(chi2, keep.sum()) > 1e-4


def test_addressed_noise_has_the_statistics_of_the_legacy_one():
    image = np.full((200, 200, 3), 90, np.uint8)
    for name in ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"):
        for severity in (1, 3, 5):
            old = run(image, name, "imagenet", severity, legacy(3)).astype(float)
            new = run(image, name, "imagenet", severity, np.random.default_rng(3)).astype(float)
            error = np.hypot(old.std(), new.std()) / np.sqrt(image.size)
            assert abs(old.mean() - new.mean()) < 4 * error
            assert stats.ks_2samp(old.ravel(), new.ravel()).pvalue > 1e-4
            neighbours = np.corrcoef(new[:, :-1].ravel(), new[:, 1:].ravel())[0, 1]
            assert abs(neighbours) < 0.02


@pytest.mark.parametrize(
    "name",
    ["glass_blur", "motion_blur", "snow", "frost", "fog", "elastic_transform", "spatter"],
)
def test_addressed_draws_have_the_statistics_of_the_legacy_ones(name: str):
    """Brightness, contrast and distance to the clean image, over many draws of each kind."""
    image = np.clip(checkered(32).astype(int) // 2 + 40, 0, 255).astype(np.uint8)
    old = [run(image, name, "cifar", 3, legacy(seed)) for seed in range(150)]
    stream = Stream(seed=8).at(Purpose.CORRUPTION)
    new = [run(image, name, "cifar", 3, stream.generator(sample)) for sample in range(150)]
    for measure in (
        lambda result: result.mean(),
        lambda result: result.std(),
        lambda result: np.abs(result.astype(float) - image).mean(),
        lambda result: float(result[16, 16, 1]),
    ):
        found = stats.ks_2samp([measure(one) for one in old], [measure(one) for one in new])
        assert found.pvalue > 1e-3


def test_chances_of_certain_things():
    generator = np.random.default_rng(0)
    assert not noise.bernoulli(generator, 0.0, (1000,)).any()
    assert noise.bernoulli(generator, 1.0, (1000,)).all()
    assert noise.bernoulli(generator, 0.27, (100_000,)).mean() == pytest.approx(0.27, abs=0.006)


def test_many_photons_have_poisson_counts():
    """Beyond 700 photons the probabilities of no photon are 0 in double precision."""
    cumulative, _ = _poisson_tables(2000)
    for level, count in ((255, 2000), (128, 1000), (10, 90)):
        expected = stats.poisson.cdf(count, level / 255 * 2000)
        assert cumulative[level, count] / 2**32 == pytest.approx(expected, abs=1e-6)
    clean = np.full((1, 100, 100, 1), 128, np.uint8)
    table = Preset(name="own", table={"shot_noise": ((2000,),)})
    noisy = corrupt(clean, "shot_noise", severity=1, preset=table) / 255
    assert noisy.mean() == pytest.approx(128 / 255 - 0.5 / 255, abs=1e-3)  # the fraction is dropped
    assert noisy.std() == pytest.approx(math.sqrt(128 / 255 / 2000), rel=0.05)


def test_tables_of_counts_take_little_memory():
    tracemalloc.start()
    cumulative, guide = _poisson_tables.__wrapped__(3000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50 * 2**20  # comparing every bound with every start takes 200 MiB
    starts = np.arange(256, dtype=np.uint64) << 24
    for level in (0, 1, 128, 255):
        expected = [int((cumulative[level] <= start).sum()) for start in starts]
        assert guide[level].tolist() == expected

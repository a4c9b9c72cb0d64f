import pytest

from augmix.training.config import Recipe, learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (25, 0.08535549), (50, 0.05000050), (75, 0.01464551), (100, 1e-6)],
)
def test_the_cosine_is_the_published_one(step: int, expected: float) -> None:
    rate = learning_rate(step, 100, peak=0.1, schedule="cosine")
    assert rate == pytest.approx(expected, abs=5e-9)


def test_the_cosine_of_the_papers_length() -> None:
    total = 100 * 391
    assert learning_rate(0, total, peak=0.1, schedule="cosine") == 0.1
    rate = learning_rate(total // 4, total, peak=0.1, schedule="cosine")
    assert rate == pytest.approx(0.08535549, abs=5e-9)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.004), (15, 0.052), (30, 0.1), (65, 0.05000050), (100, 1e-6)]
)
def test_one_cycle_climbs_for_30_percent_then_falls(step: int, expected: float) -> None:
    rate = learning_rate(step, 100, peak=0.1, schedule="one-cycle")
    assert rate == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.1), (29, 0.1), (30, 0.01), (59, 0.01), (60, 0.001), (89, 0.001)]
)
def test_the_steps_of_imagenet(epoch: int, expected: float) -> None:
    """Divided by 10 after 30 and 60 of 90 epochs: at their first step, not before."""
    recipe = Recipe(epochs=90, schedule="step", nesterov=False, batch_size=256)
    for step in (0, 5003):  # of 5,004
        rate = recipe.rate(epoch * 5004 + step, 5004)
        assert rate == pytest.approx(expected, rel=1e-12)


def test_other_shares_are_rounded_down_to_whole_epochs() -> None:
    recipe = Recipe(epochs=100, schedule="step", decay_at=(0.29, 1 / 3, 0.999))
    rates = [recipe.rate(epoch, 1) for epoch in range(100)]
    lower = [epoch for epoch in range(1, 100) if rates[epoch] < rates[epoch - 1]]
    assert lower == [29, 33, 99]
    assert rates[99] == pytest.approx(1e-4)


def test_the_rate_grows_with_the_batch() -> None:
    for batch_size, expected in ((256, 0.1), (1024, 0.4), (32, 0.0125)):
        recipe = Recipe(batch_size=batch_size, base_batch_size=256)
        assert recipe.rate(0, 10) == pytest.approx(expected)
    assert Recipe(batch_size=1024).rate(0, 10) == 0.1


def test_the_warm_up_climbs_in_equal_steps_to_the_peak() -> None:
    """Goyal et al.: 5 epochs of warm-up, steps counted from the start of the run."""
    recipe = Recipe(epochs=90, schedule="step", warm_up_epochs=5.0, learning_rate=0.8)
    rates = [recipe.rate(step, 4) for step in range(90 * 4)]
    assert rates[:4] == pytest.approx([0.04, 0.08, 0.12, 0.16])
    assert (rates[18], rates[19], rates[20]) == pytest.approx((0.76, 0.8, 0.8))
    assert (rates[119], rates[120], rates[240]) == pytest.approx((0.8, 0.08, 0.008))


def test_a_cosine_begins_after_the_warm_up() -> None:
    recipe = Recipe(epochs=10, warm_up_epochs=0.5)  # 5 of 100 steps
    alone = Recipe(epochs=19)
    assert recipe.rate(4, 10) == recipe.rate(5, 10) == 0.1
    for step in (0, 30, 94):
        assert recipe.rate(5 + step, 10) == alone.rate(step, 5)


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_short_runs_and_tiny_peaks_stay_positive(schedule: str) -> None:
    for total in (1, 2, 3, 4):
        for step in range(total):
            assert 0 < learning_rate(step, total, peak=0.1, schedule=schedule) <= 0.1
    assert learning_rate(1, 2, peak=1e-8, schedule=schedule) == pytest.approx(1e-8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number above 0"),
        ({"momentum": 1.0}, "momentum must be 0 up to below 1, got 1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number from 0, got -1.0"),
        ({"seed": -1}, "seed must be 0..2"),
        ({"num_threads": 0}, "num_threads must be at least 1, got 0"),
        ({"base_batch_size": -1}, "base_batch_size must be at least 0, got -1"),
        ({"decay_at": (0.6, 0.3)}, "decay_at must be rising shares"),
        ({"decay_at": (0.5, 0.5)}, "decay_at must be rising shares"),
        ({"decay_at": (0.0,)}, "decay_at must be rising shares"),
        ({"warm_up_epochs": 100.0}, "warm_up_epochs must be 0 up to 100, got 100.0"),
        (
            {"warm_up_epochs": 1.0, "schedule": "one-cycle"},
            "warm_up_epochs must be 0 with one-cycle",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**changes)

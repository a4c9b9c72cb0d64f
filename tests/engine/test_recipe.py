import pytest

from augmix.engine.recipe import Recipe, learning_rate


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
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**changes)

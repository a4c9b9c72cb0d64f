"""Which threads are used, and that every piece of work is done once, whatever their number."""

import threading

import numpy as np
import pytest

from augmix.corruptions import corrupt, registry
from augmix.corruptions.corrupt import for_each, useful_threads
from augmix.corruptions.perturb import perturb


def test_small_images_have_one_thread():
    assert useful_threads(4, (32, 32)) == 1
    assert useful_threads(4, (127, 129)) == 1
    assert useful_threads(4, (128, 128)) == 4
    assert useful_threads(1, (224, 224)) == 1
    assert useful_threads(4, (224, 224), keeps_gil=True) == 1
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"num_threads must be at least 1, got {wrong}"):
            useful_threads(wrong, (32, 32))


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 25])
def test_every_place_once(num_threads: int, count: int):
    done: list[int] = []
    for_each(done.append, count, num_threads=num_threads)
    assert sorted(done) == list(range(count))


def test_threads_work_at_the_same_time():
    barrier = threading.Barrier(2, timeout=10)
    for_each(lambda place: barrier.wait() and None, 2, num_threads=2)


def test_an_error_comes_out():
    def work(place: int) -> None:
        if place == 5:
            raise RuntimeError("place 5")

    for num_threads in (1, 2):
        with pytest.raises(RuntimeError, match="place 5"):
            for_each(work, 9, num_threads=num_threads)


def test_any_number_of_threads_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch):
    """Threads forced upon small images, which is where they would meet most often."""
    images = np.random.default_rng(5).integers(0, 256, (9, 20, 24, 3), dtype=np.uint8)
    corrupted = [corrupt.corrupt(images, name, severity=3) for name in list(registry.CORRUPTIONS)]
    drifting = perturb(images, "snow")
    monkeypatch.setattr(corrupt, "_MIN_PIXELS", 0)
    monkeypatch.setattr(corrupt, "_KEEP_GIL", ())
    for name, expected in zip(list(registry.CORRUPTIONS), corrupted, strict=True):
        result = corrupt.corrupt(images, name, severity=3, num_threads=3)
        np.testing.assert_array_equal(result, expected, err_msg=name)
    np.testing.assert_array_equal(perturb(images, "snow", num_threads=3), drifting)

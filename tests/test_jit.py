"""A kernel works where nothing can be written; elsewhere it is kept."""

from pathlib import Path

import numpy as np
import pytest

from augmix import rng
from augmix.corruptions import noise
from augmix.jit import outer


def test_a_kernel_that_cannot_be_kept_still_works():
    namespace: dict = {}
    exec("def double(x):\n    return 2 * x", namespace)  # has no file to keep it beside
    assert outer(namespace["double"])(4) == 8


def test_a_kernel_is_kept(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    kernel = outer(noise._salt.py_func)
    assert str(tmp_path) in kernel._cache.cache_path


def test_division_follows_ieee():
    namespace: dict = {}
    exec("def divide(x, y):\n    return x / y", namespace)
    assert outer(namespace["divide"])(1.0, 0.0) == float("inf")


@pytest.mark.parametrize("build", [rng._fill_words, rng._fill_blocks])
def test_the_kernels_of_random_words_are_read_from_the_disk(build, tmp_path: Path, monkeypatch):
    """A kernel that closes over another is never found again and is kept once for every process."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    address, zero = np.zeros((1, 3), np.uint32), np.zeros(1, np.int64)
    for num_hits in (0, 1):
        kernel = build.__wrapped__()
        if build is rng._fill_words:
            kernel(address, np.zeros((1, 4), np.uint32), 1, 2, 0)
        else:
            kernel(address, zero, zero, np.uint32(1), np.uint32(2), np.zeros((4, 1), np.uint32))
        assert sum(kernel.stats.cache_hits.values()) == num_hits

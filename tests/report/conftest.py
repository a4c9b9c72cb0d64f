"""Cells are resampled once: the pages of most tests show the same few runs."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from augmix import bootstrap


def remember(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what a function of arrays gives, by their bytes."""
    known: dict[Any, Any] = {}

    def key(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            digest = hashlib.blake2b(np.ascontiguousarray(value)).digest()
            return value.dtype.str, value.shape, digest
        return value

    @functools.wraps(function)
    def remembered(*arguments: Any) -> Any:
        address = tuple(map(key, arguments))
        if address not in known:
            known[address] = function(*arguments)
        return known[address]

    return remembered


@pytest.fixture(scope="package", autouse=True)
def resampled_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_ranked", "_rms"):
            patch.setattr(bootstrap, name, remember(getattr(bootstrap, name)))
        yield

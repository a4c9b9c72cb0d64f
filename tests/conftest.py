"""The suite runs with every shape annotation checked; real data is found here or its tests skip.

`AUGMIX_TEST_SHAPES=no` leaves the check out: it does not work with the kernel cache of numba 0.61.
"""

import functools
import inspect
import os

# Processes of the tests share the cores: libraries take one, and threads that wait take none.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
from pathlib import Path
from typing import Any, ForwardRef, get_args

import jaxtyping
import numpy as np
import pytest
from beartype import beartype

_check_shapes: Any = jaxtyping.jaxtyped


def _has_shapes(annotation: Any) -> bool:
    """Whether an annotation holds a shape, or may hold one because it is a string."""
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    parts = annotation if isinstance(annotation, list) else get_args(annotation)
    return isinstance(annotation, str | ForwardRef) or any(map(_has_shapes, parts))


def _check(function: Any, **settings: Any) -> Any:
    """Check types and shapes, without the cost of shapes where a function has none.

    jaxtyping binds the arguments of every call to a signature, which took half the time of tests
    that make many. Every function still has a scope of shapes of its own.
    """
    if not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
        return _check_shapes(function, **settings)
    if any(map(_has_shapes, getattr(function, "__annotations__", {}).values())):
        return _check_shapes(function, **settings)
    checked = beartype(function)

    @functools.wraps(function)
    def scoped(*args: Any, **kwargs: Any) -> Any:
        with _check_shapes("context"):
            return checked(*args, **kwargs)

    return scoped


def _jaxtyped(function: Any = None, **settings: Any) -> Any:
    """Stand in for `jaxtyping.jaxtyped`, which is called with the function or before it."""
    if function is None:
        return lambda function: _check(function, **settings)
    return _check(function, **settings)


if os.environ.get("AUGMIX_TEST_SHAPES") != "no":
    vars(sys.modules[_check_shapes.__module__])["jaxtyped"] = jaxtyping.jaxtyped = _jaxtyped
    jaxtyping.install_import_hook("augmix", "beartype.beartype")

_DATA = Path(os.environ.get("AUGMIX_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process one half in order, then what the other has left.

    So tests that share a fixture or a kernel run in one process, and both end together.
    """
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """On CI, name the tests above five seconds that are not marked slow."""
    seconds: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and not {"slow", "gpu"} & set(report.keywords):
                seconds[report.nodeid] = seconds.get(report.nodeid, 0.0) + report.duration
    for name, duration in seconds.items():
        if duration > 5 and "CI" in os.environ:
            terminalreporter.write_line(
                f"::warning::{name} took {duration:.1f} s: make it smaller or mark it slow"
            )


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real test images, which are never part of the repository."""
    if not _DATA.is_dir():
        pytest.skip(f"no real images at {_DATA}; set AUGMIX_TEST_DATA to their folder")
    return _DATA


@pytest.fixture
def noise() -> np.ndarray:
    """Eight random RGB images of 20 x 24 pixels."""
    return np.random.default_rng(0).integers(0, 256, (8, 20, 24, 3), dtype=np.uint8)

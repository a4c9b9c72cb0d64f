"""The suite runs with every shape annotation checked; real data is found here or its tests skip.

`AUGMIX_TEST_SHAPES=no` leaves the check out: it does not work with the kernel cache of numba 0.61.
"""

import os
from pathlib import Path

from jaxtyping import install_import_hook

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait take no core from others
if os.environ.get("AUGMIX_TEST_SHAPES") != "no":
    install_import_hook("augmix", "beartype.beartype")

import numpy as np
import pytest

_DATA = Path(os.environ.get("AUGMIX_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


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

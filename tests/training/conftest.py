"""Toy models are so small that a second thread only waits; one of torch's threads is enough."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toy_runs import write_npz

from augmix.data.sources import Source, open_source
from augmix.models.weights import build_model


@pytest.fixture(scope="package", autouse=True)
def one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Twenty images of 16x16 pixels, three classes."""
    return open_source("npz", root=write_npz(tmp_path / "toy.npz"), split="test")


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model("small", num_classes=3, dropout=0.5)

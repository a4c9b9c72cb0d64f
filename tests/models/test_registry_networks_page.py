"""`docs/networks.md` says what the networks are."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from augmix.models.registry import find_family
from augmix.models.weights import build_model

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
ROWS = re.findall(
    r"^\| `(\S+)` \| ([\d,]+) \| ([\d,]*) ?\| ([\d,]+) \| ([\d,]+) \| (\d+) \|",
    PAGE.read_text(),
    re.M,
)


def measure(name: str, num_classes: int, size: int) -> tuple[int, int]:
    """Parameters and multiply-adds, without computing anything."""
    found = []

    def tally(layer, inputs, output):
        found.append(layer.weight[0].numel() * output.numel())

    with torch.device("meta"), torch.no_grad():
        network = build_model(name, num_classes=num_classes).eval()
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(tally)
        network(torch.rand(1, 3, size, size))
    return sum(parameter.numel() for parameter in network.parameters()), sum(found)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_sizes(row: tuple[str, ...]):
    name, params, params_100, plain, blurred, size = row
    assert find_family(name).size == int(size)
    num_classes = 10 if params_100 else 1000
    numbers = measure(name, num_classes, int(size))
    assert [f"{number:,}" for number in numbers] == [params, plain]
    assert f"{measure(f'{name}-maxblur', num_classes, int(size))[1]:,}" == blurred
    if params_100:
        assert f"{measure(name, 100, int(size))[0]:,}" == params_100


def test_every_row_was_read():
    assert len(ROWS) == 16


def test_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names: dict = {}
    exec(code, names)
    assert names["logits"].shape == (2, 10)

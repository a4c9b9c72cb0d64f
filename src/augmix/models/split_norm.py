"""A second set of batch norms: own statistics, scales and shifts for some of the views of a step.

Xie et al. (2020), and the option ``split_bn`` of timm. The second set is used while training only:
in evaluation mode every image takes the main set, and saved weights hold that alone.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_NAME = "second"  # of the layer's second set, a module of its own


class _Split:
    """What a batch norm of any class gains: the last images of a batch take the second set."""

    second: nn.Module
    num_main: int  # of the views, which come first
    num_views: int

    def forward(self: Any, input: Tensor) -> Tensor:
        forward = super().forward  # pyright: ignore[reportAttributeAccessIssue]
        main = len(input) * self.num_main // self.num_views
        if not self.training or main == len(input):
            return forward(input)
        if not main:
            return self.second(input)
        return torch.cat([forward(input[:main]), self.second(input[main:])])


@cache
def _split_class(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    return type(f"Split{kind.__name__}", (_Split, kind), {})


def split_batch_norm(model: nn.Module, *, num_main: int, num_views: int) -> int:
    """Give every batch norm of a model, in place, a second set for all views but the first ones.

    A batch holds all images of the first view, then those of the second, and so on. Both sets start
    alike.

    Args:
        num_main: Views that take the main set.
        num_views: All views.

    Returns:
        How many layers there were.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    if is_split(model):
        return len(layers) // 2
    for layer in layers:
        layer.add_module(_NAME, copy.deepcopy(layer))
        layer.__class__ = _split_class(type(layer))
        _route(layer, num_main, num_views)
    return len(layers)


def is_split(model: nn.Module) -> bool:
    """Whether the batch norms of a model have a second set."""
    return any(isinstance(layer, _Split) for layer in model.modules())


@contextmanager
def second_set(model: nn.Module) -> Iterator[None]:
    """Let all images of a batch take the second set, where there is one."""
    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, _Split)]
    usual = [(layer.num_main, layer.num_views) for layer in layers]
    for layer in layers:
        _route(layer, 0, 1)
    try:
        yield
    finally:
        for layer, counts in zip(layers, usual, strict=True):
            _route(layer, *counts)


def main_state(model: nn.Module) -> dict[str, Any]:
    """The state dict of a model without its second set: that of the model before the split."""
    layers = [name for name, layer in model.named_modules() if isinstance(layer, _Split)]
    ends = tuple(f"{name}.{_NAME}." if name else f"{_NAME}." for name in layers)
    return {name: value for name, value in model.state_dict().items() if not name.startswith(ends)}


def _route(layer: Any, num_main: int, num_views: int) -> None:
    layer.num_main, layer.num_views = num_main, num_views

"""Batch norms with a second set for some of the views of a step, or adapted to each test batch.

The second set has own statistics, scales and shifts (Xie et al. 2020, and the option ``split_bn``
of timm). It is used while training only: in evaluation mode every image takes the main set, and
saved weights hold that alone.

Adaptation mixes the stored statistics with those of the test batch. Schneider et al. (2020),
"Improving robustness against common corruptions by covariate shift adaptation": with a prior worth
N images and a batch of n, the statistics are ``N / (N + n) * stored + n / (N + n) * batch``.
Predictions then depend on the other images of the batch, so such results are reported separately.
"""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from augmix.errors import RunError

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


@contextmanager
def adapt_batch_norm(model: nn.Module, prior: int = 16) -> Iterator[nn.Module]:
    """Let every batch-norm layer adapt to each batch the model gets within the block; yield it.

    Nothing is carried from one batch to the next, and the stored statistics do not change. The
    variance of a batch is the unbiased one, like the stored one.

    Args:
        model: In evaluation mode, with batch-norm layers that keep statistics.
        prior: Weight of the stored statistics, in images; 0 uses the batch alone.

    Raises:
        ValueError: If the prior is negative.
        RunError: If the model has no layer to adapt.

    Example:
        >>> import torch
        >>> layer = nn.BatchNorm1d(1, affine=False).eval()
        >>> with adapt_batch_norm(layer, prior=0):
        ...     layer(torch.tensor([[1.0], [3.0]])).round(decimals=2).flatten()
        tensor([-0.7100,  0.7100])
    """
    if not prior >= 0:
        raise ValueError(f"prior must be at least 0 images, got {prior}")
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    layers = [layer for layer in layers if layer.running_mean is not None]
    if not layers:
        raise RunError(
            f"batch-norm adaptation needs a torch model with batch-norm layers, but "
            f"{getattr(model, 'name', type(model).__name__)} has none (ONNX files and networks "
            "with layer norm never do); measure it without adaptation"
        )
    with ExitStack() as undo:
        for layer in layers:
            _adapt(layer, prior, undo)
        yield model


def _adapt(layer: _BatchNorm, prior: int, undo: ExitStack) -> None:
    """Mix the statistics of a layer before each of its calls, and restore them after it."""
    mean, variance = layer.running_mean, layer.running_var
    stored = {"running_mean": mean, "running_var": variance}

    def mix(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if layer.training:
            raise RuntimeError(
                "adapt_batch_norm is for a model in evaluation mode; call model.eval() first"
            )
        mixed = _mix(inputs[0], mean, variance, prior)
        layer._buffers.update(zip(stored, mixed, strict=True))

    def restore(*_: Any) -> None:
        layer._buffers.update(stored)

    undo.callback(restore)
    undo.enter_context(layer.register_forward_pre_hook(mix))
    undo.enter_context(layer.register_forward_hook(restore, always_call=True))


def _mix(features: Tensor, mean: Any, variance: Any, prior: int) -> tuple[Tensor, Tensor]:
    """Mix stored mean and variance `channel` with those of features `batch channel ...`."""
    values = features.detach().float().transpose(0, 1).flatten(1)  # channel value
    weight = prior / (prior + len(features))
    batch_variance = values.var(dim=1, correction=min(1, values.shape[1] - 1))
    return (
        weight * mean + (1 - weight) * values.mean(dim=1).to(mean.dtype),
        weight * variance + (1 - weight) * batch_variance.to(variance.dtype),
    )

"""Adapt batch normalisation at test time: mix the stored statistics with those of the test batch.

Schneider et al. (2020), "Improving robustness against common corruptions by covariate shift
adaptation": with a prior worth N images and a batch of n, the statistics are
``N / (N + n) * stored + n / (N + n) * batch``. Predictions then depend on the other images of the
batch, so such results are reported separately.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from augmix.errors import RunError


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

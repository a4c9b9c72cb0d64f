"""A moving average of the weights, whose batch norm is measured anew at the end."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn


def open_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's weights, to be updated after every step.

    The decay of step t is the smaller of ``decay`` and (1 + t) / (10 + t), so that the start
    weights are soon forgotten.

    Args:
        model: Where it is to compute; copied.
        decay: Share of the average that stays at a step, in (0, 1).
    """

    def mix(averages: Any, weights: Any, count: Any) -> None:
        share = 1 - decay_of(int(average.n_averaged), decay)  # its own count, not the device's copy
        torch._foreach_lerp_(averages, weights, share)  # pyright: ignore[reportPrivateImportUsage]

    average = AveragedModel(model, multi_avg_fn=mix)
    return average


def decay_of(step: int, decay: float) -> float:
    """The share of the average that stays at a step, counted from 0.

    Example:
        >>> [round(decay_of(step, 0.999), 3) for step in (0, 90, 10**6)]
        [0.1, 0.91, 0.999]
    """
    return min(decay, (1 + step) / (10 + step))


def measure_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of batch norm to the means over some batches.

    Averaged weights have activations that no step has seen; the statistics of the last step's
    weights are not theirs.

    Args:
        model: Changed in place; its mode stays.
        batches: Images ``batch channel height width`` in [0, 1], as in training.
    """
    update_bn(batches, model)

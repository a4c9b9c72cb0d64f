"""How a model is optimised: the numbers of a recipe, and the learning rate of every step."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from augmix.augment.render import Executor

LAST_LEARNING_RATE = 1e-6  # where the schedules end (released code)
_WARM_UP = 0.3  # share of a one-cycle schedule
_FIRST_SHARE = 1 / 25  # of the peak, where a one-cycle schedule starts

Schedule = Literal["cosine", "one-cycle"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a model is optimised; the defaults are the paper's for WideResNet on CIFAR."""

    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 128
    """Images in a step; the last batch of an epoch may be smaller."""
    learning_rate: float = 0.1
    """Peak learning rate of SGD with Nesterov momentum."""
    momentum: float = 0.9
    """Momentum, 0 up to below 1; 0 is plain SGD."""
    weight_decay: float = 5e-4
    """Weight decay on all parameters, biases and batch norm included."""
    schedule: Schedule = "cosine"
    """Learning rate by step: cosine from the peak, or one-cycle: up for 30 % of it, then down."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network: float32, or bfloat16 by autocast."""
    channels_last: bool = False
    """Keep activations channels last in memory; faster on recent GPUs."""
    seed: int = 0
    """The one number all randomness of the run follows from."""
    num_threads: int = 1
    """Threads that prepare views while the model computes."""
    executor: Executor = "auto"
    """What renders the views; all executors of a CPU give the same bits."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    log_every: int = 20
    """Steps between lines of the log; each epoch ends with one too."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "num_threads", "checkpoint_every", "log_every"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        rate = self.learning_rate
        _require(0 < rate < math.inf, "learning_rate", "a finite number above 0", rate)
        _require(0 <= self.momentum < 1, "momentum", "0 up to below 1", self.momentum)
        decay = self.weight_decay
        _require(0 <= decay < math.inf, "weight_decay", "a finite number from 0", decay)
        _require(0 <= self.seed < 2**64, "seed", "0..2**64 - 1", self.seed)
        schedules = ("cosine", "one-cycle")
        _require(self.schedule in schedules, "schedule", f"one of {schedules}", self.schedule)
        precisions = ("fp32", "bf16")
        _require(self.precision in precisions, "precision", f"one of {precisions}", self.precision)


def learning_rate(step: int, num_steps: int, *, peak: float, schedule: Schedule) -> float:
    """The learning rate of a step, a function of the step alone.

    ``cosine`` is the released code's: peak * (r + (1 - r) * (1 + cos(pi t / T)) / 2) with
    r = 1e-6 / peak, so step 0 has the peak. ``one-cycle`` climbs linearly from peak / 25 over the
    first 30 % of the steps and then falls by the same cosine.

    Args:
        step: 0 .. num_steps - 1.
        num_steps: Steps of the whole run.
        peak: Largest learning rate.
        schedule: ``cosine`` or ``one-cycle``.

    Example:
        >>> round(learning_rate(25, 100, peak=0.1, schedule="cosine"), 8)
        0.08535549
    """
    warm_up = int(_WARM_UP * num_steps) if schedule == "one-cycle" else 0
    if step < warm_up:
        return peak * (_FIRST_SHARE + (1 - _FIRST_SHARE) * step / warm_up)
    share = (step - warm_up) / (num_steps - warm_up)
    last = min(LAST_LEARNING_RATE / peak, 1.0)
    return peak * (last + (1 - last) * (1 + math.cos(math.pi * share)) / 2)


def _require(is_met: bool, name: str, expected: str, got: Any) -> None:
    if not is_met:
        raise ValueError(f"{name} must be {expected}, got {got!r}")

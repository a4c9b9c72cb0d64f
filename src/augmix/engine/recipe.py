"""How a model is optimised: the numbers of a recipe, and the learning rate of every step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from augmix.augment.render import Executor

LAST_LEARNING_RATE = 1e-6  # where the schedules end (released code)
_WARM_UP = 0.3  # share of a one-cycle schedule
_FIRST_SHARE = 1 / 25  # of the peak, where a one-cycle schedule starts
_DROP = 10  # what a step schedule divides by
_ROUNDING = 1e-9  # so that 0.29 of 100 epochs are 29, whatever floats make of it

Schedule = Literal["cosine", "one-cycle", "step"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a model is optimised; the defaults are the paper's for WideResNet on CIFAR."""

    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 128
    """Images in a step; the last batch of an epoch may be smaller."""
    learning_rate: float = 0.1
    """Peak learning rate of SGD."""
    base_batch_size: int = 0
    """Batch size the learning rate is meant for; it is scaled in proportion to another (Goyal et
    al. 2017). 0 takes it as it is."""
    momentum: float = 0.9
    """Momentum, 0 up to below 1; 0 is plain SGD."""
    nesterov: bool = True
    """Momentum in Nesterov's form."""
    weight_decay: float = 5e-4
    """Weight decay on all parameters, biases and batch norm included."""
    schedule: Schedule = "cosine"
    """Learning rate by step: cosine from the peak; one-cycle: up for 30 % of it, then down; or
    step: the peak, divided by 10 at each of DECAY_AT."""
    decay_at: tuple[float, ...] = (1 / 3, 2 / 3)
    """Shares of the epochs, rounded down to whole ones, at which the step schedule goes down."""
    warm_up_epochs: float = 0.0
    """Epochs in which the rate climbs to the peak in equal steps, before or within the schedule."""
    clip_norm: float = 0.0
    """Length that the gradient of all weights together is cut down to; 0 leaves it as it is."""
    ema_decay: float = 0.0
    """Share of a moving average of the weights that stays at every step, e.g. 0.999; the model the
    run leaves is that average, its batch norm measured anew. 0 takes no average."""
    accumulate: int = 1
    """Parts that a batch is learned from one after another before the weights move: less memory for
    the same recipe, but batch norm sees a part at a time."""
    sync_batch_norm: bool = True
    """Of several processes: batch norm over the images of all of them, as one process has it."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the network: float32, or bfloat16 or float16 (its gradient scaled) by autocast.
    """
    channels_last: bool = False
    """Keep the channels of a pixel together in memory; faster on recent GPUs and CPUs with bf16."""
    compile: bool = False
    """Compile the network by torch.compile: takes a minute or so, then steps are faster."""
    deterministic: bool = False
    """Take only operations that give the same bits each time, on GPUs too; slower there."""
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
        object.__setattr__(self, "decay_at", tuple(self.decay_at))  # JSON gives a list
        for name in ("epochs", "batch_size", "num_threads", "checkpoint_every", "log_every"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        rate = self.learning_rate
        _require(0 < rate < math.inf, "learning_rate", "a finite number above 0", rate)
        _require(0 <= self.momentum < 1, "momentum", "0 up to below 1", self.momentum)
        decay = self.weight_decay
        _require(0 <= decay < math.inf, "weight_decay", "a finite number from 0", decay)
        _require(0 <= self.seed < 2**64, "seed", "0..2**64 - 1", self.seed)
        schedules = get_args(Schedule)
        _require(self.schedule in schedules, "schedule", f"one of {schedules}", self.schedule)
        _require(self.base_batch_size >= 0, "base_batch_size", "at least 0", self.base_batch_size)
        is_rising = list(self.decay_at) == sorted(set(self.decay_at))
        is_inside = all(0 < share < 1 for share in self.decay_at)
        _require(is_rising and is_inside, "decay_at", "rising shares in (0, 1)", self.decay_at)
        warm_up = self.warm_up_epochs
        _require(0 <= warm_up < self.epochs, "warm_up_epochs", f"0 up to {self.epochs}", warm_up)
        is_free = not warm_up or self.schedule != "one-cycle"
        _require(is_free, "warm_up_epochs", "0 with one-cycle, which has its own", warm_up)
        clip = self.clip_norm
        _require(0 <= clip < math.inf, "clip_norm", "a finite number from 0", clip)
        _require(0 <= self.ema_decay < 1, "ema_decay", "0 up to below 1", self.ema_decay)
        parts = self.accumulate
        _require(1 <= parts <= self.batch_size, "accumulate", f"1..{self.batch_size} parts", parts)
        precisions = ("fp32", "bf16", "fp16")
        _require(self.precision in precisions, "precision", f"one of {precisions}", self.precision)

    @property
    def peak(self) -> float:
        """The largest learning rate, for the batch size it is used with."""
        share = self.batch_size / self.base_batch_size if self.base_batch_size else 1.0
        return self.learning_rate * share

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, counted from the start of the run."""
        epochs = (math.floor(share * self.epochs + _ROUNDING) for share in self.decay_at)
        return learning_rate(
            step,
            self.epochs * steps_per_epoch,
            peak=self.peak,
            schedule=self.schedule,
            warm_up=round(self.warm_up_epochs * steps_per_epoch),
            drops=[epoch * steps_per_epoch for epoch in epochs],
        )


def learning_rate(
    step: int,
    num_steps: int,
    *,
    peak: float,
    schedule: Schedule,
    warm_up: int = 0,
    drops: Sequence[int] = (),
) -> float:
    """The learning rate of a step, a function of the step alone.

    ``cosine`` is the released code's: peak * (r + (1 - r) * (1 + cos(pi t / T)) / 2) with
    r = 1e-6 / peak, so step 0 has the peak. ``one-cycle`` climbs linearly from peak / 25 over the
    first 30 % of the steps and then falls by the same cosine. ``step`` is the peak, divided by 10
    for each of ``drops`` that was reached.

    Args:
        step: 0 .. num_steps - 1.
        num_steps: Steps of the whole run.
        peak: Largest learning rate.
        schedule: ``cosine``, ``one-cycle`` or ``step``.
        warm_up: Steps in which the rate climbs from peak / warm_up to the peak. A cosine begins
            after them; drops are counted from the start of the run.
        drops: Steps from which on a ``step`` schedule is lower.

    Example:
        >>> round(learning_rate(25, 100, peak=0.1, schedule="cosine"), 8)
        0.08535549
    """
    if step < warm_up:
        return peak * (step + 1) / warm_up
    if schedule == "step":
        return peak / _DROP ** sum(step >= drop for drop in drops)
    if schedule == "one-cycle":
        warm_up = int(_WARM_UP * num_steps)
        if step < warm_up:
            return peak * (_FIRST_SHARE + (1 - _FIRST_SHARE) * step / warm_up)
    share = (step - warm_up) / (num_steps - warm_up)
    last = min(LAST_LEARNING_RATE / peak, 1.0)
    return peak * (last + (1 - last) * (1 + math.cos(math.pi * share)) / 2)


def _require(is_met: bool, name: str, expected: str, got: Any) -> None:
    if not is_met:
        raise ValueError(f"{name} must be {expected}, got {got!r}")

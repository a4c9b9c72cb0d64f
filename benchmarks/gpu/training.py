"""A training step on a device: what views cost it, where its time goes, and the headline run."""

import itertools
import math
import statistics
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from throughput import synchronize
from torch import Tensor, nn

from augmix.augment.policies import AugMix
from augmix.data.batches import BatchOrder, prefetch
from augmix.data.sources import Source
from augmix.engine.recipe import Recipe, learning_rate
from augmix.engine.resident import DeviceViews, open_device_views
from augmix.methods import Method, build_method
from augmix.models.build import build_model, save_model

_PLANNERS = 4  # threads that draw plans ahead
_WARM_UP_EPOCHS = 1
_SHOWN_KERNELS = 15


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is trained, on what, and how; the paper's CIFAR recipe but for its length."""

    source: Source
    device: torch.device
    model: str
    batch_size: int = 128
    peak: float = 0.1
    seed: int = 0
    is_compiled: bool = True

    @property
    def order(self) -> BatchOrder:
        return BatchOrder(num_images=len(self.source), batch_size=self.batch_size, seed=self.seed)

    @property
    def method(self) -> Method:
        source = self.source
        options = AugMix(crop_padding=source.crop_padding, flip=source.flip)
        return build_method("augmix", policy_options=options)

    def open_views(self) -> DeviceViews:
        """The views of the run, made on the device."""
        recipe = Recipe(seed=self.seed, executor="batched", channels_last=True)
        views = open_device_views(self.source, self.method, self.order, recipe, self.device)
        assert views is not None  # what the executor asks for
        return views


class Learner:
    """A model and its optimiser; bfloat16, channels last, compiled where that works."""

    def __init__(self, setup: Setup) -> None:
        torch.manual_seed(setup.seed)
        source = setup.source
        model = build_model(
            setup.model, num_classes=source.num_classes, channels=source.channels,
            mean=(0.5,) * source.channels, std=(0.5,) * source.channels,
        )  # fmt: skip
        self.model = model.to(setup.device).train()
        self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.forward: nn.Module = self.model
        if setup.is_compiled:
            self.forward = torch.compile(self.model)  # pyright: ignore[reportAttributeAccessIssue]
        self.batch_size = setup.batch_size
        self.method = setup.method
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=setup.peak, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        self.start = {name: value.clone() for name, value in model.state_dict().items()}

    def restart(self) -> None:
        """Back to the start weights, without compiling anew."""
        self.model.load_state_dict(self.start)
        self.optimizer.state.clear()

    def learn(self, views: Tensor, targets: Tensor, rate: float) -> Tensor:
        """One step; the loss, still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # the last batch of an epoch is smaller, and not worth another compilation
        forward = self.forward if len(targets) == self.batch_size else self.model
        with torch.autocast(views.device.type, torch.bfloat16):
            loss = self.method.objective(forward, views, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        self.optimizer.step()
        return loss.total.detach()


def measure_steps(setup: Setup, learner: Learner, *, rounds: int, length: int) -> dict[str, Any]:
    """A step with its views made on the way against the same step on views made before.

    Both take turns in rounds of some steps, timed to the end of the device's work.

    Returns:
        Median milliseconds of both, and the median of the rounds' ratios.
    """
    made = setup.open_views()
    ahead = prefetch(
        made.draw, itertools.cycle(range(setup.order.steps_per_epoch - 1)),
        num_threads=_PLANNERS, num_ahead=2 * _PLANNERS,
    )  # fmt: skip
    with closing(ahead) as drawn:
        ready = made.finish(next(drawn))
        for _ in range(3):  # compiles; batches of one size only, so once
            learner.learn(*made.finish(next(drawn)), rate=1e-3)

        def with_views() -> None:
            learner.learn(*made.finish(next(drawn)), rate=1e-3)

        def without_views() -> None:
            learner.learn(*ready, rate=1e-3)

        times: dict[str, list[float]] = {"with": [], "without": []}
        for _ in range(rounds):
            times["without"].append(_time(without_views, length, setup.device))
            times["with"].append(_time(with_views, length, setup.device))
        profile = _profile(with_views, setup.device)
    ratios = [a / b for a, b in zip(times["with"], times["without"], strict=True)]
    return {
        "model": setup.model,
        "batch_size": setup.batch_size,
        "is_compiled": setup.is_compiled,
        "executor": made.executor,
        "step_ms": 1000 * statistics.median(times["with"]),
        "step_on_ready_views_ms": 1000 * statistics.median(times["without"]),
        "ratio": statistics.median(ratios),
        "profile": profile,
    }


def train_headline(setup: Setup, learner: Learner, folder: Path, *, epochs: int) -> dict[str, Any]:
    """Train from the learner's start weights into a folder that `evaluate` can measure.

    The rate climbs for an epoch and then falls by the paper's cosine.
    """
    made, order = setup.open_views(), setup.order
    num_steps = epochs * order.steps_per_epoch
    warm_up = min(_WARM_UP_EPOCHS * order.steps_per_epoch, num_steps // 10)
    losses, waited = [], 0.0
    start = time.perf_counter()
    ahead = prefetch(made.draw, range(num_steps), num_threads=_PLANNERS, num_ahead=2 * _PLANNERS)
    with closing(ahead) as drawn:
        for step in range(num_steps):
            asked = time.perf_counter()
            batch = next(drawn)
            waited += time.perf_counter() - asked
            rate = learning_rate(
                step, num_steps, peak=setup.peak, schedule="cosine", warm_up=warm_up
            )
            loss = learner.learn(*made.finish(batch), rate=rate)
            if step % order.steps_per_epoch == order.steps_per_epoch - 1:
                losses.append(float(loss))  # the only wait for the device, once an epoch
                if not math.isfinite(losses[-1]):
                    raise RuntimeError(f"the loss is {losses[-1]} after {step + 1} steps")
    synchronize(setup.device)
    seconds = time.perf_counter() - start
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, learner.model)
    return {
        "epochs": epochs,
        "steps": num_steps,
        "seconds": seconds,
        "images_per_second": epochs * len(setup.source) / seconds,
        "waiting_share": waited / seconds,
        "losses": losses,
        "executor": made.executor,
        "seed": setup.seed,
        "peak_memory_gib": _peak_memory_gib(setup.device),
    }


def _peak_memory_gib(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device) / 2**30


def _time(work: Any, length: int, device: torch.device) -> float:
    """Seconds of one of some calls."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(length):
        work()
    synchronize(device)
    return (time.perf_counter() - start) / length


def _profile(work: Any, device: torch.device) -> list[dict[str, Any]]:
    """Where the device's time of a few steps goes, the largest parts first."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(3):
            work()
        synchronize(device)
    name = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, name))
    total = sum(getattr(event, name) for event in events) or 1
    return [
        {"kernel": event.key[:80], "calls": event.count, "share": getattr(event, name) / total}
        for event in events[:_SHOWN_KERNELS]
    ]

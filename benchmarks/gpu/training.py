"""Measure a training step on a device, with and without its views, and train the headline run.

The steps are those of `augmix train`.
"""

import itertools
import statistics
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from throughput import synchronize, time_calls

from augmix import files, run_folder
from augmix.data.batches import BatchOrder
from augmix.data.sources import Source
from augmix.devices import peak_memory_mib
from augmix.methods import Method, TrainingImages
from augmix.models.layers import Classifier
from augmix.models.weights import build_model
from augmix.training.config import TrainConfig
from augmix.training.loop import Prepared, train_model
from augmix.training.pipeline import open_order, open_pipeline, prepare
from augmix.training.settings import build_config, flatten, update_config
from augmix.training.step import open_learner

_WARM_UP_EPOCHS = 1
_SHOWN_KERNELS = 15
_WARM_UP_STEPS = 6  # compiles, chooses kernels, captures graphs


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A training run: the paper's CIFAR recipe, or other settings, except for its length."""

    source: Source
    device: torch.device
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # by flat name
    batch_size: int = 128
    seed: int = 0
    is_compiled: bool = True

    @property
    def order(self) -> BatchOrder:
        return open_order(self.source, self.config)

    @property
    def config(self) -> TrainConfig:
        ours = {"batch_size": self.batch_size, "seed": self.seed, "executor": "batched"}
        ours |= {"precision": "bf16", "channels_last": True, "compile": self.is_compiled}
        return build_config({**self.settings, **ours})

    @property
    def method(self) -> Method:
        source = self.source
        images = TrainingImages(crop_padding=source.crop_padding, flip=source.flip)
        return self.config.method.fit(images)

    def build_model(self) -> Classifier:
        """Build the network with its initial weights."""
        torch.manual_seed(self.seed)
        source = self.source
        return build_model(
            self.model, num_classes=source.num_classes, channels=source.channels,
            mean=(0.5,) * source.channels, std=(0.5,) * source.channels,
        )  # fmt: skip


def measure_steps(setup: Setup, *, rounds: int, length: int) -> dict[str, Any]:
    """Compare a step that makes its views with the same step on ready views.

    Both take turns in rounds of some steps, timed to the end of the device's work.

    Returns:
        Median milliseconds of both, the median ratio of the rounds, and the slowest kernels.
    """
    config, device, count = setup.config, setup.device, setup.batch_size
    parts = (setup.source, setup.method, setup.order, config, device)
    views = open_pipeline(*parts)
    learner = open_learner(
        setup.build_model(), setup.method, optimisation=config.optimisation, device=device
    )
    whole_batches = itertools.cycle(range(max(setup.order.steps_per_epoch - 1, 1)))
    with closing(prepare(views, whole_batches, config.run.num_threads)) as drawn:
        ready = views.finish(next(drawn))

        def with_views() -> None:
            learner.backward(*views.finish(next(drawn)), count)
            learner.update(1e-3)

        def without_views() -> None:
            learner.backward(*ready, count)
            learner.update(1e-3)

        for _ in range(_WARM_UP_STEPS):
            with_views()
        times: dict[str, list[float]] = {"with": [], "without": []}
        for _ in range(rounds):
            times["without"].append(time_calls(without_views, length, device))
            times["with"].append(time_calls(with_views, length, device))
        profile = _profile(with_views, device)
    ratios = [a / b for a, b in zip(times["with"], times["without"], strict=True)]
    return {
        "model": setup.model,
        "method": str(setup.method),
        "batch_size": setup.batch_size,
        "is_compiled": setup.is_compiled,
        "executor": views.executor,
        "step_ms": 1000 * statistics.median(times["with"]),
        "step_on_ready_views_ms": 1000 * statistics.median(times["without"]),
        "ratio": statistics.median(ratios),
        "profile": profile,
    }


def train_headline(setup: Setup, folder: Path, *, epochs: int) -> tuple[Classifier, dict[str, Any]]:
    """Train into a new run folder.

    The learning rate rises for an epoch and then follows the paper's cosine, unless the settings
    say one cycle.

    Returns:
        The trained model, and a summary of its log.
    """
    steps_per_epoch = setup.order.steps_per_epoch
    is_cycle = setup.config.optimisation.schedule == "one-cycle"  # has a warm-up of its own
    config = update_config(
        setup.config,
        out=folder,
        epochs=epochs,
        warm_up_epochs=0.0 if is_cycle else min(_WARM_UP_EPOCHS, epochs / 10),
        log_every=steps_per_epoch,  # logging waits for the device
        checkpoint_every=epochs * steps_per_epoch,
    )
    model = setup.build_model()
    folder.mkdir(parents=True)
    start = time.perf_counter()
    run = Prepared(
        model=model, method=setup.method, source=setup.source, device=setup.device,
        identity=files.to_plain(flatten(config)),
    )  # fmt: skip
    train_model(run, config)
    synchronize(setup.device)
    seconds = time.perf_counter() - start
    log = files.load_lines(folder / run_folder.LOG_FILE)
    waited_s = sum(
        line["wait_fraction"] * _duration_s(log, index) for index, line in enumerate(log)
    )
    return model, {
        "epochs": epochs,
        "steps": log[-1]["step"],
        "seconds": seconds,
        "images_per_second": epochs * len(setup.source) / seconds,
        "wait_fraction": waited_s / log[-1]["seconds"],
        "losses": [line["loss"] for line in log],
        "seed": setup.seed,
        "method": str(config.method),
        "peak_memory_gib": peak_memory_mib(setup.device) / 1024,
    }


def _duration_s(log: list[dict[str, Any]], index: int) -> float:
    """Seconds of the steps of a log line."""
    return log[index]["seconds"] - (log[index - 1]["seconds"] if index else 0.0)


def _profile(work: Any, device: torch.device) -> list[dict[str, Any]]:
    """The kernels that take most of the device's time in a few steps."""
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
        {"kernel": event.key[:80], "calls": event.count, "fraction": getattr(event, name) / total}
        for event in events[:_SHOWN_KERNELS]
    ]

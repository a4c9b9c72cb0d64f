"""How fast networks learn on this machine, and whether views keep up: `augmix bench train`.

The arithmetics of a network take turns of a few steps on the same batches, so that a busy neighbour
hits all of them; every step is a whole one of the engine, its views made ahead on a thread.
"""

import itertools
import statistics
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from augmix.bench import smooth_images
from augmix.engine.forecast import Pace, take_steps
from augmix.engine.learning import open_learner
from augmix.engine.train import open_order, open_views
from augmix.experiments.settings import TrainConfig
from augmix.experiments.training import prepared

ARITHMETICS = ("fp32", "bf16 channels-last")
_SIDE = 32  # pixels
_BATCHES = 8  # of an epoch of the made-up set
_WARM_UP_STEPS = 3
_LEAST_TURNS = 3
_TURN_S = 1.0  # of steps of one arithmetic before the next takes over


def measure_training(
    models: Sequence[str] = ("small", "wrn-16-2"),
    *,
    arithmetics: Sequence[str] = ARITHMETICS,
    batch_size: int = 128,
    seconds: float = 20.0,
    device: str = "auto",
) -> list[dict[str, str | int | float]]:
    """Images per second of training by AugMix with the consistency loss, on made-up images.

    Args:
        models: Networks by name.
        arithmetics: ``fp32`` or ``bf16``, each also with `` channels-last``; the others are
            compared with the first.
        batch_size: Images of a step; each is three views.
        seconds: Time for each network, all arithmetics together; at least 3 turns are made.
        device: Where it computes.

    Returns:
        One record a network and arithmetic: ``model``, ``arithmetic``, ``batch_size``,
        ``images_per_second`` (median of the steps), ``times_first`` (median ratio of the turns
        against the first arithmetic), and ``waiting_share`` of the time, for views.

    Raises:
        ValueError: If a name is unknown or a count is below 1.
    """
    if not models or not arithmetics or batch_size < 1:
        raise ValueError(
            "name at least one model, one arithmetic and a batch_size from 1, got "
            f"{tuple(models)}, {tuple(arithmetics)} and {batch_size}"
        )
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.npz"
        count = _BATCHES * batch_size
        np.savez(data, images=smooth_images(count, _SIDE), labels=np.arange(count) % 10)
        base: dict[str, Any] = {
            "source": "npz",
            "data": str(data),
            "method": "augmix",
            "batch_size": batch_size,
            "device": device,
            "out": Path(folder) / "run",  # never written
        }
        return [
            row
            for model in models
            for row in _measure_model(TrainConfig(model=model, **base), arithmetics, seconds)
        ]


def _measure_model(
    config: TrainConfig, arithmetics: Sequence[str], seconds: float
) -> list[dict[str, str | int | float]]:
    """The rows of one network."""
    turns: list[list[list[Pace]]] = [[] for _ in arithmetics]
    with ExitStack() as stack:
        runs = [
            stack.enter_context(closing(_steps(replace(config, **_settings(name)))))
            for name in arithmetics
        ]
        for run in runs:
            for _ in range(_WARM_UP_STEPS):
                next(run)
        deadline = perf_counter() + seconds
        while len(turns[0]) < _LEAST_TURNS or perf_counter() < deadline:
            for run, own in zip(runs, turns, strict=True):
                own.append(_turn(run))
    medians = [[_median_s(turn) for turn in own] for own in turns]
    return [
        {
            "model": config.model,
            "arithmetic": name,
            "batch_size": config.batch_size,
            "images_per_second": config.batch_size / statistics.median(own),
            "times_first": statistics.median(
                first / this for first, this in zip(medians[0], own, strict=True)
            ),
            "waiting_share": _waiting_share(paces),
        }
        for name, own, paces in zip(arithmetics, medians, turns, strict=True)
    ]


def _settings(arithmetic: str) -> dict[str, Any]:
    """The settings of an arithmetic by its name."""
    precision, _, layout = arithmetic.partition(" ")
    if layout not in ("", "channels-last"):
        raise ValueError(
            f"arithmetic must be 'fp32' or 'bf16', or that and 'channels-last', got {arithmetic!r}"
        )
    return {"precision": precision, "channels_last": bool(layout)}


def _steps(config: TrainConfig) -> Generator[Pace]:
    """Steps of a run without end."""
    with prepared(config) as run:
        order = open_order(run.source, config)
        learner = open_learner(run.model, run.method, recipe=config, device=run.device)
        views = open_views(run.source, run.method, order, config, run.device)
        yield from take_steps(learner, views, order, itertools.count())


def _turn(run: Iterator[Pace]) -> list[Pace]:
    paces, until = [], perf_counter() + _TURN_S
    while not paces or perf_counter() < until:
        paces.append(next(run))
    return paces


def _median_s(turn: Sequence[Pace]) -> float:
    return statistics.median(pace.elapsed_s for pace in turn)


def _waiting_share(turns: Sequence[Sequence[Pace]]) -> float:
    paces = [pace for turn in turns for pace in turn]
    return sum(pace.waited_s for pace in paces) / sum(pace.elapsed_s for pace in paces)

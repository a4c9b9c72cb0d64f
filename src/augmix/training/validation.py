"""Validation of a run after each epoch: the clean error, and the error on corrupted images.

The corruptions are the four that Hendrycks & Dietterich (2019) keep apart for validation
(``extra-4``), so that no choice of a run sees the fifteen of the benchmark. Which images are
measured, under which corruption at which severity, follows from their number and from the cost of
an epoch in forward passes, and not from a clock: a run that is continued measures the same.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import nn

from augmix import distributed
from augmix.corruptions import EXTRA_4
from augmix.corruptions.corrupt import corrupt
from augmix.data.batches import run_ahead
from augmix.data.derived import find_shared, map_classes, name_classes
from augmix.data.sources import SOURCES, Source, name_source
from augmix.data.stores import check_classes
from augmix.data.trees import is_split, split_kind
from augmix.errors import RunError
from augmix.methods import Method
from augmix.models.wrapper import evaluating
from augmix.rng import Purpose, Stream
from augmix.training.config import Select, TrainConfig
from augmix.training.settings import update_config

_PLAN_PART = 4  # of Purpose.SPLIT
_FRACTION = 0.085  # of the forward passes of an epoch; the clock allows a tenth of its time
_PASSES_OF_TRAINING = 3  # forward and backward of a view, in forward passes
_MOST_BYTES = 2**28  # of clean images that are kept decoded, and of corrupted ones
_BATCH = 256  # images in a forward pass, at most
_CORRUPTED_AT_ONCE = 64
_SEVERITIES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is measured: indices of validation images, and how some of them are corrupted."""

    clean: Int64[np.ndarray, " clean"]
    corrupted: Int64[np.ndarray, " corrupted"]
    corruption: Int64[np.ndarray, " corrupted"]  # index in `EXTRA_4`
    severity: Int64[np.ndarray, " corrupted"]  # 1..5


def plan_validation(
    num_images: int, *, most_passes: int, most_corrupted: int, most_clean: int | None = None
) -> Plan:
    """Choose validation images and corruptions, the same for every seed.

    Clean images take at most half of the passes; every image is corrupted up to four times, by
    another corruption each time. Corruptions and severities are as frequent as each other.

    Args:
        num_images: Validation images there are.
        most_passes: Images that may pass through the network; at least two are measured.
        most_corrupted: Corrupted images that may be kept.
        most_clean: Clean images that may be decoded each time, or kept; None is any number.

    Example:
        >>> plan = plan_validation(100, most_passes=240, most_corrupted=1000)
        >>> len(plan.clean), len(plan.corrupted), np.bincount(plan.corruption).tolist()
        (100, 140, [35, 35, 35, 35])
    """
    order = Stream(seed=0).at(Purpose.SPLIT, part=_PLAN_PART).permutation(num_images)
    most_clean = num_images if most_clean is None else most_clean
    num_clean = min(num_images, max(min(most_passes // 2, most_clean), 1))
    chosen = order[:num_clean]
    count = min(max(most_passes - num_clean, 1), len(EXTRA_4) * num_clean, most_corrupted)
    number = np.arange(max(count, 1))
    position, turn = number % num_clean, number // num_clean
    return Plan(
        clean=np.sort(chosen),
        corrupted=chosen[position],
        corruption=(position + turn) % len(EXTRA_4),
        severity=(position // len(EXTRA_4) + turn) % _SEVERITIES + 1,
    )


class Score(NamedTuple):
    """Misclassified validation images."""

    clean: int
    corrupted: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Validation:
    """Validation images of a run, with what is measured of them, and what it decides."""

    source: Source
    plan: Plan
    select: Select
    patience: int | None
    batch_size: int
    num_threads: int  # that decode clean images
    clean: UInt8[np.ndarray, "clean height width channel"] | None  # where they are kept
    corrupted: UInt8[np.ndarray, "corrupted height width channel"]

    def describe(self) -> str:
        """Say what is measured and what it decides, in a line."""
        decides = "keeps the last epoch"
        if self.select != "last":
            decides = f"keeps the epoch with the smallest {self.select} error"
        if self.patience:
            decides += f", stops after {self.patience} epoch(s) without a better one"
        return (
            f"validation: {len(self.source):,} images; after each epoch {len(self.plan.clean):,} "
            f"clean ones and {len(self.plan.corrupted):,} corrupted ({', '.join(EXTRA_4)}; "
            f"severities 1-{_SEVERITIES}); {decides}"
        )

    def measure(
        self,
        model: nn.Module,
        device: torch.device,
        *,
        autocast: contextlib.AbstractContextManager[object],
        is_stopped: Callable[[], bool],
    ) -> Score | None:
        """Count the errors of a model; None once a process was asked to stop.

        Whole batches are shared among the processes, so their number changes no count.
        """
        rank, world_size = distributed.rank(), distributed.world_size()
        edges = {
            is_clean: range(0, len(ids), self.batch_size)
            for is_clean, ids in ((True, self.plan.clean), (False, self.plan.corrupted))
        }
        tasks = [(is_clean, start) for is_clean, starts in edges.items() for start in starts]
        own = tasks[rank::world_size]

        def make(index: int) -> tuple[bool, np.ndarray, np.ndarray]:
            is_clean, start = own[index]
            chosen = slice(start, start + self.batch_size)
            ids = (self.plan.clean if is_clean else self.plan.corrupted)[chosen]
            kept = self.clean if is_clean else self.corrupted
            images = self.source.load(ids) if kept is None else kept[chosen]
            return is_clean, images, self.source.labels[ids]

        counts = torch.zeros(2, dtype=torch.int64)
        rounds = -(-len(tasks) // world_size)  # as many on every rank
        with (
            evaluating(model),
            contextlib.closing(
                run_ahead(make, range(len(own)), num_threads=self.num_threads)
            ) as batches,
        ):
            for number in range(rounds):
                if distributed.any_rank(is_stopped()):
                    return None
                if number < len(own):
                    is_clean, images, labels = next(batches)
                    with autocast, torch.no_grad():
                        shown = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
                        classes = model(shown.float() / 255).argmax(dim=1).cpu()
                    counts[int(not is_clean)] += (classes != torch.from_numpy(labels)).sum()
        clean, corrupted = distributed.sum_over_ranks(counts).tolist()
        return Score(clean=clean, corrupted=corrupted)

    def key(self, score: Score) -> list[int]:
        """What is smaller for a better epoch: the error that selects, then the other one."""
        if self.select == "last":
            return []
        return [score.corrupted, score.clean][:: 1 if self.select == "corrupted" else -1]


def open_validation(config: TrainConfig, train: Source, opener: Callable[..., Source]) -> Source:
    """Open the validation images that a configuration names, with the classes of the training's.

    Args:
        opener: Opens the images of a split of a configuration.

    Raises:
        RunError: If they are missing, have other classes, or are trained on.
    """
    path = config.validation.data
    assert path is not None
    kind = config.data.kind
    if kind != "imagenet" and not callable(SOURCES[kind].opener):
        kind = name_source(path)
    word = Path(path).name.partition(".")[0]
    split = split_kind(word)[0] if is_split(word) else "val"
    size = train.size[0] if train.geometry.size else config.data.size
    described = update_config(  # whole images, and all of them, also of a folder named train
        config,
        **{"data": path, "source": kind, "size": size, "stylised": None},
        **{"resized_crop": False, "reduced_decoding": True, "max_train_images": None},
    )
    return match_validation(opener(described, split), train, where=path)


def match_validation(source: Source, train: Source, *, where: str) -> Source:
    """Give validation images the classes of the training images, and refuse those trained on.

    Raises:
        RunError: If classes, sizes or channels differ, or images are in both sets.
    """
    if source.class_names != train.class_names:
        check_classes(
            source.class_names,
            train.class_names,
            where=Path(where),
            whose="the training images",
            hint=f" ({', '.join(train.class_names[:8])}): give its classes the same names, or take "
            "them out",
        )
        source = map_classes(source, name_classes(train.class_names, where="the training images"))
    ours, theirs = (*source.size, source.channels), (*train.size, train.channels)
    if ours != theirs:
        raise RunError(
            f"the validation images of {where} are {ours[0]}x{ours[1]} pixels of {ours[2]} "
            f"channel(s), those of the training {theirs[0]}x{theirs[1]} of {theirs[2]}; bring "
            "both to one size with --size"
        )
    shared = find_shared(train, source)
    if len(shared):
        first = source.files[shared[0]] if source.files else f"image {shared[0]}"
        raise RunError(
            f"{len(shared)} of the {len(source)} validation images of {where} are trained on, the "
            f"first is {first}: take them out of one of the two, or leave out --val and hold out a "
            "part of the training images with --val-fraction 0.1"
        )
    return source


def prepare_validation(
    source: Source, config: TrainConfig, method: Method, *, num_train: int, is_trained: bool
) -> Validation:
    """Choose what is measured after each epoch, and corrupt those images.

    Args:
        num_train: Images of an epoch.
        is_trained: Whether gradients pass through most of the network.
    """
    optimisation, chosen = config.optimisation, config.validation
    per_view = _PASSES_OF_TRAINING if is_trained else 1
    num_views = method.num_passed
    passes = num_train * num_views * per_view
    fraction = _FRACTION / 2 if optimisation.ema_decay else _FRACTION  # its batch norm takes a half
    per_part = optimisation.batch_size * num_views // optimisation.accumulate
    bytes_each = source.size[0] * source.size[1] * source.channels
    most_kept = max(_MOST_BYTES // bytes_each, 1)
    plan = plan_validation(
        len(source),
        most_passes=int(fraction * passes),
        most_corrupted=most_kept,
        most_clean=max(most_kept, int(_FRACTION * num_train)),  # decoding may be what takes time
    )
    clean = source.load(plan.clean) if len(plan.clean) <= most_kept else None
    return Validation(
        source=source,
        plan=plan,
        select=chosen.select or "corrupted",
        patience=chosen.patience,
        batch_size=min(_BATCH, max(per_part, 1)),
        num_threads=config.run.num_threads,
        clean=clean,
        corrupted=_corrupt(source, plan, clean),
    )


def _corrupt(
    source: Source, plan: Plan, clean: UInt8[np.ndarray, "clean height width channel"] | None
) -> UInt8[np.ndarray, "corrupted height width channel"]:
    """The corrupted images of a plan; each depends on its index, corruption and severity alone."""
    images = np.empty((len(plan.corrupted), *source.size, source.channels), np.uint8)
    cells = plan.corruption * _SEVERITIES + plan.severity - 1
    for cell in np.unique(cells).tolist():
        rows = np.flatnonzero(cells == cell)
        for start in range(0, len(rows), _CORRUPTED_AT_ONCE):
            some = rows[start : start + _CORRUPTED_AT_ONCE]
            ids = plan.corrupted[some]
            whole = source.load(ids) if clean is None else clean[np.searchsorted(plan.clean, ids)]
            images[some] = corrupt(
                whole,
                EXTRA_4[cell // _SEVERITIES],
                severity=cell % _SEVERITIES + 1,
                seed=0,
                ids=ids,
            )
    return images

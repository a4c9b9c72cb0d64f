"""Views of a training step, by the CPU's pipeline or by the device's.

Both are functions of the step: `make` draws the plan of its images (and, on the CPU, renders it) on
any thread, ahead of time; `finish` gives the views and targets on the device, on the thread that
trains. The CPU's pipeline renders with ``pillow`` or ``compiled`` and sends float views. The
device's sends the packed plan and renders it where the model is; the images stay there if they fit
(`fits_device`), else they are sent as bytes with each step. Nothing waits for the device.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from augmix import distributed
from augmix.augment import Executor, batched, render
from augmix.augment.batched import tensors
from augmix.augment.batched.packing import Layout, Packed, pack
from augmix.augment.plan import Plan
from augmix.data.batches import BatchOrder, run_ahead
from augmix.data.sources import Source, load_at
from augmix.devices import GraphedFunction
from augmix.methods import Method
from augmix.rng import Stream
from augmix.training.config import TrainConfig

_MAX_FRACTION = 1 / 4  # of a device's free memory that images may take
_MAX_BYTES = 2**30  # the same on the CPU
_LOADED_AT_ONCE = 1000

Images = UInt8[np.ndarray, "batch height width channel"]
ArrayTargets = Int64[np.ndarray, " batch"] | Float32[np.ndarray, "batch class"]
Views = Float32[Tensor, "view batch channel height width"]
Targets = Int64[Tensor, " batch"] | Float32[Tensor, "batch class"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Pipeline:
    """Views and targets of a run, step by step: all that is random, and the images, by address."""

    source: Source
    method: Method  # whose policy draws the plans
    order: BatchOrder  # which images a step has
    stream: Stream  # address of the run
    executor: str  # what renders the views, in words
    device: torch.device
    channels_last: bool

    @property
    def is_made_ahead(self) -> bool:
        """Whether `make` gains from threads of its own, as rendering does, which holds no lock."""
        return True

    def make(self, step: int) -> Any:
        """Prepare a step, on any thread."""
        raise NotImplementedError

    def finish(self, made: Any) -> tuple[Views, Targets]:
        """The views and targets of a prepared step, on the device."""
        raise NotImplementedError

    def plan(self, step: int) -> tuple[Plan, ArrayTargets]:
        """The plan of a step's images, and their targets."""
        ids = self.order.ids(step)
        plan = self.method.policy.sample(
            ids,
            num_views=self.method.num_views,
            size=self.source.size,
            stream=self.stream.at(epoch=self.order.epoch(step)),
        )
        plan = plan.with_clean() if self.method.has_clean else plan
        labels = self.source.labels[ids]
        if plan.pairs is None:
            return plan, labels
        return plan, plan.pairs.targets(labels, self.source.num_classes)

    def load(self, step: int, ids: Int64[np.ndarray, " batch"]) -> Images:
        """The images of a step, cropped at their address where the source crops."""
        return load_at(self.source, ids, stream=self.stream.at(epoch=self.order.epoch(step)))


def open_order(source: Source, config: TrainConfig) -> BatchOrder:
    """The images this process trains on at every step.

    Raises:
        ValueError: If a step would have fewer images than there are processes.
    """
    return BatchOrder(
        num_images=len(source),
        batch_size=config.optimisation.batch_size,
        seed=config.run.seed,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )


def open_pipeline(
    source: Source, method: Method, order: BatchOrder, config: TrainConfig, device: torch.device
) -> Pipeline:
    """The pipeline of a run: that of the device for the executor ``batched``.

    The executor ``auto`` is ``batched`` on a device other than the CPU.
    """
    common: dict[str, Any] = {
        "source": source,
        "method": method,
        "order": order,
        "stream": Stream(seed=config.run.seed),
        "device": device,
        "channels_last": config.optimisation.channels_last,
    }
    executor = config.run.executor
    if executor != "batched" and (executor != "auto" or device.type == "cpu"):
        return CpuPipeline(executor=executor, **common)
    images = load_images(source, device) if fits_device(source, device) else None
    where = "sent with each step" if images is None else "on the device"
    name = f"batched by {batched.describe_backend(device)}, images {where}"
    is_graphed = (
        config.optimisation.compile
        and device.type == "cuda"
        and batched.choose_backend(device) == "triton"
    )
    plan = method.policy.sample(
        np.arange(2), num_views=1, size=source.size, stream=common["stream"]
    )
    pictures = batched.pictures_on(plan, source.channels, device)
    return DevicePipeline(
        executor=name, images=images, pictures=pictures, is_graphed=is_graphed, **common
    )


def prepare(pipeline: Pipeline, steps: Iterable[int], num_threads: int) -> Generator[Any]:
    """What `Pipeline.make` gives for every step; ahead, on threads, where it gains from them."""
    if pipeline.is_made_ahead:
        yield from run_ahead(pipeline.make, steps, num_threads=num_threads)
    else:
        yield from map(pipeline.make, steps)


class Batch(NamedTuple):
    """Views and targets made on the CPU."""

    views: Float32[np.ndarray, "view batch channel height width"]  # the clean ones first, if any
    targets: ArrayTargets


@dataclass(frozen=True, eq=False, kw_only=True)
class CpuPipeline(Pipeline):
    """Views rendered on this process's threads and sent to the device."""

    executor: Executor

    def make(self, step: int) -> Batch:
        """Draw and render a step, on any thread."""
        plan, targets = self.plan(step)
        return Batch(render(self.load(step, plan.ids), plan, executor=self.executor), targets)

    def finish(self, made: Batch) -> tuple[Views, Targets]:
        """Send a step to the device."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        flat = torch.from_numpy(made.views).flatten(0, 1)  # (view batch) channel height width
        views = flat.to(self.device, memory_format=layout).unflatten(0, made.views.shape[:2])
        return views, torch.from_numpy(made.targets).to(self.device)


@dataclass(frozen=True, eq=False, kw_only=True)
class DevicePipeline(Pipeline):
    """Views rendered on the device."""

    images: UInt8[Tensor, "image height width channel"] | None  # None if sent with each step
    pictures: (
        UInt8[Tensor, "picture picture_height picture_width channel"] | None
    )  # where the plans take some
    is_graphed: bool  # whether views are made by a CUDA graph, and overwritten by the next step's
    graphs: dict[Layout, GraphedFunction] = field(default_factory=dict)

    @property
    def is_made_ahead(self) -> bool:
        """Not where only a plan is drawn for a GPU.

        That takes a millisecond of Python, which the GPU hides. From a thread of its own it would
        take the interpreter, piece by piece, from the thread that launches kernels, and steps of
        small networks would take twice as long.
        """
        return self.images is None or self.device.type == "cpu"

    def make(self, step: int) -> tuple[Packed, Tensor | None, Tensor]:
        """A step's packed plan, its images if they are sent, and its targets; on any thread."""
        plan, targets = self.plan(step)
        real, has_rows = tensors.real_of(self.device), not self.is_graphed
        packed = pack(plan, self.source.channels, real=real, has_rows=has_rows)
        is_sent = self.images is None
        images = batched.pin(self.load(step, plan.ids), self.device) if is_sent else None
        return packed, images, batched.pin(targets, self.device)

    def finish(self, made: tuple[Packed, Tensor | None, Tensor]) -> tuple[Views, Targets]:
        """Send and render a step."""
        packed, sent, targets = made
        words = batched.pin(packed.words, self.device)
        inputs = (words,) if sent is None else (words, sent)
        render = partial(self._render, packed.layout)
        if self.is_graphed:
            render = self.graphs.setdefault(packed.layout, GraphedFunction(render, self.device))
        return render(*inputs), targets.to(self.device, non_blocking=True)

    def _render(self, layout: Layout, words: Tensor, sent: Tensor | None = None) -> Views:
        """The views of a plan that lies in one buffer."""
        arrays = batched.open_words(words.to(self.device, non_blocking=True), layout)
        if sent is None:
            assert self.images is not None
            images = self.images.index_select(0, arrays.ids)
        else:
            images = sent.to(self.device, non_blocking=True)
        return batched.execute(
            images, arrays, layout, channels_last=self.channels_last, pictures=self.pictures
        )


def fits_device(source: Source, device: torch.device) -> bool:
    """Whether a source's images take so little of the device's memory that they can stay there.

    Those that are cropped differently in every epoch cannot.
    """
    if source.crop is not None:
        return False
    height, width = source.size
    num_bytes = len(source) * height * width * source.channels
    if device.type != "cuda":
        return num_bytes <= _MAX_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes <= free * _MAX_FRACTION


def load_images(
    source: Source, device: torch.device
) -> UInt8[Tensor, "image height width channel"]:
    """Load all images of a source onto a device."""
    shape = (len(source), *source.size, source.channels)
    images = torch.empty(shape, dtype=torch.uint8, device=device)
    for start in range(0, len(source), _LOADED_AT_ONCE):
        ids = np.arange(start, min(start + _LOADED_AT_ONCE, len(source)))
        images[start : start + len(ids)] = torch.from_numpy(source.load(ids)).to(device)
    return images

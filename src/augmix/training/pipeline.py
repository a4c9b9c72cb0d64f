"""Views made on the device: from the number of a step to what a model learns from.

A step is drawn on any thread, ahead of time, and finished on the thread that trains. Drawing needs
no device: it packs the plan. Finishing sends the plan and renders it where the model is; the images
live there where they fit (`is_resident`) or are sent as bytes. Nothing waits for the device."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from augmix.augment import batched
from augmix.augment.batched import tensors
from augmix.augment.batched.packing import Packed, pack
from augmix.augment.plan import Plan
from augmix.data.batches import BatchOrder
from augmix.data.sources import Source, find_crop, load_at
from augmix.methods import Method
from augmix.rng import Stream
from augmix.training.config import TrainConfig

_RESIDENT_SHARE = 1 / 4  # of a device's free memory that images may take
_RESIDENT_BYTES = 2**30  # the same on the CPU
_LOADED_AT_ONCE = 1000

Views = Float32[Tensor, "view batch channel height width"]
Targets = Int64[Tensor, " batch"] | Float32[Tensor, "batch label"]
MakePlan = Callable[
    [int], tuple[Plan, Int64[np.ndarray, " batch"] | Float32[np.ndarray, "batch label"]]
]
MakeImages = Callable[
    [int, Int64[np.ndarray, " batch"]], UInt8[np.ndarray, "batch height width channel"]
]


def make_plans(source: Source, method: Method, order: BatchOrder, seed: int) -> MakePlan:
    """Rooms 1 and 3 as a function of the step: the plan of its images, and their targets."""
    stream = Stream(seed=seed)

    def make(
        step: int,
    ) -> tuple[Plan, Int64[np.ndarray, " batch"] | Float32[np.ndarray, "batch label"]]:
        ids = order.ids(step)
        plan = method.policy.sample(
            ids,
            num_views=method.num_views,
            size=source.size,
            stream=stream.at(epoch=order.epoch(step)),
        )
        if method.has_clean:
            plan = plan.with_clean()
        labels = source.labels[ids]
        if plan.pairs is None:
            return plan, labels
        return plan, plan.pairs.targets(labels, source.num_classes)

    return make


def make_images(source: Source, order: BatchOrder, seed: int) -> MakeImages:
    """Room 2 as a function of the step and its images, cropped at their address if they are."""
    stream = Stream(seed=seed)

    def make(
        step: int, ids: Int64[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        return load_at(source, ids, stream=stream.at(epoch=order.epoch(step)))

    return make


def open_device_views(
    source: Source, method: Method, order: BatchOrder, config: TrainConfig, device: torch.device
) -> "DeviceViews | None":
    """What makes a run's views on its device; None where the recipe has them made on the CPU.

    The executor ``auto`` makes them where the model is, ``batched`` on any device.
    """
    if config.run.executor != "batched" and (config.run.executor != "auto" or device.type == "cpu"):
        return None
    return DeviceViews(
        source=source,
        plans=make_plans(source, method, order, config.run.seed),
        load=make_images(source, order, config.run.seed),
        device=device,
        channels_last=config.optimisation.channels_last,
        images=load_images(source, device) if is_resident(source, device) else None,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class DeviceViews:
    """The views of a run, rendered on a device.

    Attributes:
        source: The training images.
        plans: The plan and targets of every step.
        load: The images of a step, where they are sent.
        device: Where views are rendered.
        channels_last: Whether the channels of a pixel lie together in memory.
        images: All images of the source on the device, or None where they are sent with each step.
    """

    source: Source
    plans: MakePlan
    load: MakeImages
    device: torch.device
    channels_last: bool
    images: UInt8[Tensor, "image height width channel"] | None

    @property
    def executor(self) -> str:
        """What renders the views and where images come from, for people to read."""
        where = "sent with each step" if self.images is None else "on the device"
        return f"batched by {batched.describe_backend(self.device)}, images {where}"

    def draw(self, step: int) -> tuple[Packed, Tensor | None, Tensor]:
        """A step's packed plan, its images if they are sent, and its targets; on any thread."""
        plan, targets = self.plans(step)
        packed = pack(plan, self.source.channels, real=tensors.real_of(self.device))
        sent = None if self.images is not None else self._keep(self.load(step, plan.ids))
        return packed, sent, self._keep(targets)

    def finish(self, drawn: tuple[Packed, Tensor | None, Tensor]) -> tuple[Views, Targets]:
        """The views and targets of a drawn step, on the device."""
        packed, sent, targets = drawn
        arrays, layout = batched.upload(packed, self.device)
        if self.images is not None:
            images = self.images.index_select(0, arrays.ids)
        else:
            assert sent is not None
            images = sent.to(self.device, non_blocking=True)
        views = batched.execute(images, arrays, layout, channels_last=self.channels_last)
        return views, targets.to(self.device, non_blocking=True)

    def _keep(self, values: np.ndarray) -> Tensor:
        """A tensor in memory from which a GPU copies while Python goes on."""
        tensor = torch.from_numpy(values)
        return tensor.pin_memory() if self.device.type == "cuda" else tensor


def is_resident(source: Source, device: torch.device) -> bool:
    """Whether a source's images take so little of the device's memory that they can live there.

    Those that are cropped anew in every epoch cannot.
    """
    if find_crop(source) is not None:
        return False
    height, width = source.size
    num_bytes = len(source) * height * width * source.channels
    if device.type != "cuda":
        return num_bytes <= _RESIDENT_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes <= free * _RESIDENT_SHARE


def load_images(
    source: Source, device: torch.device
) -> UInt8[Tensor, "image height width channel"]:
    """All images of a source on a device."""
    shape = (len(source), *source.size, source.channels)
    images = torch.empty(shape, dtype=torch.uint8, device=device)
    for start in range(0, len(source), _LOADED_AT_ONCE):
        ids = np.arange(start, min(start + _LOADED_AT_ONCE, len(source)))
        images[start : start + len(ids)] = torch.from_numpy(source.load(ids)).to(device)
    return images

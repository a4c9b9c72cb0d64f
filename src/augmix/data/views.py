"""Batches of views for a training loop of one's own."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from augmix import distributed
from augmix.arrays import Images, to_batch
from augmix.augment import render
from augmix.augment.batched import find_device
from augmix.augment.batched import render as render_on_device
from augmix.augment.policies import AugMix, Policy
from augmix.data.batches import BatchOrder, run_ahead
from augmix.errors import check_positive
from augmix.rng import Stream


class ViewsLoader:
    """Batches of views of a data set, made by the compiled executor or on a GPU.

    An iteration is an epoch. Order and views depend on the seed, the epoch and the index of an
    image alone: they are the same for any number of workers and threads. Of several processes
    (torchrun) each has its part of every batch. `views_loader` makes one.

    Attributes:
        epoch: Of the next iteration, from 0; set it to continue a run.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        policy: Policy | None = None,
        num_views: int = 2,
        has_clean: bool = True,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
        num_workers: int = 0,
        num_threads: int = 1,
        device: str | torch.device = "cpu",
        channels_last: bool = False,
    ) -> None:
        count = len(dataset)
        if not count:
            raise ValueError("dataset must have at least 1 image, got 0")
        if drop_last and count < batch_size:
            raise ValueError(
                f"drop_last leaves no batch: batch_size {batch_size} is above the {count} images"
            )
        self.dataset, self.policy = dataset, AugMix() if policy is None else policy
        self.num_views, self.has_clean, self.shuffle = num_views, has_clean, shuffle
        self.drop_last, self.num_workers, self.num_threads = drop_last, num_workers, num_threads
        self.channels_last, self.epoch = channels_last, 0
        check_positive(self, "num_views", "num_threads")
        self.device = find_device(device)
        self._stream = Stream(seed=seed)
        self._order = BatchOrder(
            num_images=count,
            batch_size=batch_size,
            seed=seed,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        order = self._order
        is_cut = self.drop_last and order.num_images % order.batch_size != 0
        return order.steps_per_epoch - is_cut

    def __iter__(self) -> Iterator[tuple[Float32[Tensor, "view batch channel height width"], Any]]:
        """The batches of the next epoch: views, the clean one first, and targets."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        batches = [self._ids(epoch, number) for number in range(len(self))]
        items = iter(
            DataLoader(
                _Numbered(self.dataset),
                batch_sampler=[ids.tolist() for ids in batches],
                num_workers=self.num_workers,
                collate_fn=_collate,
            )
        )
        if self.device.type == "cpu":  # rendered on a thread while the loop trains
            yield from run_ahead(lambda _: self._make(next(items), epoch), range(len(batches)))
        else:
            yield from (self._make(batch, epoch) for batch in items)

    def _ids(self, epoch: int, number: int) -> Int64[np.ndarray, " batch"]:
        order = self._order
        if self.shuffle:
            return order.ids(epoch * order.steps_per_epoch + number)
        first = number * order.batch_size
        batch = np.arange(first, min(first + order.batch_size, order.num_images))
        return np.array_split(batch, order.world_size)[order.rank]

    def _make(
        self, batch: Any, epoch: int
    ) -> tuple[Float32[Tensor, "view batch channel height width"], Any]:
        ids, images, targets = batch  # of `_collate`
        plan = self.policy.sample(
            ids,
            num_views=self.num_views,
            size=(images.shape[1], images.shape[2]),
            stream=self._stream.at(epoch=epoch),
        )
        plan = plan.with_clean() if self.has_clean else plan
        if self.device.type != "cpu":
            views = render_on_device(
                images, plan, device=self.device, channels_last=self.channels_last
            )
            return views, _send(targets, self.device)
        views = torch.from_numpy(render(images, plan, num_threads=self.num_threads))
        if self.channels_last:
            flat = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            views = flat.unflatten(0, views.shape[:2])
        return views, targets


def views_loader(dataset: Any, batch_size: int, **options: Any) -> ViewsLoader:
    """Iterate over a data set in batches of views, ready for a consistency loss.

    Args:
        dataset: Any map-style data set of pairs (image, target), images of one size as PIL of mode
            L or RGB, uint8 `height width channel` arrays or uint8 `channel height width` tensors.
        batch_size: Images of a batch, over all processes; the last of an epoch may be smaller.
        policy: Draws the views; by default `augmix.AugMix()`. Its ``crop_padding`` and ``flip``
            come before the views of an image and are the same for all of them.
        num_views: Views that are drawn of every image.
        has_clean: Put the clean image, cropped and mirrored as its views, in front of them.
        shuffle: A new order in every epoch.
        drop_last: Leave out a last batch that is smaller.
        seed: Of order and views.
        num_workers: Processes that read the data set, as of `torch.utils.data.DataLoader`; they
            send uint8 images, once for all views.
        num_threads: Threads that render on a CPU.
        device: Where the views are: on a GPU they are rendered there.
        channels_last: Keep the channels of a pixel together in memory.

    Returns:
        Iterating gives pairs of views, float32 `view batch channel height width` in [0, 1], and
        targets, collated as `torch.utils.data.DataLoader` does.

    Raises:
        ValueError: If the data set is empty or an option is out of range.
        TypeError: If an image or an option is of a wrong kind.

    Example:
        >>> images = np.zeros((10, 32, 32, 3), np.uint8)
        >>> loader = views_loader([(image, 7) for image in images], batch_size=4)
        >>> [tuple(views.shape) for views, targets in loader][-1]
        (3, 2, 3, 32, 32)
    """
    return ViewsLoader(dataset, batch_size, **options)


class _Numbered(torch.utils.data.Dataset):
    """A data set whose items know their index."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Any, Any]:
        image, target = self.dataset[index]
        return index, image, target


def _collate(samples: Sequence[tuple[int, Any, Any]]) -> tuple[np.ndarray, Images, Any]:
    """Ids, images in one array, and targets."""
    ids, images, targets = zip(*samples, strict=True)
    batch = [to_batch(image) for image in images]
    shapes = list(dict.fromkeys(image.shape[1:] for image in batch))
    if len(shapes) > 1:
        first, other = ("x".join(map(str, shape)) for shape in itertools.islice(shapes, 2))
        raise ValueError(
            f"images of a batch must have one size, got {first} and {other} (height x width x "
            "channels); resize and crop them in the data set"
        )
    return np.array(ids, np.int64), np.concatenate(batch), default_collate(list(targets))


def _send(targets: Any, device: torch.device) -> Any:
    """Collated targets on a device."""
    if isinstance(targets, Tensor):
        return targets.to(device, non_blocking=True)
    if isinstance(targets, dict):
        return {name: _send(each, device) for name, each in targets.items()}
    if isinstance(targets, (list, tuple)):
        return [_send(each, device) for each in targets]
    return targets

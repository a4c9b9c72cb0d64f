"""How a transform draws: addressed by its seed, torch's seed of the process, and its calls."""

from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float32, Int64

from augmix.augment.plan import Plan
from augmix.augment.policies import Policy
from augmix.augment.render import render
from augmix.streams import Stream
from augmix.transforms.images import Batch

Views = Float32[np.ndarray, "view batch channel height width"]
CpuExecutor = Literal["auto", "pillow", "compiled"]


class Drawer:
    """The policy of a transform, what renders its plans, and the count of its calls.

    Raises:
        ValueError: If the executor is not one of those for the CPU.
    """

    def __init__(self, policy: Policy, seed: int, executor: CpuExecutor = "auto") -> None:
        if executor not in get_args(CpuExecutor):
            raise ValueError(
                "executor of a transform must be 'auto', 'pillow' or 'compiled', "
                f"got {executor!r}: its images come and go on the CPU; "
                "augmix.render takes batches to a device"
            )
        self.policy = policy
        self.executor: CpuExecutor = executor
        self.stream = Stream(seed=seed)
        self.torch_seed = -1
        self.num_drawn = 0

    def plan(self, count: int, size: tuple[int, int], num_views: int) -> Plan:
        """The plan of images that were never seen before in this process."""
        stream, ids = self._next(count)
        return self.policy.sample(ids, num_views=num_views, size=size, stream=stream)

    def views(self, batch: Batch, num_views: int, *, clean: bool) -> Views:
        """Draw and render the views of a batch, behind the images themselves if asked for."""
        plan = self.plan(len(batch), batch.shape[1:3], num_views)
        return render(batch, plan.with_clean() if clean else plan, executor=self.executor)

    def _next(self, count: int) -> tuple[Stream, Int64[np.ndarray, " batch"]]:
        if torch.initial_seed() != self.torch_seed:  # another worker, epoch or manual_seed
            self.torch_seed, self.num_drawn = torch.initial_seed(), 0
        turn, first = divmod(self.num_drawn, 2**32)  # ids have 32 bits, epochs take the rest
        self.num_drawn += count
        stream = self.stream.spawn(self.torch_seed % 2**64).at(epoch=turn)
        return stream, (first + np.arange(count)) % 2**32

    def __repr__(self) -> str:
        return f"{self.policy}, seed={self.stream.seed}"

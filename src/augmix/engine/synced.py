"""Batch normalisation over the images of all processes.

With it, N processes that share a batch learn what one process learns from the whole of it. On a
GPU it is torch's own layer; that one refuses CPUs, for which the same arithmetic stands here.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn


def synchronize(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with every batch-norm layer over all processes; names and numbers stay.

    Layers are replaced in place.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.BatchNorm2d:
                setattr(parent, name, _replace(layer))
    return model


class SyncedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose batch, in training, is that of all processes."""

    def forward(
        self, input: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """Normalise by mean and variance of all processes' images, in float32."""
        if not self.training:
            return super().forward(input)
        features = input.float()
        axes = (0, 2, 3)
        num_channels = features.shape[1]
        count = features.new_tensor([features.numel() / num_channels])
        mean = features.mean(axes)
        spread = (features - mean[:, None, None]).square().sum(axes)
        # one exchange: means and spreads of all processes, put together by Chan et al. (1979)
        rows = _FromProcesses.apply(torch.cat([mean, spread, count]))  # process number
        means, spreads, counts = rows.split([num_channels, num_channels, 1], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (spreads + counts * (means - mean).square()).sum(0) / total
        self._follow(mean.detach(), variance.detach(), total.detach())
        scale = torch.rsqrt(variance + self.eps) * self.weight
        result = (features - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        return result.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        """Move the running statistics as `nn.BatchNorm2d` does: unbiased, by the momentum."""
        assert self.num_batches_tracked is not None  # all networks here track them
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * total / (total - 1).clamp(min=1), share)


class _FromProcesses(torch.autograd.Function):
    """The numbers of every process, one row each, on each of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        rows = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(rows, values.contiguous())
        return torch.stack(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        """Every process used these numbers: the sum of what it asks of them."""
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[dist.get_rank()]


def _replace(layer: nn.BatchNorm2d) -> SyncedBatchNorm:
    synced = SyncedBatchNorm(layer.num_features, eps=layer.eps, momentum=layer.momentum)
    synced.load_state_dict(layer.state_dict())
    return synced.to(layer.weight.device).train(layer.training)

"""A network that learns: forward and backward of a step, then the update of its weights.

Between the two, nothing that lasts has changed but the running statistics of batch norm, so a state
from before the step can still be written.
"""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from augmix import ranks
from augmix.engine import averaging, checkpoint
from augmix.engine.recipe import Recipe
from augmix.engine.synced import synchronize
from augmix.methods import Method
from augmix.models.layers import Classifier
from augmix.objectives import Loss, Objective

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """What takes a step.

    Attributes:
        model: The network itself, on its device.
        objective: Calls the network and gives the loss.
        recipe: How it is optimised.
        device: Where it computes.
        optimizer: Of the model's weights.
        scaler: Of the gradient, for float16; does nothing otherwise.
        average: The moving average of the weights, if the recipe asks for one.
        network: What is called in its place: the model, or the model among processes.
        compiled: The network compiled, for whole batches; the network itself if it is not.
    """

    model: Classifier
    objective: Objective
    recipe: Recipe
    device: torch.device
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    network: nn.Module
    compiled: nn.Module

    def backward(
        self,
        views: Float[Tensor, "view batch channel height width"],
        targets: Tensor,
        num_images: int,
    ) -> Loss:
        """Forward and backward of a step, in as many parts as the recipe says.

        Gradients of the parts, and over processes, add up to that of the mean loss over all
        images of the step, however many each has.

        Args:
            views: Of this process's images.
            targets: Of these images.
            num_images: Images of the step over all processes.

        Returns:
            Their mean loss; total and terms detached, logits of the first view.
        """
        is_whole = num_images == self.recipe.batch_size
        network = self.compiled if is_whole else self.network  # not worth compiling a second time
        num_parts = min(self.recipe.accumulate, num_images // ranks.world_size())
        self.optimizer.zero_grad(set_to_none=True)
        losses, shares = [], []
        for number, (some, some_targets) in enumerate(_split(views, targets, num_parts)):
            with self._precision(), self._exchange(number == num_parts - 1):
                loss = self.objective(network, some, some_targets)
                share = len(some_targets) * ranks.world_size() / num_images
                self.scaler.scale(loss.total * share).backward()
            losses.append(loss)
            shares.append(len(some_targets) / len(targets))
        return _mean(losses, shares)

    def update(self, rate: float) -> None:
        """Move the weights by the gradient of the last `backward`.

        Args:
            rate: Learning rate.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def learn(
        self,
        views: Float[Tensor, "view batch channel height width"],
        targets: Tensor,
        num_images: int,
        rate: float,
    ) -> Loss:
        """A whole step; see `backward` and `update`."""
        loss = self.backward(views, targets, num_images)
        self.update(rate)
        return loss

    def finish(self, batches: Iterator[Float[Tensor, "image channel height width"]]) -> Classifier:
        """The model that the run leaves: the weights, or their average with its own statistics.

        Args:
            batches: Views as in training, on which batch norm is measured; drawn only for an
                average.
        """
        if self.average is None:
            return self.model
        model = cast(Classifier, self.average.module)
        with self._precision():
            averaging.measure_statistics(model, batches)
        return model

    def capture(self, step: int, identity: Any, tally: Any) -> checkpoint.State:
        """The state of the run after ``step`` steps; shares its tensors with the learner."""
        state = checkpoint.capture(step, self.model, self.optimizer, identity=identity, tally=tally)
        average = {} if self.average is None else self.average.state_dict()
        return replace(state, scaler=self.scaler.state_dict(), average=average)

    def restore(self, state: checkpoint.State) -> None:
        """Go on from a state of the same run.

        Raises:
            ResumeError: If the weights are those of another architecture.
        """
        checkpoint.restore(state, self.model, self.optimizer)
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)
        if self.average is not None:
            self.average.load_state_dict(state.average)

    def _precision(self) -> torch.autocast:
        dtype = PRECISIONS.get(self.recipe.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def _exchange(self, is_last: bool) -> AbstractContextManager[Any]:
        """Gradients travel between processes with the last part of a step."""
        if is_last or not isinstance(self.network, DistributedDataParallel):
            return nullcontext()
        return self.network.no_sync()


def open_learner(
    model: Classifier, method: Method, *, recipe: Recipe, device: torch.device
) -> Learner:
    """Make a model ready to learn by a recipe; it is moved to the device and changed in place.

    Args:
        model: Takes `batch channel height width` in [0, 1] and gives logits.
        method: Its objective is minimised.
        recipe: How it is optimised.
        device: Where it computes.
    """
    model.to(device).train()
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    is_shared = ranks.world_size() > 1
    if is_shared and recipe.sync_batch_norm:
        synchronize(model, device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.peak,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
    )
    average = averaging.open_average(model, recipe.ema_decay) if recipe.ema_decay else None
    network = _among_processes(model, recipe, device) if is_shared else model
    return Learner(
        model=model,
        objective=method.objective,
        recipe=recipe,
        device=device,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16"),
        average=average,
        network=network,
        compiled=cast(nn.Module, torch.compile(network)) if recipe.compile else network,
    )


def _among_processes(model: nn.Module, recipe: Recipe, device: torch.device) -> nn.Module:
    """The model whose gradients are means over processes; process 0's weights are everybody's."""
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: not recipe.sync_batch_norm}  # else they are equal everywhere
    if device.type == "cuda":
        options["device_ids"] = [device]
    return DistributedDataParallel(model, **options)


def _split(views: Tensor, targets: Tensor, num_parts: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Parts of a batch whose lengths differ by at most one."""
    count = len(targets)
    for number in range(num_parts):
        first, last = (count * place // num_parts for place in (number, number + 1))
        yield views[:, first:last], targets[first:last]


def _mean(losses: list[Loss], shares: list[float]) -> Loss:
    """The loss of all parts together."""
    if len(losses) == 1:
        (loss,) = losses
        return Loss(total=loss.total.detach(), terms=loss.terms, logits=loss.logits)

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack([s * v for s, v in zip(shares, values, strict=True)]).sum()

    return Loss(
        total=mean([loss.total.detach() for loss in losses]),
        terms={name: mean([loss.terms[name] for loss in losses]) for name in losses[0].terms},
        logits=torch.cat([loss.logits for loss in losses]),
    )

"""One optimiser step: forward, backward, update, weight averaging.

Between `Learner.backward` and `Learner.update` nothing that is kept has changed but the running
statistics of batch norm, so a state from before the step can still be written.
"""

import copy
import inspect
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from augmix import distributed
from augmix.devices import GraphedFunction
from augmix.errors import RunError, first_line
from augmix.methods import Method, Objective
from augmix.methods.losses import Loss, weigh_targets
from augmix.models.batch_norm import split_batch_norm
from augmix.models.layers import Classifier
from augmix.run_folder import STATE_FILE
from augmix.training import checkpoint
from augmix.training.config import OptimisationConfig
from augmix.training.optimizer import BATCH_NORMS, build_optimizer, freeze

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """A model with everything that its optimiser steps need."""

    model: nn.Module  # the network itself, on its device
    objective: Objective  # calls the network and gives the loss
    optimisation: OptimisationConfig
    device: torch.device
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # of the gradient, for float16; does nothing otherwise
    average: AveragedModel | None  # of the weights
    class_weights: Float[Tensor, " class"] | None  # in the loss
    network: nn.Module  # what is called in the model's place: it, or `DistributedDataParallel`
    compiled: nn.Module  # the network compiled, for whole batches; else the network
    is_graphed: bool  # whether forward and backward of whole batches are a CUDA graph

    def backward(
        self,
        views: Float[Tensor, "view batch channel height width"],
        targets: Tensor,
        num_images: int,
    ) -> Loss:
        """Run forward and backward of a step, in as many parts as the configuration says.

        Gradients of the parts, and over processes, add up to that of the mean loss over all
        images of the step, however many each has.

        Args:
            views: Of this process's images, as the targets.
            num_images: Images of the step over all processes.

        Returns:
            The mean loss of this process's images; total and terms detached, logits of the first
            view.
        """
        is_whole = num_images == self.optimisation.batch_size
        if is_whole and self.is_graphed:
            return self._replay(views, targets)
        network = self.compiled if is_whole else self.network  # not worth compiling a second time
        num_parts = min(self.optimisation.accumulate, num_images // distributed.world_size())
        self.optimizer.zero_grad(set_to_none=True)
        losses, weights = [], []
        edges = [len(targets) * number // num_parts for number in range(num_parts + 1)]
        for first, last in itertools.pairwise(edges):
            weight = (last - first) * distributed.world_size() / num_images
            with self._gradient_exchange(last == len(targets)):
                part = views[:, first:last], targets[first:last]
                losses.append(self._add_gradients(network, *part, weight))
            weights.append((last - first) / len(targets))
        return _mean(losses, weights)

    def _add_gradients(
        self,
        network: nn.Module,
        views: Float[Tensor, "view batch channel height width"],
        targets: Tensor,
        weight: float,
    ) -> Loss:
        """The loss of some images, after its backward pass."""
        if self.class_weights is not None:
            targets = weigh_targets(targets, self.class_weights)
        with self.autocast():
            loss = self.objective(network, views, targets)
            self.scaler.scale(loss.total * weight).backward()
        return replace(loss, total=loss.total.detach())

    def _replay(
        self, views: Float[Tensor, "view batch channel height width"], targets: Tensor
    ) -> Loss:
        """`backward` of a whole batch as a CUDA graph; the next one overwrites its results."""
        loss, gradients = self._graph(views, targets)
        for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
            parameter.grad = gradient  # another batch may have set others since
        return loss

    @cached_property
    def _graph(self) -> GraphedFunction:
        """Loss and gradients of a whole batch, by its views and targets."""

        def run(views: Tensor, targets: Tensor) -> tuple[Loss, list[Tensor | None]]:
            self.optimizer.zero_grad(set_to_none=True)
            loss = self._add_gradients(self.compiled, views, targets, 1.0)
            return loss, [each.grad for each in self.model.parameters()]

        return GraphedFunction(run, self.device)

    def update(self, rate: float) -> None:
        """Update the weights by the gradient of the last `backward`, at a learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        if self.optimisation.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.optimisation.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def finish(self, batches: Iterator[Float[Tensor, "image channel height width"]]) -> nn.Module:
        """The model so far: the weights, or a copy of their average with statistics of its own.

        Its batch norm is computed from views as in training, since no step has seen its
        activations; batch norm that is frozen keeps its own.
        """
        if self.average is None:
            return self.model
        model = copy.deepcopy(self.average.module)
        with self.autocast():
            recompute_batch_norm(model, batches)
        return model

    def capture(self, step: int, identity: Any, meters: Any) -> checkpoint.State:
        """The state of the run after ``step`` steps; shares its tensors with the learner."""
        state = checkpoint.capture(
            step, self.model, self.optimizer, identity=identity, meters=meters
        )
        average = {} if self.average is None else self.average.state_dict()
        return replace(state, scaler=self.scaler.state_dict(), average=average)

    def restore(self, state: checkpoint.State, folder: Path) -> None:
        """Continue from the state of the same run that a folder holds.

        Raises:
            ResumeError: If it is of another architecture or optimiser.
        """
        checkpoint.restore(state, self.model, self.optimizer, folder=folder)
        with checkpoint.explain_misfit(folder):
            if state.scaler:
                self.scaler.load_state_dict(state.scaler)
            if self.average is not None:
                self.average.load_state_dict(state.average)

    def sizes(self) -> dict[str, int]:
        """Bytes of a checkpoint by part; the optimiser's are known after its first step."""
        states = [values for state in self.optimizer.state.values() for values in state.values()]
        average = [] if self.average is None else self.average.state_dict().values()
        parts = {"weights": self.model.state_dict().values(), "optimiser": states}
        return {
            name: sum(each.nbytes for each in values if isinstance(each, Tensor))
            for name, values in {**parts, "average": average}.items()
        }

    def rehearse_saving(self, folder: Path) -> dict[str, int]:
        """Save and restore the state of a copy, which has taken a step without gradients.

        Returns:
            Bytes of a checkpoint by part.

        Raises:
            RunError: If the state that comes back is another one.
        """
        name = getattr(getattr(self.model, "config", None), "name", type(self.model).__name__)
        try:
            model, optimizer = copy.deepcopy((self.model, self.optimizer))
        except Exception as error:  # of what its attributes are
            raise RunError(
                f"{name} cannot be copied ({first_line(error)}), as checks and averages of a run "
                "need: keep locks, open files and results of other layers out of its attributes"
            ) from error
        trial = replace(self, model=model, optimizer=optimizer)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        sizes = trial.sizes()
        try:
            content = checkpoint.pack(trial.capture(0, {}, {}))
            state = checkpoint.parse_state(folder / STATE_FILE, content)
            with torch.no_grad():
                for values in model.state_dict().values():
                    values.zero_()  # so that nothing is there but what is restored
            checkpoint.restore(state, model, optimizer, folder=folder)
            for key, values in model.state_dict().items():
                if not torch.equal(values.cpu(), state.model[key]):
                    raise ValueError(f"{key} comes back with other values")
        except Exception as error:  # of torch, and of what the module does itself
            cause = error.__cause__ or error
            raise RunError(
                f"the training of {name} could not be continued after a stop, since its state "
                f"cannot be saved and loaded again: {first_line(cause)}; its state_dict and "
                "load_state_dict must give back every tensor"
            ) from error
        return sizes

    def autocast(self) -> torch.autocast:
        """The arithmetic of the network."""
        dtype = PRECISIONS.get(self.optimisation.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def _gradient_exchange(self, is_last: bool) -> AbstractContextManager[Any]:
        """Processes exchange gradients with the last part of a step."""
        if is_last or not isinstance(self.network, DistributedDataParallel):
            return nullcontext()
        return self.network.no_sync()


def open_learner(
    model: nn.Module,
    method: Method,
    *,
    optimisation: OptimisationConfig,
    device: torch.device,
    class_weights: Sequence[float] | None = None,
) -> Learner:
    """Move a model to its device, in place, and give it an optimiser of the method's objective.

    Raises:
        RunError: If the network has no such part to freeze, or offers no gradient checkpointing.
    """
    model.to(device).train()
    if optimisation.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    is_shared = distributed.world_size() > 1
    if is_shared and optimisation.sync_batch_norm:
        synchronize_batch_norm(model, device)
    _split(model, method, optimisation.split_batch_norm)
    if optimisation.freeze is not None:
        freeze(cast(Classifier, model), optimisation)
    if optimisation.gradient_checkpointing:
        checkpoint_gradients(model)
    average = open_average(model, optimisation.ema_decay) if optimisation.ema_decay else None
    network = _data_parallel(model, optimisation, device) if is_shared else model
    return Learner(
        model=model,
        objective=method.objective,
        optimisation=optimisation,
        device=device,
        optimizer=build_optimizer(model, optimisation, device),
        scaler=torch.amp.GradScaler(device.type, enabled=optimisation.precision == "fp16"),
        average=average,
        class_weights=None if class_weights is None else torch.tensor(class_weights, device=device),
        network=network,
        compiled=cast(nn.Module, torch.compile(network)) if optimisation.compile else network,
        is_graphed=optimisation.compile
        and device.type == "cuda"
        and not is_shared
        and not optimisation.gradient_checkpointing  # which asks the device for its generator
        and optimisation.accumulate == 1,
    )


def _split(model: nn.Module, method: Method, is_asked: bool | None) -> None:
    """Give a model the second set of batch norms that the method has, or that is asked for.

    Raises:
        RunError: If it is asked for and the model has no batch norm.
    """
    if not (method.splits_batch_norm if is_asked is None else is_asked):
        return
    if not split_batch_norm(model, num_main=1, num_views=method.num_passed) and is_asked:
        raise RunError(
            "split_batch_norm would do nothing with this network, which has no batch norm: leave "
            "out --split-batch-norm"
        )


def open_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's weights, to be updated after every step.

    The decay of step t is the smaller of ``decay`` and (1 + t) / (10 + t), so that the start
    weights are soon forgotten.
    """

    def mix(averages: Any, weights: Any, count: Any) -> None:
        weight = 1 - decay_of(int(average.n_averaged), decay)  # its own count, not the device's
        torch._foreach_lerp_(averages, weights, weight)  # pyright: ignore[reportPrivateImportUsage]

    average = AveragedModel(model, multi_avg_fn=mix)
    return average


def decay_of(step: int, decay: float) -> float:
    """The decay of the average at a step, counted from 0.

    Example:
        >>> [round(decay_of(step, 0.999), 3) for step in (0, 90, 10**6)]
        [0.1, 0.91, 0.999]
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def recompute_batch_norm(
    model: nn.Module, batches: Iterable[Float[Tensor, "image channel height width"]]
) -> None:
    """Recompute the statistics of batch norm over batches, as `torch.optim.swa_utils.update_bn`.

    Layers that stay in evaluation mode while the model is in training mode keep theirs.
    """
    was_training = model.training
    model.train()
    layers = [layer for layer in model.modules() if isinstance(layer, BATCH_NORMS)]
    momenta = {layer: layer.momentum for layer in layers if layer.training}
    for layer in momenta:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
    for batch in batches if momenta else ():
        model(batch)
    for layer, momentum in momenta.items():
        layer.momentum = momentum
    model.train(was_training)


def checkpoint_gradients(model: nn.Module) -> None:
    """Let a network compute activations a second time in the backward pass, in place.

    Raises:
        RunError: If it does not offer that, or is of a timm that does it wrongly.
    """
    _check_timm(model)
    turn_on = _find_checkpointing(model)
    try:
        if turn_on is None:
            raise NotImplementedError
        turn_on()
    except (NotImplementedError, AssertionError, ValueError) as error:
        raise RunError(
            f"{getattr(getattr(model, 'config', None), 'name', 'this network')} offers no gradient "
            "checkpointing, as some networks of timm and transformers do: leave out "
            "--gradient-checkpointing; --accumulate 2 halves the memory of activations too"
        ) from error


def offers_checkpointing(model: nn.Module) -> bool:
    """Whether a network says that it can checkpoint gradients."""
    return _find_checkpointing(model) is not None


def _check_timm(model: nn.Module) -> None:
    """Refuse a network of a timm that takes torch's reentrant form of checkpointing.

    That form gives no gradients to blocks after a frozen stem, and torch only warns of it.
    """
    network = getattr(model, "network", model)
    timm = sys.modules.get("timm.models")
    if type(network).__module__.startswith("timm.") and not hasattr(timm, "checkpoint"):
        raise RunError(
            "gradient checkpointing of a network of timm needs timm 1.0.13 or newer, as blocks "
            "after a frozen stem get no gradients in older ones: pip install 'timm>=1.0.13'"
        )


def _find_checkpointing(model: nn.Module) -> Callable[[], Any] | None:
    """What turns on gradient checkpointing in a network of timm or transformers."""
    network: Any = getattr(model, "network", model)
    network = getattr(network, "model", network)  # within what returns the logits alone
    if hasattr(network, "set_grad_checkpointing"):
        return network.set_grad_checkpointing
    if getattr(network, "supports_gradient_checkpointing", False):
        options = {"use_reentrant": False}  # the other form needs inputs that have gradients
        for name in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
            if hasattr(network, name):
                return partial(getattr(network, name), options)
    return None


def _data_parallel(
    model: nn.Module, optimisation: OptimisationConfig, device: torch.device
) -> nn.Module:
    """The model with gradients averaged over processes; all start from process 0's weights."""
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: not optimisation.sync_batch_norm}  # synchronised are equal
    if device.type == "cuda":
        options["device_ids"] = [device]
    return DistributedDataParallel(model, **options)


def synchronize_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch-norm layer, in place, by one over the images of all processes.

    `torch.nn.SyncBatchNorm` refuses CPUs; there `SyncedBatchNorm` does the same, so that several
    processes on CPUs too give the weights that one process gives.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.BatchNorm2d:
                synced = SyncedBatchNorm(layer.num_features, eps=layer.eps, momentum=layer.momentum)
                synced.load_state_dict(layer.state_dict())
                setattr(parent, name, synced.to(layer.weight.device).train(layer.training))
    return model


class SyncedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` that normalises over the images of all processes while training."""

    def forward(
        self, input: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """Normalise by mean and variance of all processes' images, in float32."""
        if not self.training:
            return super().forward(input)
        features = input.float()
        axes, num_channels = (0, 2, 3), features.shape[1]
        count = features.new_tensor([features.numel() / num_channels])
        mean = features.mean(axes)
        spread = (features - mean[:, None, None]).square().sum(axes)
        # one exchange: means and spreads of all processes, combined by Chan et al. (1979)
        gathered = _AllGather.apply(torch.cat([mean, spread, count]))  # process number
        means, spreads, counts = gathered.split([num_channels, num_channels, 1], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (spreads + counts * (means - mean).square()).sum(0) / total
        self._track(mean.detach(), variance.detach(), total.detach())
        scale = torch.rsqrt(variance + self.eps) * self.weight
        result = (features - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        return result.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        """Update the running statistics as `nn.BatchNorm2d` does: unbiased, by the momentum."""
        assert self.num_batches_tracked is not None  # all networks here track them
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * total / (total - 1).clamp(min=1), weight)


class _AllGather(torch.autograd.Function):
    """The numbers of every process on each of them, with a gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, values.contiguous())
        return torch.stack(gathered)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[dist.get_rank()]


def _mean(losses: list[Loss], weights: list[float]) -> Loss:
    """The loss of all parts together."""
    if len(losses) == 1:
        return losses[0]

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack([w * v for w, v in zip(weights, values, strict=True)]).sum()

    return Loss(
        total=mean([loss.total for loss in losses]),
        terms={name: mean([loss.terms[name] for loss in losses]) for name in losses[0].terms},
        logits=torch.cat([loss.logits for loss in losses]),
    )

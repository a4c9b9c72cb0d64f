"""What of a model is trained, and at which learning rate: frozen layers, parameter groups."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from augmix.errors import RunError
from augmix.models.depth import find_head, group_layers, head_parameters, list_linear
from augmix.models.layers import Classifier
from augmix.training.config import OptimisationConfig

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
_NORMS = (*BATCH_NORMS, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def build_optimizer(
    model: nn.Module, optimisation: OptimisationConfig, device: torch.device
) -> torch.optim.Optimizer:
    """Build the optimiser of the parameters of a model that are trained.

    Parameters of one decay and one learning rate are a group; its ``lr_scale`` is a factor of the
    learning rate of a step.
    """
    groups, is_fused = _parameter_groups(model, optimisation), device.type == "cuda"
    decay = optimisation.weight_decay or 0.0
    if optimisation.optimizer == "adamw":
        return torch.optim.AdamW(
            groups,
            lr=optimisation.peak,
            betas=optimisation.betas,
            eps=optimisation.eps,
            weight_decay=decay,
            fused=is_fused,
        )
    return torch.optim.SGD(
        groups,
        lr=optimisation.peak,
        momentum=optimisation.momentum,
        nesterov=optimisation.nesterov and optimisation.momentum > 0,
        weight_decay=decay,
        fused=is_fused,
    )


def freeze(model: Classifier, optimisation: OptimisationConfig) -> None:
    """Freeze what is not trained: no gradients, and batch norm that keeps its statistics.

    Raises:
        RunError: If the network has no such part.
    """
    choice = optimisation.freeze
    if choice is None:
        return
    if choice == "backbone":
        _check_head(model, "freeze backbone")
        head = head_parameters(model)
        frozen = {name for name, _ in model.named_parameters() if name not in head}
    else:
        groups = group_layers(model)
        if choice >= len(groups):
            raise RunError(
                f"freeze {choice} would leave nothing to train: {model.config.name} has "
                f"{len(groups)} blocks with its stem and its last layer; freeze at most "
                f"{len(groups) - 1}"
            )
        frozen = {name for group in groups[:choice] for name in group}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    model.frozen = _frozen_norms(model, frozen)
    model.train(model.training)


def _frozen_norms(model: Classifier, frozen: set[str]) -> tuple[str, ...]:
    """The batch norms of the frozen part; those without parameters go with what is before them."""
    found: list[str] = []
    is_frozen = True
    for name, layer in model.named_modules():
        own = [f"{name}.{each}" for each, _ in layer.named_parameters(recurse=False)]
        if own:
            is_frozen = all(each in frozen for each in own)
        if isinstance(layer, BATCH_NORMS) and is_frozen:
            found.append(name)
    return tuple(found)


def describe_training(model: Classifier, optimisation: OptimisationConfig) -> list[str]:
    """Describe what is frozen and where learning rates differ, a line each."""
    lines: list[str] = []
    if optimisation.freeze is not None:
        all_of, kept = (
            sum(each.numel() for each in model.parameters() if each.requires_grad or not is_kept)
            for is_kept in (False, True)
        )
        lines.append(
            f"frozen: {all_of - kept:,} of {all_of:,} parameters"
            + (f", {len(model.frozen)} batch norms" if model.frozen else "")
        )
    if optimisation.layer_decay is not None or optimisation.head_lr_scale != 1:
        groups = _parameter_groups(model, optimisation)
        rates = sorted({group["lr_scale"] * optimisation.peak for group in groups})
        lines.append(
            f"learning rates: {len(rates)}, from {rates[0]:.3g} to {rates[-1]:.3g}"
            if len(rates) > 1
            else f"learning rate: {rates[0]:.3g}"
        )
    return lines


def _parameter_groups(model: nn.Module, optimisation: OptimisationConfig) -> list[dict[str, Any]]:
    """The trained parameters by decay and learning rate, in the order of the model."""
    choice = optimisation.weight_decay_on
    of_norms = {
        id(parameter)
        for layer in model.modules()
        if isinstance(layer, _NORMS)
        for parameter in layer.parameters(recurse=False)
    }

    def is_free(parameter: Tensor) -> bool:
        is_small = choice == "weights" and parameter.ndim < 2
        return is_small or (choice != "all" and id(parameter) in of_norms)

    scales = _learning_rate_scales(model, optimisation)
    groups: dict[tuple[bool, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = is_free(parameter), scales.get(name, 1.0)
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": groups[key], "lr_scale": key[1], **({"weight_decay": 0.0} if key[0] else {})}
        for key in sorted(groups)
    ]


def _learning_rate_scales(
    model: nn.Module, optimisation: OptimisationConfig
) -> Mapping[str, float]:
    """The factor of the learning rate of parameters by name, where it may differ from 1."""
    decay, of_head = optimisation.layer_decay, optimisation.head_lr_scale
    scales: dict[str, float] = {}
    if decay is not None:
        assert isinstance(model, Classifier)
        _check_head(model, "layer_decay")
        groups = group_layers(model)
        for depth, names in enumerate(reversed(groups)):  # from the head, whose rate is the peak
            scales |= dict.fromkeys(names, decay**depth)
    if of_head != 1:
        assert isinstance(model, Classifier)
        _check_head(model, "head_lr_scale")
        scales |= {name: of_head * scales.get(name, 1.0) for name in head_parameters(model)}
    return scales


def _check_head(model: Classifier, setting: str) -> None:
    """Refuse a network whose last layer is not known."""
    if not head_parameters(model):
        names = ", ".join(name.removeprefix("network.") for name in list_linear(model)[:4])
        known = ", ".join(find_head(model))
        raise RunError(
            f"{setting} needs to know the last layer of {model.config.name}, but "
            + (f"{known} has no parameters" if known else "none has an output for each class")
            + f": name it with --head, e.g. one of {names or 'its linear layers'}"
        )

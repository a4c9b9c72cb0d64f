"""Order the layers of any network by depth: the stem first, then its blocks, the head last."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from augmix.errors import RunError, did_you_mean, import_library
from augmix.models.layers import Classifier

LINEAR = (nn.Linear, nn.Conv2d)  # layers that can give logits
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_WRAPPED = "model."  # what comes before names in a network of transformers
_MOST_STAGES = 4  # of a network whose blocks all have one size
_STEM = ""  # of parameters that belong to no layer, such as embeddings of positions


def list_linear(network: nn.Module) -> list[str]:
    """Return the names of the linear and convolution layers of a network, the last one first."""
    return [name for name, layer in network.named_modules() if isinstance(layer, LINEAR)][::-1]


def find_layer(network: nn.Module, name: str) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Find a linear or convolution layer by its name, or by that within a wrapped ``model``.

    Returns:
        Its name in the network, and the layer.

    Raises:
        RunError: If there is none of that name.
    """
    named = dict(network.named_modules())
    found = named.get(name)
    for each in (name, f"{_WRAPPED}{name}"):
        layer = named.get(each)
        if isinstance(layer, LINEAR):
            return each, layer
    names = [each.removeprefix(_WRAPPED) for each in list_linear(network)]
    what = f"{name!r} is a {type(found).__name__}" if found else f"there is no layer {name!r}"
    raise RunError(
        f"the head must be a linear layer of the network, but {what}"
        f"{did_you_mean(name, names)}; its last ones are {', '.join(names[:4]) or 'none'}"
    )


def replace_head(network: nn.Module, name: str, num_classes: int) -> None:
    """Replace a linear layer, in place, where it does not give an output for each class.

    The weights of the new one are torch's start weights, from its generator.

    Raises:
        RunError: If there is none of that name.
    """
    name, found = find_layer(network, name)
    if found.weight.shape[0] == num_classes:
        return
    has_bias = found.bias is not None
    if isinstance(found, nn.Linear):
        made: nn.Module = nn.Linear(found.in_features, num_classes, bias=has_bias)
    else:
        made = nn.Conv2d(
            found.in_channels,
            num_classes,
            found.kernel_size,  # pyright: ignore[reportArgumentType]
            stride=found.stride,  # pyright: ignore[reportArgumentType]
            padding=found.padding,  # pyright: ignore[reportArgumentType]
            bias=has_bias,
        )
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, made.to(found.weight))


def find_head(model: Classifier) -> tuple[str, ...]:
    """Find the layers that give a model's logits.

    It is the layer that the configuration names, else what a network of timm says, else the last
    linear layer, or convolution, with an output for each class.

    Returns:
        Their names in the model; none if there is no such layer.
    """
    named = dict(model.named_modules())
    network: Any = getattr(model, "network", None)
    if model.config.head:
        return (f"network.{find_layer(network, model.config.head)[0]}",)
    if hasattr(network, "get_classifier"):
        own = network.get_classifier()
        heads = own if isinstance(own, tuple) else (own,)
        return tuple(name for name, layer in named.items() if any(layer is head for head in heads))
    count = model.config.num_classes
    names = [
        name
        for name, layer in named.items()
        if isinstance(layer, LINEAR) and layer.weight.shape[0] == count
    ]
    return tuple(names[-1:])


def head_parameters(model: Classifier) -> frozenset[str]:
    """Return the names of the parameters of a model's head."""
    heads = find_head(model)
    return frozenset(
        name
        for name, _ in model.named_parameters()
        if any(name.startswith(f"{head}.") for head in heads)
    )


def find_stages(model: Classifier) -> tuple[str, ...]:
    """Find the modules behind which the stages of a network end.

    They are those that the network names by its attribute ``stage_names``, those of timm's
    ``feature_info``, one of each size (four evenly spaced blocks where all have one size, as in
    vision transformers), or torchvision's ``layer1`` and following.

    Returns:
        Their names in the model, in order.

    Raises:
        RunError: If the network says nothing about its stages.
    """
    named: dict[str, nn.Module] = dict(model.named_modules())
    network: Any = getattr(model, "network", None)
    if model.stage_names:
        found = list(model.stage_names)
    else:
        own = list(getattr(network, "stage_names", ()))
        own = own or _timm_stages(network, named)
        own = own or [f"layer{number}" for number in range(1, 5)]
        found = [f"network.{name}" for name in own]
    if not all(name in named for name in found):
        raise RunError(
            f"{model.config.name} does not name its stages: give the module an attribute "
            "stage_names, the names of the modules behind which a stage ends, e.g. "
            f"('layer1', 'layer2'); its modules are {', '.join(list(named)[1:8])}, ..."
        )
    return tuple(found)


def _timm_stages(network: Any, named: dict[str, nn.Module]) -> list[str]:
    """The names of the stages that a network of timm has by its ``feature_info``."""
    info = getattr(network, "feature_info", None) or ()
    entries = [entry for entry in getattr(info, "info", info) if "module" in entry]
    by_size: dict[Any, str] = {}
    modules = []
    for entry in entries:
        module = named.get(f"network.{entry['module']}")
        if module is not None and any(True for _ in module.parameters()):  # no bare activation
            by_size[entry.get("reduction")] = entry["module"]
            modules.append(entry["module"])
    if len(by_size) > 1 or len(modules) <= _MOST_STAGES:
        return list(by_size.values()) if len(by_size) > 1 else modules
    return [
        modules[len(modules) * number // _MOST_STAGES - 1] for number in range(1, _MOST_STAGES + 1)
    ]


def group_layers(model: Classifier) -> list[list[str]]:
    """Order the parameters of a model by depth.

    Networks of timm say it themselves (``group_matcher``). In any other network a group is a block:
    a module of a class that its container repeats, or that holds no such containers; layers stand
    in the order in which they were made. Layers without matrices, which normalise, go with the
    layer before them, the last ones with the head. Parameters of their own, such as embeddings of
    positions, belong to the stem.

    Returns:
        Names of parameters in groups; the last one has the head.
    """
    network: Any = getattr(model, "network", None)
    if hasattr(network, "group_matcher"):
        timm = import_library("timm.models", model.config.name, "timm")
        found: dict[int, list[str]] = timm.group_parameters(network, network.group_matcher())
        return [[f"network.{name}" for name in found[depth]] for depth in sorted(found)]
    head, parameters = head_parameters(model), dict(model.named_parameters())
    groups: list[list[str]] = [[]]
    last: list[str] = []  # small ones since the last layer with a matrix
    units = [*_units(model, sum(each.numel() for each in parameters.values()))]
    for unit, names in units:
        kept = [name for name in names if name not in head]
        if unit == _STEM:
            groups[0] += kept
        elif all(parameters[name].ndim < 2 for name in kept):
            last += kept
        elif kept:
            groups[-1] += last
            groups.append(kept)
            last = []
    stem, *others = groups
    if others:  # embeddings go with the layer that makes them
        others[0] = stem + others[0]
    return [*(others or ([stem] if stem else [])), [*last, *(n for n in parameters if n in head)]]


def _units(model: nn.Module, total: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of every block, and those of its parameters, in the order they were made."""

    def visit(module: nn.Module, prefix: str) -> Iterator[tuple[str, list[str]]]:
        own = [f"{prefix}{name}" for name, _ in module.named_parameters(recurse=False)]
        if own:
            yield _STEM, [name for name in own if name in names]
        for name, child in module.named_children():
            below, is_repeated = f"{prefix}{name}.", type(module) in _CONTAINERS
            if any(True for _ in child.children()) and _is_divided(child, is_repeated, total):
                yield from visit(child, below)
            else:
                inner = [f"{below}{each}" for each, _ in child.named_parameters()]
                yield below, [each for each in inner if each in names]

    names = {name for name, _ in model.named_parameters()}  # of a shared parameter the first
    yield from visit(model, "")


def _is_divided(module: nn.Module, is_repeated: bool, total: int) -> bool:
    """Whether a module is made of blocks, rather than a block."""
    if type(module) in _CONTAINERS:
        return True
    containers = (each for each in module.modules() if isinstance(each, _CONTAINERS))
    if any(_has_blocks(each) for each in containers):
        return True
    count = sum(each.numel() for each in module.parameters())
    return not is_repeated and 2 * count > total  # a network that is wrapped


def _has_blocks(container: nn.Module) -> bool:
    """Whether a container repeats modules of several layers each."""
    kinds = [
        type(each)
        for each in container.children()
        if sum(weights.ndim > 1 for weights in each.parameters()) > 1
    ]
    return len(kinds) > len(set(kinds))

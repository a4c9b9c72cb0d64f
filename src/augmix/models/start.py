"""The network that a run trains, and the weights it starts from.

A run keeps the name of its network and the tensors. For a network of a library or of the user's
code the name is the text that `open_model` takes, so that the run folder alone opens it again.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augmix import files, run_folder
from augmix.errors import RunError, first_line, import_library
from augmix.files import load_record
from augmix.models import MODULE, ModelConfig, find_family, is_foreign
from augmix.models.depth import list_linear, replace_head
from augmix.models.layers import Classifier, Images
from augmix.models.open_model import call_user_code, open_model
from augmix.models.preprocessing import PRESETS, Preprocessing, from_timm
from augmix.models.weights import build_model
from augmix.models.wrapper import OpenedModel, find_logits
from augmix.user_code import PREFIX

_HEAD_TENSORS = 4  # that may have another shape for another number of classes
_ANY_CLASSES = 2  # to see what a function of the user makes
_PROBE = 2  # images that show what a network gives


class ForeignNetwork(Classifier):
    """A network of a library or of the user's code, which takes normalised images."""

    def forward(self, images: Images) -> Any:  # logits, as `check_outputs` makes sure
        found = self.network(self.normalize(images))
        return found if isinstance(found, Tensor) else self._logits(found)

    def _logits(self, found: Any) -> Any:
        return find_logits(found, self.config.name, self.config.num_classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a run starts from."""

    name: str  # of the network, as `build_model` takes it
    state: Mapping[str, Tensor]  # empty for random weights
    source: str  # of the weights, in words
    mean: tuple[float, ...] | None = None  # None is the network's usual one
    std: tuple[float, ...] | None = None
    size: int = 0  # height and width of the images it takes, px; 0 for any
    interpolation: str | None = None  # filter that resizes its images; None is the usual one
    module: nn.Module | None = None  # the network itself, with its weights, where it was given
    is_depthwise: bool = False  # whether most of its convolutions with an extent are depthwise


def network_name(text: str) -> str:
    """The name of the network that a model's text stands for, without its weights.

    Raises:
        RunError: If a run folder holds no model.

    Example:
        >>> network_name("timm:resnet18@weights.pth"), network_name("wrn-16-2@best.pt")
        ('timm:resnet18', 'wrn-16-2')
    """
    folder = Path(text).expanduser()
    if folder.is_dir():
        path = folder / run_folder.MODEL_FILE
        if not path.exists() and _is_network(text):
            return text  # a folder that happens to have the name of a network
        if not path.exists():
            raise RunError(f"{folder} holds no {path.name}: name a run folder, or a network")
        return str(files.load_json(path).get("name", ""))
    if text.startswith(PREFIX):
        return text
    if set(text) & set("/\\") and "@" not in text and not is_foreign(text):
        raise RunError(f"{text} does not exist; name a run folder, or a network")
    name = text.partition("@")[0]
    if name.startswith("torchvision:"):
        return ":".join(name.split(":")[:2])
    return text if name.startswith("hf:") else name


def _is_network(name: str) -> bool:
    try:
        find_family(name)
    except ValueError:
        return False
    return True


def find_start(text: str, *, pretrained: bool | None = None) -> Start:
    """What a model's text says about the start of a run.

    Args:
        text: A network's name, or what `open_model` takes.
        pretrained: Whether to start from the weights that a library publishes; None does.

    Raises:
        RunError: If a file, a library or a repository is missing or broken.
        ValueError: If the text names no weights to start from, or names them where none are wanted.
    """
    name = network_name(text)
    if not is_foreign(text) and name == text:
        if pretrained:
            raise ValueError(f"{text} has no published weights: leave out pretrained")
        return Start(name=name, state={}, source="random weights")
    is_wanted = pretrained is not False
    if not is_wanted and (name != text or text.startswith(PREFIX)):
        raise ValueError(
            f"{text} says what its weights are, so pretrained=False would do nothing; name the "
            "network alone"
        )
    if text.startswith(PREFIX):  # its weights are those that it is made with
        made = _call_for(text, _ANY_CLASSES)
        own = getattr(made, "preprocessing", None)
        prepared = own if isinstance(own, Preprocessing) else PRESETS["none"]
        mean, std = _statistics(prepared, name)
        return Start(
            name=name,
            state={},
            source=text,
            mean=mean,
            std=std,
            is_depthwise=is_depthwise(made),
            **_geometry(prepared),
        )
    opened = open_model(text, pretrained=is_wanted)
    network = opened.network
    form = {"is_depthwise": is_depthwise(network)}
    if isinstance(network, Classifier):  # of this package, or of a run
        config, state = network.config, network.state_dict()
        geometry: dict[str, Any] = form
        path = Path(text).expanduser() / run_folder.CONFIG_FILE
        if is_foreign(name) and path.exists():  # which a run has trained at its size
            facts = load_record(path, run_folder.ConfigFacts)
            geometry |= {
                "size": facts.get("size") or 0,
                "interpolation": facts.get("interpolation"),
            }
        return Start(
            name=name, state=state, source=text, mean=config.mean, std=config.std, **geometry
        )
    prepared = opened.preprocessing or PRESETS["none"]
    mean, std = _statistics(prepared, name)
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    return Start(
        name=name,
        state=state if is_wanted else {},
        source=opened.name if is_wanted else "random weights",
        mean=mean,
        std=std,
        **form,
        **_geometry(prepared),
    )


def start_from(model: nn.Module, preprocessing: Preprocessing | None = None) -> Start:
    """What a model that is given as an object says about the start of a run.

    A model of `open_model`, `build_model` or `load_model` has a name by which a run folder opens it
    again; of any other module the run keeps the weights alone.

    Args:
        preprocessing: How its images are prepared; None takes its attribute ``preprocessing``, of a
            network of timm what that says, else images in [0, 1].

    Raises:
        RunError: If it has no weights, or takes images that training does not make.
    """
    if not any(True for _ in model.parameters()):
        raise RunError(f"{type(model).__name__} has no weights that could be trained")
    own: Any = model
    network = model.network if isinstance(model, OpenedModel) else model
    name = network.config.name if isinstance(network, Classifier) else ""
    if isinstance(model, OpenedModel) and not name:
        name = network_name(model.name)
    prepared = preprocessing or getattr(own, "preprocessing", None)
    if prepared is None and hasattr(network, "pretrained_cfg"):
        timm = import_library("timm", type(network).__name__, "timm")
        prepared = from_timm(
            timm.data.resolve_model_data_config(network), where=type(network).__name__
        )
    if isinstance(network, Classifier):
        geometry = _geometry(prepared) if isinstance(prepared, Preprocessing) else {}
        statistics = network.config.mean, network.config.std
    else:
        prepared = prepared if isinstance(prepared, Preprocessing) else PRESETS["none"]
        geometry, statistics = _geometry(prepared), _statistics(prepared, name)
    common: dict[str, Any] = {"mean": statistics[0], "std": statistics[1], **geometry}
    common["is_depthwise"] = is_depthwise(network)
    if name and not name.startswith(MODULE):
        prefix = "" if isinstance(network, Classifier) else "network."
        state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
        return Start(name=name, state=state, source=f"the given {name}", **common)
    module = getattr(network, "network", network) if isinstance(network, Classifier) else network
    name = f"{MODULE}{type(module).__name__}"
    return Start(name=name, state={}, source=f"the given {name}", module=module, **common)


def build_start(
    start: Start, *, num_classes: int, channels: int, class_names: Sequence[str], **options: Any
) -> tuple[Classifier, str]:
    """Build the network for a number of classes, and load what its start has.

    Args:
        options: More arguments of `build_model`.

    Returns:
        The network, and what it starts from, in words.

    Raises:
        RunError: If the weights are those of another network.
    """
    if is_foreign(start.name) and channels != 3:
        raise RunError(
            f"{start.name} takes images of 3 channels, got {channels}; name a network of this "
            "package for grey images"
        )
    if start.module is not None:
        config = ModelConfig(
            name=start.name,
            num_classes=num_classes,
            mean=start.mean or (0.0,) * 3,
            std=start.std or (1.0,) * 3,
            class_names=tuple(class_names),
            head=options.get("head", ""),
        )
        return wrap_network(config, _copy(start.module, start.name)), start.source
    model = build_model(
        start.name,
        num_classes=num_classes,
        channels=channels,
        mean=start.mean,
        std=start.std,
        class_names=class_names,
        **options,
    )
    if not start.state:
        return model, start.source
    own = model.state_dict()
    foreign = sorted(own.keys() ^ start.state.keys())
    new = [
        name for name in own if name in start.state and own[name].shape != start.state[name].shape
    ]
    if foreign or len(new) > _HEAD_TENSORS:
        raise RunError(
            f"the weights of {start.source} are not those of {start.name} with another last layer: "
            f"{', '.join((foreign or new)[:4])}"
        )
    kept = {name: start.state[name] for name in own if name not in new}
    model.load_state_dict(kept, strict=False)
    head = f", with a new last layer ({', '.join(new)}) for {num_classes} classes" if new else ""
    return model, f"{start.source}{head}"


def _copy(module: nn.Module, name: str) -> nn.Module:
    """A copy that is trained instead of the given module.

    Raises:
        RunError: If it holds a tensor that was computed from others with a gradient.
    """
    try:
        return copy.deepcopy(module)
    except RuntimeError as error:
        raise RunError(
            f"{name} cannot be copied, and a copy of the given object is trained: "
            f"{first_line(error)}. If it has torch.nn.utils.weight_norm, write "
            "torch.nn.utils.parametrizations.weight_norm instead, which computes the same; or name "
            "the function that builds it: python:FILE.py:FUNCTION"
        ) from error


def build_foreign(config: ModelConfig) -> Classifier:
    """Build a network of a library or of the user's code with random weights, for its classes."""
    name = config.name
    if name.startswith(MODULE):
        raise RunError(
            f"the network of this run was given in Python, as an object of class "
            f"{name.removeprefix(MODULE)}: load its weights with augmix.load_model(folder, "
            "network=...), the same object without training"
        )
    if name.startswith(PREFIX):
        network = _call_for(name, config.num_classes)
    else:
        opened = open_model(
            name, config.num_classes, pretrained=False, preprocessing=PRESETS["none"]
        )
        network = opened.network
    return wrap_network(config, network)


def wrap_network(config: ModelConfig, network: nn.Module) -> Classifier:
    """A network with the last layer that its configuration asks for."""
    if config.head:
        replace_head(network, config.head, config.num_classes)
    return ForeignNetwork(config, network)


def check_outputs(model: Classifier, size: tuple[int, int]) -> None:
    """Refuse a network that does not give its number of logits for images of a size.

    Raises:
        RunError: Also if it fails.
    """
    config, was_training = model.config, model.training
    images = torch.rand(_PROBE, config.channels, *size, generator=torch.Generator().manual_seed(0))
    shown = f"{config.name} on images of {size[0]}x{size[1]} pixels"
    try:
        with torch.no_grad():
            logits = model.eval()(images)
        _check_buffers(model, images)
    except RunError:
        raise
    except Exception as error:
        hint = f", or another last layer than {config.head} with --head" if config.head else ""
        raise RunError(
            f"{shown} fails: {first_line(error)}; name another size with --size{hint}"
        ) from error
    finally:
        model.train(was_training)
    got = f"{tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != _PROBE:
        raise RunError(
            f"{shown} must give logits [batch class], got {got} for {_PROBE} images; name a "
            "classifier, or a function that adds a last layer, as python:FILE.py:FUNCTION"
        )
    if logits.shape[1] != config.num_classes:
        hint = (
            "; let the function take num_classes, or " if config.name.startswith(PREFIX) else "; "
        )
        names = ", ".join(name.removeprefix("network.") for name in list_linear(model)[:4])
        hint += (
            f"{config.head} is not its last layer: --head takes one of {names}"
            if config.head
            else f"name its last layer with --head, to be replaced: {names}"
        )
        raise RunError(
            f"{config.name} gives {logits.shape[1]} classes, the images have "
            f"{config.num_classes}{hint}"
        )


def _check_buffers(model: Classifier, images: Tensor) -> None:
    """Refuse buffers that training changes, and that no checkpoint keeps.

    Raises:
        RunError: Naming the first one.
    """
    loose = {
        f"network.{name}": values.clone()
        for name, values in model.network.named_buffers()
        if f"network.{name}" not in model.state_dict()
    }
    if not loose:
        return
    trial = copy.deepcopy(model).train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        trial(images)
    after = dict(trial.named_buffers())
    for name, values in loose.items():
        if not _is_same(values, after[name]):
            raise RunError(
                f"{model.config.name} changes its buffer {name.removeprefix('network.')} while it "
                "trains, but does not save it, so a stopped run could not be continued: register "
                "it with persistent=True"
            )


def _is_same(values: Tensor, others: Tensor) -> bool:
    """Whether two tensors of a type are equal; NaN counts as equal to NaN."""
    if values.dtype.itemsize == 1:  # torch cannot compare floats of 8 bits
        values, others = (each.contiguous().view(torch.uint8) for each in (values, others))
    return torch.equal(values.nan_to_num(), others.nan_to_num())


def _call_for(name: str, num_classes: int) -> nn.Module:
    """What a function of the user returns for a number of classes, if it takes that."""
    _, made = call_user_code(name, num_classes=num_classes)
    if not isinstance(made, nn.Module):
        raise RunError(f"{name} must return an nn.Module to be trained, got {type(made).__name__}")
    return made


def is_depthwise(network: nn.Module) -> bool:
    """Whether at least half of the convolutions larger than a pixel have a filter per channel.

    Example:
        >>> layers = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1)]
        >>> is_depthwise(nn.Sequential(*layers))
        True
    """
    layers = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    wide = [each for each in layers if max(each.kernel_size) > 1]
    return bool(wide) and 2 * sum(1 < each.groups == each.in_channels for each in wide) >= len(wide)


def _geometry(prepared: Preprocessing) -> dict[str, Any]:
    """Size and filter of a preprocessing; it has no filter of its own without a size."""
    if not prepared.crop:
        return {}
    return {"size": prepared.crop, "interpolation": prepared.interpolation}


def _statistics(prepared: Preprocessing, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of a preprocessing, for images in [0, 1]."""
    if prepared.is_bgr:
        raise RunError(f"{name} takes blue first, which training does not do")
    low, high = prepared.input_range
    mean = tuple((value - low) / (high - low) for value in prepared.mean)
    return mean, tuple(value / (high - low) for value in prepared.std)

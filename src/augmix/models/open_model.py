"""Open any model by one line of text.

| text | model |
| --- | --- |
| ``NAME`` | a network of this package or of `register_network`, with start weights |
| ``NAME@FILE`` | the same with the weights of a file |
| a run folder | the model that `augmix train` left there |
| ``hub:OWNER/NAME`` | a model of this package on the Hugging Face Hub |
| ``timm:NAME`` | a timm model with its pretrained weights |
| ``timm:NAME@FILE`` | the same with the weights of a file |
| ``torchvision:NAME`` | a torchvision classifier with its latest weights |
| ``torchvision:NAME:WEIGHTS`` | the same with those weights, e.g. ``IMAGENET1K_V1`` |
| ``torchvision:NAME@FILE`` | the same with the weights of a file |
| ``hf:REPO`` | an image classifier of transformers or timm on the Hugging Face Hub |
| ``hf:REPO@REVISION`` | the same at a branch, tag or commit |
| ``onnx:FILE`` | an ONNX file, run by onnxruntime |
| ``onnx:FILE@OUTPUT`` | the same, measured at one of its outputs |
| ``python:MODULE:FUNCTION`` | what a function of yours returns; MODULE may be a ``.py`` file |

The function is called without arguments and returns an `nn.Module`, or anything that can be called
with a float batch `batch channel height width` and gives logits `batch class` (a tensor or an
array). Attributes ``preprocessing``, ``num_classes`` and ``class_names`` of it are used.

Files of weights are safetensors or torch files that hold tensors only: no code in them is run.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from augmix.errors import RunError, check_name, did_you_mean
from augmix.models import find_family, list_networks, weights
from augmix.models.layers import Classifier
from augmix.models.onnx import open_onnx
from augmix.models.preprocessing import PRESETS, Preprocessing
from augmix.models.pretrained import open_hf, open_timm, open_torchvision
from augmix.models.weights import build_model, load_model
from augmix.models.wrapper import OpenedModel, OpenOptions, Outputs, hash_weights
from augmix.results import MODEL_FILE
from augmix.user_code import PREFIX, describe_error, hash_module, import_object, search_path

_IMAGENET_SIZE = 224


def open_model(
    text: str | Path,
    num_classes: int | None = None,
    pretrained: bool = True,
    *,
    preprocessing: Preprocessing | None = None,
    test_input_size: bool = False,
    outputs: Outputs = "logits",
    use_ema: bool = False,
) -> OpenedModel:
    """Open a model that takes float images in [0, 1], NCHW, and gives logits `batch class`.

    It is on the CPU and in evaluation mode. Its ``preprocessing`` says how the source should
    resize and crop (``open_source(..., **model.preprocessing.geometry)``); range, mean and std are
    applied by its first layer.

    Args:
        text: See the table of this module.
        num_classes: Number of classes it must have. A network without weights is built with as
            many; any other model must have them already.
        pretrained: Load the weights that the library publishes. False starts timm's, torchvision's
            and transformers' models from random weights; networks of this package named without a
            file always do.
        preprocessing: Replaces what the model itself says. Networks of this package normalise
            their images themselves, so for a run folder it may name a geometry only.
        test_input_size: Take images of the size that a timm model was tested at, where it has one
            beside the size it was trained at.
        outputs: Whether the network gives ``logits``, or ``probabilities``, whose logarithms are
            then the model's logits.
        use_ema: Take the averaged weights of a file that holds them beside the trained ones.

    Raises:
        ValueError: If the text has no known form, or the model has no form without weights.
        RunError: If the model, its package or a file of it is missing, broken, or of another kind,
            or it has another number of classes.

    Example:
        >>> model = open_model("wrn-16-2", num_classes=10)
        >>> model(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    kind, rest = _parse(text)
    marks = kind.weight_marks
    if not pretrained and (marks is None or set(marks) & set(rest)):
        raise ValueError(
            f"{text} names its weights, so it cannot be opened with pretrained=False; name the "
            "network alone"
        )
    check_name("outputs", outputs, get_args(Outputs))
    if use_ema and not (kind.form.endswith("@FILE") or (kind.weight_marks and "@" in rest)):
        raise ValueError(f"use_ema is for the weights of a file, NAME@FILE; got {text}")
    options = OpenOptions(preprocessing, num_classes, pretrained, test_input_size, outputs, use_ema)
    model = kind.open(rest, options)
    model.outputs = outputs
    if test_input_size and not model.name.startswith(("timm:", "hf:")):
        raise ValueError(
            f"test_input_size is of timm's models, got {text}; name a size with --crop and --resize"
        )
    if num_classes is not None:
        if model.num_classes not in (None, num_classes):
            raise RunError(
                f"{model.name} gives {model.num_classes} classes, expected {num_classes}; "
                "for a model of more classes name their list with --class-list"
            )
        model.num_classes = num_classes
    return model.eval()


def _parse(text: str | Path) -> "tuple[Kind, str]":
    """Split a model's text into its kind and the rest."""
    words = str(text)
    if isinstance(text, Path) or Path(words).expanduser().is_dir():
        return KINDS["run"], words
    prefix, colon, rest = words.partition(":")
    if colon and prefix in PREFIXES:
        if not rest:
            raise ValueError(f"expected {KINDS[prefix].form}, got {words!r}")
        return KINDS[prefix], rest
    if colon and prefix.isidentifier() and len(prefix) > 1:  # one letter is a drive of Windows
        raise ValueError(
            f"a model is {_list_forms()}, got {words!r}{did_you_mean(prefix, PREFIXES)}"
        )
    if "@" in words:
        return KINDS["file"], words
    return KINDS["run" if set(words) & set("/\\") else "name"], words


def _list_forms() -> str:
    return f"a run folder or one of {', '.join(kind.form for kind in KINDS.values() if kind.form)}"


def _open_name(name: str, options: OpenOptions) -> OpenedModel:
    try:
        find_family(name)
    except ValueError:
        near = did_you_mean(name, _runs_in(Path()))
        guess = near or did_you_mean(name, list_networks(), cutoff=0.7)
        raise RunError(
            f"{name} does not exist; a model is {_list_forms()}{guess or _suggest(name)}"
        ) from None
    if options.num_classes is None:
        raise RunError(
            f"{name} is a network without weights; name a file of them as {name}@FILE, or give "
            f"the number of classes to start from random weights{_suggest(name)}"
        )
    network = build_model(name, num_classes=options.num_classes, **_statistics(options))
    return OpenedModel(
        network,
        name=name,
        num_classes=options.num_classes,
        preprocessing=options.preprocessing or _usual_geometry(name),
    )


def _runs_in(folder: Path) -> list[str]:
    """Names of the run folders in a folder."""
    return [path.parent.name for path in folder.glob(f"*/{MODEL_FILE}")]


def _suggest(name: str) -> str:
    """Return the forms by which libraries may have weights for a name."""
    return f"; with published weights it may be timm:{name} or torchvision:{name}"


def _open_file(text: str, options: OpenOptions) -> OpenedModel:
    """Open ``NAME@FILE``; a preprocessing replaces the network's usual mean, std and geometry."""
    name, _, file_name = text.partition("@")
    find_family(name)
    file = Path(file_name).expanduser()
    if file.is_dir():
        raise RunError(f"the weights file {file} is a folder; name a file as NAME@FILE")
    found = weights.load_state(file, use_ema=options.use_ema)
    blur_size = weights.find_blur_size(name, found.tensors, file)
    channels = weights.count_channels(found.tensors)
    changes: Any = _statistics(options, channels) | ({"blur_size": blur_size} if blur_size else {})

    def build(num_classes: int) -> nn.Module:
        return build_model(name, num_classes=num_classes, channels=channels, **changes)

    network, num_classes = weights.load_into(
        build, found, name=name, file=file, rename=partial(weights.rename_released, name)
    )
    return OpenedModel(
        network,
        name=weights.label_file(f"{name}@{file.name}", options.use_ema),
        num_classes=num_classes,
        preprocessing=options.preprocessing or _usual_geometry(name),
        note=weights.note_averaged(found, file),
    )


def _statistics(options: OpenOptions, channels: int = 3) -> dict[str, Any]:
    """Turn off a network's own normalisation if a preprocessing takes its place."""
    if options.preprocessing is None:
        return {}
    return {"mean": (0.0,) * channels, "std": (1.0,) * channels}


def _usual_geometry(name: str) -> Preprocessing | None:
    """Return the geometry of an ImageNet network of this package, None for the others."""
    return PRESETS["imagenet-none"] if find_family(name).size == _IMAGENET_SIZE else None


def _open_run(folder: str, options: OpenOptions) -> OpenedModel:
    path = Path(folder).expanduser()
    if not path.exists():
        near = did_you_mean(path.name, _runs_in(path.parent))
        raise RunError(f"{path} does not exist{near or f'; a model is {_list_forms()}'}")
    return _wrap_own(load_model(path), options.preprocessing)


def _open_hub(name: str, options: OpenOptions) -> OpenedModel:
    network = load_model(f"hub:{name}")
    return _wrap_own(network, options.preprocessing or _usual_geometry(network.config.name))


def _wrap_own(network: Classifier, preprocessing: Preprocessing | None) -> OpenedModel:
    config = network.config
    traits = attrgetter("mean", "std", "input_range")
    if preprocessing is not None and traits(preprocessing) != traits(PRESETS["none"]):
        raise RunError(
            f"{config.name} normalises its images itself; name a geometry only "
            "(--preprocessing none with --resize, --crop, --interpolation)"
        )
    model = OpenedModel(
        network,
        name=config.name,
        num_classes=config.num_classes,
        class_names=config.class_names or None,
    )
    model.preprocessing = preprocessing
    return model


def _open_python(text: str, options: OpenOptions) -> OpenedModel:
    """Open ``MODULE:FUNCTION``: what a function of the user's code returns."""
    name = f"python:{text}"
    wanted = {} if options.num_classes is None else {"num_classes": options.num_classes}
    module, made = call_user_code(name, **wanted)
    if isinstance(made, torch.export.ExportedProgram):
        made = made.module()
    if not callable(made):
        raise RunError(
            f"{name} must return an nn.Module or a function of a batch, got {type(made).__name__}"
        )
    network = made if isinstance(made, nn.Module) else _FunctionModel(made)
    names = ("preprocessing", "num_classes", "class_names")
    own, count, class_names = (getattr(made, each, None) for each in names)
    return OpenedModel(
        network,
        name=name,
        fingerprint=hash_weights(network) if network.state_dict() else hash_module(module),
        num_classes=count if isinstance(count, int) else None,
        class_names=class_names if isinstance(class_names, (list, tuple)) else None,
        preprocessing=options.preprocessing or (own if isinstance(own, Preprocessing) else None),
        hint="the error is in your model's code; --debug shows where",
    )


def call_user_code(name: str, **offered: Any) -> tuple[ModuleType, Any]:
    """Return the module of ``python:MODULE:FUNCTION``, and what the function returns.

    An `nn.Module` of that name is returned itself. Of the arguments ``offered`` the function gets
    those that it names.

    Raises:
        RunError: If there is no such function, it takes arguments, or it fails.
    """
    module, function = import_object(name)
    if isinstance(function, nn.Module):
        return module, function
    if not callable(function):
        raise RunError(f"{name} must be a function, got {type(function).__name__}")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some built-in functions have no signature
        parameters = []
    given = {key: offered[key] for key in (each.name for each in parameters) if key in offered}
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.name not in given
        and parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if needed:
        raise RunError(
            f"{name} is called without arguments and returns the model, but it asks for "
            f"{', '.join(needed)}; write a function around it that takes none"
        )
    location = name.removeprefix(PREFIX).rpartition(":")[0]
    try:
        with search_path(Path(location).parent if location.endswith(".py") else Path()):
            return module, function(**given)
    except Exception as error:
        raise RunError(f"{name} failed: {describe_error(error)}") from error


class _FunctionModel(nn.Module):
    """Wrap a function that gives logits as a tensor or an array."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, images: Tensor) -> Any:
        logits = self._function(images)
        if isinstance(logits, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(logits)).to(images.device)
        return logits


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model text."""

    form: str  # the text, for messages; empty for run folders
    open: Callable[[str, OpenOptions], OpenedModel]  # takes the rest of the text
    weight_marks: str | None = None  # a text with one of these names its weights; None: any text


KINDS = {
    "run": Kind("", _open_run),
    "name": Kind("NAME", _open_name, weight_marks=""),
    "file": Kind("NAME@FILE", _open_file),
    "hub": Kind("hub:OWNER/NAME", _open_hub),
    "timm": Kind("timm:NAME", open_timm, weight_marks="@"),
    "torchvision": Kind("torchvision:NAME", open_torchvision, weight_marks="@:"),
    "hf": Kind("hf:REPO", open_hf, weight_marks=""),
    "onnx": Kind("onnx:FILE", open_onnx),
    "python": Kind("python:MODULE:FUNCTION", _open_python),
}
PREFIXES = tuple(name for name, kind in KINDS.items() if ":" in kind.form)

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
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from augmix.errors import RunError, check_name, did_you_mean, first_line, import_library
from augmix.models import find_family, list_networks, weights
from augmix.models.layers import Classifier
from augmix.models.onnx import open_onnx
from augmix.models.preprocessing import (
    PRESETS,
    Preprocessing,
    from_timm,
    from_torchvision,
    from_transformers,
)
from augmix.models.weights import (
    Weights,
    build_model,
    label_file,
    load_into,
    load_model,
    load_state,
    note_averaged,
)
from augmix.models.wrapper import OpenedModel, OpenOptions, Outputs, hash_weights
from augmix.run_folder import MODEL_FILE
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


# -- Models of timm, torchvision and transformers --------------------------------------------------

# Each library is imported when one of its models is opened; all that is missing or does not fit is
# a `RunError`. They come with their own preprocessing.

_TRANSFORMS_INPUT = ("inception_v3", "googlenet")  # normalised inside for weights of TensorFlow
_NO_SUCH_FILE = ("EntryNotFoundError", "RemoteEntryNotFoundError")  # huggingface_hub, old and new


def open_timm(text: str, options: OpenOptions) -> OpenedModel:
    """Open ``NAME`` or ``NAME@FILE`` of timm; its data config says how images are prepared."""
    timm = import_library("timm", f"timm:{text}", "timm")
    name, _, file = text.partition("@")
    averaged = ""
    if file:
        network, _, averaged = _load_file(
            lambda count, _: timm.create_model(name, num_classes=count),
            f"timm:{name}",
            file,
            options,
        )
    else:
        network = _call_library(
            lambda: _create_timm(timm, name, options),
            f"timm:{name}",
            lambda: timm.list_models(pretrained=options.pretrained),
        )
    model = _wrap_timm(timm, network, label_file(f"timm:{text}", options.use_ema), options)
    model.note = "; ".join(filter(None, (model.note, averaged)))
    return model


def _create_timm(timm: Any, location: str, options: OpenOptions) -> Any:
    if options.pretrained:
        return timm.create_model(location, pretrained=True)
    count = {} if options.num_classes is None else {"num_classes": options.num_classes}
    return timm.create_model(location, **count)


def _wrap_timm(timm: Any, network: Any, name: str, options: OpenOptions) -> OpenedModel:
    trained, tested = (
        timm.data.resolve_model_data_config(network, use_test_size=is_tested)
        for is_tested in (False, True)
    )
    size, test_size = ("x".join(map(str, each["input_size"][1:])) for each in (trained, tested))
    note = ""
    if options.test_input_size and (size == test_size or options.preprocessing):
        raise ValueError(
            f"{name} has one input size, {size}; leave out --test-input-size"
            if size == test_size
            else "a preprocessing names the size itself; leave out --test-input-size"
        )
    if size != test_size and not (options.test_input_size or options.preprocessing):
        note = f"{name} is measured at {size}; it was tested at {test_size} too: --test-input-size"
    preprocessing = options.preprocessing or from_timm(
        tested if options.test_input_size else trained, where=f"timm:{name.partition(':')[2]}"
    )
    num_classes = int(network.num_classes)
    labels = getattr(network, "pretrained_cfg", {}).get("label_names") or ()
    return OpenedModel(
        network,
        name=name,
        num_classes=num_classes,
        class_names=labels if len(labels) == num_classes and options.pretrained else None,
        preprocessing=preprocessing,
        note=note,
    )


def open_torchvision(text: str, options: OpenOptions) -> OpenedModel:
    """Open ``NAME``, ``NAME:WEIGHTS`` or ``NAME@FILE`` of torchvision.

    Without WEIGHTS the library's latest are taken; the literature mostly uses ``IMAGENET1K_V1``.
    Images are prepared as for the weights, for a file as for the network's first weights.
    """
    models = import_library("torchvision.models", f"torchvision:{text}", "torchvision")
    rest, _, file = text.partition("@")
    name, _, chosen = rest.partition(":")
    known = _call_library(
        lambda: models.get_model_weights(name),
        f"torchvision:{name}",
        lambda: models.list_models(module=models),
    )
    names = [each.name for each in known]
    if chosen and chosen not in names:
        raise RunError(
            f"torchvision:{name} has the weights {', '.join(names)}, got {chosen!r}"
            f"{did_you_mean(chosen, names)}"
        )
    weights = known[chosen or names[0]] if chosen or file else known.DEFAULT
    label = f"torchvision:{name}:{weights.name}"
    categories = tuple(weights.meta["categories"])

    def build(num_classes: int, state: Weights | None = None) -> nn.Module:
        changes: dict[str, Any] = {}
        if state is not None and name in _TRANSFORMS_INPUT:  # as with their published weights
            has_aux = any(key.lower().startswith("aux") for key in _all_names(state))
            changes = {"transform_input": True, "aux_logits": has_aux, "init_weights": False}
        return models.get_model(name, weights=None, num_classes=num_classes, **changes)

    note = ""
    if file:
        label = label_file(f"torchvision:{text}", options.use_ema)
        network, num_classes, note = _load_file(build, f"torchvision:{name}", file, options)
    elif options.pretrained:
        network = _call_library(lambda: models.get_model(name, weights=weights), label)
        num_classes = len(categories)
    else:
        label, num_classes = f"torchvision:{name}", options.num_classes or len(categories)
        network = _call_library(lambda: build(num_classes), label)
    return OpenedModel(
        network,
        name=label,
        num_classes=num_classes,
        class_names=categories if options.pretrained and not file else None,
        preprocessing=options.preprocessing or from_torchvision(weights.transforms(), where=name),
        note=note,
    )


def open_hf(text: str, options: OpenOptions) -> OpenedModel:
    """Open ``REPO`` or ``REPO@REVISION`` of the Hugging Face Hub, or a folder in that form.

    A repository of timm is opened by timm, any other by transformers' classifiers. No code of the
    repository is run.
    """
    repo, _, revision = text.partition("@")
    hub = import_library("huggingface_hub", f"hf:{text}", "huggingface-hub")
    config = _fetch_json(hub, repo, revision, "config.json")
    if config is None:
        raise RunError(f"hf:{text}: there is no config.json; is {repo} a model?")
    if "architecture" in config and "architectures" not in config:  # timm's form
        timm = import_library("timm", f"hf:{text}", "timm")
        location = f"local-dir:{repo}" if Path(repo).is_dir() else f"hf-hub:{text}"
        network = _call_library(lambda: _create_timm(timm, location, options), f"hf:{text}")
        return _wrap_timm(timm, network, f"hf:{text}", options)
    if options.test_input_size:
        raise ValueError(f"test_input_size is of timm's models, hf:{text} is one of transformers")
    network = _open_transformer(repo, revision, f"hf:{text}", options)
    labels: dict[int, Any] = getattr(network.config, "id2label", {})
    class_names = [str(labels[index]) for index in sorted(labels)]
    has_names = options.pretrained and not all(name.startswith("LABEL_") for name in class_names)
    preprocessing = options.preprocessing
    if preprocessing is None:
        nested = _fetch_json(hub, repo, revision, "processor_config.json") or {}
        found = nested.get("image_processor") or _fetch_json(
            hub, repo, revision, "preprocessor_config.json"
        )
        if found is None:
            raise RunError(
                f"hf:{repo} does not say how its images are prepared (preprocessor_config.json); "
                "name it with --preprocessing"
            )
        preprocessing = from_transformers(
            found, where=f"hf:{repo}", model_type=str(config.get("model_type", ""))
        )
    return OpenedModel(
        _LogitsOnly(network),
        name=f"hf:{text}",
        num_classes=int(network.config.num_labels),
        class_names=class_names if has_names else None,
        preprocessing=preprocessing,
    )


class _LogitsOnly(nn.Module):
    """Return the logits of a transformers model instead of its output record."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(pixel_values=images).logits


def _open_transformer(repo: str, revision: str, what: str, options: OpenOptions) -> Any:
    transformers = import_library("transformers", what, "transformers")
    models = transformers.AutoModelForImageClassification
    revision = revision or "main"
    if options.pretrained:
        return _call_library(lambda: models.from_pretrained(repo, revision=revision), what)
    count: dict[str, Any] = {}
    if options.num_classes is not None:
        labels = {index: f"LABEL_{index}" for index in range(options.num_classes)}
        count = {"id2label": labels, "label2id": {name: index for index, name in labels.items()}}
    configs = transformers.AutoConfig
    return _call_library(
        lambda: models.from_config(configs.from_pretrained(repo, revision=revision, **count)), what
    )


def _fetch_json(hub: Any, repo: str, revision: str, file: str) -> dict[str, Any] | None:
    """Load a JSON file of a repository or folder; None if it has no such file."""
    if Path(repo).is_dir():
        path = Path(repo) / file
        if not path.is_file():
            return None
    else:
        try:
            path = Path(hub.hf_hub_download(repo, file, revision=revision or None))
        except Exception as error:
            if type(error).__name__ in _NO_SUCH_FILE:
                return None
            raise RunError(
                f"hf:{repo} cannot be fetched: {type(error).__name__}: {first_line(error)}; "
                "is its name OWNER/NAME right, and is the hub reached from here?"
            ) from error
    return json.loads(path.read_text(encoding="utf-8"))


def _load_file(
    build: Callable[[int, Weights], nn.Module], what: str, file: str, options: OpenOptions
) -> tuple[nn.Module, int, str]:
    """Return a network with the weights of a file, its number of classes, and what to say of it."""
    path = Path(file).expanduser()
    found = load_state(path, use_ema=options.use_ema)

    def build_checked(num_classes: int) -> nn.Module:
        return _call_library(lambda: build(num_classes, found), what)

    network, num_classes = load_into(build_checked, found, name=what, file=path)
    return network, num_classes, note_averaged(found, path)


def _all_names(found: Weights) -> Iterator[str]:
    """Yield the names of a file's tensors, and those within its parts."""
    yield from found.tensors
    for part in found.parts.values():
        yield from part


def _call_library(
    make: Callable[[], Any], what: str, names: Callable[[], Sequence[str]] = tuple
) -> Any:
    """Call a library; an error of it becomes one message, with the nearest of ``names``."""
    try:
        return make()
    except Exception as error:
        guess = did_you_mean(what.partition(":")[2], names(), cutoff=0.6)
        raise RunError(
            f"{what} cannot be opened: {type(error).__name__}: {first_line(error)}{guess}"
        ) from error


# -- The forms -------------------------------------------------------------------------------------


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

"""Models of timm, torchvision and transformers with their own preprocessing.

Each library is imported when one of its models is opened; all that is missing or does not fit is a
`RunError`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from augmix.errors import RunError, did_you_mean, first_line, import_library
from augmix.models.preprocessing import from_timm, from_torchvision, from_transformers
from augmix.models.weights import Weights, label_file, load_into, load_state, note_averaged
from augmix.models.wrapper import OpenedModel, OpenOptions

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

"""Models of timm, torchvision and transformers with their own preprocessing, and ONNX files.

Each library is imported when one of its models is opened; all that is missing or does not fit is a
`RunError`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from augmix.errors import RunError, did_you_mean, first_line, import_library
from augmix.models.preprocessing import from_timm, from_torchvision, from_transformers
from augmix.models.weights import load_into, load_state
from augmix.models.wrapper import OpenedModel, OpenOptions

_NO_SUCH_FILE = ("EntryNotFoundError", "RemoteEntryNotFoundError")  # huggingface_hub, old and new
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_EXTERNAL = (".data", "_data")  # weights beside an ONNX file, as the usual exporters name them


def open_timm(text: str, options: OpenOptions) -> OpenedModel:
    """Open ``NAME`` or ``NAME@FILE`` of timm; its data config says how images are prepared."""
    timm = import_library("timm", f"timm:{text}", "timm")
    name, _, file = text.partition("@")
    if file:
        network, _ = _load_file(
            lambda count: timm.create_model(name, num_classes=count), f"timm:{name}", file
        )
    else:
        network = _call_library(
            lambda: _create_timm(timm, name, options),
            f"timm:{name}",
            lambda: timm.list_models(pretrained=options.pretrained),
        )
    return _wrap_timm(timm, network, f"timm:{text}", options)


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
    return OpenedModel(
        network, name=name, num_classes=num_classes, preprocessing=preprocessing, note=note
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

    def build(num_classes: int) -> nn.Module:
        return models.get_model(name, weights=None, num_classes=num_classes)

    if file:
        label = f"torchvision:{text}"
        network, num_classes = _load_file(build, f"torchvision:{name}", file)
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
    count = {} if options.num_classes is None else {"num_labels": options.num_classes}
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


def _load_file(build: Callable[[int], nn.Module], what: str, file: str) -> tuple[nn.Module, int]:
    path = Path(file).expanduser()

    def build_checked(num_classes: int) -> nn.Module:
        return _call_library(lambda: build(num_classes), what)

    return load_into(build_checked, load_state(path), name=what, file=path)


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


def open_onnx(text: str, options: OpenOptions) -> OpenedModel:
    """Open an ONNX file, run by onnxruntime (extra ``onnx``) on CUDA if it can, else on the CPU.

    It has one input of floats, `batch channel height width` or, if its shape says so, `batch height
    width channel`, and one output of two axes. If its batch size is fixed, larger batches are
    split, and the last part is padded.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        raise RunError(f"the ONNX file {path} does not exist")
    network = _OnnxNetwork(_start(path), path)
    return OpenedModel(
        network,
        name=f"onnx:{path.name}",
        fingerprint=_hash_files(path),
        num_classes=network.num_classes,
        preprocessing=options.preprocessing,
        hint="the file's inputs must fit the images (--preprocessing, --crop)",
    )


class _OnnxNetwork(nn.Module):
    """Run the `InferenceSession` of a file as a module without weights."""

    def __init__(self, session: Any, path: Path) -> None:
        super().__init__()
        self._session = session
        self._path = path
        self._input = _find_input(session, path)
        self._output = _find_output(session, path)
        shape = list(self._input.shape)
        self._is_last = shape[3] in (1, 3) and shape[1] not in (1, 3)  # channels
        if self._is_last:
            shape = [shape[0], shape[3], shape[1], shape[2]]
        known = [size if isinstance(size, int) and size > 0 else None for size in shape]
        self._batch, self._expected = known[0] or 0, known[1:]
        count = self._output.shape[1] if self._output.shape else None
        self.num_classes = count if isinstance(count, int) and count > 0 else None

    def forward(self, images: Tensor) -> Tensor:
        shape, expected = images.shape[1:], self._expected
        if any(size not in (None, got) for size, got in zip(expected, shape, strict=True)):
            shown = " x ".join("any" if size is None else str(size) for size in expected)
            raise RunError(
                f"{self._path} takes images of {shown} (channels, height, width), got "
                f"{' x '.join(map(str, shape))}; crop them to that size with --crop"
            )
        pixels = images.detach().cpu().numpy().astype(_TYPES[self._input.type])
        if self._is_last:
            pixels = pixels.transpose(0, 2, 3, 1)
        step = self._batch or len(pixels)
        parts = [self._run(pixels[start : start + step]) for start in range(0, len(pixels), step)]
        return torch.from_numpy(np.concatenate(parts).astype(np.float32)).to(images.device)

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        missing = max(self._batch - len(pixels), 0)
        full = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])
        feed = {self._input.name: np.ascontiguousarray(full)}
        (logits,) = self._session.run([self._output.name], feed)
        return logits[: len(pixels)]


def _start(path: Path) -> Any:
    runtime = import_library("onnxruntime", "onnx:FILE", "augmix[onnx]")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    providers = [name for name in _PROVIDERS if name in runtime.get_available_providers()]
    try:
        return runtime.InferenceSession(str(path), sess_options=options, providers=providers)
    except Exception as error:  # the runtime has an error class for each way to fail
        raise RunError(f"onnxruntime cannot use {path}: {error}") from error


def _find_input(session: Any, path: Path) -> Any:
    found = session.get_inputs()
    shown = ", ".join(f"{each.name} {each.type} {each.shape}" for each in found)
    if len(found) != 1 or len(found[0].shape) != 4 or found[0].type not in _TYPES:
        raise RunError(
            f"{path}: expected one input of float images [batch, channel, height, width], "
            f"got {shown or 'none'}"
        )
    return found[0]


def _find_output(session: Any, path: Path) -> Any:
    """Return the only output of two axes; some exporters leave the shape of an output open."""
    found = session.get_outputs()
    fitting = [each for each in found if len(each.shape or (0, 0)) == 2]
    if len(fitting) != 1:
        shown = ", ".join(f"{each.name} {each.shape}" for each in found)
        raise RunError(f"{path}: expected one output of logits [batch, class], got {shown}")
    return fitting[0]


def _hash_files(path: Path) -> str:
    """Compute the sha256 of a file, and of the weights beside it if it keeps them apart."""
    beside = [path.with_name(path.name + suffix) for suffix in _EXTERNAL]
    hasher = hashlib.sha256()
    for file in (path, *(each for each in beside if each.is_file())):
        with open(file, "rb") as content:
            hashlib.file_digest(content, lambda: hasher)
    return hasher.hexdigest()

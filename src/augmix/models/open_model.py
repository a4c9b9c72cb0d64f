"""Any model to be measured, opened by one line of text.

| text | model |
| --- | --- |
| a run folder | what `augmix train` left there |
| ``hub:OWNER/NAME`` | a model of this package on the Hugging Face Hub |
| ``NAME@FILE`` | a network of this package by name, weights from a file |
| ``timm:NAME`` | a timm model with its pretrained weights |
| ``timm:NAME@FILE`` | the same with the weights of a file |
| ``torchvision:NAME`` | a torchvision classifier with its latest weights |
| ``torchvision:NAME:WEIGHTS`` | the same with those weights, e.g. ``IMAGENET1K_V1`` |
| ``torchvision:NAME@FILE`` | the same with the weights of a file |
| ``hf:REPO`` | an image classifier of transformers or timm on the Hugging Face Hub |
| ``hf:REPO@REVISION`` | the same at a branch, tag or commit |
| ``onnx:FILE`` | an ONNX file, run by onnxruntime |
| ``python:MODULE:FUNCTION`` | what a function of yours returns; MODULE may be a ``.py`` file |

Files are safetensors or torch files that hold tensors only: no code in them is run.
"""

from collections.abc import Callable
from pathlib import Path

from augmix.errors import RunError, did_you_mean
from augmix.models import onnx, pretrained, user_code, weights
from augmix.models.layers import Classifier
from augmix.models.preprocessing import PRESETS, Preprocessing
from augmix.models.weights import load_model
from augmix.models.wrapper import Subject

Opener = Callable[[str, Preprocessing | None], Subject]


def open_subject(
    spec: str | Path, *, preprocessing: Preprocessing | None = None, num_classes: int | None = None
) -> Subject:
    """Open a model that takes float images in [0, 1], NCHW, and gives logits `batch label`.

    It comes on the CPU and in evaluation mode. Its ``preprocessing`` says what geometry the source
    should give it (``open_source(..., **subject.preprocessing.geometry)``); the photometric part
    is its first layer.

    Args:
        spec: See the table of this module.
        preprocessing: Stands above what the model itself states. A run folder's network
            normalises by itself, so there it may state geometry only.
        num_classes: What the model must give, if that matters.

    Raises:
        ValueError: If the text is of no known form.
        RunError: If the model, its package or a file of it is missing, broken, or of another kind.
    """
    opener, rest = _find_opener(spec)
    subject = opener(rest, preprocessing).eval()
    if num_classes is not None:
        if subject.num_classes not in (None, num_classes):
            raise RunError(
                f"{subject.name} gives {subject.num_classes} classes, expected {num_classes}; "
                "for a model of more classes name their list with --class-list"
            )
        subject.num_classes = num_classes
    return subject


def _find_opener(spec: str | Path) -> tuple[Opener, str]:
    """Which kind of model a text names, and the rest of it."""
    text = str(spec)
    if isinstance(spec, Path) or Path(text).expanduser().is_dir():
        return _open_run, text
    kind, colon, rest = text.partition(":")
    if colon and kind in KINDS:
        if not rest:
            raise ValueError(f"expected {_FORMS[kind]}, got {text!r}")
        return KINDS[kind], rest
    if colon and kind.isidentifier() and len(kind) > 1:  # a single letter is a drive of Windows
        guess = did_you_mean(kind, KINDS)
        raise ValueError(
            f"a model is a run folder or one of {', '.join(_FORMS.values())}, got {text!r}{guess}"
        )
    return (_open_file if "@" in text else _open_run), text


def _open_run(folder: str, preprocessing: Preprocessing | None) -> Subject:
    path = Path(folder).expanduser()
    if not path.exists():
        raise RunError(
            f"{path} does not exist; a model is a run folder or one of {', '.join(_FORMS.values())}"
        )
    return _wrap_own(load_model(path), preprocessing)


def _open_hub(name: str, preprocessing: Preprocessing | None) -> Subject:
    network = load_model(f"hub:{name}")
    return _wrap_own(network, preprocessing or weights.usual_geometry(network.config.name))


def _wrap_own(network: Classifier, preprocessing: Preprocessing | None) -> Subject:
    plain = PRESETS["none"]
    if preprocessing is not None and (
        (preprocessing.mean, preprocessing.std, preprocessing.input_range)
        != (plain.mean, plain.std, plain.input_range)
    ):
        raise RunError(
            f"{network.config.name} normalises its images by itself; state geometry only "
            "(--preprocessing none with --resize, --crop, --interpolation)"
        )
    config = network.config
    subject = Subject(network, name=config.name, num_classes=config.num_classes)
    subject.preprocessing = preprocessing
    return subject


def _open_file(text: str, preprocessing: Preprocessing | None) -> Subject:
    name, _, file = text.partition("@")
    return weights.open_checkpoint(name, Path(file).expanduser(), preprocessing)


KINDS: dict[str, Opener] = {
    "hub": _open_hub,
    "timm": pretrained.open_timm,
    "torchvision": pretrained.open_torchvision,
    "hf": pretrained.open_hf,
    "onnx": onnx.open_onnx,
    "python": user_code.open_python,
}
_FORMS = {
    "hub": "hub:OWNER/NAME",
    "timm": "timm:NAME",
    "torchvision": "torchvision:NAME",
    "hf": "hf:REPO",
    "onnx": "onnx:FILE",
    "python": "python:MODULE:FUNCTION",
    "": "NAME@FILE",
}

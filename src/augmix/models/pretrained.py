"""Models of timm, torchvision and transformers, with their own preprocessing.

What cannot be said in those words (pictures that are not square, borders) is refused: the user
then states the preprocessing that comes nearest.

None of the three is needed by this package: each is imported when one of its models is asked for.
"""

import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from augmix.errors import RunError, did_you_mean, first_line
from augmix.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, INTERPOLATIONS, Preprocessing
from augmix.models.weights import fill_network, load_state
from augmix.models.wrapper import Subject

# Pillow's numbers of its filters, as transformers writes them
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_SMALL = 384  # ConvNeXT resizes in proportion and crops below this side, and squashes from it on


def from_timm(config: Mapping[str, Any], *, where: str) -> Preprocessing:
    """Of ``timm.data.resolve_model_data_config``: the side divided by ``crop_pct`` is resized to.

    Raises:
        RunError: If it says what `Preprocessing` cannot.
    """
    _, height, width = config["input_size"]
    crop = _square(height, width, where)
    mode = config.get("crop_mode", "center")
    if mode not in ("center", "squash"):
        raise _unsaid(f"a crop of mode {mode!r}", where)
    is_squashed = mode == "squash"
    return Preprocessing(
        crop=crop,
        resize=crop if is_squashed else math.floor(crop / config.get("crop_pct", 0.875)),
        squash=is_squashed,
        interpolation=_interpolation(config.get("interpolation", "bicubic"), where),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def from_torchvision(transform: Any, *, where: str) -> Preprocessing:
    """Of a set of weights' ``transforms()``.

    Raises:
        RunError: If it says what `Preprocessing` cannot.
    """
    try:
        (crop,), (resize,) = transform.crop_size, transform.resize_size
        interpolation = transform.interpolation.value
        mean, std = tuple(transform.mean), tuple(transform.std)
    except (AttributeError, TypeError, ValueError) as error:
        raise _unsaid(f"{transform!r}", where) from error
    return Preprocessing(
        crop=crop,
        resize=resize,
        interpolation=_interpolation(interpolation, where),
        mean=mean,
        std=std,
    )


def from_transformers(config: Mapping[str, Any], *, where: str) -> Preprocessing:
    """Of a ``preprocessor_config.json``.

    Raises:
        RunError: If it says what `Preprocessing` cannot.
    """
    resize, crop, is_squashed = _transformers_sides(config, where)
    is_normalised = config.get("do_normalize", True)
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    return Preprocessing(
        crop=crop,
        resize=resize,
        squash=is_squashed,
        interpolation=_interpolation(_FILTERS.get(config.get("resample", 2), "unknown"), where),
        mean=tuple(config.get("image_mean", IMAGENET_MEAN)) if is_normalised else (0.0,) * 3,
        std=tuple(config.get("image_std", IMAGENET_STD)) if is_normalised else (1.0,) * 3,
        input_range=(0.0, 255 * factor),
    )


def _transformers_sides(config: Mapping[str, Any], where: str) -> tuple[int, int, bool]:
    """What the shorter side is resized to, the crop, and whether both sides are."""
    if not config.get("do_resize", True):
        raise _unsaid("images that are not resized", where)
    size, cut = config.get("size"), config.get("crop_size")
    is_cropped = bool(config.get("do_center_crop", cut is not None))
    resize, is_squashed = _side(size, where)
    if "crop_pct" in config and not is_squashed:  # ConvNeXT: size is what is left after the crop
        if resize >= _SMALL:
            return resize, resize, True
        return int(resize / config["crop_pct"]), resize, False
    if not is_cropped:
        if not is_squashed:
            raise _unsaid("pictures of any shape, uncropped", where)
        return resize, resize, True
    crop, _ = _side(cut, where)
    if is_squashed and crop != resize:
        raise _unsaid(f"pictures squashed to {resize} and cropped to {crop}", where)
    return resize, crop, is_squashed


def _side(size: Any, where: str) -> tuple[int, bool]:
    """Pixels, and whether they are those of both sides."""
    if isinstance(size, int):
        return size, False
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return int(size["shortest_edge"]), False
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return _square(size["height"], size["width"], where), True
    raise _unsaid(f"the size {size!r}", where)


def _square(height: int, width: int, where: str) -> int:
    if height != width:
        raise _unsaid(f"pictures of {height} x {width}, which are not square", where)
    return int(height)


def _interpolation(name: str, where: str) -> str:
    if name not in INTERPOLATIONS:
        raise _unsaid(f"interpolation {name!r}", where)
    return name


def _unsaid(what: str, where: str) -> RunError:
    return RunError(
        f"{where} asks for {what}, which this package does not do; state the preprocessing that "
        "comes nearest with --preprocessing"
    )


_NO_SUCH_FILE = (
    "EntryNotFoundError",
    "RemoteEntryNotFoundError",
)  # of huggingface_hub, old and new


def open_timm(text: str, preprocessing: Preprocessing | None) -> Subject:
    """``NAME`` or ``NAME@FILE``; see `subjects`. Preprocessing is that of the model's data config.

    Raises:
        RunError: If timm is missing, has no such model, or cannot fetch its weights.
    """
    timm = _need("timm", f"timm:{text}", "timm")
    name, _, file = text.partition("@")
    if file:
        network, num_classes = _fill(
            lambda count: timm.create_model(name, num_classes=count), f"timm:{name}", file
        )
    else:
        network = _create(
            lambda: timm.create_model(name, pretrained=True),
            f"timm:{name}",
            lambda: timm.list_models(pretrained=True),
        )
        num_classes = int(network.num_classes)
    return Subject(
        network,
        name=f"timm:{text}",
        num_classes=num_classes,
        preprocessing=preprocessing or _timm_preprocessing(timm, network, text),
    )


def open_torchvision(text: str, preprocessing: Preprocessing | None) -> Subject:
    """``NAME``, ``NAME:WEIGHTS`` or ``NAME@FILE``; see `subjects`.

    Without WEIGHTS they are the library's latest; the literature's are mostly ``IMAGENET1K_V1``.
    Preprocessing is that of the weights, for a file that of the network's first weights.

    Raises:
        RunError: If torchvision is missing, has no such classifier or weights, or cannot fetch
            them.
    """
    models = _need("torchvision.models", f"torchvision:{text}", "torchvision")
    rest, _, file = text.partition("@")
    name, _, chosen = rest.partition(":")
    kinds = _create(
        lambda: models.get_model_weights(name),
        f"torchvision:{name}",
        lambda: models.list_models(module=models),
    )
    weights = _choose_weights(kinds, chosen or ("" if not file else next(iter(kinds)).name), name)
    if file:
        network, num_classes = _fill(
            lambda count: models.get_model(name, weights=None, num_classes=count),
            f"torchvision:{name}",
            file,
        )
    else:
        network = _create(
            lambda: models.get_model(name, weights=weights), f"torchvision:{name}", list
        )
        num_classes = len(weights.meta["categories"])
    transform = weights.transforms()
    return Subject(
        network,
        name=f"torchvision:{name}:{weights.name}" if not file else f"torchvision:{text}",
        num_classes=num_classes,
        preprocessing=preprocessing or from_torchvision(transform, where=name),
    )


def open_hf(text: str, preprocessing: Preprocessing | None) -> Subject:
    """``REPO`` or ``REPO@REVISION``, or a folder in that form; see `subjects`.

    A repository of timm is opened by timm, any other by transformers' classifiers. No code of the
    repository is run.

    Raises:
        RunError: If a package is missing, or the repository cannot be fetched or is none of
            an image classifier.
    """
    repo, _, revision = text.partition("@")
    hub = _need("huggingface_hub", f"hf:{text}", "huggingface-hub")
    config = _fetch_json(hub, repo, revision, "config.json")
    if config is None:
        raise RunError(f"hf:{text}: there is no config.json; is {repo} a model?")
    if "architecture" in config and "architectures" not in config:  # timm's form
        is_here = Path(repo).is_dir()
        at = f"local-dir:{repo}" if is_here else f"hf-hub:{repo}{'@' if revision else ''}{revision}"
        timm = _need("timm", f"hf:{text}", "timm")
        network = _create(lambda: timm.create_model(at, pretrained=True), f"hf:{text}", list)
        own = preprocessing or _timm_preprocessing(timm, network, text)
        num_classes = int(network.num_classes)
    else:
        network = _Logits(_open_transformer(repo, revision, f"hf:{text}"))
        own = preprocessing or _transformer_preprocessing(hub, repo, revision)
        num_classes = int(network.model.config.num_labels)
    return Subject(network, name=f"hf:{text}", num_classes=num_classes, preprocessing=own)


class _Logits(nn.Module):
    """A transformers model without the record it puts its logits into."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(pixel_values=images).logits


def _open_transformer(repo: str, revision: str, what: str) -> Any:
    transformers = _need("transformers", what, "transformers")
    load = transformers.AutoModelForImageClassification.from_pretrained
    return _create(lambda: load(repo, revision=revision or "main"), what, list)


def _transformer_preprocessing(hub: Any, repo: str, revision: str) -> Preprocessing:
    config = _fetch_json(hub, repo, revision, "preprocessor_config.json")
    if config is None:
        raise RunError(
            f"hf:{repo} does not state how its images are prepared (preprocessor_config.json); "
            "state it with --preprocessing"
        )
    return from_transformers(config, where=f"hf:{repo}")


def _timm_preprocessing(timm: Any, network: nn.Module, text: str) -> Preprocessing:
    return from_timm(timm.data.resolve_model_data_config(network), where=f"timm:{text}")


def _fetch_json(hub: Any, repo: str, revision: str, file: str) -> dict[str, Any] | None:
    """A JSON file of a repository or folder; None if it has no such file."""
    if Path(repo).is_dir():
        path = Path(repo) / file
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
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


def _fill(build: Callable[[int], nn.Module], what: str, file: str) -> tuple[nn.Module, int]:
    path = Path(file).expanduser()
    state = load_state(path)
    return fill_network(
        lambda count: _create(lambda: build(count), what, list), state, name=what, file=path
    )


def _choose_weights(kinds: Any, chosen: str, name: str) -> Any:
    """A member of the library's enumeration of weights; its default without a choice."""
    if not chosen:
        return kinds.DEFAULT
    names = [each.name for each in kinds]
    if chosen not in names:
        raise RunError(
            f"torchvision:{name} has the weights {', '.join(names)}, got {chosen!r}"
            f"{did_you_mean(chosen, names)}"
        )
    return kinds[chosen]


def _create(make: Callable[[], Any], what: str, names: Callable[[], Sequence[str]]) -> Any:
    """Call a library; what it raises becomes one message, with the nearest name it knows."""
    try:
        return make()
    except Exception as error:
        guess = did_you_mean(what.partition(":")[2], names())
        raise RunError(
            f"{what} cannot be opened: {type(error).__name__}: {first_line(error)}{guess}"
        ) from error


def _need(module: str, what: str, package: str) -> Any:
    """A module of an optional package."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RunError(
            f"{what} needs {package}, which is not installed: pip install {package}"
        ) from error
    except Exception as error:  # a build for another version of torch may raise anything
        raise RunError(
            f"{what} needs {package}, but it cannot be imported ({type(error).__name__}: "
            f"{first_line(error)}); is it made for this version of torch?"
        ) from error

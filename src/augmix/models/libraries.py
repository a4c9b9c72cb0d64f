"""Models of timm, torchvision and transformers, with the preprocessing they were trained for.

None of the three is needed by this package: each is imported when one of its models is asked for.
"""

import importlib
import json
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from augmix.models import stated
from augmix.models.preprocessing import Preprocessing
from augmix.models.weights import fill_network, load_state
from augmix.models.wrapped import Subject
from augmix.records import RunError

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
        preprocessing=preprocessing or stated.from_torchvision(transform, where=name),
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
    return stated.from_transformers(config, where=f"hf:{repo}")


def _timm_preprocessing(timm: Any, network: nn.Module, text: str) -> Preprocessing:
    return stated.from_timm(timm.data.resolve_model_data_config(network), where=f"timm:{text}")


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
            f"hf:{repo} cannot be fetched: {type(error).__name__}: {_first_line(error)}; "
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
            f"{_guess(chosen, names)}"
        )
    return kinds[chosen]


def _create(make: Callable[[], Any], what: str, names: Callable[[], Sequence[str]]) -> Any:
    """Call a library; what it raises becomes one message, with the nearest name it knows."""
    try:
        return make()
    except Exception as error:
        guess = _guess(what.partition(":")[2], names())
        raise RunError(
            f"{what} cannot be opened: {type(error).__name__}: {_first_line(error)}{guess}"
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
            f"{_first_line(error)}); is it made for this version of torch?"
        ) from error


def _guess(name: str, names: Sequence[str]) -> str:
    near = [] if name in names else get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]

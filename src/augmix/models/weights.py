"""Build, save and load the networks of this package, and read weights of other programs.

A model folder holds `model.json` (the `ModelConfig`) and `weights.safetensors`. No code of a file
is run. Checkpoints of training scripts are unwrapped, and the names of AugMix's released CIFAR
networks and of Zhang's blur-pooled ResNets (2019) are translated.
"""

import copy
import importlib
import io
import pickle
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as pack_weights
from torch import Tensor, nn

from augmix import files, run_folder
from augmix.errors import RunError, first_line, import_library
from augmix.models import BLURRED, MODULE, ModelConfig, find_family, is_own
from augmix.models.batch_norm import main_state
from augmix.models.layers import Classifier

_SHOWN = 3  # names in a message
_COUNTER = "num_batches_tracked"  # of batch norm; older files lack it, and nothing depends on it
_MAX_DEPTH = 2000
_MAX_PARAMETERS = 2**30
_HUB_PREFIX = "hub:"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_MODEL_FILES = (run_folder.MODEL_FILE, run_folder.WEIGHTS_FILE)


def build_model(
    name: str,
    *,
    num_classes: int,
    channels: int = 3,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    dropout: float | None = None,
    blur_size: int = 5,
    class_names: Sequence[str] = (),
    head: str = "",
) -> Classifier:
    """Build a network by name; its start weights are drawn from torch's generator.

    It takes float images in [0, 1], ``batch channel height width``, and gives logits. Call
    `torch.manual_seed` first to get the same start weights again. `docs/networks.md` lists the
    networks with their sizes and sources.

    Args:
        name: ``small``, ``allconv``, ``wrn-D-W``, ``densenet-D-K``, ``densenet-bc-D-K``,
            ``resnext-D-CxWd``, ``resnetD`` (ImageNet), ``resnetD-cifar``, each also with
            ``-maxblur`` at the end (blur-pooled), or a name of `register_network`.
        channels: Channels of an image, 1 or 3.
        mean: Subtracted from every channel, in [0, 1] units; one number per channel. By default
            the network's usual one: 0.5, or that of ImageNet for its networks.
        std: Every channel is then divided by it; by default the network's usual one.
        dropout: Fraction of activations dropped in training, in [0, 1); by default that of the
            published network, 0.5 for ``allconv`` and 0 for all others.
        blur_size: Filter size of a ``-maxblur`` network, 2..5 pixels.
        class_names: Names of the classes in the order of the logits, to be saved with the model.
        head: Name of the last linear layer of a library's or user's network, to be replaced where
            its outputs are not the classes; see `ModelConfig`.

    Raises:
        ValueError: If no network has that name, or a number is out of range.

    Example:
        >>> build_model("wrn-16-2", num_classes=10).config.num_classes
        10
    """
    family = find_family(name)
    usual_mean, usual_std = family.statistics(channels)
    return build_network(
        ModelConfig(
            name=name,
            num_classes=num_classes,
            channels=channels,
            mean=usual_mean if mean is None else tuple(mean),
            std=usual_std if std is None else tuple(std),
            dropout=family.dropout if dropout is None else dropout,
            blur_size=blur_size,
            class_names=tuple(class_names),
            head=head,
        )
    )


def build_network(config: ModelConfig) -> Classifier:
    """Build the network of a configuration; see `build_model`."""
    _outline(config)
    return _build(config)


def _build(config: ModelConfig) -> Classifier:
    family = find_family(config.name)
    network = family.build(config, **(family.numbers(config.name) or {}))
    return network if isinstance(network, Classifier) else Classifier(config, network)


def _wrap(config: ModelConfig, network: nn.Module) -> Classifier:
    """A network that is given, as a model; its module is loaded here, as it imports this one."""
    return importlib.import_module("augmix.models.start").wrap_network(config, network)


def _outline(config: ModelConfig) -> Classifier | None:
    """Build the network without memory for its weights; None for one of the user's.

    Raises:
        ValueError: If it is too large to be meant.
    """
    family = find_family(config.name)
    if not is_own(family):  # its code may need numbers
        return None
    depth = (family.numbers(config.name) or {}).get("depth", 0)
    if depth > _MAX_DEPTH:
        raise ValueError(f"depth must be at most {_MAX_DEPTH}, got {depth} in {config.name!r}")
    try:
        with torch.device("meta"):
            network = _build(config)
        count = sum(values.numel() for values in network.parameters())
    except (RuntimeError, OverflowError, TypeError):  # sizes beyond 64 bits
        count = 2**63
    if count > _MAX_PARAMETERS:
        raise ValueError(
            f"{config.name!r} with {config.num_classes:,} classes would have {count:,} parameters, "
            f"more than {_MAX_PARAMETERS:,}; choose a smaller network"
        )
    return network


def save_model(folder: Path, model: nn.Module) -> None:
    """Write `weights.safetensors` and `model.json` into an existing folder, each atomically.

    Raises:
        TypeError: If the model is wrapped (DistributedDataParallel, compiled) or not one of ours.
        RunError: If the folder is missing or cannot be written.
    """
    if not isinstance(model, Classifier):
        raise TypeError(
            f"save_model takes a model of build_model, got {type(model).__name__}; "
            "unwrap it first (model.module, model._orig_mod)"
        )
    write_weights(Path(folder) / run_folder.WEIGHTS_FILE, model)
    config = {"schema": run_folder.MODEL_SCHEMA, **asdict(model.config)}
    for name in ("class_names", "head"):
        if not config[name]:
            del config[name]
    files.write_json(Path(folder) / run_folder.MODEL_FILE, config)


def write_weights(path: Path, network: nn.Module) -> None:
    """Write the state of a network as a safetensors file, atomically."""
    files.write_bytes(path, _pack(network))


def _pack(network: nn.Module) -> bytes:
    """The state of a network as safetensors; tensors that share memory are each written whole."""
    weights: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in main_state(network).items():
        own = value.detach().cpu().contiguous()
        address = own.untyped_storage().data_ptr()
        weights[name] = own.clone() if address in seen else own
        seen.add(address)
    return pack_weights(weights)


def check_reload(model: Classifier) -> None:
    """Refuse a model that the files of a run folder could not give back.

    Its weights are packed as in `save_model`, and loaded into a network that is built again.

    Raises:
        RunError: Naming what does not come back.
    """
    name, state = model.config.name, main_state(model)
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise RunError(
                f"{name} could not be saved: {key} of its state is a {type(value).__name__}, and "
                f"{run_folder.WEIGHTS_FILE} holds tensors alone; make it a buffer, or leave it out "
                "of the module's state"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise RunError(
                f"{name} could not be checked and saved: {key} is not finite at the start; if it "
                "is a constant such as a mask, register it with persistent=False"
            )
    if is_own(find_family(name)):
        return
    network = copy.deepcopy(model.network) if name.startswith(MODULE) else None
    try:
        loaded = _fit(model.config, parse_safetensors(_pack(model)), "its saved weights", network)
    except Exception as error:  # of the user's or a library's code too
        raise RunError(
            f"{name} could be trained, but not loaded from its run folder again: "
            f"{first_line(error)}; what builds it must give the same layers every time"
        ) from error
    found = loaded.state_dict()
    for key, value in state.items():
        if not torch.equal(found[key].cpu(), value.cpu()):
            raise RunError(
                f"{name} could be trained, but not loaded from its run folder again: {key} comes "
                "back with other values; its load_state_dict must restore what state_dict gives"
            )


def load_model(
    where: str | Path, *, revision: str | None = None, network: nn.Module | None = None
) -> Classifier:
    """Load a model written by `save_model`, on the CPU and in evaluation mode.

    Args:
        where: A folder, or the name ``owner/name`` of a model on the Hugging Face Hub; with the
            prefix ``hub:`` the hub is asked even if there is a folder of that name.
        revision: Branch, tag or commit on the hub; the main branch by default.
        network: The network that `augmix.train` was given as an object, which no name opens; its
            weights are replaced by those of the run.

    Raises:
        RunError: If a file is missing or damaged, the weights are those of another model, or the
            hub has no such model or cannot be reached.
    """
    folder = fetch_from_hub(str(where), revision=revision) if is_hub_name(where) else Path(where)
    if members := run_folder.list_runs(folder):
        raise RunError(
            f"{folder} is no run, but holds {len(members)}: {', '.join(map(str, members[:8]))}; "
            "name one of them (augmix evaluate takes the seeds of one run as an ensemble)"
        )
    config = _load_config(folder / run_folder.MODEL_FILE)
    path = folder / run_folder.WEIGHTS_FILE
    weights = load_tensors(path)
    try:
        model = _fit(config, weights, str(path), network)
    except ValueError as error:
        raise RunError(f"{folder / run_folder.MODEL_FILE}: {error}") from error
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise RunError(f"{path} is damaged: {name} is not finite; train the model again")
    return model.eval()


def _fit(
    config: ModelConfig, weights: Mapping[str, Tensor], where: str, network: nn.Module | None
) -> Classifier:
    """The model of a configuration with weights, built by its name unless the network is given."""
    what = f"{where} does not fit model {config.name!r} with {config.num_classes} classes"
    outline = _outline(config)
    if outline is not None:  # before anything of that size is built
        check_state(weights, outline.state_dict(), what=what)
    with torch.random.fork_rng(devices=[]):  # the state of torch's generator does not change
        model = _build(config) if network is None else _wrap(config, network)
    check_state(weights, model.state_dict(), what=what)
    model.load_state_dict(weights)
    return model


def has_whole_model(folder: Path) -> bool:
    """Whether a folder holds `model.json` and the whole file of weights, by its size."""
    if not (folder / run_folder.MODEL_FILE).exists():
        return False
    try:
        with safe_open(folder / run_folder.WEIGHTS_FILE, "pt"):  # reads the header
            return True
    except (OSError, SafetensorError):
        return False


def _load_config(path: Path) -> ModelConfig:
    plain = files.load_json(path)
    schema = plain.pop("schema", None)
    if schema != run_folder.MODEL_SCHEMA:
        raise RunError(f"{path} must have schema {run_folder.MODEL_SCHEMA}, got {schema!r}")
    for name in ("mean", "std"):  # whose defaults may be those of another network
        if name not in plain:
            raise RunError(f"{path}: {name} is missing; train the model again")
    return files.load_record(path, ModelConfig, plain, way_out="train the model again")


def is_hub_name(where: str | Path) -> bool:
    """Check for ``hub:owner/name``, or ``owner/name`` if there is no folder of that name."""
    return isinstance(where, str) and (
        where.startswith(_HUB_PREFIX)
        or (bool(_HUB_NAME.fullmatch(where)) and not Path(where).exists())
    )


def fetch_from_hub(name: str, *, revision: str | None = None) -> Path:
    """Download a model of the Hugging Face Hub into its local cache, and return its folder.

    Arguments and errors as for `load_model`. Only `model.json` and `weights.safetensors` are
    fetched, and neither can run code.
    """
    repo = name.removeprefix(_HUB_PREFIX)
    hint = "" if name.startswith(_HUB_PREFIX) else f"there is no folder {name!r}, and "
    if not _HUB_NAME.fullmatch(repo):
        raise RunError(f"a model on the hub is named owner/name, got {repo!r}")
    hub = import_library(
        "huggingface_hub", f"{hint}a model on the Hugging Face Hub ({repo!r})", "augmix[hub]"
    )
    try:
        folder = hub.snapshot_download(repo, revision=revision, allow_patterns=list(_MODEL_FILES))
    except Exception as error:  # the package's own errors, the network's, the disk's
        raise RunError(
            f"{hint}{repo!r} cannot be fetched from the Hugging Face Hub: {first_line(error)}; "
            "check the name and the network"
        ) from error
    missing = [file for file in _MODEL_FILES if not (Path(folder) / file).is_file()]
    if missing:
        raise RunError(
            f"{repo!r} on the Hugging Face Hub has no {missing[0]}: it is no model of this package"
        )
    return Path(folder)


def load_tensors(path: Path) -> Any:
    """Load what a safetensors or torch file holds, on the CPU, without running code of it.

    Raises:
        RunError: If the file is missing, damaged, or holds objects that only code could read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; expected a file of weights") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    if path.suffix == ".safetensors":
        try:
            return parse_safetensors(content)
        except Exception as error:  # also of the parser's Python part
            raise RunError(
                f"{path} is damaged or no safetensors file: {first_line(error)}"
            ) from error
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not content.startswith((b"PK", b"\x80")):  # a zip file, or an older one of pickle
            raise RunError(f"{path} is damaged or no file of torch.save") from error
        kinds = re.findall(r"GLOBAL ([\w.]+)", str(error))
        code = (
            f"import torch; x = torch.load({str(path)!r}, map_location='cpu', weights_only=False); "
            f"x = x if hasattr(x, 'state_dict') else next((x[k] for k in {_STATE_KEYS} if k in x), "
            "x); torch.save(x.state_dict() if hasattr(x, 'state_dict') else x, 'tensors.pt')"
        )
        raise RunError(
            f"{path} holds more than tensors, and reading it would run code from it "
            f"({kinds[0] if kinds else first_line(error)}); if you trust the file, save its "
            f'tensors alone, where that code can be imported: python -c "{code}"'
        ) from error
    except Exception as error:
        raise RunError(
            f"{path} is damaged or no file of torch.save: {first_line(error)}"
        ) from error


_STATE_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights",
)  # fmt: skip
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
_AVERAGED = re.compile(r"(^|_)(ema|swa|averaged?)(_|$)", re.IGNORECASE)  # in a key or prefix
_NUM_AVERAGED = "n_averaged"  # of torch.optim.swa_utils.AveragedModel
_TRAINED = "current_model_state"  # where Lightning's WeightAveraging has averages as state_dict


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of a file by name, and the parts of it among which the network may be.

    A module that trains a network (of Lightning, of torch's `AveragedModel`) holds it under a
    prefix, beside its loss, its metrics and averaged weights.
    """

    tensors: dict[str, Tensor]
    parts: dict[str, dict[str, Tensor]]  # by prefix; those of the tensors that have it, without it
    averaged: str = ""  # keys or prefixes of averaged weights that were left aside


def load_state(path: Path, *, use_ema: bool = False) -> Weights:
    """Load the tensors of a file by name, without what training scripts wrap around them.

    Args:
        use_ema: Take the averaged weights that the file holds beside the trained ones.

    Raises:
        RunError: If it has no tensors, or no averaged ones, or several of them to choose from; else
            as `load_tensors`.
    """
    found = load_tensors(path)
    trained, averaged = _part_averaged(found)
    state = _unwrap(trained)
    parts = _split(state)
    averaged = averaged or _find_copies(parts)
    if use_ema and not averaged:  # they may be all there is
        averaged = {
            name: part
            for name, part in parts.items()
            if _AVERAGED.search(name) and 2 * len(part) > len(state)
        }
    listed = list(found)[:8] if isinstance(found, Mapping) else [type(found)]
    if use_ema and not averaged:
        raise RunError(
            f"{path} holds no averaged weights (a key such as state_dict_ema or model_ema), "
            f"got {', '.join(map(str, listed))}; leave out --ema"
        )
    if use_ema or not state:
        if len(averaged) > 1:
            raise RunError(
                f"{path} holds averaged weights {len(averaged)} times: {', '.join(averaged)}; save "
                "those to measure alone"
            )
        state = next(iter(averaged.values()), {})
        parts, averaged = _split(state), {}
    if not state:
        raise RunError(
            f"{path}: expected tensors by name, or such under state_dict, got "
            f"{', '.join(map(str, listed))}"
        )
    parts = {name: part for name, part in parts.items() if name not in averaged}
    return Weights(state, parts, ", ".join(averaged))


def _part_averaged(found: Any) -> tuple[Any, dict[str, dict[str, Tensor]]]:
    """Part what a file holds from the averaged weights that have keys of their own."""
    if not isinstance(found, Mapping):
        return found, {}
    if isinstance(found.get(_TRAINED), Mapping):
        return found[_TRAINED], {"state_dict": _unwrap(found.get("state_dict"))}
    names = [name for name, each in found.items() if isinstance(each, Mapping)]
    averaged = {
        str(name): state
        for name in names
        if _AVERAGED.search(str(name)) and (state := _unwrap(found[name]))
    }
    return {name: each for name, each in found.items() if str(name) not in averaged}, averaged


def _find_copies(parts: Mapping[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Return the parts that hold averages of another part, by their names.

    A part may hold them in a part of its own, as `ema.ema_model` of a module that averages. They
    are large: a layer of a network may have such a name too.
    """
    trained = [part.keys() for name, part in parts.items() if not _AVERAGED.search(name)]
    least = sum(map(len, parts.values())) / 5

    def is_copy(part: dict[str, Tensor]) -> bool:
        return len(part) > least and any(part.keys() <= other for other in trained)

    copies = {}
    for name, part in parts.items():
        if not _AVERAGED.search(name):
            continue
        if is_copy(part):
            copies[name] = part
            continue
        inner = {key: each for key, each in _split(part).items() if is_copy(each)}
        marked = {key: each for key, each in inner.items() if _AVERAGED.search(key)} or inner
        copies |= {f"{name}.{key}": each for key, each in marked.items()}
    return copies


def _unwrap(found: Any) -> dict[str, Tensor]:
    """Return the state dict inside what a training script saved; empty if there is none."""
    if not isinstance(found, Mapping):
        return {}
    for key in _STATE_KEYS:
        if isinstance(found.get(key), Mapping):
            return _unwrap(found[key])
    state = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    for prefix in (*_PREFIXES, *_PREFIXES):  # twice: compiled inside distributed or outside
        state.pop(_NUM_AVERAGED, None)
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _split(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group tensors by the first word of their names; of each group the common prefixes are cut."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        if rest:
            groups.setdefault(first, {})[rest] = value
    return {first: _unwrap(group) for first, group in groups.items()}


def check_state(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    what: str,
    needs_counters: bool = True,
) -> None:
    """Check that the tensors of a file have the names and shapes of a network's state.

    Batch norm's counters of batches may be missing unless ``needs_counters``.

    Raises:
        RunError: If not; the message begins with ``what`` (which file does not fit what).
    """
    unknown = found.keys() - expected
    missing = expected.keys() - found
    if not needs_counters:
        missing = {name for name in missing if not name.endswith(_COUNTER)}
    if missing or unknown:
        raise RunError(
            f"{what}: expected {len(expected)} tensors, got {len(found)}; "
            f"missing: {_list_names(missing)}; unknown: {_list_names(unknown)}"
        )
    for name, value in expected.items():
        own = found.get(name, value)
        if own.shape != value.shape:
            raise RunError(
                f"{what}: {name} must have shape {tuple(value.shape)}, got {tuple(own.shape)}"
            )
        if own.is_floating_point() != value.is_floating_point():
            raise RunError(f"{what}: {name} must be {value.dtype}, got {own.dtype}")


def _list_names(names: Iterable[str]) -> str:
    listed = sorted(names)
    rest = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return (", ".join(listed[:_SHOWN]) or "none") + rest


Build = Callable[[int], nn.Module]  # number of classes -> network
_PROBE_CLASSES = 7919  # equals no other size in a network


def load_into(
    build: Build,
    found: Weights,
    *,
    name: str,
    file: Path,
    rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> tuple[nn.Module, int]:
    """Build a network with as many classes as the weights of a file have, and load them.

    They are all tensors of the file or one part of it, whichever has the names of the network;
    ``rename`` is applied first.

    Returns:
        The network in evaluation mode, and its number of classes.

    Raises:
        RunError: If they do not fit, or several parts do.
    """
    with torch.random.fork_rng(devices=[]):
        probe = build(_PROBE_CLASSES).state_dict()
        state = rename(found.tensors)
        fitting = {part: rename(tensors) for part, tensors in found.parts.items()}
        fitting = {part: tensors for part, tensors in fitting.items() if _has_names(tensors, probe)}
        if not _has_names(state, probe) and fitting:
            if len(fitting) > 1:
                raise RunError(
                    f"{file} holds {len(fitting)} networks of the form of {name}: "
                    f"{', '.join(fitting)}; save the one to measure alone"
                )
            state = next(iter(fitting.values()))
        num_classes = _count_classes(probe, state, name, file)
        network = build(num_classes)
    what = f"{file} does not fit {name}"
    check_state(state, network.state_dict(), what=what, needs_counters=False)
    network.load_state_dict(state, strict=False)  # only counters may be missing
    return network.eval(), num_classes


def note_averaged(found: Weights, file: Path) -> str:
    """Return what to say where a file holds averaged weights that are not measured."""
    if not found.averaged:
        return ""
    return f"{file} holds averaged weights too ({found.averaged}); take those with --ema"


def label_file(text: str, use_ema: bool) -> str:
    """Return the name of a model with the weights of a file."""
    return f"{text} (averaged weights)" if use_ema else text


def _has_names(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of a network's, counters of batch norm aside."""
    names, wanted = (
        {name for name in each if not name.endswith(_COUNTER)} for each in (state, expected)
    )
    return names == wanted


def _count_classes(
    probe: Mapping[str, Tensor], state: Mapping[str, Tensor], name: str, file: Path
) -> int:
    """Count the classes of weights where a network of `_PROBE_CLASSES` classes has that size."""
    heads = [key for key, value in probe.items() if _PROBE_CLASSES in value.shape]
    for key in heads:
        axis = list(probe[key].shape).index(_PROBE_CLASSES)
        if key in state and state[key].ndim == probe[key].ndim:
            return state[key].shape[axis]
    raise RunError(
        f"{file} does not fit {name}: expected its last layer as {' or '.join(heads)}, got "
        f"{_list_names(state)}; is it another network?"
    )


def count_channels(state: Mapping[str, Tensor]) -> int:
    """Count the image channels of a network, 1 or 3, by the inputs of its convolutions."""
    filters = [value.shape for value in state.values() if value.ndim == 4]
    is_grey = any(shape[1] == 1 and shape[2] > 1 for shape in filters)
    return 1 if is_grey and not any(shape[1] == 3 for shape in filters) else 3


# Names of layers in AugMix's released CIFAR code (`third_party/`) -> our names. WideResNet's
# projection is `convShortcut` in the original repository and `conv_shortcut` in AugMix's.
_WIDE_LAYERS = {"bn1": "norm1", "bn2": "norm2", "conv1": "conv1", "conv2": "conv2"}
_WIDE_LAYERS |= dict.fromkeys(("convShortcut", "conv_shortcut"), "shortcut")
_RESNEXT_LAYERS = {"conv_reduce": "conv1", "conv_conv": "conv2", "conv_expand": "conv3"}
_RESNEXT_LAYERS |= {"bn_reduce": "bn1", "bn": "bn2", "bn_expand": "bn3", "downsample": "downsample"}
_ALLCONV_STAGE = 11  # layers: three times convolution, norm, activation; then pooling, dropout
_STEM_AND_HEAD = {  # by the beginning of a network's name
    "allconv": {"classifier": "head"},
    "densenet": {"conv1": "stem", "bn1": "norm", "fc": "head"},
    "wrn": {"conv1": "stem", "bn1": "norm", "fc": "head"},
    "resnext": {"conv_1_3x3": "conv1", "bn_1": "bn1", "classifier": "fc"},
}


def rename_released(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of AugMix's or Zhang's released networks the names they have here.

    ``name`` is the network's here, e.g. ``wrn-40-2``. Filters of blur pools, which are no weights
    here, are left out; tensors of any other names come back unchanged.
    """
    kind = re.split(r"[\d-]", name)[0]
    if kind == "resnet":
        return _rename_blurred(state)
    renamed = {key: _rename(key, kind, name) for key in state}
    if kind not in _STEM_AND_HEAD or None in renamed.values():
        return state
    return {str(renamed[key]): value for key, value in state.items()}


def _rename(key: str, kind: str, name: str) -> str | None:
    """Return our name of a tensor of the released CIFAR code; None if it has no such name."""
    layer, _, rest = key.partition(".")
    if layer in _STEM_AND_HEAD.get(kind, {}):
        return f"{_STEM_AND_HEAD[kind][layer]}.{rest}"
    if kind == "allconv" and (found := re.fullmatch(r"features\.(\d+)\.(\w+)", key)):
        stage, index = divmod(int(found[1]), _ALLCONV_STAGE)
        return f"stages.{stage}.{index}.{found[2]}"
    if kind == "wrn" and (found := re.fullmatch(r"block(\d)\.layer\.(\d+)\.(\w+)\.(\w+)", key)):
        ours = _WIDE_LAYERS.get(found[3])
        return ours and f"groups.{int(found[1]) - 1}.{found[2]}.{ours}.{found[4]}"
    if kind == "resnext" and (found := re.fullmatch(r"stage_(\d)\.(\d+)\.(\w+)\.(.+)", key)):
        ours = _RESNEXT_LAYERS.get(found[3])
        return ours and f"layer{found[1]}.{found[2]}.{ours}.{found[4]}"
    if kind == "densenet" and (
        found := re.fullmatch(r"(dense|trans)(\d)\.(?:(\d+)\.)?(bn|conv)(\d)\.(\w+)", key)
    ):
        stage = 2 * int(found[2]) - (2 if found[1] == "dense" else 1)
        ours = {"bn": "norm", "conv": "conv"}[found[4]]
        if found[1] == "trans":
            return f"stages.{stage}.{ours}.{found[6]}"
        return f"stages.{stage}.{found[3]}.{ours}{found[5] if '-bc-' in name else ''}.{found[6]}"
    return None


def _rename_blurred(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop Zhang's blur pools, which shift the layers behind them from index 0 to 1."""
    renamed = {}
    for key, value in state.items():
        if key.endswith(".filt"):
            continue
        match = re.fullmatch(r"(.+\.(?:conv2|conv3|downsample))\.(\d)\.(.+)", key)
        if match and f"{match[1]}.0.filt" in state:
            block, index, rest = match[1], int(match[2]) - 1, match[3]
            key = f"{block}.{index}.{rest}" if block.endswith("downsample") else f"{block}.{rest}"
        renamed[key] = value
    return renamed


def find_blur_size(name: str, state: Mapping[str, Tensor], file: Path) -> int | None:
    """Return the filter size of the blur pools in a state dict; None if it has none."""
    filters = [key for key in state if key.endswith(".filt")]
    if not filters:
        return None
    if not name.endswith(BLURRED):
        raise RunError(f"{file} holds a blur-pooled network; open it as {name}{BLURRED}@{file}")
    if "maxpool.0.filt" in filters:
        raise RunError(
            f"{file} blurs before the max pooling too (pool_only=False), which {name} does not"
        )
    return state[filters[0]].shape[-1]

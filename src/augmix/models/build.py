"""Models by name: built, written to a folder, and loaded from it.

A folder holds `model.json` (the `ModelConfig`) and `weights.safetensors` (plain names, float32 as
trained), so anybody can load a model without running code from the file.
"""

from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_weights
from safetensors.torch import save as pack_weights
from torch import Tensor, nn

from augmix import records
from augmix.models import hub
from augmix.models.config import ModelConfig
from augmix.models.layers import Classifier
from augmix.models.networks import NAMES, build_network, find_family, usual_statistics
from augmix.models.states import check_state
from augmix.records import RunError

__all__ = ["NAMES", "ModelConfig", "build_model", "load_model", "save_model"]


def build_model(
    name: str,
    *,
    num_classes: int,
    channels: int = 3,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    dropout: float = -1.0,
    blur_size: int = 5,
) -> Classifier:
    """Build a model by name, its start weights drawn from torch's generator.

    It takes float images in [0, 1], ``batch channel height width``, and gives logits. Use
    `torch.manual_seed` before the call for the same start weights. `docs/networks.md` lists the
    networks with their sizes and sources.

    Args:
        name: ``small``, ``allconv``, ``wrn-D-W``, ``densenet-D-K``, ``densenet-bc-D-K``,
            ``resnext-D-CxWd``, ``resnetD`` (ImageNet) or ``resnetD-cifar``; each of them also
            with ``-maxblur`` at the end, pooled without aliasing.
        num_classes: Logits given for an image.
        channels: Channels of an image, 1 or 3.
        mean: Subtracted from every channel, in [0, 1] units; as many numbers as channels. None
            given means the usual ones: 0.5, or those of ImageNet for its networks.
        std: Every channel is then divided by it; none given means the usual ones.
        dropout: Share of activations dropped in training, in [0, 1); -1 takes that of the
            published network, 0.5 for ``allconv`` and 0 for all others.
        blur_size: Side of the blur filter of a ``-maxblur`` network, 2..5 pixels.

    Raises:
        ValueError: If no model has that name, or a number is out of range.

    Example:
        >>> build_model("wrn-16-2", num_classes=10).config.num_classes
        10
    """
    usual_mean, usual_std = usual_statistics(name, channels)
    return build_network(
        ModelConfig(
            name=name,
            num_classes=num_classes,
            channels=channels,
            mean=tuple(mean) or usual_mean,
            std=tuple(std) or usual_std,
            dropout=find_family(name).dropout if dropout == -1 else dropout,
            blur_size=blur_size,
        )
    )


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
    weights = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    folder = Path(folder)
    records.write_bytes(folder / records.WEIGHTS_FILE, pack_weights(weights))
    records.write_json(
        folder / records.MODEL_FILE, {"schema": records.SCHEMA, **asdict(model.config)}
    )


def load_model(where: str | Path, *, revision: str = "") -> Classifier:
    """Read a model written by `save_model`, on the CPU and in evaluation mode.

    Torch's generator is left as it was.

    Args:
        where: A folder, or the name ``owner/name`` of a model on the Hugging Face Hub; with
            ``hub:`` in front the hub is asked even if there is a folder of that name.
        revision: Branch, tag or commit on the hub; the main branch by default.

    Raises:
        RunError: If a file is missing or damaged, the weights are those of another model, or the
            hub has no such model or cannot be reached.
    """
    folder = hub.fetch(str(where), revision=revision) if hub.is_hub_id(where) else Path(where)
    config = _load_config(folder / records.MODEL_FILE)
    weights = _load_weights(folder / records.WEIGHTS_FILE)
    try:
        with torch.random.fork_rng(devices=[]):
            model = build_network(config)
    except ValueError as error:
        raise RunError(f"{folder / records.MODEL_FILE}: {error}") from error
    what = f"{folder / records.WEIGHTS_FILE} does not fit model {config.name!r}"
    check_state(weights, model.state_dict(), what=f"{what} with {config.num_classes} classes")
    model.load_state_dict(weights)
    return model.eval()


def _load_config(path: Path) -> ModelConfig:
    plain = records.load_json(path)
    schema = plain.pop("schema", None)
    if schema != records.SCHEMA:
        raise RunError(f"{path} must have schema {records.SCHEMA}, got {schema!r}")
    try:
        lists = {key: tuple(plain.pop(key)) for key in ("mean", "std")}
        return ModelConfig(**lists, **plain)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} does not describe a model: {error}") from error


def _load_weights(path: Path) -> dict[str, Tensor]:
    try:
        return parse_weights(path.read_bytes())
    except FileNotFoundError:
        raise RunError(
            f"{path} does not exist; is {path.parent} the folder of a trained model?"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise RunError(
            f"{path} is damaged or no safetensors file ({error}); copy or train it again"
        ) from error

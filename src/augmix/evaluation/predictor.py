"""Logits of a model on a device.

A model is any `nn.Module` that takes `batch channel height width` in [0, 1] and returns logits
`batch class`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import nn

from augmix.arrays import to_float
from augmix.data.stores import Source
from augmix.errors import ResumeError, RunError, first_line
from augmix.files import to_plain
from augmix.models.preprocessing import Preprocessing
from augmix.models.wrapper import (
    OpenedModel,
    evaluating,
    find_logits,
    float_type,
    hash_weights,
    members_of,
    name_of,
    num_classes_of,
    refuse_probabilities,
)
from augmix.results import CellKey

# Words of torch's messages about tensors on two devices.
_ELSEWHERE = ("same device", "expected device", "and weight type")
_WAVES = (0.0, 1.0, 2.3)  # radians per class
_NUM_PROBES = 8  # images whose logits tell models apart
# Of logits summed up, relative: between processors, TF32 included, and of bfloat16
_TOLERANCE = {"fp32": 2e-3, "bf16": 3e-2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """A model that is measured, on its device."""

    model: nn.Module  # in evaluation mode on the device; see `ready`
    device: torch.device
    precision: str  # fp32, or bf16 by autocast
    num_classes: int  # of the source; the model must give as many logits

    def logits(
        self,
        images: Float32[np.ndarray, "batch channel height width"],
        key: CellKey,
        ids: Int64[np.ndarray, " batch"],
    ) -> Float64[np.ndarray, "batch class"]:
        """Compute the logits of images in [0, 1] on the CPU.

        Of another shape, or not finite, they are a `RunError` that names the cell and the image.
        """
        with self.computing(images.shape), torch.inference_mode():
            logits = self._run(images)
        return self.check_logits(logits, key, ids)

    def _run(self, images: Float32[np.ndarray, "batch channel height width"]) -> Any:
        """Show images to the model, in its own type of floats unless it converts them itself."""
        shown = torch.from_numpy(images).to(self.device)
        if not any(isinstance(module, OpenedModel) for module in self.model.modules()):
            shown = shown.to(float_type(self.model) or shown.dtype)
        return find_logits(self.model(shown), name_of(self.model))

    def check_logits(
        self, logits: Any, key: CellKey, ids: Int64[np.ndarray, " batch"]
    ) -> Float64[np.ndarray, "batch class"]:
        """Check the model's output for some images and return it on the CPU; see `logits`."""
        wide = self.check_shape(logits, len(ids))
        is_bad = ~np.isfinite(wide).all(axis=1)
        if is_bad.any():
            cell = f"{key.name} at severity {key.severity}"
            raise RunError(
                "the model's logits are not finite for "
                f"{cell if key.severity else f'{key.name} ({key.suite})'}, first for image "
                f"{int(ids[is_bad.argmax()])}; check its weights, or measure with --precision fp32"
            )
        return wide

    def check_shape(self, logits: Any, num_images: int) -> Float64[np.ndarray, "batch class"]:
        """Check the shape of the model's output and return it on the CPU; see `logits`."""
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if shape != (num_images, self.num_classes):
            raise RunError(
                f"the model must give logits [batch, class] = ({num_images}, {self.num_classes}) "
                f"for this source of {self.num_classes} classes, got {shape}; was it trained on "
                "another data set? For a model of more classes name their list with --class-list"
            )
        refuse_probabilities(logits, name_of(self.model))
        return logits.detach().to("cpu").double().numpy()

    def probe(
        self, images: Float32[np.ndarray, "batch channel height width"]
    ) -> list[list[float | None]]:
        """Summarize the logits of a few images, by which two models can be distinguished."""
        devices = [self.device] if self.device.type == "cuda" else []
        with (
            self.computing(images.shape),
            torch.random.fork_rng(devices),
            torch.inference_mode(),
        ):
            torch.manual_seed(0)  # for models that draw random numbers
            logits = self._run(images)
        return summarize_logits(self.check_shape(logits, len(images)))

    def probe_source(
        self, source: Source, ids: Int64[np.ndarray, " image"], *, batch_size: int
    ) -> list[list[float | None]]:
        """Summarize the logits of a few of the images that are measured; see `probe`."""
        num_shown = min(_NUM_PROBES, len(ids), batch_size)
        shown = ids[np.linspace(0, len(ids) - 1, num_shown).astype(np.int64)]
        return self.probe(to_float(source.load(shown)))

    @contextmanager
    def computing(self, shape: tuple[int, ...]) -> Iterator[None]:
        """Run the block in the predictor's precision.

        Too little memory, or a model that is not all on the device, is a `RunError`.
        """
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                yield
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"{self.device} has too little memory for a batch of {shape[0]} images of "
                f"{shape[2]}x{shape[3]}; try --batch-size {max(shape[0] // 2, 1)}"
            ) from error
        except RuntimeError as error:
            if not any(words in str(error) for words in _ELSEWHERE):
                raise
            raise RunError(
                f"the model was put on {self.device}, but a part of it computes elsewhere "
                f"({first_line(error)}); keep its tensors as parameters or buffers, or "
                "measure on the device it needs with --device"
            ) from error


@contextmanager
def ready(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put a model on the device in evaluation mode; every module's mode is restored at the end."""
    model.to(device)
    with evaluating(model):
        yield


def summarize_logits(logits: Float64[np.ndarray, "batch class"]) -> list[list[float | None]]:
    """Return for every image the largest logit and three sums weighted by waves over the classes.

    Values that are not finite are None.
    """
    waves = np.cos(np.outer(np.arange(logits.shape[1]), _WAVES)) / math.sqrt(logits.shape[1])
    sums = np.column_stack([logits.max(axis=1), logits @ waves])
    return [[float(value) if np.isfinite(value) else None for value in row] for row in sums]


def check_outputs(path: Path, old: Any, new: list[list[float | None]], precision: str) -> None:
    """Refuse results of a model that computes other logits, with a `ResumeError`.

    Args:
        path: The file of the results.
        old: What `Predictor.probe` gave for the model of the results.
        new: What it gives now, for the same images.
        precision: Arithmetic of the network.
    """
    if not _is_close(old, new, _TOLERANCE[precision]):
        raise ResumeError(
            f"{path} holds results of a model that computes other logits for the same images, with "
            f"the same weights and preprocessing: (largest, weighted sums) {_first(old)}, "
            f"this one {_first(new)}; its code has changed, or weights that it keeps "
            f"outside its state: name another --out, or delete {path} to measure again"
        )


def _is_close(old: Any, new: list[list[float | None]], tolerance: float) -> bool:
    """Whether two summaries of logits differ by no more than another processor's rounding."""
    try:
        before, after = np.array(old, np.float64), np.array(new, np.float64)  # None becomes NaN
    except (TypeError, ValueError):
        return False
    if before.shape != after.shape or not after.size:
        return before.shape == after.shape
    scale = np.nanmax(np.abs(after), axis=1, keepdims=True, initial=0)
    is_near = np.abs(before - after) <= tolerance * scale
    return bool((is_near | (np.isnan(before) & np.isnan(after))).all())


def _first(outputs: Any) -> str:
    """Show the summary of the first image."""
    if not (isinstance(outputs, list) and outputs and isinstance(outputs[0], list)):
        return "none"
    return ", ".join("not finite" if each is None else f"{each:.6g}" for each in outputs[0])


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Return facts about a model for the results; see `results.Results`."""
    own = [getattr(each, "preprocessing", None) for each in members_of(model)]
    preprocessing = [to_plain(each) if isinstance(each, Preprocessing) else None for each in own]
    return {
        "name": name_of(model),
        "num_classes": num_classes_of(model),
        "num_parameters": sum(values.numel() for values in model.parameters()),
        "weights_sha256": fingerprint(model),
        "preprocessing": preprocessing if len(preprocessing) > 1 else preprocessing[0],
        "adaptation": "",
    }


def fingerprint(model: nn.Module) -> str:
    """Compute the sha256 of a model: its own ``fingerprint`` if it has one, else its weights'."""
    try:
        own: Any = getattr(model, "fingerprint", None)
    except ValueError:  # an ensemble with a member that has none
        own = None
    return own if isinstance(own, str) else hash_weights(model)


def check_gradient(
    predictor: Predictor,
    images: Float32[np.ndarray, "batch channel height width"],
    key: CellKey,
    ids: Int64[np.ndarray, " batch"],
) -> None:
    """Refuse a model, or an ensemble with a member, whose gradient by a few images is none or 0."""
    predictor.logits(images, key, ids)
    for member in members_of(predictor.model):
        with predictor.computing(images.shape), torch.enable_grad():
            pixels = torch.from_numpy(images).to(predictor.device).requires_grad_()
            try:
                logits = member(pixels).float()
                # unequal weights: of logits that sum to a constant the plain sum has no gradient
                weights = torch.linspace(1, 2, logits.shape[1], device=logits.device)
                (gradient,) = torch.autograd.grad((logits * weights).sum(), pixels)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, RunError) as error:
                raise RunError(
                    f"{name_of(member)} gives no gradient of its logits by the images, which an "
                    f"attack follows ({first_line(error)}); measure it without suite 'attack', or "
                    "name the torch network behind it (NAME@FILE, timm:, torchvision:, hf:, "
                    "python:)"
                ) from error
        if not gradient.any():  # NaN counts as a gradient
            raise RunError(
                f"{name_of(member)} gives a gradient of 0 by every value of the {len(images)} "
                "images tried, as rounding or thresholds inside a model do: an attack would leave "
                "the images as they are, and the error would look robust; measure it without suite "
                "'attack'"
            )


@contextmanager
def repeatable_gradients() -> Iterator[None]:
    """Gradients of convolutions on CUDA have the same bits every time inside."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before

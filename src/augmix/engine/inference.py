"""Images -> logits: any model in evaluation mode on a device, its mistakes named.

A model here is any `nn.Module` that takes `batch channel height width` in [0, 1] and gives logits
`batch label`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import nn

from augmix.engine.spots import Spot
from augmix.models.ensembles import name_of, num_classes_of
from augmix.models.wrapped import hash_weights
from augmix.records import RunError

# What torch says of tensors on two devices.
_ELSEWHERE = ("same device", "expected device", "and weight type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is measured.

    Attributes:
        model: In evaluation mode on the device; see `ready`.
        device: Where it computes.
        precision: ``fp32``, or ``bf16`` by autocast.
        num_classes: Of the source; the model must give as many logits.
    """

    model: nn.Module
    device: torch.device
    precision: str
    num_classes: int

    def logits(
        self,
        images: Float32[np.ndarray, "batch channel height width"],
        spot: Spot,
        ids: Int64[np.ndarray, " batch"],
    ) -> Float64[np.ndarray, "batch label"]:
        """The logits of a batch, back on the CPU.

        Args:
            images: In [0, 1].
            spot: What is measured, for messages.
            ids: The images' numbers in the source, for messages.

        Raises:
            RunError: If they have another shape or are not finite, or the device cannot do it.
        """
        with self.computing(images.shape), torch.inference_mode():
            logits = self.model(torch.from_numpy(images).to(self.device))
        return self.checked(logits, spot, ids)

    def checked(
        self, logits: Any, spot: Spot, ids: Int64[np.ndarray, " batch"]
    ) -> Float64[np.ndarray, "batch label"]:
        """What the model gave for some images, back on the CPU; see `logits`."""
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if shape != (len(ids), self.num_classes):
            raise RunError(
                f"the model must give logits [batch, label] = ({len(ids)}, {self.num_classes}) "
                f"for this source of {self.num_classes} classes, got {shape}; was it trained on "
                "another data set? For a model of more classes name their list with --class-list"
            )
        wide = logits.detach().to("cpu").double().numpy()
        _check_finite(wide, spot, ids)
        return wide

    @contextmanager
    def computing(self, shape: tuple[int, ...]) -> Iterator[None]:
        """Inside, in the subject's precision; what the device cannot do is told in words.

        Args:
            shape: Of the images, `batch channel height width`.

        Raises:
            RunError: If the device has too little memory, or the model is not all on it.
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
                f"({str(error).splitlines()[0]}); keep its tensors as parameters or buffers, or "
                "measure on the device it needs with --device"
            ) from error


@contextmanager
def ready(model: nn.Module, device: torch.device) -> Iterator[None]:
    """On the device and in evaluation mode inside; every module's own mode is restored after."""
    modes = {module: module.training for module in model.modules()}
    model.to(device).eval()
    try:
        yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Facts about a model for the results; see `records.Results`."""
    return {
        "name": name_of(model),
        "num_classes": num_classes_of(model),
        "num_parameters": sum(values.numel() for values in model.parameters()),
        "weights_sha256": fingerprint(model),
        "adaptation": "",
    }


def fingerprint(model: nn.Module) -> str:
    """sha256 of what a model computes: its own word if it has one, else that of its weights."""
    try:
        own: Any = getattr(model, "fingerprint", None)
    except ValueError:  # an ensemble whose members do not know
        own = None
    return own if isinstance(own, str) else hash_weights(model)


def _check_finite(
    logits: Float64[np.ndarray, "batch label"], spot: Spot, ids: Int64[np.ndarray, " batch"]
) -> None:
    bad = ~np.isfinite(logits).all(axis=1)
    if bad.any():
        place = f"{spot[1]} at severity {spot[2]}" if spot[0] == "c" else f"{spot[1]} ({spot[0]})"
        raise RunError(
            f"the model's logits are not finite for {place}, first for image "
            f"{int(ids[bad.argmax()])}; check its weights, or measure with --precision fp32"
        )

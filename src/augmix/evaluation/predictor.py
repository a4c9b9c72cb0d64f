"""Logits of a model on a device, with or without an attack.

A model here is any `nn.Module` that takes `batch channel height width` in [0, 1] and gives logits
`batch label`.

The suite ``attack`` of an evaluation. What is drawn is where attacks start, by seed and image, so
it hangs neither on the batch nor on the number of processes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import nn

from augmix.errors import RunError, first_line
from augmix.methods.attacks import Attack, Norm, worst_logits
from augmix.models.ensemble import Ensemble, name_of, num_classes_of
from augmix.models.wrapper import hash_weights
from augmix.results import CellKey
from augmix.rng import Stream

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
        key: CellKey,
        ids: Int64[np.ndarray, " batch"],
    ) -> Float64[np.ndarray, "batch class"]:
        """The logits of a batch, back on the CPU.

        Args:
            images: In [0, 1].
            key: What is measured, for messages.
            ids: The images' numbers in the source, for messages.

        Raises:
            RunError: If they have another shape or are not finite, or the device cannot do it.
        """
        with self.computing(images.shape), torch.inference_mode():
            logits = self.model(torch.from_numpy(images).to(self.device))
        return self.checked(logits, key, ids)

    def checked(
        self, logits: Any, key: CellKey, ids: Int64[np.ndarray, " batch"]
    ) -> Float64[np.ndarray, "batch class"]:
        """What the model gave for some images, back on the CPU; see `logits`."""
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if shape != (len(ids), self.num_classes):
            raise RunError(
                f"the model must give logits [batch, label] = ({len(ids)}, {self.num_classes}) "
                f"for this source of {self.num_classes} classes, got {shape}; was it trained on "
                "another data set? For a model of more classes name their list with --class-list"
            )
        wide = logits.detach().to("cpu").double().numpy()
        _check_finite(wide, key, ids)
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
                f"({first_line(error)}); keep its tensors as parameters or buffers, or "
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
    logits: Float64[np.ndarray, "batch class"], key: CellKey, ids: Int64[np.ndarray, " batch"]
) -> None:
    bad = ~np.isfinite(logits).all(axis=1)
    if bad.any():
        has_severity = key[0] in ("c", "own")
        place = f"{key[1]} at severity {key[2]}" if has_severity else f"{key[1]} ({key[0]})"
        raise RunError(
            f"the model's logits are not finite for {place}, first for image "
            f"{int(ids[bad.argmax()])}; check its weights, or measure with --precision fp32"
        )


STEPS = 20  # the usual number when robust errors are reported; Madry et al. (2018) Table 2 has it
_MOST_RESTARTS = 1024  # parts of a stream

Pixels = Float32[np.ndarray, "batch channel height width"]
Ids = Int64[np.ndarray, " batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversary:
    """Who attacks the images.

    Attributes:
        attack: By which steps.
        num_restarts: Attacks on each image, each from its own start; one that succeeds counts.
        seed: Of the starts.
    """

    attack: Attack
    num_restarts: int
    seed: int

    @property
    def num_passes(self) -> int:
        """How often an image that resists is shown to the model."""
        return 1 + self.num_restarts * (self.attack.num_steps + 1)

    def describe(self) -> dict[str, Any]:
        """For the protocol: what of the settings was left to the usual is told as numbers."""
        return {
            "attack_norm": self.attack.norm,
            "attack_epsilon": self.attack.radius,
            "attack_steps": self.attack.num_steps,
            "attack_step_size": self.attack.step,
            "attack_restarts": self.num_restarts,
        }

    def worst_logits(
        self,
        subject: Subject,
        images: Pixels,
        labels: Int64[np.ndarray, " batch"],
        key: CellKey,
        ids: Ids,
    ) -> Float64[np.ndarray, "batch class"]:
        """The subject's worst answers to a batch; see `attacks.worst_logits`.

        Args:
            subject: Who is attacked; `check_gradient` has passed it.
            images: In [0, 1].
            labels: Their classes.
            key: What is measured, for messages.
            ids: The images' numbers in the source.

        Raises:
            RunError: If logits are not finite, or the device cannot do it.
        """
        with subject.computing(images.shape), _repeatable():
            logits = worst_logits(
                subject.model,
                torch.from_numpy(images).to(subject.device),
                torch.from_numpy(labels).to(subject.device),
                ids,
                attack=self.attack,
                stream=Stream(seed=self.seed),
                num_restarts=self.num_restarts,
            )
        return subject.checked(logits, key, ids)


def choose_adversary(
    suite: Sequence[str],
    *,
    norm: Norm,
    epsilon: float,
    num_steps: int,
    step_size: float,
    num_restarts: int,
    seed: int,
    is_adapted: bool,
) -> Adversary | None:
    """Who attacks in these suites; None if nobody does.

    Args:
        suite: Of the evaluation.
        norm: As in `attacks.Attack`.
        epsilon: Likewise.
        num_steps: Likewise.
        step_size: Likewise.
        num_restarts: Attacks on each image, 1..1024.
        seed: Of the starts.
        is_adapted: Whether batch-norm layers adapt to each batch.

    Raises:
        ValueError: If a setting is out of range, would do nothing, or does not go with another.
    """
    given = {
        "attack_norm": (norm, "linf"),
        "attack_epsilon": (epsilon, 0.0),
        "attack_steps": (num_steps, STEPS),
        "attack_step_size": (step_size, 0.0),
        "attack_restarts": (num_restarts, 1),
    }
    attack = Attack(
        norm=norm, epsilon=epsilon or None, num_steps=num_steps, step_size=step_size or None
    )
    if not 1 <= num_restarts <= _MOST_RESTARTS:
        raise ValueError(f"attack_restarts must be 1..{_MOST_RESTARTS}, got {num_restarts}")
    if "attack" not in suite:
        for name, (value, default) in given.items():
            if value != default:
                raise ValueError(
                    f"{name} {value!r} would do nothing: it belongs to suite 'attack', suites "
                    f"asked for: {', '.join(suite)}"
                )
        return None
    if is_adapted:
        raise ValueError(
            "suite 'attack' does not go with adapt_batch_norm: what an adapted model says of an "
            "image hangs on its batch, so no single image resists; measure one without the other"
        )
    return Adversary(attack=attack, num_restarts=num_restarts, seed=seed)


def check_gradient(subject: Subject, images: Pixels, key: CellKey, ids: Ids) -> None:
    """Refuse a model whose logits have no gradient by the images, or one of 0 everywhere.

    Of an ensemble, any member is refused.

    Args:
        subject: Who shall be attacked, on its device.
        images: A few, in [0, 1].
        key: What is measured, for messages.
        ids: The images' numbers in the source, for messages.

    Raises:
        RunError: If there is none, it is 0, or the model does not fit the images at all.
    """
    subject.logits(images, key, ids)
    for part in _parts(subject.model):
        with subject.computing(images.shape), torch.enable_grad():
            pixels = torch.from_numpy(images).to(subject.device).requires_grad_()
            try:
                logits = part(pixels).float()
                # unequal shares: of logits that sum to a constant the plain sum has no gradient
                shares = torch.linspace(1, 2, logits.shape[1], device=logits.device)
                (gradient,) = torch.autograd.grad((logits * shares).sum(), pixels)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, RunError) as error:
                reason = str(error).strip().split("\n", 1)[0]
                raise RunError(
                    f"{name_of(part)} gives no gradient of its logits by the images, which an "
                    f"attack goes up ({reason}); measure it without suite 'attack', or name the "
                    "torch network behind it (NAME@FILE, timm:, torchvision:, hf:, python:)"
                ) from error
        if not gradient.any():  # also where it is NaN it is something
            raise RunError(
                f"{name_of(part)} gives a gradient of 0 by every value of the {len(images)} images "
                "tried, as rounding or thresholds inside a model do: an attack would leave the "
                "images as they are, and the error would look robust; measure it without suite "
                "'attack'"
            )


def _parts(model: nn.Module) -> list[nn.Module]:
    """The members of an ensemble, whatever is around it; else the model itself."""
    for module in model.modules():
        if isinstance(module, Ensemble):
            return list(module.members)
    return [model]


@contextmanager
def _repeatable() -> Iterator[None]:
    """Gradients of convolutions on CUDA come out the same every time inside."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before

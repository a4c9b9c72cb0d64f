"""Wrap any network as a model: float images in [0, 1] in, checked logits out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from augmix.errors import RunError
from augmix.models.layers import Images, Logits, Normalize
from augmix.models.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """The options of `open_model`; see there."""

    preprocessing: Preprocessing | None = None
    num_classes: int | None = None
    pretrained: bool = True
    test_input_size: bool = False


class OpenedModel(nn.Module):
    """A model as `open_model` returns it; all but ``hint`` are its attributes too.

    Args:
        network: Takes normalised images `batch channel height width`, gives logits `batch class`.
        name: Its name in results, e.g. ``timm:resnet50.a1_in1k``.
        fingerprint: Sha256 of the weights (the default), of the file, or of the code if there are
            no weights.
        num_classes: Logits per image; None until the first batch for models that do not say.
        class_names: None if they are unknown.
        preprocessing: How its images are prepared; range, mean and std become the first layer. None
            takes images as the source stores them, in [0, 1].
        hint: What the user can do when the network fails, for the message.
        note: What the user should know about the choices made, or empty.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        fingerprint: str | None = None,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        hint: str = "its preprocessing must fit the images (--preprocessing, --crop)",
        note: str = "",
    ) -> None:
        super().__init__()
        self.name = name
        self.num_classes = num_classes
        self.class_names = None if class_names is None else tuple(class_names)
        self.preprocessing = preprocessing
        self._fingerprint = fingerprint
        self.normalization = build_normalization(preprocessing) if preprocessing else nn.Identity()
        self.network = network
        self.note = note
        self._hint = hint

    @property
    def fingerprint(self) -> str:
        """Sha256 of the weights as they are now, or of the file or code if there are none."""
        return self._fingerprint or hash_weights(self.network)

    def forward(self, images: Images) -> Logits:
        """Compute the logits of images in [0, 1].

        Raises:
            RunError: If the network fails, or does not give as many logits per image as before.
        """
        normalised = self.normalization(images)
        try:
            logits: Any = self.network(normalised)
        except (RunError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise RunError(
                f"{self.name} failed on images of shape {tuple(images.shape)}: "
                f"{type(error).__name__}: {error}; {self._hint}"
            ) from error
        count, is_tensor = len(images), isinstance(logits, Tensor)
        is_matrix = is_tensor and logits.ndim == 2 and logits.is_floating_point()
        if not is_matrix or len(logits) != count:
            shape = f"{logits.dtype} of shape {tuple(logits.shape)}" if is_tensor else ""
            got = shape or type(logits).__name__
            raise RunError(
                f"{self.name} must give float logits [batch class] with {count} rows "
                f"for {count} images, got {got}"
            )
        if self.num_classes is None:
            self.num_classes = logits.shape[1]
        if logits.shape[1] != self.num_classes:
            raise RunError(
                f"{self.name} must give {self.num_classes} logits per image, got {logits.shape[1]}"
            )
        return logits


class Restricted(nn.Module):
    """Restrict a model to some of its classes, for images of a subset of them.

    A prediction is the best of those classes, and probabilities sum to 1 over them alone. Such
    accuracies are higher than those over all classes and must not be compared with them. It has
    the attributes of an `OpenedModel`; the fingerprint depends on the columns too.

    Args:
        model: A model of `open_model`, or an `Ensemble` of them.
        columns: Indices of its logits in the order wanted, e.g. from `data.classes.match_classes`.
    """

    columns: Tensor

    def __init__(self, model: nn.Module, columns: Int64[np.ndarray, " class"]) -> None:
        super().__init__()
        whole: Any = model
        names: Any = getattr(model, "class_names", None)
        self.model = model
        self.name = f"{whole.name}, {len(columns)} classes"
        self.num_classes = len(columns)
        self.class_names = None
        if names is not None and int(columns.max()) < len(names):
            self.class_names = tuple(names[column] for column in columns)
        self.preprocessing = whole.preprocessing
        self.register_buffer("columns", torch.from_numpy(columns), persistent=False)

    @property
    def fingerprint(self) -> str:
        """Sha256 of the model's fingerprint and of the columns."""
        whole: Any = self.model
        digest = hashlib.sha256(whole.fingerprint.encode())
        digest.update(self.columns.cpu().numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def forward(self, images: Images) -> Logits:
        """Compute the logits of the classes kept.

        Raises:
            RunError: If the model has fewer classes than the class list says.
        """
        logits = self.model(images)
        last = int(self.columns.max())
        if last >= logits.shape[1]:
            raise RunError(
                f"{self.name}: the class list goes up to class {last}, but the model gives "
                f"{logits.shape[1]} logits; is it the list of this model?"
            )
        return logits[:, self.columns]


class _ReverseChannels(nn.Module):
    """RGB to BGR."""

    def forward(self, images: Images) -> Images:
        return images.flip(1)


def build_normalization(preprocessing: Preprocessing) -> nn.Module:
    """Build the layer that applies range, mean, std and order of channels to images in [0, 1]."""
    low, high = preprocessing.input_range
    mean = [(value - low) / (high - low) for value in preprocessing.mean]
    std = [value / (high - low) for value in preprocessing.std]
    layer = Normalize(mean, std, is_shared=True)
    return nn.Sequential(_ReverseChannels(), layer) if preprocessing.is_bgr else layer


def hash_weights(model: nn.Module) -> str:
    """Compute the sha256 of the names, types, shapes and values of a model's state."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

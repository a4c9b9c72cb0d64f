"""Any network behind one face: float images in [0, 1] go in, checked logits come out."""

import hashlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from augmix.errors import RunError
from augmix.models.preprocessing import Photometry, Preprocessing


class Subject(nn.Module):
    """A model that is measured.

    Attributes:
        name: What it is called in results, e.g. ``timm:resnet50.a1_in1k``.
        num_classes: Logits it gives; None until the first batch for models that do not say.
        preprocessing: What it wants done to a photograph, or None where nothing is stated: the
            network takes images as the source stores them, in [0, 1].
        fingerprint: Sha256 of the weights, of the file, or of the code where there are none.
        network: What is wrapped.

    Args:
        network: Takes normalised images `batch channel height width`, gives logits `batch label`.
        name: See above.
        fingerprint: See above; empty for the hash of the network's weights.
        num_classes: See above.
        preprocessing: See above; its photometric part becomes the first layer.
        hint: A way out, added to the message when the network fails.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        fingerprint: str = "",
        num_classes: int | None = None,
        preprocessing: Preprocessing | None = None,
        hint: str = "its preprocessing must fit the images (--preprocessing, --crop)",
    ) -> None:
        super().__init__()
        self.name = name
        self.num_classes = num_classes
        self.preprocessing = preprocessing
        self.fingerprint = fingerprint or hash_weights(network)
        self.photometry = nn.Identity() if preprocessing is None else Photometry(preprocessing)
        self.network = network
        self._hint = hint

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch label"]:
        """Logits of images in [0, 1].

        Raises:
            RunError: If the network fails on them, or gives anything but one row of logits an
                image, as many as before.
        """
        normalised = self.photometry(images)
        try:
            logits: Any = self.network(normalised)
        except (RunError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise RunError(
                f"{self.name} failed on images of shape {tuple(images.shape)}: "
                f"{type(error).__name__}: {error}; {self._hint}"
            ) from error
        return self._check(logits, len(images))

    def _check(self, logits: Any, num_images: int) -> Tensor:
        is_rows = isinstance(logits, Tensor) and logits.ndim == 2
        if not is_rows or len(logits) != num_images or not logits.is_floating_point():
            got = (
                f"{logits.dtype} of shape {tuple(logits.shape)}"
                if isinstance(logits, Tensor)
                else type(logits).__name__
            )
            raise RunError(
                f"{self.name} must give float logits [batch, label] with {num_images} rows "
                f"for {num_images} images, got {got}"
            )
        if self.num_classes is None:
            self.num_classes = logits.shape[1]
        if logits.shape[1] != self.num_classes:
            raise RunError(
                f"{self.name} must give {self.num_classes} logits an image, got {logits.shape[1]}"
            )
        return logits


class Restricted(nn.Module):
    """A model cut down to some of its classes: for images that are of a subset of them.

    A prediction is then the best of those classes, and probabilities are shared among them alone:
    higher accuracies than over all classes, and not to be compared with them.

    Attributes:
        name: Of the model, and how many of its classes are left.
        num_classes: As many as columns.
        preprocessing: Of the model.
        fingerprint: Sha256 of the model's fingerprint and the columns.
        columns: What is kept, `label`.

    Args:
        model: With a fingerprint, as `subjects.open_subject` or `ensembles.Ensemble` gives.
        columns: Indices of its logits in the order wanted, as `data.classlists.match_classes`
            gives them.
    """

    columns: Tensor

    def __init__(self, model: nn.Module, columns: Int64[np.ndarray, " label"]) -> None:
        super().__init__()
        whole: Any = model
        self.model = model
        self.name = f"{whole.name}, {len(columns)} classes"
        self.num_classes = len(columns)
        self.preprocessing = whole.preprocessing
        digest = hashlib.sha256(whole.fingerprint.encode())
        digest.update(columns.astype("<i8").tobytes())
        self.fingerprint = digest.hexdigest()
        self.register_buffer("columns", torch.from_numpy(columns), persistent=False)

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch label"]:
        """Logits of the classes kept.

        Raises:
            RunError: If the model has fewer classes than the listing says.
        """
        logits = self.model(images)
        last = int(self.columns.max())
        if last >= logits.shape[1]:
            raise RunError(
                f"{self.name}: the class list goes up to class {last}, but the model gives "
                f"{logits.shape[1]} logits; is it the list of this model?"
            )
        return logits[:, self.columns]


def hash_weights(model: nn.Module) -> str:
    """Sha256 of the names, types, shapes and values of a model's state."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

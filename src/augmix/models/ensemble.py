"""Several models as one: the mean of their probabilities."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Ensemble(nn.Module):
    """Averages the softmax probabilities of its members (a deep ensemble, if seeds differ).

    What it gives are the logarithms of the mean probabilities, which stand in for logits
    everywhere: their softmax is the mean itself.

    Attributes:
        members: The models, in order.
        name: ``ensemble of 3``, followed by the members' names.
        num_classes: Of every member; None while none of them knows.
        preprocessing: The members' geometry if they state one, else None.

    Args:
        members: At least one model from images in [0, 1] to logits.

    Raises:
        ValueError: If there is no member, or they differ in classes or in image geometry.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one member, got none")
        self.members = nn.ModuleList(members)
        self.num_classes: int | None = _agree(
            members, {name_of(each): num_classes_of(each) for each in members}
        )
        self.preprocessing = _shared_preprocessing(members)
        self.name = f"ensemble of {len(members)}: {', '.join(map(name_of, members))}"

    @property
    def fingerprint(self) -> str:
        """Sha256 of the members' fingerprints, in order.

        Raises:
            ValueError: If a member has none (models of `open_subject` do).
        """
        hasher = hashlib.sha256()
        for member in self.members:
            own: Any = getattr(member, "fingerprint", None)
            if own is None:
                raise ValueError(f"member {name_of(member)} has no fingerprint; open it by spec")
            hasher.update(f"{own}\n".encode())
        return hasher.hexdigest()

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch label"]:
        """Logarithms of the mean probabilities, float32; finite wherever the logits are.

        Raises:
            ValueError: If members give different numbers of classes.
        """
        return average([member(images) for member in self.members])


def average(logits: Sequence[Float[Tensor, "batch label"]]) -> Float[Tensor, "batch label"]:
    """The logarithm of the mean of the softmax probabilities of several models.

    Args:
        logits: One tensor a member.

    Raises:
        ValueError: If their shapes differ.

    Example:
        >>> average([torch.tensor([[0.0, 0.0]]), torch.tensor([[100.0, 0.0]])]).exp()
        tensor([[0.7500, 0.2500]])
    """
    shapes = [tuple(each.shape) for each in logits]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"the members of an ensemble must give logits of one shape, got {shapes}; "
            "were they trained on the same classes?"
        )
    wide = torch.float32 if logits[0].device.type == "mps" else torch.float64
    stacked = torch.stack([F.log_softmax(each.to(wide), dim=1) for each in logits])  # member
    mean = torch.logsumexp(stacked, dim=0) - math.log(len(logits))  # batch label
    return mean.clamp(min=torch.finfo(torch.float32).min).float()


def name_of(model: nn.Module) -> str:
    """What a model is called: its own name, its configuration's, or its class."""
    config = getattr(model, "config", None)
    own: Any = getattr(model, "name", None) or getattr(config, "name", None)
    return own if isinstance(own, str) else type(model).__name__


def num_classes_of(model: nn.Module) -> int | None:
    """Logits a model gives, if it says so."""
    config = getattr(model, "config", None)
    own: Any = getattr(model, "num_classes", None) or getattr(config, "num_classes", None)
    return own if isinstance(own, int) else None


def _agree(members: Sequence[nn.Module], counts: dict[str, int | None]) -> int | None:
    known = {num_classes_of(each) for each in members} - {None}
    if len(known) > 1:
        told = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
        raise ValueError(f"the members of an ensemble must have the same classes, got {told}")
    return known.pop() if known else None


def _shared_preprocessing(members: Sequence[nn.Module]) -> Any:
    """The first member's preprocessing, once all geometries are known to be equal."""
    stated = [getattr(each, "preprocessing", None) for each in members]
    geometries = [each.geometry for each in stated if each is not None]
    if any(geometry != geometries[0] for geometry in geometries):
        raise ValueError(
            "the members of an ensemble see the same images, but state different geometry: "
            f"{geometries}; open them with one preprocessing"
        )
    return next((each for each in stated if each is not None), None)

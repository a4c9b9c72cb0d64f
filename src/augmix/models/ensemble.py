"""Combine several models into one: the mean of their probabilities."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from augmix.models.layers import Images, Logits


class Ensemble(nn.Module):
    """Average the softmax probabilities of several models (a deep ensemble, if seeds differ).

    Its logits are the logarithms of the mean probabilities, whose softmax is the mean itself.
    ``num_classes``, ``class_names`` and ``preprocessing`` are those of the first member that has
    them, else None.

    Args:
        members: At least one model that maps images in [0, 1] to logits.

    Raises:
        ValueError: If there is no member, or they differ in classes or in image geometry.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one member, got none")
        self.members = nn.ModuleList(members)
        counts = {name_of(each): num_classes_of(each) for each in members}
        known = {num_classes_of(each) for each in members} - {None}
        if len(known) > 1:
            shown = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
            raise ValueError(f"the members of an ensemble must have the same classes, got {shown}")
        self.num_classes = known.pop() if known else None
        self.class_names = next(_known(members, "class_names"), None)
        geometries = [each.geometry for each in _known(members, "preprocessing")]
        if any(geometry != geometries[0] for geometry in geometries):
            raise ValueError(
                "the members of an ensemble get the same images, but ask for different geometries: "
                f"{geometries}; open them with one preprocessing"
            )
        self.preprocessing = next(_known(members, "preprocessing"), None)
        self.name = f"ensemble of {len(members)}: {', '.join(map(name_of, members))}"

    @property
    def fingerprint(self) -> str:
        """Sha256 of the members' fingerprints, in order.

        Raises:
            ValueError: If a member has none (models of `open_model` have one).
        """
        hasher = hashlib.sha256()
        for member in self.members:
            own: Any = getattr(member, "fingerprint", None)
            if own is None:
                raise ValueError(
                    f"member {name_of(member)} has no fingerprint; open it with open_model"
                )
            hasher.update(f"{own}\n".encode())
        return hasher.hexdigest()

    def forward(self, images: Images) -> Logits:
        """Compute the logarithms of the mean probabilities as float32, finite like the logits."""
        return average([member(images) for member in self.members])


def average(logits: Sequence[Logits]) -> Logits:
    """Compute the logarithm of the mean of the softmax probabilities of several models.

    Raises:
        ValueError: If the shapes of their logits differ.

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
    mean = torch.logsumexp(stacked, dim=0) - math.log(len(logits))  # batch class
    return mean.clamp(min=torch.finfo(torch.float32).min).float()


def members_of(model: nn.Module) -> list[nn.Module]:
    """Return the members of an ensemble, even of a wrapped one; else the model itself."""
    for module in model.modules():
        if isinstance(module, Ensemble):
            return list(module.members)
    return [model]


def name_of(model: nn.Module) -> str:
    """Return a model's name: its own, its configuration's, or that of its class."""
    own = _stated(model, "name")
    return own if isinstance(own, str) else type(model).__name__


def num_classes_of(model: nn.Module) -> int | None:
    """Return the number of logits a model gives, if it says so."""
    own = _stated(model, "num_classes")
    return own if isinstance(own, int) else None


def _stated(model: nn.Module, name: str) -> Any:
    return getattr(model, name, None) or getattr(getattr(model, "config", None), name, None)


def _known(members: Sequence[nn.Module], name: str) -> Iterator[Any]:
    """Yield an attribute of the members that have it."""
    return filter(None, (getattr(each, name, None) for each in members))

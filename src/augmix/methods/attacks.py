"""Projected gradient descent: the worst image within a small distance, by the model's gradient.

Madry et al. (2018). The steps go up the loss and back into the ball around the image and into
[0, 1]. Where an attack starts is drawn by address, so the same seed and image start at the same
place. Adversarial training (`objectives.Adversarial`) and the robust error (suite ``attack`` of
`engine.evaluate`) use the same steps.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.rng import Purpose, Stream

Norm = Literal["linf", "l2"]
_EPSILONS = {"linf": 8 / 255, "l2": 0.5}  # the usual radius on CIFAR
_STEPS_IN_RADIUS = 4  # the usual step is this part of the radius: 2/255 of 8/255
_TINY = 1e-12

Images = Float[Tensor, "batch channel height width"]
Targets = Integer[Tensor, " batch"] | Float[Tensor, "batch label"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """How an image is attacked.

    Attributes:
        norm: ``linf`` bounds every value's change, ``l2`` the Euclidean length of all changes.
        epsilon: Radius of the ball, in [0, 1] units; 0 takes the usual one (8/255, or 0.5).
        num_steps: Gradient steps, at least 1.
        step_size: Length of a step in the norm; 0 takes a quarter of the radius.
    """

    norm: Norm = "linf"
    epsilon: float = 0.0
    num_steps: int = 10
    step_size: float = 0.0

    def __post_init__(self) -> None:
        if self.norm not in _EPSILONS:
            raise ValueError(f"norm must be 'linf' or 'l2', got {self.norm!r}")
        for name in ("epsilon", "step_size"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(
                    f"{name} must be a finite number above 0 (0: the usual), got {value}"
                )
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.num_steps}")

    @property
    def radius(self) -> float:
        """Radius of the ball."""
        return self.epsilon or _EPSILONS[self.norm]

    @property
    def step(self) -> float:
        """Length of a step."""
        return self.step_size or self.radius / _STEPS_IN_RADIUS


def pgd(
    model: nn.Module,
    images: Images,
    targets: Targets,
    *,
    norm: Norm = "linf",
    epsilon: float = 8 / 255,
    num_steps: int = 10,
    step_size: float = 2 / 255,
    start: Images | None = None,
) -> Images:
    """Images near the given ones on which the model's loss is high.

    The model is used in the mode it is in; the gradients of its parameters are left alone.

    Args:
        model: Gives logits for images in [0, 1].
        images: In [0, 1].
        targets: Class ids, or rows of class probabilities.
        norm: ``linf`` or ``l2``.
        epsilon: Radius of the ball, above 0, in [0, 1] units.
        num_steps: Gradient steps.
        step_size: Length of a step in the norm.
        start: Where to begin, e.g. `random_start`; the images themselves if not given.

    Returns:
        Detached images in [0, 1], within epsilon of the given ones.

    Raises:
        ValueError: If a number is out of range.
    """
    attack = Attack(norm=norm, epsilon=epsilon, num_steps=num_steps, step_size=step_size)
    # a model among processes must not take the attack's passes for those of a step
    quiet = getattr(model, "no_sync", nullcontext)
    with quiet(), torch.inference_mode(False), torch.enable_grad():
        clean = images.detach().clone()
        found = clean if start is None else _project(start.detach().clone(), clean, attack)
        for _ in range(attack.num_steps):
            found = found.detach().requires_grad_()
            loss = F.cross_entropy(_as_float(model(found)), targets, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, found)
            found = _project(
                found.detach() + attack.step * _direction(gradient, norm), clean, attack
            )
    return found.detach()


def random_start(
    images: Images,
    ids: Integer[np.ndarray, " batch"],
    *,
    epsilon: float,
    stream: Stream,
) -> Images:
    """The images with uniform noise in [-epsilon, epsilon], clipped to [0, 1], drawn by address.

    It is the noise that `policies.RandomStart` plans. `pgd` brings it into an l2 ball.

    Args:
        images: In [0, 1].
        ids: Which images they are.
        epsilon: Largest noise.
        stream: Where in the run; another ``part`` is another start.
    """
    batch, channels, height, width = images.shape
    count = 4 * height * width  # a Philox block of four numbers for each pixel
    drawn = stream.at(Purpose.ATTACK).uniforms_torch(ids, count=count, device=images.device)[0]
    amplitude = float(np.float32(epsilon))  # as a plan keeps it
    noise = amplitude * (2 * drawn - 1).reshape(batch, height, width, 4)[..., :channels]
    return (images + noise.permute(0, 3, 1, 2).float()).clamp(0, 1)


def resists(
    model: nn.Module,
    images: Images,
    labels: Integer[Tensor, " batch"],
    ids: Integer[np.ndarray, " batch"],
    *,
    attack: Attack,
    stream: Stream,
    num_restarts: int = 1,
) -> Bool[Tensor, " batch"]:
    """Whether the model is right about an image and about every attacked form of it.

    The robust error of a set is 1 - the mean of this over its images. Put the model into
    evaluation mode first.

    Args:
        model: Gives logits for images in [0, 1].
        images: In [0, 1].
        labels: Class ids.
        ids: Which images they are; they address the starts.
        attack: How they are attacked.
        stream: Where in the run the starts are drawn.
        num_restarts: Attacks on each image, from different starts.
    """
    logits = worst_logits(
        model, images, labels, ids, attack=attack, stream=stream, num_restarts=num_restarts
    )
    return logits.argmax(dim=1) == labels


def worst_logits(
    model: nn.Module,
    images: Images,
    labels: Integer[Tensor, " batch"],
    ids: Integer[np.ndarray, " batch"],
    *,
    attack: Attack,
    stream: Stream,
    num_restarts: int = 1,
) -> Float[Tensor, "batch label"]:
    """What the model says of every image or of an attacked form of it, whichever is worst.

    An image is attacked from one start after another until the model is wrong about it: that
    answer is given, for an image that the model is wrong about without any attack its first one.
    Of an image that resists it is the answer of the highest loss. Arguments as for `resists`.
    """
    with torch.inference_mode(False), torch.no_grad():
        worst = _as_float(model(images)).clone()
        for restart in range(num_restarts):
            (rows,) = (worst.argmax(dim=1) == labels).nonzero(as_tuple=True)
            if not len(rows):
                break
            clean, targets, own = images[rows], labels[rows], ids[rows.cpu().numpy()]
            place = stream.at(part=restart)
            found = pgd(
                model,
                clean,
                targets,
                norm=attack.norm,
                epsilon=attack.radius,
                num_steps=attack.num_steps,
                step_size=attack.step,
                start=random_start(clean, own, epsilon=attack.radius, stream=place),
            )
            answers = _as_float(model(found))
            is_harmless = (answers.argmax(dim=1) == targets) & (
                _losses(answers, targets) <= _losses(worst[rows], targets)
            )  # so NaN is kept and can be told
            worst[rows] = torch.where(is_harmless[:, None], worst[rows], answers)
    return worst


def _losses(
    logits: Float[Tensor, "batch label"], labels: Integer[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Cross-entropy of every image."""
    return F.cross_entropy(logits, labels, reduction="none")


def _as_float(logits: Float[Tensor, "batch label"]) -> Float[Tensor, "batch label"]:
    """Logits of half precision as float32; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _direction(gradient: Images, norm: Norm) -> Images:
    """The step of length 1 in the norm that raises the loss fastest."""
    if norm == "linf":
        return gradient.sign()
    return gradient / _lengths(gradient).clamp(min=_TINY)


def _project(found: Images, clean: Images, attack: Attack) -> Images:
    """The nearest images within the ball and in [0, 1]."""
    if attack.norm == "linf":
        near = torch.minimum(torch.maximum(found, clean - attack.radius), clean + attack.radius)
    else:
        change = found - clean
        near = clean + change * (attack.radius / _lengths(change).clamp(min=_TINY)).clamp(max=1)
    return near.clamp(0, 1)


def _lengths(images: Images) -> Float[Tensor, "batch 1 1 1"]:
    """Euclidean length of every image."""
    return images.flatten(1).norm(dim=1)[:, None, None, None]

"""Projected gradient descent: the worst image within a small distance, by the model's gradient.

Madry et al. (2018). Each step follows the gradient of the loss and is projected back into the ball
around the image and into [0, 1]. The start of an attack is drawn by address, so the same seed and
image start at the same point. Adversarial training (`losses.Adversarial`) and the robust error
(suite ``attack`` of `augmix.evaluate`) use the same steps.
"""

from contextlib import nullcontext

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.methods.adversarial import Attack, Norm
from augmix.rng import Purpose, Stream

_TINY = 1e-12

Images = Float[Tensor, "batch channel height width"]
Targets = Integer[Tensor, " batch"] | Float[Tensor, "batch class"]


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
    """Search near images for ones on which the model's loss is high.

    The model is used in the mode it is in; the gradients of its parameters are left alone.

    Args:
        model: Gives logits for images in [0, 1].
        images: In [0, 1].
        targets: Class ids, or class probabilities of each image.
        epsilon: Radius of the ball, above 0, in [0, 1] units.
        step_size: Length of a step in the norm.
        start: Where to begin, e.g. `random_start`; the images themselves if not given.

    Returns:
        Detached images in [0, 1], within epsilon of the given ones.

    Raises:
        ValueError: If a number is out of range.
    """
    attack = Attack(norm=norm, epsilon=epsilon, num_steps=num_steps, step_size=step_size)
    return attack_images(model, images, targets, attack, start)


def attack_images(
    model: nn.Module, images: Images, targets: Targets, attack: Attack, start: Images | None
) -> Images:
    """Attack images as `pgd` does."""
    # DistributedDataParallel must not exchange gradients during the attack
    no_sync = getattr(model, "no_sync", nullcontext)
    with no_sync(), torch.inference_mode(False), torch.enable_grad():
        clean = images.detach().clone()
        found = clean if start is None else _project(start.detach().clone(), clean, attack)
        for _ in range(attack.num_steps):
            found = found.detach().requires_grad_()
            loss = F.cross_entropy(_as_float(model(found)), targets, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, found)
            if attack.norm == "linf":
                direction = gradient.sign()
            else:
                direction = gradient / _lengths(gradient).clamp(min=_TINY)
            found = _project(found.detach() + attack.step * direction, clean, attack)
    return found.detach()


def attack_mixture(
    model: nn.Module,
    images: Images,
    chains: Float[Tensor, "chain batch channel height width"],
    targets: Targets,
    *,
    num_steps: int,
    step_size: float,
) -> Images:
    """Search the mixture of an image and its chains on which the model's loss is high.

    Wang et al. (2021): a mixture is ``(1 - m) image + m sum_i w_i chain_i`` with w the softmax of
    logits q. m starts uniform in [0, 1] and q normal, drawn from torch's generator; each step moves
    both by the sign of the gradient, m within [0, 1]. An image whose mixture was misclassified
    takes one more step and stops (friendly adversarial training, Zhang et al. 2020).

    Args:
        model: Gives logits for images in [0, 1]; used in the mode it is in.
        targets: Class ids, or class probabilities of each image.
        num_steps: Steps at most, at least 1.
        step_size: Length of a step of m and q.

    Returns:
        Detached images in [0, 1].
    """
    labels = targets.argmax(dim=1) if targets.is_floating_point() else targets.long()
    count, batch = chains.shape[:2]
    fraction = torch.rand(batch, device=images.device)
    scores = torch.randn(count, batch, device=images.device)
    stopped = torch.zeros(batch, dtype=torch.bool, device=images.device)

    def mix(fraction: Tensor, scores: Tensor) -> Tensor:
        wide = (-1, 1, 1, 1)
        weights = scores.softmax(dim=0).reshape(count, *(batch, 1, 1, 1))
        mixture = (weights * chains).sum(dim=0)
        return (1 - fraction.reshape(wide)) * images + fraction.reshape(wide) * mixture

    no_sync = getattr(model, "no_sync", nullcontext)
    with no_sync(), torch.inference_mode(False), torch.enable_grad():
        for _ in range(num_steps):
            fraction, scores = fraction.detach().requires_grad_(), scores.detach().requires_grad_()
            logits = _as_float(model(mix(fraction, scores).clamp(0, 1)))
            loss = F.cross_entropy(logits, labels, reduction="sum")
            steps = torch.autograd.grad(loss, (fraction, scores))
            moves = step_size * ~stopped
            fraction = (fraction.detach() + moves * steps[0].sign()).clamp(0, 1)
            scores = scores.detach() + moves * steps[1].sign()
            stopped = stopped | (logits.argmax(dim=1) != labels)
    return mix(fraction, scores).clamp(0, 1).detach()


def random_start(
    images: Images, ids: Integer[np.ndarray, " batch"], *, epsilon: float, stream: Stream
) -> Images:
    """Add uniform noise in [-epsilon, epsilon], drawn by address, and clip to [0, 1].

    It is the noise that `policies.RandomStart` plans. `pgd` projects it into an l2 ball. Its
    address is ``ids``, dataset indices of the images, and ``stream``; another ``part`` is another
    start.
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
    """Whether the model classifies an image and every attacked form of it correctly.

    The robust error of a set is 1 - the mean of this over its images. Call ``model.eval()`` first.
    Arguments as for `worst_logits`.
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
) -> Float[Tensor, "batch class"]:
    """The model's logits for every image or for an attacked form of it, whichever is worst.

    An image is attacked from one start after another until it is misclassified, and those logits
    are returned; an image that is misclassified without an attack keeps its clean logits. For an
    image that resists, the logits of the highest loss are returned.

    Args:
        model: Gives logits for images in [0, 1].
        images: In [0, 1].
        labels: Class ids.
        ids: Dataset indices of the images; they address the starts.
        attack: Norm, radius and steps.
        stream: Address of the starts.
        num_restarts: Attacks on each image, from different starts.
    """
    with torch.inference_mode(False), torch.no_grad():
        worst = _as_float(model(images)).clone()
        for restart in range(num_restarts):
            (indices,) = (worst.argmax(dim=1) == labels).nonzero(as_tuple=True)
            if not len(indices):
                break
            clean, targets = images[indices], labels[indices]
            own_ids, own_stream = ids[indices.cpu().numpy()], stream.at(part=restart)
            start = random_start(clean, own_ids, epsilon=attack.radius, stream=own_stream)
            attacked = _as_float(model(attack_images(model, clean, targets, attack, start)))
            loss, before = (
                F.cross_entropy(logits, targets, reduction="none")
                for logits in (attacked, worst[indices])
            )
            # NaN compares false, so it is kept
            is_harmless = (attacked.argmax(dim=1) == targets) & (loss <= before)
            worst[indices] = torch.where(is_harmless[:, None], worst[indices], attacked)
    return worst


def _as_float(logits: Float[Tensor, "batch class"]) -> Float[Tensor, "batch class"]:
    """Logits of half precision as float32; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _project(found: Images, clean: Images, attack: Attack) -> Images:
    """The nearest images within the ball and in [0, 1]."""
    if attack.norm == "linf":
        near = torch.minimum(torch.maximum(found, clean - attack.radius), clean + attack.radius)
    else:
        change = found - clean
        near = clean + change * (attack.radius / _lengths(change).clamp(min=_TINY)).clamp(max=1)
    return near.clamp(0, 1)


def _lengths(images: Images) -> Float[Tensor, "batch 1 1 1"]:
    return images.flatten(1).norm(dim=1)[:, None, None, None]

"""Objectives: from a model, views and targets to a loss.

An objective is called as ``objective(model, views, targets)`` and returns a `Loss`. Those here are
frozen dataclasses that pass all views through the model at once, so that batch norm normalises over
every view. Losses are computed in float32 whatever the precision of the logits (float64 stays).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.errors import RunError
from augmix.methods.adversarial import Attack
from augmix.methods.attacks import Targets, attack_images, attack_mixture
from augmix.methods.registry import check_loss_options
from augmix.models.batch_norm import second_set
from augmix.models.depth import find_stages

Views = Float[Tensor, "view batch channel height width"]
LOWEST_MIXTURE = 1e-7  # the mixture of the views' probabilities is kept above this (released code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The loss of a batch."""

    total: Float[Tensor, ""]  # to be minimised; carries the gradient
    terms: dict[str, Tensor]  # its parts by name, detached; the objective says how they add up
    logits: Float[Tensor, "batch class"]  # of the first view's images, detached


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy:
    """Mean cross-entropy of a single view; term ``cross_entropy``."""

    label_smoothing: float = 0.0
    """Fraction of the target spread evenly over all classes, in [0, 1)."""

    def __post_init__(self) -> None:
        check_loss_options(label_smoothing=self.label_smoothing)

    def __call__(self, model: nn.Module, views: Views, targets: Targets) -> Loss:
        """The loss of a batch of a single view; see `Consistency.__call__`."""
        if _count_views(views) != 1:
            raise ValueError(f"cross-entropy takes exactly 1 view, got {len(views)}")
        logits = model(views[0])
        _check_targets(logits, targets)
        total = _cross_entropy(_log_probabilities(logits), targets, self.label_smoothing)
        return Loss(total=total, terms={"cross_entropy": total.detach()}, logits=logits.detach())


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsCrossEntropy:
    """Cross-entropy of every view with the same targets, by one forward pass.

    The total is ``factor`` times the sum of the terms ``cross_entropy``, of the first view, and
    ``cross_entropy_2`` and so on, of the others.
    """

    factor: float = 1.0
    """Factor of the sum of the views' cross-entropies, above 0."""
    label_smoothing: float = 0.0
    """Fraction of the target spread evenly over all classes, in [0, 1)."""

    def __post_init__(self) -> None:
        check_loss_options(factor=self.factor, label_smoothing=self.label_smoothing)

    def __call__(self, model: nn.Module, views: Views, targets: Targets) -> Loss:
        """The loss of a batch of any number of views; see `Consistency.__call__`."""
        num_views = _count_views(views)
        logits = model(views.flatten(0, 1)).unflatten(0, (num_views, -1))  # view batch class
        _check_targets(logits[0], targets)
        log_p = _log_probabilities(logits)
        losses = [_cross_entropy(one, targets, self.label_smoothing) for one in log_p]
        names = ["cross_entropy", *(f"cross_entropy_{n}" for n in range(2, num_views + 1))]
        return Loss(
            total=self.factor * torch.stack(losses).sum(),
            terms={name: loss.detach() for name, loss in zip(names, losses, strict=True)},
            logits=logits[0].detach(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """Cross-entropy of the clean view and the Jensen-Shannon divergence of all views.

    The total is ``cross_entropy + weight * consistency``, the names of its two terms
    (Hendrycks et al. 2020, section 3). The first view is the clean one.
    """

    weight: float = 12.0
    """Factor of the divergence, at least 0 (the paper's lambda)."""
    label_smoothing: float = 0.0
    """Fraction of the target spread evenly over all classes, in [0, 1)."""

    def __post_init__(self) -> None:
        check_loss_options(weight=self.weight, label_smoothing=self.label_smoothing)

    def __call__(self, model: nn.Module, views: Views, targets: Targets) -> Loss:
        """The loss of a batch, by one forward pass over all its views.

        Args:
            model: Gives logits for images in [0, 1].
            views: Clean images first, then at least one augmented view of each.
            targets: Class ids, or class probabilities of each image.

        Raises:
            ValueError: If the number of views is another, or the targets do not fit.
        """
        num_views = _count_views(views)
        if num_views < 2:
            raise ValueError(f"consistency needs at least 2 views, clean first, got {num_views}")
        logits = model(views.flatten(0, 1))  # (view batch) label
        logits = logits.unflatten(0, (num_views, -1))  # view batch class
        cross_entropy, divergence = _consistency_terms(logits, targets, self.label_smoothing)
        return Loss(
            total=cross_entropy + self.weight * divergence,
            terms={"cross_entropy": cross_entropy.detach(), "consistency": divergence.detach()},
            logits=logits[0].detach(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial(CrossEntropy):
    """Cross-entropy of attacked images alone; term ``cross_entropy`` (Madry et al. 2018).

    The first view is the image, the second the start of its attack (`policies.RandomStart`). The
    attack runs the model in training mode, so its passes update the running statistics of batch
    norm too, as in the code of the comparison's authors. The logits returned, and with them the
    training error, are those of the attacked images.
    """

    attack: Attack = field(default_factory=Attack)

    def __call__(self, model: nn.Module, views: Views, targets: Targets) -> Loss:
        """The loss of a batch of 2 views; see `Consistency.__call__`."""
        if _count_views(views) != 2:
            raise ValueError(f"an attack takes 2 views, image and start, got {len(views)}")
        images = attack_images(model, views[0], targets, self.attack, views[1])
        return CrossEntropy.__call__(self, model, images[None], targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenMixing:
    """Noisy feature mixup and the consistency of the views (NoisyMix, Erichson et al. 2022).

    In every step the maps behind one layer, drawn among the images themselves and the stages of the
    network (`models.depth.find_stages`), are mixed with those of a permutation of the batch,
    ``lambda x + (1 - lambda) x'``, and then made noisy:
    ``x (1 + m b1 U(-1, 1)) + i s b2 N(0, 1)``, with b ~ Beta(2, 5) for view i = 1, 2, ... and
    single values of either noise left out. Permutation and lambda are the same for all views.
    Everything is drawn from torch's generators, which every step of a run seeds at its address.

    The total is ``cross_entropy + weight * consistency``: cross-entropy of the first view with the
    mixed targets, and the divergence of all views; of a single view there is no divergence.
    """

    weight: float = 12.0
    """Factor of the divergence, at least 0."""
    alpha: float = 1.0
    """Concentration of the Beta weight lambda, above 0."""
    multiplicative: float = 0.5
    """Strength m of the multiplicative noise, at least 0."""
    additive: float = 0.5
    """Strength s of the additive noise of the first view, at least 0."""
    sparsity: float = 0.65
    """Probability with which a value of either noise is left out, in [0, 1]."""
    label_smoothing: float = 0.0
    """Fraction of the target spread evenly over all classes, in [0, 1)."""

    def __post_init__(self) -> None:
        check_loss_options(weight=self.weight, label_smoothing=self.label_smoothing)

    def __call__(self, model: nn.Module, views: Views, targets: Targets) -> Loss:
        """The loss of a batch of any number of views; see `Consistency.__call__`."""
        num_views = _count_views(views)
        inner: Any = getattr(model, "module", model)  # of DistributedDataParallel
        stages = find_stages(inner)
        layer = int(torch.randint(len(stages) + 1, ()))
        permutation = torch.randperm(views.shape[1]).to(views.device)
        fraction = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        spreads = torch.rand(2, num_views, 6).sort(dim=2).values[..., 1]  # second of 6: Beta(2, 5)
        spreads = spreads.to(views.device)

        def change(maps: Tensor) -> Tensor:
            by_view = maps.unflatten(0, (num_views, -1))
            mixed = fraction * by_view + (1 - fraction) * by_view[:, permutation]
            return self._add_noise(mixed, spreads).flatten(0, 1)

        flat = views.flatten(0, 1)  # (view batch) channel height width
        if layer:
            logits = _with_changed_output(
                model, inner.get_submodule(stages[layer - 1]), change, flat
            )
        else:
            logits = model(change(flat))
        logits = logits.unflatten(0, (num_views, -1))  # view batch class
        other = targets[permutation]
        terms: dict[str, Tensor] = {}
        if num_views > 1:
            own, divergence = _consistency_terms(logits, targets, self.label_smoothing)
            terms["consistency"] = divergence
        else:
            _check_targets(logits[0], targets)
            own = _cross_entropy(_log_probabilities(logits[0]), targets, self.label_smoothing)
        partner = _cross_entropy(_log_probabilities(logits[0]), other, self.label_smoothing)
        total = terms["cross_entropy"] = fraction * own + (1 - fraction) * partner
        if num_views > 1:
            total = total + self.weight * terms["consistency"]
        return Loss(
            total=total,
            terms={name: term.detach() for name, term in terms.items()},
            logits=logits[0].detach(),
        )

    def _add_noise(self, maps: Tensor, spreads: Float[Tensor, "2 view"]) -> Tensor:
        """Maps, view by view, with multiplicative and additive noise."""
        shape = (-1, *(1,) * (maps.ndim - 1))
        number = torch.arange(1, len(maps) + 1, device=maps.device)
        first = (self.multiplicative * spreads[0]).reshape(shape)
        second = (self.additive * spreads[1] * number).reshape(shape)
        scaled = first * (2 * torch.rand_like(maps) - 1) * self._kept(maps)
        return maps * (1 + scaled) + second * torch.randn_like(maps) * self._kept(maps)

    def _kept(self, maps: Tensor) -> Tensor:
        return torch.rand_like(maps) >= self.sparsity


def _with_changed_output(
    model: nn.Module, layer: nn.Module, change: Callable[[Tensor], Tensor], images: Tensor
) -> Tensor:
    """The output of a model for images where the output of one of its layers is changed.

    Raises:
        RunError: If the layer is not called, or does not give a tensor.
    """
    calls = 0

    def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if not isinstance(output, Tensor) or len(output) != len(images):
            raise RunError(
                f"{type(module).__name__} gives no map for each image, so it cannot be the end "
                "of a stage; name others by stage_names"
            )
        return change(output)

    handle = layer.register_forward_hook(hook)
    try:
        logits = model(images)
    finally:
        handle.remove()
    if not calls:
        raise RunError(
            f"{type(layer).__name__}, the end of a stage, was not called; leave out "
            "--gradient-checkpointing, or name other modules by stage_names"
        )
    return logits


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialMixing:
    """Consistency with the mixture of chains that is worst for the model (Wang et al. 2021).

    The views are the clean image, a view of AugMix, and the chains that are mixed adversarially.
    The total is ``(cross_entropy + cross_entropy_2) / 2 + weight * consistency``: cross-entropy of
    the clean image and of the worst mixture, and the divergence of these and the view of AugMix.
    All pass at once, the clean image first, so that the others can have batch norms of their own
    (`models.batch_norm`), which the attack takes too.
    """

    weight: float = 10.0
    """Factor of the divergence, at least 0."""
    num_steps: int = 5
    """Steps of the attack, at least 1."""
    step_size: float = 0.1
    """Length of a step, for the weight of the mixture and the logits of the chains' weights."""
    label_smoothing: float = 0.0
    """Fraction of the target spread evenly over all classes, in [0, 1)."""

    def __post_init__(self) -> None:
        check_loss_options(weight=self.weight, label_smoothing=self.label_smoothing)

    def __call__(self, model: nn.Module, views: Views, targets: Targets) -> Loss:
        """The loss of a batch of at least 3 views; see `Consistency.__call__`."""
        if _count_views(views) < 3:
            raise ValueError(f"AugMax takes clean image, view and chains, got {len(views)} views")
        inner: Any = getattr(model, "module", model)  # of DistributedDataParallel
        with second_set(inner):
            worst = attack_mixture(
                model,
                views[0],
                views[2:],
                targets,
                num_steps=self.num_steps,
                step_size=self.step_size,
            )
        passed = torch.cat([views[:2], worst[None]])
        logits = model(passed.flatten(0, 1)).unflatten(0, (3, -1))  # view batch class
        cross_entropy, divergence = _consistency_terms(logits, targets, self.label_smoothing)
        second = _cross_entropy(_log_probabilities(logits[2]), targets, self.label_smoothing)
        terms = {
            "cross_entropy": cross_entropy,
            "cross_entropy_2": second,
            "consistency": divergence,
        }
        return Loss(
            total=(cross_entropy + second) / 2 + self.weight * divergence,
            terms={name: term.detach() for name, term in terms.items()},
            logits=logits[0].detach(),
        )


def jsd_loss(
    logits: Float[Tensor, "view batch class"],
    targets: Targets,
    weight: float = 12.0,
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """The loss of AugMix: clean cross-entropy plus the weighted Jensen-Shannon divergence.

    Numerically that of the released code, for any number of views: with p_j the softmax of view j
    and M their mean, clamped to [1e-7, 1], the divergence is the mean over views and images of
    KL(p_j || M). Gradients flow through every view and M. Cross-entropy is that of the first view.
    Both are computed in float32 (float64 for float64 logits) and stay finite for logits of +-1e4,
    and of -inf for classes that are masked out in every view.

    Args:
        logits: The first view is the clean one; at least 2 views.
        targets: Class ids, or class probabilities of each image.
        weight: Factor of the divergence, at least 0.
        label_smoothing: Fraction of the target spread evenly over all classes, in [0, 1).

    Raises:
        ValueError: If a shape does not fit, an option is out of range, or a class id is. Ids are
            checked on the CPU only: elsewhere the check would wait for the device.

    Example:
        >>> logits = torch.zeros(3, 2, 10)  # three equal views: no divergence
        >>> round(float(jsd_loss(logits, torch.tensor([4, 7]))), 4)  # log 10
        2.3026
    """
    check_loss_options(weight=weight, label_smoothing=label_smoothing)
    if logits.ndim != 3 or len(logits) < 2:
        raise ValueError(
            "logits must be [view batch class] with at least 2 views, clean first, "
            f"got shape {tuple(logits.shape)}"
        )
    cross_entropy, divergence = _consistency_terms(logits, targets, label_smoothing)
    return cross_entropy + weight * divergence


class JSDLoss(nn.Module):
    """`jsd_loss` as a module, of logits in one batch or by view.

    Args:
        weight: Factor of the divergence, at least 0.
        label_smoothing: Fraction of the target spread evenly over all classes, in [0, 1).

    Example:
        >>> logits = torch.zeros(3 * 2, 10)  # of the flat batch of three views of two images
        >>> round(float(JSDLoss()(logits, torch.tensor([4, 7]))), 4)  # log 10
        2.3026
    """

    def __init__(self, weight: float = 12.0, label_smoothing: float = 0.0) -> None:
        super().__init__()
        check_loss_options(weight=weight, label_smoothing=label_smoothing)
        self.weight, self.label_smoothing = weight, label_smoothing

    def forward(self, logits: Float[Tensor, "*axes class"], targets: Targets) -> Float[Tensor, ""]:
        """The loss of logits ``view batch class`` or ``(view batch) class``, the clean view first.

        Raises:
            ValueError: As `jsd_loss`, or if the logits are not whole views of the targets.
        """
        if logits.ndim == 2 and len(targets):
            if len(logits) % len(targets):
                raise ValueError(
                    f"{len(logits)} logits are no whole number of views of {len(targets)} targets"
                )
            logits = logits.unflatten(0, (-1, len(targets)))
        smoothing = self.label_smoothing
        return jsd_loss(logits, targets, self.weight, label_smoothing=smoothing)

    def extra_repr(self) -> str:
        """Return the options, which printing the module shows."""
        return f"weight={self.weight}, label_smoothing={self.label_smoothing}"


def _consistency_terms(
    logits: Tensor, targets: Tensor, label_smoothing: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy of the first view, and the mean over views and images of KL(p_view || M)."""
    _check_targets(logits[0], targets)
    weights = _image_weights(targets)
    log_p = _log_probabilities(logits)
    # first, since the order of the terms is the one in which their gradients are summed
    cross_entropy = _cross_entropy(log_p[0], targets, label_smoothing)
    p = log_p.exp()
    mixture = p.mean(dim=0).clamp(LOWEST_MIXTURE, 1)  # batch class
    lowest = torch.finfo(log_p.dtype).min  # so that 0 log 0 is 0, for logits of -inf too
    divergence = (p * (log_p.clamp(min=lowest) - mixture.log())).sum(dim=2)  # view batch
    return cross_entropy, (divergence if weights is None else divergence * weights).mean()


def _log_probabilities(logits: Float[Tensor, "*batch class"]) -> Float[Tensor, "*batch class"]:
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return F.log_softmax(logits, dim=-1, dtype=dtype)


def _cross_entropy(
    log_p: Float[Tensor, "batch class"], targets: Targets, label_smoothing: float
) -> Float[Tensor, ""]:
    """Mean over the batch of -sum over classes of target * log p."""
    if targets.is_floating_point():
        hard = -(targets.to(log_p.dtype) * log_p).sum(dim=1).mean()
    else:
        hard = -log_p.gather(1, targets.long()[:, None]).mean()  # no id is ignored, not even -100
    if not label_smoothing:
        return hard
    weights = _image_weights(targets)
    spread = log_p if weights is None else weights[:, None] * log_p
    return (1 - label_smoothing) * hard - label_smoothing * spread.mean()


def _image_weights(targets: Targets) -> Float[Tensor, " batch"] | None:
    """The sum of each image's target: its weight in a mean over images; None where all have 1."""
    return targets.sum(dim=1) if targets.is_floating_point() else None


def weigh_targets(targets: Targets, weights: Float[Tensor, " class"]) -> Targets:
    """Multiply targets by the weights of their classes.

    An image whose target is one class then counts as often as that class's weight says, in every
    term of a loss; of a mixed image each class's part does. The mean stays one over the images.

    Args:
        targets: Class ids, or class probabilities of each image.
        weights: Of every class, on the same device.

    Returns:
        Class probabilities times weights.

    Example:
        >>> weigh_targets(torch.tensor([1, 0]), torch.tensor([0.5, 2.0])).tolist()
        [[0.0, 2.0], [0.5, 0.0]]
    """
    if not targets.is_floating_point():
        ids = targets.long()[:, None]
        targets = weights.new_zeros(len(targets), len(weights)).scatter_(1, ids, 1.0)
    return targets * weights


def balanced_weights(labels: Integer[np.ndarray, " image"], num_classes: int) -> list[float]:
    """Return the weight of every class with which all classes count alike.

    It is n / (K n_class) for n images of K classes, each of which must have some; the mean over the
    images is 1.

    Example:
        >>> balanced_weights(np.array([0, 0, 0, 1]), 2)
        [0.6666666666666666, 2.0]
    """
    counts = np.bincount(labels, minlength=num_classes)
    return (len(labels) / (num_classes * counts)).tolist()


def _count_views(views: Tensor) -> int:
    if views.ndim != 5:
        raise ValueError(
            f"views must be [view batch channel height width], got shape {tuple(views.shape)}"
        )
    return len(views)


def _check_targets(logits: Tensor, targets: Tensor) -> None:
    """Targets fit logits ``batch class``; ids are looked at only where that costs no waiting."""
    if not logits.is_floating_point() or logits.ndim != 2 or not len(logits):
        raise ValueError(
            "logits must be floating-point [batch class] with at least 1 image, "
            f"got {logits.dtype} of shape {tuple(logits.shape)}"
        )
    batch, num_classes = logits.shape
    is_soft = targets.is_floating_point()
    expected = (batch, num_classes) if is_soft else (batch,)
    if targets.shape != expected or targets.dtype == torch.bool:
        raise ValueError(
            f"targets must be {batch} class ids, or probabilities of shape {(batch, num_classes)}, "
            f"got {targets.dtype} of shape {tuple(targets.shape)}"
        )
    if not is_soft and targets.device.type == "cpu":
        wrong = targets[(targets < 0) | (targets >= num_classes)]
        if len(wrong):
            raise ValueError(
                f"class ids must be 0..{num_classes - 1} for {num_classes} logits, "
                f"got {int(wrong[0])}"
            )

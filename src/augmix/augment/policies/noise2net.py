"""Noise2Net: views of another policy, some passed through a network of random weights."""

from dataclasses import dataclass, field

import numpy as np

from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import Ids, Policy, Standard
from augmix.augment.stages.noise2net import SPLITS, NoiseNet
from augmix.rng import Purpose, Stream

_BLOCKS = 4
_LAYERS_PART, _WEIGHTS_PART = 1, 2  # of Purpose.NOISE_NET; part 0 has the strengths


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise2Net:
    """Noise2Net: a freshly drawn residual network in front (Hendrycks et al. 2021, DeepAugment).

    Each view has weights of its own. Sizes and dilations of the convolutions are drawn once, from
    the seed of the run. Half of the views, drawn one by one, pass; published is the first half of
    every batch.
    """

    probability: float = 0.5
    """Probability with which a view passes through its network, 0..1."""
    strength: float = 0.75
    """Largest factor of a block's output, above 0; each view draws one between half of it and it.
    """
    base: Policy = field(default_factory=Standard)
    """Policy of the views that pass."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")
        if not 0 < self.strength < np.inf:
            raise ValueError(f"strength must be a finite number above 0, got {self.strength}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which has no such network, and the networks."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        if plan.find(NoiseNet):
            raise ValueError("the base of Noise2Net passes views through networks already")
        at = stream.at(Purpose.NOISE_NET)
        uniforms = at.uniforms(plan.ids, num_views=num_views, count=2)
        strength = self.strength * (1 + uniforms[..., 1]) / 2
        address = at.at(part=_WEIGHTS_PART).addresses(plan.ids, num_views=num_views)
        stage = NoiseNet(
            strength=np.where(uniforms[..., 0] < self.probability, strength, 0).astype(np.float32),
            address=address,
            seed=stream.seed,
            layers=_draw_layers(Stream(seed=stream.seed)),
        )
        return plan.with_stage(stage)


def _draw_layers(stream: Stream) -> str:
    """Size 1 or 3 and dilation 1, 2 or 3 of the convolutions of every block."""
    at = stream.at(Purpose.NOISE_NET, part=_LAYERS_PART)
    uniforms = at.uniforms(np.arange(_BLOCKS), count=2 * (SPLITS - 1))[0]
    blocks = []
    for row in uniforms.reshape(_BLOCKS, SPLITS - 1, 2):
        pairs = [f"{1 if size < 0.5 else 3}{1 + int(3 * dilation)}" for size, dilation in row]
        blocks.append(" ".join(pairs))
    return ", ".join(blocks)

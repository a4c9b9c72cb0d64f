"""What a run costs in floating-point operations, whatever machine it runs on.

A multiply-add is two operations. A view that the weights learn from passes forward once and
backward twice, for the maps and for the weights: six operations for each multiply-add of the
network. A step of an attack passes forward and backward for the maps alone: four. Views, losses and
the optimiser are not counted.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from augmix.methods import Method

_OF_A_PASS, _OF_AN_ATTACK = 6, 4
_PREFIXES = ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What training on one image costs."""

    multiply_adds: int  # of a forward pass of one view
    passes: int  # views that the weights learn from
    attacks: int  # steps of attacks

    @property
    def flop(self) -> int:
        """Operations of one image in one step."""
        return self.multiply_adds * (_OF_A_PASS * self.passes + _OF_AN_ATTACK * self.attacks)

    def describe(self, num_images: int) -> str:
        """The cost of a run over so many images, all epochs counted, in a line."""
        attacked = f" and {self.attacks} step(s) of attack" if self.attacks else ""
        return (
            f"cost: {self.multiply_adds / 1e6:,.1f} million multiply-adds, {self.passes} view(s) "
            f"of an image in a step{attacked}: {format_flop(float(self.flop * num_images))} in all"
        )


def count_cost(
    model: nn.Module, method: Method, *, size: tuple[int, int], channels: int, device: torch.device
) -> Cost:
    """Count what a method costs on a network, by one forward pass of one image."""
    was_training = model.training
    images = torch.zeros(1, channels, *size, device=device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.eval()(images)
    model.train(was_training)
    return Cost(
        multiply_adds=int(counter.get_total_flops()) // 2,
        passes=method.num_passed,
        attacks=method.num_attacks,
    )


def format_flop(flop: float) -> str:
    """Operations in the unit that suits them.

    Example:
        >>> format_flop(2.95e16), format_flop(3e8)
        ('29.5 PFLOP', '0.3 GFLOP')
    """
    size, unit = next((each for each in _PREFIXES if flop >= each[0]), _PREFIXES[-1])
    return f"{flop / size:,.3g} {unit}" if flop < 1000 * size else f"{flop / size:,.0f} {unit}"

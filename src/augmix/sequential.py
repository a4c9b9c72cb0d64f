"""A confidence sequence: an interval of a mean that holds at all times together.

An interval of the bootstrap holds at one number of images, chosen before. Whoever looks again and
again, and stops as soon as the interval suits, is wrong far more often than the level says. The
intervals here hold at every look at once, so that a measurement may stop at any.
"""

from dataclasses import dataclass, field
from math import log
from typing import Any

import numpy as np
from jaxtyping import Float64

from augmix.bootstrap import LEVEL, Interval

METHOD = (
    "empirical-Bernstein confidence sequence, stratified, without replacement "
    "(Waudby-Smith & Ramdas 2020, 2023)"
)
_PRIOR_ROUNDS = 4  # that the prior of means and of the variance counts as
_LARGEST = 0.5  # of a bet times the largest deviation, below 1
_LEAST = 1e-3  # largest deviation, where a value is known to be at its bound


@dataclass(slots=True, kw_only=True)
class MeanSequence:
    """The mean of all values of a table `cell image`, from a growing part of each cell.

    A round adds one image of every cell, drawn without replacement and in an order of its own. The
    interval after a round is an empirical-Bernstein confidence sequence with predictable bets, as
    in Waudby-Smith & Ramdas (2023), "Estimating means of bounded random variables by betting",
    Theorem 2, for sampling without replacement, as in the same authors' "Confidence sequences for
    sampling without replacement" (2020).

    Given the rounds before, let a value X of a cell have the mean m, and let p be its prediction
    and c the largest distance of a value below p. By `_penalty`, with Y = X - p >= -c,

        E exp(bet Y - penalty Y^2) <= 1 + bet (m - p) <= exp(bet (m - p)),

    so the product over values of exp(bet (X - m) - penalty (X - p)^2) is a supermartingale, and by
    Ville's inequality exceeds 2 / (1 - level) at any time with probability (1 - level) / 2 at most.
    The m of a cell is the mean of its images that are left, (num_images mean - sum) / left; as all
    cells of a round have the same bet, only the mean over all cells is left in the sum, for which
    the exponent is solved. The upper end is the same for -X.

    Args:
        num_cells: Cells of the table, at least 1.
        num_images: Images of each.
        limits: The least and the largest value.
        precision: Half width at which the sequence is narrowest, for its stop; above 0.
        level: Fraction of repetitions in which all intervals hold the mean.

    Example:
        >>> sequence = MeanSequence(num_cells=2, num_images=50, limits=(0.0, 1.0), precision=0.1)
        >>> sequence.add(np.tile([[0.0], [1.0]], 25))
        >>> round(sequence.interval().low, 2), round(sequence.interval().high, 2)
        (0.38, 0.62)
    """

    num_cells: int
    num_images: int
    limits: tuple[float, float]
    precision: float
    level: float = LEVEL
    num_rounds: int = 0
    _sums: Float64[np.ndarray, " cell"] = field(init=False)
    _squares: float = field(init=False, default=0.0)  # of deviations from the predicted values
    _weighted: float = field(init=False, default=0.0)  # sum of the values, each times its bet
    _weights: float = field(init=False, default=0.0)  # what the mean is multiplied with in it
    _penalties: tuple[float, float] = field(init=False, default=(0.0, 0.0))  # below and above

    def __post_init__(self) -> None:
        if not self.precision > 0:
            raise ValueError(f"precision must be above 0, got {self.precision}")
        self._sums = np.zeros(self.num_cells)

    def add(self, values: Float64[np.ndarray, "cell round"]) -> None:
        """Add the values of some rounds, in their order."""
        for column in np.asarray(values, np.float64).T:
            self._add_round(column)

    def _add_round(self, values: Float64[np.ndarray, " cell"]) -> None:
        rounds, cells = self.num_rounds, self.num_cells
        low, high = self.limits
        total = float(self._sums.sum())
        # predicted from the rounds before alone: values, their variance, and the bet
        middle = total / (cells * rounds) if rounds else (low + high) / 2
        predicted = (self._sums + _PRIOR_ROUNDS * middle) / (rounds + _PRIOR_ROUNDS)
        prior = (high - low) ** 2 / 16
        count = cells * (rounds + _PRIOR_ROUNDS)
        variance = (self._squares + cells * _PRIOR_ROUNDS * prior) / count
        bet = min(self.precision / variance, _LARGEST / (high - low))
        squares = (values - predicted) ** 2
        self._penalties = (
            self._penalties[0] + float(squares @ _penalty(bet, predicted - low)),
            self._penalties[1] + float(squares @ _penalty(bet, high - predicted)),
        )
        # an image that is left has the mean of those that are left
        left = self.num_images - rounds
        self._weighted += bet * (float(values.sum()) + total / left)
        self._weights += bet * cells * self.num_images / left
        self._squares += float(squares.sum())
        self._sums += values
        self.num_rounds += 1

    @property
    def estimate(self) -> float:
        """The mean of the values so far."""
        return float(self._sums.sum()) / (self.num_cells * max(self.num_rounds, 1))

    @property
    def variance(self) -> float:
        """The variance of the values within their cells, about what was predicted."""
        return self._squares / (self.num_cells * max(self.num_rounds, 1))

    def interval(self) -> Interval:
        """Compute the interval after the rounds so far; after all of them it is the mean."""
        low, high = self.limits
        left = (self.num_images - self.num_rounds) / self.num_images
        known = self.estimate * (1 - left)  # what the values so far add to the mean
        bounds = [known + left * low, known + left * high]
        if self.num_rounds:
            reach = log(2 / (1 - self.level))
            lower = (self._weighted - reach - self._penalties[0]) / self._weights
            upper = (self._weighted + reach + self._penalties[1]) / self._weights
            bounds = [max(bounds[0], lower), min(bounds[1], upper)]
        estimate = self.estimate if self.num_rounds else (low + high) / 2
        return Interval(
            estimate=estimate,
            low=min(bounds[0], estimate),
            high=max(bounds[1], estimate),
            kind="confidence sequence",
        )


def _penalty(bet: float, deviation: Float64[np.ndarray, " cell"]) -> Any:
    """What a squared deviation costs, where values are at most so far on the side of the bet.

    By Fan, Grama & Liu (2015, Lemma 4.1), exp(bet x - penalty x^2) <= 1 + bet x for
    x >= -deviation and bet < 1 / deviation.
    """
    scaled = bet * np.maximum(deviation, _LEAST)
    return (-np.log1p(-scaled) - scaled) * (bet / scaled) ** 2

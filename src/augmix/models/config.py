"""What a model is, apart from its weights: the record that `model.json` holds."""

from dataclasses import dataclass
from math import isfinite

BLUR_SIZES = (2, 3, 4, 5)  # sides of the filters that Zhang (2019) measured
BLURRED = "-maxblur"  # ends the name of a network that is pooled without aliasing


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything needed to build a model again.

    Attributes:
        name: Architecture, e.g. ``small`` or ``wrn-40-2``.
        num_classes: Logits a model gives for an image.
        channels: Channels of an input image, 1 or 3.
        mean: Subtracted from every channel, in [0, 1] units; one number a channel.
        std: Every channel is then divided by it; above 0.
        dropout: Share of activations dropped in training, in [0, 1).
        blur_size: Side in pixels, 2..5, of the blur of a network whose name ends in ``-maxblur``;
            of no effect in others.

    Raises:
        ValueError: If a number is out of range, or ``mean`` and ``std`` do not fit ``channels``.
    """

    name: str
    num_classes: int
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    dropout: float = 0.0
    blur_size: int = 5

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {self.num_classes}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(
                    f"{name} must have one number for each of {self.channels} channel(s), "
                    f"got {tuple(values)}"
                )
            if not all(isfinite(value) for value in values):
                raise ValueError(f"{name} must be finite, got {tuple(values)}")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std must be above 0 in every channel, got {tuple(self.std)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.blur_size not in BLUR_SIZES:
            raise ValueError(f"blur_size must be 2..5 pixels, got {self.blur_size}")

    @property
    def is_blurred(self) -> bool:
        """Whether the network halves its maps by blur pools."""
        return self.name.endswith(BLURRED)

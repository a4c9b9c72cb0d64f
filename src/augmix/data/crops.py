"""The random resized crop of ImageNet training: numbers drawn at an address, then a box.

A part of the photograph of random area and shape is resized to a square. The numbers belong to
(seed, epoch, id); the box follows from them and the photograph's size, once that is known. So an
image has the same crop in whatever batch, worker or process it is decoded.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Integer

from augmix.streams import Purpose, Stream

Box = tuple[int, int, int, int]  # top, left, height, width in pixels
Draws = Float64[np.ndarray, "batch try 4"]

_NUM_TRIES = 10
_PART = 1  # of Purpose.CROP; part 0 has the padded crop and the flip of a plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizedCrop:
    """Which boxes are drawn: the law of torchvision's ``RandomResizedCrop``.

    Attributes:
        area: Smallest and largest share of the photograph that a crop covers, in (0, 1].
        ratio: Smallest and largest width / height of a crop.

    Raises:
        ValueError: If a range is empty or out of bounds.
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area must be shares 0 < low <= high <= 1, got {self.area}")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"ratio must be 0 < low <= high, got {self.ratio}")

    def sample(self, ids: Integer[np.ndarray, " batch"], *, stream: Stream) -> Draws:
        """Uniform numbers in (0, 1) for every try: area, ratio, row and column.

        Args:
            ids: Images, as the plan numbers them.
            stream: The run's seed and epoch.
        """
        numbers = stream.at(Purpose.CROP, part=_PART).uniforms(ids, count=4 * _NUM_TRIES)
        return numbers.reshape(len(ids), _NUM_TRIES, 4)

    def box(self, draws: Float64[np.ndarray, "try 4"], height: int, width: int) -> Box:
        """The box of one image: of the first try that fits, else as `centre`.

        A try has its area uniform in `area`, the logarithm of its ratio uniform in `ratio`, and its
        corner uniform over all places where it fits.
        """
        low, high = (math.log(bound) for bound in self.ratio)
        for area, ratio, row, column in draws.tolist():
            pixels = height * width * (self.area[0] + area * (self.area[1] - self.area[0]))
            shape = math.exp(low + ratio * (high - low))
            tall, wide = round(math.sqrt(pixels / shape)), round(math.sqrt(pixels * shape))
            if 0 < tall <= height and 0 < wide <= width:
                top, left = int(row * (height - tall + 1)), int(column * (width - wide + 1))
                return top, left, tall, wide
        return self.centre(height, width)

    def centre(self, height: int, width: int) -> Box:
        """The largest central box whose ratio is allowed."""
        tall, wide = height, width
        if width / height < self.ratio[0]:
            tall = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            wide = round(height * self.ratio[1])
        return (height - tall) // 2, (width - wide) // 2, tall, wide

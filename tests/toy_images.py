"""Images, draws and slow filters with which corruptions are tested."""

import numpy as np
from scipy import ndimage

from augmix.corruptions.registry import CORRUPTIONS


def checkered(size: int) -> np.ndarray:
    """Ramps with every other 4 x 4 cell inverted."""
    step = 256 // size
    y, x = np.mgrid[:size, :size]
    image = np.stack([step * x, step * y, step * (x + y) // 2], axis=-1)
    image[(x // 4 + y // 4) % 2 == 1] = 255 - image[(x // 4 + y // 4) % 2 == 1]
    return image.astype(np.uint8)


def run(image: np.ndarray, name: str, preset: str, severity: int, generator) -> np.ndarray:
    return CORRUPTIONS[name].at(preset, severity)(image, generator)


def legacy(seed: int = 0) -> np.random.RandomState:
    """The draws of the published scripts."""
    return np.random.RandomState(seed)


def cut(values: np.ndarray) -> np.ndarray:
    """Clip to [0, 1], scale to 0..255, drop the fraction."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def random_images() -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    sizes = [(32, 32, 3), (17, 40, 3), (33, 16, 1), (1, 1, 3), (5, 1, 1), (64, 50, 3)]
    images = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    flat = [np.full((12, 20, 3), level, np.uint8) for level in (0, 1, 128, 254, 255)]
    few = rng.integers(0, 3, (30, 31, 3), dtype=np.uint8) * 127
    return [*images, *flat, few]


def rough_images() -> list[np.ndarray]:
    """Images whose levels differ; on flat ones the last bit of a sum decides a whole level."""
    return [image for image in random_images() if image[..., 0].std() > 1]


def smooth(values: np.ndarray, std: float, **settings) -> np.ndarray:
    settings = {"mode": "nearest", "truncate": 4.0, **settings}
    return ndimage.gaussian_filter(values, (std, std, 0), **settings)


def smeared(image: np.ndarray, radius: float, std: float, angle_deg: float) -> np.ndarray:
    """Motion trail as ImageMagick's source computes it, half pixels included."""
    width = 2 * int(np.ceil(radius)) + 1
    steps = np.arange(width)
    weights = np.exp(-(steps**2) / (2 * std**2))
    weights /= weights.sum()
    across = width * np.sin(np.pi * angle_deg / 180)
    along = width * np.cos(np.pi * angle_deg / 180)
    ox = np.ceil(steps * along / np.hypot(across, along) - 0.5).astype(int)
    oy = np.ceil(steps * across / np.hypot(across, along) - 0.5).astype(int)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    total = np.zeros(image.shape)
    for k in range(width):
        rows = np.clip(y + oy[k], 0, image.shape[0] - 1)
        columns = np.clip(x + ox[k], 0, image.shape[1] - 1)
        total += weights[k] * image[rows, columns]
    return (np.floor(257 * total + 0.5).astype(int) // 257).astype(np.uint8)


def zoomed(values: np.ndarray, factor: float) -> np.ndarray:
    """Clipped zoom by SciPy."""
    size = values.shape[:2]
    crop = [int(np.ceil(edge / factor)) for edge in size]
    top, left = ((edge - part) // 2 for edge, part in zip(size, crop, strict=True))
    piece = values[top : top + crop[0], left : left + crop[1]]
    large = ndimage.zoom(piece, (factor, factor, 1), order=1)
    rows, columns = ((large.shape[axis] - size[axis]) // 2 for axis in (0, 1))
    return large[rows : rows + size[0], columns : columns + size[1]]

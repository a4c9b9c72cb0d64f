"""Compare the views of a device with the definition, operation by operation."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from augmix import benchmarks
from augmix.augment import batched, render
from augmix.augment.ops import Op, level_to_amount
from augmix.augment.plan import Plan
from augmix.augment.policies import AugMix
from augmix.augment.policies.augmix import one_chain
from augmix.rng import Stream

Row = dict[str, str | int | float]
STRONGEST = 9.9  # level; at 10 posterize would keep no bit


def measure_equality(
    device: torch.device, backends: Sequence[str], *, size: int, count: int
) -> list[Row]:
    """Compare each operation, and whole AugMix plans of all operations.

    Args:
        device: Device of the views.
        backends: Backends of `batched.render`.
        size: Size of the images in pixels.
        count: Images per operation, at amounts of all levels up to the strongest.

    Returns:
        One row per operation and backend: ``equal``: fraction of grey levels with the same bits as
        the definition; ``within_1``: fraction at most 1 level off; ``largest``: largest distance,
        in levels.
    """
    images = _mixed_images(count, size)
    rows: list[Row] = []
    for op in [op for op in Op if op != Op.NONE]:
        rows += _compare(op.name.lower(), images, _single(op, count, size), device, backends)
    policy = AugMix(ops="all", severity=10, crop_padding=4, flip=True)
    plan = policy.sample(
        np.arange(count), num_views=2, size=(size, size), stream=Stream(seed=0)
    ).with_clean()
    return rows + _compare("augmix, all operations", images, plan, device, backends)


def is_equal_enough(rows: Sequence[Row]) -> bool:
    """Check that every row has at least 99.9 % of its levels within 1 of the definition."""
    return bool(rows) and all(float(row["within_1"]) >= 0.999 for row in rows)


def _compare(
    name: str, images: np.ndarray, plan: Plan, device: torch.device, backends: Sequence[str]
) -> list[Row]:
    expected = render(images, plan, executor="pillow")
    rows: list[Row] = []
    for backend in backends:
        views = batched.render(images, plan, device=device, backend=backend).cpu().numpy()
        levels = np.abs(views - expected) * 255
        rows.append(
            {
                "operation": name,
                "size": images.shape[1],
                "backend": backend,
                "equal": float((views == expected).mean()),
                "within_1": float((levels <= 1.001).mean()),
                "largest": float(levels.max()),
            }
        )
    return rows


def _single(op: Op, count: int, size: int) -> Plan:
    """A chain of one operation for every image, at levels from 0.1 to the strongest."""
    kinds = np.full(count, int(op), np.int8)
    level, sign = np.linspace(0.1, STRONGEST, count), np.where(np.arange(count) % 2, -1.0, 1.0)
    amount = level_to_amount(kinds, level, sign, (size, size))
    chains = one_chain(kinds.reshape(1, count, 1, 1), amount.reshape(1, count, 1, 1))
    return Plan(ids=np.arange(count), size=(size, size), stages=(chains,))


def _mixed_images(count: int, size: int) -> np.ndarray:
    """Smooth images, noise, and blocks of few levels, in turns."""
    rng = np.random.default_rng(0)
    images = benchmarks.smooth_images(count, size)
    images[1::3] = rng.integers(0, 256, images[1::3].shape, dtype=np.uint8)
    for row in range(2, count, 3):
        few = rng.integers(0, 4, (8, 8, 3), dtype=np.uint8) * 85
        images[row] = np.asarray(
            Image.fromarray(few).resize((size, size), Image.Resampling.NEAREST)
        )
    return images

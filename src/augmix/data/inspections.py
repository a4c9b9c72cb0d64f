"""Which images of a set are broken: found by decoding all of them once, and kept.

With ``on_error="skip"`` a set that does not fit into memory is inspected when it is opened, so that
its ids are settled. That takes a pass over all files, which a restarted run is spared.
"""

import hashlib

import numpy as np

from augmix import records
from augmix.data.caches import cache_folder
from augmix.data.items import Items, try_all
from augmix.records import RunError


def find_broken(
    items: Items, size: int, *, shape: tuple[int, int], num_threads: int, first: int
) -> dict[int, str]:
    """The broken items and the reasons, from an earlier inspection of the same files if any.

    Args:
        items: The images.
        size: As `Items.image` takes it.
        shape: Height and width that all must have.
        num_threads: Threads that decode.
        first: An item of that shape.

    Raises:
        RunError: If an image has another shape.
    """
    told = f"{items.digest(np.arange(len(items)))} {items.where(0)} {size}"
    key = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    path = cache_folder("inspections") / f"{key}.json"
    if path.exists():
        try:
            kept = records.load_json(path)["broken"]
            return {int(row): str(reason) for row, reason in kept.items()}
        except (RunError, KeyError, AttributeError, ValueError):
            path.unlink()  # not whole: inspect anew
    one = np.empty((1, *shape, items.channels), np.uint8)
    broken = try_all(one, items, size, num_threads, first)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        records.write_json(path, {"broken": {str(row): broken[row] for row in sorted(broken)}})
    except (OSError, RunError):
        pass  # a cache that cannot be written costs time only
    return broken

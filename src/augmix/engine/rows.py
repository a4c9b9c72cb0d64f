"""Records of arrays with a row an image: put together from batches, and from all ranks."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int64

from augmix import ranks

Rows = TypeVar("Rows")


def join(batches: Sequence[Rows]) -> Rows:
    """One record of several of the same dataclass, row after row."""
    record: Any = batches[0]
    columns = {
        entry.name: np.concatenate([getattr(batch, entry.name) for batch in batches])
        for entry in fields(record)
    }
    return type(record)(**columns)


def collect(rows: Rows, places: Int64[np.ndarray, " image"]) -> Rows | None:
    """The rows of all ranks by their places, on rank 0; None on the others.

    Args:
        rows: This rank's.
        places: Where each of them belongs, 0 .. all ranks' rows - 1.

    Raises:
        RunError: If another process has ended.
    """
    record: Any = rows
    found = ranks.gather(places)
    columns = {entry.name: ranks.gather(getattr(record, entry.name)) for entry in fields(record)}
    if not found:
        return None
    order = np.argsort(np.concatenate(found), kind="stable")
    return type(record)(**{name: np.concatenate(pieces)[order] for name, pieces in columns.items()})

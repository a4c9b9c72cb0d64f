"""State dicts held against each other: the tensors of a file, and those a network has."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from augmix.records import RunError

_SHOWN = 3  # names in a message
_COUNTER = "num_batches_tracked"  # of batch norm; older files have none, and nothing depends on it


def check_state(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    what: str,
    needs_counters: bool = True,
) -> None:
    """Refuse tensors whose names or shapes are not those of the network.

    Args:
        found: In the file.
        expected: The network's state.
        what: The beginning of the message: which file does not fit what.
        needs_counters: Whether the counters of batches seen must be there.

    Raises:
        RunError: If a name is missing or unknown, or a shape is another.
    """
    missing = [
        name
        for name in expected
        if name not in found and (needs_counters or not name.endswith(_COUNTER))
    ]
    unknown = [name for name in found if name not in expected]
    if missing or unknown:
        raise RunError(
            f"{what}: expected {len(expected)} tensors, got {len(found)}; "
            f"missing: {shorten(missing)}; unknown: {shorten(unknown)}"
        )
    for name, value in expected.items():
        if name in found and found[name].shape != value.shape:
            raise RunError(
                f"{what}: {name} must have shape {tuple(value.shape)}, "
                f"got {tuple(found[name].shape)}"
            )


def shorten(names: Iterable[str]) -> str:
    """The first names in order, and how many more there are."""
    listed = sorted(names)
    rest = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return (", ".join(listed[:_SHOWN]) or "none") + rest

"""What the corruptions and the sequences share: whose constants, which images, which names.

A preset names the published set whose numbers are used; the published sets differ by the size of
their images. The corruptions and the sequences both have a table a preset, and both choose it here.
"""

import difflib
from collections.abc import Mapping, Sequence

PRESETS = ("cifar", "tiny", "imagenet", "imagenet-299")
SMALLEST_SIDE = 16  # pixels

_LARGEST_CIFAR = 48  # pixels of the shorter side
_LARGEST_TINY = 112


def resolve_preset(preset: str, size: tuple[int, int]) -> str:
    """The preset itself, or for ``"auto"`` the one made for images of about this size.

    Args:
        preset: ``"cifar"``, ``"tiny"``, ``"imagenet"``, ``"imagenet-299"`` or ``"auto"``.
        size: Height and width in pixels. ``"auto"`` is ``cifar`` up to 48 pixels of the shorter
            side, ``tiny`` up to 112, else ``imagenet``; never ``imagenet-299``, whose numbers are
            those of one family of networks.

    Raises:
        ValueError: If there is no such preset.
    """
    if preset == "auto":
        side = min(size)
        return (
            "cifar" if side <= _LARGEST_CIFAR else "tiny" if side <= _LARGEST_TINY else "imagenet"
        )
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of auto, {', '.join(PRESETS)}, got {preset!r}")
    return preset


def check_sides(size: tuple[int, int], what: str) -> None:
    """Refuse images smaller than anything the benchmarks were made for.

    Args:
        size: Height and width in pixels.
        what: Of the message: what is to be done to the images.

    Raises:
        ValueError: If a side is below 16 pixels.
    """
    if min(size) < SMALLEST_SIDE:
        raise ValueError(
            f"images to {what} must be at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels, got "
            f"{size[0]} x {size[1]}; enlarge them first, e.g. by the size of their source"
        )


def spell_out(
    names: str | Sequence[str],
    what: str,
    protocols: Mapping[str, tuple[str, ...]],
    known: tuple[str, ...],
) -> tuple[str, ...]:
    """Names and protocols as the names they stand for, each once, in the order given.

    Args:
        names: One, or several in any mixture.
        what: Of the message: what is named.
        protocols: The names each protocol stands for.
        known: All names.

    Raises:
        ValueError: If a name is neither, or there is none.
    """
    given = (names,) if isinstance(names, str) else tuple(names)
    choices = (*known, *protocols)
    for name in given:
        if name not in choices:
            near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.0)
            raise ValueError(
                f"unknown {what} {name!r}, did you mean {near[0]!r}? There are "
                f"{', '.join(known)}; and the lists {', '.join(protocols)}"
            )
    if not given:
        raise ValueError(f"names must be at least one {what} or list of them, got none")
    return tuple(dict.fromkeys(part for name in given for part in protocols.get(name, (name,))))

"""Whose constants: the published sets differ by the size of their images.

A preset names the set whose numbers are used. The corruptions and the sequences both have a table a
preset, and both choose it here.
"""

PRESETS = ("cifar", "tiny", "imagenet")

_LARGEST_CIFAR = 48  # pixels of the shorter side
_LARGEST_TINY = 112


def resolve_preset(preset: str, size: tuple[int, int]) -> str:
    """The preset itself, or for ``"auto"`` the one made for images of about this size.

    Args:
        preset: ``"cifar"``, ``"tiny"``, ``"imagenet"`` or ``"auto"``.
        size: Height and width in pixels. ``"auto"`` is ``cifar`` up to 48 pixels of the shorter
            side, ``tiny`` up to 112, else ``imagenet``.

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

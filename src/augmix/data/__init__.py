"""Image data, and the settings that every command that reads images shares."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from augmix.errors import check_fields

OnError = Literal["raise", "skip"]
Orientation = Literal["ignore", "apply"]
BIT_DEPTHS = range(9, 17)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How image files are read."""

    on_error: OnError | None = None
    """On a broken image: stop (raise), or leave it out and name it (skip). None is raise, or what a
    run was trained with."""
    exif_orientation: Orientation | None = None
    """Turn photographs upright by their EXIF tag (apply), or take them as stored, as in the
    ImageNet protocol (ignore). None is ignore, or what a run was trained with."""
    background: str | None = None
    """Colour behind transparent pixels, e.g. white or #ff8800. None drops the transparency, so that
    the colours stored below it appear."""
    bit_depth: int | None = None
    """Bits of the levels in files with more than 8, 9..16, e.g. 12. None goes by the header of the
    file."""

    image_column: str | None = None
    """Column of a parquet file, or array of an npz file, that holds the images. None goes by the
    usual names."""
    label_column: str | None = None
    """Column or array that holds the labels. None goes by the usual names."""

    def __post_init__(self) -> None:
        depth = self.bit_depth
        check_fields(
            self,
            on_error=(self.on_error in (None, "raise", "skip"), "'raise' or 'skip'"),
            exif_orientation=(
                self.exif_orientation in (None, "ignore", "apply"),
                "'ignore' or 'apply'",
            ),
            bit_depth=(depth is None or depth in BIT_DEPTHS, "9..16 bits"),
        )
        if self.background is not None:
            from PIL import ImageColor

            try:
                ImageColor.getrgb(self.background)
            except ValueError:
                raise ValueError(
                    "background must be a colour such as white, #ff8800 or rgb(255,136,0), got "
                    f"{self.background!r}"
                ) from None

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are not None, as arguments of `sources.open_source`."""
        named = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that change pixels."""
        names = ("exif_orientation", "background", "bit_depth")
        kept = {name: value for name, value in self.given.items() if name in names}
        return {name: value for name, value in kept.items() if value != "ignore"}


def __getattr__(name: str) -> Any:
    if name == "views_loader":  # loads torch
        from augmix.data.views import views_loader

        return views_loader
    raise AttributeError(f"module 'augmix.data' has no attribute {name!r}")

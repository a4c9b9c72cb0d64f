"""Images that are to be stylised: any source, with the number and file of every image."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from augmix.data.sources import Source, Subset, name_source, open_source, take
from augmix.stylize.settings import FitConfig, StylizeConfig

FOLDER_SIDE = 224  # of the images of a folder, out of 256 (Stylized-ImageNet)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Content:
    """The images, with what the pictures of them are drawn and named by.

    Attributes:
        source: The images.
        ids: Of every image in the whole set, so that a part of a set gets the same styles.
        files: Where every image lies below its set, for sets of image files; else empty.
    """

    source: Source
    ids: Int64[np.ndarray, " image"]
    files: tuple[str, ...]

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        return min(self.source.size)


def open_content(config: StylizeConfig | FitConfig) -> Content:
    """Open the images that the settings name; of ``max_images`` above 0 a fixed random part.

    Raises:
        ValueError: If a setting is out of range.
        RunError: If the data is missing or broken.
    """
    kind = name_source(config.src) if config.source == "auto" else config.source
    source = open_source(
        kind,
        root=None if kind == "digits" else config.src,
        split=config.split,
        size=config.size or (FOLDER_SIDE if kind == "folder" else 0),
        on_error=config.on_error,
    )
    files = getattr(source, "files", ())
    ids = np.arange(len(source), dtype=np.int64)
    if config.max_images:
        source = take(source, config.max_images)
        if isinstance(source, Subset):
            ids = source.ids
    return Content(source=source, ids=ids, files=tuple(files[i] for i in ids) if files else ())

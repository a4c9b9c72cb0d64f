"""Images that are to be stylised: any source, with the number and file of every image."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from augmix.data.items import OnError
from augmix.data.sources import Source, Subset, open_source, take
from augmix.stylize.settings import Kind

_KINDS = {".npz": "npz", ".parquet": "parquet"}
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


def open_content(
    src: str, *, kind: Kind, split: str, size: int, max_images: int, on_error: OnError
) -> Content:
    """Open what lies at ``src``; of ``max_images`` above 0 a fixed random part.

    Args:
        src: Folder or file, or the word ``digits``.
        kind: Of source; ``auto`` takes digits, npz and parquet by name, all else for a folder.
        split: As for `open_source`.
        size: Side of the images in pixels; 0 keeps the stored size, and brings those of a folder to
            224.
        max_images: 0 takes all.
        on_error: As for `open_source`.

    Raises:
        ValueError: If an argument is out of range.
        RunError: If the data is missing or broken.
    """
    name: str = kind
    if kind == "auto":
        name = "digits" if src == "digits" else _KINDS.get(Path(src).suffix.lower(), "folder")
    source = open_source(
        name,
        root=None if name == "digits" else src,
        split=split,
        size=size or (FOLDER_SIDE if name == "folder" else 0),
        on_error=on_error,
    )
    files = getattr(source, "files", ())
    ids = np.arange(len(source), dtype=np.int64)
    if max_images:
        source = take(source, max_images)
        if isinstance(source, Subset):
            ids = source.ids
    return Content(source=source, ids=ids, files=tuple(files[i] for i in ids) if files else ())

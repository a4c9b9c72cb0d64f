"""Content images and style images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int64, Integer, UInt8
from PIL import Image

from augmix.data import Reading
from augmix.data.decode import FORMATS, Geometry, ImageError, decode_image
from augmix.data.derived import Subset, take
from augmix.data.folders import FileItems
from augmix.data.sources import name_source, open_source
from augmix.data.stores import Source
from augmix.data.trees import FolderTree
from augmix.errors import RunError
from augmix.rng import Purpose, Stream
from augmix.stylize import FitConfig, StylizeConfig

WRITING, FITTING, CROPPING = 0, 1, 2  # parts of Purpose.STYLE
_FOLDER_SIZE = 224  # pixels, of the images of a folder (Stylized-ImageNet)
_MIN_STYLE_SIZE = 96  # pixels, by default; in 32 pixels a painting is noise
_MAX_DRAWS = 100  # of a style for one image, if style images are broken


@dataclass(kw_only=True)
class StyleImages:
    """The style images below a folder, in the order of their paths, at one size.

    They are loaded when they are needed, and kept while memory allows.
    """

    MEMORY_BYTES: ClassVar[int] = 2**29

    folder: Path
    files: tuple[str, ...]  # paths below the folder
    fingerprint: str  # sha256 of paths and numbers of bytes
    size: int  # height and width of the squares, in pixels
    geometry: Geometry  # how files are read: at a broken one, work stops or another is drawn
    broken: dict[int, str] = field(default_factory=dict)
    _cache: dict[int, UInt8[np.ndarray, "size size 3"]] = field(default_factory=dict)

    def draw_any(
        self, ids: Integer[np.ndarray, " batch"], stream: Stream, *, attempt: int = 0
    ) -> Int64[np.ndarray, " batch"]:
        """Draw a style for every image of these ids, each equally likely, at the image's address.

        ``stream`` is of `Purpose.STYLE`; ``attempt`` is 1 if the first style image was broken, etc.
        """
        uniforms = stream.uniforms(ids, count=1, first_block=attempt)[0, :, 0]
        return (uniforms * len(self.files)).astype(np.int64)

    def draw(
        self, ids: Integer[np.ndarray, " batch"], stream: Stream
    ) -> Int64[np.ndarray, " batch"]:
        """Draw a readable style for every image; see `draw_any`.

        Raises:
            RunError: If a style image is broken and may not be skipped, or none can be read.
        """
        drawn = self.draw_any(ids, stream)
        for attempt in range(1, _MAX_DRAWS):
            bad = np.array([not self._is_usable(int(index)) for index in drawn], bool)
            if not bad.any():
                return drawn
            drawn[bad] = self.draw_any(ids[bad], stream, attempt=attempt)
        raise RunError(
            f"{_MAX_DRAWS} images in a row could not be read in {self.folder}; the last: "
            f"{next(reversed(self.broken.values()))}"
        )

    def image(self, index: int) -> UInt8[np.ndarray, "size size 3"]:
        """Return the centre square of a style image, resized by Pillow's Lanczos filter.

        Raises:
            ImageError: If it is broken; the message names its file.
        """
        if index in self._cache:
            return self._cache[index]
        path = self.folder / self.files[index]
        try:
            image = crop_square(decode_image(path.read_bytes(), self.geometry), size=self.size)
        except ImageError as error:
            raise ImageError(f"cannot use style image {path}: {error}") from error
        except OSError as error:
            raise ImageError(f"cannot read style image {path}: {error.strerror}") from error
        if (len(self._cache) + 1) * image.nbytes <= self.MEMORY_BYTES:
            self._cache[index] = image
        return image

    def _is_usable(self, index: int) -> bool:
        if index in self.broken:
            return False
        try:
            self.image(index)
        except ImageError as error:
            if self.geometry.reading.on_error != "skip":
                raise RunError(
                    f"{error}; repair or remove it, or draw other styles instead with "
                    "--on-error skip"
                ) from error
            self.broken[index] = str(error)
            return False
        return True


def find_styles(folder: Path | str) -> Path:
    """The folder of style images. Raises a RunError if none is named or there is none."""
    if not str(folder):
        raise RunError("name a folder of style images with --styles, such as paintings")
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise RunError(f"{root} {what}; name a folder of style images with --styles")
    return root


def open_styles(folder: Path | str, *, size: int, reading: Reading | None = None) -> StyleImages:
    """Find the style images of a folder, at any depth; hidden files are ignored."""
    root = find_styles(folder)
    listing = FolderTree(root).walk()
    files = listing.images
    if not files:
        raise RunError(
            f"{root} holds no style image; expected files of {', '.join(FORMATS)}{listing.summary}"
        )
    digest = FileItems(root=root, paths=files).digest(np.arange(len(files)))
    geometry = Geometry(reading=reading or Reading())
    changes = geometry.reading.changes
    digest += repr(changes) if changes else ""
    return StyleImages(folder=root, files=files, fingerprint=digest, size=size, geometry=geometry)


def crop_square(
    pixels: UInt8[np.ndarray, "height width channel=3"], *, size: int
) -> UInt8[np.ndarray, "size size channel=3"]:
    """Crop the largest centre square and resize it by Lanczos, as for Stylized-ImageNet."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    square = Image.fromarray(pixels[top : top + shorter, left : left + shorter])
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def choose_style_size(requested: int | None, content_size: int) -> int:
    """Return the size of the style images: by default that of the content, at least 96 pixels."""
    return requested or max(_MIN_STYLE_SIZE, content_size)


def style_stream(seed: int, part: int) -> Stream:
    """Return the stream that draws styles for writing or fitting, or random crops."""
    return Stream(seed=seed).at(Purpose.STYLE, part=part)


def open_content(config: StylizeConfig | FitConfig) -> Source:
    """Open the content images that a configuration names, or a fixed random subset of them."""
    kind = config.source or name_source(config.src)
    source = open_source(
        kind,
        root=config.src,
        split=config.split,
        size=config.size or (_FOLDER_SIZE if kind == "folder" else 0),
        is_lazy=True if config.max_images else None,
        **config.reading.given,
    )
    return take(source, config.max_images) if config.max_images else source


def find_ids(source: Source) -> Int64[np.ndarray, " image"]:
    """Return the ids of images in the whole set, so that a subset gets the same styles."""
    return source.ids if isinstance(source, Subset) else np.arange(len(source), dtype=np.int64)

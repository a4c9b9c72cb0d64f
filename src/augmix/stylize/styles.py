"""Content and style pictures."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer, UInt8
from PIL import Image

from augmix.data.decode import FORMATS, SUFFIXES, ImageError, decode_image
from augmix.data.derived import Subset, take
from augmix.data.sources import Source, name_source, open_source
from augmix.data.stores import OnError
from augmix.errors import RunError
from augmix.rng import Purpose, Stream
from augmix.stylize.config import FitConfig, StylizeConfig

WRITING, FITTING, CUTTING = 0, 1, 2  # parts of Purpose.STYLE
_LEAST_SIDE = 96  # of a style picture by default; in 32 pixels a painting is noise
_MOST_DRAWS = 100  # for one image, while broken pictures are drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Styles:
    """The pictures below a folder, in the order of their paths.

    Attributes:
        folder: Where they lie.
        files: Their paths below it.
        fingerprint: Sha256 of paths and numbers of bytes.
    """

    folder: Path
    files: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.files)

    def load(self, index: int, *, side: int) -> UInt8[np.ndarray, "side side channel=3"]:
        """A picture's centre square, brought to ``side`` pixels by Pillow's Lanczos filter.

        Raises:
            ImageError: If it is broken; the message names its file.
        """
        path = self.folder / self.files[index]
        try:
            pixels = decode_image(path.read_bytes())
        except ImageError as error:
            raise ImageError(f"cannot use style picture {path}: {error}") from error
        except OSError as error:
            raise ImageError(f"cannot read style picture {path}: {error.strerror}") from error
        return cut_square(pixels, side=side)

    def draw(
        self, ids: Integer[np.ndarray, " batch"], stream: Stream, *, turn: int = 0
    ) -> Int64[np.ndarray, " batch"]:
        """The picture of every image, each equally likely, drawn at the image's address.

        Args:
            ids: Image ids.
            stream: Of `Purpose.STYLE`.
            turn: 0 for the first draw, 1 if that picture was broken, and so on.
        """
        uniforms = stream.uniforms(ids, count=1, first_block=turn)[0, :, 0]
        return (uniforms * len(self)).astype(np.int64)


def open_styles(folder: Path | str) -> Styles:
    """The style pictures of a folder, at any depth; hidden files are none.

    Raises:
        RunError: If there is no such folder or no picture in it.
    """
    if not str(folder):
        raise RunError("name a folder of style pictures with --styles, such as paintings")
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise RunError(f"{root} {what}; name a folder of style pictures with --styles")
    found = sorted(
        (Path(place) / file).relative_to(root).as_posix()
        for place, _, files in os.walk(root)
        for file in files
        if not file.startswith(".") and Path(file).suffix.lower() in SUFFIXES
    )
    if not found:
        raise RunError(f"{root} holds no style picture; expected files of {', '.join(FORMATS)}")
    hasher = hashlib.sha256()
    for file in found:
        hasher.update(os.fsencode(file) + f"\0{(root / file).stat().st_size}\n".encode())
    return Styles(folder=root, files=tuple(found), fingerprint=hasher.hexdigest())


def cut_square(
    pixels: UInt8[np.ndarray, "height width channel=3"], *, side: int
) -> UInt8[np.ndarray, "side side channel=3"]:
    """The largest centre square, resized by Lanczos, as Stylized-ImageNet has its paintings."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    square = Image.fromarray(pixels[top : top + shorter, left : left + shorter])
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))


def style_side(asked: int, side: int) -> int:
    """The side style pictures are brought to: what is asked, else that of the images, at least 96.

    Args:
        asked: 0 leaves the choice.
        side: Of the images as the encoder sees them, in pixels.
    """
    return asked or max(_LEAST_SIDE, side)


def style_stream(seed: int, part: int) -> Stream:
    """Where styles are drawn for writing, for fitting, or where squares are cut."""
    return Stream(seed=seed).at(Purpose.STYLE, part=part)


class StyleShelf:
    """Style pictures at one size, loaded when first asked for and kept while memory allows.

    Args:
        styles: The pictures.
        side: Of every square in pixels.
        on_error: ``raise`` stops at a broken picture; ``skip`` draws another for the image.
    """

    MEMORY_BYTES = 2**29

    def __init__(self, styles: Styles, *, side: int, on_error: OnError) -> None:
        self.styles = styles
        self.side = side
        self.on_error = on_error
        self.broken: dict[int, str] = {}
        self._kept: dict[int, UInt8[np.ndarray, "side side 3"]] = {}

    def draw(
        self, ids: Integer[np.ndarray, " batch"], stream: Stream
    ) -> Int64[np.ndarray, " batch"]:
        """A picture that can be read for every image; see `Styles.draw`.

        Raises:
            RunError: If a picture is broken and is not to be skipped, or none can be read.
        """
        drawn = self.styles.draw(ids, stream)
        for turn in range(1, _MOST_DRAWS):
            bad = np.array([not self._is_usable(int(index)) for index in drawn], bool)
            if not bad.any():
                return drawn
            drawn[bad] = self.styles.draw(ids[bad], stream, turn=turn)
        raise RunError(
            f"{_MOST_DRAWS} pictures in a row could not be read in {self.styles.folder}; the last: "
            f"{next(reversed(self.broken.values()))}"
        )

    def image(self, index: int) -> UInt8[np.ndarray, "side side 3"]:
        """A picture, which must be readable."""
        if index in self._kept:
            return self._kept[index]
        picture = self.styles.load(index, side=self.side)
        if (len(self._kept) + 1) * picture.nbytes <= self.MEMORY_BYTES:
            self._kept[index] = picture
        return picture

    def _is_usable(self, index: int) -> bool:
        if index in self.broken:
            return False
        try:
            self.image(index)
        except ImageError as error:
            if self.on_error == "raise":
                raise RunError(
                    f"{error}; mend or remove it, or draw other pictures instead with "
                    "--on-error skip"
                ) from error
            self.broken[index] = str(error)
            return False
        return True


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

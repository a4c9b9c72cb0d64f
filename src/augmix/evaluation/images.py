"""Images of each cell: clean, corrupted on the fly, or read from official files.

Image i of an official set is image i of the clean one, which its size, number and labels confirm.

Images are addressed by their ids in the source, whoever makes them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from augmix.corruptions import corrupt as corruptions
from augmix.corruptions import frost, registry
from augmix.corruptions import perturb as perturbations
from augmix.data.benchmarks import Layout, Sequences, find_layout, open_corrupted, open_perturbed
from augmix.data.folders import Photographs
from augmix.data.sources import Source
from augmix.errors import RunError
from augmix.results import CellKey

_NUM_OPEN = 4  # sets that are kept open: the cell measured, the next one, the examples'


@dataclass(frozen=True, kw_only=True, eq=False)
class OfficialFiles:
    """A -C or -P set on disk.

    Attributes:
        layout: Where everything is.
        source: The clean images it was made of.
        difficulty: Of a -P set: noise of difficulty 2 or 3 lies under names of its own.
    """

    layout: Layout
    source: Source
    difficulty: int = 1

    @property
    def suite(self) -> str:
        """``c`` or ``p``."""
        return self.layout.kind[-1]

    @property
    def title(self) -> str:
        """The set's folder and form."""
        return f"{self.layout.root.name} ({self.layout.kind})"

    def images(self, name: str, severity: int) -> Source:
        """The images of a corruption at a severity.

        Raises:
            RunError: If a file is missing, broken, or not of this source.
        """
        return _open_images(self, name, severity)

    def sequences(self, name: str) -> Sequences:
        """The sequences of a perturbation.

        Raises:
            RunError: If a file is missing, broken, or not of this source.
        """
        return _open_sequences(self, name)

    def fingerprint(self, name: str, severity: int) -> str:
        """sha256 of the files of a cell; of paths and sizes where they are trees."""
        if self.suite == "p":
            return self.sequences(name).fingerprint
        return self.images(name, severity).fingerprint


def find_official(
    folders: Iterable[Path | str], source: Source, *, difficulty: int = 1
) -> dict[str, OfficialFiles]:
    """The sets that lie in some folders, by suite: ``c``, ``p`` or both.

    Raises:
        RunError: If a folder holds no set, or two hold sets of one suite.
    """
    found: dict[str, OfficialFiles] = {}
    for folder in folders:
        layout = find_layout(Path(folder).expanduser())
        files = OfficialFiles(layout=layout, source=source, difficulty=difficulty)
        if files.suite in found:
            raise RunError(
                f"{found[files.suite].layout.root} and {layout.root} both hold sets of suite "
                f"{files.suite}; name one of them with --official"
            )
        found[files.suite] = files
    return found


@lru_cache(maxsize=_NUM_OPEN)
def _open_images(files: OfficialFiles, name: str, severity: int) -> Source:
    is_tree = files.layout.kind == "imagenet-c"
    class_names = files.source.class_names if is_tree else ()
    images = open_corrupted(files.layout, name, severity, class_names=class_names)
    _check_fit(files, f"{name} {severity}", len(images), images.size)
    if not np.array_equal(images.labels, files.source.labels):
        first = int((images.labels != files.source.labels).argmax())
        raise RunError(
            f"{files.title}, {name} {severity}: expected the images of {_describe(files.source)} "
            f"in its order, but the label of image {first} is {int(images.labels[first])} there "
            f"and {int(files.source.labels[first])} here; name the clean set that it was made of"
        )
    return images


@lru_cache(maxsize=_NUM_OPEN)
def _open_sequences(files: OfficialFiles, name: str) -> Sequences:
    is_noise = registry.SEQUENCES.find(name).is_noise
    stored = f"{name}_{files.difficulty}" if is_noise and files.difficulty > 1 else name
    sequences = open_perturbed(files.layout, stored)
    _check_fit(files, stored, len(sequences), sequences.size)
    return sequences


def _check_fit(files: OfficialFiles, what: str, count: int, size: tuple[int, int]) -> None:
    source = files.source
    if (count, size) != (len(source), source.size):
        raise RunError(
            f"{files.title}, {what}: expected {len(source)} images of {source.size[0]}x"
            f"{source.size[1]} (height x width) like {_describe(source)}, got {count} of "
            f"{size[0]}x{size[1]}; name the clean set that it was made of, and its --size"
        )


def _describe(source: Source) -> str:
    return f"{source.name}, split {source.split}"


Ids = Int64[np.ndarray, " batch"]
Frames = UInt8[np.ndarray, "batch frame height width channel"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sets:
    """Where the images of the keys come from.

    Attributes:
        source: The clean images.
        preset: Strength table of what is made on the fly.
        seed: Of its draws.
        difficulty: Of the perturbations: strength of noise, stride of the others.
        frost_textures: Folder of the published photographs for frost; None for those drawn here.
        jpeg_quality: Corrupted images are coded as JPEG of this quality and decoded; None: not.
        official: Files that are read instead of damaging images on the fly, by suite.
        photographs: The source's images at their own size, from which sequences are made as the
            published scripts do. None moves the source's images themselves, so that frames are as
            large as they are and black comes in at their border.
    """

    source: Source
    preset: str
    seed: int
    difficulty: int = 1
    frost_textures: Path | None = None
    jpeg_quality: int | None = None
    official: Mapping[str, OfficialFiles] = field(default_factory=dict)
    photographs: Photographs | None = None

    def images(self, key: CellKey, ids: Ids) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images of a key of ``clean`` or ``c``; of ``attack`` those that are attacked.

        Raises:
            RunError: If a file is missing, broken, or not of this source.
        """
        suite, name, severity = key
        if suite in ("clean", "attack"):
            return self.source.load(ids)
        if suite == "c" and "c" in self.official:
            return self.official["c"].images(name, severity).load(ids)
        return corruptions.corrupt(
            self.source.load(ids),
            name,
            severity=severity,
            preset=self.preset,
            seed=self.seed,
            ids=ids,
            frost_textures=self.frost_textures,
            jpeg_quality=self.jpeg_quality,
        )

    def frames(self, name: str, ids: Ids) -> Frames:
        """The whole sequences of some images under a perturbation.

        Raises:
            RunError: If a file is missing, broken, or not of this source.
        """
        if "p" in self.official:
            return self.official["p"].sequences(name).load(ids)
        if self.photographs is not None:
            return np.stack([self._photograph(self.photographs, name, int(row)) for row in ids])
        return perturbations.perturb(
            self.source.load(ids),
            name,
            preset=self.preset,
            seed=self.seed,
            ids=ids,
            difficulty=self.difficulty,
            size=self.source.size,
        )

    def num_frames(self, name: str) -> int:
        """Frames of every sequence of a perturbation."""
        if "p" in self.official:
            return self.official["p"].sequences(name).num_frames
        return registry.num_frames(name, self.preset)

    def describe(self, keys: Sequence[CellKey]) -> dict[str, Any]:
        """What of the protocol decides about the images of these keys."""
        suites = {key[0] for key in keys}
        facts: dict[str, Any] = {"preset": self.preset, "seed": self.seed}
        if "c" in suites:
            has_frost = "c" not in self.official and any(key[1] == "frost" for key in keys)
            facts |= {
                "suite_version": corruptions.SUITE_VERSION,
                "frost_textures": self._describe_frost() if has_frost else "",
                "jpeg_quality": self.jpeg_quality,
                "official_c": self._title("c"),
            }
        if "own" in suites:
            own = [key for key in keys if key.suite == "own"]
            names = list(dict.fromkeys(key.name for key in own))
            facts |= {
                "own": registry.CORRUPTIONS.hash_own(names),
                "own_severities": list(dict.fromkeys(key.severity for key in own)),
                "own_jpeg_quality": self.jpeg_quality,
            }
        if "p" in suites:
            facts |= {
                "sequence_version": perturbations.SEQUENCE_VERSION,
                "difficulty": self.difficulty,
                "official_p": self._title("p"),
                "frames_of": self._describe_frames(),
            }
            if own := registry.SEQUENCES.hash_own([key.name for key in keys if key.suite == "p"]):
                facts["own_sequences"] = own
        return facts

    def _describe_frost(self) -> str:
        where = "drawn by augmix" if self.frost_textures is None else "photographs"
        return f"{where}, sha256 {frost.fingerprint(self.frost_textures)}"

    def _describe_frames(self) -> str:
        if "p" in self.official:
            return "official files"
        return "images as measured" if self.photographs is None else "photographs at their size"

    def _title(self, suite: str) -> str:
        return self.official[suite].title if suite in self.official else ""

    def _photograph(
        self, photographs: Photographs, name: str, row: int
    ) -> UInt8[np.ndarray, "frame height width channel"]:
        frames = perturbations.photograph_frames(
            photographs.load_one(row),
            name,
            preset=self.preset,
            seed=self.seed,
            sample=row,
            difficulty=self.difficulty,
        )
        return np.stack(list(frames))

"""The images of every spot: clean, damaged on the fly, or read from the official files.

Images are addressed by their ids in the source, whoever makes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from augmix.corrupt import frost
from augmix.corrupt import sequences as perturbations
from augmix.corrupt import suite as corruptions
from augmix.data.folders import Photographs
from augmix.data.sources import Source
from augmix.engine.official import OfficialFiles
from augmix.engine.spots import Spot

Ids = Int64[np.ndarray, " batch"]
Frames = UInt8[np.ndarray, "batch frame height width channel"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sets:
    """Where the images of the spots come from.

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

    def images(self, spot: Spot, ids: Ids) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images of a spot of ``clean`` or ``c``; of ``attack`` those that are attacked.

        Raises:
            RunError: If a file is missing, broken, or not of this source.
        """
        suite, name, severity = spot
        if suite in ("clean", "attack"):
            return self.source.load(ids)
        if "c" in self.official:
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
        return perturbations.num_frames(name, self.preset)

    def describe(self, spots: Sequence[Spot]) -> dict[str, Any]:
        """What of the protocol decides about the images of these spots."""
        suites = {spot[0] for spot in spots}
        facts: dict[str, Any] = {"preset": self.preset, "seed": self.seed}
        if "c" in suites:
            has_frost = "c" not in self.official and any(spot[1] == "frost" for spot in spots)
            facts |= {
                "suite_version": corruptions.SUITE_VERSION,
                "frost_textures": self._describe_frost() if has_frost else "",
                "jpeg_quality": self.jpeg_quality,
                "official_c": self._title("c"),
            }
        if "p" in suites:
            facts |= {
                "sequence_version": perturbations.SEQUENCE_VERSION,
                "difficulty": self.difficulty,
                "official_p": self._title("p"),
                "frames_of": self._describe_frames(),
            }
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

"""Suites: the cells each consists of, the images of every cell, and the facts of its protocol.

A new suite is a subclass of `Suite` with ``@register_suite("name")``. Images are addressed by their
ids in the source.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8

from augmix.arrays import to_float
from augmix.corruptions import presets, registry, weather
from augmix.corruptions.corrupt import (
    SEQUENCE_VERSION,
    SUITE_VERSION,
    corrupt,
    perturb,
    photograph_frames,
)
from augmix.data.decode import Geometry, check_resize
from augmix.data.natural import NaturalSet, open_natural
from augmix.data.sources import Source
from augmix.data.stores import Photographs
from augmix.errors import RunError, check_textures
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.images import OfficialFiles, find_official
from augmix.evaluation.predictor import Predictor, check_gradient, repeatable_gradients
from augmix.methods.attacks import Attack, worst_logits
from augmix.results import CellKey, fold_frequency
from augmix.rng import Purpose, Stream

CLEAN = CellKey("clean", "clean", 0)
OWN, BAR = registry.OWN, registry.BAR  # suites of the user's own corruptions, and of C-bar
Ids = Int64[np.ndarray, " batch"]
Pixels = Float32[np.ndarray, "batch channel height width"]
Logits = Float64[np.ndarray, "batch class"]

# Norm of Fourier-basis perturbations, and edge of the images in pixels (Yin et al. 2019)
_PUBLISHED_NORMS = {"cifar": (4.0, 32), "imagenet": (15.7, 224)}
_FRAME_EDGES = {"tiny": 64, "imagenet": 224, "imagenet-299": 299}  # of published sequences, in px
_FULL_MAP = 64  # edge of images of which all frequencies are measured
_LARGE_MAP = 63  # frequencies along the edge of larger ones
_CLEAN_TWIN = "-clean"  # after the name of a set of natural shift: clean images of its classes
_NATURAL_PART = 3  # of Purpose.SPLIT; data.sources has 0 and 1, the clean images 2
_MOST_RESTARTS = 1024  # parts of a stream
_TRIED_IMAGES = 8  # before an attack: one image alone may have no gradient by chance


@dataclass(frozen=True, kw_only=True, eq=False)
class Suite(ABC):
    """Base of the suites: cells that are measured on the images of one source."""

    name: ClassVar[str]
    config: EvaluateConfig
    source: Source  # the clean images
    official: OfficialFiles | None = None  # read instead of making images on the fly

    @classmethod
    @abstractmethod
    def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
        """List the cells a configuration asks for, in order; an unknown name is a ValueError."""

    def cells(self) -> list[CellKey]:
        """List the cells on this source, where these depend on its images."""
        return self.list_cells(self.config)

    def images(
        self, key: CellKey, ids: Ids
    ) -> UInt8[np.ndarray, "batch *frame height width channel"]:
        """Make or read the images of a cell, or the frames of its sequences; else the source's.

        A file that is missing, broken, or not of this source is a `RunError`.
        """
        return self.source.load(ids)

    def describe(self) -> dict[str, Any]:
        """Return the settings that decide the numbers of this suite, for the protocol."""
        return {}

    def note(self) -> str:
        """Say what a reader may not expect of this suite on these images; empty for nothing."""
        return ""

    def check(self) -> None:
        """Refuse images that are too small or do not fit each other, by a ValueError."""
        return

    def check_model(self, predictor: Predictor, ids: Ids) -> None:
        """Refuse a model that cannot be measured, before any cell is, by a RunError."""
        return

    def num_frames(self, key: CellKey) -> int:
        """Return how many forms of each image the model sees at once, such as frames; 0 for one."""
        return 0

    def is_noise(self, key: CellKey) -> bool:
        """Return whether frames are compared with the first one of their sequence."""
        return False

    def num_passes(self, key: CellKey) -> int:
        """Return how many images the model is shown for each image measured, at most."""
        return self.num_frames(key) or 1

    def ids(self, key: CellKey, ids: Ids) -> Int64[np.ndarray, " image"]:
        """Return the images of a cell, given those of the source that are measured."""
        return ids

    def outputs(self, key: CellKey) -> Int64[np.ndarray, " output"]:
        """Return the model's outputs that are compared; all by default."""
        return np.arange(self.source.num_classes)

    def labels(self, key: CellKey, ids: Ids, logits: Logits) -> Ids:
        """Return the right column of the compared logits for every image."""
        return self.source.labels[ids]

    def logits(self, predictor: Predictor, images: Pixels, key: CellKey, ids: Ids) -> Logits:
        """Compute the logits of images or frames of a cell; raises as `Predictor.logits`."""
        return predictor.logits(images, key, ids)

    @cached_property
    def preset(self) -> str | registry.Preset:
        """Severity table of what is made on the fly; a file is read once."""
        return presets.find_preset(self.config.preset, self.source.size)


SUITES: dict[str, type[Suite]] = {}


AnySuite = TypeVar("AnySuite", bound=Suite)


def register_suite(name: str) -> Callable[[type[AnySuite]], type[AnySuite]]:
    """Make a suite known by its name."""

    def register(suite: type[AnySuite]) -> type[AnySuite]:
        suite.name = name
        SUITES[name] = suite
        return suite

    return register


def list_cells(config: EvaluateConfig) -> list[CellKey]:
    """List the cells of all suites of a configuration, each once.

    A ValueError if a suite, a name or a severity is unknown, or nothing is asked for.
    """
    cells = [key for suite in _chosen(config) for key in suite.list_cells(config)]
    if not cells:
        raise ValueError("nothing to measure: name a suite, and for 'c' at least one severity")
    return list(dict.fromkeys(cells))


def _chosen(config: EvaluateConfig) -> list[type[Suite]]:
    for name in config.suite:
        if name not in SUITES or name == OWN:
            known = ", ".join(name for name in SUITES if name != OWN)
            raise ValueError(f"suite must be of {known}; got {name!r}")
    names = {*config.suite, *([OWN, BAR] if "c" in config.suite else [])}
    return [suite for name, suite in SUITES.items() if name in names]


def open_suites(config: EvaluateConfig, source: Source) -> dict[str, Suite]:
    """Open the suites of a configuration on the images of a source, in the order of `SUITES`.

    Raises:
        ValueError: If official files are of no suite that is measured, or `Suite.check` refuses.
        RunError: If an official folder holds no set, or two hold sets of one suite.
    """
    official = find_official(config.official, source, difficulty=config.difficulty)
    measured = {suite.name for suite in _chosen(config) if suite.list_cells(config)}
    for suite, files in official.items():
        if suite not in measured:
            raise ValueError(
                f"{files.layout.root} holds official files of suite {suite!r}, which is not "
                f"measured; suites asked for: {', '.join(sorted(config.suite))}"
            )
    _check_made(config, official)
    if config.official_resize is not None:
        if not {"c", BAR} & set(official):
            raise ValueError(
                f"official_resize {config.official_resize} would have no effect: it is for -C "
                "files, named with official"
            )
        if len(set(source.size)) > 1:
            raise ValueError(f"official_resize needs square images, got {source.size}")
        check_resize(config.official_resize, source.size[0], "the images' edge", "torchvision")
    found = {
        suite.name: suite(config=config, source=source, official=official.get(suite.name))
        for suite in _chosen(config)
        if suite.name in measured
    }
    for suite in found.values():
        suite.check()
    return found


def _check_made(config: EvaluateConfig, official: Mapping[str, OfficialFiles]) -> None:
    """Refuse settings of images made on the fly where files are read, or none are of that kind."""
    corrupted = {"c", BAR} & set(config.suite)
    names = {key.name for suite in _chosen(config) for key in suite.list_cells(config)}
    rules: dict[str, tuple[bool, str]] = {
        "jpeg_quality": (bool(corrupted - set(official)), "official files are read as they are"),
        "frost_textures": ("c" not in official, "official files are read as they are"),
    }
    for name, (is_used, reason) in rules.items():
        if getattr(config, name) is not None and not is_used:
            raise ValueError(f"{name} {getattr(config, name)} would have no effect: {reason}")
    if "c" in config.suite:
        check_textures(config.frost_textures, names)


@register_suite("clean")
class Clean(Suite):
    """The images of the source."""

    @classmethod
    def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
        return [CLEAN]


@register_suite("c")
class Corruptions(Suite):
    """Corrupted images, at several severities."""

    @classmethod
    def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
        severities = [registry.check_severity(severity) for severity in config.severities]
        names = registry.CORRUPTIONS.resolve(config.names)
        return [
            CellKey(cls.name, name, severity)
            for name in names
            if registry.CORRUPTIONS[name].suite == cls.name
            for severity in severities
        ]

    def check(self) -> None:
        if self.official is None:
            registry.check_size(self.source.size, "corrupt")
            presets.check_levels(self.preset, [(key.name, key.severity) for key in self.cells()])
            return
        between = [key for key in self.cells() if key.severity not in registry.SEVERITIES]
        if between:
            raise ValueError(
                f"severity {between[0].severity} is not in {self.official.title}: sets are read at "
                "1, 2, 3, 4 or 5; measure those between on the fly, without --official"
            )

    def images(self, key: CellKey, ids: Ids) -> UInt8[np.ndarray, "batch height width channel"]:
        if self.official is not None:
            images = self.official.open(key).load(ids)
            if self.config.official_resize is None:
                return images
            geometry = Geometry(size=self.source.size[0], resize=self.config.official_resize)
            return np.stack([geometry.apply_to_array(image) for image in images])
        return corrupt(
            self.source.load(ids),
            key.name,
            severity=key.severity,
            preset=self.preset,
            seed=self.config.seed,
            ids=ids,
            frost_textures=self.config.frost_textures,
            jpeg_quality=self.config.jpeg_quality,
        )

    def describe(self) -> dict[str, Any]:
        """Return names, severities and the version of the corruptions."""
        cells = self.list_cells(self.config)
        names = list(dict.fromkeys(key.name for key in cells))
        textures = ""
        if self.official is None and "frost" in names:
            folder = self.config.frost_textures
            kind = "drawn by augmix" if folder is None else "photographs"
            textures = f"{kind}, sha256 {weather.frost_fingerprint(folder)}"
        return {
            "names": names,
            "severities": list(dict.fromkeys(key.severity for key in cells)),
            "suite_version": SUITE_VERSION,
            "frost_textures": textures,
            "jpeg_quality": self.config.jpeg_quality,
            "official_c": self.official.title if self.official else "",
            "official_resize": self.config.official_resize,
        }


@register_suite(OWN)
class OwnCorruptions(Corruptions):
    """Images under the user's own corruptions, which are outside the means of the benchmark.

    They are named among the corruptions of suite ``c``.
    """

    def describe(self) -> dict[str, Any]:
        """Return the severities, and by name the sha256 of the code."""
        names = [key.name for key in self.list_cells(self.config)]
        return {
            "own": registry.CORRUPTIONS.hash_own(names),
            "own_severities": list(dict.fromkeys(self.config.severities)),
            "own_jpeg_quality": self.config.jpeg_quality,
        }


@register_suite(BAR)
class BarCorruptions(Corruptions):
    """Images under corruptions of C-bar: those named, or the ten of the set of the preset."""

    @classmethod
    def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
        named = super().list_cells(config)
        if named or cls.name not in config.suite:
            return named
        if "c" not in config.suite and config.names != EvaluateConfig().names:
            raise ValueError(
                f"names {', '.join(config.names)} would have no effect: suite {cls.name!r} has "
                f"{', '.join(registry.CORRUPTIONS.protocols['cifar-bar'])} and others; take them "
                "out, name some of these, or add suite 'c'"
            )
        names = "cifar-bar" if config.preset == "cifar" else "imagenet-bar"
        return super().list_cells(replace(config, names=(names,)))

    def cells(self) -> list[CellKey]:
        """List the cells, whose names depend on the size of the images."""
        preset = registry.resolve_preset("auto", self.source.size)  # of a file
        preset = self.preset if isinstance(self.preset, str) else preset
        return self.list_cells(replace(self.config, preset=preset))

    def describe(self) -> dict[str, Any]:
        """Return names, severities and the version of the corruptions."""
        cells = self.cells()
        return {
            "bar_names": list(dict.fromkeys(key.name for key in cells)),
            "bar_severities": list(dict.fromkeys(key.severity for key in cells)),
            "bar_version": SUITE_VERSION,
            "bar_jpeg_quality": self.config.jpeg_quality,
            "official_bar": self.official.title if self.official else "",
            "official_bar_resize": self.config.official_resize,
        }


@register_suite("p")
class Perturbations(Suite):
    """Perturbation sequences.

    Where published frames have the size of the images, sequences start from the photographs as
    stored, as the published scripts do; else the images themselves move, and black comes in at
    their border.
    """

    @classmethod
    def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
        return [CellKey("p", name, 0) for name in registry.SEQUENCES.resolve(config.sequences)]

    def check(self) -> None:
        if self.official is None:
            registry.check_size(self.source.size, "perturb")

    @cached_property
    def preset(self) -> str:
        """Parameter table of what is made on the fly: a published one."""
        return registry.resolve_preset(str(self.config.preset), self.source.size)

    @cached_property
    def photographs(self) -> Photographs | None:
        """The photographs that sequences start from; None for the images themselves."""
        edge = _FRAME_EDGES.get(self.preset)
        if self.official is not None or self.source.size != (edge, edge):
            return None
        return self.source.photographs()

    def note(self) -> str:
        edge = _FRAME_EDGES.get(self.preset)
        if self.official is not None or self.photographs is not None or edge is None:
            return ""
        reason = f"source {self.source.name!r} holds arrays of one size, no photographs"
        if self.source.size != (edge, edge):
            height, width = self.source.size
            reason = f"published frames have {edge}x{edge} pixels, these images {height}x{width}"
        return (
            f"sequences of suite 'p' move the images as measured, with black at their border, and "
            f"not the photographs as the published ones do: {reason}"
        )

    def num_frames(self, key: CellKey) -> int:
        if self.official is not None:
            return self.official.open(key).num_frames
        return registry.num_frames(key.name, self.preset)

    def is_noise(self, key: CellKey) -> bool:
        return registry.SEQUENCES.find(key.name).is_noise

    def images(
        self, key: CellKey, ids: Ids
    ) -> UInt8[np.ndarray, "batch frame height width channel"]:
        if self.official is not None:
            return self.official.open(key).load(ids)
        how: dict[str, Any] = {
            "preset": self.preset,
            "seed": self.config.seed,
            "difficulty": self.config.difficulty,
        }
        if self.photographs is None:
            images = self.source.load(ids)
            return perturb(images, key.name, ids=ids, size=self.source.size, **how)
        load = self.photographs.load_one
        sequences = (photograph_frames(load(i), key.name, sample=i, **how) for i in ids.tolist())
        return np.stack([np.stack([*frames]) for frames in sequences])

    def describe(self) -> dict[str, Any]:
        """Return names, difficulty and the version of the perturbations."""
        frames_of = "images as measured"
        if self.official is not None:
            frames_of = "official files"
        elif self.photographs is not None:
            frames_of = "photographs at their size"
        names = [key.name for key in self.list_cells(self.config)]
        own = registry.SEQUENCES.hash_own(names)
        return {
            "sequences": names,
            "sequence_version": SEQUENCE_VERSION,
            "difficulty": self.config.difficulty,
            "official_p": self.official.title if self.official else "",
            "frames_of": frames_of,
            **({"own_sequences": own} if own else {}),
        }


@register_suite("natural")
class Natural(Suite):
    """Other photographs of the classes, and the clean images of the same classes.

    The cell ``NAME-clean`` has the clean images of the classes of set ``NAME``, by the same
    outputs; for a set of all classes it is the cell of suite ``clean``.
    """

    @classmethod
    def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
        """List a cell for each folder; which sets they hold, `cells` says."""
        if not config.natural:
            raise ValueError("suite 'natural' needs the folders of its sets: --natural DIR ...")
        return [CellKey(cls.name, path.name, 0) for path in config.natural]

    @cached_property
    def sets(self) -> dict[str, NaturalSet]:
        """The sets by name."""
        found: dict[str, NaturalSet] = {}
        for path in self.config.natural:
            for each in open_natural(path, self.source):
                if each.name in found:
                    raise RunError(f"{path} holds {each.name!r}, which another folder holds too")
                found[each.name] = each
        return found

    def cells(self) -> list[CellKey]:
        keys = []
        for name, each in self.sets.items():
            suffixes = ("", _CLEAN_TWIN) if each.outputs is not None else ("",)
            keys += [CellKey(self.name, name + suffix, 0) for suffix in suffixes]
        return keys

    def _find(self, key: CellKey) -> tuple[NaturalSet, bool]:
        """The set of a cell, and whether the cell is of the clean images of its classes."""
        if key.name in self.sets:
            return self.sets[key.name], False
        return self.sets[key.name.removesuffix(_CLEAN_TWIN)], True

    def note(self) -> str:
        return "; ".join(filter(None, (each.note for each in self.sets.values())))

    def describe(self) -> dict[str, Any]:
        """Return the fingerprint of each set."""
        prints = {name: each.source.fingerprint for name, each in self.sets.items()}
        return {"natural": prints}

    def ids(self, key: CellKey, ids: Ids) -> Int64[np.ndarray, " image"]:
        found, is_clean = self._find(key)
        if is_clean:
            own = ids[np.isin(self.source.labels[ids], self.outputs(key))]
        elif found.source is self.source:
            own = ids if found.ids is None else np.intersect1d(ids, found.ids)
        else:
            every = np.arange(len(found.source)) if found.ids is None else found.ids
            most, stream = self.config.max_images, Stream(seed=self.config.seed)
            order = stream.at(Purpose.SPLIT, part=_NATURAL_PART).permutation(len(every))
            own = np.sort(every[order[:most]])
        if not len(own):
            raise RunError(
                f"{key.name}: none of the {len(ids)} clean images measured is of its classes; "
                "measure more of them (--max-images)"
            )
        return own

    def outputs(self, key: CellKey) -> Int64[np.ndarray, " output"]:
        found, _ = self._find(key)
        return super().outputs(key) if found.outputs is None else found.outputs

    def images(self, key: CellKey, ids: Ids) -> UInt8[np.ndarray, "batch height width channel"]:
        found, is_clean = self._find(key)
        return (self.source if is_clean else found.source).load(ids)

    def logits(
        self, predictor: Predictor, images: Pixels, key: CellKey, ids: Ids
    ) -> Float64[np.ndarray, "batch output"]:
        """Compute the logits of the outputs that are compared."""
        return predictor.logits(images, key, ids)[:, self.outputs(key)]

    def labels(self, key: CellKey, ids: Ids, logits: Logits) -> Ids:
        """Return the right column; of several right ones the one predicted, else the first."""
        found, is_clean = self._find(key)
        labels = (self.source if is_clean else found.source).labels[ids]
        if found.answers is not None and not is_clean:
            predicted = logits.argmax(axis=1).tolist()
            right = [found.answers[index] for index in ids.tolist()]
            pairs = zip(predicted, right, strict=True)
            labels = np.array([p if p in each else min(each) for p, each in pairs], np.int64)
        return np.searchsorted(self.outputs(key), labels)


@register_suite("attack")
class Attacked(Suite):
    """Images attacked by projected gradient descent.

    An image counts by the model's worst answer: to the image itself, or to an attacked form of it.
    The starts of the attacks are drawn by seed and image, so they depend neither on the batch nor
    on the number of processes.
    """

    @classmethod
    def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
        """List the one cell, which is named after the norm."""
        if not 1 <= config.attack_restarts <= _MOST_RESTARTS:
            raise ValueError(
                f"attack_restarts must be 1..{_MOST_RESTARTS}, got {config.attack_restarts}"
            )
        return [CellKey("attack", _attack(config).norm, 0)]

    def num_passes(self, key: CellKey) -> int:
        """Return how often an image that resists is shown to the model."""
        return 1 + self.config.attack_restarts * (self.config.attack_steps + 1)

    def describe(self) -> dict[str, Any]:
        """Return the settings of the attack, defaults as numbers."""
        attack = _attack(self.config)
        return {
            "attack_norm": attack.norm,
            "attack_epsilon": attack.radius,
            "attack_steps": attack.num_steps,
            "attack_step_size": attack.step,
            "attack_restarts": self.config.attack_restarts,
        }

    def check_model(self, predictor: Predictor, ids: Ids) -> None:
        key = self.list_cells(self.config)[0]
        ids = ids[: min(self.config.batch_size, _TRIED_IMAGES)]
        check_gradient(predictor, to_float(self.images(key, ids)), key, ids)

    def logits(self, predictor: Predictor, images: Pixels, key: CellKey, ids: Ids) -> Logits:
        """Compute the worst logits of each image; see `attacks.worst_logits`."""
        with predictor.computing(images.shape), repeatable_gradients():
            found = worst_logits(
                predictor.model,
                torch.from_numpy(images).to(predictor.device),
                torch.from_numpy(self.source.labels[ids]).to(predictor.device),
                ids,
                attack=_attack(self.config),
                stream=Stream(seed=self.config.seed),
                num_restarts=self.config.attack_restarts,
            )
        return predictor.check_logits(found, key, ids)


@register_suite("fourier")
class Fourier(Suite):
    """Images under single Fourier-basis perturbations, a cell for each vertical frequency.

    The heat map of Yin et al. (2019), "A Fourier Perspective on Model Robustness in Computer
    Vision": to each channel of an image the real basis image of one frequency is added, with the
    norm given and a random sign; values outside [0, 1] are clipped. The signs are drawn by seed,
    frequency, image and channel.
    """

    @classmethod
    def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
        """List the cell of vertical frequency 0, which every map has; see `cells`."""
        return [CellKey(cls.name, "vertical-0", 0)]

    def cells(self) -> list[CellKey]:
        """List the cells of the map."""
        return [CellKey(self.name, f"vertical-{vertical}", 0) for vertical in self._rows]

    def check(self) -> None:
        size, most = self.config.fourier_size, min(self.source.size)
        if size is not None and size > most:
            raise ValueError(
                f"fourier_size must be 1..{most}, the frequencies of images of "
                f"{self.source.size[0]}x{self.source.size[1]} pixels, got {size}"
            )

    @property
    def map_size(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        if self.config.fourier_size is not None:
            return self.config.fourier_size, self.config.fourier_size
        height, width = (edge if edge <= _FULL_MAP else _LARGE_MAP for edge in self.source.size)
        return height, width

    @cached_property
    def _rows(self) -> dict[int, tuple[int, ...]]:
        """The horizontal frequencies that are measured, by vertical frequency."""
        rows, columns = self.map_size
        found: dict[int, set[int]] = {}
        for row, column in np.ndindex(rows, columns):
            frequency = row - rows // 2, column - columns // 2
            vertical, horizontal = fold_frequency(*frequency, self.source.size)
            found.setdefault(vertical, set()).add(horizontal)
        return {vertical: tuple(sorted(found[vertical])) for vertical in sorted(found)}

    def frequencies(self, key: CellKey) -> tuple[int, tuple[int, ...]]:
        """Return the vertical frequency of a cell, and the horizontal ones."""
        vertical = int(key.name.rpartition("-")[2])
        return vertical, self._rows[vertical]

    def num_frames(self, key: CellKey) -> int:
        return len(self.frequencies(key)[1])

    @property
    def norm(self) -> float:
        """Norm of a perturbation in each channel."""
        if self.config.fourier_norm is not None:
            return self.config.fourier_norm
        norm, edge = _PUBLISHED_NORMS["cifar" if self.preset == "cifar" else "imagenet"]
        return norm * (math.sqrt(math.prod(self.source.size)) / edge)

    def describe(self) -> dict[str, Any]:
        """Return norm and size of the map."""
        return {"fourier_norm": self.norm, "fourier_size": list(self.map_size)}

    def logits(
        self, predictor: Predictor, images: Pixels, key: CellKey, ids: Ids
    ) -> Float64[np.ndarray, "shown class"]:
        """Compute the logits of every image at every horizontal frequency, image by image."""
        vertical, horizontal = self.frequencies(key)
        waves = _waves(vertical, horizontal, self.source.size, predictor.device)
        signs = fourier_signs(
            vertical, horizontal, ids, num_channels=images.shape[1], seed=self.config.seed
        )
        strength = torch.from_numpy(self.norm * signs).float().to(predictor.device)
        clean = torch.from_numpy(images).to(predictor.device)[:, None]
        noisy = clean + strength[..., None, None] * waves[:, None]
        batch = noisy.clamp_(0, 1).flatten(0, 1)
        with predictor.computing(tuple(batch.shape)), torch.inference_mode():
            logits = predictor.model(batch)
        return predictor.check_logits(logits, key, np.repeat(ids, len(horizontal)))


def fourier_basis(
    vertical: int, horizontal: Sequence[int], size: tuple[int, int]
) -> Float32[np.ndarray, "frequency height width"]:
    """Compute real basis images of the Fourier transform, of norm 1.

    The transform of each is 0 but at its frequency and the negative of it. The phase is that of the
    code released with Yin et al. (2019), ``_get_fourier_basis``: cos + sin.

    Args:
        vertical: Cycles over the height, as `fold_frequency` returns them.
        horizontal: Cycles over the width.
        size: Height and width in pixels.
    """
    height, width = size
    rows = vertical * np.arange(height) % height / height
    columns = np.outer(horizontal, np.arange(width)) % width / width
    angle = 2 * np.pi * (rows[:, None] + columns[:, None, :])
    return ((np.cos(angle) + np.sin(angle)) / math.sqrt(height * width)).astype(np.float32)


def fourier_signs(
    vertical: int, horizontal: Sequence[int], ids: Ids, *, num_channels: int, seed: int
) -> Float64[np.ndarray, "batch frequency channel"]:
    """Draw the signs of the perturbations, 1 or -1, for every image, frequency and channel."""
    stream = Stream(seed=seed, purpose=Purpose.FOURIER, epoch=vertical)
    # horizontal frequencies 0, -1, 1, -2, 2, ... draw one after the other
    number = np.array([2 * each if each >= 0 else -2 * each - 1 for each in horizontal])
    drawn = stream.uniforms(ids, count=num_channels * (int(number.max()) + 1))[0]
    return np.where(drawn.reshape(len(ids), -1, num_channels)[:, number] < 0.5, -1.0, 1.0)


@lru_cache(maxsize=1)
def _waves(
    vertical: int, horizontal: tuple[int, ...], size: tuple[int, int], device: torch.device
) -> torch.Tensor:
    return torch.from_numpy(fourier_basis(vertical, horizontal, size)).to(device)


def _attack(config: EvaluateConfig) -> Attack:
    return Attack(
        norm=config.attack_norm,
        epsilon=config.attack_epsilon,
        num_steps=config.attack_steps,
        step_size=config.attack_step_size,
    )

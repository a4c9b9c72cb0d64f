"""Corruptions and perturbation sequences by name, open to the user's own.

A corruption is a function ``(image, *parameters, generator) -> image`` and its parameters for five
severities; `augmix.corrupt` calls it. The published ones are the table in `augmix.corruptions`.
A user adds one with `register_corruption`, or names it ``python:FILE:FUNCTION`` wherever a name is
asked for:

    @augmix.register_corruption("scratches", severities=(2, 4, 8, 16, 32))
    def scratches(image, count, *, generator):
        image = image.copy()
        image[generator.integers(0, len(image), count)] = 255
        return image

The user's own corruptions are measured and reported like the published ones, but lie outside the
means of the benchmark.
"""

import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import UInt8

from augmix.corruptions.draws import Generators
from augmix.errors import RunError, check_name, did_you_mean
from augmix.rng import Purpose, Stream
from augmix.user_code import PREFIX, describe_error, hash_function, import_object, source_file

Real = float | int
ImageDraws = np.random.Generator | np.random.RandomState  # of one image
Draws = ImageDraws | Generators
Image = UInt8[np.ndarray, "height width channel"]
Images = UInt8[np.ndarray, "*batch height width channel"]
Frame = UInt8[np.ndarray, "row column channel"]
Frames = Iterator[Frame]
Parameters = tuple[Any, ...]  # of a function, in its units

SEVERITIES = (1, 2, 3, 4, 5)
DIFFICULTIES = (1, 2, 3)
PRESETS = ("cifar", "tiny", "imagenet", "imagenet-299")
OWN = "own"  # group and suite of the user's corruptions
BAR = "c-bar"  # group and suite of those of Mintun et al. (2021)
SMALLEST_SIZE = 16  # pixels
LAST_POSITION = 40  # on the scale of `Corruption.parameters_on_scale`
NOT_NEGATIVE = (0.0, math.inf)

_LARGEST = {"cifar": 48, "tiny": 112}  # pixels of the shorter edge
_FIRST_OWN = 2**63  # numbers from here on are hashes of the names of the user's corruptions
_SEQUENCE_PART = 512  # of the stream's address; the corruptions have the parts below


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Preset:
    """Parameters of corruptions by severity that are no published ones.

    `augmix.corruptions.presets` reads and writes the file of one.
    """

    name: str
    """Of messages, results and reports."""
    table: Mapping[str, tuple[Parameters | None, ...]]
    """By corruption, severity 1 first; None where a severity has no parameters."""

    @property
    def sha256(self) -> str:
        """Of the table, whatever the name and the order of the corruptions."""
        rows = {name: [each and list(each) for each in self.table[name]] for name in self.table}
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()

    def levels(self, name: str) -> tuple[int, ...]:
        """Return the severities at which a corruption has parameters."""
        return tuple(k for k, found in enumerate(self.table.get(name, ()), 1) if found is not None)


AnyPreset = str | Path | Preset
"""The name of a published preset, the file of another one, or what it holds."""


def resolve_preset(preset: str, size: tuple[int, int]) -> str:
    """Return the preset itself, or for ``"auto"`` the one made for images of about this size.

    ``"auto"`` is ``cifar`` up to 48 pixels of the shorter edge, ``tiny`` up to 112, else
    ``imagenet``; never ``imagenet-299``, whose parameters belong to one family of networks.

    Raises:
        ValueError: If there is no such preset.
    """
    if preset == "auto":
        return next((name for name, most in _LARGEST.items() if min(size) <= most), "imagenet")
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of auto, {', '.join(PRESETS)}, got {preset!r}")
    return preset


def check_size(size: tuple[int, int], verb: str) -> None:
    """Refuse images smaller than any that the benchmarks were made for: below 16 pixels."""
    if min(size) < SMALLEST_SIZE:
        raise ValueError(
            f"images to {verb} must be at least {SMALLEST_SIZE} x {SMALLEST_SIZE} pixels, got "
            f"{size[0]} x {size[1]}; enlarge them first, e.g. with the size of their source"
        )


def check_severity(severity: Any, name: str = "") -> Real:
    """Return a severity of 1 to 5, a whole one as an int.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range.

    Example:
        >>> check_severity(3.0), check_severity(2.5)
        (3, 2.5)
    """
    if isinstance(severity, bool) or not isinstance(severity, int | float | np.number):
        raise TypeError(f"severity must be a number, got {severity!r}")
    if not 1 <= severity <= SEVERITIES[-1]:
        whose = f" for corruption {name!r}" if name else ""
        raise ValueError(f"severity must be 1..5, got {severity}{whose}")
    return int(severity) if severity == int(severity) else float(severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A corruption or perturbation sequence."""

    name: str
    """Of files, folders and results."""
    number: int
    """Address of its draws: position in the published order, or a hash of a user's name."""
    group: str
    """Heading under which it is shown."""
    function: Callable[..., Any]
    parameters: Mapping[str, tuple[Any, ...]]
    """By preset, in the function's units."""
    code_sha256: str = ""
    """Of the user's code, which is part of the identity of results; empty for published ones."""
    reference: str = ""
    """``python:FILE:FUNCTION``, which another process can load; empty if it lies in no file."""

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own, and so outside the means of the benchmark."""
        return bool(self.code_sha256)

    def stream_at(self, seed: int, part: int, own_part: int) -> Stream:
        """Return the stream at a part of the published addresses, or of this entry's own seed.

        A user's entry draws from a seed spawned by the hash of its name: its draws can neither
        meet the published ones nor depend on what else is registered.
        """
        stream = Stream(seed=seed)
        if self.is_own:
            return stream.spawn(self.number).at(Purpose.CORRUPTION, part=own_part)
        return stream.at(Purpose.CORRUPTION, part=part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption(_Entry):
    """A corruption: ``function(image, *parameters, generator=generator)`` returns the image.

    `parameters` holds five tuples for each preset, severity 1 first.
    """

    origin: tuple[Real | None, ...] | None = None
    """Parameters that leave an image as it is, or nearly so: severity 0 of `parameters_on_scale`.
    One that is None is that of severity 1. None if they are not known."""
    limits: tuple[tuple[Real, Real], ...] = ()
    """Least and largest value of each parameter; without limits if there are none."""
    takes_batches: bool = False
    """Whether the function also takes a batch and its `Generators`, to the same bytes."""

    @property
    def suite(self) -> str:
        """Suite of its results: ``c``, ``c-bar``, or ``own`` for the user's."""
        return OWN if self.is_own else BAR if self.group == BAR else "c"

    def stream(self, seed: int, severity: Real) -> Stream:
        """Return the stream from which the images of a severity are drawn.

        A severity between two whole ones draws as the lower one.
        """
        return self.stream_at(seed, self.number * 8 + int(severity), int(severity))

    @property
    def kinds(self) -> tuple[bool, ...] | None:
        """Whether each parameter is a whole number; None if the function takes any number."""
        found = [*inspect.signature(self.function).parameters.values()][1:]
        if any(each.kind is each.VAR_POSITIONAL for each in found):
            return None
        named = [each for each in found if each.kind is each.POSITIONAL_OR_KEYWORD]
        return tuple(each.annotation in (int, "int") for each in named)

    def parameters_at(self, preset: str | Preset, severity: Real) -> Parameters:
        """Return the parameters of a severity of 1 to 5.

        Between two whole severities they are interpolated linearly; those that the function takes
        as whole numbers (an annotation ``int``) are rounded, a half up.

        Raises:
            ValueError: If a preset has no such severity of this corruption, or a parameter is no
                number, so that nothing lies between two of them.
        """
        low = int(severity)
        part = severity - low
        first = self._level(preset, low)
        if not part:
            return first
        return self._between(first, self._level(preset, low + 1), part, f"severity {severity}")

    def parameters_on_scale(self, preset: str, position: Real) -> Parameters:
        """Return the parameters at a position of the severity scale, which continues at both ends.

        Positions 1 to 5 are severities, see `parameters_at`. Below 1 the scale goes to `origin`
        at 0. Above 5 every severity adds as much as the step from 4 to 5, within `limits`.

        Args:
            preset: A published one.
            position: 0 to `LAST_POSITION`; from 1 on if the corruption has no origin.
        """
        table, what = self.parameters[preset], f"position {position}"
        if position < 1:
            assert self.origin is not None  # 1 is the first position without it
            pairs = zip(self.origin, table[0], strict=True)
            origin = tuple(mild if low is None else low for low, mild in pairs)
            return self._between(origin, table[0], position, what)
        if position <= len(table):
            return self.parameters_at(preset, position)
        more = self._between(table[-2], table[-1], 1 + position - len(table), what)
        limits = self.limits or ((-math.inf, math.inf),) * len(more)
        pairs = zip(more, limits, strict=True)
        return tuple(min(max(each, low), high) for each, (low, high) in pairs)

    def _level(self, preset: str | Preset, severity: int) -> Parameters:
        if isinstance(preset, str):
            return self.parameters[preset][severity - 1]
        row = preset.table.get(self.name, ())
        found = row[severity - 1] if severity <= len(row) else None
        if found is None:
            raise ValueError(f"preset {preset.name!r} has no severity {severity} of {self.name!r}")
        return found

    def _between(self, before: Parameters, after: Parameters, part: Real, what: str) -> Parameters:
        """Go a part of the way from some parameters to others, or beyond them."""
        kinds = self.kinds or (False,) * len(before)
        found = []
        for is_whole, *ends in zip(kinds, before, after, strict=False):
            if not all(isinstance(each, int | float) and type(each) is not bool for each in ends):
                raise ValueError(
                    f"{what} of {self.name!r} lies between {ends[0]!r} and {ends[1]!r}, "
                    "which are no numbers; take a whole severity"
                )
            value = ends[0] + part * (ends[1] - ends[0])
            found.append(math.floor(value + 0.5) if is_whole else value)
        return tuple(found)

    def at(self, preset: str | Preset, severity: Real) -> Callable[[Images, Draws], Images]:
        """Return the function that corrupts an image at a severity; see `parameters_at`.

        It corrupts a batch as well where `takes_batches` says so.

        The user's code is called with a copy; if it fails or returns something else than such an
        image, a `RunError` is raised.
        """
        function, parameters = self.function, self.parameters_at(preset, severity)
        if not self.is_own:
            return lambda image, generator: function(image, *parameters, generator=generator)

        def corrupt(image: Image, generator: Draws) -> Image:
            what = f"corruption {self.name!r}"
            try:
                result = function(image.copy(), *parameters, generator=generator)
            except Exception as error:
                raise RunError(f"{what} failed: {describe_error(error)}") from error
            return _check_made(result, image.shape, what)

        return corrupt


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbation(_Entry):
    """A perturbation sequence: ``function(scene, *parameters, num_frames=n, generator=generator)``
    yields the frames.

    `parameters` holds a tuple for each preset; for noise the strength at difficulty 1, 2 and 3, of
    which the function gets one.
    """

    num_frames: Mapping[str, int]
    """By preset."""
    is_noise: bool
    """Whether frames are compared with the first, clean one; otherwise with the frame before."""

    def stream(self, seed: int) -> Stream:
        """Return the stream from which the sequences are drawn."""
        return self.stream_at(seed, _SEQUENCE_PART + self.number, _SEQUENCE_PART)

    def apply(self, scene: Any, preset: str, difficulty: int, generator: Draws) -> Frames:
        """Return the frames of one scene.

        Raises:
            RunError: If the user's code fails or yields something else than such frames.
        """
        parameters = self.parameters[preset]
        if self.is_noise:
            parameters = (parameters[difficulty - 1],)
        count = self.num_frames[preset]
        frames = self.function(scene, *parameters, num_frames=count, generator=generator)
        return self._check_frames(frames, scene, count) if self.is_own else frames

    def _check_frames(self, frames: Any, scene: Any, count: int) -> Frames:
        what = f"perturbation {self.name!r}"
        made, shape = 0, scene.crop().shape
        try:
            for frame in frames:
                yield _check_made(frame, shape, what)
                made += 1
        except RunError:
            raise
        except Exception as error:
            raise RunError(f"{what} failed: {describe_error(error)}") from error
        if made != count:
            raise RunError(f"{what} must yield {count} frames, got {made}")


Entry = TypeVar("Entry", bound=_Entry)


class Registry(dict[str, Entry], Generic[Entry]):
    """Entries by name, in the benchmark's order, the user's own last."""

    def __init__(self, what: str, own: Callable[[Callable[..., Any]], Any]) -> None:
        super().__init__()
        self.what = what  # the noun of messages
        self.protocols: dict[str, tuple[str, ...]] = {}  # the names that a named list stands for
        self.aliases: dict[str, str] = {}  # other spellings of names
        self._register_own = own

    def find(self, name: str) -> Entry:
        """Return an entry by its name, or by the ``python:FILE:FUNCTION`` that makes it.

        Raises:
            ValueError: If there is none.
            RunError: If the user's code cannot be loaded.
        """
        if name.startswith(PREFIX):
            return self._load(name)
        name = self.aliases.get(name, name)
        if name not in self:
            raise ValueError(
                f"unknown {self.what} {name!r}{did_you_mean(name, self, cutoff=0.0)} "
                f"There are {', '.join(self)}; {PREFIX}FILE:FUNCTION names your own"
            )
        return self[name]

    def resolve(self, names: str | Sequence[str]) -> tuple[str, ...]:
        """Return names, named lists and ``python:FILE:FUNCTION`` as names, each once, in order.

        Raises:
            ValueError: If one is unknown, or there is none.
            RunError: If the user's code cannot be loaded.

        Example:
            >>> CORRUPTIONS.resolve(["fog", "extra-4"])
            ('fog', 'speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
        """
        given = (names,) if isinstance(names, str) else tuple(names)
        if not given:
            raise ValueError(f"names must be at least one {self.what} or list of them, got none")
        found: dict[str, None] = {}
        for name in given:
            if name in self.protocols:
                found |= dict.fromkeys(self.protocols[name])
            elif name in self or name in self.aliases or name.startswith(PREFIX):
                found[self.find(name).name] = None
            else:
                guess = did_you_mean(name, [*self, *self.protocols], cutoff=0.0)
                raise ValueError(
                    f"unknown {self.what} {name!r}{guess} There are {', '.join(self)}; the lists "
                    f"{', '.join(self.protocols)}; and {PREFIX}FILE:FUNCTION for your own"
                )
        return tuple(found)

    def hash_own(self, names: Sequence[str]) -> dict[str, str]:
        """Return the sha256 of the code behind each name that is the user's own."""
        return {name: self[name].code_sha256 for name in names if self[name].is_own}

    def references(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return what `resolve` understands in another process.

        Raises:
            RunError: If code of the user's own lies in no file.
        """
        for name in names:
            if self[name].is_own and not self[name].reference:
                raise RunError(
                    f"{self.what} {name!r} must be a top-level function in a file to be used by "
                    "several processes; put it into a .py file, or take one process"
                )
        return tuple(self[name].reference or name for name in names)

    def add(self, entry: Entry) -> None:
        """Add an entry; code of the user's own is replaced by a newer version of itself.

        Raises:
            ValueError: If the name is taken or cannot be a file name.
        """
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*", entry.name, re.ASCII):
            raise ValueError(
                f"the name of a {self.what} must be of letters, digits, _ and -, got {entry.name!r}"
            )
        known = self.get(entry.name)
        is_newer = known is not None and known.is_own and known.reference == entry.reference
        is_taken = entry.name in self.protocols or entry.name in self.aliases
        if is_taken or (known is not None and not is_newer):
            raise ValueError(
                f"there is a {self.what} {entry.name!r} already"
                f"{f' ({known.reference})' if known and known.reference else ''}; "
                "give yours another name"
            )
        self[entry.name] = entry

    def _load(self, text: str) -> Entry:
        for entry in self.values():
            if entry.reference == text and entry.code_sha256 == hash_function(entry.function):
                return entry
        _, function = import_object(text)
        for entry in self.values():
            if entry.function is function:
                return entry
        if not callable(function):
            raise RunError(f"{text} must be a function, got {type(function).__name__}")
        self._register_own(function)
        return self[function.__name__]


Function = TypeVar("Function", bound=Callable[..., Any])


def register_corruption(
    name: str = "",
    *,
    severities: Sequence[Any] | Mapping[str, Sequence[Any]] = SEVERITIES,
    group: str = OWN,
) -> Callable[[Function], Function]:
    """Register a function ``(image, *parameters, generator) -> image`` as a corruption.

    The image is uint8 `height width channel` with 1 or 3 channels and may be changed in place; a
    new one of the same shape is returned. Random numbers must come from ``generator``, a
    `numpy.random.Generator` at the address of (seed, name, severity, id).

    Args:
        name: Of files, folders and results; the function's if not given.
        severities: Parameters of severity 1 to 5, each a number or a tuple; the severity itself if
            not given. A mapping has them for each preset; ``imagenet-299`` is ``imagenet`` if it is
            missing.
        group: Heading under which it is shown.

    Raises:
        ValueError: If the severities are not five, a preset is missing, or the name is taken.

    Example:
        >>> @register_corruption("darker", severities=(0.9, 0.8, 0.7, 0.6, 0.5))
        ... def darker(image, factor, *, generator):
        ...     return (image * factor).astype(np.uint8)
    """

    def register(function: Function) -> Function:
        own = _describe_own(function, name)
        parameters = {
            preset: _check_severities(each, own["name"])
            for preset, each in _by_preset(severities).items()
        }
        CORRUPTIONS.add(Corruption(**own, group=group, parameters=parameters))
        return function

    return register


def register_sequence(
    name: str = "",
    *,
    parameters: Sequence[Any] | Mapping[str, Sequence[Any]] = (),
    num_frames: int = 31,
    is_noise: bool = False,
    group: str = OWN,
) -> Callable[[Function], Function]:
    """Register a function ``(scene, *parameters, num_frames, generator) -> frames``.

    The scene is an `augmix.corruptions.sequences.Scene`: ``scene.crop()`` is the clean frame. The
    function yields uint8 frames of its shape.

    Args:
        name: Of files, folders and results; the function's if not given.
        parameters: Of the function, or a mapping that has them for each preset. For noise the
            strength at difficulty 1, 2 and 3, of which the function gets one.
        num_frames: Frames in a sequence, the first included.
        is_noise: Whether frames are compared with the first, clean one; otherwise with the frame
            before.
        group: Heading under which it is shown.

    Raises:
        ValueError: If noise has not three strengths, a preset is missing, or the name is taken.
    """

    def register(function: Function) -> Function:
        own = _describe_own(function, name)
        by_preset = {preset: tuple(each) for preset, each in _by_preset(parameters).items()}
        if num_frames < 2:
            raise ValueError(f"num_frames must be at least 2, got {num_frames}")
        if is_noise and any(len(each) != len(DIFFICULTIES) for each in by_preset.values()):
            raise ValueError(f"noise {own['name']!r} needs strengths for difficulty 1, 2 and 3")
        SEQUENCES.add(
            Perturbation(
                **own,
                group=group,
                parameters=by_preset,
                num_frames=dict.fromkeys(PRESETS, num_frames),
                is_noise=is_noise,
            )
        )
        return function

    return register


CORRUPTIONS: Registry[Corruption] = Registry("corruption", register_corruption())
SEQUENCES: Registry[Perturbation] = Registry("perturbation", register_sequence())


def num_frames(name: str, preset: str) -> int:
    """Return how many frames a sequence has with a preset, which is not ``"auto"``.

    Raises:
        ValueError: If there is no such sequence or preset.
    """
    check_name("preset", preset, PRESETS)
    return SEQUENCES.find(name).num_frames[preset]


def _describe_own(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The fields that identify a user's function."""
    if not hasattr(function, "__code__"):
        raise TypeError(f"expected a Python function, got {type(function).__name__}")
    name = name or function.__name__
    digest = hashlib.sha256(name.encode()).digest()
    file = source_file(function)
    is_loadable = file is not None and function.__qualname__.isidentifier()
    return {
        "name": name,
        "number": _FIRST_OWN | int.from_bytes(digest[:8], "little"),
        "function": function,
        "code_sha256": hash_function(function),
        "reference": f"{PREFIX}{file}:{function.__name__}" if is_loadable else "",
    }


def _by_preset(given: Any) -> dict[str, Sequence[Any]]:
    if not isinstance(given, Mapping):
        return dict.fromkeys(PRESETS, given)
    table = {"imagenet-299": given.get("imagenet"), **given}
    if set(table) != set(PRESETS) or table["imagenet-299"] is None:
        raise ValueError(f"parameters must be for {', '.join(PRESETS)}, got {', '.join(given)}")
    return table


def _check_severities(given: Sequence[Any], name: str) -> tuple[tuple[Any, ...], ...]:
    if len(given) != len(SEVERITIES):
        raise ValueError(f"corruption {name!r} needs five severities, got {len(given)}")
    return tuple(
        tuple(each) if isinstance(each, Sequence) and not isinstance(each, str) else (each,)
        for each in given
    )


def _check_made(image: Any, shape: tuple[int, ...], what: str) -> Image:
    if getattr(image, "dtype", None) == np.uint8 and image.shape == shape:
        return image
    got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise RunError(f"{what} must return a uint8 image of shape {shape}, got {got}")

"""The base of a plan's stages: one kind of change to the pixels of a batch, as plain arrays.

A new stage is one file, in this package or outside it:

    @register_stage("tint")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Tint(Stage):
        gain: Float32[np.ndarray, "view batch channel"]

        def apply(self, pixels, pictures=None):
            return np.minimum(pixels * self.gain[..., None, None], np.float32(1))

        @staticmethod
        def apply_torch(pixels, *, gain):
            return (pixels * gain[..., None, None]).clamp(max=1)

        def describe(self, index, view, ids):
            return [f"gains {self.gain[view, index]}"]

The shape annotations of its fields say which axis is ``view`` and which is ``batch``; slicing,
joining, saving, checking and the clean view follow from them. A field without an array annotation
is a setting: a number, truth or text that holds for the whole batch.
"""

import functools
import importlib
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, Int64, UInt8

Pixels = (
    Float32[Any, "view batch channel height width"] | UInt8[Any, "_ batch height width channel"]
)
"""What a stage takes: finished views as floats in [0, 1], or 8-bit images before the chains, whose
first axis has one entry as long as all views of an image are alike."""
Pictures = UInt8[Any, "picture picture_height picture_width channel"]
Form = Literal["images", "copies", "views"]

_STAGES: dict[str, type["Stage"]] = {}
_CLASS = TypeVar("_CLASS", bound="type[Stage]")
_STAGE = TypeVar("_STAGE", bound="Stage")


class Field(NamedTuple):
    """A field of a stage: its axes and type if it is an array, None if it is a setting."""

    name: str
    axes: tuple[str, ...] | None
    dtype: np.dtype | None = None  # None where the annotation allows several


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One change to the pixels of a batch.

    Class attributes:
        takes, gives: ``images``, uint8 `view batch height width channel`, whose view axis has one
            entry while all views of an image are alike; or ``views``, float32 `view batch channel
            height width` in [0, 1]. Images come before views. ``copies`` are what
            `stages.chains.Copies` gives: views whose first axis has all copies of a view one after
            another; the stage behind it takes them and gives views.
        rank: Where `Plan.with_stage` puts it: crop 10, chains and copies 40, what combines copies
            45, noise 60, hole 70, pairs 80.
        needs_pictures: Whether it takes the pixels of other pictures, e.g. of a procedural bank. A
            bank is no part of a plan. The stage keeps the numbers of its pictures in an array, and
            the bank's name or seed as a setting; ``render(..., pictures=bank)`` hands the bank to
            `apply` and `apply_torch` as ``pictures``: uint8 `picture height width channel`, of the
            images' channels and of `picture_size`. A stage whose settings ``bank`` and ``size_px``
            are a bank of `augmix.augment.bank` gets that one without being asked for it.
    """

    takes: ClassVar[Form] = "views"
    gives: ClassVar[Form] = "views"
    rank: ClassVar[int] = 50
    needs_pictures: ClassVar[bool] = False

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        """Change a batch of NumPy arrays: the definition, which may not change its input."""
        raise NotImplementedError(f"stage {stage_name(type(self))!r} has no NumPy definition")

    @staticmethod
    def apply_torch(pixels: Pixels, **values: Any) -> Pixels:
        """Change a batch of tensors on any device, without waiting for it.

        The stage's fields come by name: arrays as tensors on the device (unsigned integers of 16
        and 32 bits as int64, float64 as float32 where the device has no float64), settings as
        they are; with `needs_pictures` also ``pictures``.
        """
        raise NotImplementedError("a stage without apply_torch cannot be rendered in batches")

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        """What is done to one view of one image, a line for each thing; nothing if nothing is."""
        return [stage_name(type(self))]

    def check(self, size: tuple[int, int]) -> None:
        """Raise a ValueError for values that images of a height and width cannot have."""

    def check_values(self) -> None:
        """Raise a ValueError for values that no policy draws, e.g. of a damaged file."""
        for name, axes, _ in fields_of(type(self)):
            values = np.asarray(getattr(self, name))
            if axes is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ValueError(f"{name} of stage {stage_name(type(self))!r} must be finite")

    def picture_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the pictures it takes, for images of a size."""
        return size

    def check_channels(self, channels: int) -> None:
        """Raise a ValueError if the stage is not for images of so many channels."""

    def select(self: _STAGE, index: slice | np.ndarray) -> _STAGE:
        """The stage of some images of the batch, in the order asked for.

        A stage whose values are positions in the batch overrides this and `join`.
        """

        def take(values: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
            if "batch" not in axes:
                return values
            return values[(slice(None),) * axes.index("batch") + (index,)]

        return map_arrays(self, take)

    @classmethod
    def join(cls: type[_STAGE], parts: Sequence[_STAGE]) -> _STAGE:
        """The stage of several batches, whose images follow each other."""
        joined = {}
        for name, axes, _ in fields_of(cls):
            if axes and "batch" in axes:
                values = [getattr(part, name) for part in parts]
                joined[name] = np.concatenate(values, axes.index("batch"))
        return replace(parts[0], **joined)

    def with_clean(self: _STAGE) -> _STAGE:
        """The stage with one more view in front that it leaves alone: its values are 0.

        A stage that changes pixels where its values are 0 overrides this.
        """
        return map_arrays(self, add_view)

    def form(self) -> str:
        """What stages of several batches must have in common to be joined, for reading."""
        parts: dict[str, Any] = {}
        for field in fields_of(type(self)):
            values = getattr(self, field.name)
            if field.axes is None:
                parts[field.name] = values
            elif "batch" in field.axes:
                parts |= dict(zip(field.axes, values.shape, strict=True))
            else:
                parts[field.name] = values.tolist()
        parts.pop("batch", None)
        shown = ", ".join(f"{name} {value}" for name, value in parts.items() if name.isidentifier())
        return f"{stage_name(type(self))} ({shown})"

    def check_arrays(self, sizes: dict[str, int]) -> None:
        """Check types and shapes of the arrays; ``sizes`` has the axes known so far, and grows."""
        own = _fixed_axes(type(self)) | sizes
        for name, axes, dtype in fields_of(type(self)):
            if axes is None:
                continue
            values = getattr(self, name)
            fits = len(values.shape) == len(axes) and dtype in (None, values.dtype)
            for axis, size in zip(axes, values.shape, strict=False):
                fits &= own.setdefault(axis, size) == size
            if not fits:
                expected = ", ".join(str(own.get(axis, "any")) for axis in axes)
                raise ValueError(
                    f"field {name} of stage {stage_name(type(self))} must be "
                    f"{dtype or 'an array'} of shape [{' '.join(axes)}] = ({expected}), "
                    f"got {values.dtype} of shape {values.shape}"
                )
        if "view" in own:
            sizes["view"] = own["view"]

    def tensors(self, device: Any = "cpu") -> dict[str, Any]:
        """The fields by name as `apply_torch` takes them."""
        import torch

        real = "float32" if torch.device(device).type == "mps" else "float64"
        found: dict[str, Any] = {}
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if field.axes is not None:
                kind = torch_dtype(value.dtype, real)
                value = torch.from_numpy(np.ascontiguousarray(value.astype(kind))).to(device)
            found[field.name] = value
        return found


def register_stage(name: str) -> Callable[[_CLASS], _CLASS]:
    """Decorator: make a stage known by a name, under which plan files keep it.

    It stands above ``@dataclass(frozen=True, slots=True, kw_only=True)``.

    Raises:
        ValueError: If another class has the name.
    """

    def register(stage: _CLASS) -> _CLASS:
        known = _STAGES.setdefault(name, stage)
        if known is not stage:
            raise ValueError(f"a stage {name!r} is registered already: {known.__module__}")
        return stage

    return register


def find_stage(name: str) -> type[Stage]:
    """The class of a registered stage.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in _STAGES:
        importlib.import_module("augmix.augment.policies")  # which registers all of the package
    if name not in _STAGES:
        raise ValueError(
            f"no stage {name!r} is registered; import the module that defines it "
            f"(known: {', '.join(_STAGES)})"
        )
    return _STAGES[name]


def stage_name(stage: type[Stage]) -> str:
    """The name a stage was registered by, else that of its class."""
    return next((name for name, known in _STAGES.items() if known is stage), stage.__name__)


@functools.cache
def fields_of(stage: type[Stage]) -> tuple[Field, ...]:
    """The fields of a stage with the axes and types of their annotations."""
    hints = typing.get_type_hints(stage)
    found = []
    for name in (field.name for field in fields(stage)):
        hint = hints[name]
        if not hasattr(hint, "dim_str"):
            found.append(Field(name, None))
            continue
        types: list[str] = list(hint.dtypes) if isinstance(hint.dtypes, (tuple, list)) else []
        dtype = np.dtype(types[0]) if len(types) == 1 or "bool" in types else None
        found.append(Field(name, tuple(hint.dim_str.split()), dtype))
    return tuple(found)


@functools.cache
def _fixed_axes(stage: type[Stage]) -> dict[str, int]:
    """The axes of a stage's arrays that are numbers, with their sizes."""
    axes = {axis for field in fields_of(stage) for axis in field.axes or ()}
    return {axis: int(axis) for axis in axes if axis.isdigit()}


def map_arrays(
    stage: _STAGE, change: Callable[[np.ndarray, tuple[str, ...]], np.ndarray]
) -> _STAGE:
    """A stage whose arrays are changed, each given with its axes."""
    changed = {
        field.name: change(getattr(stage, field.name), field.axes)
        for field in fields_of(type(stage))
        if field.axes is not None
    }
    return replace(stage, **changed)


def add_view(values: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
    """An array with one more view of zeros in front, if it has views."""
    if "view" not in axes:
        return values
    clean = np.zeros_like(values.take([0], axes.index("view")))
    return np.concatenate([clean, values], axes.index("view"))


def fold_views(stage: _STAGE, num_views: int) -> _STAGE:
    """The stage for one view of as many images as there were views: view after view, one batch.

    So an executor whose images differ by view renders each of them as an image of its own.
    """

    def fold(values: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
        if axes[:2] == ("view", "batch"):
            return values.reshape(1, -1, *values.shape[2:])
        return np.concatenate([values] * num_views) if axes[:1] == ("batch",) else values

    return map_arrays(stage, fold)


def is_per_view(stage: type[Stage]) -> bool:
    """Whether a stage may do something else to every view of an image."""
    return any(field.axes and "view" in field.axes for field in fields_of(stage))


def torch_dtype(dtype: np.dtype, real: str) -> str:
    """Name of the type in which an array goes to a device."""
    if dtype.name in ("uint16", "uint32", "uint64"):
        return "int64"
    return real if dtype.name == "float64" else dtype.name

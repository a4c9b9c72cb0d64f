"""The plan of a batch: every random decision about its pixels, as data.

A policy draws a plan, an executor carries it out without drawing anything. A plan can be read
(`Plan.describe`), sliced, joined, saved and replayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64

from augmix.augment.ops import own_ops
from augmix.augment.stages import (
    Stage,
    fields_of,
    find_stage,
    fold_views,
    is_per_view,
    map_arrays,
    stage_name,
)
from augmix.augment.stages.chains import Chains, Copies, CropFlip
from augmix.augment.stages.pairs import Pairs
from augmix.augment.stages.patches import Hole, Noise
from augmix.errors import RunError
from augmix.files import load_npz, write_npz

_VERSION = 3  # 1 had the fields of crop and chains, 2 also noise, hole and pairs
_CROP_FIELDS = {"padding": "crop_padding", "crop": "crop", "flip": "flip"}
_STAGE = TypeVar("_STAGE", bound=Stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done to every view of every image of a batch.

    Attributes:
        ids: Sample ids the plan was drawn for.
        size: Height and width in pixels of the images it was drawn for.
        stages: What is done, in this order; see `augmix.augment.stages`.

    The arrays of `CropFlip` (``crop_padding``, ``crop``, ``flip``) and `Chains` (``op``,
    ``amount``, ``weight``, ``mix``) can be read from the plan itself, the other stages of the
    package as ``noise``, ``hole`` and ``pairs``, which are None where a plan has none.
    """

    ids: Int64[np.ndarray, " batch"]
    size: tuple[int, int]
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {"batch": len(self.ids)}
        given = "images"
        for stage in self.stages:
            if stage.takes == "images" and given != "images":
                raise ValueError(
                    f"stage {stage_name(type(stage))!r} takes 8-bit images, so it must come before "
                    "the stages that give or take views"
                )
            if (stage.takes == "copies") != (given == "copies"):
                raise ValueError(
                    "copies and the stage that combines them must follow each other, got "
                    f"{stage_name(type(stage))!r}, which takes {stage.takes}, behind {given}"
                )
            given = stage.gives
            stage.check_arrays(sizes)
            stage.check(self.size)
        if given == "copies":
            raise ValueError("a plan cannot end in copies: add the stage that combines them")

    @property
    def num_views(self) -> int:
        for stage in self.stages:
            for field in fields_of(type(stage)):
                if field.axes and "view" in field.axes:
                    return getattr(stage, field.name).shape[field.axes.index("view")]
        return 1

    @property
    def crop_padding(self) -> int:
        """Black border in pixels before the crop; 0 is no crop."""
        crop = self.find(CropFlip)
        return crop.padding if crop else 0

    @property
    def crop(self) -> Int32[np.ndarray, "batch 2"]:
        crop = self.find(CropFlip)
        return crop.crop if crop else np.zeros((len(self), 2), np.int32)

    @property
    def flip(self) -> Bool[np.ndarray, " batch"]:
        crop = self.find(CropFlip)
        return crop.flip if crop else np.zeros(len(self), bool)

    @property
    def chains(self) -> Chains:
        """The chains; where the plan has none, empty ones that are not mixed in.

        Copies are given as the chains of their view, which nothing has mixed yet.
        """
        copies = self.find(Copies)
        if copies is None:
            return self.find(Chains) or Chains.unchanged(self.num_views, len(self))
        weight = np.full(copies.op.shape[:3], 1 / copies.op.shape[2], np.float32)
        mix = np.ones(copies.op.shape[:2], np.float32)
        return Chains(op=copies.op, amount=copies.amount, weight=weight, mix=mix)

    @property
    def op(self) -> Int8[np.ndarray, "view batch chain depth"]:
        return self.chains.op

    @property
    def amount(self) -> Float64[np.ndarray, "view batch chain depth"]:
        return self.chains.amount

    @property
    def weight(self) -> Float32[np.ndarray, "view batch chain"]:
        return self.chains.weight

    @property
    def mix(self) -> Float32[np.ndarray, "view batch"]:
        return self.chains.mix

    @property
    def noise(self) -> Noise | None:
        return self.find(Noise)

    @property
    def hole(self) -> Hole | None:
        return self.find(Hole)

    @property
    def pairs(self) -> Pairs | None:
        return self.find(Pairs)

    def find(self, kind: type[_STAGE]) -> _STAGE | None:
        """The first stage of a class, or None."""
        return next((stage for stage in self.stages if isinstance(stage, kind)), None)

    def with_stage(self, stage: Stage) -> "Plan":
        """The plan with one more stage, behind those of the same or a lower rank."""
        position = sum(other.rank <= stage.rank for other in self.stages)
        return replace(self, stages=(*self.stages[:position], stage, *self.stages[position:]))

    def without(self, kind: type[Stage]) -> "Plan":
        """The plan without its stages of a class."""
        return replace(self, stages=tuple(x for x in self.stages if not isinstance(x, kind)))

    def __len__(self) -> int:
        """Images in the batch."""
        return len(self.ids)

    def __getitem__(self, index: slice | np.ndarray | Sequence[int] | int | np.integer) -> "Plan":
        """The plan of some images of the batch, in the order asked for.

        Raises:
            ValueError: If the plan pairs an image with one that is left out.
        """
        if isinstance(index, (int, np.integer)):
            raise TypeError(
                f"index a plan by a slice or a list of positions, e.g. [{index}:{index + 1}]"
            )
        if not isinstance(index, slice):
            index = np.asarray(index)
        stages = tuple(stage.select(index) for stage in self.stages)
        return replace(self, ids=self.ids[index], stages=stages)

    def with_clean(self) -> "Plan":
        """The plan with one more view in front: the image itself, flipped and cropped.

        It has neither noise nor a hole; where images are paired, it is paired like the others.
        """
        return replace(self, stages=tuple(stage.with_clean() for stage in self.stages))

    def take_views(self, views: Sequence[int]) -> "Plan":
        """The plan of some of its views, in the order asked for; a view may be asked for twice."""

        def take(values: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
            return values.take(views, axes.index("view")) if "view" in axes else values

        return replace(self, stages=tuple(map_arrays(stage, take) for stage in self.stages))

    def describe(self, index: int, view: int = 0) -> str:
        """The recipe of one view of one image, for reading.

        Example:
            >>> from augmix import AugMix
            >>> from augmix import Stream
            >>> ids, stream = np.arange(2), Stream(seed=0)
            >>> plan = AugMix().sample(ids, num_views=1, size=(32, 32), stream=stream)
            >>> print(plan.describe(0).splitlines()[0])
            image 0, view 0: 0.31 clean + 0.69 mixture
        """
        title, first, middle = f"image {self.ids[index]}, view {view}", [], []
        for stage in self.stages:
            lines = stage.describe(index, view, self.ids)
            if stage.gives == "images":
                first += lines
            elif stage.takes == "images" and lines:
                title, middle = f"{title}: {lines[0]}", lines[1:]
        lines = [f"first: {line}" for line in first] + middle
        lines += [f"then: {line}" for line in self.describe_finish(index, view)]
        return "\n  ".join([title, *lines])

    def describe_finish(self, index: int, view: int = 0) -> list[str]:
        """What is done to the finished view of an image, a line for each thing."""
        stages = [stage for stage in self.stages if stage.takes != "images"]
        return [line for stage in stages for line in stage.describe(index, view, self.ids)]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the plan as an ``.npz`` file that `Plan.load` reads on any platform.

        Raises:
            ValueError: If it has operations of the user's own, which a file cannot hold.
        """
        if names := own_ops(self.chains.op):
            raise ValueError(f"a file cannot hold operations of your own, got {', '.join(names)}")
        arrays: dict[str, Any] = {
            "version": np.int64(_VERSION),
            "ids": self.ids,
            "size": np.array(self.size),
            "stages": np.array([stage_name(type(stage)) for stage in self.stages], np.str_),
        }
        for position, stage in enumerate(self.stages):
            for field in fields_of(type(stage)):
                arrays[f"{position}.{field.name}"] = _to_array(getattr(stage, field.name))
        write_npz(Path(path), arrays)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Plan":
        """Read a plan written by `Plan.save`, of this or an earlier version.

        Raises:
            ValueError: If the file is not a plan, is of a later version, or has a stage that is not
                registered.
        """
        try:
            arrays = load_npz(Path(path))
        except RunError as error:
            raise ValueError(f"not a saved plan (.npz): {error}") from error
        version = arrays.pop("version", np.array(-1))
        if version.shape or version.dtype.kind != "i" or not 1 <= version <= _VERSION:
            raise ValueError(f"{path} is not a plan of version 1..{_VERSION}, got {version}")
        try:
            arrays = _upgrade(arrays) if version < _VERSION else arrays
            names = [str(name) for name in arrays.pop("stages")]
            ids, (height, width) = arrays.pop("ids"), arrays.pop("size").tolist()
            stages = [_take_stage(arrays, n, find_stage(name)) for n, name in enumerate(names)]
            if arrays:
                raise KeyError(next(iter(arrays)))
            if ids.ndim != 1 or ids.dtype != np.int64 or not 0 < min(height, width) < 2**15:
                raise ValueError("field ids or size is wrong")
            for stage in stages:
                stage.check_values()
            return cls(ids=ids, size=(height, width), stages=tuple(stages))
        except KeyError as error:
            raise ValueError(
                f"{path} is not a plan of version {version}: field {error} is wrong or missing"
            ) from error
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{path} is not a plan of version {version}: {error}") from error


class Parts(NamedTuple):
    """The stages of a plan as the fast executors take them."""

    before: tuple[Stage, ...]  # of 8-bit images
    crop: CropFlip | None  # right before the chains
    chains: Chains | None  # None where ``before`` gives views already; copies as views of their own
    after: tuple[Stage, ...]  # of finished views
    num_folded: int
    """1, or the number of views where ``before`` gives every view an image of its own: crop and
    chains are then those of one view of as many images, view after view; copies count as views."""


def split(plan: Plan) -> Parts:
    """Split a plan around its crop and chains."""
    before = [stage for stage in plan.stages if stage.takes == "images"]
    after = plan.stages[len(before) :]
    makes_views = bool(before) and before[-1].gives != "images"
    if makes_views and not isinstance(before[-1], (Chains, Copies)):
        return Parts(tuple(before), None, None, after, 1)
    maker = before.pop() if makes_views else None
    last = before[-1] if before else None
    crop = last if isinstance(last, CropFlip) else None
    before = before[:-1] if crop else before
    chains, num_folded = plan.chains, 1
    is_folded = any(is_per_view(type(stage)) for stage in before)
    if is_folded:
        num_folded = plan.num_views
        crop = crop and fold_views(crop, num_folded)
    if isinstance(maker, Copies):
        chains = maker.chains() if num_folded == 1 else fold_views(maker, num_folded).chains()
    elif is_folded:
        chains = fold_views(chains, num_folded)
    return Parts(tuple(before), crop, chains, after, num_folded)


def concatenate(plans: Sequence[Plan]) -> Plan:
    """Join the plans of several batches drawn for the same image size.

    Raises:
        ValueError: If there is none, or they differ in size or in the form of their stages.
    """
    if not plans:
        raise ValueError("concatenate needs at least one plan, got none")
    forms = [(plan.size, *(stage.form() for stage in plan.stages)) for plan in plans]
    for form in forms:
        if form != forms[0]:
            raise ValueError(
                f"plans to concatenate must agree in size and stages, got {forms[0]} and {form}"
            )
    by_position = zip(*(plan.stages for plan in plans), strict=True)
    return replace(
        plans[0],
        ids=np.concatenate([plan.ids for plan in plans]),
        stages=tuple(type(parts[0]).join(parts) for parts in by_position),
    )


def check_plan(plan: Plan, shape: tuple[int, ...], pictures: Any = None) -> None:
    """Refuse images of a shape that a plan was not drawn for, and pictures that do not fit them."""
    if len(plan) != shape[0] or tuple(plan.size) != tuple(shape[1:3]):
        raise ValueError(
            f"the plan was drawn for {len(plan)} images of {plan.size[0]}x{plan.size[1]} pixels, "
            f"got {shape[0]} of {shape[1]}x{shape[2]}"
        )
    for stage in plan.stages:
        stage.check_channels(shape[3])
        if stage.needs_pictures and pictures is None:
            raise ValueError(
                f"stage {stage_name(type(stage))!r} takes pictures: call render(..., pictures=bank)"
            )
        expected = (*stage.picture_size((shape[1], shape[2])), shape[3])
        if stage.needs_pictures and tuple(pictures.shape[1:]) != expected:
            raise ValueError(
                f"pictures must be uint8 [picture height width channel] of the images' channels, "
                f"each {expected}, got shape {tuple(pictures.shape)}"
            )


def _take_stage(arrays: dict[str, np.ndarray], position: int, kind: type[Stage]) -> Stage:
    """A stage made of its arrays, which are taken out of all; settings as Python has them."""
    values = {}
    for field in fields_of(kind):
        value = arrays.pop(f"{position}.{field.name}")
        values[field.name] = value if field.axes is not None else value.item()
    return kind(**values)


def _upgrade(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a plan of version 1 or 2 as version 3 has them."""
    rest, names = dict(arrays), ["crop", "chains"]
    new = {f"0.{name}": rest.pop(old) for name, old in _CROP_FIELDS.items()}
    new |= {f"1.{name}": rest.pop(name) for name in ("op", "amount", "weight", "mix")}
    for stage in ("noise", "hole", "pairs"):
        keys = [key for key in rest if key.startswith(f"{stage}.")]
        for key in keys:
            field = key.removeprefix(f"{stage}.")
            new[f"{len(names)}.{'weight' if field == 'share' else field}"] = rest.pop(key)
        names += [stage] if keys else []
    return {**rest, **new, "stages": np.array(names)}


def _to_array(value: Any) -> np.ndarray:
    """An array; a seed of 64 bits stays a whole number."""
    return np.asarray(value, np.uint64 if type(value) is int and value >= 0 else None)

"""The plan: every random decision about the pixels of a batch, as plain arrays.

The parts that only some plans have (noise, hole, pairs) stand there by their fields' names behind
their own, e.g. ``hole.box``.

A policy draws a plan, an executor carries it out, and nothing random is left for the executor to
decide. A plan can be looked at (`Plan.describe`), sliced, joined, saved and replayed.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64

from augmix.augment.ops import Op, describe_step
from augmix.augment.pairing import PairPlan, join_pairs
from augmix.augment.patches import (
    Hole,
    Noise,
    check_boxes,
    describe_box,
    is_empty,
    join_holes,
    join_noise,
)
from augmix.files import write_npz

_VERSION = 2  # 1 had no parts
_PARTS = {"noise": Noise, "hole": Hole, "pairs": PairPlan}
_FIELDS = {"ids", "size", "crop_padding", "crop", "flip", "op", "amount", "weight", "mix"}


def save(path: str | PathLike[str], plan: Any) -> None:
    """Write the fields of a plan."""
    arrays: dict[str, Any] = {}
    for field in fields(plan):
        value = getattr(plan, field.name)
        if is_dataclass(value):
            for part in fields(value):
                arrays[f"{field.name}.{part.name}"] = _to_array(getattr(value, part.name))
        elif value is not None:
            arrays[field.name] = _to_array(value)
    write_npz(Path(path), {"version": np.int64(_VERSION), **arrays})


def load(path: str | PathLike[str]) -> dict[str, Any]:
    """The fields of a saved plan.

    Raises:
        ValueError: If the file is no plan, or one of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a saved plan (.npz): {error}") from error
    version = int(arrays.pop("version", -1))
    parts = {name: _take_part(arrays, name) for name in _PARTS}
    is_whole = all(not part or set(part) == _names(_PARTS[name]) for name, part in parts.items())
    if not 1 <= version <= _VERSION or set(arrays) != _FIELDS or not is_whole:
        raise ValueError(f"{path} is not a plan of version 1..{_VERSION}, got {version}")
    height, width = (int(side) for side in arrays.pop("size"))
    padding = int(arrays.pop("crop_padding"))
    made = {name: _PARTS[name](**part) for name, part in parts.items() if part}
    return {"size": (height, width), "crop_padding": padding, **arrays, **made}


def _take_part(arrays: dict[str, np.ndarray], name: str) -> dict[str, Any]:
    """The arrays of one part, taken out of all; numbers and truths as Python has them."""
    keys = [key for key in arrays if key.startswith(f"{name}.")]
    taken = {key.removeprefix(f"{name}."): arrays.pop(key) for key in keys}
    return {key: value if value.ndim else value.item() for key, value in taken.items()}


def _names(part: type) -> set[str]:
    return {field.name for field in fields(part)}


def _to_array(value: Any) -> np.ndarray:
    """An array; a seed of 64 bits stays a whole number."""
    return np.asarray(value, np.uint64 if type(value) is int else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done to every view of every image of a batch.

    An image is flipped, then padded with black and cropped (once, for all its views). A view is
    ``(1 - mix) * image + mix * sum_i weight_i * chain_i(image)``, in floats, never re-quantised
    (Hendrycks et al. 2020, Algorithm 1, in the released code's form of the mixing share). On the
    finished view come, in this order and only where the plan has them, the noise of a box, a hole,
    and the pairing with another image of the batch.

    Attributes:
        ids: Sample ids the plan was drawn for.
        size: Height and width in pixels of the images it was drawn for.
        crop_padding: Black border in pixels on every side before the crop; 0 means no crop.
        crop: Row and column of the crop's corner in the padded image, 0 .. 2 * crop_padding.
        flip: Whether the image is mirrored left to right, before the crop.
        op: Operations by `Op`; a chain shorter than the depth axis ends in `Op.NONE`.
        amount: Amount of every operation in its physical unit; 0 where there is none.
        weight: Share of every chain in the mixture; rows sum to 1.
        mix: Share of the mixture in the view; the clean image has ``1 - mix``.
        noise: Noise inside a box of every view (Patch Uniform).
        hole: A box of every view that is covered (Cutout).
        pairs: What is taken from other images of the batch (Mixup, CutMix).
    """

    ids: Int64[np.ndarray, " batch"]
    size: tuple[int, int]
    crop_padding: int
    crop: Int32[np.ndarray, "batch 2"]
    flip: Bool[np.ndarray, " batch"]
    op: Int8[np.ndarray, "view batch chain depth"]
    amount: Float64[np.ndarray, "view batch chain depth"]
    weight: Float32[np.ndarray, "view batch chain"]
    mix: Float32[np.ndarray, "view batch"]
    noise: Noise | None = None
    hole: Hole | None = None
    pairs: PairPlan | None = None

    def __post_init__(self) -> None:
        views, batch, chains, _ = self.op.shape
        expected = {
            "ids": (batch,),
            "crop": (batch, 2),
            "flip": (batch,),
            "amount": self.op.shape,
            "weight": (views, batch, chains),
            "mix": (views, batch),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"plan field {name} must have shape {shape} to agree with op "
                    f"{self.op.shape}, got {getattr(self, name).shape}"
                )
        for name, box, shape in (
            *((("noise", self.noise.box, (views, batch, 4)),) if self.noise else ()),
            *((("hole", self.hole.box, (views, batch, 4)),) if self.hole else ()),
            *((("pairs", self.pairs.box, (batch, 4)),) if self.pairs else ()),
        ):
            if box.shape != shape:
                raise ValueError(f"{name} boxes must have shape {shape}, got {box.shape}")
            check_boxes(name, box, self.size)

    @property
    def num_views(self) -> int:
        return self.op.shape[0]

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
                f"index a plan by a slice or a list of rows, e.g. [{index}:{index + 1}]"
            )
        if not isinstance(index, slice):
            index = np.asarray(index)
        return replace(
            self,
            ids=self.ids[index],
            crop=self.crop[index],
            flip=self.flip[index],
            op=self.op[:, index],
            amount=self.amount[:, index],
            weight=self.weight[:, index],
            mix=self.mix[:, index],
            noise=self.noise and self.noise.rows(index),
            hole=self.hole and self.hole.rows(index),
            pairs=self.pairs and self.pairs.rows(index),
        )

    def with_clean(self) -> "Plan":
        """The same plan with one more view in front: the image itself, flipped and cropped.

        It has neither noise nor a hole; where images are paired, it is paired like the others.
        """
        chains = self.weight.shape[2]

        def first(values: np.ndarray, fill: float | int) -> np.ndarray:
            return np.concatenate([np.full_like(values[:1], fill), values])

        if not self.num_views:
            raise ValueError("a plan without views cannot tell the shape of its clean view")
        return replace(
            self,
            op=first(self.op, Op.NONE),
            amount=first(self.amount, 0),
            weight=first(self.weight, 1 / chains),
            mix=first(self.mix, 0),
            noise=self.noise and self.noise.with_clean(),
            hole=self.hole and self.hole.with_clean(),
        )

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
        mix = float(self.mix[view, index])
        lines = [f"image {self.ids[index]}, view {view}: {1 - mix:.2f} clean + {mix:.2f} mixture"]
        if self.crop_padding:
            row, column = (int(offset) - self.crop_padding for offset in self.crop[index])
            mirrored = "mirrored, " if self.flip[index] else ""
            lines.append(f"  first: {mirrored}moved {-row:+d} px down, {-column:+d} px right")
        elif self.flip[index]:
            lines.append("  first: mirrored")
        for chain, weight in enumerate(self.weight[view, index]):
            steps = zip(self.op[view, index, chain], self.amount[view, index, chain], strict=True)
            names = [describe_step(Op(op), float(amount)) for op, amount in steps if op != Op.NONE]
            lines.append(f"  {weight:.2f} * {' -> '.join(names) or 'unchanged'}")
        lines += [f"  then: {text}" for text in self.describe_finish(index, view)]
        return "\n".join(lines)

    def describe_finish(self, index: int, view: int = 0) -> list[str]:
        """What is done to the finished view of an image, a line a thing."""
        lines = []
        if self.noise and not is_empty(self.noise.box[view, index]):
            where = describe_box(self.noise.box[view, index])
            lines.append(f"noise up to {self.noise.amplitude[view, index]:.2f} in {where}")
        if self.hole and not is_empty(self.hole.box[view, index]):
            where = describe_box(self.hole.box[view, index])
            levels = ", ".join(f"{level:.2f}" for level in self.hole.fill)
            lines.append(f"level {levels} in {where}")
        if self.pairs and self.pairs.share[index] < 1:
            share, other = self.pairs.share[index], self.ids[self.pairs.partner[index]]
            where = f" in {describe_box(self.pairs.box[index])}" if self.pairs.is_cut else ""
            lines.append(f"{share:.2f} itself + {1 - share:.2f} image {other}{where}")
        return lines

    def save(self, path: str | PathLike[str]) -> None:
        """Write the plan as an ``.npz`` file that `Plan.load` reads on any platform."""
        save(path, self)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Plan":
        """Read a plan written by `Plan.save`.

        Raises:
            ValueError: If the file is no plan, or one of another version.
        """
        return cls(**load(path))


def concatenate(plans: Sequence[Plan]) -> Plan:
    """Join the plans of several batches drawn for the same image size.

    Raises:
        ValueError: If there is none, or they differ in size, padding, views, chains or depth.
    """
    if not plans:
        raise ValueError("concatenate needs at least one plan, got none")
    first = plans[0]

    for plan in plans:
        if _form(plan) != _form(first):
            raise ValueError(
                "plans to concatenate must agree in (size, crop_padding, views, chains, depth, "
                f"noise, hole, pairs), got {_form(first)} and {_form(plan)}"
            )

    def join(name: str, axis: int) -> np.ndarray:
        return np.concatenate([getattr(plan, name) for plan in plans], axis=axis)

    return Plan(
        size=first.size,
        crop_padding=first.crop_padding,
        **{name: join(name, 0) for name in ("ids", "crop", "flip")},
        **{name: join(name, 1) for name in ("op", "amount", "weight", "mix")},
        noise=join_noise([plan.noise for plan in plans if plan.noise]),
        hole=join_holes([plan.hole for plan in plans if plan.hole]),
        pairs=join_pairs([plan.pairs for plan in plans if plan.pairs]),
    )


def _form(plan: Plan) -> tuple:
    """What plans must have in common to be joined."""
    views, _, chains, depth = plan.op.shape
    finish = (
        plan.noise and f"seed {plan.noise.seed}",
        plan.hole and f"fill {plan.hole.fill.tolist()}",
        plan.pairs and ("cut" if plan.pairs.is_cut else "blend"),
    )
    return plan.size, plan.crop_padding, views, chains, depth, *finish


def check_plan(plan: Plan, shape: tuple[int, ...]) -> None:
    """Refuse images that a plan was not drawn for; ``shape`` is `batch height width channel`."""
    if len(plan) != shape[0] or tuple(plan.size) != tuple(shape[1:3]):
        raise ValueError(
            f"the plan was drawn for {len(plan)} images of {plan.size[0]}x{plan.size[1]} pixels, "
            f"got {shape[0]} of {shape[1]}x{shape[2]}"
        )

"""The plan: every random decision about the pixels of a batch, as plain arrays.

A policy draws a plan, an executor carries it out, and nothing random is left for the executor to
decide. A plan can be looked at (`Plan.describe`), sliced, joined, saved and replayed.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum, unique
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64

_VERSION = 1


@unique
class Op(IntEnum):
    """One operation of a chain; the amount's unit is that of the Pillow call that defines it."""

    NONE = 0
    AUTOCONTRAST = 1
    EQUALIZE = 2
    POSTERIZE = 3  # bits kept, 1..8
    ROTATE = 4  # degrees, counter-clockwise, as Image.rotate takes them
    SOLARIZE = 5  # threshold 0..256: values at or above it are inverted
    SHEAR_X = 6  # off-diagonal entry of the AFFINE matrix (output to input)
    SHEAR_Y = 7
    TRANSLATE_X = 8  # offset of the AFFINE matrix in pixels: + moves the content left
    TRANSLATE_Y = 9  # + moves the content up
    COLOR = 10  # enhancement factor, 1 leaves the image as it is
    CONTRAST = 11
    BRIGHTNESS = 12
    SHARPNESS = 13


UNITS = {
    Op.POSTERIZE: "bits",
    Op.ROTATE: "deg",
    Op.SOLARIZE: "threshold",
    Op.SHEAR_X: "shear",
    Op.SHEAR_Y: "shear",
    Op.TRANSLATE_X: "px",
    Op.TRANSLATE_Y: "px",
    Op.COLOR: "x",
    Op.CONTRAST: "x",
    Op.BRIGHTNESS: "x",
    Op.SHARPNESS: "x",
}
_DECIMALS = {"bits": 0, "deg": 0, "threshold": 0, "px": 0, "shear": 3, "x": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done to every view of every image of a batch.

    An image is flipped, then padded with black and cropped (once, for all its views). A view is
    ``(1 - mix) * image + mix * sum_i weight_i * chain_i(image)``, in floats, never re-quantised
    (Hendrycks et al. 2020, Algorithm 1, in the released code's form of the mixing share).

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

    @property
    def num_views(self) -> int:
        return self.op.shape[0]

    def __len__(self) -> int:
        """Images in the batch."""
        return len(self.ids)

    def __getitem__(self, index: slice | np.ndarray | Sequence[int] | int | np.integer) -> "Plan":
        """The plan of some images of the batch, in the order asked for."""
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
        )

    def with_clean(self) -> "Plan":
        """The same plan with one more view in front: the image itself, flipped and cropped."""
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
        )

    def describe(self, index: int, view: int = 0) -> str:
        """The recipe of one view of one image, for reading.

        Example:
            >>> from augmix import AugMix, Stream
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
        return "\n".join(lines)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the plan as an ``.npz`` file that `Plan.load` reads on any platform."""
        arrays: dict[str, Any] = {
            field.name: np.asarray(getattr(self, field.name)) for field in fields(self)
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, version=np.int64(_VERSION), **arrays)
        with open(path, "wb") as file:
            file.write(buffer.getvalue())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Plan":
        """Read a plan written by `Plan.save`.

        Raises:
            ValueError: If the file is no plan, or one of another version.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a saved plan (.npz): {error}") from error
        version = int(arrays.pop("version", -1))
        if version != _VERSION or set(arrays) != {field.name for field in fields(cls)}:
            raise ValueError(f"{path} is not a plan of version {_VERSION}, got {version}")
        height, width = (int(side) for side in arrays.pop("size"))
        padding = int(arrays.pop("crop_padding"))
        return cls(size=(height, width), crop_padding=padding, **arrays)


def concatenate(plans: Sequence[Plan]) -> Plan:
    """Join the plans of several batches drawn for the same image size.

    Raises:
        ValueError: If there is none, or they differ in size, padding, views, chains or depth.
    """
    if not plans:
        raise ValueError("concatenate needs at least one plan, got none")
    first = plans[0]

    def form(plan: Plan) -> tuple:
        views, _, chains, depth = plan.op.shape
        return plan.size, plan.crop_padding, views, chains, depth

    for plan in plans:
        if form(plan) != form(first):
            raise ValueError(
                "plans to concatenate must agree in (size, crop_padding, views, chains, depth), "
                f"got {form(first)} and {form(plan)}"
            )
    return Plan(
        size=first.size,
        crop_padding=first.crop_padding,
        ids=np.concatenate([plan.ids for plan in plans]),
        crop=np.concatenate([plan.crop for plan in plans]),
        flip=np.concatenate([plan.flip for plan in plans]),
        op=np.concatenate([plan.op for plan in plans], axis=1),
        amount=np.concatenate([plan.amount for plan in plans], axis=1),
        weight=np.concatenate([plan.weight for plan in plans], axis=1),
        mix=np.concatenate([plan.mix for plan in plans], axis=1),
    )


def describe_step(op: Op, amount: float) -> str:
    """One operation with its amount and unit, e.g. ``rotate -5 deg``."""
    unit = UNITS.get(op)
    if unit is None:
        return op.name.lower()
    sign = "+" if unit in ("deg", "shear", "px") else ""
    decimals = _DECIMALS[unit]
    if decimals == 0 and amount != int(amount):
        decimals = 2
    return f"{op.name.lower()} {amount:{sign}.{decimals}f} {unit}"


def check_plan(plan: Plan, shape: tuple[int, ...]) -> None:
    """Refuse images that a plan was not drawn for; ``shape`` is `batch height width channel`."""
    if len(plan) != shape[0] or tuple(plan.size) != tuple(shape[1:3]):
        raise ValueError(
            f"the plan was drawn for {len(plan)} images of {plan.size[0]}x{plan.size[1]} pixels, "
            f"got {shape[0]} of {shape[1]}x{shape[2]}"
        )

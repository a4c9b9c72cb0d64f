"""Stages of 8-bit images: mirror and crop, and chains of operations, mixed or kept as copies."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64, UInt8
from PIL.Image import Image

from augmix.arrays import from_pillow, to_pillow
from augmix.augment.ops import Op, OwnOp, apply_op, describe_step, own_ops, to_op
from augmix.augment.stages import (
    Form,
    Pictures,
    Pixels,
    Stage,
    add_view,
    map_arrays,
    register_stage,
)


@register_stage("crop")
@dataclass(frozen=True, slots=True, kw_only=True)
class CropFlip(Stage):
    """Mirror an image, then pad it with black and crop it to its size; once for all its views.

    Attributes:
        padding: Black border in pixels on every edge before the crop; 0 means no crop.
        crop: Row and column of the crop's corner in the padded image, 0 .. 2 * padding.
        flip: Whether the image is mirrored left to right, before the crop.
    """

    padding: int
    crop: Int32[np.ndarray, "batch 2"]
    flip: Bool[np.ndarray, " batch"]

    takes: ClassVar[Form] = "images"
    gives: ClassVar[Form] = "images"
    rank: ClassVar[int] = 10

    def check_values(self) -> None:
        least, most = min(0, self.crop.min(initial=0)), self.crop.max(initial=0)
        if not 0 <= self.padding < 2**15 or least < 0 or most > 2 * self.padding:
            raise ValueError(
                f"crops must be 0..{2 * self.padding} for a padding of {self.padding}, "
                f"got {least}..{most}"
            )

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        if not (self.padding or self.flip.any()):
            return pixels
        height, width = pixels.shape[2:4]
        border = (self.padding, self.padding)
        result = np.empty_like(pixels)
        for index, (row, column) in enumerate(self.crop):
            images = pixels[:, index]
            if self.flip[index]:
                images = images[:, :, ::-1]
            if self.padding:
                padded = np.pad(images, ((0, 0), border, border, (0, 0)))
                images = padded[:, row : row + height, column : column + width]
            result[:, index] = images
        return result

    @staticmethod
    def apply_torch(pixels: Any, *, padding: int, crop: Any, flip: Any) -> Any:
        import torch

        batch, height, width = pixels.shape[1:4]
        index = [torch.arange(size, device=pixels.device) for size in (batch, height, width)]
        image, row, column = index[0][:, None, None], index[1][None, :, None], index[2]
        row = row + crop[:, :1, None].long() - padding  # batch height 1
        column = column + crop[:, 1:, None].long() - padding  # batch 1 width
        is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        column = torch.where(flip[:, None, None], width - 1 - column, column)
        taken = pixels[:, image, row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return torch.where(is_inside[..., None], taken, 0)

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        words = ["mirrored"] if self.flip[index] else []
        if self.padding:
            row, column = (int(offset) - self.padding for offset in self.crop[index])
            words.append(f"moved {-row:+d} px down, {-column:+d} px right")
        return [", ".join(words)] if words else []


def _check_ops(op: Int8[np.ndarray, "view batch chain depth"]) -> None:
    """Refuse numbers that are no operation."""
    if op.size and not 0 <= op.min() <= op.max() < len(Op):
        for number in np.unique(op).tolist():
            to_op(number)


@register_stage("chains")
@dataclass(frozen=True, slots=True, kw_only=True)
class Chains(Stage):
    """Mix chains of operations with the image itself (Hendrycks et al. 2020, Algorithm 1).

    A view is ``(1 - mix) * image + mix * sum_i weight_i * chain_i(image)``, summed in float32 grey
    levels in this order and divided by 255: the mixture is never re-quantised. ``mix`` is the
    weight of the mixture, as in the released code.

    Attributes:
        op: Operations by `Op`; a chain shorter than the depth axis ends in `Op.NONE`.
        amount: Amount of every operation in its physical unit; 0 where there is none.
        weight: Weight of every chain in the mixture; they sum to 1 over the chains of a view.
        mix: Weight of the mixture in the view; the image itself has ``1 - mix``.
    """

    op: Int8[np.ndarray, "view batch chain depth"]
    amount: Float64[np.ndarray, "view batch chain depth"]
    weight: Float32[np.ndarray, "view batch chain"]
    mix: Float32[np.ndarray, "view batch"]

    takes: ClassVar[Form] = "images"
    rank: ClassVar[int] = 40

    @classmethod
    def unchanged(cls, num_views: int, batch: int) -> "Chains":
        """One empty chain for every view, not mixed in: the views are the images, v / 255."""
        shape = (num_views, batch, 1, 1)
        return cls(
            op=np.zeros(shape, np.int8),
            amount=np.zeros(shape),
            weight=np.ones(shape[:3], np.float32),
            mix=np.zeros(shape[:2], np.float32),
        )

    def check_values(self) -> None:
        Stage.check_values(self)
        _check_ops(self.op)
        for name, most in (("weight", 1), ("mix", 1), ("amount", 1e4)):
            values = np.abs(getattr(self, name))
            if values.size and values.max() > most:
                raise ValueError(f"{name} must be at most {most:g}, got {values.max():g}")

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        _, batch, height, width, channels = pixels.shape
        views = np.empty((len(self.mix), batch, channels, height, width), np.float32)
        for view, index in np.ndindex(self.mix.shape):
            image = pixels[view if len(pixels) > 1 else 0, index]
            views[view, index] = self._mix_one(image, view, index).transpose(2, 0, 1)
        return views

    def apply_chain(self, picture: Image, view: int, index: int, chain: int) -> Image:
        """One chain of one view: its operations, one after another, on 8-bit pixels."""
        for op, amount in self.steps(view, index, chain):
            picture = apply_op(picture, op, amount)
        return picture

    def steps(self, view: int, index: int, chain: int) -> list[tuple[Op | OwnOp, float]]:
        """The operations of a chain with their amounts."""
        ops, amounts = self.op[view, index, chain], self.amount[view, index, chain]
        pairs = zip(ops.tolist(), amounts.tolist(), strict=True)
        return [(to_op(op), amount) for op, amount in pairs if op != Op.NONE]

    def _mix_one(
        self, image: UInt8[np.ndarray, "height width channel"], view: int, index: int
    ) -> Float32[np.ndarray, "height width channel"]:
        """One view: the weighted sum in grey levels, then / 255; in float32 and in this order."""
        mix = self.mix[view, index]
        total = (np.float32(1) - mix) * image.astype(np.float32)
        if mix == 0:  # a clean view is exactly v / 255
            return total / np.float32(255)
        picture = to_pillow(image)
        for chain, weight in enumerate(self.weight[view, index]):
            pixels = from_pillow(self.apply_chain(picture, view, index, chain))
            total += (mix * weight) * pixels.astype(np.float32)
        return np.minimum(total / np.float32(255), np.float32(1))  # weights may sum to 1 + 1e-7

    def with_clean(self) -> "Chains":
        added = map_arrays(self, add_view)
        weight = added.weight
        weight[0] = 1 / weight.shape[2]
        return added

    def check_amounts(self, executor: str) -> None:
        """Refuse operations and amounts that a fast executor cannot carry out.

        Raises:
            ValueError: If there are any.
        """
        if not np.isfinite(self.amount).all():
            raise ValueError("amounts of a plan must be finite, got nan or infinity")
        _check_ops(self.op)
        if names := own_ops(self.op):
            raise ValueError(
                f"the executor {executor!r} has no kernel for {', '.join(names)}: operations of "
                "your own are carried out by executor='pillow'"
            )
        bits = np.trunc(self.amount[self.op == Op.POSTERIZE])
        if bits.size and (bits.min() < 1 or bits.max() > 8):
            raise ValueError(f"posterize must keep 1..8 bits, got {bits.min():g}..{bits.max():g}")

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        mix = float(self.mix[view, index])
        lines = [f"{1 - mix:.2f} clean + {mix:.2f} mixture"]
        for chain, weight in enumerate(self.weight[view, index]):
            names = [describe_step(*step) for step in self.steps(view, index, chain)]
            lines.append(f"{weight:.2f} * {' -> '.join(names) or 'unchanged'}")
        return lines


@register_stage("copies")
@dataclass(frozen=True, slots=True, kw_only=True)
class Copies(Stage):
    """Copies of every image, each behind a chain of its own, for the stage behind to combine.

    Every copy is the chain's 8-bit image over 255, so the executors carry it out as they do a chain
    of `Chains`. Copy c of view v is at ``v * copies + c`` of the first axis. In a clean view all
    copies are the image itself.

    Attributes:
        op: Operations by `Op`; `Op.NONE` where there is none.
        amount: Amount of every operation in its physical unit.
    """

    op: Int8[np.ndarray, "view batch copy depth"]
    amount: Float64[np.ndarray, "view batch copy depth"]

    takes: ClassVar[Form] = "images"
    gives: ClassVar[Form] = "copies"
    rank: ClassVar[int] = 40

    def chains(self) -> Chains:
        """The copies as the only chains of as many views."""
        num_views, batch, num_copies, depth = self.op.shape

        def flatten(values: np.ndarray) -> np.ndarray:
            return values.swapaxes(1, 2).reshape(num_views * num_copies, batch, 1, depth)

        ones = np.ones((num_views * num_copies, batch), np.float32)
        op, amount = flatten(self.op), flatten(self.amount)
        return Chains(op=op, amount=amount, weight=ones[..., None], mix=ones)

    def check_values(self) -> None:
        self.chains().check_values()

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        images = np.repeat(pixels, self.op.shape[2], axis=0) if len(pixels) > 1 else pixels
        return self.chains().apply(images)

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        chains, lines = self.chains(), ["copies"]
        for copy in range(self.op.shape[2]):
            steps = chains.steps(view * self.op.shape[2] + copy, index, 0)
            names = [describe_step(*step) for step in steps]
            lines.append(f"copy {copy}: {' -> '.join(names) or 'unchanged'}")
        return lines

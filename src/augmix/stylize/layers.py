"""The networks of style transfer as rows of data: VGG-19, its mirror, the mirror of any encoder.

A row is one of ``("conv", inputs, outputs)``: reflection padding, 3x3 convolution, ReLU;
``("colour", 3, 3)``: a bare 1x1 convolution; ``("shrink", 2)``: maximum of 2x2 pixels;
``("grow", factor)``: every pixel repeated. Built in order into one `nn.Sequential`, they have the
numbering of the published weights (the released code of AdaIN).
"""

from collections.abc import Sequence

from torch import nn

Row = tuple[str | int, ...]

# VGG-19 up to relu4_1: 31 modules. The first convolution holds the normalisation of the input.
VGG_ROWS: tuple[Row, ...] = (
    *(("colour", 3, 3), ("conv", 3, 64), ("conv", 64, 64), ("shrink", 2)),
    *(("conv", 64, 128), ("conv", 128, 128), ("shrink", 2)),
    *(("conv", 128, 256), *[("conv", 256, 256)] * 3, ("shrink", 2)),
    ("conv", 256, 512),
)
VGG_STAGES = ("3", "10", "17", "30")  # relu1_1, relu2_1, relu3_1, relu4_1
# The mirror of it: 29 modules, the last without ReLU.
VGG_DECODER_ROWS: tuple[Row, ...] = (
    *(("conv", 512, 256), ("grow", 2), *[("conv", 256, 256)] * 3, ("conv", 256, 128)),
    *(("grow", 2), ("conv", 128, 128), ("conv", 128, 64), ("grow", 2)),
    *(("conv", 64, 64), ("conv", 64, 3)),
)
_LEAST_WIDTH = 32  # channels of a mirrored decoder at the image's own size


def build_encoder(rows: Sequence[Row]) -> nn.Sequential:
    """The modules of the rows, one after the other.

    Raises:
        ValueError: If a row is none of the kinds above.
    """
    return nn.Sequential(*(module for row in rows for module in _modules(row)))


def build_decoder(rows: Sequence[Row]) -> nn.Sequential:
    """The modules of the rows without the last ReLU, so that every colour can be reached.

    Raises:
        ValueError: As `build_encoder`, or if the last row does not give 3 channels.
    """
    if not rows or rows[-1][0] != "conv" or rows[-1][-1] != 3:
        raise ValueError(f"a decoder must end with a convolution to 3 channels, got {rows[-1:]}")
    return nn.Sequential(*list(build_encoder(rows))[:-1])


def mirror(channels: Sequence[int], strides: Sequence[int], *, depth: int) -> tuple[Row, ...]:
    """The rows of a decoder for an encoder whose stages have these channels and strides.

    From the last stage back to the image: ``depth`` convolutions at the size of each stage, then
    every pixel is repeated to the size of the stage before.

    Args:
        channels: Of every stage, the shallowest first.
        strides: Pixels of the image behind a pixel of every stage; each a multiple of the one
            before.
        depth: Convolutions at each size, at least 1.
    """
    rows: list[Row] = []
    width = channels[-1]
    stages = [(1, 0), *zip(strides, channels, strict=True)]
    for (before, fewer), (stride, _) in zip(stages[-2::-1], stages[:0:-1], strict=True):
        narrower = max(fewer, _LEAST_WIDTH)
        rows += [("conv", width, width)] * (depth - 1) + [("conv", width, narrower)]
        width = narrower
        if stride != before:
            rows += [("grow", stride // before)]
    return (*rows, *[("conv", width, width)] * (depth - 1), ("conv", width, 3))


def _modules(row: Row) -> list[nn.Module]:
    match row:
        case ("conv", int(inputs), int(outputs)):
            return [nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3), nn.ReLU()]
        case ("colour", int(inputs), int(outputs)):
            return [nn.Conv2d(inputs, outputs, 1)]
        case ("shrink", 2):
            return [nn.MaxPool2d(2, ceil_mode=True)]
        case ("grow", int(factor)) if factor > 1:
            return [nn.Upsample(scale_factor=factor, mode="nearest")]
    raise ValueError(f"no layer of a style transfer network is described by {row!r}")

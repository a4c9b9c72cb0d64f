"""The corruptions: (image, physical parameters, generator) -> image.

One image at a time, uint8 `height width channel` in and out, RGB or grey. A kernel knows nothing of
names, severities or seeds; it keeps the quirks of the published scripts (spec: corruptions.md), of
which the cut of the fraction at the end is the most visible. The kernels stand in one module a
group; this one gathers them.
"""

from augmix.corrupt.blur import (
    defocus_blur,
    disk_kernel,
    gaussian_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
)
from augmix.corrupt.digital import contrast, jpeg_compression, pixelate
from augmix.corrupt.elastic import elastic_transform
from augmix.corrupt.frost import frost
from augmix.corrupt.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from augmix.corrupt.spatter import spatter
from augmix.corrupt.weather import brightness, fog, saturate, snow

__all__ = [
    "brightness",
    "contrast",
    "defocus_blur",
    "disk_kernel",
    "elastic_transform",
    "fog",
    "frost",
    "gaussian_blur",
    "gaussian_noise",
    "glass_blur",
    "impulse_noise",
    "jpeg_compression",
    "motion_blur",
    "pixelate",
    "saturate",
    "shot_noise",
    "snow",
    "spatter",
    "speckle_noise",
    "zoom_blur",
]

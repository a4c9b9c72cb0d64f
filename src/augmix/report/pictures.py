"""Photographs on the page: small PNGs as data, each stored once however often it is shown."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augmix.report.runs import Run

_THUMB_PX = 96
_SMALLEST_PX = 32
_PIXELS = 300_000  # of all thumbs together: keeps the page below 5 MB


def data_uri(image: UInt8[np.ndarray, "height width channel"], *, side: int) -> str:
    """The picture as a PNG data URI, reduced so that no side is longer than ``side`` pixels."""
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    if max(picture.size) > side:
        picture.thumbnail((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def collect_thumbs(runs: Sequence[Run]) -> dict[int, np.ndarray]:
    """The clean images that any run kept, by their number in the source."""
    found: dict[int, np.ndarray] = {}
    for run in runs:
        for ids, images in (
            (run.hardest.get("ids"), run.hardest.get("images")),
            (run.examples.get("ids"), run.examples.get("clean")),
        ):
            if ids is not None and images is not None:
                found |= {int(number): image for number, image in zip(ids, images, strict=True)}
    return found


def thumb_uris(thumbs: Mapping[int, np.ndarray], used: Collection[int]) -> dict[int, str]:
    """The pictures shown, by their number, small enough that all fit into the page."""
    shown = {number: image for number, image in thumbs.items() if number in used}
    side = min(_THUMB_PX, int((_PIXELS / max(len(shown), 1)) ** 0.5))
    side = max(side, _SMALLEST_PX)
    return {number: data_uri(image, side=side) for number, image in shown.items()}


def class_name(run: Run, label: int) -> str:
    """A class of the run's source in words."""
    names = run.results.source.get("class_names") or []
    return str(names[label]) if 0 <= label < len(names) else f"class {label}"

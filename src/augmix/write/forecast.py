"""What writing a set will take, measured on a few of its images before anything is written."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from augmix.data.batches import spread_positions
from augmix.files import describe_space, format_size
from augmix.progress import format_duration
from augmix.write.destination import Piece

_SECONDS = 5.0  # after which no more images are measured
_MOST_IMAGES = 16  # under each corruption and severity
_HEADER_BYTES = 128  # of a .npy file


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a set will have, and what is left to do.

    Attributes:
        num_files: Arrays or image files.
        num_bytes: Of all of them; exact for arrays, else from the images that were measured.
        num_left: Images (of sequences: their number) that are not written yet.
        num_images: The same of the whole set.
        num_measured: Images that were made for the forecast.
        seconds: Of one process for what is left, without the time of the disk.
        num_processes: Processes that divide it.
        num_working_bytes: Of decoded images that are kept until the set is complete.
    """

    num_files: int
    num_bytes: int
    num_left: int
    num_images: int
    num_measured: int
    seconds: float
    num_processes: int
    num_working_bytes: int

    def lines(self, folder: Path) -> list[str]:
        """Return the forecast in words, with what is free on the disk of the set's folder."""
        rest = "" if self.num_left == self.num_images else f", {self.num_left:,} of them left"
        each_ms = 1000 * self.seconds / max(self.num_left, 1)
        wall_s = self.seconds / self.num_processes
        processes = "1 process" if self.num_processes == 1 else f"{self.num_processes} processes"
        return [
            f"{self.num_files:,} files, {format_size(self.num_bytes)}, of "
            f"{self.num_images:,} images{rest}",
            f"about {format_duration(wall_s)} with {processes} ({each_ms:.1f} ms an image, "
            f"measured on {self.num_measured:,} images; disk not counted)",
            *(
                [f"{format_size(num_working)} of decoded images more until it is written"]
                if (num_working := self.num_working_bytes)
                else []
            ),
            *describe_space(folder, self.num_bytes + self.num_working_bytes),
        ]


def forecast_set(
    pieces: Sequence[Piece],
    missing: Sequence[Piece],
    make: Callable[[Piece], Any],
    load: Callable[[int], object],
    *,
    encode: Callable[[Any], bytes] | None,
    shapes: dict[str, tuple[int, ...]],
    num_files: int,
    num_processes: int,
    num_working_bytes: int = 0,
    step: int = 1,
) -> Forecast:
    """Make a few images under every corruption and severity, and extend what they took to the set.

    Args:
        pieces: Of the whole set.
        missing: Those that are not written yet.
        make: Makes the images of a piece.
        load: Decodes a clean image, where that is done once for the whole set.
        encode: Of image files, or of what else is made for each; None for arrays.
        shapes: Of the arrays.
        num_files: Images files of the set; unused for arrays.
        num_processes: Processes that will write.
        num_working_bytes: Of a file of decoded images, which is deleted at the end.
        step: Images made at a time.
    """
    groups: dict[tuple[str, float], list[Piece]] = defaultdict(list)
    for piece in pieces:
        groups[piece.name, piece.severity].append(piece)
    left: dict[tuple[str, float], int] = defaultdict(int)
    for piece in missing:
        left[piece.name, piece.severity] += len(piece)
    count = max(piece.stop for piece in pieces)
    seconds: dict[tuple[str, float], list[float]] = defaultdict(list)
    sizes: dict[tuple[str, float], list[float]] = defaultdict(list)
    for name in {name: None for name, _ in groups}:
        key = next(key for key in groups if key[0] == name)
        _make(make, groups[key][0], range(min(step, count)), encode)  # compiles
    load_s, num_measured, began = 0.0, 0, perf_counter()
    last = max(0, count - step)
    starts = spread_positions(last + 1, min(last // step + 1, _MOST_IMAGES))
    for turn, start in enumerate(starts):
        ids = range(start, min(start + step, count))
        started = perf_counter()
        load(start)
        load_s += perf_counter() - started
        for key, group in groups.items():
            started = perf_counter()
            sizes[key].append(_make(make, group[0], ids, encode) / len(ids))
            seconds[key].append((perf_counter() - started) / len(ids))
            num_measured += len(ids)
        if perf_counter() - began > _SECONDS:
            starts = starts[: turn + 1]
            break
    total_s = sum(left[key] * float(np.mean(each)) for key, each in seconds.items())
    if encode is None:
        num_bytes = sum(math.prod(shape) + _HEADER_BYTES for shape in shapes.values())
        num_files = len(shapes)
    else:
        num_bytes = round(count * sum(float(np.mean(each)) for each in sizes.values()))
    return Forecast(
        num_files=num_files,
        num_bytes=num_bytes,
        num_left=sum(left.values()),
        num_images=sum(map(len, pieces)),
        num_measured=num_measured,
        seconds=total_s + (load_s / len(starts) * count if missing else 0.0),
        num_processes=num_processes,
        num_working_bytes=num_working_bytes if missing else 0,
    )


def _make(
    make: Callable[[Piece], Any], piece: Piece, ids: range, encode: Callable[[Any], bytes] | None
) -> int:
    """Make images or sequences, and return the bytes of their files; 0 for arrays."""
    made = make(replace(piece, start=ids.start, stop=ids.stop))
    frames = [frame for each in made for frame in _frames(each)]
    return sum(len(encode(frame)) for frame in frames) if encode else 0


def _frames(image: Any) -> Iterator[Any]:
    if isinstance(image, np.ndarray) and image.ndim == 3:
        yield image
    else:
        yield from image

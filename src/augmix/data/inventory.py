"""What a source holds and what of its files is left out, for the terminal and for records."""

from collections import Counter
from typing import Any

import numpy as np

from augmix.data.derived import Mix
from augmix.data.stores import Source
from augmix.errors import printable

_MAX_COUNTED = 12  # classes whose images are counted one by one
_MAX_NAMED = 10  # images or classes in a message


def describe_images(source: Source) -> tuple[str, ...]:
    """Describe the images of a source in a few lines.

    Returns:
        The classes with the number of their images and what is left out; classes with too few
        images; the first images that were skipped as broken; and the warnings of the source.

    Example:
        >>> from augmix.data.sources import open_source
        >>> describe_images(open_source("digits", split="test"))
        ('10 classes: 397 images, 27 (9) to 48 (5) each',)
    """
    if isinstance(source, Mix):
        source = source.source
    counts = np.bincount(source.labels, minlength=source.num_classes).tolist()
    names = [_show(name) for name in source.class_names]
    title = f"{len(names):,} class{'es' if len(names) > 1 else ''}"
    if len(names) > _MAX_COUNTED or all(name.isdecimal() for name in names):
        low, high = int(np.argmin(counts)), int(np.argmax(counts))
        spread = f"{counts[low]:,} ({names[low]}) to {counts[high]:,} ({names[high]}) each"
        line = f"{title}: {sum(counts):,} image{'s' if sum(counts) > 1 else ''}, {spread}"
    else:
        shown = [f"{name} {count:,}" for name, count in zip(names, counts, strict=True)]
        line = f"{title}: {', '.join(shown)}"
    lines = [line + _count_left_out(source)]
    none = [name for name, count in zip(names, counts, strict=True) if not count]
    if none and source.split == "train":
        lines.append(
            f"warning: no training image of class {_first(none)}, which cannot be learned: add "
            "some, or remove the class"
        )
    elif none:
        lines.append(f"warning: no {source.split} image of class {_first(none)}")
    few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count == 1]
    if few and source.split == "train":
        lines.append(f"warning: a single training image of class {_first(few)}")
    if source.skipped:
        skipped = [f"{_show(where)}: {_show(why)}" for where, why in source.skipped]
        count = f"{len(skipped):,} broken image{'s' if len(skipped) > 1 else ''} skipped"
        more = len(skipped) - _MAX_NAMED
        lines.append("\n  ".join([f"{count}:", *skipped[:_MAX_NAMED]]))
        lines += [f"  and {more:,} more"] if more > 0 else []
    return (*lines, *(f"warning: {warning}" for warning in source.warnings))


def record_images(source: Source) -> dict[str, Any]:
    """List what is left out of a source, for records; empty if nothing is.

    Returns:
        ``skipped``, a line for each broken image, and ``left_out``, the number of other files by
        the reason.
    """
    skipped = [f"{_show(where)}: {_show(why)}" for where, why in source.skipped]
    counts = dict(Counter(reason for _, reason in source.left_out).most_common())
    found = {"skipped": skipped, "left_out": counts}
    return {name: entries for name, entries in found.items() if entries}


def _count_left_out(source: Source) -> str:
    """How many files are left out for which reason, as the end of a line."""
    counts = Counter(reason for _, reason in source.left_out).most_common()
    if not counts:
        return ""
    count = sum(number for _, number in counts)
    shown = [f"{number:,} {_show(reason)}" for reason, number in counts]
    return f"; {count:,} file{'s' if count > 1 else ''} left out ({_first(shown)})"


def _show(text: str) -> str:
    """A name on one line of a terminal."""
    return printable(text).replace("\n", "\\n")


def _first(words: list[str]) -> str:
    more = len(words) - _MAX_NAMED
    return ", ".join(words[:_MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")

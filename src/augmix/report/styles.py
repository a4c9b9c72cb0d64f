"""How the rows of a report are told apart: colour, marker, dash and hatch of the i-th row.

Every colour is one of the page's CSS variables, so figures follow its theme in light, dark and
print. The same row has the same look in all figures and tables: its style number is its place.
"""

SERIES = tuple(f"--series-{index}" for index in range(1, 7))
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
HATCHES = ("", "////", "....", "xxxx")
_SHAPES = {  # the markers as paths around the middle of a key
    "o": "M13.5 7a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
    "s": "M13.5 3.5h7v7h-7z",
    "^": "M17 3l4 7.5h-8z",
    "D": "M17 2.2l4.8 4.8-4.8 4.8-4.8-4.8z",
    "v": "M17 11l-4-7.5h8z",
    "P": "M15.6 3h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6v-2.8h2.6z",
}


def cycle(style: int) -> int:
    """How often the colours were used up before this row."""
    return style // len(SERIES)


def key(style: int) -> str:
    """The row's line and marker as a swatch of 34 x 14 pixels for an HTML legend."""
    colour = f"var({SERIES[style % len(SERIES)]})"
    dash = DASHES[cycle(style) % len(DASHES)]
    dashes = "" if isinstance(dash, str) else " ".join(str(2 * length) for length in dash[1])
    shape = _SHAPES[MARKERS[style % len(MARKERS)]]
    return (
        '<svg viewBox="0 0 34 14" aria-hidden="true" focusable="false">'
        f'<path d="M1 7H33" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        f'<path d="{shape}" fill="{colour}" stroke="var(--surface)" stroke-width="0.8"/></svg>'
    )

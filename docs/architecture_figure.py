"""Draw `docs/architecture.svg`: packages on their layers, with the imports between them.

Imports are read from the source by `tests/test_architecture.py`, which also declares the layers.
Arrows show the transitive reduction, that is, no import that follows from a chain of others, and
none of the lowest layer. Boxes and arrows are laid out in rows as by Sugiyama et al. (1981): an
arrow that skips a row gets a slot of its own there, and rows are sorted to have few crossings.

python docs/architecture_figure.py
"""

import sys
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from test_architecture import LAYERS, SOURCE, graph  # noqa: E402

WIDTH, MARGIN, PADDING = 768, 12, 14  # px; padding of the band behind a layer
BOX_WIDTH, BOX_HEIGHT, SLOT_WIDTH = 96, 40, 6
GAP, ROW_GAP, LAYER_GAP = 18, 34, 18
SLOT_WEIGHT = 10  # keeps long arrows straight
LOWEST_PER_ROW, LOWEST_GAP = 7, 7
NUM_PASSES = 12
STYLE = """
.paper { fill: #ffffff } .band { fill: #f2f4f7 } .box { fill: #ffffff; stroke: #8a97a8 }
.package, .module { fill: #16202c; font-size: 13px } .package { font-weight: 600 }
.lines { fill: #5a6675; font-size: 11px }
.note { fill: #5a6675; font-size: 12px }
.arrow { fill: none; stroke: #54749c; stroke-width: 1.4 } .head { fill: #54749c }
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
@media (prefers-color-scheme: dark) {
.paper { fill: #0f141a } .band { fill: #1a212a } .box { fill: #242d38; stroke: #5d6b7c }
.package, .module { fill: #e8edf3 } .lines, .note { fill: #a3afbd }
.arrow { stroke: #86a9d6 } .head { fill: #86a9d6 }
}
"""


@dataclass(eq=False)
class Node:
    """A box, or the slot of an arrow in a row that it skips."""

    name: str = ""
    row: int = 0
    x: float = 0.0  # of its centre
    up: list["Node"] = field(default_factory=list)
    down: list["Node"] = field(default_factory=list)

    @property
    def width(self) -> int:
        return BOX_WIDTH if self.name else SLOT_WIDTH


def draw() -> str:
    """Return the picture as SVG."""
    lowest, *layers = [layer.split() for layer in LAYERS]
    imports = reduced({name: found - set(lowest) for name, found in local_imports().items()})
    rows, bands = place_in_rows(layers, imports)
    nodes = connect(rows, imports)
    sort_rows(nodes)
    set_positions(nodes)

    tops, ranges, y = [0.0] * len(nodes), [], float(MARGIN)
    for band in reversed(bands):  # the highest layer on top
        start = y
        y += PADDING
        for row in reversed(band):
            tops[row] = y
            y += BOX_HEIGHT + ROW_GAP
        y += PADDING - ROW_GAP
        ranges.append((start, y))
        y += LAYER_GAP
    parts = [
        rectangle("band", MARGIN, start, WIDTH - 2 * MARGIN, end - start, 8)
        for start, end in ranges
    ]
    boxes = [node for row in nodes for node in row if node.name]
    parts += [arrow(node, target, tops) for node in boxes for target in node.down]
    parts += [box(node.name, node.x, tops[node.row]) for node in boxes]
    parts.append(lowest_layer(lowest, y))
    height = round(y + lowest_height(lowest) + MARGIN)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">',
            '<title id="title">The packages of augmix and the imports between them</title>',
            f"<style>{STYLE}</style>",
            rectangle("paper", 0, 0, WIDTH, height, 10),
            *parts,
            "</svg>\n",
        ]
    )


def local_imports() -> dict[str, set[str]]:
    """Return each package or top-level module with those it imports."""
    found = graph()
    return {name: (names & set(found)) - {name} for name, names in found.items()}


def reduced(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the transitive reduction of an acyclic graph."""

    def reachable(name: str) -> set[str]:
        return imports[name].union(*(reachable(below) for below in imports[name]))

    return {
        name: names - set().union(*(reachable(below) for below in names))
        for name, names in imports.items()
    }


def place_in_rows(
    layers: list[list[str]], imports: dict[str, set[str]]
) -> tuple[list[list[str]], list[list[int]]]:
    """Return the rows, lowest first, and the row numbers of each layer.

    A layer has several rows where its packages import each other.
    """
    rows: list[list[str]] = []
    bands = []
    for layer in layers:

        def depth(name: str, layer: list[str] = layer) -> int:
            return max((1 + depth(below) for below in imports[name] & set(layer)), default=0)

        count = 1 + max(depth(name) for name in layer)
        bands.append(list(range(len(rows), len(rows) + count)))
        rows += [sorted(name for name in layer if depth(name) == row) for row in range(count)]
    return rows, bands


def connect(rows: list[list[str]], imports: dict[str, set[str]]) -> list[list[Node]]:
    """Return nodes by row, with slots for arrows in the rows that they skip."""
    nodes = [[Node(name, row) for name in names] for row, names in enumerate(rows)]
    by_name = {node.name: node for row in nodes for node in row}
    for name in sorted(by_name):
        for target in sorted(imports[name]):
            upper = by_name[name]
            for row in range(by_name[name].row - 1, by_name[target].row, -1):
                slot = Node(row=row)
                nodes[row].append(slot)
                link(upper, slot)
                upper = slot
            link(upper, by_name[target])
    return nodes


def link(upper: Node, lower: Node) -> None:
    """Connect two nodes in adjacent rows."""
    upper.down.append(lower)
    lower.up.append(upper)


def sort_rows(nodes: list[list[Node]]) -> None:
    """Order each row by the mean position of its neighbours, and keep the best order found."""
    best, fewest = [list(row) for row in nodes], crossings(nodes)
    for number in range(NUM_PASSES):
        is_down = number % 2 == 0
        order = range(len(nodes) - 2, -1, -1) if is_down else range(1, len(nodes))
        for row in order:
            neighbours = nodes[row + 1 if is_down else row - 1]
            index = {node: position for position, node in enumerate(neighbours)}

            def key(pair: tuple[int, Node], index: dict = index, is_down: bool = is_down) -> float:
                linked = [index[near] for near in (pair[1].up if is_down else pair[1].down)]
                return sum(linked) / len(linked) if linked else float(pair[0])

            nodes[row] = [node for _, node in sorted(enumerate(nodes[row]), key=key)]
        found = crossings(nodes)
        if found < fewest:
            best, fewest = [list(row) for row in nodes], found
    nodes[:] = best


def crossings(nodes: list[list[Node]]) -> int:
    """Count the pairs of arrows that cross."""
    count = 0
    for upper, lower in zip(nodes[1:], nodes, strict=False):
        index = {node: position for position, node in enumerate(lower)}
        ends = [
            index[below] for node in upper for below in sorted(node.down, key=index.__getitem__)
        ]
        count += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return count


def set_positions(nodes: list[list[Node]]) -> None:
    """Put each node near its neighbours without overlap."""
    for row in nodes:
        space_out(row, [WIDTH / 2.0] * len(row))
    for number in range(20 * NUM_PASSES):
        for row in nodes if number % 2 else reversed(nodes):
            wanted = []
            for node in row:
                near = node.up + node.down
                wanted.append(sum(each.x for each in near) / len(near) if near else node.x)
            space_out(row, wanted)
    left = min(node.x - node.width / 2 for row in nodes for node in row)
    right = max(node.x + node.width / 2 for row in nodes for node in row)
    for row in nodes:
        for node in row:
            node.x += (WIDTH - left - right) / 2


def space_out(row: list[Node], wanted: list[float]) -> None:
    """Set positions in this order, as close to the wanted ones as least squares can.

    This is isotonic regression by pooling adjacent violators.
    """
    offsets = [0.0]
    for left, right in pairwise(row):
        offsets.append(offsets[-1] + (left.width + right.width) / 2 + GAP)
    blocks: list[tuple[float, float, int]] = []  # mean, weight and length of pooled neighbours
    for node, target, offset in zip(row, wanted, offsets, strict=True):
        mean, weight, size = target - offset, 1.0 if node.name else float(SLOT_WEIGHT), 1
        while blocks and blocks[-1][0] > mean:
            other, other_weight, length = blocks.pop()
            total = weight + other_weight
            mean, weight = (mean * weight + other * other_weight) / total, total
            size += length
        blocks.append((mean, weight, size))
    starts = [mean for mean, _, size in blocks for _ in range(size)]
    edge = MARGIN + PADDING
    least = edge + row[0].width / 2
    most = WIDTH - edge - row[-1].width / 2 - offsets[-1]
    for node, start, offset in zip(row, starts, offsets, strict=True):
        node.x = min(max(start, least), max(most, least)) + offset


def arrow(node: Node, target: Node, tops: list[float]) -> str:
    """Draw an import from the bottom of a box to the top of another."""
    ends = sorted(node.down, key=lambda each: each.x)
    x, y = node.x + spread(ends.index(target), len(ends)), tops[node.row] + BOX_HEIGHT
    path, source = f"M{x:.1f} {y:.1f}", node
    while not target.name:
        path += curve(x, y, target.x, tops[target.row])
        x, y = target.x, tops[target.row] + BOX_HEIGHT
        path += f" L{x:.1f} {y:.1f}"
        source, target = target, target.down[0]
    starts = sorted(target.up, key=lambda each: each.x)
    end_x, end_y = target.x + spread(starts.index(source), len(starts)), tops[target.row]
    path += curve(x, y, end_x, end_y - 5)
    head = f"M{end_x:.1f} {end_y:.1f} l-3.5 -7 h7 z"
    return f'<path class="arrow" d="{path}"/><path class="head" d="{head}"/>'


def spread(index: int, count: int) -> float:
    """Return the offset of an arrow from the centre of a box with several arrows."""
    step = min(14.0, (BOX_WIDTH - 24) / max(count - 1, 1))
    return (index - (count - 1) / 2) * step


def curve(x: float, y: float, end_x: float, end_y: float) -> str:
    """Continue a path by a curve that starts and ends vertically."""
    middle = (y + end_y) / 2
    return f" C{x:.1f} {middle:.1f} {end_x:.1f} {middle:.1f} {end_x:.1f} {end_y:.1f}"


def lowest_rows(names: list[str]) -> list[list[str]]:
    """Split the names of the lowest layer into rows of similar length."""
    names = sorted(names)
    count = -(-len(names) // LOWEST_PER_ROW)
    per_row = -(-len(names) // count)
    return [names[start : start + per_row] for start in range(0, len(names), per_row)]


def lowest_height(names: list[str]) -> float:
    """Return the height of the band of the lowest layer."""
    count = len(lowest_rows(names))
    return 2 * PADDING + 22 + count * BOX_HEIGHT + (count - 1) * LOWEST_GAP


def lowest_layer(names: list[str], y: float) -> str:
    """Draw the lowest layer in rows, without arrows."""
    parts = [
        rectangle("band", MARGIN, y, WIDTH - 2 * MARGIN, lowest_height(names), 8),
        f'<text class="note" x="{WIDTH / 2}" y="{y + 24:.1f}" text-anchor="middle">'
        "Every package may import these; the arrows are left out.</text>",
    ]
    for row, found in enumerate(lowest_rows(names)):
        top = y + PADDING + 22 + row * (BOX_HEIGHT + LOWEST_GAP)
        left = WIDTH / 2 - (len(found) - 1) * (BOX_WIDTH + LOWEST_GAP) / 2
        parts += [
            box(name, left + i * (BOX_WIDTH + LOWEST_GAP), top) for i, name in enumerate(found)
        ]
    return "\n".join(parts)


def box(name: str, x: float, y: float) -> str:
    """Draw a package or module with its lines of code."""
    is_package = (SOURCE / name).is_dir()
    count = sum(len(path.read_text().splitlines()) for path in files_of(name))
    return (
        f'<g data-name="{escape(name)}">'
        + rectangle("box", x - BOX_WIDTH / 2, y, BOX_WIDTH, BOX_HEIGHT, 5)
        + f'<text class="{"package" if is_package else "module"}" x="{x:.1f}" y="{y + 17:.1f}" '
        f'text-anchor="middle">{escape(name)}{"/" if is_package else ""}</text>'
        f'<text class="lines" x="{x:.1f}" y="{y + 32:.1f}" text-anchor="middle">'
        f"{count:,} lines</text>"
        "</g>"
    )


def files_of(name: str) -> list[Path]:
    """Return the source files of a package or module."""
    folder = SOURCE / name
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [SOURCE / f"{name}.py"]


def rectangle(kind: str, x: float, y: float, width: float, height: float, radius: int) -> str:
    """Draw a rectangle with rounded corners."""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="{radius}"/>'
    )


def write_figure() -> Path:
    """Write the picture and return its path."""
    path = HERE / "architecture.svg"
    path.write_text(draw())
    return path


if __name__ == "__main__":
    print(write_figure())

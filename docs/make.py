"""Write the generated parts of the documentation: `docs/cli.md` from what `--help` prints,
`docs/corruptions.md` from the tables and the gallery of the corruptions, `docs/methods/` from the
table of the methods, `docs/architecture.svg` from the imports.

python docs/make.py
"""

import os
from contextlib import redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path

import architecture_figure
import gallery_page
import methods_page
import numpy as np
import readme_figures
from PIL import Image, ImageDraw

from augmix import AugMix, Stream, cli
from augmix.commands import COMMANDS
from augmix.previews import write_preview

HERE = Path(__file__).parent


def cli_page() -> str:
    """Return the page of all commands."""
    parts = [
        "# Commands\n",
        "Made by `make docs` from the program's own help.\n",
        "Without a terminal every command prints plain lines; `--debug` shows tracebacks. Exit "
        "codes: 0 done, 1 some\nruns of `augmix reproduce` failed (or a bug), 2 a mistake that the "
        "message explains, 130 stopped by Ctrl-C (start the\nsame command again to continue).\n",
        block([]),
    ]
    for command in COMMANDS:
        parts += [f"## augmix {command}\n", block([command])]
    return "\n".join(parts)


def block(arguments: list[str]) -> str:
    """Return what `augmix ... --help` prints, as a block of text."""
    os.environ.update({"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"})
    with redirect_stdout(TextIOWrapper(BytesIO(), encoding="utf-8")) as output:
        assert cli.main([*arguments, "--help"]) == 0
        output.seek(0)
        lines = [line.rstrip() for line in output.read().strip().splitlines()]
    return "```\n" + "\n".join(lines) + "\n```\n"


def scene(size: int = 128) -> Image.Image:
    """Draw a cottage on a hill, four times too large, and shrink it."""
    big = 4 * size
    rows = np.linspace(0, 1, big)[:, None, None]
    sky = (1 - rows) * np.array([86, 150, 214]) + rows * np.array([250, 222, 184])
    picture = Image.fromarray(np.broadcast_to(sky, (big, big, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(picture)

    def at(*points: float) -> list[float]:
        return [point * big for point in points]

    draw.ellipse(at(0.68, 0.1, 0.86, 0.28), fill=(255, 236, 150))
    draw.ellipse(at(-0.4, 0.62, 0.7, 1.5), fill=(96, 152, 88))
    draw.ellipse(at(0.35, 0.7, 1.4, 1.6), fill=(66, 120, 74))
    draw.rectangle(at(0.2, 0.46, 0.52, 0.74), fill=(222, 206, 184))
    draw.polygon(at(0.15, 0.47, 0.36, 0.27, 0.57, 0.47), fill=(170, 68, 58))
    draw.rectangle(at(0.32, 0.58, 0.4, 0.74), fill=(112, 74, 52))
    draw.rectangle(at(0.23, 0.52, 0.29, 0.59), fill=(96, 140, 176))
    draw.rectangle(at(0.43, 0.52, 0.49, 0.59), fill=(96, 140, 176))
    draw.rectangle(at(0.78, 0.56, 0.81, 0.8), fill=(98, 70, 50))
    draw.ellipse(at(0.68, 0.38, 0.91, 0.64), fill=(54, 104, 62))
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def preview() -> Path:
    """Draw the picture of `quickstart.md`: realisations that show well, by their mixing weights."""
    image = np.asarray(scene())
    policy = AugMix(severity=5)
    ids = np.arange(40)
    plan = policy.sample(ids, num_views=1, size=image.shape[:2], stream=Stream(seed=0))
    chosen = np.flatnonzero((plan.mix[0] > 0.6) & (plan.weight[0].max(-1) < 0.6))[:2]
    return write_preview(HERE / "preview.png", np.stack([image] * len(chosen)), plan[chosen])


if __name__ == "__main__":
    (HERE / "cli.md").write_text(cli_page())
    print(HERE / "cli.md")
    print(architecture_figure.write_figure())
    print(preview())
    for path in readme_figures.write_figures(scene(224)):
        print(path)
    for path in gallery_page.write_page(scene(256), scene(147)):
        print(path)
    for path in methods_page.write_pages(scene(methods_page.SIZE)):
        print(path)

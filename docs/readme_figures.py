"""The pictures of the README, for a light and a dark page: method and effect, and speed.

python docs/readme_figures.py

Views and corruptions are made here; the numbers of both charts are read from `docs/results.md`.
"""

import re
import sys
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

import augmix

matplotlib.use("agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
THEMES = {  # text, muted text, bars of others, bar of augmix
    "light": ("#1f2328", "#59636e", "#c5cbd3", "#0b8070"),
    "dark": ("#e6edf3", "#9198a1", "#484f58", "#3fb8a6"),
}
TESTS = ("gaussian_noise", "fog", "motion_blur", "snow", "pixelate")
DPI = 200


def demo_errors() -> tuple[float, float]:
    """Corruption errors of the demo, means over the seeds: Standard, AugMix."""
    row = re.search(r"^\| mean \(st.*$", (HERE / "results.md").read_text(), re.MULTILINE)
    assert row
    first, second = row[0].split("|")[3].split("/")
    return float(first.split()[0]), float(second.split()[0])


def speeds() -> tuple[dict[str, float], str]:
    """Views/s at 224x224 of each library on an idle core, the best run, and the day."""
    text = (HERE / "results.md").read_text()
    table = text[text.index("## Other libraries") : text.index("The tables below are earlier")]
    names = {
        "views/s, batch: augmix, `compiled`": "augmix, whole batches",
        "views/s, one image at a time: augmix, `compiled`": "augmix, one image at a time",
        "torchvision, `transforms.v2.AugMix(all_ops=False)`": "torchvision",
        "timm, `augmix-m3`": "timm",
    }
    found = {}
    for name, title in names.items():
        row = re.search(rf"^\| {re.escape(name)} \|[^|]*\|([^|]*)\|", table, re.MULTILINE)
        assert row, name
        runs = [float(word.replace(",", "")) for word in row[1].strip().split(", ")]
        found[title] = max(runs)
    (day,) = re.findall(r"\((20\d\d-\d\d-\d\d)", table)
    return found, day


def draw_overview(scene: Image.Image, theme: str) -> Path:
    """Draw views, test corruptions, and the errors of the demo beside them."""
    ink, muted, grey, accent = THEMES[theme]
    image = np.asarray(scene)
    plan = augmix.AugMix(severity=4).sample(
        np.arange(40), num_views=1, size=image.shape[:2], stream=augmix.Stream(seed=0)
    )
    chosen = np.flatnonzero(plan.mix[0] > 0.6)[[0, 1, 3, 4]]  # views that show well
    drawn = augmix.render(np.stack([image] * len(chosen)), plan[chosen])[0].transpose(0, 2, 3, 1)
    views = [image, *drawn]
    tests = [augmix.corrupt(image, each, severity=4, preset="imagenet", seed=0) for each in TESTS]
    rows = [(views, ["image", *["AugMix view"] * 4]), (tests, [n.replace("_", " ") for n in TESTS])]
    titles = ("Trained on", "Tested on corruptions that training never showed")
    figure = plt.figure(figsize=(10.4, 3.7), dpi=DPI)
    for row, (pictures, names) in enumerate(rows):
        top = 0.93 - 0.5 * row
        figure.text(0.005, top, titles[row], color=ink, fontsize=10, weight="bold", va="bottom")
        for column, (picture, name) in enumerate(zip(pictures, names, strict=True)):
            place = (0.005 + 0.125 * column, top - 0.36, 0.118, 0.34)
            axes = figure.add_axes(place)
            axes.imshow(picture)
            axes.axis("off")
            axes.set_title(name, fontsize=8, color=muted, y=-0.16)
    axes = figure.add_axes((0.72, 0.17, 0.26, 0.66))
    errors = demo_errors()
    axes.bar(["Standard", "AugMix"], errors, color=[grey, accent], width=0.6)
    for place, error in enumerate(errors):
        axes.text(place, error + 0.7, f"{error} %", ha="center", color=ink, fontsize=12)
    axes.set_yticks([])
    axes.tick_params(colors=ink, length=0, labelsize=10)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(muted)
    figure.text(0.7, 0.93, "Error on corrupted digits", color=ink, fontsize=10, weight="bold")
    figure.text(0.7, 0.02, "augmix demo, mean of three seeds", color=muted, fontsize=8)
    return save(figure, f"overview-{theme}.webp")


def draw_speed(theme: str) -> Path:
    """Draw views per second of each library as bars."""
    ink, muted, grey, accent = THEMES[theme]
    found, day = speeds()
    figure = plt.figure(figsize=(7.2, 1.9), dpi=DPI)
    axes = figure.add_axes((0.27, 0.16, 0.62, 0.82))
    names = list(found)[::-1]
    colors = [accent if name.startswith("augmix") else grey for name in names]
    axes.barh(names, [found[name] for name in names], color=colors, height=0.62)
    for place, name in enumerate(names):
        axes.text(
            found[name] + 25, place, f"{found[name]:,.0f}", va="center", color=ink, fontsize=9
        )
    axes.set_xticks([])
    axes.tick_params(colors=ink, length=0, labelsize=9)
    for side in axes.spines.values():
        side.set_visible(False)
    note = f"AugMix views/s at 224x224, one core of an Intel Xeon, {day}"
    figure.text(0.27, 0.02, note, color=muted, fontsize=8)
    return save(figure, f"speed-{theme}.webp")


def save(figure: "plt.Figure", name: str) -> Path:
    """Write a figure without a ground."""
    path = HERE / name
    figure.savefig(path, transparent=True, pil_kwargs={"quality": 85, "method": 6})
    plt.close(figure)
    return path


def write_figures(scene: Image.Image) -> list[Path]:
    """Write all pictures, of a scene of 224 pixels."""
    return [
        draw(theme) for theme in THEMES for draw in (lambda t: draw_overview(scene, t), draw_speed)
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    from make import scene

    for path in write_figures(scene(224)):
        print(path)

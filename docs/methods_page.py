"""The pages of the methods: words from `methods_texts`, tables from the program, its own pictures.

python docs/methods_page.py
"""

import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from methods_texts import GUIDE, NEEDS, TEXTS, Text
from PIL import Image, ImageDraw

from augmix import published
from augmix.arrays import to_uint8
from augmix.augment import policies, render
from augmix.augment.policies import (
    APR,
    PRIME,
    AugMix,
    AutoAugment,
    CutMix,
    Cutout,
    FourierWaves,
    HybridAugment,
    LpNoise,
    Mixup,
    PatchUniform,
    Policy,
    RandomAA,
    RandomErasing,
    Standard,
    TrivialAugment,
)
from augmix.data.sources import open_source
from augmix.methods import METHODS, Method
from augmix.methods.attacks import pgd
from augmix.methods.registry import layer_names
from augmix.models.layers import BlurPool
from augmix.models.weights import build_model, load_model
from augmix.paper.field import literature
from augmix.rng import Stream
from augmix.training.logging import count_cost
from augmix.training.run import train
from augmix.training.settings import build_config

HERE = Path(__file__).parent
FOLDER = HERE / "methods"
SIZE = 128  # px, of a picture's tiles
GAP = 6
NUM_VIEWS = 5
_COUNTED = "wrn-40-2"  # the network of the guide's costs
_QUANTITIES = {1: "mean error", 2: "mCE", 3: "mFR", 4: "mean error"}
_DATA = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C", "imagenet": "ImageNet-C"}

_BASE = Standard(crop_padding=16, flip=True)
_CROPS = {"crop_padding": 16, "flip": True}
POLICIES: dict[str, Policy] = {
    "standard": _BASE,
    "cutout": Cutout(size_px=SIZE // 2, base=_BASE),
    "mixup": Mixup(base=_BASE),
    "cutmix": CutMix(probability=1.0, base=_BASE),
    "autoaugment": AutoAugment(**_CROPS),
    "random-aa": RandomAA(**_CROPS),
    "patch-uniform": PatchUniform(size_px=SIZE * 25 // 32, amplitude=0.6, base=_BASE),
    "augmix": AugMix(**_CROPS),
    "apr-sp": APR(base=_BASE),
    "hybridaugment-pp": HybridAugment(base=_BASE),
    "afa": FourierWaves(base=_BASE),
    "prime": PRIME(cutoff=100, base=_BASE),
    "lp-noise": LpNoise(base=RandomErasing(base=TrivialAugment(**_CROPS))),
    "trivialaugment": TrivialAugment(**_CROPS),
    "noise2net": policies.Noise2Net(probability=1.0, base=_BASE),
    "pixmix": policies.PixMix(**_CROPS),
    "ipmix": policies.IPMix(**_CROPS),
}


def write_pages(scene: Image.Image) -> list[Path]:
    """Write the index, a page for every method, and the pictures; a scene of 128 pixels."""
    FOLDER.mkdir(exist_ok=True)
    paths = [FOLDER / "README.md"]
    paths[0].write_text(index_page())
    for name in sorted(METHODS):
        paths.append(FOLDER / f"{name}.md")
        paths[-1].write_text(page(name))
    scenes = np.stack([np.asarray(scene), np.asarray(boat())])
    pictures = {name: _views(scenes, policy) for name, policy in POLICIES.items()}
    pictures |= {"adversarial": _attacks(), "maxblur": _stripes()}
    for name, rows in pictures.items():
        paths.append(FOLDER / f"{name}.webp")
        _sheet(rows).save(paths[-1], quality=85, method=6)
    return paths


def index_page() -> str:
    """The guide: which method to use, what each costs and needs, what is published, all of them."""
    lines = [
        "# Which method should I use?",
        "",
        _wrap(
            "`augmix train --method NAME` trains any of these, on any of the "
            "[networks](../networks.md); `augmix preview --method NAME` draws its views of your "
            "images. All numbers on this page but the costs are published ones, lower is better; "
            "those of different papers come from different training runs. What was measured with "
            "this package is in [results](../results.md)."
        ),
        "",
        *(_wrap(f"- {paragraph}", indent="  ") for paragraph in GUIDE),
        "",
        _wrap(
            "`augmix reproduce field field-equal-cost` compares all of them on CIFAR by one "
            "protocol, with equal epochs and at equal cost "
            "([reproduce](../reproduce.md#methods-after-the-paper)). They were measured "
            "in [runs of minutes](../results.md#methods-after-the-paper-within-a-cpu-hour), most "
            "with one seed: this page is no ranking by this package."
        ),
        "",
        "## What a method costs and needs",
        "",
        _wrap(
            "Passes: views of an image that the weights learn from in a step, and steps of "
            f"attacks. GFLOP: of one training image, counted on `{_COUNTED}` at 32 pixels "
            "(multiply-adds x passes x 6 operations, x 4 for a step of an attack), as for a run of "
            "yours `augmix train --dry-run`; views, losses and the optimiser are not counted. The "
            "time of an epoch grows about in proportion as long as views are made while the "
            "network computes ([cost](../cost.md)). How many views of each method a core makes "
            "in a second is in [results](../results.md#executors)."
        ),
        "",
        *_cost_table(),
        "",
        "## Where it helps: CIFAR",
        "",
        _wrap(
            "Mean error on CIFAR-10-C and CIFAR-100-C, %, all trained from random weights without "
            "other photographs; for each method with WRN-40-2 where that is published. `augmix "
            "reproduce field` lists the others, and C-bar and calibration where published."
        ),
        "",
        *_cifar_table(),
        "",
        "## Where it helps: ImageNet",
        "",
        _wrap(
            "ResNet-50 at 224 pixels: mCE on ImageNet-C, error on ImageNet-C-bar in %, mFR on "
            "ImageNet-P."
        ),
        "",
        *_imagenet_table(),
        "",
    ]
    for title, names in {
        "The comparison of the paper": published.LABELS.keys() & METHODS.keys(),
        "After the paper": METHODS.keys() - published.LABELS.keys(),
    }.items():
        lines += [f"## {title}", "", "| method | name | what it does | source |"]
        lines += ["| --- | --- | --- | --- |"]
        for name in sorted(names):
            row = METHODS[name]
            lines.append(f"| [{name}]({name}.md) | {row.title} | {row.summary()} | {row.source} |")
        lines.append("")
    lines += [
        "## Combinations",
        "",
        _wrap(
            f"The policies of {', '.join(layer_names())} can be laid over those of the others, "
            "several too: `--method augmix+mixup`, `--method augmix+hybridaugment-pp+afa`. The "
            "first method keeps its loss and its number of views, so `augmix+apr-sp` is the clean "
            "image, an AugMix view of the recombined image (form s), that view with the amplitude "
            "of another (form p), and their consistency; `augmix+afa` the clean image, an AugMix "
            "view and the clean image with waves. Settings of what is laid over begin with its "
            "name (`--apr-sp-form s`, `--mixup-alpha 0.2`). Blur-pooled networks (`--model "
            "NAME-maxblur`) and stylised copies (`--stylised DIR`, made by [augmix "
            "stylize](stylized.md)) go with all of them."
        ),
        "",
        _wrap(
            "Methods of one view without a consistency loss get one by `--jsd-weight 12`, and "
            "`--jsd-views 1` (for augmix `--num-views 1`) takes two passes a step in place of "
            "three. Which combinations pay is what `python benchmarks/ladder.py` measures, at "
            "equal cost and without the test sets ([results](../results.md#ablation-ladder))."
        ),
        "",
        _wrap(
            "What cannot go together is refused with the reason: an image is paired once, so Mixup "
            "and CutMix exclude each other; an attack starts at the image itself, so over "
            "adversarial training only these two can lie; augmax needs all its views for its "
            "chains; afa takes the last view, so form p lies below it and not above."
        ),
        "",
        _wrap(
            "`augmix train --seeds 5` trains five runs of neighbouring seeds; `augmix evaluate "
            "OUT/seed-* --out ENSEMBLE` measures them as one ensemble."
        ),
        "",
    ]
    return "\n".join(lines)


def _cost_table() -> list[str]:
    """Passes and operations of every method, by its own count."""
    lines = [
        "| method | passes | GFLOP | by Standard's | needs |",
        "| --- | --- | --- | --- | --- |",
    ]
    costs = {}
    for name in METHODS:
        method = METHODS[name]()
        with torch.device("meta"):
            model = build_model(method.network_name(_COUNTED), num_classes=10)
        device = torch.device("meta")
        costs[name] = count_cost(model, method, size=(32, 32), channels=3, device=device)
    for name in sorted(METHODS, key=lambda name: (costs[name].flop, name)):
        cost = costs[name]
        attacks = f" + {cost.attacks} of attack" if cost.attacks else ""
        share = cost.flop / costs["standard"].flop
        lines.append(
            f"| [{name}]({name}.md) | {cost.passes}{attacks} | {cost.flop / 1e9:.1f} | "
            f"{share:.1f} | {NEEDS.get(name, '')} |"
        )
    return lines


def _cifar_table() -> list[str]:
    """The published errors of every method on one network."""
    lines = ["| method | network | CIFAR-10-C | CIFAR-100-C | training | source |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    found = []
    for name in METHODS:
        rows = [row for data in ("cifar10", "cifar100") for row in literature(name, data)]
        if rows:
            first = min(rows, key=lambda row: row.network != "WRN-40-2")
            alike = {
                row.data: row.corrupted
                for row in reversed(rows)
                if (row.network, row.source, row.recipe)
                == (first.network, first.source, first.recipe)
            }
            found.append((name, first, alike))
    for name, first, alike in sorted(found, key=lambda each: each[2].get("cifar10", 100.0)):
        errors = [f"{alike[data]:.1f}" if data in alike else "" for data in ("cifar10", "cifar100")]
        cells = (f"[{name}]({name}.md)", first.network, *errors, first.recipe, first.source)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _imagenet_table() -> list[str]:
    """The published numbers on ImageNet with a ResNet-50."""
    lines = ["| method | mCE | C-bar | mFR | starts from | training | source |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    rows = (*published.PAPER_METHOD_ROWS, *published.LATER_ROWS)
    for row in sorted(rows, key=lambda row: row.corrupted):
        if (row.data, row.network) == ("imagenet", "ResNet-50"):
            numbers = (row.corrupted, row.bar, row.flips)
            cells = ["" if number is None else f"{number:.1f}" for number in numbers]
            words = (row.starts_from, row.recipe, row.source)
            lines.append(f"| [{row.method}]({row.method}.md) | {' | '.join((*cells, *words))} |")
    return lines


def page(name: str) -> str:
    """The page of a method."""
    row, text = METHODS[name], TEXTS[name]
    parts = [
        f"# {row.title}",
        "",
        f"`augmix train --method {name}`; {row.source}.",
        "",
        _wrap(text.what),
        "",
        f"![{row.title}: views]({text.image or name + '.webp'})",
        "",
        _wrap(text.picture),
        "",
        "## Settings",
        "",
        "| setting | default | |",
        "| --- | --- | --- |",
        *(f"| `{flag}` | {default} | {origin} |" for flag, default, origin in text.settings),
        "",
        *_example(name, text),
        *(_wrap(f"- {note}", indent="  ") for note in text.notes),
        *([""] if text.notes else []),
        "## When to use it",
        "",
        _wrap(text.when),
        "",
        "## Numbers",
        "",
        *_numbers(name, row),
        "",
    ]
    return "\n".join(parts)


def _wrap(text: str, indent: str = "") -> str:
    """A paragraph of lines of at most 100 characters."""
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _example(name: str, text: Text) -> list[str]:
    if not text.example:
        return []
    return ["```", f"augmix train --method {name} {text.example}", "```", ""]


def _numbers(name: str, row: type[Method]) -> list[str]:
    """The published rows, beside Standard and AugMix."""
    if name not in published.LABELS:
        return _later_numbers(name)
    columns = list(dict.fromkeys(["standard", name, "augmix"]))
    lines = [
        _wrap(
            "As published (Hendrycks et al. 2020), in %, lower is better; measured numbers of this "
            "package are in [results](../results.md)."
        ),
        "",
        "| | " + " | ".join(METHODS[column].title for column in columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    for number, table in published.TABLES.items():
        keys = dict.fromkeys((found.data, found.network) for found in table.rows)
        for data, network in keys:
            means = {
                found.method: found.mean
                for found in table.rows
                if (found.data, found.network) == (data, network)
            }
            if name in means and network != "mean of the four":
                suite = "ImageNet-P" if number == 3 else _DATA[data]
                values = " | ".join(f"{means[c]:.1f}" if c in means else "" for c in columns)
                lines.append(
                    f"| Table {number}: {suite}, {network}, {_QUANTITIES[number]} | {values} |"
                )
    return lines


def _later_numbers(name: str) -> list[str]:
    """The published rows of a method later than the paper."""
    rows = [row for row in published.LATER_ROWS if row.method == name]
    if not rows:
        return ["No result of this combination is published."]
    lines = [
        _wrap(
            "As published, in %, lower is better: mean error on -C, and on ImageNet mCE. AugMix "
            "has 11.2 and 35.9 with WRN-40-2 on CIFAR-10-C and CIFAR-100-C, 65.3 mCE with "
            "ResNet-50 (released weights). Measured numbers of this package are in "
            "[results](../results.md)."
        ),
        "",
        "| set | network | clean | corrupted | recipe | source |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        clean = "" if row.clean is None else f"{row.clean:.1f}"
        start = f"from {row.starts_from}" if row.starts_from.startswith("pre") else ""
        recipe = ", ".join(part for part in (row.recipe, start) if part)
        cells = (_DATA[row.data], row.network, clean, f"{row.corrupted:.1f}", recipe, row.source)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def boat() -> Image.Image:
    """A boat on the sea, drawn four times too large and made smaller."""
    big = 4 * SIZE
    rows = np.linspace(0, 1, big)[:, None, None]
    sky = (1 - rows) * np.array([250, 196, 140]) + rows * np.array([252, 236, 214])
    picture = Image.fromarray(np.broadcast_to(sky, (big, big, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(picture)

    def at(*points: float) -> list[float]:
        return [point * big for point in points]

    draw.ellipse(at(0.12, 0.14, 0.32, 0.34), fill=(240, 110, 70))
    draw.rectangle(at(0, 0.62, 1, 1), fill=(38, 98, 134))
    for wave in range(6):
        y = 0.68 + 0.05 * wave
        draw.line(at(0.08 * (wave % 3), y, 1, y), fill=(70, 134, 166), width=big // 120)
    draw.polygon(at(0.28, 0.62, 0.82, 0.62, 0.72, 0.76, 0.38, 0.76), fill=(120, 52, 40))
    draw.rectangle(at(0.535, 0.16, 0.555, 0.62), fill=(70, 50, 40))
    draw.polygon(at(0.52, 0.2, 0.52, 0.57, 0.3, 0.57), fill=(246, 244, 238))
    draw.polygon(at(0.57, 0.24, 0.57, 0.57, 0.74, 0.57), fill=(214, 220, 226))
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


Tiles = Sequence[Sequence[np.ndarray]]


def _views(scenes: np.ndarray, policy: Policy) -> Tiles:
    """A row for each scene: itself and a view of each of five epochs."""
    ids = np.arange(len(scenes))
    columns = [scenes]
    epoch = 0
    while len(columns) <= NUM_VIEWS:
        plan = policy.sample(
            ids, num_views=1, size=(SIZE, SIZE), stream=Stream(seed=1).at(epoch=epoch)
        )
        epoch += 1
        if plan.pairs and plan.pairs.partner[0] == 0:
            continue  # a batch of two often keeps its order, which would show nothing
        columns.append(_to_pixels(render(scenes, plan)[0]))
    return [[column[row] for column in columns] for row in range(len(scenes))]


def _attacks() -> Tiles:
    """Digits, the same attacked, and the change; the network is trained here, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        config = build_config(
            method="standard",
            model="small",
            data="digits",
            epochs=4,
            batch_size=50,
            schedule="one-cycle",
            device="cpu",
            out=Path(folder) / "run",
        )
        model = load_model(train(config)).eval()
    source = open_source("digits", split="test")
    ids = np.arange(NUM_VIEWS + 1)
    pixels = source.load(ids).transpose(0, 3, 1, 2) / np.float32(255)
    images = torch.from_numpy(pixels)
    labels = torch.from_numpy(source.labels[ids])
    found = pgd(model, images, labels, epsilon=0.2, num_steps=20, step_size=0.02)
    change = (found - images) * 2 + 0.5
    rows = (images, found, change.clamp(0, 1))
    return [[_enlarge(tile) for tile in _to_pixels(row.numpy())] for row in rows]


def _stripes() -> Tiles:
    """Stripes, once more moved by one pixel, and pooled in both ways."""
    y, x = np.mgrid[:64, :65]
    wave = (0.5 + 0.5 * np.sin((x + 0.15 * y) * 2 * np.pi / 3.7)).astype(np.float32)
    waves = torch.from_numpy(np.stack([wave[:, :64], wave[:, 1:]])[:, None])
    pooled = torch.nn.functional.max_pool2d(waves, 2)
    dense = torch.nn.functional.max_pool2d(waves, 2, stride=1)
    blurred = BlurPool(5)(dense)
    columns = [_to_pixels(images.repeat(1, 3, 1, 1).numpy()) for images in (waves, pooled, blurred)]
    return [[_enlarge(column[row]) for column in columns] for row in range(2)]


def _to_pixels(views: np.ndarray) -> np.ndarray:
    """Float views as bytes, channels last."""
    return to_uint8(np.ascontiguousarray(views.astype(np.float32).transpose(0, 2, 3, 1)))


def _enlarge(tile: np.ndarray) -> np.ndarray:
    """A small tile at the size of the others, its pixels to be seen."""
    picture = Image.fromarray(tile).resize((SIZE, SIZE), Image.Resampling.NEAREST)
    return np.asarray(picture)


def _sheet(rows: Tiles) -> Image.Image:
    """Tiles in rows on white; a wider gap behind the first column."""
    width = len(rows[0]) * (SIZE + GAP) + GAP
    sheet = Image.new("RGB", (width, len(rows) * (SIZE + GAP) - GAP), "white")
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            left = x * (SIZE + GAP) + (GAP if x else 0)
            sheet.paste(Image.fromarray(tile), (left, y * (SIZE + GAP)))
    return sheet


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    from make import scene

    for path in write_pages(scene(SIZE)):
        print(path)

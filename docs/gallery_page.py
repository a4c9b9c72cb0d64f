"""The page of the corruptions: tables from the program's own, pictures from its gallery."""

from pathlib import Path

import numpy as np
from PIL import Image

from augmix import pictures
from augmix.corruptions import registry
from augmix.corruptions.registry import PRESETS

HERE = Path(__file__).parent

# name -> (what it does, its parameters with their units)
CORRUPTIONS = {
    "gaussian_noise": ("adds normal noise to every value", "deviation, share of white"),
    "shot_noise": ("counts photons: every value is a Poisson draw", "photons at white"),
    "impulse_noise": ("turns values black or white", "share of the values"),
    "defocus_blur": ("blurs with a disk, as a lens out of focus", "radius, softening; px"),
    "glass_blur": (
        "smooths, copies pixels from nearby, smooths again",
        "deviation px, reach px, rounds",
    ),
    "motion_blur": (
        "smears along a line within 45 degrees of the horizontal",
        "radius, deviation of the trail; px",
    ),
    "zoom_blur": ("the mean of the image and its enlargements", "factors below, step"),
    "snow": (
        "whitens, and lays flakes over the image as they fall",
        "mean, deviation, zoom, threshold, trail radius px, trail deviation px, blend",
    ),
    "frost": (
        "adds a piece of a texture of ice",
        "share of the image, share of the texture, scale of the texture",
    ),
    "fog": ("lays a plasma cloud over the image", "height in multiples of white, decay"),
    "brightness": ("raises the value V of HSV", "added, share of white"),
    "contrast": ("pulls every channel towards its mean", "share of the distance that stays"),
    "elastic_transform": (
        "an affine jolt, then a smooth random displacement",
        "distance, smoothness, jolt; px",
    ),
    "pixelate": ("shrinks with a box filter and enlarges again", "side of the small image, share"),
    "jpeg_compression": ("encodes as JPEG and decodes", "quality"),
    "speckle_noise": ("adds noise in proportion to every value", "deviation, share of the value"),
    "gaussian_blur": ("smooths with a Gaussian", "deviation, px"),
    "spatter": (
        "splashes of water, from severity 4 of mud",
        "mean, deviation and blur px of the field, threshold, strength, 1 for mud",
    ),
    "saturate": ("changes the saturation S of HSV", "factor, shift"),
}
SEQUENCES = {
    "gaussian_noise": "new noise in every frame",
    "shot_noise": "new noise in every frame",
    "motion_blur": "the direction of the trail turns",
    "zoom_blur": "the zoom grows",
    "snow": "the direction of the fall turns",
    "brightness": "from dark to bright",
    "translate": "from left to right",
    "rotate": "from -15 to 15 degrees",
    "tilt": "about both axes",
    "scale": "from small to large",
    "speckle_noise": "new noise in every frame",
    "gaussian_blur": "the blur grows",
    "spatter": "the splashes run down",
    "shear": "from -15 to 15 degrees",
}

TOP = """# Corruptions and perturbations

Made by `make docs` from the program's own tables; every picture is the package's own, of a drawn
scene. The same for an image of yours:
`augmix preview --corruptions --source folder --root DIR --size 256`.

```python
damaged = augmix.corrupt(images, "fog", severity=3)  # uint8 [batch height width channel]
frames = augmix.perturb(images, "tilt")  # uint8 [batch frame height width channel]
```

Images are uint8, RGB or grey, of any height and width from 16 pixels on; smaller ones are refused.

## The corruptions

15 corruptions of the published benchmark in the groups noise, blur, weather and digital, and 4
extra ones that the paper keeps for validation. Wherever names are asked for, the protocols
`paper-15` and `extra-4` stand for theirs. Below, a
scene of 224 x 224 pixels at the `imagenet` severities, seed 0. Open the picture for full size.

![Every corruption, clean and at severities 1 to 5](corruptions.webp)

"""

RULES = """
## Sizes and presets

A preset names the published set whose numbers are used: `cifar` was made for 32 x 32 pixels, `tiny`
for 64 x 64, `imagenet` for 224 x 224, `imagenet-299` for the 299 x 299 of Inception networks.
`preset="auto"` goes by the shorter side: up to 48 pixels `cifar`, up to 112 `tiny`, else
`imagenet`; `augmix.corruptions.registry.resolve_preset` says which, and so do `augmix corrupt` and
`augmix perturb` before they write. `imagenet-299` is never chosen by itself, for most networks of
other sizes are measured at the numbers of `imagenet`. The numbers are then used as they stand, in
pixels, whatever the size; images need not be square. What a kernel lays over the image (fog, snow,
frost) is made as large as the image needs.

The published sets for 299 pixels take the middle 87.5 % of height and width of a photograph and
squeeze it to a square, whatever its shape. Perturbation sequences are made so
(`photograph_frames`, `augmix perturb --preset imagenet-299`). Corruptions
take the images they are given, and `augmix corrupt --preset imagenet-299` on a folder cuts a square
of 299 pixels out of the middle without squeezing it.

The published numbers are kept with their quirks. Severity does not always grow from column to
column: ImageNet's elastic transform bends the whole image at severities 1 and 2 and frays its
edges from 3 on, and saturate first takes colour away and then adds it.

## Frost

The published benchmark lays photographs of ice over the image. They are not ours to ship, so the
package draws five textures of its own, each with the size and the spread of grey levels of the
photograph in the same place; they are the same everywhere and always. With the photographs at hand,
`augmix.corrupt(images, "frost", severity=3, frost_textures="FOLDER")` uses them: the folder holds
`frost1.png`, `frost2.png`, `frost3.png`, `frost4.jpg` and `frost5.jpg`, and
`augmix download frost DIR` brings them to `DIR/frost`. Errors measured with either are close and
not equal: say which was used; `corruptions.frost.fingerprint` is the checksum of the textures.

## JPEG files

The published ImageNet-C and Tiny-ImageNet-C are JPEG files of quality 85, so every corruption there
has a second loss on top, and networks make other errors on them than on the corrupted images
themselves. `augmix.corrupt(..., jpeg_quality=85)` codes and decodes as those files were written
(Pillow, optimised tables, 4:2:0 chroma): it gives what reading a set written by `augmix corrupt`
gives.

## Published sets, and sets of your own

`augmix download NAME DIR` fetches `cifar10-c`, `cifar100-c`, `tiny-imagenet-c`, `imagenet-c`,
`cifar10-p`, `imagenet-p` or `frost`, goes on with what an earlier try left, waits where the server
is busy, holds every archive against its checksum and unpacks it. `--archives weather.tar` takes a
part, `--from-local FOLDER` archives fetched by hand. The other -P sets are not fetched by name,
since no checksum of theirs is published.

`augmix corrupt SRC DST` and `augmix perturb SRC DST` write the same layouts from any images, with
several processes; stopped at any moment and started again they go on to the same bytes.
`DST/manifest.json` holds the settings, seeds and versions, `DST/SHA256SUMS` every file's checksum.

## Seeds

Every image draws from a generator at its own address: seed, corruption, severity, id. The same
image at the same address gives the same bytes in any batch, order, number of threads and process.
`ids` are the images' indices in their set; without them, their places in the batch. Nothing draws
from NumPy's global generator.

`num_threads` is the most threads that work on a batch. A kernel gives Python's lock up while it
runs, but the steps between need it, so on small images two threads mostly wait for each other:
below 128 x 128 pixels, and for pixelate and JPEG compression at any size, one thread does the work
whatever was asked for. Several processes (`augmix corrupt --num-processes`) pay at every size.

## The perturbation sequences

A sequence shows one image under a perturbation that changes a little from frame to frame; a model
is asked how often its answer flips. Frames of noise are compared with the first, clean one, all
others with the frame before. With the presets `tiny` and `imagenet` the frame is cut from the
middle of a larger image, so that the black border comes into sight only where the motion is larger
than the margin; with `cifar` and `imagenet-299` it is the whole image. The lists `standard-10`,
`cifar-script-10` and `extra-4` stand for their sequences. The scene again, 256 x 256
pixels for frames of 224 x 224, preset `imagenet`; the number of the frame stands under it.

![Every perturbation sequence, eight frames of each](perturbations.webp)

Rotate, scale, shear and zoom blur turn and stretch about a point half a pixel to the lower right of
the middle, as torchvision 0.2 did when the published sets were made. Newer releases of torchvision
take the very middle, which moves these frames by less than a pixel. No published set has it, so
`augmix.perturb` does not offer it; the makers do, for comparisons:
`augmix.corruptions.sequences.rotate(..., offset_px=0)`.

"""


def write_page(scene: Image.Image, small: Image.Image) -> list[Path]:
    """Write `corruptions.md` and its pictures; they are made from a square scene of 256 pixels.

    Args:
        scene: 256 x 256 pixels.
        small: The same of 147 x 147, for animations of 128.
    """
    image = np.asarray(scene.resize((224, 224), Image.Resampling.LANCZOS))
    paths = [
        pictures.save_picture(
            HERE / "corruptions.webp", pictures.render_gallery(image), quality=75
        ),
        pictures.save_picture(
            HERE / "perturbations.webp", pictures.render_strips(np.asarray(scene)), quality=70
        ),
    ]
    (HERE / "perturbations").mkdir(exist_ok=True)
    for name in registry.SEQUENCES:
        path = HERE / "perturbations" / f"{name}.webp"
        pixels = np.asarray(small)
        paths.append(pictures.write_animation(path, pixels, name, preset="imagenet", quality=60))
    page = HERE / "corruptions.md"
    page.write_text(page_text())
    return [page, *paths]


def page_text() -> str:
    """The page, which names the pictures."""
    return TOP + corruption_tables() + RULES + animation_table() + "\n" + frame_table()


def corruption_tables() -> str:
    """What every corruption does, then its numbers, a table a preset."""
    parts = [table(["corruption", "group", "what it does", "parameters"], described())]
    parts.append("### Parameters, severities 1 to 5\n")
    for preset in PRESETS:
        parts.append(f"`{preset}`\n")
        rows = [
            [f"`{row.name}`", *(" / ".join(map(number, level)) for level in row.parameters[preset])]
            for row in registry.CORRUPTIONS.values()
        ]
        parts.append(table(["corruption", "1", "2", "3", "4", "5"], rows))
    return "\n".join(parts)


def described() -> list[list[str]]:
    """Name, group, what it does and its parameters."""
    return [
        [f"`{name}`", row.group, *CORRUPTIONS[name]] for name, row in registry.CORRUPTIONS.items()
    ]


def animation_table() -> str:
    """The animations, five side by side, each under its name."""
    lines = []
    everything = list(registry.SEQUENCES)
    for start in range(0, len(everything), 5):
        names = everything[start : start + 5]
        names_padded = [*names, *[""] * (5 - len(names))]
        rows = [f"![{name}](perturbations/{name}.webp)" if name else "" for name in names_padded]
        titles = [f"`{name}`" if name else "" for name in names_padded]
        lines += [titles, rows]
    return "All frames, ten a second:\n\n" + table(lines[0], lines[1:])


def frame_table() -> str:
    """What moves, and how many frames there are."""
    rows = [
        [
            f"`{name}`",
            row.group,
            SEQUENCES[name],
            *(str(registry.num_frames(name, preset)) for preset in PRESETS),
        ]
        for name, row in registry.SEQUENCES.items()
    ]
    heads = ["sequence", "set", "what changes", *(f"frames, `{preset}`" for preset in PRESETS)]
    return table(heads, rows)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float) -> str:
    """Short: at most four figures."""
    return f"{value:.4g}"

"""Write docs/corruptions.md: tables from the registry, pictures from `augmix.pictures`."""

from pathlib import Path

import numpy as np
from PIL import Image

from augmix import pictures
from augmix.corruptions import registry
from augmix.corruptions.registry import PRESETS

HERE = Path(__file__).parent

# name -> (what it does, its parameters with their units)
CORRUPTIONS = {
    "gaussian_noise": ("adds normal noise to every value", "std, fraction of white"),
    "shot_noise": ("counts photons: every value is a Poisson draw", "photons at white"),
    "impulse_noise": ("turns values black or white", "fraction of the values"),
    "defocus_blur": ("blurs with a disk, as a lens out of focus", "radius, softening; px"),
    "glass_blur": (
        "smooths, copies pixels from nearby, smooths again",
        "std px, reach px, rounds",
    ),
    "motion_blur": (
        "smears along a line within 45 degrees of the horizontal",
        "radius, std of the trail; px",
    ),
    "zoom_blur": ("averages the image and its enlargements", "end of the factors, step"),
    "snow": (
        "whitens, and adds falling flakes",
        "mean, std, zoom, threshold, trail radius px, trail std px, blend",
    ),
    "frost": (
        "adds a piece of a texture of ice",
        "weight of the image, weight of the texture, scale of the texture",
    ),
    "fog": ("adds a plasma cloud", "height in multiples of white, decay"),
    "brightness": ("raises the value V of HSV", "added, fraction of white"),
    "contrast": ("pulls every channel towards its mean", "fraction of the distance that is kept"),
    "elastic_transform": (
        "moves three points, then every pixel by a smooth random field",
        "distance, smoothness, jolt; px",
    ),
    "pixelate": (
        "shrinks with a box filter and enlarges again",
        "size of the small image, fraction",
    ),
    "jpeg_compression": ("encodes as JPEG and decodes", "quality"),
    "speckle_noise": ("adds noise in proportion to every value", "std, fraction of the value"),
    "gaussian_blur": ("smooths with a Gaussian", "std, px"),
    "spatter": (
        "splashes of water, from severity 4 of mud",
        "mean, std and blur px of the field, threshold, strength, 1 for mud",
    ),
    "saturate": ("changes the saturation S of HSV", "factor, shift"),
}
BAR = {
    "blue_noise_sample": (
        "blacks out pixels where blue noise is low",
        "0.3 of it minus 2.5 is the threshold, in std of the noise",
    ),
    "brownish_noise": (
        "adds noise of low frequencies to each channel",
        "std in 6.4 grey levels",
    ),
    "checkerboard_cutout": (
        "turns squares of a rotated checkerboard grey",
        "tenths of the black squares",
    ),
    "inverse_sparkles": ("fades to white outside of a star", "exponent of the fall, in 0.13"),
    "sparkles": ("adds five white stars", "radius in hundredths of the shorter edge"),
    "circular_motion_blur": (
        "averages 21 rotations about the middle",
        "largest angle, in 1.5 degrees",
    ),
    "lines": ("draws grey lines in similar directions", "lines in tenths of the shorter edge"),
    "pinch_and_twirl": (
        "pinches and turns the image in 3 x 3 cells, 5 x 5 from 224 pixels on",
        "turn of the middle, in 9 degrees",
    ),
    "ripple": (
        "shifts rows and columns by sine waves",
        "height of the waves, in 0.0025 of the shorter edge",
    ),
    "transverse_chromatic_abberation": (
        "zooms the channels by different factors",
        "enlarged by 0, 0.025 and 0.05 of it",
    ),
    "caustic_refraction": (
        "refracts and lights by a rippled water surface",
        "lens in 0.05 of the shorter edge, light in 0.2",
    ),
    "cocentric_sine_waves": ("adds rings with a wavy outline", "height in 12.8 grey levels"),
    "perlin_noise": ("blends with Perlin's turbulence", "weight in twentieths"),
    "plasma_noise": ("blends with a coloured plasma", "weight in 6.4 grey levels"),
    "single_frequency_greyscale": ("adds one sine wave", "height in 19.6 grey levels"),
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
    "spatter": "the drops run down",
    "shear": "from -15 to 15 degrees",
}

TOP = """# Corruptions and perturbations

Made by `make docs` from the program's own tables; the pictures are drawn by the package, from a
drawn scene. For an image of yours:
`augmix preview --corruptions --data DIR --size 256`.

```python
corrupted = augmix.corrupt(images, "fog", severity=3)  # uint8 [batch height width channel]
frames = augmix.perturb(images, "tilt")  # uint8 [batch frame height width channel]
```

Images are uint8, RGB or grey, of any height and width from 16 pixels on; smaller ones are refused.
Some corruptions take [other depths and channels](#many-channels-16-bits-floats) too.
Both functions take what the transforms take, one image or a batch, and return the same type: a PIL
image (frames are then a list), an array `height width channel` or `height width`, a tensor
`channel height width` or `batch channel height width`. Draws depend on the id of an image, which is
its position in the batch: one image alone always has id 0, and so the same noise. Give `ids=index`
in a data set.

## The corruptions

There are the 15 corruptions of the published benchmark, in the groups noise, blur, weather and
digital, and the 4 extra ones that its paper keeps for validation. Wherever a name is asked for,
`paper-15` and `extra-4` name all of these. Below, a scene of 224 x 224 pixels at the `imagenet`
severities, seed 0. Open the picture for full size.

![Every corruption, clean and at severities 1 to 5](corruptions.webp)

"""

C_BAR = """
## C-bar

The 15 functions of Mintun et al. (2021), "On Interaction between Data Augmentation and Corruptions
in Natural Corruption Robustness", make two further benchmarks, whose corruptions were chosen to be
unlike those above: an augmentation that resembles the corruptions of -C gains less here.
`cifar-bar` names the ten of CIFAR-10-C-bar, `imagenet-bar` the ten of ImageNet-C-bar. Names are
spelt as published; `blue_noise`, the name of some files, is taken as `blue_noise_sample`.

```
augmix corrupt DIR OUT --names imagenet-bar
augmix evaluate MODEL --data DIR --suite clean c-bar
```

The published script has constants for 32 and 224 pixels. Lengths are fractions of the edge, so
they are applied to images of any size; if an image is not square, lengths go by its shorter edge.
The preset `cifar` has the amounts for CIFAR and the others have those for ImageNet; a corruption
that is in one list only has one set of amounts. The published sets cannot be made again byte by
byte, since the script did not seed all its processes. Each function equals the published one when
it gets the same draws: from a `numpy.random.RandomState` it draws what the script draws, except the
lattice of `perlin_noise`, which is drawn in an order of its own. The error on C-bar is a plain
mean, without division by AlexNet's error.

![Every corruption of C-bar, clean and at severities 1 to 5](cbar.webp)

"""

RULES = """
## Your own corruption

A corruption is a function of an image, its parameters and a NumPy generator. It returns a uint8
image of the same shape, and may change the one it is given:

```python
# scratches.py
import augmix


@augmix.register_corruption(severities=(2, 4, 8, 16, 32))
def scratches(image, count, *, generator):
    image[generator.integers(0, len(image), count)] = 255
    return image
```

`python:scratches.py:scratches` names it wherever a corruption is named: with `--names` of
`augmix corrupt`, `augmix evaluate` and `augmix preview --corruptions`, and in `augmix.corrupt`.
`severities` holds the parameters of severity 1 to 5, a number or a tuple each; a dictionary has
them for each preset. A function without the decorator gets the severity itself. In Python, a
registered corruption goes by its name.

It is measured, reported, written and drawn like the published ones, and lies outside every mean of
the benchmark. Its draws depend on its name, the severity, the seed and the id, and on nothing else.
The sha256 of its file is part of the results and of a written set: after an edit it is measured
again into another folder. `augmix.register_sequence` does the same for a perturbation sequence,
a function of a scene that yields the frames.

## Sizes and presets

A preset names the published set whose numbers are used: `cifar` was made for 32 x 32 pixels, `tiny`
for 64 x 64, `imagenet` for 224 x 224, `imagenet-299` for the 299 x 299 of Inception networks.
`preset="auto"` goes by the shorter of height and width: `cifar` up to 48 pixels, `tiny` up to 112,
else `imagenet`. `augmix.corruptions.registry.resolve_preset` returns it, and `augmix corrupt` and
`augmix perturb` print it. `imagenet-299` is never chosen automatically, since most networks of
other sizes are measured with the numbers of `imagenet`. The numbers are used as they are, in
pixels, whatever the size; images need not be square. Fog, snow and frost are made as large as the
image needs.

The published sets for 299 pixels take the middle 87.5 % of height and width of a photograph and
resize it to a square, whatever its shape. Perturbation sequences are made in the same way
(`photograph_frames`, `augmix perturb --preset imagenet-299`). Corruptions take the images they are
given, and `augmix corrupt --preset imagenet-299` on a folder crops a square of 299 pixels from the
middle.

The published numbers are kept with their quirks. Severity does not always grow from column to
column: ImageNet's elastic transform bends the whole image at severities 1 and 2 and frays its
edges from 3 on, and saturate first removes colour and then adds it.

Severities between two whole ones are allowed, e.g. `severity=2.5` or `--severities 1 1.5 2`:
parameters are interpolated linearly, and those that are whole numbers (such as the quality of JPEG
or the rounds of glass blur) are rounded. Draws are those of the lower severity, so that noise grows
and does not change. They are in no published mean; the layout of arrays, which holds all five
severities, is written without them.

## A preset of your own

Wherever a preset is named, a file takes its place: `augmix corrupt`, `augmix evaluate`,
`augmix preview --corruptions`, `augmix.corrupt(..., preset="dashcam.json")` and
`augmix.transforms.Corrupt`. It has the parameters of corruptions in the units of the tables above,
from severity 1 on, a number or a list each:

```json
{
  "name": "dashcam",
  "corruptions": {
    "fog": [[0.4, 3], [0.8, 2.5], [1.2, 2], null, null],
    "gaussian_noise": [0.02, 0.04, 0.06, 0.08, 0.1]
  }
}
```

TOML has the same form, with `"none"` for `null`. Names, the number of parameters and their ranges
are checked, and `null` or a shorter list means that there is no such severity. What is asked for
must be in the file:

```
$ augmix evaluate RUN --preset dashcam.json --names fog
augmix: preset 'dashcam' lacks severities: fog 4, 5; take --severities 1 2 3
```

Results, reports and the manifest of a written set hold the name and the sha256 of the parameters.
Results of another preset are not continued, a report of several presets says that its numbers must
not be compared, and a set that is read back with `--official` names the file it was written with.
AlexNet's errors are of the preset `imagenet`, so there is no mCE by another one. Sequences have no
parameters in a file: suite `p` is measured with a published preset.

## Severities for your own data

The published numbers were chosen for CIFAR and ImageNet; on other images fog of severity 3 may be
invisible or fatal. `augmix calibrate-severity` finds, for each corruption, the parameters at which
a reference model loses 10, 20, 30, 40 and 50 percentage points of accuracy, or those of `--drop`,
and writes them as a preset. Here a small network trained on the digits for 15 epochs:

```
$ augmix calibrate-severity runs/digits --out digits-5.json \\
    --names gaussian_noise fog contrast pixelate jpeg_compression
10 classes: 397 images, 27 (9) to 48 (5) each
clean accuracy 98.74 % on 397 images
gaussian_noise: 10 at 14.38 (6.5 to 13.1), 20 at 17.94 (15.7 to 24.0), 30 at 20.94 (25.4 to 34.9),
  40 at 23.20 (34.9 to 44.9), 50 at 25.94 (44.8 to 55.1)
fog: 10 at 1.14 (6.9 to 13.2), 20 at 1.41 (16.0 to 24.2), 30 at 1.58 (25.5 to 34.8), 40 at 1.73
  (34.8 to 44.6), 50 at 1.95 (44.7 to 54.7)
contrast: 10 at 0.94 (6.6 to 13.0), 20 at 1.28 (16.0 to 24.3), 30 at 1.43 (25.3 to 34.5), 40 at
  1.55 (34.8 to 44.6), 50 at 1.64 (44.7 to 54.7)
pixelate: 20 at 9.25 (16.0 to 24.3), not reached 10 (goes from 5.3 to 14.4 at once), ...
not reached: jpeg_compression 10, 20, 30, 40, 50 (loses at most 2.5)
beyond the published severity 5: gaussian_noise, pixelate
preset: digits-5.json, 4 corruptions
$ augmix evaluate runs/digits --preset digits-5.json --names gaussian_noise fog contrast
```

(Lines are folded and one is shortened here. 27 November 2026, Intel Xeon, 1 thread, 4 minutes on a
busy machine.) A position is one on the severity scale of the published preset (`--preset`, by
default by the size of the images): 1.14 is between severity 1 and 2. Below 1 the scale continues to
the image as it is, above 5 by the step from 4 to 5, up to 40 and within the range of every
parameter. The first position with the loss is taken, to within `--tolerance` (1 point), and in
parentheses is the 95 % interval of the loss over images. What is not reached is named and is no
severity of the preset: some corruptions harm a model too little, and some parameters are whole
numbers or sizes that jump.

The loss is measured on a fixed random part of the images (`--max-images`, 1,000), with the draws
that `augmix evaluate` has with the same seed: on the same images it finds exactly these errors. The
file keeps model, images, positions and intervals below `calibration`. A search that was stopped is
continued. In Python:

```python
preset = augmix.calibrate_severity(model, "photos", drop=(10, 20, 30), names=("fog", "contrast"))
fog = augmix.corrupt(images, "fog", severity=2, preset=preset)
```

## Many channels, 16 bits, floats

`augmix.corrupt` also takes arrays and tensors of 1 to 16 channels, of uint8, uint16, float32 or
float64 in [0, 1], and returns the same type. Thirteen corruptions have a meaning for every channel
and depth: `gaussian_noise`, `shot_noise`, `impulse_noise`, `speckle_noise`, `defocus_blur`,
`glass_blur`, `motion_blur`, `zoom_blur`, `gaussian_blur`, `fog` (the same cloud in every channel),
`contrast`, `elastic_transform` and `pixelate`. The others are of colours or of a format, and are
refused:

```python
>>> bands = np.random.default_rng(0).integers(0, 65536, (128, 128, 6), dtype=np.uint16)
>>> augmix.corrupt(bands, "defocus_blur", severity=3).dtype
dtype('uint16')
>>> augmix.corrupt(bands, "snow", severity=3)
ValueError: corruption 'snow' is for uint8 images of 1 or 3 channels, got uint16 of 6 channels; 1 to
16 channels of uint8, uint16 or floats in [0, 1] are taken by gaussian_noise, shot_noise, ...
```

White is 255, 65,535 or 1.0; nothing is guessed from values, and floats outside of [0, 1] are
refused. Draws are those of RGB images, and so are the results: an RGB image of 16 bits or floats
becomes what one of 8 bits becomes, without its rounding, and bytes of uint8 images of 1 or 3
channels are the same as ever. An alpha channel would be corrupted like any other; take
`image[..., :3]`. Commands read images as 8-bit RGB.

## Frost

The published benchmark overlays photographs of ice that this package may not distribute. It draws
five textures of its own, each with the size and the distribution of grey levels of the photograph
that it replaces; they are the same on every machine. With the photographs,
`augmix.corrupt(images, "frost", severity=3, frost_textures="FOLDER")` uses them: the folder holds
`frost1.png`, `frost2.png`, `frost3.png`, `frost4.jpg` and `frost5.jpg`, and
`augmix download frost DIR` fetches them to `DIR/frost`. Errors measured with either are close but
not equal, so results and reports say which was used; `corruptions.weather.frost_fingerprint`
returns the checksum of the textures.

## JPEG files

The published ImageNet-C and Tiny-ImageNet-C are JPEG files of quality 85, which adds a second loss
to every corruption, and networks make other errors on them than on the corrupted images themselves.
`augmix.corrupt(..., jpeg_quality=85)` encodes and decodes as those files were written (Pillow,
optimised tables, 4:2:0 chroma). It returns what reading a set written by `augmix corrupt` returns.

## Published sets, and sets of your own

`augmix download NAME DIR` fetches `cifar10-c`, `cifar100-c`, `tiny-imagenet-c`, `imagenet-c`,
`cifar10-p`, `imagenet-p`, `imagenet-a`, `imagenet-r`, `imagenet-o` or `frost`. It continues an
interrupted download, waits if the server is busy, compares every archive with its checksum and
unpacks it. `--archives weather.tar` takes a part, `--from-local FOLDER` archives that you fetched
yourself. The other -P sets cannot be fetched by name, since no checksum of theirs is published.

`augmix corrupt SRC DST` and `augmix perturb SRC DST` write the same layouts from any images, with
several processes. Interrupted at any moment and started again, they continue to the same bytes.
A folder in the layout of COCO, YOLO or Cityscapes is written [with its boxes and
masks](detection.md).
`DST/manifest.json` holds the settings, seeds and versions, `DST/SHA256SUMS` every file's checksum.

`--dry-run` writes nothing. It makes images from all over the set under every corruption and
severity for a few seconds, says how many files and bytes there will be and how long it takes, and
refuses what the real run would refuse (also `augmix stylize`):

```text
$ augmix corrupt imagenet-samples/val imagenet-c --dry-run
200 classes: 200 images, 1 (n01440764) to 1 (n01440764) each
preset imagenet, by the size of 224 x 224 pixels
19,000 files, 234 MB, of 19,000 images
about 12 min with 2 processes (72.8 ms an image, measured on 95 images; disk not counted)
30.1 MB of decoded images more until it is written
61.3 GB free in /data
```

(On two cores of a machine that was busy with other work. Bytes of arrays are exact, those of JPEG
files are extended from the images that were made.)

Called again on a complete set, the command compares the sizes of its files, or with `--verify`
their checksums, and writes again what is missing or damaged. Files reach the disk before their
names do, so a power loss leaves nothing that looks finished and is not.

### Several machines

A set is written by several jobs together, on a folder that all of them see:

```bash
augmix corrupt imagenet/val imagenet-c --shard 3/8          # the third of eight array jobs
torchrun --nproc-per-node 4 -m augmix corrupt imagenet/val imagenet-c
```

`--shard i/n` of `corrupt`, `perturb` and `stylize` begins with the i-th part of the pieces and goes
on with whatever nobody else has claimed, so no job waits for a slow one, and the jobs need not run
at the same time. The tree, its one `manifest.json` and its one `SHA256SUMS` are those of a single
process, byte for byte. A job that is killed at any moment loses its claims with its life: the
others take its pieces over, or the same command, with the same or another number of jobs, continues
the set. A job that starts when the set is complete ends at once. Settings that change a byte must
be equal, else a job is refused with the first difference. Under `torchrun` every process is a
shard, the first one prints, and the processes of a machine divide its processors.

Claims are locks of files below `DST/.work`, which the system releases; on a network file system the
server must support `flock` (NFS 4, Lustre mounted with `flock`, GPFS). Without it the command says
so and stops.

## Seeds

Every image draws from a generator at its own address: seed, corruption, severity, id. The same
image at the same address gives the same bytes in any batch, order, number of threads and process.
`ids` are the indices of the images in their set; without them, their positions in the batch.
Nothing draws from NumPy's global generator.

`num_threads` is the largest number of threads that work on a batch. The published corruptions are
compiled functions that release the GIL once for many images (32 of 32 x 32 pixels), their draws
included, so that threads help at every size. Spatter and the corruptions of C-bar take one image at
a time and have one thread below 128 x 128 pixels, where two would mostly wait for each other; your
own corruptions have one at any size. Several processes (`augmix corrupt --num-processes`) help
there.

## The perturbation sequences

A sequence shows one image under a perturbation that changes slightly from frame to frame; the
measure is how often a model's prediction flips. Frames of noise are compared with the first, clean
one, all others with the frame before. With the presets `tiny` and `imagenet` the frame is cropped
from the middle of a larger image, so that the black border shows only where the motion is larger
than the margin; with `cifar` and `imagenet-299` it is the whole image. `standard-10`,
`cifar-script-10` and `extra-4` name several sequences. The scene again, 256 x 256 pixels for frames
of 224 x 224, preset `imagenet`; the number of the frame is printed below it.

![Every perturbation sequence, eight frames of each](perturbations.webp)

Rotate, scale, shear and zoom blur turn and stretch about a point half a pixel to the lower right of
the middle, as torchvision 0.2 did when the published sets were made. Later versions of torchvision
use the exact middle, which moves these frames by less than a pixel. No published set has it, so
`augmix.perturb` does not offer it; the functions do, for comparisons:
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
            HERE / "cbar.webp",
            pictures.render_gallery(image, names=["cifar-bar", "imagenet-bar"]),
            quality=75,
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
    """Return the page, which refers to the pictures."""
    return (
        TOP
        + corruption_tables()
        + C_BAR
        + bar_table()
        + RULES
        + animation_table()
        + "\n"
        + frame_table()
    )


def corruption_tables() -> str:
    """Return what every corruption does, then its parameters, a table for each preset."""
    parts = [table(["corruption", "group", "what it does", "parameters"], described())]
    parts.append("### Parameters, severities 1 to 5\n")
    for preset in PRESETS:
        parts.append(f"`{preset}`\n")
        rows = [
            [f"`{row.name}`", *(" / ".join(map(number, level)) for level in row.parameters[preset])]
            for row in registry.CORRUPTIONS.values()
            if row.group != registry.BAR
        ]
        parts.append(table(["corruption", "1", "2", "3", "4", "5"], rows))
    return "\n".join(parts)


def described() -> list[list[str]]:
    """Return name, group, effect and parameters of every corruption of the -C benchmarks."""
    return [
        [f"`{name}`", registry.CORRUPTIONS[name].group, *about]
        for name, about in CORRUPTIONS.items()
    ]


def bar_table() -> str:
    """Return the effect of every corruption of C-bar, and its amounts at severities 1 to 5."""
    protocols = registry.CORRUPTIONS.protocols
    rows = []
    for name, (effect, unit) in BAR.items():
        amounts = [
            " / ".join(
                number(amount) for (amount,) in registry.CORRUPTIONS[name].parameters[preset]
            )
            if name in protocols[f"{preset}-bar"]
            else ""
            for preset in ("cifar", "imagenet")
        ]
        rows.append([f"`{name}`", effect, unit, *amounts])
    heads = ["corruption", "what it does", "amount", "CIFAR, severity 1 to 5", "ImageNet"]
    return table(heads, rows)


def animation_table() -> str:
    """Return a table of the animations, five in a row, each under its name."""
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
    """Return a table of what changes and how many frames there are."""
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
    """Format a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float) -> str:
    """Format a number with at most four significant figures."""
    return f"{value:.4g}"

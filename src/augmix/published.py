"""Numbers of the literature as data: AlexNet's, Tables 1-4 of AugMix, and C-bar.

Baselines are fractions. The cells of the tables are per cent exactly as printed, so that a test can
hold a printed mean against its printed cells: each is off by at most `Table.rounding`.

The published networks were trained by others and measured on the official files; a measured number
beside them differs by training, data and implementation, not by method alone. Users of the released
code report differences of a few tenths on single rows, and once 36.1 where Table 4 has 39.8 (AugMix
without the consistency loss, CIFAR-100-C).

Sources: Hendrycks et al. (2020), "AugMix: a simple data processing method to improve robustness and
uncertainty", ICLR, tables 1-4. AlexNet: `clovaai/assembled-cnn`, `mce/eval_robustness.py` (means,
flip probabilities); `hendrycks/robustness`, issue 10 (each severity); the clean error from
`google-research/robustness_metrics`, `reports/imagenet_variants.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# -- AlexNet (torchvision), the baseline of ImageNet-C and ImageNet-P ------------------------------

ALEXNET_CLEAN_ERROR = 0.4348

ALEXNET_ERRORS: Mapping[str, tuple[float, float, float, float, float]] = {  # severities 1..5
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
    "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
    "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
    "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
    "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}
ALEXNET_EXTRA_ERRORS: Mapping[str, float] = {  # means over severities, four decimals
    "speckle_noise": 0.8454,
    "gaussian_blur": 0.7871,
    "spatter": 0.7175,
    "saturate": 0.6583,
}
ALEXNET_FLIP_PROBABILITIES: Mapping[str, float] = {
    "gaussian_noise": 0.23653,
    "shot_noise": 0.30062,
    "motion_blur": 0.09297,
    "zoom_blur": 0.05942,
    "snow": 0.11928,
    "brightness": 0.04889,
    "translate": 0.11007,
    "rotate": 0.13104,
    "tilt": 0.07050,
    "scale": 0.23531,
}
ALEXNET_EXTRA_FLIP_PROBABILITIES: Mapping[str, float] = {
    "speckle_noise": 0.18649,
    "gaussian_blur": 0.02775,
    "spatter": 0.05053,
    "shear": 0.10658,
}

# -- Tables 1-4 of AugMix --------------------------------------------------------------------------

LABELS: Mapping[str, str] = {  # of the methods, as printed
    "standard": "Standard",
    "cutout": "Cutout",
    "mixup": "Mixup",
    "cutmix": "CutMix",
    "autoaugment": "AutoAugment*",
    "adversarial": "Adv Training",
    "patch-uniform": "Patch Uniform",
    "random-aa": "Random AA*",
    "random-aa-jsd": "Random AA* + JSD",
    "maxblur": "MaxBlur pool",
    "sin": "SIN",
    "augmix-no-jsd": "AugMix without JSD",
    "augmix": "AugMix",
    "augmix-sin": "AugMix+SIN",
    "augmix+mixup": "AugMix + Mixup (unverified)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method on one network, as printed, in %."""

    data: str  # ``cifar10``, ``cifar100`` or ``imagenet``, of which the -C or -P set was measured
    network: str  # as the paper names it
    method: str  # a key of `LABELS`
    mean: float  # the row's summary: mean error, mCE or mFR
    clean: float | None = None  # clean error, where the table has it
    cells: Mapping[str, float] | None = None  # by corruption or perturbation, likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the paper, its rows in the printed order."""

    number: int
    title: str  # what was measured
    quantity: str  # what `Row.mean` is
    # By how many percentage points a printed mean may differ from the mean of its printed cells:
    # the cells are rounded to integers, the mean before its own rounding.
    rounding: float
    rows: tuple[Row, ...]


def _by_method(data: str, network: str, text: str, methods: tuple[str, ...]) -> tuple[Row, ...]:
    """A printed line of means, one for each method."""
    return tuple(
        Row(data=data, network=network, method=method, mean=float(mean))
        for method, mean in zip(methods, text.split(), strict=True)
    )


def _by_cell(method: str, text: str, names: Mapping[str, object]) -> Row:
    """A printed line of ImageNet: clean error, a cell for each name, the mean."""
    clean, *values, mean = map(float, text.split())
    cells = dict(zip(names, values, strict=True))
    network = "ResNet-50"
    return Row(data="imagenet", network=network, method=method, clean=clean, cells=cells, mean=mean)


MEAN = "mean of the four"  # the network of the rows that average the four above them
_CIFAR = ("standard", "cutout", "mixup", "cutmix", "autoaugment", "adversarial", "augmix")
_ABLATION = ("standard", "autoaugment", "random-aa", "random-aa-jsd", "augmix-no-jsd", "augmix")

TABLE_1 = Table(
    number=1,
    title="CIFAR-10-C and CIFAR-100-C",
    quantity="mean error over 15 corruptions and 5 severities",
    rounding=0.1,
    rows=(
        *_by_method("cifar10", "AllConv", "30.8 32.9 24.6 31.3 29.2 28.1 15.0", _CIFAR),
        *_by_method("cifar10", "DenseNet", "30.7 32.1 24.6 33.5 26.6 27.6 12.7", _CIFAR),
        *_by_method("cifar10", "WideResNet", "26.9 26.8 22.3 27.1 23.9 26.2 11.2", _CIFAR),
        *_by_method("cifar10", "ResNeXt", "27.5 28.9 22.6 29.5 24.2 27.0 10.9", _CIFAR),
        *_by_method("cifar10", MEAN, "29.0 30.2 23.5 30.3 26.0 27.2 12.5", _CIFAR),
        *_by_method("cifar100", "AllConv", "56.4 56.8 53.4 56.0 55.1 56.0 42.7", _CIFAR),
        *_by_method("cifar100", "DenseNet", "59.3 59.6 55.4 59.2 53.9 55.2 39.6", _CIFAR),
        *_by_method("cifar100", "WideResNet", "53.3 53.5 50.4 52.9 49.6 55.1 35.9", _CIFAR),
        *_by_method("cifar100", "ResNeXt", "53.4 54.6 51.4 54.1 51.3 54.4 34.9", _CIFAR),
        *_by_method("cifar100", MEAN, "55.6 56.1 52.6 55.5 52.5 55.2 38.3", _CIFAR),
    ),
)
TABLE_2 = Table(
    number=2,
    title="ImageNet-C",
    quantity="mean corruption error (mCE): corruption errors divided by AlexNet's",
    rounding=0.2,
    rows=tuple(
        _by_cell(method, text, ALEXNET_ERRORS)
        for method, text in {
            "standard": "23.9 79 80 82 82 90 84 80 86 81 75 65 79 91 77 80 80.6",
            "patch-uniform": "24.5 67 68 70 74 83 81 77 80 74 75 62 77 84 71 71 74.3",
            "autoaugment": "22.8 69 68 72 77 83 80 81 79 75 64 56 70 88 57 71 72.7",
            "random-aa": "23.6 70 71 72 80 86 82 81 81 77 72 61 75 88 73 72 76.1",
            "maxblur": "23.0 73 74 76 74 86 78 77 77 72 63 56 68 86 71 71 73.4",
            "sin": "27.2 69 70 70 77 84 76 82 74 75 69 65 69 80 64 77 73.3",
            "augmix": "22.4 65 66 67 70 80 66 66 75 72 67 58 58 79 69 69 68.4",
            "augmix-sin": "25.2 61 62 61 69 77 63 72 66 68 63 59 52 74 60 67 64.9",
        }.items()
    ),
)
TABLE_3 = Table(
    number=3,
    title="ImageNet-P",
    quantity="mean flip rate (mFR): flip probabilities divided by AlexNet's",
    rounding=0.2,
    rows=tuple(
        _by_cell(method, text, ALEXNET_FLIP_PROBABILITIES)
        for method, text in {
            "standard": "23.9 57 55 62 65 66 65 43 53 57 49 57.2",
            "patch-uniform": "24.5 32 25 50 52 54 57 40 48 49 46 45.3",
            "autoaugment": "22.8 50 45 57 68 63 53 40 44 50 46 51.7",
            "random-aa": "23.6 53 46 53 63 59 57 42 48 54 47 52.2",
            "sin": "27.2 53 50 57 72 51 62 43 53 57 53 55.0",
            "maxblur": "23.0 52 51 59 63 57 64 34 43 49 40 51.2",
            "augmix": "22.4 46 41 30 47 38 46 25 32 35 33 37.4",
            "augmix-sin": "25.2 45 40 30 54 32 48 27 35 38 39 38.9",
        }.items()
    ),
)
TABLE_4 = Table(
    number=4,
    title="Ablation on CIFAR-10-C and CIFAR-100-C",
    quantity="mean error over 15 corruptions and 5 severities",
    rounding=0.1,
    rows=(
        *_by_method("cifar10", "WideResNet", "26.9 23.9 17.0 14.7 13.1 11.2", _ABLATION),
        *_by_method("cifar100", "WideResNet", "53.3 49.6 43.6 40.8 39.8 35.9", _ABLATION),
    ),
)
UNVERIFIED = (  # from memory of the paper's text, no source at hand
    Row(data="cifar10", network="WideResNet", method="augmix+mixup", mean=13.3),
)

# -- C-bar: Mintun et al. (2021), table of their repository's page, means over five severities -----

BAR_NAMES: Mapping[str, tuple[str, ...]] = {  # in the order printed
    "cifar10": (
        *("blue_noise_sample", "brownish_noise", "checkerboard_cutout", "circular_motion_blur"),
        *("inverse_sparkles", "lines", "pinch_and_twirl", "ripple", "sparkles"),
        "transverse_chromatic_abberation",
    ),
    "imagenet": (
        *("blue_noise_sample", "plasma_noise", "checkerboard_cutout", "cocentric_sine_waves"),
        *("single_frequency_greyscale", "brownish_noise", "perlin_noise", "sparkles"),
        *("inverse_sparkles", "caustic_refraction"),
    ),
}


def _of_bar(data: str, method: str, mean: float, cells: str = "") -> Row:
    values = dict(zip(BAR_NAMES[data], map(float, cells.split()), strict=True)) if cells else None
    network = {"cifar10": "WRN-40-2", "imagenet": "ResNet-50"}[data]
    return Row(data=data, network=network, method=method, mean=mean, cells=values)


BAR_ROWS = (
    _of_bar("cifar10", "standard", 27.1, "42.9 27.2 23.3 11.8 43.3 26.2 11.3 21.6 21.0 42.9"),
    _of_bar("cifar10", "autoaugment", 21.0),
    _of_bar("cifar10", "augmix", 16.0, "9.8 27.8 13.4 5.9 30.3 18.0 8.3 12.1 15.5 19.2"),
    _of_bar("imagenet", "standard", 57.7, "68.6 71.7 49.4 84.7 79.0 37.5 34.3 32.4 76.7 42.8"),
    _of_bar("imagenet", "autoaugment", 55.7),
    _of_bar("imagenet", "sin", 55.8),
    _of_bar("imagenet", "augmix", 52.4, "43.2 72.2 46.1 76.3 67.4 38.8 32.4 32.3 76.4 39.2"),
)

# Top-1 accuracy in % that timm publishes (`results-*.csv`), at 224 pixels, by model and set.
NATURAL_TOP_1: Mapping[str, Mapping[str, float]] = {
    "resnet50.tv_in1k": {
        "imagenet-v2-matched-frequency": 63.19,
        "imagenet-sketch": 24.06,
        "imagenet-r": 36.16,
    },
    "resnet50.a1_in1k": {
        "imagenet-a": 9.97,
        "imagenet-r": 40.42,
        "imagenet-sketch": 29.64,
        "imagenet-v2-matched-frequency": 68.47,
    },
}
TABLES: Mapping[int, Table] = {1: TABLE_1, 2: TABLE_2, 3: TABLE_3, 4: TABLE_4}

# -- methods after the paper -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterRow:
    """A published result of a method later than the paper, in %."""

    method: str  # as registered in `augmix.methods`
    data: str  # ``cifar10``, ``cifar100`` or ``imagenet``
    network: str
    clean: float | None
    corrupted: float  # mean error on -C; mCE on ImageNet
    source: str
    recipe: str = ""  # epochs and views of a step
    starts_from: str = "random weights"
    bar: float | None = None  # mean error on C-bar
    flips: float | None = None  # mFR on ImageNet-P
    calibration: float | None = None  # RMS calibration error, mean over -C


_HYBRID = "Yucel et al. (2023)"
_SIEDEL = "Siedel et al. (2026), files of results"
_AFA = "Vaish et al. (2024), files of results"
_CIFAR_200 = "200 epochs, 2 views"
_AUGMAX = "Wang et al. (2021), README"
_AUGMAX_RECIPE = "200 epochs, 3 views and attack, DuBIN network"
_AFA_RECIPE = "90 epochs, 2 views"
_MINTUN = "Mintun et al. (2021)"


def _later(method: str, network: str, text: str, source: str, recipe: str) -> tuple[LaterRow, ...]:
    """CIFAR-10 clean and corrupted, CIFAR-100 clean and corrupted; ``-`` where nothing is known."""
    values = [None if word == "-" else float(word) for word in text.split()]
    parts = (("cifar10", values[0], values[1]), ("cifar100", values[2], values[3]))
    return tuple(
        LaterRow(
            method=method,
            data=data,
            network=network,
            clean=clean,
            corrupted=corrupted,
            source=source,
            recipe=recipe,
        )
        for data, clean, corrupted in parts
        if corrupted is not None
    )


LATER_LABELS: Mapping[str, str] = {
    "apr-sp": "APR-SP (2021)",
    "hybridaugment-pp": "HybridAugment++ (2023)",
    "augmax": "AugMax-DuBIN (2021)",
}
"""Later methods that were measured on the networks of the paper."""
LATER_NETWORKS: Mapping[str, str] = {
    "WRN-40-2": "WideResNet",
    "ResNeXt-29": "ResNeXt",
    "AllConv": "AllConv",
    "DenseNet": "DenseNet",
}
"""How these networks are called there, and in the paper."""
LATER_ROWS: tuple[LaterRow, ...] = (
    *_later("apr-sp", "WRN-40-2", "4.3 9.1 23.2 32.9", _HYBRID, _CIFAR_200),
    *_later("apr-sp", "ResNeXt-29", "3.9 9.1 20.9 31.0", _HYBRID, _CIFAR_200),
    *_later("apr-sp", "ResNet-18", "5.0 9.1 23.9 31.8", _HYBRID, _CIFAR_200),
    LaterRow(method="apr-sp", data="imagenet", network="ResNet-50", clean=None,
             corrupted=68.9, source=_HYBRID,
             starts_from="not known"),
    LaterRow(method="apr-sp", data="imagenet", network="ResNet-50", clean=None,
             corrupted=65.0, source="README of Chen et al. (2021)",
             starts_from="not known"),
    *_later("hybridaugment-pp", "WRN-40-2", "4.7 8.3 24.0 31.2", _HYBRID, _CIFAR_200),
    *_later("hybridaugment-pp", "ResNeXt-29", "4.1 7.9 21.2 28.8", _HYBRID, _CIFAR_200),
    *_later("hybridaugment-pp", "ResNet-18", "5.0 8.2 23.5 29.9", _HYBRID, _CIFAR_200),
    *_later("hybridaugment-pp", "AllConv", "5.7 10.7 24.8 34.4", _HYBRID, _CIFAR_200),
    *_later("hybridaugment-pp", "DenseNet", "5.2 9.5 24.1 33.4", _HYBRID, _CIFAR_200),
    LaterRow(method="hybridaugment-pp", data="imagenet", network="ResNet-50", clean=None,
             corrupted=67.3, source=_HYBRID, recipe="100 epochs",
             starts_from="not known"),
    LaterRow(method="afa", data="imagenet", network="ResNet-50", clean=None, corrupted=68.0,
             bar=52.4, flips=48.0, source=_AFA, recipe=f"{_AFA_RECIPE}, DuBIN network"),
    LaterRow(method="afa", data="imagenet", network="ResNet-50", clean=None, corrupted=66.8,
             bar=49.5, flips=31.9, source=_AFA, recipe="with JSD"),
    LaterRow(method="augmix-afa", data="imagenet", network="ResNet-50", clean=None, corrupted=62.9,
             bar=48.2, source=_AFA),
    LaterRow(method="trivialaugment-afa", data="imagenet", network="ResNet-50", clean=None,
             corrupted=63.1, bar=50.3, flips=45.1, source=_AFA),
    LaterRow(method="lp-noise", data="cifar10", network="WRN-28-4", clean=3.28, corrupted=8.54,
             bar=13.9, calibration=4.5, source=_SIEDEL, recipe="300 epochs, 1 view"),
    LaterRow(method="lp-noise", data="cifar100", network="WRN-28-4", clean=18.62, corrupted=29.88,
             source=_SIEDEL, recipe="300 epochs, 1 view"),
    *_later("prime", "ResNet-18", "6.9 11.0 22.4 31.7", "README of Modas et al. (2022)",
            "100 epochs, 3 views"),
    LaterRow(method="prime", data="imagenet", network="ResNet-50", clean=None, corrupted=55.5,
             source="Modas et al. (2022)", recipe="100 epochs", starts_from="pretrained weights"),
    LaterRow(method="prime", data="imagenet", network="ResNet-50", clean=None, corrupted=57.5,
             source="Modas et al. (2022)", recipe="100 epochs without JSD",
             starts_from="pretrained weights"),
    LaterRow(method="prime", data="imagenet", network="ResNet-50", clean=None, corrupted=64.9,
             bar=53.6, flips=45.4, source=_AFA, recipe="from scratch"),
    LaterRow(method="prime-afa", data="imagenet", network="ResNet-50", clean=None, corrupted=59.2,
             bar=45.8, flips=40.4, source=_AFA),
    LaterRow(method="prime-afa", data="imagenet", network="ResNet-18", clean=None, corrupted=67.8,
             source=_AFA),
    LaterRow(method="trivialaugment", data="cifar10", network="WRN-28-4", clean=3.32,
             corrupted=13.37, bar=16.6, calibration=6.1, source=_SIEDEL,
             recipe="200 epochs, 1 view, averaged weights"),
    LaterRow(method="trivialaugment", data="cifar100", network="WRN-28-4", clean=19.26,
             corrupted=37.98, bar=43.7, source=_SIEDEL,
             recipe="200 epochs, 1 view, averaged weights"),
    LaterRow(method="trivialaugment", data="imagenet", network="ResNet-50", clean=None,
             corrupted=71.7, bar=58.2, flips=51.9, source=_AFA),
    *_later("noisymix", "WRN-28-4", "3.27 7.22 18.84 27.94", "RobustBench", "200 epochs, 3 views"),
    *_later("augmax", "WRN-40-2", "4.32 9.33 23.20 33.65", _AUGMAX, _AUGMAX_RECIPE),
    *_later("augmax", "ResNet-18", "4.24 9.64 21.31 34.25", _AUGMAX, _AUGMAX_RECIPE),
    *_later("augmax", "ResNeXt-29", "3.61 7.89 19.30 31.14", _AUGMAX, _AUGMAX_RECIPE),
    LaterRow(method="augmax", data="imagenet", network="ResNet-18", clean=None, corrupted=80.6,
             source=_AFA, recipe="DuBIN network"),
    *_later("pixmix", "WRN-40-4", "- 9.5 - 30.5", "Hendrycks et al. (2022), unverified",
            "100 epochs, 1 view, published fractals"),
    LaterRow(method="pixmix", data="imagenet", network="ResNet-50", clean=None, corrupted=65.8,
             source=_HYBRID, recipe="90 epochs, published fractals",
             starts_from="not known"),
    *_later("ipmix", "WRN-40-4", "4.04 8.6 - -", "Huang et al. (2023); 8.85 in a run of others",
            "100 epochs, 3 views, published fractals"),
)  # fmt: skip

PAPER_METHOD_ROWS: tuple[LaterRow, ...] = (
    *_later("standard", "WRN-40-2", "5.2 26.9 27.9 53.3", _HYBRID, "200 epochs, 1 view"),
    LaterRow(method="standard", data="cifar10", network="WRN-40-2", clean=None, corrupted=27.0,
             bar=27.1, source=_MINTUN),
    LaterRow(method="standard", data="imagenet", network="ResNet-50", clean=None, corrupted=76.7,
             bar=60.1, flips=58.0, source=_AFA),
    LaterRow(method="autoaugment", data="cifar10", network="WRN-40-2", clean=None, corrupted=19.4,
             bar=21.0, source=_MINTUN),
    *_later("augmix", "WRN-40-2", "4.9 11.2 23.7 35.9", "RobustBench, released weights",
            "100 epochs, 3 views"),
    LaterRow(method="augmix", data="cifar10", network="WRN-40-2", clean=None, corrupted=11.1,
             bar=16.0, source=_MINTUN),
    *_later("augmix", "WRN-40-2", "4.33 10.99 22.97 35.44", _AUGMAX, "200 epochs, 3 views"),
    *_later("augmix", "ResNet-18", "4.21 10.51 21.77 37.33", _AUGMAX, "200 epochs, 3 views"),
    LaterRow(method="augmix", data="imagenet", network="ResNet-50", clean=None, corrupted=65.3,
             bar=53.5, flips=37.6, source=_AFA, recipe="released weights"),
)  # fmt: skip
"""Results of the paper's own methods by others, or on C-bar too."""

"""The paper's tables and figures as data: which runs each needs, and how long they train.

A table names data sets, networks and methods; a scale names a network for each family and the
settings of its training. Together they are a list of runs. Settings are those of Hendrycks et al.
(2020), section 4, as far as they are published, and the released code's otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from augmix.training.config import RECIPES

CIFAR_METHODS = (
    "standard",
    "cutout",
    "mixup",
    "cutmix",
    "autoaugment",
    "adversarial",
    "augmix",
)
IMAGENET_METHODS = (
    "standard",
    "patch-uniform",
    "autoaugment",
    "random-aa",
    "maxblur",
    "sin",
    "augmix",
    "augmix-sin",
)
ABLATION = (
    "standard",
    "autoaugment",
    "random-aa",
    "random-aa-jsd",
    "augmix-no-jsd",
    "augmix",
)
STYLISED = ("sin", "augmix-sin")  # trained on stylised copies too
FAMILIES = ("allconv", "densenet", "wrn", "resnext")


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperTable:
    """A table or figure of the paper.

    Attributes:
        title: What it shows.
        data_sets: ``cifar10``, ``cifar100`` or ``imagenet``.
        families: Networks by family; a scale names the member.
        methods: Rows of `methods.METHODS`.
        suites: What is measured: ``c``, ``p``; clean images always are.
            num_seeds: Runs of each cell that the table itself asks for (deep ensembles).
    """

    title: str
    data_sets: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    suites: tuple[str, ...] = ("c",)
    num_seeds: int = 1


PAPER_TABLES: Mapping[str, PaperTable] = MappingProxyType(
    {
        "table1": PaperTable(
            title="Average error on CIFAR-10-C and CIFAR-100-C",
            data_sets=("cifar10", "cifar100"),
            families=FAMILIES,
            methods=CIFAR_METHODS,
        ),
        "table2": PaperTable(
            title="Clean error, corruption errors and mCE on ImageNet-C",
            data_sets=("imagenet",),
            families=("resnet",),
            methods=IMAGENET_METHODS,
        ),
        "table3": PaperTable(
            title="Flip rates and mFR on ImageNet-P",
            data_sets=("imagenet",),
            families=("resnet",),
            methods=IMAGENET_METHODS,
            suites=("c", "p"),
        ),
        "table4": PaperTable(
            title="Ablation of AugMix on CIFAR-10-C and CIFAR-100-C",
            data_sets=("cifar10", "cifar100"),
            families=("wrn",),
            methods=ABLATION,
        ),
        "figure5": PaperTable(
            title="Error on CIFAR-10-C with a ResNeXt",
            data_sets=("cifar10",),
            families=("resnext",),
            methods=CIFAR_METHODS,
        ),
        "figure6": PaperTable(
            title="Flip probability on CIFAR-10-P and calibration on CIFAR-10(-C), ResNeXt",
            data_sets=("cifar10",),
            families=("resnext",),
            methods=CIFAR_METHODS,
            suites=("c", "p"),
        ),
        "figure7": PaperTable(
            title="Calibration by severity on ImageNet-C, single networks and ensembles",
            data_sets=("imagenet",),
            families=("resnet",),
            methods=("standard", "augmix"),
            num_seeds=3,
        ),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How long the runs of a table train.

    Attributes:
        summary: What is trained, in words.
        networks: The network that stands for each family.
        recipe: Settings of every training run.
        by_family: Settings on top, by family.
        by_method: Settings on top, by method.
        measuring: Settings of every measurement.
        num_seeds: Runs of each cell.
        tolerance: Percentage points that a measured mean may differ from the published one; 0 where
            the runs are too small to be compared with it.
    """

    summary: str
    networks: Mapping[str, str]
    recipe: Mapping[str, Any]
    by_family: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by_method: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    measuring: Mapping[str, Any] = field(default_factory=dict)
    num_seeds: int = 1
    tolerance: float = 0.0


_PUBLISHED = {
    "allconv": "allconv",
    "densenet": "densenet-bc-100-12",
    "wrn": "wrn-40-2",
    "resnext": "resnext-29-32x4d",
    "resnet": "resnet50",
}
_SMALL = {
    "allconv": "allconv-16",
    "densenet": "densenet-10-8",
    "wrn": "wrn-10-1",
    "resnext": "resnext-11-4x4d-8",
    "resnet": "resnet18-cifar",
}
_IMAGENET_180 = {  # but the network and the images, which the table names
    name: value
    for name, value in RECIPES["imagenet-180"].items()
    if name not in ("source", "model", "width", "depth", "alpha", "jsd_weight")
}
_FAST_CPU = {"precision": "bf16", "channels_last": True, "torch_threads": 1, "device": "cpu"}

SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "paper": Scale(
            summary="the published networks, epochs and data",
            networks=_PUBLISHED,
            recipe={"epochs": 100, "batch_size": 128},
            by_family={
                "densenet": {"epochs": 200},
                "resnext": {"epochs": 200},
                "resnet": _IMAGENET_180,
            },
            num_seeds=1,
            tolerance=1.5,
        ),
        "gpu-hour": Scale(
            summary="the published networks on one GPU, epochs cut to about an hour a table",
            networks={**_PUBLISHED, "resnet": "resnet18"},
            recipe={
                "epochs": 10,
                "batch_size": 256,
                "learning_rate": 0.2,
                "schedule": "one-cycle",
                "precision": "bf16",
                "channels_last": True,
            },
            by_family={"resnet": {"size": 64, "severity": 1, "max_train_images": 130_000}},
        ),
        "cpu-hour": Scale(
            summary="narrow networks of the same four families on two CPU cores, within the hour",
            networks=_SMALL,
            recipe={
                **_FAST_CPU,
                "epochs": 5,
                "batch_size": 128,
                "learning_rate": 0.2,
                "schedule": "one-cycle",
                "max_train_images": 16_000,
            },
            by_family={"allconv": {"dropout": 0.0}, "resnet": {"size": 32}},
            by_method={"adversarial": {"attack_steps": 3, "attack_step_size": 4 / 255}},
            measuring={"max_images": 1_000, "precision": "bf16"},
        ),
        "smoke": Scale(
            summary="a few steps of the smallest network, to show that everything runs",
            networks=dict.fromkeys(_PUBLISHED, "small"),
            recipe={**_FAST_CPU, "epochs": 1, "batch_size": 32, "max_train_images": 64},
            by_family={"resnet": {"size": 32}},
            measuring={"max_images": 20},
        ),
    }
)

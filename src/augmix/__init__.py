"""AugMix, the methods it is compared with, and the benchmarks that measure both.

The names below are loaded at first use, so that ``import augmix`` takes no torch, numba or OpenCV.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augmix import attacks as attacks
    from augmix import intervals as intervals
    from augmix import metrics as metrics
    from augmix import published as published
    from augmix import transforms as transforms
    from augmix.augment.plan import Op as Op
    from augmix.augment.plan import Plan as Plan
    from augmix.augment.policies import AugMix as AugMix
    from augmix.augment.policies import AutoAugment as AutoAugment
    from augmix.augment.policies import CutMix as CutMix
    from augmix.augment.policies import Cutout as Cutout
    from augmix.augment.policies import Mixup as Mixup
    from augmix.augment.policies import PatchUniform as PatchUniform
    from augmix.augment.policies import RandomAA as RandomAA
    from augmix.augment.policies import Standard as Standard
    from augmix.augment.render import render as render
    from augmix.corrupt.sequences import perturb as perturb
    from augmix.corrupt.suite import corrupt as corrupt
    from augmix.data.sources import open_source as open_source
    from augmix.engine.evaluate import evaluate as evaluate
    from augmix.experiments.measuring import EvaluateConfig as EvaluateConfig
    from augmix.experiments.training import TrainConfig as TrainConfig
    from augmix.experiments.training import train as train
    from augmix.models.build import build_model as build_model
    from augmix.models.build import load_model as load_model
    from augmix.models.ensembles import Ensemble as Ensemble
    from augmix.models.hub import push_to_hub as push_to_hub
    from augmix.models.preprocessing import Preprocessing as Preprocessing
    from augmix.models.subjects import open_subject as open_subject
    from augmix.objectives import jsd_loss as jsd_loss
    from augmix.report import write_report as write_report
    from augmix.streams import Stream as Stream

_HOME = {
    "AugMix": "augment.policies",
    "AutoAugment": "augment.policies",
    "CutMix": "augment.policies",
    "Cutout": "augment.policies",
    "Ensemble": "models.ensembles",
    "EvaluateConfig": "experiments.measuring",
    "Mixup": "augment.policies",
    "Op": "augment.plan",
    "PatchUniform": "augment.policies",
    "Plan": "augment.plan",
    "Preprocessing": "models.preprocessing",
    "RandomAA": "augment.policies",
    "Standard": "augment.policies",
    "Stream": "streams",
    "TrainConfig": "experiments.training",
    "attacks": "",
    "build_model": "models.build",
    "corrupt": "corrupt.suite",
    "evaluate": "engine.evaluate",
    "intervals": "",
    "jsd_loss": "objectives",
    "load_model": "models.build",
    "metrics": "",
    "open_source": "data.sources",
    "open_subject": "models.subjects",
    "perturb": "corrupt.sequences",
    "published": "",
    "push_to_hub": "models.hub",
    "render": "augment.render",
    "train": "experiments.training",
    "transforms": "",
    "write_report": "report",
}
__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'augmix' has no attribute {name!r}")
    home = _HOME[name]
    if not home:
        return importlib.import_module(f"augmix.{name}")
    value = getattr(importlib.import_module(f"augmix.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

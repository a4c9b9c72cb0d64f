"""AugMix, the methods it is compared with, and the benchmarks that measure both.

The names below are loaded at first use, so that ``import augmix`` takes no torch, numba or OpenCV.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augmix import bootstrap as bootstrap
    from augmix import metrics as metrics
    from augmix import published as published
    from augmix import transforms as transforms
    from augmix.augment import render as render
    from augmix.augment.ops import Op as Op
    from augmix.augment.plan import Plan as Plan
    from augmix.augment.policies import AugMix as AugMix
    from augmix.augment.policies import AutoAugment as AutoAugment
    from augmix.augment.policies import CutMix as CutMix
    from augmix.augment.policies import Cutout as Cutout
    from augmix.augment.policies import Mixup as Mixup
    from augmix.augment.policies import PatchUniform as PatchUniform
    from augmix.augment.policies import RandomAA as RandomAA
    from augmix.augment.policies import Standard as Standard
    from augmix.augment.policies import TrivialAugment as TrivialAugment
    from augmix.augment.stages import Stage as Stage
    from augmix.augment.stages import register_stage as register_stage
    from augmix.corruptions.corrupt import corrupt as corrupt
    from augmix.corruptions.corrupt import perturb as perturb
    from augmix.corruptions.registry import register_corruption as register_corruption
    from augmix.corruptions.registry import register_sequence as register_sequence
    from augmix.data.sources import open_source as open_source
    from augmix.data.sources import register_source as register_source
    from augmix.data.views import views_loader as views_loader
    from augmix.evaluation.config import CalibrateOptions as CalibrateOptions
    from augmix.evaluation.config import EvaluateConfig as EvaluateConfig
    from augmix.evaluation.loop import evaluate as evaluate
    from augmix.evaluation.predictions import evaluate_predictions as evaluate_predictions
    from augmix.evaluation.severities import calibrate_severity as calibrate_severity
    from augmix.methods import attacks as attacks
    from augmix.methods import register_method as register_method
    from augmix.methods.losses import Consistency as Consistency
    from augmix.methods.losses import JSDLoss as JSDLoss
    from augmix.methods.losses import jsd_loss as jsd_loss
    from augmix.models import register_network as register_network
    from augmix.models.open_model import open_model as open_model
    from augmix.models.preprocessing import Preprocessing as Preprocessing
    from augmix.models.weights import build_model as build_model
    from augmix.models.weights import load_model as load_model
    from augmix.models.wrapper import Ensemble as Ensemble
    from augmix.report import write_report as write_report
    from augmix.report.exports import push_to_hub as push_to_hub
    from augmix.rng import Stream as Stream
    from augmix.training.config import TrainConfig as TrainConfig
    from augmix.training.objects import Run as Run
    from augmix.training.objects import train as train


_HOMES: dict[str, str] = {}


def _read_homes() -> dict[str, str]:
    """The module of each public name, read from the imports above, which type checkers read."""
    if _HOMES:
        return _HOMES
    import ast
    from pathlib import Path

    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    _HOMES.update({alias.name: str(node.module) for node in imports for alias in node.names})
    return _HOMES


__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    homes = {} if name.startswith("__") and name != "__all__" else _read_homes()
    if name == "__all__":
        return sorted(homes)
    if name not in homes:
        raise AttributeError(f"module 'augmix' has no attribute {name!r}")
    home = homes[name]
    module = importlib.import_module(home)
    is_module = home == "augmix" or not hasattr(module, name)
    value = importlib.import_module(f"{home}.{name}") if is_module else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*_read_homes(), "__version__"]

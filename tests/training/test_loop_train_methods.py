"""Every family of methods trains, and goes on to the same bits where it was stopped."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import load_config, read_log, read_weights, toy_config, write_npz

from augmix.augment import render
from augmix.data.batches import BatchOrder
from augmix.data.sources import open_source
from augmix.errors import ResumeError, RunError
from augmix.methods import METHODS, TrainingImages
from augmix.models.weights import load_model
from augmix.progress import Event, PhaseStarted, StepFinished
from augmix.rng import Stream
from augmix.training.pipeline import open_pipeline
from augmix.training.run import open_split, train

FAMILIES: dict[str, dict[str, Any]] = {
    "cutout": {"method": "cutout"},
    "mixup": {"method": "mixup"},
    "cutmix": {"method": "cutmix", "cutmix_per_image": True},
    "autoaugment": {"method": "autoaugment", "autoaugment_full": True},
    "random-aa-jsd": {"method": "random-aa-jsd"},
    "patch-uniform": {"method": "patch-uniform", "patch_random_size": True, "patch_size_px": 5},
    "adversarial": {"method": "adversarial", "attack_steps": 2},
    "adversarial-l2": {
        "method": "adversarial+mixup",
        "attack_steps": 2,
        "attack_norm": "l2",
        "mixup_alpha": 0.5,
    },
    "maxblur": {"method": "maxblur", "blur_size": 2},
    "sin": {"method": "sin"},
    "trivialaugment": {"method": "trivialaugment", "jsd_weight": 2.0},
    "hybridaugment": {"method": "hybridaugment-pp"},
    "lp-noise": {"method": "lp-noise"},
    "prime": {"method": "prime", "cutoff": 5, "batch_field": True},
    "afa": {"method": "augmix-afa", "ema_decay": 0.9},
    "noise2net": {"method": "augmix+noise2net", "noise2net_probability": 1.0},
    "noisymix": {"method": "noisymix"},
    "augmax": {"method": "augmax", "mixture_steps": 2, "ema_decay": 0.9},
    "pixmix": {"method": "pixmix", "rounds": 2},
    "ipmix": {"method": "ipmix", "depth": 2},
    "augmix+hybridaugment+afa": {"method": "augmix+hybridaugment-pp+afa", "ema_decay": 0.9},
    "ipmix+apr": {"method": "ipmix+apr-sp", "apr_sp_form": "s", "depth": 1, "jsd_views": 1},
    "augmix+mixup+cutout": {"method": "augmix+mixup+cutout", "cutout_size_px": 3},
}
_COVERED = {settings["method"].partition("+")[0] for settings in FAMILIES.values()}
OTHERS = [name for name in METHODS if name not in _COVERED]


class Crash(Exception):
    """Stands for anything that ends the process."""


def config_of(folder: Path, name: str, **changes: Any) -> Any:
    settings = dict(FAMILIES.get(name, {"method": name}))
    if METHODS[settings["method"].partition("+")[0]].needs_stylised:
        settings["stylised"] = str(write_stylised(folder.parent / "styled.npz"))
    return toy_config(folder, **{"epochs": 2, "num_threads": 2, **settings, **changes})


def write_stylised(path: Path) -> Path:
    both = write_npz(path.with_name("both.npz"), seed=4)
    with np.load(both) as arrays:
        np.savez(path, x_train=arrays["x_train"], y_train=arrays["y_train"])
    return path


@pytest.mark.parametrize(
    "name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_a_crash_changes_no_bit(tmp_path: Path, name: str) -> None:
    calm = train(config_of(tmp_path / "calm", name))
    config = config_of(tmp_path / "run", name, executor="compiled")

    def crash(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == 5:  # the checkpoint is from step 4
            raise Crash

    with pytest.raises(Crash):
        train(config, on_progress=crash)
    train(config)
    assert read_weights(config.run.out) == read_weights(calm)
    assert read_log(config.run.out) == read_log(calm)
    assert load_config(config.run.out) == config
    logits = load_model(config.run.out).eval()(torch.zeros(1, 3, 16, 16))
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("cutout", {"cutout_size_px": 2}, "cutout_size_px = None, this one has 2"),
        ("adversarial", {"attack_steps": 1}, "attack_steps = 2, this one has 1"),
        ("mixup", {"weight_decay": 0.1}, "weight_decay = 0.0001, this one has 0.1"),
    ],
    ids=["cutout", "adversarial", "mixup"],
)
def test_other_options_are_another_run(tmp_path: Path, name, changes, message) -> None:
    config = config_of(tmp_path / "run", name, epochs=1)
    train(config)
    with pytest.raises(ResumeError, match=message):
        train(config_of(tmp_path / "run", name, epochs=1, **changes))


def test_other_stylised_images_are_another_run(tmp_path: Path) -> None:
    config = config_of(tmp_path / "run", "sin", epochs=1)
    train(config)
    with np.load(config.data.stylised) as arrays:
        np.savez(config.data.stylised, x_train=255 - arrays["x_train"], y_train=arrays["y_train"])
    again = toy_config(config.run.out, epochs=1, method="sin", stylised=config.data.stylised)
    with pytest.raises(ResumeError, match="mix_fingerprint = '"):
        train(again)


def test_a_run_on_stylised_images_remembers_the_plain_ones(tmp_path: Path) -> None:
    config = config_of(tmp_path / "run", "sin", epochs=1)
    train(config)
    state = torch.load(config.run.out / "state.pt", weights_only=True)
    plain = open_split(config, "train")
    assert state["identity"]["source_fingerprint"] == plain.fingerprint
    assert state["identity"]["mix_fingerprint"] != plain.fingerprint
    assert state["identity"]["num_train_images"] == 40


def test_batches_of_pairs_have_soft_targets(tmp_path: Path) -> None:
    """Views and targets of a step are made by the same plan."""
    config = config_of(tmp_path / "run", "mixup")
    source = open_source("npz", root=config.data.root, split="train")
    method = config.method.fit(TrainingImages(crop_padding=1, flip=True, size=(16, 16)))
    order = BatchOrder(num_images=20, batch_size=8, seed=0)
    pipeline = open_pipeline(source, method, order, config, torch.device("cpu"))
    batch = pipeline.make(4)
    ids = order.ids(4)
    stream = Stream(seed=0, epoch=1)
    plan = method.policy.sample(ids, num_views=1, size=(16, 16), stream=stream)
    assert plan.pairs is not None
    np.testing.assert_array_equal(batch.views, render(source.load(ids), plan))
    for row, target in enumerate(batch.targets):
        expected = np.zeros(3)
        expected[source.labels[ids[row]]] += plan.pairs.weight[row]
        partner = ids[plan.pairs.partner[row]]
        expected[source.labels[partner]] += 1 - plan.pairs.weight[row]
        np.testing.assert_allclose(target, expected, atol=1e-7)


def test_seeds_are_runs_side_by_side(tmp_path: Path) -> None:
    events: list[Event] = []
    config = toy_config(tmp_path / "both", epochs=1, seeds=2, seed=3)
    assert train(config, on_progress=events.append) == config.run.out
    titles = [event.title for event in events if isinstance(event, PhaseStarted)]
    assert titles == ["seed-3: run 1 of 2", "seed-4: run 2 of 2"]
    for seed in (3, 4):
        alone = train(toy_config(tmp_path / f"alone{seed}", epochs=1, seed=seed))
        member = config.run.out / f"seed-{seed}"
        assert read_weights(member) == read_weights(alone)
        assert json.loads((member / "config.json").read_text())["seeds"] == 1
    before = read_weights(config.run.out / "seed-3")
    train(config)  # finished runs are passed over
    assert read_weights(config.run.out / "seed-3") == before


def test_seeds_do_not_go_where_a_single_run_is(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", epochs=1)
    train(config)
    with pytest.raises(ResumeError, match="holds a single run, where the runs of 2 seeds"):
        train(toy_config(tmp_path / "run", epochs=1, seeds=2))


OWN = """
from dataclasses import dataclass, field

import augmix
from augmix.methods.registry import OptionalConsistency


@augmix.register_method("{name}")
@dataclass(frozen=True, slots=True, kw_only=True)
class Own(OptionalConsistency):
    '''AugMix of another strength.'''

    policy: augmix.AugMix = field(default_factory=augmix.AugMix)
    power: float = 1.0
    '''A number that the method takes.'''
"""


@pytest.fixture
def own_methods() -> Iterator[None]:
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.mark.usefixtures("own_methods")
def test_a_method_of_ones_own_is_named_by_its_file_and_resumes_exactly(tmp_path: Path) -> None:
    file = tmp_path / "own_method.py"
    file.write_text(OWN.format(name="own-in-file"))
    method = f"python:{file}:Own"
    settings: dict[str, Any] = {"method": method, "power": 2.5, "jsd_weight": 3.0, "epochs": 2}
    calm = train(toy_config(tmp_path / "calm", **settings))
    plain = json.loads((calm / "config.json").read_text())
    assert (plain["method"], plain["power"]) == (method, 2.5)
    assert plain["method_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    config = toy_config(tmp_path / "run", **settings)

    def crash(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == 5:
            raise Crash

    with pytest.raises(Crash):
        train(config, on_progress=crash)
    assert read_weights(train(config)) == read_weights(calm)
    file.write_text(OWN.format(name="own-changed") + "# other code\n")
    with pytest.raises(ResumeError, match="holds a run with method_sha256 = "):
        train(toy_config(tmp_path / "run", **settings))
    for wrong, message in (("Other", "has no 'Other'"), ("field", "must be a class derived from")):
        with pytest.raises(RunError, match=message):
            toy_config(tmp_path / "x", method=f"python:{file}:{wrong}")

"""Settings of a training run: schedules, defaults, flat names, recipes, and what does not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_runs import toy_config, write_npz

from augmix.augment import policies
from augmix.errors import RunError
from augmix.methods import METHODS, AugMix, TrainingImages
from augmix.training.config import (
    DataConfig,
    NetworkConfig,
    OptimisationConfig,
    RunConfig,
    TrainConfig,
    learning_rate,
)
from augmix.training.recipes import RECIPES
from augmix.training.run import open_training
from augmix.training.settings import (
    build_config,
    config_settings,
    find_owners,
    flatten,
    update_config,
)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (25, 0.08535549), (50, 0.05000050), (75, 0.01464551), (100, 1e-6)],
)
def test_the_cosine_is_the_published_one(step: int, expected: float) -> None:
    rate = learning_rate(step, 100, peak=0.1, schedule="cosine")
    assert rate == pytest.approx(expected, abs=5e-9)


def test_the_cosine_of_the_papers_length() -> None:
    total = 100 * 391
    assert learning_rate(0, total, peak=0.1, schedule="cosine") == 0.1
    rate = learning_rate(total // 4, total, peak=0.1, schedule="cosine")
    assert rate == pytest.approx(0.08535549, abs=5e-9)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.004), (15, 0.052), (30, 0.1), (65, 0.05000050), (100, 1e-6)]
)
def test_one_cycle_climbs_for_30_percent_then_falls(step: int, expected: float) -> None:
    rate = learning_rate(step, 100, peak=0.1, schedule="one-cycle")
    assert rate == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.1), (29, 0.1), (30, 0.01), (59, 0.01), (60, 0.001), (89, 0.001)]
)
def test_the_steps_of_imagenet(epoch: int, expected: float) -> None:
    """Divided by 10 after 30 and 60 of 90 epochs: at their first step, not before."""
    recipe = OptimisationConfig(epochs=90, schedule="step", nesterov=False, batch_size=256)
    for step in (0, 5003):  # of 5,004
        rate = recipe.rate(epoch * 5004 + step, 5004)
        assert rate == pytest.approx(expected, rel=1e-12)


def test_other_fractions_are_rounded_down_to_whole_epochs() -> None:
    recipe = OptimisationConfig(epochs=100, schedule="step", decay_at=(0.29, 1 / 3, 0.999))
    rates = [recipe.rate(epoch, 1) for epoch in range(100)]
    lower = [epoch for epoch in range(1, 100) if rates[epoch] < rates[epoch - 1]]
    assert lower == [29, 33, 99]
    assert rates[99] == pytest.approx(1e-4)


def test_the_rate_grows_with_the_batch() -> None:
    for batch_size, expected in ((256, 0.1), (1024, 0.4), (32, 0.0125)):
        recipe = OptimisationConfig(batch_size=batch_size, base_batch_size=256)
        assert recipe.rate(0, 10) == pytest.approx(expected)
    assert OptimisationConfig(batch_size=1024).rate(0, 10) == 0.1


def test_the_warm_up_climbs_in_equal_steps_to_the_peak() -> None:
    """Goyal et al.: 5 epochs of warm-up, steps counted from the start of the run."""
    recipe = OptimisationConfig(epochs=90, schedule="step", warm_up_epochs=5.0, learning_rate=0.8)
    rates = [recipe.rate(step, 4) for step in range(90 * 4)]
    assert rates[:4] == pytest.approx([0.04, 0.08, 0.12, 0.16])
    assert (rates[18], rates[19], rates[20]) == pytest.approx((0.76, 0.8, 0.8))
    assert (rates[119], rates[120], rates[240]) == pytest.approx((0.8, 0.08, 0.008))


def test_a_cosine_begins_after_the_warm_up() -> None:
    recipe = OptimisationConfig(epochs=10, warm_up_epochs=0.5)  # 5 of 100 steps
    alone = OptimisationConfig(epochs=19)
    assert recipe.rate(4, 10) == recipe.rate(5, 10) == 0.1
    for step in (0, 30, 94):
        assert recipe.rate(5 + step, 10) == alone.rate(step, 5)


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_short_runs_and_tiny_peaks_stay_positive(schedule: str) -> None:
    for total in (1, 2, 3, 4):
        for step in range(total):
            assert 0 < learning_rate(step, total, peak=0.1, schedule=schedule) <= 0.1
    assert learning_rate(1, 2, peak=1e-8, schedule=schedule) == pytest.approx(1e-8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number above 0"),
        ({"momentum": 1.0}, "momentum must be 0 up to below 1, got 1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number from 0, got -1.0"),
        ({"base_batch_size": 0}, "base_batch_size must be at least 1, got 0"),
        ({"clip_norm": 0.0}, "clip_norm must be a finite number above 0, got 0.0"),
        ({"ema_decay": 1.0}, "ema_decay must be above 0 and below 1, got 1.0"),
        ({"decay_at": (0.6, 0.3)}, "decay_at must be rising fractions"),
        ({"decay_at": (0.5, 0.5)}, "decay_at must be rising fractions"),
        ({"decay_at": (0.0,)}, "decay_at must be rising fractions"),
        ({"warm_up_epochs": 100.0}, "warm_up_epochs must be 0 up to 100, got 100.0"),
        (
            {"warm_up_epochs": 1.0, "schedule": "one-cycle"},
            "warm_up_epochs must be 0 with one-cycle",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimisationConfig(**changes)


STYLISED = {"stylised": "somewhere"}


def fit(**settings: Any) -> Any:
    """The method of a run on CIFAR-100."""
    images = TrainingImages(num_classes=100, mean=(0.4, 0.5, 0.6), crop_padding=4, flip=True)
    return build_config(**settings).method.fit(images)


def test_the_defaults_are_the_papers_recipe() -> None:
    config = TrainConfig()
    how = config.optimisation
    assert config.network.model == "wrn-40-2"
    assert (how.epochs, how.batch_size, how.learning_rate) == (100, 128, 0.1)
    assert (how.momentum, how.weight_decay, how.schedule) == (0.9, 5e-4, "cosine")
    assert config.method == AugMix(jsd_weight=12.0, label_smoothing=0.0, num_views=2)
    assert config.method.policy == policies.AugMix(severity=3, width=3, alpha=1.0, ops="paper")
    assert build_config() == config


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_a_run(method: str) -> None:
    extra = STYLISED if METHODS[method].needs_stylised else {}
    config = build_config(method=method, **extra)
    assert config.network_name == ("wrn-40-2-maxblur" if method == "maxblur" else "wrn-40-2")
    assert str(config.method) == method
    assert build_config(**json.loads(json.dumps(flatten(config), default=str))) == config


@pytest.mark.parametrize("method", [*METHODS, "augmix+mixup+cutout"])
def test_every_setting_is_documented_and_has_one_name(method: str) -> None:
    extra = STYLISED if "sin" in method else {}
    settings = config_settings(build_config(method=method, **extra))
    assert all(setting.help.endswith(".") for setting in settings.values()), settings
    paths = [setting.path for setting in settings.values()]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("settings", "decay"),
    [
        ({}, 5e-4),
        ({"method": "mixup"}, 1e-4),
        ({"method": "mixup", "weight_decay": 5e-4}, 5e-4),
        ({"model": "densenet-bc-100-12"}, 1e-4),
        ({"model": "densenet-40-12-maxblur"}, 1e-4),
        ({"model": "resnet50"}, 1e-4),
        ({"model": "resnet18-cifar"}, 5e-4),
        ({"model": "resnext-29-32x4d"}, 5e-4),
        ({"weight_decay": 0.0}, 0.0),
    ],
    ids=lambda value: str(value),
)
def test_the_published_weight_decay_unless_stated(settings: dict[str, Any], decay: float) -> None:
    assert build_config(**settings).optimisation.weight_decay == decay


def test_flat_names_reach_the_method() -> None:
    base = policies.Standard(crop_padding=4, flip=True)
    hole = policies.Cutout(size_px=8, fill=(0.4, 0.5, 0.6), base=base)
    assert fit(method="cutout").policy == hole
    assert fit(method="cutout", cutout_size_px=3).policy.size_px == 3
    assert fit(method="mixup", mixup_alpha=0.2, mixup_per_image=True).policy == policies.Mixup(
        alpha=0.2, per_image=True, base=base
    )
    cut = fit(method="cutmix", cutmix_alpha=0.3, cutmix_probability=0.9).policy
    assert cut == policies.CutMix(alpha=0.3, probability=0.9, base=base)
    patch = {"patch_size_px": 5, "patch_random_size": True, "patch_amplitude": 0.5}
    assert fit(method="patch-uniform", **patch).policy == policies.PatchUniform(
        size_px=5, random_size=True, amplitude=0.5, base=base
    )
    assert fit(method="autoaugment", autoaugment_full=True).policy.full
    assert fit(method="autoaugment", autoaugment_table="imagenet").policy.table == "imagenet"
    attack = {"norm": "l2", "epsilon": 0.7, "steps": 3, "step_size": 0.1}
    method = fit(method="adversarial", **{f"attack_{key}": v for key, v in attack.items()})
    found = method.objective.attack
    assert (found.norm, found.radius, found.num_steps, found.step) == ("l2", 0.7, 3, 0.1)
    assert method.policy == policies.RandomStart(epsilon=0.7, base=base)


def test_flat_and_nested_settings_are_the_same() -> None:
    flat = build_config(
        method="augmix+cutout", severity=1, cutout_size_px=5, jsd_weight=3.0, model="small",
        data="digits", epochs=2, seed=4,
    )  # fmt: skip
    chains = policies.AugMix(severity=1)
    assert flat == TrainConfig(
        method=AugMix(policy=policies.Cutout(size_px=5, base=chains), jsd_weight=3.0),
        network=NetworkConfig(model="small"),
        data=DataConfig(path="digits"),
        optimisation=OptimisationConfig(epochs=2),
        run=RunConfig(seed=4),
    )
    assert update_config(flat, severity=2, out="there").method.policy.base.severity == 2
    assert flatten(flat)["cutout_size_px"] == 5
    owners = find_owners("severity")
    assert {"augmix", "augmix-no-jsd", "random-aa", "augmix-afa", "pixmix"} <= set(owners)
    assert not {"standard", "cutout", "trivialaugment", "prime"} & set(owners)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "augmxi"}, "did you mean 'augmix'"),
        ({"method": "cutmx"}, "did you mean 'cutmix'"),
        (
            {"method": "augmix+sin"},
            "sin cannot be laid over augmix; these can: afa, apr-sp, cutmix, cut",
        ),
        ({"severity": 0}, "severity must be 1..10, got 0"),
        ({"width": 0}, "width must be at least 1 chain, got 0"),
        ({"alpha": 0.0}, "alpha must be a finite number above 0, got 0"),
        ({"crop_padding": -2}, "crop_padding must be at least 0 pixels, got -2"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in"),
        ({"jsd_weight": -1.0}, "weight must be"),
        ({"num_views": 0}, "num_views must be at least 1, got 0"),
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"seed": -1}, "seed must be 0..2"),
        ({"num_threads": 0}, "num_threads must be at least 1, got 0"),
        ({"source": "digits", "data": "photos"}, "'digits' has no files: leave out --data photos"),
        ({"method": "sin"}, r"method 'sin' trains on stylised copies .*--stylised \(augmix styl"),
        ({"method": "augmix-sin"}, "method 'augmix-sin' trains on stylised copies"),
        ({"method": "mixup+cutmix"}, "method 'mixup.cutmix': .* an image has one partner at most"),
        ({"method": "adversarial+cutout"}, "method 'adversarial.cutout': an attack starts at the"),
        ({"attack_epsilon": 0.1}, "--attack-epsilon belongs to adversarial; --method is augmix"),
        (
            {"cutout_size_px": 4},
            "--cutout-size-px belongs to cutout; --method is augmix; --method ",
        ),
        ({"method": "cutmix", "patch_size_px": 3}, "--patch-size-px belongs to patch-uniform; --m"),
        (
            {"hybridaugment_pp_form": "s"},
            "belongs to hybridaugment-pp over another method; --method is augmix; --method au",
        ),
        (
            {"method": "augmix+afa", "num_views": 1},
            "method 'augmix.afa': afa leaves 0 of 1 views",
        ),
        ({"autoaugment_full": True}, "--autoaugment-full belongs to autoaugment; --method is augm"),
        (
            {"method": "standard", "severity": 3},
            "--severity belongs to .*augmix, aug",
        ),
        ({"learning_rat": 1}, "no setting --learning-rat, did you mean '--learning-rate'"),
        ({"blur_size": 3}, "method 'maxblur', or --model wrn-40-2-maxblur"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"dropout": 1.5}, "dropout must be 0 up to below 1, got 1.5"),
        ({"dropout": -0.5}, "dropout must be 0 up to below 1, got -0.5"),
        ({"weight_decay": -2.0}, "weight_decay must be a finite number from 0, got -2.0"),
        ({"model": "wrn-40x2"}, "did you mean 'wrn-40-2'"),
        ({"zero_init_last": True}, "zero_init_last would do nothing with wrn-40-2"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_config(**settings)


def test_settings_of_what_is_laid_over_have_its_name() -> None:
    settings = {"method": "augmix+hybridaugment-pp+afa", "severity": 1, "num_views": 2}
    over = {"hybridaugment_pp_severity": 5, "hybridaugment_pp_form": "s", "afa_wave_mean": 4.0}
    config = build_config(**settings, **over)
    chains = policies.AugMix(severity=1)
    spectra = policies.HybridAugment(severity=5, form="s", base=chains)
    assert config.method == AugMix(policy=policies.FourierWaves(wave_mean=4.0, base=spectra))
    assert {key: flatten(config)[key] for key in (*settings, *over)} == {**settings, **over}


def test_a_recipe_may_name_its_method() -> None:
    recipe = {"method": "ipmix+apr-sp", "apr_sp_form": "s", "jsd_views": 1, "epochs": 3}
    config = build_config(recipe)
    assert (str(config.method), config.method.num_passed) == ("ipmix+apr-sp", 2)
    assert config.method.policy.form == "s"
    other = build_config(recipe, method="augmix")  # has none of its settings
    assert (other.method, other.optimisation.epochs) == (AugMix(), 3)


def test_the_crop_belongs_to_the_data() -> None:
    with pytest.raises(ValueError, match="set them in DataConfig"):
        TrainConfig(method=AugMix(policy=policies.AugMix(crop_padding=4)))


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "augmix+mixup", "mixup_per_image": True},
        {"method": "augmix+cutmix", "cutmix_alpha": 0.2},
        {"model": "wrn-40-2-maxblur", "blur_size": 3},
        {"method": "adversarial+mixup"},
        {"method": "maxblur+cutout", "cutout_size_px": 8, "blur_size": 3},
        {"method": "cutout", "stylised": "somewhere"},
    ],
    ids=lambda value: str(value),
)
def test_what_goes_together(settings: dict[str, Any]) -> None:
    build_config(**settings)


def test_members_of_an_ensemble_are_runs_of_their_own() -> None:
    config = build_config(seed=5, seeds=3, method="mixup", out=Path("somewhere"))
    members = [config.member(number) for number in range(3)]
    assert [member.run.seed for member in members] == [5, 6, 7]
    assert [member.run.out.name for member in members] == ["seed-5", "seed-6", "seed-7"]
    assert {member.run.seeds for member in members} == {1}
    assert {member.optimisation.weight_decay for member in members} == {1e-4}


STEPS = 5005  # of 1,281,167 images in batches of 256


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_run(name: str) -> None:
    assert str(build_config(name).method) == RECIPES[name].get("method", "augmix")
    assert str(build_config(name, method="standard").method) == "standard"  # has no severity


def test_imagenet_is_the_released_codes() -> None:
    config = build_config("imagenet", data="somewhere")
    how = config.optimisation
    assert (config.network.model, config.data.kind, config.data.root) == (
        "resnet50",
        "imagenet",
        "somewhere",
    )
    assert config.method == AugMix(policy=policies.AugMix(severity=1, width=3), jsd_weight=12.0)
    assert (how.momentum, how.nesterov, how.weight_decay) == (0.9, False, 1e-4)
    assert (how.epochs, how.batch_size, config.data.is_cropped) == (90, 256, True)
    rates = [how.rate(epoch * STEPS, STEPS) for epoch in (0, 29, 30, 59, 60, 89)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    large = build_config("imagenet", batch_size=1024).optimisation
    assert large.rate(0, 1252) == pytest.approx(0.4)


def test_imagenet_180_is_the_authors_script() -> None:
    how = build_config("imagenet-180").optimisation
    assert (how.epochs, how.nesterov) == (180, True)
    half = how.rate(90 * STEPS, STEPS)
    assert (how.rate(0, STEPS), half) == pytest.approx((0.1, 0.0500005))
    assert how.rate(180 * STEPS - 1, STEPS) == pytest.approx(1e-6, rel=1e-4)


def test_imagenet_goyal_warms_up_and_drops_three_times() -> None:
    config = build_config("imagenet-goyal", batch_size=8192)
    how = config.optimisation
    assert (how.weight_decay_on, config.network.zero_init_last) == ("no-norms", True)
    rates = [how.rate(epoch * 157, 157) for epoch in (5, 59, 60, 119, 120, 159, 160)]
    assert rates == pytest.approx([3.2, 3.2, 0.32, 0.32, 0.032, 0.032, 0.0032])
    assert how.rate(0, 157) == pytest.approx(3.2 / 785)


def test_settings_override_the_recipe() -> None:
    config = build_config("imagenet", epochs=2, resized_crop=False)
    assert (config.optimisation.epochs, config.data.is_cropped) == (2, False)


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"got 'imagnet', did you mean 'imagenet'\?"):
        build_config("imagnet")


def write_stylised(path: Path, seed: int = 1) -> None:
    """Copies of the toy set's training images, in the layout of `augmix stylize`."""
    path.mkdir()
    write_npz(path / "both.npz", seed=seed)
    with np.load(path / "both.npz") as both:
        names = np.array(["0", "1", "2"])
        np.savez(
            path / "train.npz", images=both["x_train"], labels=both["y_train"], class_names=names
        )
    (path / "both.npz").unlink()


def test_stylised_copies_are_trained_on_beside_the_images(tmp_path: Path) -> None:
    write_stylised(tmp_path / "styled")
    config = toy_config(tmp_path / "run", method="sin", stylised=str(tmp_path / "styled"))
    plain, both, _ = open_training(config)
    assert (len(plain), len(both)) == (20, 40)
    np.testing.assert_array_equal(both.labels[:20], both.labels[20:])
    part = toy_config(
        tmp_path / "run", method="sin", stylised=str(tmp_path / "styled"), max_train_images=6
    )
    plain, both, _ = open_training(part)
    assert (len(plain), len(both)) == (6, 12)
    np.testing.assert_array_equal(both.labels[:6], both.labels[6:])
    assert len(open_training(toy_config(tmp_path / "run"))[1]) == 20


def test_a_missing_stylised_set_is_named(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", method="sin", stylised=str(tmp_path / "nowhere"))
    with pytest.raises(RunError, match="nowhere"):
        open_training(config)

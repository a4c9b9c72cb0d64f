"""Seeds become one row with mean and spread; differences of rows have verdicts."""

from pathlib import Path

import numpy as np
import pytest
from fake_runs import NAMES, make_run

from augmix.bootstrap import average, difference, seed_difference
from augmix.errors import RunError
from augmix.report.comparison import Comparison, compare, contrast, is_imagenet_like
from augmix.report.estimates import Key, Scope
from augmix.report.load import load_runs

FEW = {"names": NAMES[:2], "num_images": 300, "has_log": False, "has_examples": False}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Standard with three seeds, AugMix with three, Cutout with one, and the same one adapted."""
    folder = tmp_path_factory.mktemp("groups")
    for seed in range(3):
        make_run(folder / f"s{seed}", label=f"standard-seed{seed}", seed=seed, **FEW)
        weakness = 0.3 + 0.02 * seed
        make_run(
            folder / f"a{seed}", label=f"augmix-seed{seed}", weakness=weakness, seed=seed, **FEW
        )
    make_run(folder / "c", label="cutout", method="cutout", weakness=1.02, **FEW)
    make_run(
        folder / "d",
        label="cutout, adapted",  # as `augmix evaluate --adapt-batch-norm` calls it
        method="cutout",
        weakness=0.8,
        adaptation="batch norm, prior 16",
        **FEW,
    )
    return compare([folder / name for name in ("s0", "a0", "s1", "c", "a1", "s2", "a2", "d")])


def test_seeds_are_one_row(comparison: Comparison):
    labels = [group.label for group in comparison.groups]
    assert labels == ["standard", "augmix", "cutout", "cutout, adapted (batch norm, prior 16)"]
    assert [len(group.runs) for group in comparison.groups] == [3, 3, 1, 1]


def test_mean_and_spread(comparison: Comparison):
    group = comparison.groups[1]
    errors = [
        np.mean([cell.error for cell in run.results.cells if cell.suite == "c"])
        for run in group.runs
    ]
    number = group.number(Key("error", Scope.CORRUPTED))
    assert number is not None
    assert number.value == pytest.approx(np.mean(errors))
    assert number.std == pytest.approx(np.std(errors, ddof=1))
    assert number.num_seeds == 3
    assert number.low is not None
    assert number.high is not None
    assert number.low < number.value < number.high
    single = comparison.groups[2].number(Key("error", Scope.CORRUPTED))
    assert single is not None
    assert single.std is None
    assert group.number(Key("flip", "perturbed")) is None


def test_verdicts(comparison: Comparison):
    standard, augmix, cutout, _ = comparison.groups
    key = Key("error", Scope.CORRUPTED)
    apart = contrast(augmix, standard, key)
    back = contrast(standard, augmix, key)
    assert apart is not None
    assert back is not None
    assert apart.verdict == "lower"
    assert (back.estimate, back.verdict) == (pytest.approx(-apart.estimate), "higher")
    near = contrast(cutout, standard, Key("error", Scope.CLEAN))
    assert near is not None
    assert near.verdict == "within noise"
    same = contrast(cutout, cutout, key)
    assert same is not None
    assert (same.low, same.high) == (0, 0)
    assert contrast(cutout, standard, Key("flip", "perturbed")) is None


def test_noise_of_training_widens_the_range(comparison: Comparison):
    """Both rows have seeds: the squares of both noises add up."""
    standard, augmix = comparison.groups[:2]
    key = Key("error", Scope.CORRUPTED)
    pairs = [[each[key] for each in group.estimates] for group in (augmix, standard)]
    draws = [[each.draws for each in found if each.draws] for found in pairs]
    images = difference(average(draws[0]), average(draws[1])).interval()
    seeds = seed_difference(*([each.value for each in found] for found in pairs))
    found = contrast(augmix, standard, key)
    assert found is not None
    below = np.hypot(images.estimate - images.low, (seeds.high - seeds.low) / 2)
    assert found.low == pytest.approx(images.estimate - below)
    assert found.low < images.low
    assert found.high > images.high


def test_what_keeps_runs_apart(tmp_path: Path):
    few = {**FEW, "names": NAMES[:1], "num_images": 100}
    make_run(tmp_path / "a", label="augmix-0", seed=0, **few)
    make_run(tmp_path / "b", label="augmix-1", seed=1, model="wrn-16-2", **few)
    make_run(tmp_path / "c", label="augmix-0", seed=0, **few)  # the same seed again
    folders = [tmp_path / name for name in "abc"]
    labels = [group.label for group in compare(folders).groups]
    assert labels == ["augmix-0 (1)", "augmix-0 (2)", "augmix-1"]


def test_imagenet_like(tmp_path: Path):
    few = {**FEW, "names": NAMES[:1], "num_images": 100}
    digits = make_run(tmp_path / "a", **few)
    assert not is_imagenet_like(digits)
    assert is_imagenet_like(make_run(tmp_path / "b", source="imagenet-samples", **few))
    assert is_imagenet_like(make_run(tmp_path / "c", num_classes=1000, **few))
    cifar = make_run(tmp_path / "d", num_classes=1000, preset="cifar", **few)
    assert not is_imagenet_like(cifar)


def test_the_folder_of_several_seeds_stands_for_its_runs(tmp_path):
    for seed in (2, 10):
        make_run(tmp_path / "ens" / f"seed-{seed}", label="x", seed=seed, **FEW)
    assert [run.folder.name for run in load_runs([tmp_path / "ens"])] == ["seed-2", "seed-10"]
    (tmp_path / "ens" / "seed-2").rename(tmp_path / "ens" / "mine")
    with pytest.raises(RunError, match="ens is no run, but holds 2: .*mine, .*seed-10; name one"):
        load_runs([tmp_path / "ens"])

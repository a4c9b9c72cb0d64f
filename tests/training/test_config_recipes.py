"""Named recipes: the numbers of the published ones, and flags that stand above them."""

import pytest

from augmix.commands.train import split_recipe
from augmix.training.config import RECIPES, build_config

STEPS = 5005  # of 1,281,167 images in batches of 256


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_run(name: str) -> None:
    assert build_config(name).method == "augmix"


def test_imagenet_is_the_released_codes() -> None:
    config = build_config("imagenet", data="somewhere")
    assert (config.model, config.source, config.data) == ("resnet50", "imagenet", "somewhere")
    assert (config.severity, config.width, config.depth, config.jsd_weight) == (1, 3, None, 12.0)
    assert (config.momentum, config.nesterov, config.weight_decay) == (0.9, False, 1e-4)
    assert (config.epochs, config.batch_size, config.is_cropped) == (90, 256, True)
    rates = [config.rate(epoch * STEPS, STEPS) for epoch in (0, 29, 30, 59, 60, 89)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    large = build_config("imagenet", batch_size=1024)
    assert large.rate(0, 1252) == pytest.approx(0.4)


def test_imagenet_180_is_the_authors_script() -> None:
    config = build_config("imagenet-180")
    assert (config.epochs, config.nesterov, config.severity) == (180, True, 1)
    half = config.rate(90 * STEPS, STEPS)
    assert (config.rate(0, STEPS), half) == pytest.approx((0.1, 0.0500005))
    assert config.rate(180 * STEPS - 1, STEPS) == pytest.approx(1e-6, rel=1e-4)


def test_imagenet_goyal_warms_up_and_drops_three_times() -> None:
    config = build_config("imagenet-goyal", batch_size=8192)
    rates = [config.rate(epoch * 157, 157) for epoch in (5, 59, 60, 119, 120, 159, 160)]
    assert rates == pytest.approx([3.2, 3.2, 0.32, 0.32, 0.032, 0.032, 0.0032])
    assert config.rate(0, 157) == pytest.approx(3.2 / 785)


def test_flags_stand_above_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert split_recipe(["--seed", "1", "--recipe", "imagenet"]) == ("imagenet", ["--seed", "1"])
    assert split_recipe(["--recipe=cifar"]) == ("cifar", [])
    assert split_recipe(["--epochs", "2"]) == ("", ["--epochs", "2"])
    for words in (["--recipe"], ["--recipe="], ["--recipe", "cifar", "--recipe", "imagenet"]):
        with pytest.raises(ValueError, match="expected one name after --recipe: cifar, "):
            split_recipe(words)
    assert build_config("imagenet", epochs=2, resized_crop="no").is_cropped is False


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"got 'imagnet', did you mean 'imagenet'\?"):
        build_config("imagnet")

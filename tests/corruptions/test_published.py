"""Every corruption against vectors computed by the published scripts."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from toy_images import (
    checkered,
    legacy,
    random_images,
    run,
)

from augmix.corruptions import registry, weather

# preset -> name -> severity -> mean of all values, then R, G, B at row 5, column 7 (section 8)
VECTORS = json.loads((Path(__file__).parent / "published.json").read_text())
SIDES = {"cifar": 32, "tiny": 64, "imagenet": 224}
WITHIN_ONE_LEVEL = {"defocus_blur", "glass_blur", "gaussian_blur", "elastic_transform"}


@pytest.mark.parametrize("preset", SIDES)
@pytest.mark.parametrize("name", [name for name in VECTORS["cifar"] if name != "frost"])
def test_published_vectors(name: str, preset: str):
    row = registry.CORRUPTIONS.find(name)
    check_vectors(row.function, name, preset)


@pytest.mark.parametrize("preset", SIDES)
def test_published_vectors_of_the_photographs(preset: str, real_data: Path):
    check_vectors(partial(weather.frost, textures=real_data / "frost"), "frost", preset)


def check_vectors(kernel, name: str, preset: str) -> None:
    for severity in registry.SEVERITIES:
        parameters = registry.CORRUPTIONS.find(name).parameters[preset][severity - 1]
        result = kernel(checkered(SIDES[preset]), *parameters, generator=legacy())
        mean, *pixel = VECTORS[preset][name][severity - 1]
        if name in WITHIN_ONE_LEVEL:
            assert abs(result.mean() - mean) < 0.002, severity
            assert np.abs(result[5, 7].astype(int) - pixel).max() <= 1, severity
        else:
            assert abs(result.mean() - mean) < 6e-5, severity
            assert result[5, 7].tolist() == pixel, severity


@pytest.mark.parametrize("name", list(registry.CORRUPTIONS))
def test_every_shape_is_kept(name: str):
    for image in random_images():
        before = image.copy()
        for preset in registry.PRESETS:
            result = run(image, name, preset, 5, np.random.default_rng(0))
            assert result.shape == image.shape
            assert result.dtype == np.uint8
        np.testing.assert_array_equal(image, before)

"""Files of presets: what they hold, what is refused, and the scale on which presets lie."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_images import checkered

from augmix.corruptions.corrupt import corrupt
from augmix.corruptions.presets import (
    check_levels,
    describe_preset,
    find_preset,
    load_preset,
    open_preset,
    write_preset,
)
from augmix.corruptions.registry import CORRUPTIONS, LAST_POSITION, PRESETS, Preset
from augmix.errors import RunError
from augmix.transforms import Corrupt

TABLE = {"fog": [[0.4, 3], [0.8, 2.5], None], "jpeg_compression": [80, 65, 58, 50, 40]}


def write(folder: Path, corruptions: Any, **more: Any) -> Path:
    path = folder / "own.json"
    path.write_text(json.dumps({"name": "own", "corruptions": corruptions, **more}))
    return path


def test_a_file_in_both_forms(tmp_path: Path) -> None:
    found = load_preset(write(tmp_path, TABLE))
    quality = tuple((each,) for each in (80, 65, 58, 50, 40))
    assert found.table == {"fog": ((0.4, 3), (0.8, 2.5), None), "jpeg_compression": quality}
    assert found.levels("fog") == (1, 2)
    assert found.levels("snow") == ()
    toml = tmp_path / "other.toml"
    toml.write_text(
        "[corruptions]\njpeg_compression = [80, 65, 58, 50, 40]\n"
        'fog = [[0.4, 3], [0.8, 2.5], "none"]\n'
    )
    other = load_preset(toml)
    assert (other.name, other.sha256) == ("other", found.sha256)
    rows = (
        '{"fog": [[0.4, 3], [0.8, 2.5], null], "jpeg_compression": [[80], [65], [58], [50], [40]]}'
    )
    assert found.sha256 == hashlib.sha256(rows.encode()).hexdigest()


def test_a_preset_is_written_and_read_back(tmp_path: Path) -> None:
    preset = load_preset(write(tmp_path, TABLE))
    path = tmp_path / "copy.json"
    write_preset(path, preset, {"model": "a network"})
    assert load_preset(path).table == preset.table
    assert json.loads(path.read_text())["calibration"] == {"model": "a network"}


def test_its_numbers_are_used(tmp_path: Path) -> None:
    path = write(tmp_path, TABLE)
    images = checkered(32)[None]
    for severity in (1, 4, 2.5):  # the numbers of `cifar`
        expected = corrupt(images, "jpeg_compression", severity=severity, preset="cifar")
        found = corrupt(images, "jpeg_compression", severity=severity, preset=path)
        np.testing.assert_array_equal(found, expected)
    held = load_preset(path)
    fog = corrupt(images, "fog", severity=2, preset=held, ids=[5])
    assert not np.array_equal(fog, corrupt(images, "fog", severity=2, preset="cifar", ids=[5]))
    transform = Corrupt("fog", severity=1, preset=path)
    path.unlink()  # it was read
    assert transform(images).shape == images.shape
    assert "preset='own'" in repr(transform)


def test_what_results_say(tmp_path: Path) -> None:
    preset = find_preset(write(tmp_path, TABLE), (32, 32))
    assert isinstance(preset, Preset)
    assert describe_preset(preset) == {"preset": "own", "preset_sha256": preset.sha256}
    assert describe_preset(find_preset("auto", (32, 32))) == {"preset": "cifar"}
    assert open_preset(Path("tiny")) == "tiny"  # as the command line gives it
    with pytest.raises(ValueError, match=r"or a file FILE.json .* got 'imagnet', did you mean"):
        open_preset("imagnet")


@pytest.mark.parametrize(
    ("corruptions", "message"),
    [
        ({"fgo": [1]}, "unknown corruption 'fgo'.*fog"),
        ({}, "'corruptions' must be a table of at least one"),
        ({"fog": []}, "fog must be a list of 1 to 5 severities, got"),
        ({"fog": [[1, 2]] * 6}, "fog must be a list of 1 to 5 severities"),
        ({"fog": [None]}, "fog has no severity with parameters"),
        ({"fog": [[1, 2], [1]]}, "fog, severity 2: takes 2 parameters, got 1 parameter"),
        ({"contrast": [1.5]}, "contrast, severity 1: .*at least 0, at most 1, got 1.5"),
        ({"contrast": ["0.5"]}, "expected a finite number.* got '0.5'"),
        ({"gaussian_noise": [10**400]}, "expected a finite number, at least 0, got 1000"),
        ({"contrast": [True]}, "expected a finite number.* got True"),
        ({"jpeg_compression": [50.5]}, "expected a whole number, at least 1, at most 95"),
        ({"blue_noise": [1], "blue_noise_sample": [1]}, "blue_noise_sample is there twice"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, corruptions: Any, message: str) -> None:
    with pytest.raises(RunError, match=f"own.json: .*{message}"):
        load_preset(write(tmp_path, corruptions))


def test_mistakes_around_the_table(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="unknown entry 'corruption', did you mean 'corruptions'"):
        load_preset(write(tmp_path, TABLE, corruption={}))
    with pytest.raises(RunError, match="name must be a text, and none of auto, cifar"):
        load_preset(write(tmp_path, TABLE, name="cifar"))
    with pytest.raises(RunError, match="does not exist; expected the file of a preset"):
        load_preset(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(RunError, match="is not valid TOML"):
        load_preset(broken)


def test_severities_that_a_preset_lacks(tmp_path: Path) -> None:
    preset = load_preset(write(tmp_path, TABLE))
    check_levels(preset, [("fog", 1.5), ("jpeg_compression", 2)])
    check_levels("cifar", [("snow", 5)])
    with pytest.raises(ValueError, match="no parameters for snow; .* --names fog jpeg_compression"):
        check_levels(preset, [("fog", 1), ("snow", 1)])
    message = "lacks severities: fog 3; take --names jpeg_compression or --severities 2"
    with pytest.raises(ValueError, match=message):
        check_levels(preset, [("fog", 2.5), ("jpeg_compression", 2.5)])
    with pytest.raises(ValueError, match="preset 'own' has no severity 3 of 'fog'"):
        corrupt(checkered(32)[None], "fog", severity=2.5, preset=preset)


def test_the_scale_goes_on_at_both_ends() -> None:
    noise, jpeg = CORRUPTIONS["gaussian_noise"], CORRUPTIONS["jpeg_compression"]
    assert noise.parameters_on_scale("cifar", 0) == (0,)
    assert noise.parameters_on_scale("cifar", 0.5) == pytest.approx((0.02,))
    assert noise.parameters_on_scale("cifar", 2.5) == noise.parameters_at("cifar", 2.5)
    assert noise.parameters_on_scale("cifar", 7) == pytest.approx((0.12,))  # 0.10 + 2 * 0.01
    assert jpeg.parameters_on_scale("cifar", 8) == (10,)  # 40 - 3 * 10
    assert jpeg.parameters_on_scale("cifar", 10) == (1,)  # the lowest quality
    fog = CORRUPTIONS["fog"]
    assert fog.parameters_on_scale("cifar", 0) == (0.001, 3)  # the decay of severity 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_origin_changes_little(name: str) -> None:
    corruption, image = CORRUPTIONS[name], checkered(64)
    for preset in PRESETS:
        counts = {len(row) for row in corruption.parameters[preset]}
        assert counts == {len(corruption.kinds or ())} == {len(corruption.limits)}
        ends = [corruption.parameters_on_scale(preset, position) for position in (0, LAST_POSITION)]
        for row in (*corruption.parameters[preset], *ends):
            for value, (low, high) in zip(row, corruption.limits, strict=True):
                assert low <= value <= high

    def change(position: float) -> float:
        row = corruption.parameters_on_scale("tiny", position)
        preset = Preset(name="own", table={name: (row,)})
        found = corrupt(image[None], name, severity=1, preset=preset)[0]
        return float(np.abs(found.astype(int) - image).mean())

    assert change(0) <= change(1)
    change(LAST_POSITION)  # the other end can be made

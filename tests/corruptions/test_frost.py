"""Frost: where pieces of a texture go, and how the drawn textures compare with photographs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_images import legacy, random_images

from augmix.corruptions import frost
from augmix.errors import RunError


def test_frost_lays_a_piece_of_the_texture():
    for image in random_images():
        generator = legacy(4)
        texture = frost.load_texture(generator.randint(5))
        height, width, channels = image.shape
        row = generator.randint(0, texture.shape[0] - height)
        column = generator.randint(0, texture.shape[1] - width)
        piece = texture[row : row + height, column : column + width].astype(float)
        if channels == 1:
            piece = (piece * [0.299, 0.587, 0.114]).sum(axis=2, keepdims=True)
        expected = np.clip(0.7 * image + 0.6 * piece, 0, 255)
        result = frost.frost(image, 0.7, 0.6, 1, generator=legacy(4))
        assert np.abs(result - np.floor(expected)).max() <= (channels == 1)


def test_frost_enlarges_a_texture_too_small():
    for size in ((300, 20), (330, 330), (20, 700), (64, 64)):
        image = np.zeros((*size, 3), np.uint8)
        for seed in range(6):
            result = frost.frost(image, 1, 1, 0.2, generator=legacy(seed))
            assert result.mean() > 60


def test_drawn_textures_are_as_bright_as_the_photographs():
    means = [  # red, green, blue; corruptions.md 3.7
        (77.67, 149.12, 165.74),
        (200.79, 205.38, 214.48),
        (200.79, 205.38, 214.48),
        (137.62, 152.77, 165.18),
        (112.38, 123.37, 134.75),
    ]
    for index, mean in enumerate(means):
        texture = frost.load_texture(index)
        np.testing.assert_allclose(texture.mean(axis=(0, 1)), mean, atol=3)
        assert np.abs(np.diff(texture.astype(int), axis=1)).mean() > 5


def test_drawn_textures_are_as_strong_as_the_photographs(real_data: Path):
    for index in range(5):
        drawn, photograph = (
            frost.load_texture(index),
            frost.load_texture(index, real_data / "frost"),
        )
        assert drawn.shape == photograph.shape
        ratio = drawn.std(axis=(0, 1)) / photograph.std(axis=(0, 1))
        np.testing.assert_allclose(ratio, 1, atol=0.15)


def test_frost_messages(tmp_path: Path):
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(RunError, match="no frost texture at .*must hold frost1.png"):
        frost.frost(image, 1, 1, 1, generator=legacy(), textures=tmp_path)
    for name in frost.PHOTOGRAPHS:
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(RunError, match="cannot read the frost texture"):
        frost.frost(image, 1, 1, 1, generator=legacy(), textures=tmp_path)


def test_frost_fingerprint(tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in frost.PHOTOGRAPHS:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    assert len(frost.fingerprint()) == 64
    assert frost.fingerprint() != frost.fingerprint(tmp_path)

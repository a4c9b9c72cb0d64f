"""Tiny content and images, and a decoder fitted to a tiny encoder."""

from pathlib import Path

import pytest
from toy_styles import ENCODER, write_images, write_styles

from augmix.stylize import FitConfig
from augmix.stylize.training import fit


@pytest.fixture
def style_folder(tmp_path: Path) -> Path:
    return write_styles(tmp_path / "styles")


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images.npz")


@pytest.fixture(scope="session")
def decoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder after two steps: it decodes, though nobody would hang it."""
    folder = tmp_path_factory.mktemp("decoder")
    return fit(
        FitConfig(
            src=str(write_images(folder / "images.npz")),
            styles=str(write_styles(folder / "styles")),
            encoder=ENCODER,
            out=folder / "decoder.safetensors",
            steps=2,
            batch_size=3,
            depth=1,
            device="cpu",
        )
    )

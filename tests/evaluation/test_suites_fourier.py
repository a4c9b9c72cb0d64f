"""The suite ``fourier``: its basis images by definition, the images shown, and errors by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_runs import write_npz

from augmix.arrays import to_float
from augmix.data.sources import Source, open_source
from augmix.errors import ResumeError
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.loop import evaluate
from augmix.evaluation.suites import Fourier, fourier_basis, fourier_signs, open_suites
from augmix.per_image import load_frequency_predictions
from augmix.results import Results, fold_frequency, load_results

SIZES = [(8, 8), (7, 5), (6, 9)]


def all_frequencies(size: tuple[int, int]) -> list[tuple[int, int]]:
    height, width = size
    every = [(row - height // 2, column - width // 2) for row, column in np.ndindex(size)]
    return sorted({fold_frequency(*frequency, size) for frequency in every})


def released_basis(size: tuple[int, int], row: int, column: int) -> np.ndarray:
    """The basis image at a position of the map as ``_get_fourier_basis`` of google-research's
    ``frequency_analysis`` defines it, which visits positions row by row."""
    opposite = tuple(
        (n - p) % n if n % 2 == 0 else n - 1 - p for n, p in zip(size, (row, column), strict=True)
    )
    first = min((row, column), opposite)
    spectrum = np.zeros(size, complex)
    if first == max((row, column), opposite):
        spectrum[first] = 1
    else:
        spectrum[first] = 0.5 + 0.5j
        spectrum[max((row, column), opposite)] = 0.5 - 0.5j
    return np.sqrt(size[0] * size[1]) * np.fft.ifft2(np.fft.ifftshift(spectrum)).real


@pytest.mark.parametrize("size", SIZES)
def test_basis_images_are_those_of_the_released_code(size: tuple[int, int]) -> None:
    for row, column in np.ndindex(size):
        vertical, horizontal = fold_frequency(row - size[0] // 2, column - size[1] // 2, size)
        (found,) = fourier_basis(vertical, [horizontal], size)
        np.testing.assert_allclose(found, released_basis(size, row, column), atol=1e-7)


@pytest.mark.parametrize("size", SIZES)
def test_basis_images_are_orthogonal_of_norm_one_and_of_one_frequency(size: tuple[int, int]):
    frequencies = all_frequencies(size)
    basis = np.stack([fourier_basis(v, [h], size)[0] for v, h in frequencies])
    flat = basis.reshape(len(basis), -1).astype(np.float64)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-6)
    for (vertical, horizontal), image in zip(frequencies, basis, strict=True):
        spectrum = np.abs(np.fft.fft2(image))
        own = {
            (vertical % size[0], horizontal % size[1]),
            (-vertical % size[0], -horizontal % size[1]),
        }
        assert {tuple(index) for index in np.argwhere(spectrum > 1e-5).tolist()} == own


def test_every_frequency_stands_for_itself_and_its_negative() -> None:
    for size in SIZES:
        for vertical, horizontal in all_frequencies(size):
            assert 0 <= 2 * vertical <= size[0]
            assert -size[1] < 2 * horizontal <= size[1]
            assert fold_frequency(-vertical, -horizontal, size) == (vertical, horizontal)
    assert len(all_frequencies((8, 8))) == (64 - 4) / 2 + 4  # four are their own negative
    assert len(all_frequencies((7, 5))) == (35 - 1) / 2 + 1


class Listener(nn.Module):
    """Class 1 where channel 0 has more than a little of one basis image, else class 0."""

    def __init__(self, wave: np.ndarray, threshold: float) -> None:
        super().__init__()
        self.wave = torch.from_numpy(wave)
        self.threshold = threshold

    def forward(self, images: Tensor) -> Tensor:
        heard = ((images[:, 0] - 0.5) * self.wave).sum(dim=(1, 2)).abs()
        return torch.stack([torch.full_like(heard, self.threshold), heard], dim=1)


@pytest.fixture
def grey(tmp_path: Path) -> Source:
    """Five grey images of 9x8 pixels, all of class 0."""
    images, labels = np.full((5, 9, 8, 3), 128, np.uint8), np.array([0, 0, 0, 0, 1])
    np.savez(tmp_path / "grey.npz", x_test=images[:4], y_test=labels[:4], x_train=images,
             y_train=labels)  # fmt: skip
    return open_source("npz", root=tmp_path / "grey.npz", split="test")


def measure(model: nn.Module, source: Source, **changes: Any) -> Results:
    settings: dict[str, Any] = {"suite": ("fourier",), "batch_size": 40, "bin_size": 5}
    return evaluate(model, source, **{**settings, **changes})


def errors_of(results: Results) -> np.ndarray:
    assert results.fourier_map is not None
    return results.fourier_map


def test_a_model_that_hears_one_frequency_errs_there_only(grey: Source) -> None:
    model = Listener(fourier_basis(3, [-2], grey.size)[0], threshold=0.6)
    errors = errors_of(measure(model, grey, fourier_norm=1.0))
    expected = np.zeros((9, 8))
    expected[4 + 3, 4 - 2] = expected[4 - 3, 4 + 2] = 1
    assert np.array_equal(errors, expected)
    assert not errors_of(measure(model, grey, fourier_norm=0.5)).any()  # the norm decides
    small = errors_of(measure(model, grey, fourier_norm=1.0, fourier_size=7))
    assert np.array_equal(small, expected[1:8, 1:8])


def test_the_model_sees_images_plus_minus_the_basis_image(model: nn.Module, source: Source) -> None:
    seen: list[Tensor] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    measure(model, source, fourier_norm=1.5, fourier_size=5, batch_size=20, seed=4)
    handle.remove()
    shown = torch.cat(seen).numpy()
    clean = to_float(source.load(np.arange(20)))
    row_of, batch = {0: [0, 1, 2], 1: [-2, -1, 0, 1, 2], 2: [-2, -1, 0, 1, 2]}, 0
    signs = []
    for vertical, horizontal in row_of.items():
        for image in range(20):
            for frequency in horizontal:
                wave = fourier_basis(vertical, [frequency], source.size)[0]
                for channel in range(3):
                    each = clean[image, channel]
                    forms = [np.clip(each + sign * 1.5 * wave, 0, 1) for sign in (-1, 1)]
                    gaps = [np.abs(shown[batch, channel] - form).max() for form in forms]
                    assert min(gaps) < 1e-6 < max(gaps)
                    signs.append(int(np.argmin(gaps)))
                batch += 1
    assert batch == len(shown)
    assert abs(np.mean(signs) - 0.5) < 0.06  # 780 fair draws: three standard deviations


def test_signs_depend_on_their_address_only() -> None:
    ids = np.array([5, 0, 9])
    every = fourier_signs(3, (-4, -1, 0, 2, 4), ids, num_channels=3, seed=1)
    assert set(np.unique(every)) == {-1.0, 1.0}
    some = fourier_signs(3, (2, -1), ids[[2]], num_channels=3, seed=1)
    assert np.array_equal(some[0], every[2, [3, 1]])
    for other in (
        fourier_signs(2, (-4, -1, 0, 2, 4), ids, num_channels=3, seed=1),
        fourier_signs(3, (-4, -1, 0, 2, 4), ids, num_channels=3, seed=2),
    ):
        assert (other != every).any()
    many = fourier_signs(1, range(16), np.arange(2000), num_channels=3, seed=0)
    together = np.corrcoef(many.reshape(2000, -1).T)
    assert np.abs(many.mean(axis=0)).max() < 0.1
    assert np.abs(together - np.eye(48)).max() < 0.12


def test_threads_and_batches_change_nothing(
    model: nn.Module, source: Source, tmp_path: Path
) -> None:
    first = measure(model, source, fourier_size=6, out=tmp_path / "a")
    again = measure(model, source, fourier_size=6, num_threads=3, batch_size=4, out=tmp_path / "b")
    assert np.array_equal(errors_of(first), errors_of(again))
    assert [cell.name for cell in first.frequencies] == [f"vertical-{v}" for v in range(4)]
    for cell in first.frequencies:
        kept, other = (load_frequency_predictions(tmp_path / each, cell.name) for each in "ab")
        assert np.array_equal(kept.prediction, other.prediction)
        wrong = kept.prediction != source.labels[:, None]
        assert cell.num_errors == wrong.sum(axis=0).tolist()
        assert cell.error == pytest.approx(wrong.mean())


def test_an_evaluation_continues_row_by_row(
    model: nn.Module, source: Source, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"fourier_size": 6, "out": tmp_path, "batch_size": 20}
    measure(model, source, suite=("clean",), out=tmp_path, batch_size=20)
    whole = measure(model, source, suite=("clean", "fourier"), **settings)
    (tmp_path / "predictions" / "fourier-vertical-2.npz").unlink()
    shown: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: shown.append(len(inputs[0])))
    again = measure(model, source, **settings)
    # some to know the model by; the rows 2 and -2 of the map have -3..2, so -3..3 in one
    assert sum(shown) == 8 + 20 * 7
    assert again.fourier_map is not None
    assert np.array_equal(again.fourier_map, errors_of(whole))
    assert load_results(tmp_path / "results.json").measured == again.measured
    with pytest.raises(ResumeError, match=r"fourier_norm = 2\.0, this evaluation has 3\.0"):
        measure(model, source, fourier_norm=3.0, **settings)
    with pytest.raises(ResumeError, match=r"fourier_size = \[6, 6\]"):
        measure(model, source, **{**settings, "fourier_size": 5})


@pytest.mark.parametrize(
    ("edge", "norm", "size"), [(32, 4.0, 32), (64, 15.7 * 64 / 224, 64), (224, 15.7, 63)]
)
def test_norm_and_map_are_the_published_ones(
    tmp_path: Path, edge: int, norm: float, size: int
) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, x_test=np.zeros((2, edge, edge, 3), np.uint8), y_test=np.array([0, 1]))
    source = open_source("npz", root=path, split="test")
    suite = open_suites(EvaluateConfig(suite=("fourier",)), source)["fourier"]
    assert isinstance(suite, Fourier)
    assert suite.norm == pytest.approx(norm)
    assert suite.describe()["fourier_size"] == [size, size]
    assert len(suite.cells()) == size // 2 + 1
    assert all(suite.num_frames(key) <= size for key in suite.cells())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fourier_norm": 0.0}, "fourier_norm must be a finite number above 0, got 0.0"),
        ({"fourier_norm": float("nan")}, "fourier_norm must be a finite number above 0"),
        ({"fourier_size": 0}, "fourier_size"),
        ({"fourier_size": 17}, r"fourier_size must be 1\.\.16, .* 16x16 pixels, got 17"),
        ({"adapt_batch_norm": True}, "suite 'fourier' does not go with adapt_batch_norm"),
        ({"suite": ("clean",), "fourier_norm": 2.0}, "it belongs to suite 'fourier'"),
        ({"suite": ("clean",), "fourier_size": 8}, "fourier_size 8 would have no effect"),
    ],
)
def test_wrong_settings_are_refused(
    model: nn.Module, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    source = open_source("npz", root=write_npz(tmp_path / "toy.npz"), split="test")
    with pytest.raises(ValueError, match=message):
        measure(model, source, **settings)

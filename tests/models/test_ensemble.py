import math

import numpy as np
import pytest
import torch
from torch import nn

from augmix.models.ensemble import Ensemble, average
from augmix.models.preprocessing import PRESETS
from augmix.models.weights import build_model
from augmix.models.wrapper import OpenedModel


class Fixed(nn.Module):
    """Gives the same logits for every image."""

    def __init__(self, *logits: float, name: str = "fixed") -> None:
        super().__init__()
        self.name = name
        self.row = nn.Parameter(torch.tensor(logits))

    def forward(self, images):
        return self.row.expand(len(images), -1)


IMAGES = torch.zeros(2, 3, 4, 4)


def test_mean_of_probabilities_by_hand():
    """Softmax of (0, ln 3) is (1/4, 3/4) and of (ln 9, 0) is (9/10, 1/10)."""
    model = Ensemble([Fixed(0.0, math.log(3)), Fixed(math.log(9), 0.0)])
    got = model(IMAGES).exp()
    expected = [(0.25 + 0.9) / 2, (0.75 + 0.1) / 2]
    assert got[1].tolist() == pytest.approx(expected, rel=1e-6)
    assert got.dtype == torch.float32


def test_its_softmax_is_the_mean_of_softmaxes():
    logits = 10 * torch.randn(3, 50, 7, generator=torch.Generator().manual_seed(0))
    wanted = np.exp(logits.double().numpy())
    wanted = (wanted / wanted.sum(axis=2, keepdims=True)).mean(axis=0)
    got = torch.softmax(average(list(logits)).double(), dim=1).numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-12)


def test_one_member_is_itself():
    logits = torch.tensor([[3.0, -2.0, 0.5]])
    assert torch.allclose(average([logits]), torch.log_softmax(logits, dim=1))


@pytest.mark.parametrize("scale", [1e4, 1e30, 3e38])
def test_huge_logits_stay_finite(scale):
    extreme = torch.tensor([[scale, -scale, 0.0]])
    got = average([extreme, extreme])
    assert torch.isfinite(got).all()
    assert got.argmax() == 0


def test_bfloat16_members_are_averaged_in_float64():
    rows = [torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16), torch.tensor([[0.0, 0.0]])]
    assert average(rows).dtype == torch.float32


def test_members_must_have_the_same_classes():
    small = [build_model("small", num_classes=count) for count in (3, 4)]
    with pytest.raises(ValueError, match="must have the same classes, got small: "):
        Ensemble(small)
    with pytest.raises(ValueError, match=r"logits of one shape, got \[\(2, 2\), \(2, 3\)\]"):
        Ensemble([Fixed(0.0, 1.0), Fixed(0.0, 1.0, 2.0)])(IMAGES)
    with pytest.raises(ValueError, match="at least one member, got none"):
        Ensemble([])


def test_it_says_what_it_is_made_of():
    members = [OpenedModel(Fixed(0.0, 1.0), name=name, num_classes=2) for name in "ab"]
    model = Ensemble(members)
    assert (model.name, model.num_classes) == ("ensemble of 2: a, b", 2)
    other = Ensemble([members[0], OpenedModel(Fixed(0.0, 2.0), name="b")])
    assert model.fingerprint != other.fingerprint
    assert len(model.fingerprint) == 64
    assert sum(each.numel() for each in model.parameters()) == 4
    with pytest.raises(ValueError, match="member fixed has no fingerprint"):
        _ = Ensemble([Fixed(0.0)]).fingerprint


def test_members_get_the_same_images():
    def member(preset: str) -> OpenedModel:
        return OpenedModel(Fixed(0.0, 1.0), name=preset, preprocessing=PRESETS[preset])

    model = Ensemble([member("imagenet-bicubic"), member("efficientnet-lite")])
    assert model.preprocessing.geometry["resize"] == 256  # normalization may differ
    with pytest.raises(ValueError, match="ask for different geometries"):
        Ensemble([member("imagenet"), member("imagenet-bicubic")])

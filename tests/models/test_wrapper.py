import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from augmix.errors import RunError
from augmix.models.layers import Normalize
from augmix.models.preprocessing import PRESETS, Preprocessing
from augmix.models.weights import build_model
from augmix.models.wrapper import (
    Ensemble,
    OpenedModel,
    Restricted,
    average,
    build_normalization,
    hash_weights,
)

IMAGES = torch.rand(2, 3, 4, 4)


class Giving(nn.Module):
    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, images):
        return self.make(images)


def wrap(make, **options) -> OpenedModel:
    return OpenedModel(Giving(make), name="mine", **options)


def test_normalization_by_hand():
    """Efficientnet-lite: (pixel - 127) / 128; ImageNet's mean and std channel by channel."""
    pixels = torch.tensor([0.0, 127.0, 255.0])
    images = (pixels / 255).reshape(3, 1, 1, 1).expand(3, 3, 1, 1)
    lite = build_normalization(PRESETS["efficientnet-lite"])(images)
    assert torch.allclose(lite[:, 0, 0, 0], torch.tensor([-127 / 128, 0.0, 1.0]), atol=1e-6)
    usual = build_normalization(PRESETS["imagenet"])(images)
    assert usual[2].flatten().tolist() == pytest.approx(
        [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    )
    assert torch.equal(build_normalization(PRESETS["none"])(images), images)
    signed = build_normalization(Preprocessing(input_range=(-1.0, 1.0)))(images)
    assert signed[:, 1, 0, 0].tolist() == pytest.approx([-1, -1 + 2 * 127 / 255, 1])
    assert build_normalization(PRESETS["half"]).state_dict() == {}


def test_one_number_serves_any_channels():
    layer = build_normalization(Preprocessing(mean=(0.5,), std=(0.25,)))
    assert layer(torch.ones(1, 1, 2, 2)).unique().tolist() == [2.0]
    assert layer(torch.ones(1, 3, 2, 2)).unique().tolist() == [2.0]
    three = inspect.unwrap(Normalize.forward)
    with pytest.raises(
        ValueError, match=r"a model of 3 channel\(s\) takes images .* got shape \(1, 1, 2, 2\)"
    ):
        three(build_normalization(PRESETS["half"]), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_bring_grey_near_zero(name):
    """Every preset centres images, except `none`, which leaves them in [0, 1]."""
    grey = build_normalization(PRESETS[name])(torch.full((1, 3, 1, 1), 0.45))
    assert float(grey.abs().max()) < 0.5


def test_normalization_comes_first():
    model = wrap(lambda images: images.mean((2, 3)), preprocessing=PRESETS["imagenet"])
    grey = torch.full((1, 3, 2, 2), 0.5)
    wanted = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    assert model(grey)[0].tolist() == pytest.approx(wanted, rel=1e-4)


def test_classes_are_counted_at_the_first_batch():
    counts = iter((5, 5, 6))
    model = wrap(lambda images: torch.zeros(len(images), next(counts)))
    assert model.num_classes is None
    model(IMAGES)
    assert model.num_classes == 5
    model(IMAGES)
    with pytest.raises(RunError, match="mine must give 5 logits per image, got 6"):
        model(IMAGES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda images: torch.zeros(3, 10), r"with 2 rows for 2 images, got .* shape \(3, 10\)"),
        (lambda images: torch.zeros(2), r"got torch.float32 of shape \(2,\)"),
        (lambda images: images, r"shape \(2, 3, 4, 4\)"),
        (lambda images: torch.zeros(2, 3, dtype=torch.int64), "got torch.int64"),
        (lambda images: "none", "for 2 images, got str"),
    ],
    ids=["rows", "flat", "map", "whole", "text"],
)
def test_wrong_outputs(make, message):
    with pytest.raises(RunError, match=f"mine must give float logits .*{message}"):
        wrap(make)(IMAGES)


def test_failures_name_the_shape_of_the_images():
    def fail(images):
        raise AssertionError("Input height (4) doesn't match model (224).")

    message = r"mine failed on images of shape \(2, 3, 4, 4\): AssertionError: Input .*--crop"
    with pytest.raises(RunError, match=message):
        wrap(fail)(IMAGES)


def test_running_out_of_memory_is_not_hidden():
    def fail(images):
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        wrap(fail)(IMAGES)


def test_hashes_differ_with_the_weights():
    first, second = nn.Linear(2, 3), nn.Linear(2, 3)
    assert hash_weights(first) == hash_weights(first)
    assert hash_weights(first) != hash_weights(second)
    second.load_state_dict(first.state_dict())
    assert hash_weights(first) == hash_weights(second)
    assert hash_weights(first) != hash_weights(second.double())
    assert OpenedModel(first, name="a").fingerprint == hash_weights(first)


def test_a_model_cut_down_to_some_classes():
    rows = torch.tensor([[5.0, 1.0, 4.0, 2.0], [0.0, 9.0, 3.0, 7.0]])
    whole = wrap(lambda images: rows, preprocessing=PRESETS["none"], num_classes=4)
    some = Restricted(whole, np.array([3, 0]))
    assert some(IMAGES).tolist() == [[2.0, 5.0], [7.0, 0.0]]
    assert (some.name, some.num_classes) == ("mine, 2 classes", 2)
    assert some.preprocessing is PRESETS["none"]
    assert some.state_dict() == {}
    other = Restricted(whole, np.array([0, 3]))
    assert len({whole.fingerprint, some.fingerprint, other.fingerprint}) == 3
    beyond = Restricted(whole, np.array([4]))
    with pytest.raises(RunError, match="goes up to class 4, but the model gives 4 logits"):
        beyond(IMAGES)


PROBABILITIES = torch.tensor([[0.25, 0.75], [1.0, 0.0]])


def test_probabilities_are_refused_or_taken_by_name():
    model = wrap(lambda images: PROBABILITIES[: len(images)])
    with pytest.raises(RunError, match="mine gives probabilities .*--outputs probabilities"):
        model(IMAGES)
    logits = wrap(lambda images: PROBABILITIES[: len(images)], outputs="probabilities")(IMAGES)
    assert torch.allclose(logits.softmax(1).float(), PROBABILITIES)
    assert torch.isfinite(logits).all()
    for values in (2 * PROBABILITIES, PROBABILITIES - 0.5, PROBABILITIES.log()):
        with pytest.raises(RunError, match="mine must give probabilities.*leave out --outputs"):
            wrap(lambda images, values=values: values, outputs="probabilities")(IMAGES)
        assert wrap(lambda images, values=values: values)(IMAGES) is values


def test_a_record_or_dict_of_outputs():
    logits = torch.randn(2, 4)
    record = SimpleNamespace(logits=logits, hidden=logits[:, :2])
    for found in (record, {"hidden": logits, "logits": logits}, (logits,), [logits]):
        assert torch.equal(wrap(lambda images, found=found: found)(IMAGES), logits)
    for found in ((logits, logits), {"main": logits, "aux": logits}):
        with pytest.raises(RunError, match=r"several outputs .*: \(2, 4\).*as python:FILE"):
            wrap(lambda images, found=found: found)(IMAGES)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_other_floats(dtype):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    wanted = network((IMAGES - 0.5) / 0.5)
    model = OpenedModel(network.to(dtype), name="mine", preprocessing=PRESETS["half"])
    found = model(IMAGES)
    assert found.dtype == dtype
    assert torch.allclose(found.float(), wanted, atol=2e-2)


def test_the_fingerprint_follows_the_weights():
    network = nn.Linear(2, 3)
    model = OpenedModel(network, name="mine")
    before = model.fingerprint
    with torch.no_grad():
        network.bias += 1
    assert model.fingerprint != before


@pytest.mark.filterwarnings("ignore")  # torch announces the end of this module
def test_quantised_networks_have_a_fingerprint():
    if torch.backends.quantized.engine == "none":
        pytest.skip("this torch has no engine for quantised networks")

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        whole = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
        return torch.ao.quantization.quantize_dynamic(whole, {nn.Linear})

    first, same, other = build(0), build(0), build(1)
    assert hash_weights(first) == hash_weights(same) != hash_weights(other)
    assert OpenedModel(first, name="mine").eval()(IMAGES).shape == (2, 3)


def test_exported_programs_keep_their_mode():
    program = torch.export.export(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval(), (IMAGES,))
    model = OpenedModel(program.module(), name="mine").eval()
    assert not model.training
    assert model(IMAGES).shape == (2, 3)
    with pytest.raises(RunError, match="mine failed on images of shape .*exported with dynamic_sh"):
        model(torch.rand(5, 3, 4, 4))


class Fixed(nn.Module):
    """Gives the same logits for every image."""

    def __init__(self, *logits: float, name: str = "fixed") -> None:
        super().__init__()
        self.name = name
        self.row = nn.Parameter(torch.tensor(logits))

    def forward(self, images):
        return self.row.expand(len(images), -1)


BATCH = torch.zeros(2, 3, 4, 4)


def test_mean_of_probabilities_by_hand():
    """Softmax of (0, ln 3) is (1/4, 3/4) and of (ln 9, 0) is (9/10, 1/10)."""
    model = Ensemble([Fixed(0.0, math.log(3)), Fixed(math.log(9), 0.0)])
    got = model(BATCH).exp()
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
        Ensemble([Fixed(0.0, 1.0), Fixed(0.0, 1.0, 2.0)])(BATCH)
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

import numpy as np
import pytest
import torch
from torch import nn

from augmix.errors import RunError
from augmix.models.preprocessing import PRESETS
from augmix.models.wrapper import Restricted, Subject, hash_weights

IMAGES = torch.rand(2, 3, 4, 4)


class Giving(nn.Module):
    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, images):
        return self.make(images)


def wrap(make, **options) -> Subject:
    return Subject(Giving(make), name="mine", **options)


def test_photometry_comes_first():
    subject = wrap(lambda images: images.mean((2, 3)), preprocessing=PRESETS["imagenet"])
    grey = torch.full((1, 3, 2, 2), 0.5)
    wanted = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    assert subject(grey)[0].tolist() == pytest.approx(wanted, rel=1e-4)


def test_classes_are_counted_at_the_first_batch():
    counts = iter((5, 5, 6))
    subject = wrap(lambda images: torch.zeros(len(images), next(counts)))
    assert subject.num_classes is None
    subject(IMAGES)
    assert subject.num_classes == 5
    subject(IMAGES)
    with pytest.raises(RunError, match="mine must give 5 logits an image, got 6"):
        subject(IMAGES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda images: torch.zeros(3, 10), r"with 2 rows for 2 images, got .* shape \(3, 10\)"),
        (lambda images: torch.zeros(2), r"got torch.float32 of shape \(2,\)"),
        (lambda images: images, r"shape \(2, 3, 4, 4\)"),
        (lambda images: torch.zeros(2, 3, dtype=torch.int64), "got torch.int64"),
        (lambda images: {"logits": 1}, "for 2 images, got dict"),
    ],
    ids=["rows", "flat", "map", "whole", "dict"],
)
def test_wrong_outputs(make, message):
    with pytest.raises(RunError, match=f"mine must give float logits .*{message}"):
        wrap(make)(IMAGES)


def test_failures_are_told_with_the_shape():
    def fail(images):
        raise AssertionError("Input height (4) doesn't match model (224).")

    message = r"mine failed on images of shape \(2, 3, 4, 4\): AssertionError: Input .*--crop"
    with pytest.raises(RunError, match=message):
        wrap(fail)(IMAGES)


def test_running_out_of_memory_stays_what_it_is():
    def fail(images):
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        wrap(fail)(IMAGES)


def test_weights_are_told_apart():
    first, second = nn.Linear(2, 3), nn.Linear(2, 3)
    assert hash_weights(first) == hash_weights(first)
    assert hash_weights(first) != hash_weights(second)
    second.load_state_dict(first.state_dict())
    assert hash_weights(first) == hash_weights(second)
    assert hash_weights(first) != hash_weights(second.double())
    assert Subject(first, name="a").fingerprint == hash_weights(first)


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

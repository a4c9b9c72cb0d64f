import numpy as np
import pytest
import torch

from augmix.augment import render
from augmix.augment.policies import AugMix
from augmix.errors import RunError
from augmix.rng import Stream

PLAN = AugMix().sample(np.arange(8), num_views=2, size=(20, 24), stream=Stream(seed=0))


@pytest.mark.parametrize("executor", ["auto", "pillow", "compiled"])
def test_arrays_give_arrays(noise: np.ndarray, executor: str) -> None:
    for device in ("auto", "cpu"):
        views = render(noise, PLAN, executor=executor, device=device)
        assert isinstance(views, np.ndarray)
        np.testing.assert_array_equal(views, render(noise, PLAN, executor="pillow"))


@pytest.mark.parametrize(
    ("executor", "device"), [("auto", "auto"), ("batched", "cpu"), ("batched", torch.device("cpu"))]
)
def test_tensors_give_tensors_where_they_are(
    noise: np.ndarray, executor: str, device: str | torch.device
) -> None:
    views = render(torch.from_numpy(noise), PLAN, executor=executor, device=device)
    assert isinstance(views, torch.Tensor)
    np.testing.assert_array_equal(views.numpy(), render(noise, PLAN, executor="pillow"))


def test_a_device_is_asked_for_by_name(noise: np.ndarray) -> None:
    with pytest.raises(RunError, match="device 'cuda:7' was asked for, but torch"):
        render(noise, PLAN, device="cuda:7")
    with pytest.raises(ValueError, match="executor 'compiled' works on the CPU, got device 'cuda'"):
        render(noise, PLAN, executor="compiled", device="cuda")
    with pytest.raises(ValueError, match="device must be one of .* got 'gpu'"):
        render(noise, PLAN, executor="batched", device="gpu")

"""Batches of views equal those of the definition, whoever makes them."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from augmix.augment import render
from augmix.augment.policies import AugMix, Standard
from augmix.data.views import views_loader
from augmix.rng import Stream

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 9, 8, 3), np.uint8)


class Pairs(torch.utils.data.Dataset):
    """Images as arrays, PIL images or tensors; the target is the index."""

    def __init__(self, form: str = "array") -> None:
        self.form = form

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = IMAGES[index]
        if self.form == "pillow":
            return Image.fromarray(image), index
        return torch.from_numpy(image).permute(2, 0, 1) if self.form == "tensor" else image, index


def collect(**options: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Two epochs."""
    loader = views_loader(Pairs(options.pop("form", "array")), 4, seed=3, **options)
    return [*loader, *loader]


def test_views_are_those_of_the_definition() -> None:
    policy = AugMix(severity=5, crop_padding=2, flip=True)
    batches = collect(policy=policy)
    assert [len(targets) for _, targets in batches] == [4, 4, 3] * 2
    for number, (views, targets) in enumerate(batches):
        ids = targets.numpy()  # the target is the index
        stream = Stream(seed=3).at(epoch=number // 3)
        plan = policy.sample(ids, num_views=2, size=(9, 8), stream=stream).with_clean()
        assert np.array_equal(views.numpy(), render(IMAGES[ids], plan, executor="pillow"))
    orders = [torch.cat([t for _, t in batches[at : at + 3]]).tolist() for at in (0, 3)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(11))
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    "options",
    [
        {"form": "pillow"},
        {"form": "tensor", "num_threads": 2},
        {"num_workers": 2},
        {"channels_last": True},
    ],
    ids=str,
)
def test_they_do_not_depend_on_who_makes_them(options: dict[str, Any]) -> None:
    for (views, targets), (others, same) in zip(collect(), collect(**options), strict=True):
        assert torch.equal(views, others)
        assert torch.equal(targets, same)


def test_a_loader_continues_at_an_epoch() -> None:
    whole = collect()
    loader = views_loader(Pairs(), 4, seed=3)
    loader.epoch = 1
    for (views, _), (others, _) in zip(loader, whole[3:], strict=True):
        assert torch.equal(views, others)


def test_order_and_number_of_batches() -> None:
    loader = views_loader(
        Pairs(), 4, shuffle=False, drop_last=True, policy=Standard(), num_views=1, has_clean=False
    )
    found = list(loader)
    assert len(loader) == len(found) == 2
    assert torch.cat([targets for _, targets in found]).tolist() == list(range(8))
    expected = torch.from_numpy(IMAGES[:4]).permute(0, 3, 1, 2)[None] / torch.tensor(255.0)
    assert torch.equal(found[0][0], expected)


def test_an_error_of_the_data_reaches_the_loop() -> None:
    class Broken(Pairs):
        def __getitem__(self, index: int) -> tuple[Any, int]:
            raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        list(views_loader(Broken(), 4))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([], {}, "dataset must have at least 1 image, got 0"),
        ([(IMAGES[0], 0)], {"drop_last": True}, "drop_last leaves no batch: batch_size 4"),
        ([(IMAGES[0], 0)], {"num_views": 0}, "num_views must be at least 1, got 0"),
        ([(IMAGES[0], 0), (IMAGES[0, :5], 1)], {}, "must have one size, got .*5x8x3"),
    ],
)
def test_what_does_not_fit_is_refused(
    data: list[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(views_loader(data, 4, **options))

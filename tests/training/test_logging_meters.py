"""Sums over the steps since a log line, whatever kind of targets they had."""

import pytest
import torch

from augmix.methods.losses import Loss
from augmix.training.logging import Meters


def test_errors_of_soft_targets_are_expectations() -> None:
    meters = Meters()
    logits = torch.tensor([[3.0, 0, 0], [0, 2, 0]])
    loss = Loss(total=torch.tensor(1.0), terms={}, logits=logits)
    meters.add(loss, torch.tensor([[0.7, 0.3, 0.0], [0.5, 0.0, 0.5]]), 2)
    meters.settle()
    assert meters.sums["error"] == pytest.approx(2 * (1 - 0.7 / 2))
    meters.add(loss, torch.tensor([0, 2]), 2)
    meters.settle()
    assert meters.sums["error"] == pytest.approx(2 * (1 - 0.7 / 2) + 1)


def test_a_line_has_means_by_image_and_starts_anew() -> None:
    meters = Meters()
    for total, count in ((1.0, 3), (4.0, 1)):
        logits = torch.zeros(count, 2)
        loss = Loss(total=torch.tensor(total), terms={"part": torch.tensor(2.0)}, logits=logits)
        meters.add(loss, torch.zeros(count, dtype=torch.int64), count)
        meters.clock(elapsed=0.5, waited=0.1, images=count)
    meters.settle()
    line = meters.line(epoch=0.5, rate=0.1, device=torch.device("cpu"))
    assert line["loss"] == pytest.approx((3 * 1.0 + 4.0) / 4)
    assert line["terms"] == {"part": 2.0}
    assert line["train_error"] == 0
    assert line["images_per_second"] == pytest.approx(4.0)
    assert line["wait_fraction"] == pytest.approx(0.2)
    assert line["peak_memory_mib"] > 50  # torch alone takes more
    assert (meters.images, meters.sums, meters.seconds) == (0, {}, 1.0)

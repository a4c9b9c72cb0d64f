"""Sums over the steps since a log line, for any kind of targets, and the counted cost of a run."""

from pathlib import Path

import pytest
import torch
from torch import nn
from toy_runs import read_log, toy_config

from augmix.methods import build_method
from augmix.methods.losses import Loss
from augmix.models.weights import build_model
from augmix.training.logging import Cost, Meters, count_cost, format_flop
from augmix.training.run import train


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


def cost_of(model: nn.Module, method: str, px: int = 32) -> Cost:
    device = torch.device("cpu")
    return count_cost(model, build_method(method), size=(px, px), channels=3, device=device)


def test_multiply_adds_layer_by_layer():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(2048, 5))
    model.train()
    cost = cost_of(model, "standard")
    assert cost.multiply_adds == 16 * 16 * 8 * 27 + 2048 * 5
    assert cost.flop == 6 * cost.multiply_adds
    assert model.training


@pytest.mark.parametrize(
    ("method", "passes", "attacks"),
    [
        ("augmix", 3, 0),
        ("standard", 1, 0),
        ("adversarial", 1, 10),
        ("augmax", 3, 5),
        ("pixmix", 1, 0),
        ("noisymix", 3, 0),
    ],
)
def test_passes_of_the_methods(method: str, passes: int, attacks: int):
    cost = cost_of(nn.Sequential(nn.Flatten(), nn.Linear(3072, 1)), method)
    assert (cost.passes, cost.attacks) == (passes, attacks)
    assert cost.flop == 3072 * (6 * passes + 4 * attacks)


def test_augmix_of_the_paper():
    """100 epochs of 50,000 images, three views, WRN-40-2: 29.5 PFLOP."""
    cost = cost_of(build_model("wrn-40-2", num_classes=10), "augmix")
    assert cost.flop * 100 * 50_000 == pytest.approx(29.5e15, rel=0.01)
    assert cost.describe(5_000_000).endswith("3 view(s) of an image in a step: 29.5 PFLOP in all")
    assert format_flop(4.2e18) == "4,200 PFLOP"


def test_the_log_counts_the_operations(tmp_path: Path):
    config = toy_config(tmp_path / "run", epochs=2, method="augmix")
    lines = read_log(train(config))
    cost = cost_of(build_model(config.network.model, num_classes=3), "augmix", 16)
    assert [line["flop"] for line in lines[:-1]] == sorted(line["flop"] for line in lines[:-1])
    assert lines[-1]["flop"] == cost.flop * 20 * 2

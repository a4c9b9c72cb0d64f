"""AugMix in a loop in the style of Lightning Fabric, which this file does not import.

    python examples/fabric_loop.py DATA [EPOCHS]    # DATA/train/CLASS/*.jpg, DATA/test/CLASS/*.jpg

`train` takes anything with Fabric's ``device``, ``setup`` and ``backward``: ``Fabric(...)`` itself,
or the few lines of `Plain`. The views' loader does not go through ``setup_dataloaders``: it makes
the views on the device, and every process of a launch gets its part of each batch from it.
"""

import sys
from pathlib import Path

import torch
from pytorch_loop import Network, Photos

import augmix


class Plain:
    """What `train` needs of Fabric, on one device."""

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

    def setup(self, model, *optimizers):
        """Put a model and its optimisers on the device."""
        return model.to(self.device), *optimizers

    def backward(self, loss):
        """Compute the gradients of a loss."""
        loss.backward()


def train(fabric, network, photos, epochs=1):
    """Train a network on photographs."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    model, optimizer = fabric.setup(network, optimizer)
    policy = augmix.AugMix(severity=3, crop_padding=4, flip=True)
    loader = augmix.views_loader(photos, batch_size=100, policy=policy, device=fabric.device)
    objective = augmix.Consistency(weight=12.0)
    for epoch in range(epochs):
        model.train()
        for views, targets in loader:
            optimizer.zero_grad()
            loss = objective(model, views, targets)  # stacks the views, forward, loss
            fabric.backward(loss.total)
            optimizer.step()
        terms = ", ".join(f"{name} {float(value):.3f}" for name, value in loss.terms.items())
        print(f"epoch {epoch + 1}: {terms}")


def main(data, epochs=1):
    """Train, and measure under corruption."""
    torch.manual_seed(0)
    photos, test = Photos(Path(data) / "train"), Photos(Path(data) / "test")
    network = Network(len(photos.classes))
    train(Plain(), network, photos, epochs)
    results = augmix.evaluate(network, test, names=("fog", "contrast"), severities=(1, 3, 5))
    print(results)
    return results


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

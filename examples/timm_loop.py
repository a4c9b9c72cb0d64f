"""AugMix with timm: its models, data sets, transforms and loader, our views and loss.

    python examples/timm_loop.py DATA [EPOCHS]    # DATA/train/CLASS/*.jpg, DATA/test/CLASS/*.jpg

timm's `AugMixDataset` makes the views one after another with whatever ``augmentation`` is set.
"""

import sys

import timm
import torch
from timm.data import AugMixDataset, create_dataset, create_loader, resolve_data_config
from timm.optim import create_optimizer_v2
from torch import nn

import augmix


def open_loader(data, config, batch_size=50):
    """timm's training loader; batches are flat: all clean images, all first views, all second."""
    dataset = AugMixDataset(create_dataset("", root=data, split="train"), num_splits=3)
    loader = create_loader(
        dataset,
        input_size=config["input_size"],
        batch_size=batch_size,
        is_training=True,
        scale=(0.5, 1.0),
        color_jitter=0.0,
        mean=config["mean"],
        std=config["std"],
        num_workers=2,
        num_aug_splits=3,
        device=torch.device("cpu"),  # leave out for a GPU
    )
    dataset.augmentation = augmix.transforms.AugMix(severity=3)  # the one line
    return loader


def open_faster_loader(data, config, batch_size=50):
    """The same with all views of an image made together, as uint8 for timm's prefetcher."""
    dataset = create_dataset("", root=data, split="train")
    how = {"is_training": True, "scale": (0.5, 1.0), "color_jitter": 0.0, "num_workers": 2}
    loader = create_loader(
        dataset,
        input_size=config["input_size"],
        batch_size=batch_size,
        mean=config["mean"],
        std=config["std"],
        device=torch.device("cpu"),
        **how,
    )
    crop = dataset.transform.transforms[:-1]  # all but the last step, which makes it a tensor
    views = augmix.transforms.AugMixViews(severity=3, dtype=torch.uint8)
    dataset.transform = type(dataset.transform)([*crop, views])
    return loader


class Measured(nn.Module):
    """A timm model with the normalisation that its loader did."""

    def __init__(self, network, config):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(config["mean"])[:, None, None])
        self.register_buffer("std", torch.tensor(config["std"])[:, None, None])

    def forward(self, images):
        return self.network((images - self.mean) / self.std)


def main(data, epochs=1, batch_size=50, name="test_resnet", size=32, pretrained=False):
    """Train, and measure under corruption."""
    torch.manual_seed(0)
    source = augmix.open_source("folder", root=data, split="test", size=size)
    network = timm.create_model(name, pretrained=pretrained, num_classes=source.num_classes)
    config = resolve_data_config({"input_size": (3, size, size)}, model=network)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=2e-3, weight_decay=0.01)
    objective = augmix.JSDLoss(weight=12.0)
    for open_any in (open_loader, open_faster_loader):
        loader = open_any(data, config, batch_size)
        for epoch in range(epochs):
            network.train()
            for images, targets in loader:  # normalised, (view batch) channel height width
                targets = targets[: len(targets) // 3]  # timm repeats them for every view
                loss = objective(network(images), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            print(f"epoch {epoch + 1}: loss {loss:.2f}")
    how = {"names": ("fog", "contrast"), "severities": (1, 3, 5)}
    results = augmix.evaluate(Measured(network, config), source, **how)
    print(results)
    return results


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

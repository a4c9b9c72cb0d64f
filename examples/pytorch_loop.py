"""AugMix in a PyTorch loop of your own: stack, normalise, forward, loss, and an evaluation branch.

    python examples/pytorch_loop.py DATA [EPOCHS]    # DATA/train/CLASS/*.jpg, DATA/test/CLASS/*.jpg

The views of an epoch depend on (seed, epoch, index) alone, whatever the number of workers.
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

import augmix

SIZE = 32


class Photos(Dataset):
    """Images of class folders, as PIL images of one size."""

    def __init__(self, root):
        self.files = sorted(root.glob("*/*"))
        self.classes = sorted({file.parent.name for file in self.files})
        self.targets = [self.classes.index(file.parent.name) for file in self.files]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB")
        return image.resize((SIZE, SIZE)), self.targets[index]


class Network(nn.Module):
    """Any network of yours; its first step normalises images in [0, 1]."""

    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, num_classes)),
        )

    def forward(self, images):
        return self.body((images - 0.5) / 0.25)


def main(data, epochs=1):
    """Train, and measure under corruption."""
    torch.manual_seed(0)
    train, test = Photos(Path(data) / "train"), Photos(Path(data) / "test")
    network = Network(len(train.classes))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    objective = augmix.JSDLoss(weight=12.0)
    policy = augmix.AugMix(severity=3, crop_padding=4, flip=True)
    loader = augmix.views_loader(train, batch_size=100, policy=policy, num_workers=2)
    for epoch in range(epochs):
        network.train()
        for views, targets in loader:  # float32 [view batch channel height width] in [0, 1]
            logits = network(views.flatten(0, 1))  # all views in one batch, the clean ones first
            loss = objective(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()  # the evaluation branch: clean images, no views, no divergence
        results = augmix.evaluate(network, test, suite=("clean",))
        print(f"epoch {epoch + 1}: loss {loss:.2f}, {results}")
    results = augmix.evaluate(network, test, names=("fog", "contrast"), severities=(1, 3, 5))
    print(results)
    return results


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

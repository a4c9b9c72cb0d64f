"""AugMix with torchvision: `ImageFolder`, its transforms and a ResNet, our views, loss and measure.

    python examples/torchvision_folder.py DATA [EPOCHS]    # DATA/train/CLASS/*.jpg, DATA/test/...

Corruptions come before normalisation, which therefore is the first layer of the model.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18

import augmix


def main(data, epochs=1, size=32):
    """Train, and measure under corruption."""
    torch.manual_seed(0)
    crop = transforms.Compose(
        [transforms.RandomResizedCrop(size, scale=(0.5, 1)), transforms.RandomHorizontalFlip()]
    )
    resize = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size)])
    train = ImageFolder(Path(data) / "train", transform=crop)  # PIL images out: no ToTensor
    test = ImageFolder(Path(data) / "test", transform=resize)
    network = nn.Sequential(
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        resnet18(num_classes=len(train.classes)),
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    objective = augmix.Consistency(weight=12.0)
    for epoch in range(epochs):
        network.train()
        for views, targets in augmix.views_loader(train, batch_size=50, num_workers=2):
            loss = objective(network, views, targets)
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.total:.2f}")
    how = {"names": ("fog", "contrast"), "severities": (1, 3, 5)}
    results = augmix.evaluate(network, test, **how)
    print(results)
    return results


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

"""Layers that the networks share, and the base class of the networks."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.models import BLUR_SIZES, ModelConfig

Images = Float[Tensor, "batch channel height width"]  # in [0, 1]
Features = Float[Tensor, "batch inputs height width"]
Logits = Float[Tensor, "batch class"]


class Normalize(nn.Module):
    """Subtract the mean of every channel and divide by its standard deviation.

    Its numbers belong to the model's configuration, not to its weights, so the state dict does not
    hold them. The memory format of the input is kept.

    Args:
        mean: One number per channel, in [0, 1] units.
        std: One number per channel, above 0.
        is_shared: Whether a single number serves images of any number of channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], *, is_shared: bool = False
    ) -> None:
        super().__init__()
        self.num_channels = None if is_shared and len(mean) == 1 else len(mean)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Images) -> Images:
        """Normalise a batch of images in [0, 1].

        Raises:
            TypeError: If the images are integers, which would be 255 times too large.
            ValueError: If they do not have this layer's number of channels.
        """
        if not images.is_floating_point():
            raise TypeError(
                f"a model takes floating-point images in [0, 1], got {images.dtype}; "
                "divide uint8 images by 255"
            )
        if images.ndim != 4 or self.num_channels not in (None, images.shape[1]):
            raise ValueError(
                f"a model of {len(self.mean)} channel(s) takes images [batch channel height width],"
                f" got shape {tuple(images.shape)}"
            )
        mean, std = self.mean, self.std
        layout = torch.channels_last
        if images.device.type == "cpu" and images.is_contiguous(memory_format=layout):
            # a CPU vectorises along memory, and the few channels of a pixel are too short for that
            spread = (one.expand(1, *images.shape[1:]) for one in (mean, std))
            mean, std = (one.contiguous(memory_format=layout) for one in spread)
        return (images - mean) / std

    def extra_repr(self) -> str:
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


class BlurPool(nn.Module):
    """Halve height and width without aliasing: a binomial blur, then every second pixel.

    The filter is the outer product of a row of Pascal's triangle with itself, divided by its sum;
    the border is reflected. It has no weights and no entry in the state dict, so the names of a
    network's weights are the same with and without it. Zhang, "Making Convolutional Networks
    Shift-Invariant Again" (2019).

    Args:
        size: Height and width of the filter in pixels, 2..5; rows (1, 1), (1, 2, 1),
            (1, 3, 3, 1), (1, 4, 6, 4, 1).

    Raises:
        ValueError: If there is no filter of that size.
    """

    kernel: Tensor

    def __init__(self, size: int = 5) -> None:
        super().__init__()
        if size not in BLUR_SIZES:
            raise ValueError(f"size of a blur filter must be 2..5 pixels, got {size}")
        row = torch.tensor([float(math.comb(size - 1, index)) for index in range(size)])
        kernel = torch.outer(row, row) / row.sum() ** 2
        self.register_buffer("kernel", kernel[None, None], persistent=False)
        before, after = (size - 1) // 2, size // 2
        self.padding = (before, after, before, after)

    def forward(self, features: Features) -> Float[Tensor, "batch inputs half_height half_width"]:
        """Blur and halve a map; odd sizes are rounded up.

        Raises:
            ValueError: If the map is too small to be reflected at its border.
        """
        channels, height, width = features.shape[1:]
        least = self.padding[1] + 1
        if min(height, width) < least:
            raise ValueError(
                f"these images are too small for a blur-pooled network: a filter of "
                f"{self.kernel.shape[-1]} pixels takes maps of at least {least}x{least}, got "
                f"{height}x{width}; use larger images, or a smaller blur_size"
            )
        padded = F.pad(features, self.padding, mode="reflect")
        kernel = self.kernel.expand(channels, -1, -1, -1)
        return F.conv2d(padded, kernel, stride=2, groups=channels)

    def extra_repr(self) -> str:
        return f"size={self.kernel.shape[-1]}"


class Classifier(nn.Module):
    """Base of the networks of this package, which compute the logits of images in [0, 1].

    ``config`` builds the network again; ``normalize`` is its first layer, and ``network`` the rest
    where a user's function has built it (`register_network`). ``stage_names`` are the modules
    behind which a stage of the network ends, see `augmix.models.depth.find_stages`.
    """

    stage_names: tuple[str, ...] = ()
    num_fit_images: int = 0  # training images that `fit_images` takes at most; 0: it does nothing

    def __init__(self, config: ModelConfig, network: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.normalize = Normalize(config.mean, config.std)
        self.frozen: tuple[str, ...] = ()  # modules that stay in evaluation mode
        if network is not None:
            self.network = network

    def forward(self, images: Images) -> Logits:
        return self.network(self.normalize(images))

    def fit_images(self, images: Images) -> None:
        """Set the layers that depend on training images, before the first step of a run."""

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode of the network; modules that are frozen stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


class Whitening(nn.Conv2d):
    """Project patches onto their principal components, each divided by its standard deviation.

    Its weights are a buffer, not trained: they are computed from training images once (`fit`) and
    saved with the model. Every component is there twice, with both signs. As the first layer of
    Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024), on larger patches.

    Args:
        inputs: Channels of the images.
        num_components: Leading components, at most values of a patch.
        size: Height and width of a patch in pixels; patches are half of it apart.
        noise: Variance of white noise that is added to that of every component, so that weak ones
            are not blown up.
    """

    is_fitted: Tensor

    def __init__(self, inputs: int, num_components: int, size: int, *, noise: float) -> None:
        half = size // 2
        outputs = 2 * num_components
        super().__init__(inputs, outputs, size, stride=half, padding=half // 2, bias=False)
        weight = self.weight.detach()
        del self.weight
        self.register_buffer("weight", weight)
        self.register_buffer("is_fitted", torch.tensor(False))
        self.noise = noise

    @torch.no_grad()
    def fit(self, images: Images) -> None:
        """Compute the weights from the covariance of all patches of normalised images."""
        patches = F.unfold(images, self.kernel_size, stride=self.stride)  # image value position
        patches = patches.transpose(1, 2).flatten(0, 1).double()
        patches -= patches.mean(0)
        variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
        kept = self.out_channels // 2
        variances, components = variances.flip(0)[:kept], components.T.flip(0)[:kept]
        largest = components.gather(1, components.abs().argmax(1, keepdim=True))
        rows = components * largest.sign() / (variances + self.noise).sqrt()[:, None]
        weight = torch.cat([rows, -rows]).unflatten(1, self.weight.shape[1:])
        self.weight.copy_(weight)
        self.is_fitted.fill_(True)


def halving(config: ModelConfig, stride: int) -> tuple[int, nn.Module]:
    """Return the stride of a convolution and the layer that follows its activation.

    A blur-pooled network (`ModelConfig.is_blurred`) computes the convolution at every pixel and
    halves the activated map by a `BlurPool`; any other network keeps the stride.
    """
    if config.is_blurred and stride == 2:
        return 1, BlurPool(config.blur_size)
    return stride, nn.Identity()


def max_pool(config: ModelConfig, size: int, *, padding: int = 0) -> nn.Module:
    """Build a max pooling that halves the map.

    In a blur-pooled network it is the maximum of 2x2 windows at every pixel, then a `BlurPool`.
    """
    if config.is_blurred:
        return nn.Sequential(nn.MaxPool2d(2, stride=1), BlurPool(config.blur_size))
    return nn.MaxPool2d(size, stride=2, padding=padding)


def check_size(images: Images, least: int, config: ModelConfig) -> None:
    """Refuse (ValueError) images of less than ``least`` pixels, which the poolings use up."""
    height, width = images.shape[2:]
    if min(height, width) < least:
        raise ValueError(
            f"{config.name!r} takes images of at least {least}x{least} pixels, "
            f"got {height}x{width}; resize them, or choose a network with fewer pooling layers"
        )


def conv(
    inputs: int, outputs: int, size: int = 3, *, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Build a convolution without bias that keeps the image size at stride 1."""
    return nn.Conv2d(
        inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False
    )


def build_stage(
    block: Callable[[int, int, int], nn.Module],
    num_blocks: int,
    inputs: int,
    outputs: int,
    stride: int,
) -> nn.Sequential:
    """Build blocks (inputs, outputs, stride), of which only the first changes channels and size."""
    others = (block(outputs, outputs, 1) for _ in range(num_blocks - 1))
    return nn.Sequential(block(inputs, outputs, stride), *others)


def initialize(network: nn.Module) -> None:
    """Draw the start weights of a CIFAR network from torch's generator (`torch.manual_seed`).

    Convolutions N(0, 2 / (size^2 * outputs)), batch normalisation 1 and 0, linear layers uniform
    within 1 / sqrt(inputs) with bias 0 (released code of AugMix).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = math.prod(layer.kernel_size) * layer.out_channels
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)


def global_average(features: Features) -> Float[Tensor, "batch inputs"]:
    """Average every channel over all pixels, whatever the image size.

    A pooling, because the gradient of `Tensor.mean` does not keep the channels-last format, which
    slows down the layers before it.
    """
    return F.avg_pool2d(features, features.shape[2:]).flatten(1)

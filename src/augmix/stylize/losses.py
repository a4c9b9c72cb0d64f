"""What a decoder learns from: content, style and identity loss."""

import math

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.records import RunError
from augmix.stylize.adain import adapt, channel_statistics
from augmix.stylize.encoders import Encoder


def fit_loss(
    encoder: Encoder,
    decoder: nn.Module,
    content: Float[Tensor, "batch 3 height width"],
    style: Float[Tensor, "batch 3 style_height style_width"],
    *,
    restyled: int = -1,
) -> dict[str, Float[Tensor, ""]]:
    """The terms of the loss, not yet weighted.

    ``content`` is the mean squared distance of the picture's features to the restyled ones
    (equation 12), ``style`` that of means and deviations, summed over the stages (equation 13),
    ``identity`` that of the pixels where nothing was restyled. Stage number ``restyled`` is painted
    from; in the paper it is the last.
    """
    with torch.no_grad():
        features = encoder(content)[restyled]
        styles = [channel_statistics(found) for found in encoder(style)]
        wanted = adapt(features, styles[restyled])
    both = decoder(torch.cat([wanted, features])).float()
    pictures, same = both.chunk(2)
    seen = encoder(pictures)
    terms = {"content": F.mse_loss(seen[restyled].float(), wanted.float())}
    distances = [
        F.mse_loss(own.mean, style.mean) + F.mse_loss(own.std, style.std)
        for own, style in zip(map(channel_statistics, seen), styles, strict=True)
    ]
    return {**terms, "style": torch.stack(distances).sum(), "identity": F.mse_loss(same, content)}


def measure_gains(
    encoder: Encoder, gauge: Float32[Tensor, "batch 3 height width"]
) -> tuple[float, ...]:
    """Factors that bring every stage to a mean square of 1, so that no stage drowns the others."""
    with torch.no_grad():
        squares = [float(found.square().mean()) for found in encoder(gauge)]
    if not all(math.isfinite(square) and square > 0 for square in squares):
        raise RunError(f"the encoder's features must be finite and not all 0, got {squares}")
    return tuple(1 / math.sqrt(square) for square in squares)

"""What is done to finished views, by torch operations: noise in a box, a hole, pairs of a batch.

Nothing here knows values of the plan on the host either: boxes become masks over whole views.
"""

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from augmix.augment.device.packing import Layout
from augmix.augment.device.tensors import Arrays, real_of

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF


def finish(
    views: Float[Tensor, "view batch channel height width"], arrays: Arrays, layout: Layout
) -> Float[Tensor, "view batch channel height width"]:
    """Views with the noise, holes and pairs their plan has; float32 in and out."""
    if layout.has_noise:
        views = lay_noise(views, arrays)
    if layout.has_holes:
        fill = arrays.fill.reshape(-1, 1, 1)
        views = torch.where(_inside(arrays.hole_box, views), fill, views)
    if layout.pairs == "cut":
        inside = _inside(arrays.pair_box[None], views)
        views = torch.where(inside, views[:, arrays.partner], views)
    elif layout.pairs == "blend":
        share = arrays.pair_share.reshape(-1, 1, 1, 1)
        views = share * views + (1 - share) * views[:, arrays.partner]
    return views


def lay_noise(
    views: Float[Tensor, "view batch channel height width"], arrays: Arrays
) -> Float[Tensor, "view batch channel height width"]:
    """Add noise inside the boxes; see `patches.Noise` for where it comes from."""
    num_views, batch, channels, height, width = views.shape
    pixel = torch.arange(height * width, device=views.device).expand(num_views, batch, -1)
    address = arrays.noise_address.unbind(-1)  # counter words 1, 2, 3
    words = philox4x32(
        [pixel, *(word[..., None].expand_as(pixel) for word in address)], arrays.noise_key
    )
    drawn = 2.0 * _between(torch.stack(words[:channels], dim=2), arrays.numbers.dtype)
    amplitude = arrays.noise_amplitude.to(drawn.dtype).reshape(num_views, batch, 1, 1)
    noise = (amplitude * (drawn - 1.0)).float().unflatten(3, (height, width))
    return torch.where(_inside(arrays.noise_box, views), (views + noise).clamp(0, 1), views)


def uniforms(
    addresses: Int64[Tensor, "batch 3"], key: Int64[Tensor, " 2"], num_blocks: int
) -> Float[Tensor, "batch block 4"]:
    """`Stream.uniforms` on a device, four numbers a block; float64 where the device has it.

    Args:
        addresses: From `Stream.addresses`, of one view.
        key: From `key_of`.
        num_blocks: Blocks for each of the samples.
    """
    block = torch.arange(num_blocks, device=addresses.device).expand(len(addresses), -1)
    words = philox4x32([block, *(word[:, None] for word in addresses.unbind(1))], key)
    return _between(torch.stack(words, dim=2), getattr(torch, real_of(addresses.device)))


def _between(words: Int64[Tensor, "..."], real: torch.dtype) -> Float[Tensor, "..."]:
    """Words as numbers strictly between 0 and 1."""
    return (words.to(real) + 0.5) / 2**32


def key_of(seed: int) -> Int64[Tensor, " 2"]:
    """The words of a stream's key."""
    return torch.tensor([seed & _WORD, seed >> 32])


def philox4x32(counter: list[Tensor], key: Int64[Tensor, " 2"]) -> list[Int64[Tensor, "..."]]:
    """Philox4x32-10 as `streams.philox4x32`, its 32-bit words in 64-bit integers.

    A product of two words may pass 2**63; its bits are right all the same.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key.unbind()
    for _ in range(10):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = ((product1 >> 32) & _WORD) ^ c1 ^ k0
        c2 = ((product0 >> 32) & _WORD) ^ c3 ^ k1
        c1, c3 = product1 & _WORD, product0 & _WORD
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return [c0, c1, c2, c3]


def _inside(
    box: Int32[Tensor, "some batch 4"], views: Float[Tensor, "view batch channel height width"]
) -> Bool[Tensor, "some batch 1 height width"]:
    """Which pixels of a view lie in its box."""
    top, left, bottom, right = box[..., None, None, None].unbind(2)
    rows = torch.arange(views.shape[3], device=views.device)[:, None]
    columns = torch.arange(views.shape[4], device=views.device)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)

"""What several policies draw: crops and mirrorings, Dirichlet and Beta numbers, all by address."""

import numpy as np
from jaxtyping import Bool, Float64, Int32, Integer

from augmix.streams import Purpose, Stream


def draw_crop(
    ids: Integer[np.ndarray, " batch"], padding: int, flip: bool, stream: Stream
) -> tuple[Int32[np.ndarray, "batch 2"], Bool[np.ndarray, " batch"]]:
    """Crop corners and mirrorings, once per image, so that all its views share them."""
    if not padding and not flip:
        return np.zeros((len(ids), 2), np.int32), np.zeros(len(ids), bool)
    uniforms = stream.at(Purpose.CROP).uniforms(ids, count=3)[0]
    crop = (uniforms[:, :2] * (2 * padding + 1)).astype(np.int32)
    return crop, (uniforms[:, 2] < 0.5) & flip


def dirichlet(
    ids: Integer[np.ndarray, " batch"], num_views: int, width: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch chain"]:
    """Symmetric Dirichlet rows, by normalising Gamma(alpha) draws in logarithms."""
    log_gamma = _log_gamma(ids, num_views, width, alpha, stream)
    gamma = np.exp(log_gamma - log_gamma.max(axis=-1, keepdims=True))
    return gamma / gamma.sum(axis=-1, keepdims=True)


def beta(
    ids: Integer[np.ndarray, " batch"], num_views: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch"]:
    """Beta(alpha, alpha); the uniform distribution when alpha is 1."""
    if alpha == 1:
        return stream.uniforms(ids, num_views=num_views, count=1)[..., 0]
    return dirichlet(ids, num_views, 2, alpha, stream)[..., 0]


def _log_gamma(
    ids: Integer[np.ndarray, " batch"], num_views: int, count: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch count"]:
    """Logarithms of Gamma(alpha, 1) draws, for any alpha above 0.

    Alpha 1 is the exponential distribution. Otherwise Marsaglia and Tsang (2000), whose rejected
    attempts go on at the next address, so a draw never depends on its neighbours; below 1 the
    draw is Gamma(alpha + 1) * U^(1 / alpha), in logarithms because that underflows.
    """
    if alpha == 1:
        return np.log(-np.log(stream.uniforms(ids, num_views=num_views, count=count)))
    d = (alpha if alpha > 1 else alpha + 1) - 1 / 3
    c = 1 / np.sqrt(9 * d)
    result = np.full((num_views, len(ids), count), np.nan)
    attempt = 0
    while np.isnan(result).any():
        uniforms = stream.uniforms(
            ids, num_views=num_views, count=4 * count, first_block=attempt * count
        ).reshape(num_views, len(ids), count, 4)
        normal = np.sqrt(-2 * np.log(uniforms[..., 0])) * np.cos(2 * np.pi * uniforms[..., 1])
        cube = np.maximum(1 + c * normal, 0) ** 3
        with np.errstate(divide="ignore"):
            log_cube = np.log(cube)
        bound = normal**2 / 2 + d - d * cube + d * log_cube
        drawn = np.log(d) + log_cube
        if alpha < 1:
            drawn = drawn + np.log(uniforms[..., 3]) / alpha
        accepted = np.isnan(result) & (cube > 0) & (np.log(uniforms[..., 2]) < bound)
        np.copyto(result, drawn, where=accepted)
        attempt += 1
    return result

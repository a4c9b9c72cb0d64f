"""The reference executor: one image at a time with plain Pillow calls, written for the eye.

What this module does is the definition; the other executors must equal it. Operations are those of
the released AugMix code (Hendrycks et al. 2020): 8-bit images, bilinear sampling, black outside.
"""

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageEnhance, ImageOps

from augmix.arrays import check_images
from augmix.augment.ops import Op
from augmix.augment.pairing import PairPlan
from augmix.augment.patches import Noise
from augmix.augment.plan import Plan, check_plan
from augmix.rng import philox4x32

_ENHANCERS = {
    Op.COLOR: ImageEnhance.Color,
    Op.CONTRAST: ImageEnhance.Contrast,
    Op.BRIGHTNESS: ImageEnhance.Brightness,
    Op.SHARPNESS: ImageEnhance.Sharpness,
}


def render(
    images: UInt8[np.ndarray, "batch height width channel"], plan: Plan
) -> Float32[np.ndarray, "view batch channel height width"]:
    """Carry out a plan.

    Args:
        images: uint8, 1 or 3 channels, any height and width from 1 pixel.
        plan: Drawn for as many images of this size.

    Returns:
        Views in [0, 1], float32, never re-quantised.

    Raises:
        TypeError: If the images are not a uint8 NumPy array.
        ValueError: If their shape does not fit, or is not the plan's.
    """
    check_images(images)
    check_plan(plan, images.shape)
    batch, height, width, channels = images.shape
    views = np.empty((plan.num_views, batch, channels, height, width), np.float32)
    for index in range(batch):
        start = flip_and_crop(images[index], plan, index)
        for view in range(plan.num_views):
            pixels = _mix(start, plan, view, index)
            if plan.noise:
                lay_noise(pixels, plan.noise, view, index)
            if plan.hole:
                top, left, bottom, right = plan.hole.box[view, index]
                pixels[top:bottom, left:right] = plan.hole.levels(channels)
            views[view, index] = pixels.transpose(2, 0, 1)
    return mix_pairs(views, plan.pairs) if plan.pairs else views


def flip_and_crop(
    image: UInt8[np.ndarray, "height width channel"], plan: Plan, index: int
) -> UInt8[np.ndarray, "height width channel"]:
    """Mirror, then pad with black and crop, as the plan says for this image."""
    if plan.flip[index]:
        image = image[:, ::-1]
    if plan.crop_padding:
        height, width = image.shape[:2]
        row, column = plan.crop[index]
        border = (plan.crop_padding, plan.crop_padding)
        image = np.pad(image, (border, border, (0, 0)))[row : row + height, column : column + width]
    return image


def apply_chain(
    image: UInt8[np.ndarray, "height width channel"], plan: Plan, view: int, index: int, chain: int
) -> UInt8[np.ndarray, "height width channel"]:
    """One chain of one view: its operations, one after another, on 8-bit pixels."""
    picture = to_pillow(image)
    steps = zip(plan.op[view, index, chain], plan.amount[view, index, chain], strict=True)
    for op, amount in steps:
        picture = apply_op(picture, Op(op), float(amount))
    return np.asarray(picture).reshape(image.shape)


def apply_op(picture: Image.Image, op: Op, amount: float) -> Image.Image:
    """One operation on an 8-bit picture of mode L or RGB; the amount in the unit of `Op`."""
    if op == Op.NONE:
        return picture
    if op == Op.AUTOCONTRAST:
        return ImageOps.autocontrast(picture)
    if op == Op.EQUALIZE:
        return ImageOps.equalize(picture)
    if op == Op.POSTERIZE:
        return ImageOps.posterize(picture, int(amount))
    if op == Op.SOLARIZE:
        return ImageOps.solarize(picture, int(amount))
    if op == Op.INVERT:
        return ImageOps.invert(picture)
    if op == Op.ROTATE:
        return picture.rotate(amount, resample=Image.Resampling.BILINEAR)
    if op in _ENHANCERS:
        return _ENHANCERS[op](picture).enhance(amount)
    matrix = {
        Op.SHEAR_X: (1, amount, 0, 0, 1, 0),
        Op.SHEAR_Y: (1, 0, 0, amount, 1, 0),
        Op.TRANSLATE_X: (1, 0, amount, 0, 1, 0),
        Op.TRANSLATE_Y: (1, 0, 0, 0, 1, amount),
    }[op]
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
    )


def lay_noise(
    pixels: Float32[np.ndarray, "height width channel"], noise: Noise, view: int, index: int
) -> None:
    """Add a view's noise inside its box, in place; see `Noise` for where it comes from."""
    top, left, bottom, right = noise.box[view, index]
    rows, columns = np.mgrid[top:bottom, left:right]
    counter = np.empty((4, rows.size), np.uint32)
    counter[0] = (rows * pixels.shape[1] + columns).ravel()
    counter[1:] = noise.address[view, index][:, None]
    words = philox4x32(counter, noise.seed)[: pixels.shape[2]]  # channel pixel
    drawn = 2.0 * ((words + 0.5) * 2.0**-32) - 1.0
    scaled = (np.float64(noise.amplitude[view, index]) * drawn).astype(np.float32)
    box = pixels[top:bottom, left:right]
    box[...] = np.clip(box + scaled.T.reshape(box.shape), 0, 1)


def mix_pairs(
    views: Float32[np.ndarray, "view batch channel height width"], pairs: PairPlan
) -> Float32[np.ndarray, "view batch channel height width"]:
    """Every finished view with its partner's pixels; see `PairPlan`."""
    if not pairs.is_cut:
        share = pairs.share[:, None, None, None]
        return share * views + (np.float32(1) - share) * views[:, pairs.partner]
    result = views.copy()
    for index, (top, left, bottom, right) in enumerate(pairs.box):
        taken = views[:, pairs.partner[index], :, top:bottom, left:right]
        result[:, index, :, top:bottom, left:right] = taken
    return result


def to_pillow(image: UInt8[np.ndarray, "height width channel"]) -> Image.Image:
    """An RGB or grey array as a picture of mode RGB or L."""
    return Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))


def _mix(
    image: UInt8[np.ndarray, "height width channel"], plan: Plan, view: int, index: int
) -> Float32[np.ndarray, "height width channel"]:
    """The view of one image: a convex sum in grey levels, then / 255. All in float32, in order."""
    mix = plan.mix[view, index]
    total = (np.float32(1) - mix) * image.astype(np.float32)
    if mix == 0:  # a clean view is exactly v / 255
        return total / np.float32(255)
    for chain, weight in enumerate(plan.weight[view, index]):
        pixels = apply_chain(image, plan, view, index, chain)
        total += (mix * weight) * pixels.astype(np.float32)
    return np.minimum(total / np.float32(255), np.float32(1))  # shares may sum to 1 + 1e-7

"""How a model's images are prepared.

Preprocessing acts in two places. A source resizes and crops when it decodes an image; corruptions
then change the cropped uint8 image. Range, mean and standard deviation are applied by the first
layer of the model, so that everything in between works on images in [0, 1].

What timm, torchvision and transformers say about a model is translated here. What `Preprocessing`
cannot express (images that are not square, keys that are not known) is a `RunError` that names it;
the user then names the nearest preprocessing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from augmix.data.decode import CONVENTIONS, INTERPOLATIONS, check_resize
from augmix.errors import RunError, check_fields, check_name
from augmix.models import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image of any size becomes the input of a network.

    The shorter edge is resized to `resize` (with `squash`, both edges) and the centre of
    ``crop x crop`` pixels is cut out, as `data.decode.Geometry` does. Its values are scaled to
    `input_range` and normalised: ``(value - mean) / std``.

    Attributes:
        resize: Shorter edge after resizing, in pixels; at least `crop`; 0 only if crop is 0.
        crop: Height and width of the centre crop in pixels; 0 takes images as they are stored.
        interpolation: Pillow's resizing filter, one of `INTERPOLATIONS`; all but ``nearest``
            antialias.
        mean: Subtracted from every channel, in the units of `input_range`.
        std: Every channel is then divided by it; above 0.
        input_range: Values of black (0) and white (255) before normalisation.
        squash: Whether both edges are resized to `resize`, whatever the image's shape.
        convention: Whose roundings are followed, see `data.decode.Geometry`; those of timm and
            transformers let `resize` be below `crop`, with a black border.
        is_bgr: Whether the network takes blue first; `mean` and `std` are in that order too.

    Raises:
        ValueError: If a value is out of range.

    Example:
        >>> Preprocessing(resize=256, crop=224).geometry["resize"]
        256
    """

    resize: int = 0
    crop: int = 0
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    input_range: tuple[float, float] = (0.0, 1.0)
    squash: bool = False
    convention: str = "torchvision"
    is_bgr: bool = False

    def __post_init__(self) -> None:
        if self.crop < 0 or (self.crop == 0 and self.resize != 0):
            raise ValueError(
                "crop must be above 0 where images are resized, or crop and resize both 0 for "
                f"images as stored; got crop {self.crop}, resize {self.resize}"
            )
        check_name("convention", self.convention, CONVENTIONS)
        if self.crop and not self.resize:
            raise ValueError(f"resize must be above 0 where images are cropped to {self.crop}")
        check_resize(self.resize, self.crop, "crop", self.convention)
        check_name("interpolation", self.interpolation, INTERPOLATIONS)
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ValueError(
                "mean and std must have one number per channel, 1 or 3, "
                f"got {self.mean} and {self.std}"
            )
        low, high = self.input_range
        if not all(map(isfinite, (*self.mean, *self.std, low, high))):
            raise ValueError("mean, std and input_range must be finite")
        check_fields(self, std=(min(self.std) > 0, "above 0 in every channel"))
        if not low < high:
            raise ValueError(f"input_range must rise from black to white, got {self.input_range}")

    @property
    def geometry(self) -> dict[str, Any]:
        """Return the part that a source applies, as arguments of `open_source`."""
        return {
            "size": self.crop,
            "resize": self.resize,
            "interpolation": self.interpolation,
            "squash": self.squash,
            "convention": self.convention,
        }


PRESETS = {
    "none": Preprocessing(),
    "half": Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "imagenet": Preprocessing(resize=256, crop=224, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "imagenet-bicubic": Preprocessing(
        resize=256, crop=224, interpolation="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD
    ),
    "imagenet-half": Preprocessing(
        resize=256, crop=224, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    ),
    "imagenet-none": Preprocessing(resize=256, crop=224),
}
PRESETS["efficientnet-lite"] = replace(  # inputs (pixel - 127) / 128: the released models
    PRESETS["imagenet-bicubic"], mean=(127.0,) * 3, std=(128.0,) * 3, input_range=(0.0, 255.0)
)


def choose_preprocessing(preset: str, **changes: Any) -> Preprocessing:
    """Return a preset, with some of its fields replaced.

    Args:
        preset: A key of `PRESETS`.
        changes: Fields of `Preprocessing` to replace; None keeps a field. A ``crop`` without a
            ``resize`` resizes in proportion, 256 for 224.

    Raises:
        ValueError: If there is no such preset, or the fields do not fit each other.

    Example:
        >>> choose_preprocessing("imagenet", crop=112).resize
        128
    """
    check_name("preprocessing", preset, PRESETS)
    wanted = {name: value for name, value in changes.items() if value is not None}
    if wanted.get("crop") and "resize" not in wanted:
        is_squashed = wanted.get("squash", PRESETS[preset].squash)
        wanted["resize"] = round(wanted["crop"] * (1 if is_squashed else 256 / 224))
    return replace(PRESETS[preset], **wanted)


def from_timm(config: Mapping[str, Any], *, where: str) -> Preprocessing:
    """Translate ``timm.data.resolve_model_data_config``; it resizes to crop / ``crop_pct``."""
    _, height, width = config["input_size"]
    crop = _square(height, width, where)
    mode = config.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise _refuse(f"a crop of mode {mode!r}", where)
    resize = math.floor(crop / (config.get("crop_pct") or 0.875))
    return Preprocessing(
        crop=crop,
        resize=resize,
        squash=mode == "squash",
        convention="timm" if resize < crop else "torchvision",
        interpolation=_interpolation(config.get("interpolation", "bicubic"), where),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def from_torchvision(transform: Any, *, where: str) -> Preprocessing:
    """Translate the ``transforms()`` of torchvision's weights."""
    try:
        (crop,), (resize,) = transform.crop_size, transform.resize_size
        interpolation, mean, std = transform.interpolation.value, transform.mean, transform.std
    except (AttributeError, TypeError, ValueError) as error:
        raise _refuse(f"{transform!r}", where) from error
    return Preprocessing(
        crop=crop,
        resize=resize,
        interpolation=_interpolation(interpolation, where),
        mean=tuple(mean),
        std=tuple(std),
    )


_HALF = ((0.5,) * 3, (0.5,) * 3)
_IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True, slots=True)
class _Processor:
    """What an image processor of transformers takes where its configuration is silent.

    None stands for a value that differs between versions of transformers.
    """

    size: int | None
    is_squash: bool  # a size of one number is that of both edges, else of the shorter one
    resample: int | None
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None
    crop: int | None = None  # size of the centre crop
    is_cropped: bool | None = True
    never_crops: bool = False
    is_normalized: bool = True
    keys: tuple[str, ...] = ()  # that only this processor reads


def _resizer(size: int, resample: int | None, statistics: Any, **changes: Any) -> _Processor:
    """A processor that resizes both edges and cuts nothing."""
    return _Processor(
        size, True, resample, statistics, is_cropped=False, never_crops=True, **changes
    )


_PROCESSORS = {  # by the beginning of image_processor_type
    "": _Processor(None, True, None, None, is_cropped=None),  # where none is named
    "Beit": _Processor(None, True, 3, _HALF, crop=224, is_cropped=None),
    "Bit": _Processor(224, False, 3, _CLIP, crop=224),
    "Blip": _resizer(384, 3, _CLIP),
    "CLIP": _Processor(224, False, 3, _CLIP, crop=224),
    "ConvNext": _Processor(
        384, False, None, _HALF, is_cropped=False, never_crops=True, keys=("crop_pct",)
    ),
    "DINOv3ViT": _resizer(224, 2, _IMAGENET),
    "DeiT": _Processor(256, True, 3, _HALF, crop=224),
    "EfficientFormer": _Processor(224, True, 3, _IMAGENET, crop=224),
    "EfficientNet": _Processor(
        346,
        True,
        None,
        _HALF,
        crop=289,
        is_cropped=False,
        keys=("include_top", "rescale_offset"),
    ),
    "Levit": _Processor(224, False, 3, _IMAGENET, crop=224),
    "MobileNetV1": _Processor(256, False, 2, _HALF, crop=224),
    "MobileNetV2": _Processor(256, False, 2, _HALF, crop=224),
    "MobileViT": _Processor(
        224,
        False,
        None,
        None,
        crop=256,
        is_normalized=False,
        keys=("do_flip_channel_order",),
    ),
    "Perceiver": _Processor(224, True, 3, _IMAGENET, crop=256),
    "PoolFormer": _Processor(224, False, 3, _IMAGENET, crop=224, keys=("crop_pct",)),
    "Pvt": _resizer(224, None, _IMAGENET),
    "RTDetr": _resizer(640, 2, _IMAGENET, is_normalized=False),
    "Segformer": _resizer(512, 2, _IMAGENET),
    "Siglip": _resizer(224, 3, _HALF),
    "ViT": _resizer(224, 2, _HALF),
    "ViTHybrid": _Processor(224, False, 3, _CLIP, crop=224),
}
_PROCESSOR_OF = {  # by model_type, for configurations that name no processor
    "beit": "Beit",
    "bit": "Bit",
    "clip": "CLIP",
    "convnext": "ConvNext",
    "convnextv2": "ConvNext",
    "cvt": "ConvNext",
    "data2vec-vision": "Beit",
    "deit": "DeiT",
    "dinat": "ViT",
    "dinov2": "Bit",
    "dinov2_with_registers": "Bit",
    "dinov3_vit": "DINOv3ViT",
    "efficientformer": "EfficientFormer",
    "efficientnet": "EfficientNet",
    "focalnet": "Bit",
    "hgnet_v2": "RTDetr",
    "hiera": "Bit",
    "ijepa": "ViT",
    "levit": "Levit",
    "metaclip_2": "CLIP",
    "mobilenet_v1": "MobileNetV1",
    "mobilenet_v2": "MobileNetV2",
    "mobilevit": "MobileViT",
    "mobilevitv2": "MobileViT",
    "nat": "ViT",
    "perceiver": "Perceiver",
    "poolformer": "PoolFormer",
    "pvt": "Pvt",
    "pvt_v2": "Pvt",
    "regnet": "ConvNext",
    "resnet": "ConvNext",
    "segformer": "Segformer",
    "siglip": "Siglip",
    "swiftformer": "ViT",
    "swin": "ViT",
    "swinv2": "ViT",
    "van": "ConvNext",
    "vit": "ViT",
    "vit_hybrid": "ViTHybrid",
    "vit_msn": "ViT",
}
_READ = {
    *("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale"),
    *("rescale_factor", "do_normalize", "image_mean", "image_std"),
}
_WITHOUT_EFFECT = {  # on the pixels of an RGB image
    *("image_processor_type", "feature_extractor_type", "processor_class", "_processor_class"),
    *("do_convert_rgb", "do_reduce_labels", "reduce_labels", "return_tensors", "device"),
    *("input_data_format", "disable_grouping", "default_to_square", "_valid_processor_keys"),
    *("format", "do_convert_annotations", "transformers_version", "_name_or_path", "backend"),
}
# Pillow's numbers of its filters, as transformers writes them
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_SQUASHED_FROM = 384  # ConvNeXT resizes in proportion and crops below this size, else it squashes


def from_transformers(
    config: Mapping[str, Any], *, where: str, model_type: str = ""
) -> Preprocessing:
    """Translate a ``preprocessor_config.json`` of transformers.

    Its numbers mean what the image processor that it names makes of them; ``model_type`` (of
    ``config.json``) decides where it names none.

    Raises:
        RunError: If it asks for something else than a square of RGB, or has a key that is not known
            and not off.
    """
    given = {key: value for key, value in config.items() if value is not None}
    name = _find_processor(given, model_type, where)
    processor = _PROCESSORS[name]
    for key, value in given.items():
        known = key in _READ or key in processor.keys or key in _WITHOUT_EFFECT
        if not known and value not in (False, "", [], {}, "channels_first"):
            what = f"{name}ImageProcessor" if name else "image processor without a name"
            raise _refuse(f"{key} = {value!r} of the {what}", where)

    def read(key: str, default: Any) -> Any:
        value = given.get(key, default)
        if value is None:
            raise RunError(
                f"{where} does not say {key}, which has no one default in transformers; name the "
                "preprocessing with --preprocessing"
            )
        return value

    if not read("do_resize", True):
        raise _refuse("images that are not resized", where)
    resize, crop, is_squash = _read_geometry(name, processor, config, read, where)
    is_rescaled = read("do_rescale", True)
    factor = read("rescale_factor", 1 / 255) if is_rescaled else 1.0
    black = -1.0 if is_rescaled and given.get("rescale_offset", False) else 0.0
    mean, std = (0.0,) * 3, (1.0,) * 3
    if name == "MobileViT" and given.get("do_normalize"):
        raise _refuse("do_normalize = True, which MobileViTImageProcessor does not heed,", where)
    if name == "EfficientNet" or read("do_normalize", processor.is_normalized):
        usual = processor.statistics or (None, None)
        mean, std = (
            _read_channels(key, read(key, value), where)
            for key, value in zip(("image_mean", "image_std"), usual, strict=True)
        )
    if name == "EfficientNet":  # divides by std once more for its own classifier
        is_normalized = read("do_normalize", True)
        power = int(is_normalized) + int(read("include_top", True))
        mean = mean if is_normalized else (0.0,) * 3
        std = tuple(value**power for value in std)
    cuts_first = name == "Perceiver" and resize != crop
    return Preprocessing(
        crop=crop,
        resize=resize,
        squash=is_squash,
        convention="perceiver" if cuts_first else "transformers",
        interpolation=_interpolation(
            _FILTERS.get(read("resample", processor.resample), "unknown"), where
        ),
        mean=mean,
        std=std,
        input_range=(black, 255 * factor + black),
        is_bgr=name == "MobileViT" and read("do_flip_channel_order", True),
    )


def _find_processor(given: Mapping[str, Any], model_type: str, where: str) -> str:
    """Return the beginning of the processor's name, a key of `_PROCESSORS`."""
    old = str(given.get("feature_extractor_type", "")).replace("FeatureExtractor", "ImageProcessor")
    full = str(given.get("image_processor_type", old))
    if not full:
        return _PROCESSOR_OF.get(model_type, "")
    for ending in ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor"):
        name = full.removesuffix(ending)
        if name != full and name in _PROCESSORS:
            return name
    raise _refuse(f"image_processor_type {full!r}", where)


def _read_geometry(
    name: str, processor: _Processor, config: Mapping[str, Any], read: Any, where: str
) -> tuple[int, int, bool]:
    """Return the edge after resizing, the crop, and whether both edges are resized."""
    size, is_squash = _read_size("size", read("size", processor.size), processor.is_squash, where)
    usual = processor.is_cropped if name else "crop_size" in config
    is_cropped = read("do_center_crop", usual)
    crop = size
    if is_cropped:
        given = read("crop_size", size if processor.never_crops else processor.crop)
        crop, is_square = _read_size("crop_size", given, True, where)
        if not is_square:
            raise _refuse(f"the crop_size {given!r}", where)
    if name == "ConvNext":  # size is what is left after its own crop
        if is_squash or crop != size:
            raise _refuse(f"a crop of {crop} from the size {read('size', None)!r}", where)
        if size >= _SQUASHED_FROM:
            return size, size, True
        return int(size / (config.get("crop_pct") or 0.875)), size, False
    if processor.never_crops and crop != size:
        raise _refuse(f"do_center_crop = {is_cropped!r}, which only some versions heed,", where)
    if not is_cropped and not is_squash:
        raise _refuse("images of any shape, uncropped", where)
    if name == "Perceiver" and is_cropped:
        if not is_squash or crop < size:
            raise _refuse(f"a crop of {size} / {crop} of the shorter edge", where)
        return crop, size, True
    if name == "PoolFormer" and config.get("crop_pct", 0.9):
        return int(size / config.get("crop_pct", 0.9)), crop, False
    if name == "Levit" and not is_squash:
        return int(256 / 224 * size), crop, False
    return size, crop, is_squash


def _read_size(key: str, size: Any, is_squash: bool, where: str) -> tuple[int, bool]:
    """Return a size in pixels, and whether it is that of both edges."""
    if isinstance(size, int) and not isinstance(size, bool):
        return size, is_squash
    if isinstance(size, (list, tuple)) and len(size) == 2:
        size = {"height": size[0], "width": size[1]}
    if isinstance(size, Mapping):
        edges = {name: value for name, value in size.items() if value is not None}
        if set(edges) == {"shortest_edge"}:
            return int(edges["shortest_edge"]), False
        if set(edges) == {"height", "width"}:
            return _square(edges["height"], edges["width"], where), True
    raise _refuse(f"the {key} {size!r}", where)


def _read_channels(key: str, values: Any, where: str) -> tuple[float, ...]:
    """Return a number for each of three channels."""
    found = [values] * 3 if isinstance(values, (int, float)) else list(values)
    if len(found) != 3:
        raise _refuse(f"{key} {values!r}, not of three channels,", where)
    return tuple(map(float, found))


def _square(height: int, width: int, where: str) -> int:
    if height != width:
        raise _refuse(f"images of {height} x {width}, which are not square", where)
    return int(height)


def _interpolation(name: str, where: str) -> str:
    if name not in INTERPOLATIONS:
        raise _refuse(f"interpolation {name!r}", where)
    return name


def _refuse(what: str, where: str) -> RunError:
    return RunError(
        f"{where} asks for {what}, which this package cannot do; name the nearest preprocessing "
        "with --preprocessing"
    )

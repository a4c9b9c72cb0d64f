"""Wrap any network as a model, float images in [0, 1] in and checked logits out, and ensembles."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.errors import RunError
from augmix.metrics.scores import SUM_TOLERANCE, are_probabilities
from augmix.models.layers import Images, Logits, Normalize
from augmix.models.preprocessing import Preprocessing

Outputs = Literal["logits", "probabilities"]
_HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """The options of `open_model`; see there."""

    preprocessing: Preprocessing | None = None
    num_classes: int | None = None
    pretrained: bool = True
    test_input_size: bool = False
    outputs: Outputs = "logits"
    use_ema: bool = False


class OpenedModel(nn.Module):
    """A model as `open_model` returns it; all but ``hint`` are its attributes too.

    Args:
        network: Takes normalised images `batch channel height width`, gives logits `batch class`,
            alone or as ``logits`` of a record or dict. It may compute in any type of floats.
        name: Its name in results, e.g. ``timm:resnet50.a1_in1k``.
        fingerprint: Sha256 of the weights (the default), of the file, or of the code if there are
            no weights.
        num_classes: Logits per image; None until the first batch for models that do not say.
        class_names: None if they are unknown.
        preprocessing: How its images are prepared; range, mean and std become the first layer. None
            takes images as the source stores them, in [0, 1].
        hint: What the user can do when the network fails, for the message.
        note: What the user should know about the choices made, or empty.
        outputs: Whether the network gives logits or probabilities, whose logarithms are then the
            model's logits.
        temperature: Divides the logits for calibrated confidences, where a file says it.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        fingerprint: str | None = None,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        hint: str = "its preprocessing must fit the images (--preprocessing, --crop)",
        note: str = "",
        outputs: Outputs = "logits",
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.name = name
        self.temperature = temperature
        self.num_classes = num_classes
        self.class_names = None if class_names is None else tuple(class_names)
        self.preprocessing = preprocessing
        self._fingerprint = fingerprint
        self.normalization = build_normalization(preprocessing) if preprocessing else nn.Identity()
        self.network = network
        self.note = note
        self.outputs = outputs
        self._is_checked = False
        self._hint = hint

    @property
    def fingerprint(self) -> str:
        """Sha256 of the weights as they are now, or of the file or code if there are none."""
        return self._fingerprint or hash_weights(self.network)

    def forward(self, images: Images) -> Logits:
        """Compute the logits of images in [0, 1].

        Raises:
            RunError: If the network fails, or does not give as many logits per image as before, or
                gives probabilities where logits are expected or the reverse.
        """
        normalised = self.normalization(images)
        dtype = float_type(self.network)
        try:
            found: Any = self.network(normalised if dtype is None else normalised.to(dtype))
        except (RunError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            hint = self._hint
            if isinstance(self.network, torch.fx.GraphModule):
                hint = f"{hint}; a program of torch.export takes batches of any size if exported "
                hint += "with dynamic_shapes=({0: torch.export.Dim('batch')},)"
            raise RunError(
                f"{self.name} failed on images of shape {tuple(images.shape)}: "
                f"{type(error).__name__}: {error}; {hint}"
            ) from error
        logits = find_logits(found, self.name, self.num_classes)
        count, is_tensor = len(images), isinstance(logits, Tensor)
        is_matrix = is_tensor and logits.ndim == 2 and logits.is_floating_point()
        if not is_matrix or len(logits) != count:
            shape = f"{logits.dtype} of shape {tuple(logits.shape)}" if is_tensor else ""
            got = shape or type(logits).__name__
            raise RunError(
                f"{self.name} must give float logits [batch class] with {count} rows "
                f"for {count} images, got {got}"
            )
        if self.num_classes is None:
            self.num_classes = logits.shape[1]
        if logits.shape[1] != self.num_classes:
            raise RunError(
                f"{self.name} must give {self.num_classes} logits per image, got {logits.shape[1]}"
            )
        return self._check_outputs(logits)

    def _check_outputs(self, found: Tensor) -> Logits:
        """Return the logits, of probabilities their logarithms; refuse what was not expected.

        Logits are checked in the first batch only, since a GPU has to wait for it.
        """
        if self.outputs == "probabilities":
            if not bool(is_softmax(found).all()):
                raise RunError(
                    f"{self.name} must give probabilities, rows in [0, 1] that sum to 1, got "
                    f"values from {found.min():.4g} to {found.max():.4g}; leave out --outputs "
                    "probabilities if they are logits"
                )
            wide = found.double() if found.device.type != "mps" else found.float()
            return wide.clamp_min(torch.finfo(torch.float32).tiny).log()
        if not self._is_checked:
            refuse_probabilities(found, self.name)
            self._is_checked = True
        return found

    def train(self, mode: bool = True) -> "OpenedModel":
        """Set the mode of the network; a program of torch.export keeps the one it has."""
        self.training = mode
        for module in self.children():
            try:
                module.train(mode)
            except NotImplementedError:
                continue
        return self


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; every module's mode is restored at the end."""
    modes = {module: module.training for module in model.modules()}
    with suppress(NotImplementedError):  # a program of torch.export keeps its mode
        model.eval()
    try:
        yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training


def find_logits(found: Any, name: str, num_classes: int | None = None) -> Any:
    """Return the logits of a model's output: itself, or ``logits`` of a record or dict.

    Of another record, dict or tuple it is the only output, or the only one of ``batch class`` with
    the number of classes; of a tuple with several the first, behind which come those of auxiliary
    classifiers.

    Raises:
        RunError: If there are several outputs, and none of these is the logits.
    """
    own = found.get("logits") if isinstance(found, Mapping) else getattr(found, "logits", None)
    if isinstance(own, Tensor):
        return own
    if isinstance(found, (tuple, list)) and len(found) == 1:
        return found[0]
    if isinstance(found, (tuple, list, Mapping)):
        outputs = list(found.values()) if isinstance(found, Mapping) else list(found)
        fits = [
            each
            for each in outputs
            if isinstance(each, Tensor) and each.ndim == 2 and each.shape[1] == num_classes
        ]
        if len(fits) == 1 or (fits and not isinstance(found, Mapping)):
            return fits[0]
    if isinstance(found, (tuple, list, Mapping)):
        keys = list(found) if isinstance(found, Mapping) else range(len(found))
        shown = ", ".join(
            f"{key!r}: {tuple(getattr(found[key], 'shape', ())) or type(found[key]).__name__}"
            for key in keys
        )
        raise RunError(
            f"{name} must give logits, got {type(found).__name__} of several outputs ({shown}); "
            "make a module of yours whose forward returns its logits alone, e.g. "
            f"self.model(images)[{next(iter(keys), 0)!r}], and name a function that makes it "
            "as python:FILE.py:FUNCTION"
        )
    return found


def is_softmax(found: Tensor) -> Bool[np.ndarray, " image"]:
    """Return which rows of a model's output are probabilities."""
    rows = found.detach().to("cpu").double().numpy()
    return are_probabilities(rows, tolerance=SUM_TOLERANCE[found.dtype in _HALVES])


def refuse_probabilities(found: Tensor, name: str) -> None:
    """Refuse an output all of whose rows are probabilities of several classes, not all 0 or 1."""
    is_single = len(found) == 0 or found.shape[1] < 2 or bool(((found == 0) | (found == 1)).all())
    if not is_single and bool(is_softmax(found).all()):
        raise RunError(
            f"{name} gives probabilities (every row is in [0, 1] and sums to 1), not logits: their "
            "softmax would be nearly uniform. Measure their logarithms by --outputs probabilities "
            '(open_model(..., outputs="probabilities")), or remove the softmax at its end'
        )


def float_type(network: nn.Module) -> torch.dtype | None:
    """Return the type that a network computes in, if that is one and not float32."""
    found = {each.dtype for each in network.parameters() if each.is_floating_point()}
    dtype = found.pop() if len(found) == 1 else None
    return None if dtype == torch.float32 else dtype


class Restricted(nn.Module):
    """Restrict a model to some of its classes, for images of a subset of them.

    A prediction is the best of those classes, and probabilities sum to 1 over them alone. Such
    accuracies are higher than those over all classes and must not be compared with them. It has
    the attributes of an `OpenedModel`; the fingerprint depends on the columns too.

    Args:
        model: A model of `open_model`, or an `Ensemble` of them.
        columns: Indices of its logits in the order wanted, e.g. from `data.classes.match_classes`.
    """

    columns: Tensor

    def __init__(self, model: nn.Module, columns: Int64[np.ndarray, " class"]) -> None:
        super().__init__()
        whole: Any = model
        names: Any = getattr(model, "class_names", None)
        self.model = model
        self.name = f"{whole.name}, {len(columns)} classes"
        self.num_classes = len(columns)
        self.class_names = None
        if names is not None and int(columns.max()) < len(names):
            self.class_names = tuple(names[column] for column in columns)
        self.preprocessing = whole.preprocessing
        self.register_buffer("columns", torch.from_numpy(columns), persistent=False)

    @property
    def fingerprint(self) -> str:
        """Sha256 of the model's fingerprint and of the columns."""
        whole: Any = self.model
        digest = hashlib.sha256(whole.fingerprint.encode())
        digest.update(self.columns.cpu().numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def forward(self, images: Images) -> Logits:
        """Compute the logits of the classes kept.

        Raises:
            RunError: If the model has fewer classes than the class list says.
        """
        logits = self.model(images)
        last = int(self.columns.max())
        if last >= logits.shape[1]:
            raise RunError(
                f"{self.name}: the class list goes up to class {last}, but the model gives "
                f"{logits.shape[1]} logits; is it the list of this model?"
            )
        return logits[:, self.columns]


class _ReverseChannels(nn.Module):
    """RGB to BGR."""

    def forward(self, images: Images) -> Images:
        return images.flip(1)


def build_normalization(preprocessing: Preprocessing) -> nn.Module:
    """Build the layer that applies range, mean, std and order of channels to images in [0, 1]."""
    low, high = preprocessing.input_range
    mean = [(value - low) / (high - low) for value in preprocessing.mean]
    std = [value / (high - low) for value in preprocessing.std]
    layer = Normalize(mean, std, is_shared=True)
    return nn.Sequential(_ReverseChannels(), layer) if preprocessing.is_bgr else layer


def hash_weights(model: nn.Module) -> str:
    """Compute the sha256 of the names, types, shapes and values of a model's state."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        _hash_value(digest, name, value)
    return digest.hexdigest()


def _hash_value(digest: Any, name: str, value: Any) -> None:
    """Add an entry of a state dict; quantised modules have other values than tensors there too."""
    if isinstance(value, (tuple, list)):
        for index, each in enumerate(value):
            _hash_value(digest, f"{name}.{index}", each)
    elif not isinstance(value, Tensor):
        digest.update(f"{name} {value!r}\n".encode())
    elif value.is_quantized:
        is_one = value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric)
        ways = (value.q_scale, value.q_zero_point)
        if not is_one:
            ways = (value.q_per_channel_scales, value.q_per_channel_zero_points)
        _hash_value(digest, name, (value.int_repr(), *(way() for way in ways)))
    else:
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())


class Ensemble(nn.Module):
    """Average the softmax probabilities of several models (a deep ensemble, if seeds differ).

    Its logits are the logarithms of the mean probabilities, whose softmax is the mean itself.
    ``num_classes``, ``class_names`` and ``preprocessing`` are those of the first member that has
    them, else None.

    Args:
        members: At least one model that maps images in [0, 1] to logits.

    Raises:
        ValueError: If there is no member, or they differ in classes or in image geometry.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one member, got none")
        self.members = nn.ModuleList(members)
        counts = {name_of(each): num_classes_of(each) for each in members}
        known = {num_classes_of(each) for each in members} - {None}
        if len(known) > 1:
            shown = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
            raise ValueError(f"the members of an ensemble must have the same classes, got {shown}")
        self.num_classes = known.pop() if known else None
        self.class_names = next(_known(members, "class_names"), None)
        geometries = [each.geometry for each in _known(members, "preprocessing")]
        if any(geometry != geometries[0] for geometry in geometries):
            raise ValueError(
                "the members of an ensemble get the same images, but ask for different geometries: "
                f"{geometries}; open them with one preprocessing"
            )
        self.preprocessing = next(_known(members, "preprocessing"), None)
        self.name = f"ensemble of {len(members)}: {', '.join(map(name_of, members))}"

    @property
    def fingerprint(self) -> str:
        """Sha256 of the members' fingerprints, in order.

        Raises:
            ValueError: If a member has none (models of `open_model` have one).
        """
        hasher = hashlib.sha256()
        for member in self.members:
            own: Any = getattr(member, "fingerprint", None)
            if own is None:
                raise ValueError(
                    f"member {name_of(member)} has no fingerprint; open it with open_model"
                )
            hasher.update(f"{own}\n".encode())
        return hasher.hexdigest()

    def forward(self, images: Images) -> Logits:
        """Compute the logarithms of the mean probabilities as float32, finite like the logits."""
        return average([member(images) for member in self.members])


def average(logits: Sequence[Logits]) -> Logits:
    """Compute the logarithm of the mean of the softmax probabilities of several models.

    Raises:
        ValueError: If the shapes of their logits differ.

    Example:
        >>> average([torch.tensor([[0.0, 0.0]]), torch.tensor([[100.0, 0.0]])]).exp()
        tensor([[0.7500, 0.2500]])
    """
    shapes = [tuple(each.shape) for each in logits]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"the members of an ensemble must give logits of one shape, got {shapes}; "
            "were they trained on the same classes?"
        )
    wide = torch.float32 if logits[0].device.type == "mps" else torch.float64
    stacked = torch.stack([F.log_softmax(each.to(wide), dim=1) for each in logits])  # member
    mean = torch.logsumexp(stacked, dim=0) - math.log(len(logits))  # batch class
    return mean.clamp(min=torch.finfo(torch.float32).min).float()


def members_of(model: nn.Module) -> list[nn.Module]:
    """Return the members of an ensemble, even of a wrapped one; else the model itself."""
    for module in model.modules():
        if isinstance(module, Ensemble):
            return list(module.members)
    return [model]


def name_of(model: nn.Module) -> str:
    """Return a model's name: its own, its configuration's, or that of its class."""
    own = _own_or_config(model, "name")
    return own if isinstance(own, str) else type(model).__name__


def num_classes_of(model: nn.Module) -> int | None:
    """Return the number of logits a model gives, if it says so."""
    own = _own_or_config(model, "num_classes")
    return own if isinstance(own, int) else None


def _own_or_config(model: nn.Module, name: str) -> Any:
    return getattr(model, name, None) or getattr(getattr(model, "config", None), name, None)


def _known(members: Sequence[nn.Module], name: str) -> Iterator[Any]:
    """Yield an attribute of the members that have it."""
    return filter(None, (getattr(each, name, None) for each in members))

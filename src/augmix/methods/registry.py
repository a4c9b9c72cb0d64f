"""The base of all methods, and the registry of their names.

A method is a frozen dataclass: the policy that draws the views, and the options of the loss. Its
fields are the flags of ``augmix train --method NAME``, and the string under a field is its help.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from augmix.augment.policies import Cutout, Policy, Standard
from augmix.errors import RunError, check_name, check_positive
from augmix.files import hash_file
from augmix.user_code import PREFIX, hash_module, import_object

_JSD_VIEWS = 2  # beside the clean image, as in AugMix
_MANY_CLASSES = 10  # above, the holes of Cutout are those published for CIFAR-100

METHODS: "dict[str, type[Method]]" = {}
"""Every method by its name; `register_method` adds to it."""

MethodClass = TypeVar("MethodClass", bound="type[Method]")


@runtime_checkable
class Objective(Protocol):
    """Anything called with a model, the views of a batch and its targets that returns a loss."""

    def __call__(self, model: Any, views: Any, targets: Any, /) -> Any:
        """Compute the `losses.Loss` of views ``view batch channel height width`` in [0, 1]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingImages:
    """What a method may adapt to."""

    size: tuple[int, int] = (32, 32)  # height and width, px
    num_classes: int = 10
    mean: tuple[float, ...] = (0.5,)  # what the model subtracts from each channel
    crop_padding: int = 0  # border of the random crop, px, where the policy has none of its own
    flip: bool = False  # whether to mirror half of the images


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One view of every image, and cross-entropy: the base of every method.

    A subclass declares its policy and the options of its loss as fields, and overrides `objective`,
    `has_clean` or a field ``num_views`` where it needs more than one view. The first line of its
    docstring says what it does; `register_method` makes it known to the command line.
    """

    policy: Policy = field(default_factory=Standard)
    """Draws the views of every image."""
    label_smoothing: float = 0.0
    """Fraction of the target spread evenly over all classes, in [0, 1)."""

    name: ClassVar[str] = ""  # as registered
    title: ClassVar[str] = ""  # in the tables of the paper
    source: ClassVar[str] = ""  # where it was published
    has_clean: ClassVar[bool] = False  # whether the clean image goes in front of the drawn views
    needs_stylised: ClassVar[bool] = False  # whether it trains on stylised copies of images too
    weight_decay: ClassVar[float | None] = None  # published, where not the network's
    flag_prefix: ClassVar[str] = ""  # of the flags of its policy, so that methods can be combined
    code_sha256: ClassVar[str] = ""  # of the file of a method named python:FILE:CLASS
    is_compilable: ClassVar[bool] = True  # whether every step runs the same operations

    def __post_init__(self) -> None:
        check_loss_options(label_smoothing=self.label_smoothing)

    @property
    def num_views(self) -> int:
        """Views the policy draws of every image."""
        return 1

    @property
    def num_passed(self) -> int:
        """Views of an image that pass through the network at once."""
        return self.num_views + self.has_clean

    @property
    def num_attacks(self) -> int:
        """Steps of an attack on every image, forward and backward passes of their own."""
        return 0

    @property
    def splits_batch_norm(self) -> bool:
        """Whether the views behind the first one have batch norms of their own."""
        return False

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        from augmix.methods.losses import CrossEntropy

        return CrossEntropy(label_smoothing=self.label_smoothing)

    def network_name(self, name: str) -> str:
        """The network that is trained where the one called ``name`` is asked for."""
        return name

    def check_network(self, model: Any) -> None:
        """Refuse (RunError) a network that the method cannot train."""

    def fit(self, images: TrainingImages) -> "Method":
        """Return the method with everything filled in that depends on the images."""
        return replace(self, policy=fit_policy(self.policy, images))

    @classmethod
    def summary(cls) -> str:
        """What the method does, in one line."""
        text = (cls.__doc__ or "").strip().splitlines()[0].rstrip(".")
        first, space, rest = text.partition(" ")
        return (first.lower() if first.istitle() else first) + space + rest

    def __str__(self) -> str:
        """The name, and behind it those of the policies laid over its own: ``augmix+mixup``."""
        return "+".join([self.name or type(self).__name__, *reversed(laid_over(self).values())])


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionalConsistency(Method):
    """One view in place of the image; with a weight, the clean image and two views as in AugMix."""

    jsd_weight: float = 0.0
    """Weight of the consistency loss, e.g. 12: above 0 every step has the clean image and two views
    of each, as AugMix has; 0 is one view and cross-entropy."""
    jsd_views: int = _JSD_VIEWS
    """Views beside the clean image where there is a consistency loss, at least 1; 1 takes two
    passes a step in place of three."""

    def __post_init__(self) -> None:
        check_loss_options(jsd_weight=self.jsd_weight, label_smoothing=self.label_smoothing)
        check_positive(self, "jsd_views")
        if not self.jsd_weight and self.jsd_views != _JSD_VIEWS:
            raise ValueError(
                f"jsd_views {self.jsd_views} would do nothing without a consistency loss: give "
                "jsd_weight too (--jsd-weight 12)"
            )

    @property
    def has_clean(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the clean image goes in front of the drawn views."""
        return self.jsd_weight > 0

    @property
    def num_views(self) -> int:
        """Views the policy draws of every image."""
        return self.jsd_views if self.jsd_weight else 1

    @property
    def objective(self) -> Objective:
        """Cross-entropy, or cross-entropy of the clean image and the consistency of all views."""
        from augmix.methods.losses import Consistency, CrossEntropy

        if not self.jsd_weight:
            return CrossEntropy(label_smoothing=self.label_smoothing)
        return Consistency(weight=self.jsd_weight, label_smoothing=self.label_smoothing)


def register_method(name: str) -> Callable[[MethodClass], MethodClass]:
    """Make a method known to `build_method` and ``augmix train --method`` as ``lower-case-words``.

    Raises:
        ValueError: If the name is taken.

    Example:
        >>> @register_method("plain")
        ... @dataclass(frozen=True, slots=True, kw_only=True)
        ... class Plain(Method):
        ...     '''Images as they are; cross-entropy.'''
        >>> str(build_method("plain"))
        'plain'
        >>> del METHODS["plain"]
    """

    def register(cls: MethodClass) -> MethodClass:
        before = METHODS.get(name)
        origin = (cls.__module__, cls.__qualname__)
        is_again = before is not None and origin == (before.__module__, before.__qualname__)
        if (before is not None and not is_again) or "+" in name:  # a cell or file may run twice
            raise ValueError(f"method name {name!r} is taken, or holds a '+'; choose another")
        cls.name = name
        METHODS[name] = cls
        return cls

    return register


def find_method(name: str) -> type[Method]:
    """Find the class of a method.

    Raises:
        ValueError: If no method has that name; the message suggests the nearest.
    """
    check_name("method", name, sorted(METHODS))
    return METHODS[name]


def build_method(name: str) -> Method:
    """Build a method with its defaults.

    Args:
        name: A key of `METHODS`; ``augmix+cutout`` lays the policy of the second over the first,
            whose loss and number of views stay. Or ``python:MODULE:CLASS``, a method of your own.

    Raises:
        ValueError: If no method has that name, or a policy cannot be laid over another.
        RunError: If there is no such module, or no method in it.

    Example:
        >>> build_method("augmix").num_views
        2
    """
    if name.startswith(PREFIX):
        return _import_method(name)()
    first, *others = name.split("+")
    method, layers = find_method(first)(), layer_names()
    for other in others:
        layer: Any = find_method(other)().policy
        if other not in layers:
            raise ValueError(f"{other} cannot be laid over {first}; these can: {', '.join(layers)}")
        if any(type(layer) is type(below) for below in layers_of(method.policy)):
            raise ValueError(f"{name} has the policy of {other} twice; leave out one of them")
        method = replace(method, policy=replace(layer, base=method.policy))
    return method


_IMPORTED: "dict[tuple[str, str], type[Method]]" = {}  # by text, and sha256 of the file


def _import_method(text: str) -> type[Method]:
    """A method of the user's own code, which is named by its text; imported once."""
    location = text.removeprefix(PREFIX).rpartition(":")[0]
    path = Path(location).expanduser()
    is_file = location.endswith(".py") and path.is_file()
    key = text, hash_file(path) if is_file else ""
    if key not in _IMPORTED:
        module, found = import_object(text)
        if not (isinstance(found, type) and issubclass(found, Method)):
            raise RunError(
                f"{text} must be a class derived from augmix.methods.Method, got {found!r}"
            )
        if not (is_dataclass(found) and "__dataclass_fields__" in vars(found)):
            raise RunError(
                f"{text} must be a dataclass: write @dataclass(frozen=True, slots=True, "
                "kw_only=True) above the class"
            )
        found.name, found.code_sha256 = text, hash_module(module)
        _IMPORTED[key] = found
    return _IMPORTED[key]


def layers_of(policy: Policy) -> Iterator[Policy]:
    """The policies of a chain of ``base`` fields, the outermost first."""
    layer: Any = policy
    while layer is not None:
        yield layer
        layer = getattr(layer, "base", None)


def fit_policy(policy: Any, images: TrainingImages) -> Any:
    """Fill in what a policy leaves to the images: crop, mirroring, and holes of the model's mean.

    The fields ``crop_padding`` and ``flip`` of any policy count, and ``base`` is filled in too.
    """
    if not is_dataclass(policy):
        return policy
    names = {entry.name for entry in fields(policy)}
    changes: dict[str, Any] = {
        name: getattr(policy, name) or getattr(images, name)
        for name in ("crop_padding", "flip")
        if name in names
    }
    if "base" in names:
        changes["base"] = fit_policy(getattr(policy, "base"), images)  # noqa: B009
    if isinstance(policy, Cutout):
        part = 4 if images.num_classes > _MANY_CLASSES else 2  # DeVries and Taylor (2017)
        changes["size_px"] = policy.size_px or max(min(images.size) // part, 1)
        changes["fill"] = images.mean if policy.fill is None else policy.fill
    return replace(policy, **changes)  # pyright: ignore[reportArgumentType]


def count_base_views(layer: Policy, num_views: int) -> int:
    """How many views of a layer show its base: what it declares (see `policies.Policy`), or all."""
    declared: Any = getattr(layer, "num_base_views", None)
    return num_views if declared is None else declared(num_views)


def check_views(method: Method) -> None:
    """Refuse (ValueError) layers that leave too few views to the policies below them.

    What a layer leaves, and which policies need all views, is what they declare: see
    `policies.Policy`. A layer over `policies.Standard` may leave none.
    """
    layers, num_views = list(layers_of(method.policy)), method.num_views
    for position, layer in enumerate(layers[:-1], start=1):
        below = layers[position:]
        num_left = count_base_views(layer, num_views)
        if not 0 <= num_left <= num_views:
            raise ValueError(
                f"num_base_views({num_views}) of {_policy_name(layer)} must be in 0..{num_views}, "
                f"got {num_left}"
            )
        if num_left == num_views:
            continue
        leaves = f"{_policy_name(layer)} leaves {num_left} of {num_views} views to what is below it"
        for other in below:
            if getattr(other, "has_fixed_views", False):
                name, own = _policy_name(other), _policy_name(layer)
                way_out = f"lay {name} over {own}" if hasattr(other, "base") else f"leave {own} out"
                raise ValueError(f"{leaves}, and {name} needs all of its views: {way_out}")
        if not num_left and not isinstance(below[0], Standard):
            raise ValueError(f"{leaves}, so none shows {_policy_name(below[0])}: take more views")
        num_views = num_left


def _policy_name(policy: Policy) -> str:
    """The first method with a policy of this class, or the name of the class."""
    named = (name for name, method in METHODS.items() if type(method().policy) is type(policy))
    return next(named, type(policy).__name__)


def check_loss_options(*, label_smoothing: float, **weights: float) -> None:
    """Refuse a smoothing not in [0, 1), and a negative or infinite weight (ValueError)."""
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"{name} must be a finite number of at least 0, got {weight}")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")


def laid_over(method: Method) -> dict[type, str]:
    """The methods whose policies lie over a method's own, by the policy's class; outermost first.

    Example:
        >>> list(laid_over(build_method("augmix+mixup+cutout")).values())
        ['cutout', 'mixup']
    """
    own, layers = type(type(method)().policy), _find_layers()
    found = {}
    for layer in layers_of(method.policy):
        if type(layer) is own:
            break
        if type(layer) in layers:
            found[type(layer)] = layers[type(layer)]
    return found


def layer_names() -> list[str]:
    """The methods whose policies can lie over those of others."""
    return sorted(_find_layers().values())


def _find_layers() -> dict[type, str]:
    """The methods whose policy can lie over any other, by its class: those over plain images."""
    found: dict[type, str] = {}
    for name, method in METHODS.items():
        policy = method().policy
        if isinstance(getattr(policy, "base", None), Standard):
            found.setdefault(type(policy), name)
    return found

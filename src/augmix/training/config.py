"""Configuration of a training run and the published recipes.

``augmix train --recipe imagenet --data DIR`` is the whole of it; every other flag stands above the
recipe. What the paper itself states for ImageNet could not be checked at its source; the rows say
where each comes from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from augmix import distributed
from augmix.augment import Executor
from augmix.augment.policies import AugMix, CutMix, Mixup
from augmix.data.decode import ResizedCrop
from augmix.data.derived import mix, open_stylised, take
from augmix.data.sources import Source, open_source
from augmix.data.stores import default_threads
from augmix.errors import did_you_mean
from augmix.methods.attacks import Attack
from augmix.methods.registry import Method, Options, build_method, find_row
from augmix.models import BLURRED, find_family, maxblur_name

LAST_LEARNING_RATE = 1e-6  # where the schedules end (released code)
_WARM_UP = 0.3  # share of a one-cycle schedule
_FIRST_SHARE = 1 / 25  # of the peak, where a one-cycle schedule starts
_DROP = 10  # what a step schedule divides by
_ROUNDING = 1e-9  # so that 0.29 of 100 epochs are 29, whatever floats make of it

Schedule = Literal["cosine", "one-cycle", "step"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a model is optimised; the defaults are the paper's for WideResNet on CIFAR."""

    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 128
    """Images in a step; the last batch of an epoch may be smaller."""
    learning_rate: float = 0.1
    """Peak learning rate of SGD."""
    base_batch_size: int = 0
    """Batch size the learning rate is meant for; it is scaled in proportion to another (Goyal et
    al. 2017). 0 takes it as it is."""
    momentum: float = 0.9
    """Momentum, 0 up to below 1; 0 is plain SGD."""
    nesterov: bool = True
    """Momentum in Nesterov's form."""
    weight_decay: float = 5e-4
    """Weight decay on all parameters, biases and batch norm included."""
    schedule: Schedule = "cosine"
    """Learning rate by step: cosine from the peak; one-cycle: up for 30 % of it, then down; or
    step: the peak, divided by 10 at each of DECAY_AT."""
    decay_at: tuple[float, ...] = (1 / 3, 2 / 3)
    """Shares of the epochs, rounded down to whole ones, at which the step schedule goes down."""
    warm_up_epochs: float = 0.0
    """Epochs in which the rate climbs to the peak in equal steps, before or within the schedule."""
    clip_norm: float = 0.0
    """Length that the gradient of all weights together is cut down to; 0 leaves it as it is."""
    ema_decay: float = 0.0
    """Share of a moving average of the weights that stays at every step, e.g. 0.999; the model the
    run leaves is that average, its batch norm measured anew. 0 takes no average."""
    accumulate: int = 1
    """Parts that a batch is learned from one after another before the weights move: less memory for
    the same recipe, but batch norm sees a part at a time."""
    sync_batch_norm: bool = True
    """Of several processes: batch norm over the images of all of them, as one process has it."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the network: float32, or bfloat16 or float16 (its gradient scaled) by autocast.
    """
    channels_last: bool = False
    """Keep the channels of a pixel together in memory; faster on recent GPUs and CPUs with bf16."""
    compile: bool = False
    """Compile the network by torch.compile: takes a minute or so, then steps are faster."""
    deterministic: bool = False
    """Take only operations that give the same bits each time, on GPUs too; slower there."""
    seed: int = 0
    """The one number all randomness of the run follows from."""
    num_threads: int = 1
    """Threads that prepare views while the model computes."""
    executor: Executor = "auto"
    """What renders the views; all executors of a CPU give the same bits."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    log_every: int = 20
    """Steps between lines of the log; each epoch ends with one too."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay_at", tuple(self.decay_at))  # JSON gives a list
        for name in ("epochs", "batch_size", "num_threads", "checkpoint_every", "log_every"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        rate = self.learning_rate
        _require(0 < rate < math.inf, "learning_rate", "a finite number above 0", rate)
        _require(0 <= self.momentum < 1, "momentum", "0 up to below 1", self.momentum)
        decay = self.weight_decay
        _require(0 <= decay < math.inf, "weight_decay", "a finite number from 0", decay)
        _require(0 <= self.seed < 2**64, "seed", "0..2**64 - 1", self.seed)
        schedules = get_args(Schedule)
        _require(self.schedule in schedules, "schedule", f"one of {schedules}", self.schedule)
        _require(self.base_batch_size >= 0, "base_batch_size", "at least 0", self.base_batch_size)
        is_rising = list(self.decay_at) == sorted(set(self.decay_at))
        is_inside = all(0 < share < 1 for share in self.decay_at)
        _require(is_rising and is_inside, "decay_at", "rising shares in (0, 1)", self.decay_at)
        warm_up = self.warm_up_epochs
        _require(0 <= warm_up < self.epochs, "warm_up_epochs", f"0 up to {self.epochs}", warm_up)
        is_free = not warm_up or self.schedule != "one-cycle"
        _require(is_free, "warm_up_epochs", "0 with one-cycle, which has its own", warm_up)
        clip = self.clip_norm
        _require(0 <= clip < math.inf, "clip_norm", "a finite number from 0", clip)
        _require(0 <= self.ema_decay < 1, "ema_decay", "0 up to below 1", self.ema_decay)
        parts = self.accumulate
        _require(1 <= parts <= self.batch_size, "accumulate", f"1..{self.batch_size} parts", parts)
        precisions = ("fp32", "bf16", "fp16")
        _require(self.precision in precisions, "precision", f"one of {precisions}", self.precision)

    @property
    def peak(self) -> float:
        """The largest learning rate, for the batch size it is used with."""
        share = self.batch_size / self.base_batch_size if self.base_batch_size else 1.0
        return self.learning_rate * share

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, counted from the start of the run."""
        epochs = (math.floor(share * self.epochs + _ROUNDING) for share in self.decay_at)
        return learning_rate(
            step,
            self.epochs * steps_per_epoch,
            peak=self.peak,
            schedule=self.schedule,
            warm_up=round(self.warm_up_epochs * steps_per_epoch),
            drops=[epoch * steps_per_epoch for epoch in epochs],
        )


def learning_rate(
    step: int,
    num_steps: int,
    *,
    peak: float,
    schedule: Schedule,
    warm_up: int = 0,
    drops: Sequence[int] = (),
) -> float:
    """The learning rate of a step, a function of the step alone.

    ``cosine`` is the released code's: peak * (r + (1 - r) * (1 + cos(pi t / T)) / 2) with
    r = 1e-6 / peak, so step 0 has the peak. ``one-cycle`` climbs linearly from peak / 25 over the
    first 30 % of the steps and then falls by the same cosine. ``step`` is the peak, divided by 10
    for each of ``drops`` that was reached.

    Args:
        step: 0 .. num_steps - 1.
        num_steps: Steps of the whole run.
        peak: Largest learning rate.
        schedule: ``cosine``, ``one-cycle`` or ``step``.
        warm_up: Steps in which the rate climbs from peak / warm_up to the peak. A cosine begins
            after them; drops are counted from the start of the run.
        drops: Steps from which on a ``step`` schedule is lower.

    Example:
        >>> round(learning_rate(25, 100, peak=0.1, schedule="cosine"), 8)
        0.08535549
    """
    if step < warm_up:
        return peak * (step + 1) / warm_up
    if schedule == "step":
        return peak / _DROP ** sum(step >= drop for drop in drops)
    if schedule == "one-cycle":
        warm_up = int(_WARM_UP * num_steps)
        if step < warm_up:
            return peak * (_FIRST_SHARE + (1 - _FIRST_SHARE) * step / warm_up)
    share = (step - warm_up) / (num_steps - warm_up)
    last = min(LAST_LEARNING_RATE / peak, 1.0)
    return peak * (last + (1 - last) * (1 + math.cos(math.pi * share)) / 2)


def _require(is_met: bool, name: str, expected: str, got: Any) -> None:
    if not is_met:
        raise ValueError(f"{name} must be {expected}, got {got!r}")


_WEIGHT_DECAY = 5e-4  # of the CIFAR recipe
_SMALL_WEIGHT_DECAY = 1e-4  # published for DenseNet and for the networks of ImageNet
_MEMBER = "seed-{}"  # folder of a member of an ensemble
# settings of one method: their beginning -> the method
_OF_METHODS = {
    "autoaugment_": "autoaugment",
    "patch_": "patch-uniform",
    "adversarial_": "adversarial",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(Recipe):
    """One training run: one model, by one method, on one source.

    A weight decay left to the method is settled here, so `dataclasses.replace` with another method
    keeps it: make a new configuration instead.
    """

    weight_decay: float = -1.0
    """Weight decay on all parameters; -1 is the published one: 1e-4 for mixup, DenseNet and the
    ImageNet networks, else 5e-4."""
    method: str = "augmix"
    """How it learns: standard, cutout, mixup, cutmix, autoaugment, random-aa, random-aa-jsd,
    patch-uniform, adversarial, maxblur, sin, augmix, augmix-no-jsd, augmix-sin."""
    model: str = "wrn-40-2"
    """What learns, e.g. small, allconv, wrn-40-2, densenet-bc-100-12, resnext-29-32x4d, resnet50;
    with -maxblur behind it, pooled without aliasing."""
    seeds: int = 1
    """Runs to train, of seeds SEED, SEED + 1, ...; several are an ensemble, in OUT/seed-..."""
    source: str = "cifar10"
    """From what: digits, cifar10, cifar100, folder, parquet, npz, tar, imagenet."""
    data: str = ""
    """Folder or file of the source; digits needs none."""
    stylised: str = ""
    """Stylised copies of the training images, trained on beside them (augmix stylize)."""
    download: bool = False
    """Fetch the data set if it is not there."""
    size: int = 0
    """Side of the images in pixels; 0 keeps the stored size, for imagenet takes 224."""
    resized_crop: Literal["auto", "yes", "no"] = "auto"
    """Decode a random part of every image anew in each epoch, of 8 to 100 % of its area, resized to
    SIZE; auto does so for imagenet."""
    reduced_decoding: bool = True
    """Decode JPEGs at 1/2, 1/4 or 1/8 of their size where the crop has 3 times SIZE or more."""
    decode_threads: int = 0
    """Threads that decode a batch; 0 takes this process's share of the processors."""
    on_error: Literal["raise", "skip"] = "raise"
    """What a broken image does: stop the run, or be skipped and counted."""
    max_train_images: int = 0
    """Train on a fixed random part of the images, the same for every seed; 0 takes all."""
    out: Path = Path("runs/run")
    """The run folder; a run of the same settings is continued there."""
    dropout: float = -1.0
    """Share of activations dropped in the network; -1 is that of the published one."""
    blur_size: int = 5
    """Side of the blur of a -maxblur network, 2..5 pixels."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    jsd_weight: float = 12.0
    """Weight of the consistency loss."""
    severity: int = 3
    """Largest level of an AugMix operation, 1..10."""
    width: int = 3
    """AugMix chains that are mixed."""
    depth: int | None = None
    """Operations in a chain; None draws 1, 2 or 3 for each."""
    alpha: float = 1.0
    """Concentration of the mixing weights and the share, above 0."""
    ops: Literal["paper", "all"] = "paper"
    """The paper's 9 operations, or all 13 (4 of which overlap with the test corruptions)."""
    cutout_side: int = -1
    """Side of the square cut out of every view, px, with any method; 0 none, -1 the method's own:
    half the image for cutout, a quarter of it with more than 10 classes."""
    mixup_alpha: float = -1.0
    """Concentration of Mixup's share, with any method; 0 none, -1 the method's own: 1 for mixup."""
    cutmix_probability: float = -1.0
    """Share of the batches that CutMix cuts, with any method; 0 none, -1 the method's own: 0.5 for
    cutmix, 1 above 64 pixels."""
    cutmix_alpha: float = 1.0
    """Concentration of CutMix's share."""
    pairs_per_image: bool = False
    """Mixup and CutMix draw share and box for every image instead of once a batch."""
    autoaugment_table: Literal["auto", "cifar10", "imagenet"] = "auto"
    """Published policy of autoaugment; auto takes the one of ImageNet above 64 pixels."""
    autoaugment_full: bool = False
    """Keep its operations that overlap with the test corruptions."""
    patch_side: int = 0
    """Side of the noise of patch-uniform, px; 0 takes 25 of 32, above 64 pixels any up to 250 of
    224."""
    patch_random_side: bool = False
    """Draw the side of every patch from 0 to PATCH_SIDE."""
    patch_amplitude: float = 1.0
    """Largest noise of patch-uniform, in [0, 1] units; every image draws its own."""
    adversarial_norm: Literal["linf", "l2"] = "linf"
    """What bounds the attack of adversarial training."""
    adversarial_epsilon: float = 0.0
    """Radius of the attack, in [0, 1] units; 0 takes 8/255 for linf, 0.5 for l2."""
    adversarial_steps: int = 10
    """Gradient steps of the attack."""
    adversarial_step_size: float = 0.0
    """Length of a step; 0 takes a quarter of the radius."""
    crop_padding: int = -1
    """Random crop from the image padded by this many pixels; -1 is what is usual for the source."""
    flip: Literal["auto", "yes", "no"] = "auto"
    """Mirror half of the images; auto is what is usual for the source."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the model computes."""
    torch_threads: int = 0
    """CPU threads of torch; 0 leaves torch's own choice."""
    tensorboard: Literal["auto", "yes", "no"] = "auto"
    """Write the log as TensorBoard event files too, in OUT/tensorboard; auto does so where the
    package tensorboard is installed."""

    def __post_init__(self) -> None:
        if self.crop_padding < -1:
            raise ValueError(
                f"crop_padding must be at least 0 pixels, or -1 for the source's own, "
                f"got {self.crop_padding}"
            )
        for name in ("flip", "resized_crop", "tensorboard"):
            if getattr(self, name) not in ("auto", "yes", "no"):
                raise ValueError(
                    f"{name} must be 'auto', 'yes' or 'no', got {getattr(self, name)!r}"
                )
        for name in ("size", "max_train_images", "torch_threads", "decode_threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1 and self.dropout != -1:
            raise ValueError(
                f"dropout must be 0 up to below 1, got {self.dropout} (-1 takes the published one)"
            )
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
        self._check_method()
        if self.weight_decay == -1:
            object.__setattr__(self, "weight_decay", self._usual_weight_decay())
        Recipe.__post_init__(self)

    @property
    def network(self) -> str:
        """The name of the network that is built: the blur-pooled form where the method says so."""
        return maxblur_name(self.model) if find_row(self.method).is_blurred else self.model

    @property
    def is_cropped(self) -> bool:
        """Whether training images are random parts of photographs."""
        return self.resized_crop == "yes" or (
            self.resized_crop == "auto" and self.source == "imagenet"
        )

    def build_method(
        self,
        *,
        crop_padding: int,
        flip: bool,
        size: tuple[int, int] = (32, 32),
        num_classes: int = 10,
        mean: tuple[float, ...] = (0.5,),
    ) -> Method:
        """The row of the table of methods, with this run's options.

        Args:
            crop_padding: Border of the training crop, px.
            flip: Whether images are mirrored.
            size: Height and width of the images, px.
            num_classes: Classes of the images.
            mean: What the model subtracts, which holes show.
        """
        return build_method(
            self.method,
            policy_options=AugMix(
                severity=self.severity,
                width=self.width,
                depth=self.depth,
                alpha=self.alpha,
                ops=self.ops,
                crop_padding=crop_padding,
                flip=flip,
            ),
            options=Options(
                jsd_weight=self.jsd_weight,
                label_smoothing=self.label_smoothing,
                cutout_side=self.cutout_side,
                cutout_fill=mean,
                mixup_alpha=self.mixup_alpha,
                cutmix_probability=self.cutmix_probability,
                cutmix_alpha=self.cutmix_alpha,
                pairs_per_image=self.pairs_per_image,
                autoaugment_table=self.autoaugment_table,
                autoaugment_full=self.autoaugment_full,
                patch_side=self.patch_side,
                patch_random_side=self.patch_random_side,
                patch_amplitude=self.patch_amplitude,
                attack=Attack(
                    norm=self.adversarial_norm,
                    epsilon=self.adversarial_epsilon,
                    num_steps=self.adversarial_steps,
                    step_size=self.adversarial_step_size,
                ),
                size=size,
                num_classes=num_classes,
            ),
        )

    def open_source(self, split: str) -> Source:
        """The images of a split; of the training images those that are trained on."""
        source = open_source(
            self.source,
            root=self.data or None,
            split=split,
            size=self.size,
            crop=ResizedCrop() if split == "train" and self.is_cropped else None,
            is_reduced=self.reduced_decoding,
            download=self.download,
            on_error=self.on_error,
            num_threads=self.decode_threads or _share_of_processors(),
        )
        return self._take(source) if split == "train" else source

    def open_training(self) -> tuple[Source, Source]:
        """The training images, and all that is trained on: their stylised copies too, if any."""
        source = self.open_source("train")
        if not self.stylised:
            return source, source
        return source, mix(source, self._take(open_stylised(self.stylised, source)))

    def member(self, number: int) -> "TrainConfig":
        """The run of one seed of an ensemble."""
        folder = self.out / _MEMBER.format(self.seed + number)
        return replace(self, seeds=1, seed=self.seed + number, out=folder)

    def _take(self, source: Source) -> Source:
        return take(source, self.max_train_images) if self.max_train_images else source

    def _check_method(self) -> None:
        """Refuse settings that do not go together, or that would do nothing."""
        method = self.build_method(crop_padding=0, flip=False)
        if find_row(self.method).needs_stylised and not self.stylised:
            raise ValueError(
                f"method {self.method!r} trains on stylised copies of the images too: name their "
                "folder with --stylised (augmix stylize makes one)"
            )
        idle = {
            prefix: f"method {owner!r}"
            for prefix, owner in _OF_METHODS.items()
            if owner != self.method
        }
        if not isinstance(method.policy, (Mixup, CutMix)):
            idle["pairs_per_image"] = "pairs (method 'mixup' or 'cutmix', or --mixup-alpha 1)"
        if not isinstance(method.policy, CutMix):
            idle["cutmix_alpha"] = "method 'cutmix', or --cutmix-probability 0.5"
        if not self.network.endswith(BLURRED):
            idle["blur_size"] = f"method 'maxblur', or --model {self.model}{BLURRED}"
        for field in fields(self):
            reason = next((why for name, why in idle.items() if field.name.startswith(name)), "")
            if reason and getattr(self, field.name) != field.default:
                raise ValueError(
                    f"{field.name} {getattr(self, field.name)!r} would do nothing with method "
                    f"{self.method!r}: it belongs to {reason}"
                )

    def _usual_weight_decay(self) -> float:
        """The published weight decay of the method, else of the network."""
        family = find_family(self.model)
        is_small = family.size == 224 or family.form.startswith("densenet")
        of_network = _SMALL_WEIGHT_DECAY if is_small else _WEIGHT_DECAY
        return find_row(self.method).recipe.get("weight_decay", of_network)


def _share_of_processors() -> int:
    """Of several processes on a machine, each decodes on its part of it."""
    return max(1, default_threads() // distributed.local_world_size())


_IMAGENET: dict[str, Any] = {
    "source": "imagenet",
    "model": "resnet50",
    "batch_size": 256,
    "base_batch_size": 256,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "severity": 1,
    "width": 3,
    "depth": None,
    "alpha": 1.0,
    "jsd_weight": 12.0,
}

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Hendrycks et al. (2020), section 4.1: WideResNet-40-2 and AllConvNet.
        "cifar": {},
        # The same: DenseNet and ResNeXt.
        "cifar-200": {"epochs": 200},
        # The released imagenet.py: divided by 10 after 30 and 60 of 90 epochs, no Nesterov.
        "imagenet": {**_IMAGENET, "epochs": 90, "schedule": "step", "nesterov": False},
        # The first author's script behind the released weights (77.53 % top-1, 65.3 mCE).
        "imagenet-180": {**_IMAGENET, "epochs": 180, "schedule": "cosine", "nesterov": True},
        # Goyal et al. (2017), whose schedule the paper cites: 5 epochs of warm-up, then down at
        # 30, 60 and 80 of 90 epochs; twice as long.
        "imagenet-goyal": {
            **_IMAGENET,
            "epochs": 180,
            "schedule": "step",
            "decay_at": (30 / 90, 60 / 90, 80 / 90),
            "warm_up_epochs": 5.0,
            "nesterov": True,
        },
    }
)


def build_config(recipe: str, **changes: Any) -> TrainConfig:
    """The settings of a run by a named recipe.

    Args:
        recipe: A key of `RECIPES`.
        changes: Settings that stand above it.

    Raises:
        ValueError: If no recipe has that name (the nearest is suggested), or a setting is wrong.

    Example:
        >>> build_config("imagenet", data="/data/imagenet").severity
        1
    """
    if recipe not in RECIPES:
        hint = did_you_mean(recipe, RECIPES)
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe!r}{hint}")
    return TrainConfig(**{**RECIPES[recipe], **changes})

"""Configuration of a training run: method, network, data, optimisation, validation, run.

Every setting also has a flat name, see `augmix.training.settings`. Nothing here loads torch before
a `TrainConfig` is made, so that ``augmix train --help`` is quick.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from augmix.augment import Executor
from augmix.data import Reading
from augmix.errors import check_fields, check_positive
from augmix.methods import AugMix, Method, TrainingImages
from augmix.methods.registry import check_views, layers_of
from augmix.rng import Stream

LAST_LEARNING_RATE = 1e-6  # where the schedules end (released code)
_WARM_UP = 0.3  # fraction of a one-cycle schedule
_FIRST_FRACTION = 1 / 25  # of the peak, where a one-cycle schedule starts
_DROP = 10  # what a step schedule divides by
_ROUNDING = 1e-9  # so that 0.29 of 100 epochs are 29, whatever floats make of it
_WEIGHT_DECAY = 5e-4  # of the CIFAR recipe
_SMALL_WEIGHT_DECAY = 1e-4  # published for DenseNet and for the networks of ImageNet
_ADAMW_WEIGHT_DECAY = 0.05  # usual for AdamW, whose decay is no part of the gradient
_LEARNING_RATES = {"sgd": 0.1, "adamw": 1e-3}
_BLURRED = "-maxblur"  # end of the name of a blur-pooled network
_RESIDUAL = ("resnet", "resnext")  # networks whose residual blocks end in batch norm

Schedule = Literal["cosine", "one-cycle", "step"]
Precision = Literal["fp32", "bf16", "fp16", "auto"]
DecayedParameters = Literal["all", "no-norms", "weights"]
Optimizer = Literal["sgd", "adamw"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Frozen = Literal["backbone"] | int
Select = Literal["corrupted", "clean", "last"]
LoggerName = Literal["csv", "tensorboard", "wandb", "mlflow", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """The network that is trained."""

    model: str = "wrn-40-2"
    """Network, e.g. small, allconv, wrn-40-2, densenet-bc-100-12, resnext-29-4x32d, resnet50; with
    -maxblur at the end, pooled without aliasing. Or the model to start from: timm:NAME,
    torchvision:NAME, hf:REPO, NAME@FILE, a run folder, or python:FILE:FUNCTION (called with
    num_classes if it takes that); its last layer is replaced where classes differ in number."""
    pretrained: bool | None = None
    """Start timm:, torchvision: and hf: models from the weights that are published, or from random
    ones. None starts from published weights."""
    head: str | None = None
    """Name of the last linear layer of a network from elsewhere, e.g. classifier.3, which is
    replaced where it has not one output for each class; None leaves that to the library."""
    dropout: float | None = None
    """Fraction of activations dropped; None takes that of the published network."""
    blur_size: int | None = None
    """Size of the blur of a -maxblur network, 2..5 pixels; None takes 5."""
    zero_init_last: bool = False
    """Start the last batch-norm scale of every residual block at 0, so that blocks begin as the
    identity (Goyal et al. 2017); for resnet and resnext networks."""

    def __post_init__(self) -> None:
        drop = self.dropout
        check_fields(self, dropout=(drop is None or 0 <= drop < 1, "0 up to below 1"))


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The training images, and how they are decoded, cropped and mirrored."""

    path: str | None = field(default=None, metadata={"flag": "data"})
    """Folder or file of the training images, or digits."""
    source: str | None = None
    """Form of the data: digits, cifar10, cifar100, folder, parquet, npz, tar, imagenet; None goes
    by the data."""
    stylised: str | None = None
    """Stylised copies of the training images, trained on beside them (augmix stylize)."""
    download: bool = False
    """Fetch the data set if it is not there."""
    size: int | None = None
    """Size of the images in pixels; None keeps the stored size, for imagenet takes 224."""
    interpolation: Interpolation | None = None
    """Filter that resizes images; None is that of the model it starts from, else bilinear."""
    resized_crop: bool | None = None
    """Decode another random part of every image in each epoch, of 8 to 100 % of its area, resized
    to SIZE; None does so for imagenet."""
    reduced_decoding: bool = True
    """Decode JPEGs at 1/2, 1/4 or 1/8 of their size where the crop has 3 times SIZE or more."""
    crop_padding: int | None = None
    """Random crop from the image padded by this many black pixels; None is usual for the source."""
    flip: bool | None = None
    """Mirror half of the images; None is usual for the source."""
    max_train_images: int | None = None
    """Train on a fixed random part of the images, the same for every seed; None takes all."""
    decode_threads: int | None = None
    """Threads that decode a batch; None divides the processors among the processes."""
    reading: Reading = field(default_factory=Reading, metadata={"flag": ""})
    """How image files are read."""

    def __post_init__(self) -> None:
        check_positive(self, "size", "max_train_images", "decode_threads")
        is_padding = self.crop_padding is None or self.crop_padding >= 0
        check_fields(self, crop_padding=(is_padding, "at least 0 pixels"))
        if self.path is not None and self.source == "digits" and self.path != "digits":
            raise ValueError(
                f"source 'digits' has no files: leave out --data {self.path}, or --source digits"
            )

    @property
    def kind(self) -> str:
        """The form of the data, as given or by its name.

        Raises:
            ValueError: If nothing says what to train on.
        """
        if self.source is not None:
            return self.source
        if self.path is None:
            raise ValueError(
                "name the training images: --data FOLDER or FILE, or --data digits for the "
                "embedded set"
            )
        from augmix.data.sources import name_source

        return name_source(self.path)

    @property
    def root(self) -> str | None:
        """Folder or file; None for the embedded digits."""
        return None if self.path == "digits" else self.path

    @property
    def is_cropped(self) -> bool:
        """Whether training images are random parts of photographs."""
        return self.source == "imagenet" if self.resized_crop is None else self.resized_crop


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimisationConfig:
    """How the weights are optimised; the defaults are the paper's for WideResNet on CIFAR."""

    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 128
    """Images in a step; the last batch of an epoch may be smaller."""
    optimizer: Optimizer = "sgd"
    """Optimiser: sgd, or adamw (Loshchilov and Hutter 2019), usual for fine-tuning."""
    learning_rate: float | None = None
    """Peak learning rate; None takes 0.1 for sgd, 0.001 for adamw."""
    base_batch_size: int | None = None
    """Batch size the learning rate is meant for; it is scaled in proportion to another (Goyal et
    al. 2017). None takes it as it is."""
    momentum: float = 0.9
    """Momentum of sgd, 0 up to below 1; 0 is plain SGD."""
    nesterov: bool = True
    """Momentum of sgd in Nesterov's form."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decays of adamw's averages of the gradient and its square, 0 up to below 1."""
    eps: float = 1e-8
    """Added by adamw to the root of the mean square, above 0."""
    weight_decay: float | None = None
    """Weight decay of the parameters of WEIGHT_DECAY_ON; None is the published one: 1e-4 for mixup,
    DenseNet and the ImageNet networks, else 5e-4; for adamw 0.05."""
    weight_decay_on: DecayedParameters = "all"
    """Parameters that decay: all; no-norms leaves out scales and shifts of normalisation (Goyal et
    al. 2017); weights leaves out these and biases."""
    layer_decay: float | None = None
    """Factor of the learning rate from every block of the network to the one before it, e.g. 0.75:
    layers near the images change least. None has one rate for all."""
    head_lr_scale: float = 1.0
    """Factor of the learning rate of the last layer, e.g. 10 for a new one."""
    freeze: Frozen | None = None
    """What is not trained: backbone, all but the last layer; or the first N blocks of the network,
    the stem being one. Their batch norm keeps its statistics. None trains all."""
    class_weights: Literal["balanced"] | None = None
    """Weights of the classes in the loss; balanced: n / (number of classes * n of the class), as if
    every class had as many images. None weighs images alike."""
    schedule: Schedule = "cosine"
    """Learning rate by step: cosine from the peak; one-cycle: up for 30 % of the run, then down; or
    step: the peak, divided by 10 at each of DECAY_AT."""
    decay_at: tuple[float, ...] = (1 / 3, 2 / 3)
    """Fractions of the epochs, rounded down to whole ones, at which the step schedule goes down."""
    warm_up_epochs: float = 0.0
    """Epochs in which the rate climbs to the peak in equal steps, before or within the schedule."""
    clip_norm: float | None = None
    """Largest length of the gradient of all weights together; None does not clip."""
    ema_decay: float | None = None
    """Decay of a moving average of the weights, e.g. 0.999; the run then ends with that average,
    its batch norm recomputed. None takes no average."""
    accumulate: int = 1
    """Parts that a batch is split into before the weights are updated: less memory for the same
    recipe, but batch norm normalises over a part at a time."""
    sync_batch_norm: bool = True
    """With several processes: batch norm over the images of all of them, as one process has it."""
    split_batch_norm: bool | None = None
    """While training, batch norm with its own statistics, scales and shifts for all views but the
    first (the clean one, where a method has one), as split_bn of timm; evaluation, averages and
    saved weights use the main set. None does so for afa and augmax."""
    precision: Precision = "fp32"
    """Arithmetic of the network: float32, or bfloat16 or float16 (its gradient scaled) by autocast;
    auto takes bfloat16 where the machine computes the network fast in it."""
    gradient_checkpointing: bool = False
    """Compute activations of blocks a second time instead of keeping them: less memory, slower
    steps. For models of timm and transformers that offer it."""
    channels_last: bool = False
    """Keep the channels of a pixel together in memory; faster on recent GPUs and CPUs with bf16."""
    compile: bool = False
    """Compile the network by torch.compile, with CUDA graphs on one GPU: takes a minute or so, then
    steps are faster."""
    deterministic: bool = False
    """Use only operations that give the same bits each time, on GPUs too; slower there."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay_at", tuple(self.decay_at))
        object.__setattr__(self, "betas", tuple(self.betas))
        rate, decay, clip, ema = (
            *(self.learning_rate, self.weight_decay),
            *(self.clip_norm, self.ema_decay),
        )
        drops, warm_up, frozen = self.decay_at, self.warm_up_epochs, self.freeze
        schedules, precisions = get_args(Schedule), get_args(Precision)
        decayed, optimizers = get_args(DecayedParameters), get_args(Optimizer)
        is_rate = rate is None or 0 < rate < math.inf
        is_layer_decay = self.layer_decay is None or 0 < self.layer_decay <= 1
        is_frozen = frozen in (None, "backbone") or (type(frozen) is int and frozen > 0)
        are_betas = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        is_scale = 0 < self.head_lr_scale < math.inf
        check_positive(self, "epochs", "batch_size", "base_batch_size")
        check_fields(
            self,
            optimizer=(self.optimizer in optimizers, f"one of {optimizers}"),
            learning_rate=(is_rate, "a finite number above 0"),
            momentum=(0 <= self.momentum < 1, "0 up to below 1"),
            betas=(are_betas, "two numbers of 0 up to below 1"),
            eps=(0 < self.eps < math.inf, "a finite number above 0"),
            layer_decay=(is_layer_decay, "above 0 and at most 1"),
            head_lr_scale=(is_scale, "a finite number above 0"),
            freeze=(is_frozen, "'backbone' or a number of blocks, at least 1"),
            class_weights=(self.class_weights in (None, "balanced"), "'balanced'"),
            weight_decay=(decay is None or 0 <= decay < math.inf, "a finite number from 0"),
            weight_decay_on=(self.weight_decay_on in decayed, f"one of {decayed}"),
            schedule=(self.schedule in schedules, f"one of {schedules}"),
            decay_at=(
                list(drops) == sorted(set(drops)) and all(0 < drop < 1 for drop in drops),
                "rising fractions in (0, 1)",
            ),
            warm_up_epochs=(0 <= warm_up < self.epochs, f"0 up to {self.epochs}"),
            clip_norm=(clip is None or 0 < clip < math.inf, "a finite number above 0"),
            ema_decay=(ema is None or 0 < ema < 1, "above 0 and below 1"),
            accumulate=(1 <= self.accumulate <= self.batch_size, f"1..{self.batch_size} parts"),
            precision=(self.precision in precisions, f"one of {precisions}"),
        )
        is_free = not warm_up or self.schedule != "one-cycle"
        check_fields(self, warm_up_epochs=(is_free, "0 with one-cycle, which has its own"))
        if self.schedule != "step" and drops != _DEFAULTS["decay_at"]:
            raise ValueError(
                f"decay_at {drops} would do nothing with schedule {self.schedule!r}: leave it out, "
                "or take schedule 'step'"
            )
        others = ("betas", "eps") if self.optimizer == "sgd" else ("momentum", "nesterov")
        for name in others:
            if getattr(self, name) != _DEFAULTS[name]:
                raise ValueError(
                    f"{name} {getattr(self, name)} would do nothing with optimizer "
                    f"{self.optimizer!r}: leave it out"
                )

    @property
    def peak(self) -> float:
        """The largest learning rate, for the batch size it is used with."""
        base = self.base_batch_size
        rate = self.learning_rate or _LEARNING_RATES[self.optimizer]
        return rate * (self.batch_size / base if base else 1.0)

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, counted from the start of the run."""
        drops = (math.floor(fraction * self.epochs + _ROUNDING) for fraction in self.decay_at)
        return learning_rate(
            step,
            self.epochs * steps_per_epoch,
            peak=self.peak,
            schedule=self.schedule,
            warm_up=round(self.warm_up_epochs * steps_per_epoch),
            drops=[epoch * steps_per_epoch for epoch in drops],
        )


_DEFAULTS = {entry.name: entry.default for entry in fields(OptimisationConfig)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationConfig:
    """Images that are never trained on, measured after each epoch, and what they decide."""

    data: str | None = field(default=None, metadata={"flag": "val"})
    """Folder or file of the validation images."""
    fraction: float | None = field(default=None, metadata={"flag": "val_fraction"})
    """Hold out this fraction of the training images, of every class alike, as validation images;
    the same ones for every seed."""
    select: Select | None = None
    """Epoch whose weights the run keeps: the one with the smallest error on corrupted images, the
    one with the smallest clean error, or the last. None is corrupted where there are validation
    images."""
    patience: int | None = None
    """Stop once this many epochs in a row were not better than the selected one. None trains all
    epochs."""

    def __post_init__(self) -> None:
        check_positive(self, "patience")
        fraction, selects = self.fraction, (None, *get_args(Select))
        check_fields(self, select=(self.select in selects, f"one of {get_args(Select)}"))
        if fraction is not None and not 0 < fraction < 1:
            raise ValueError(f"val_fraction must be above 0 and below 1, got {fraction}")
        if self.data is not None and fraction is not None:
            raise ValueError(
                f"val {self.data!r} names the validation images, so val_fraction {fraction} would "
                "do nothing: leave out one of them"
            )
        if self.patience is not None and self.select == "last":
            raise ValueError(
                f"patience {self.patience} needs a selected epoch: select corrupted or clean"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Where the run is kept, its seed, and the machine it uses."""

    out: Path = Path("runs/run")
    """The run folder; a run of the same settings is continued there."""
    name: str | None = None
    """Name of the run in tables and reports; None is the name of its folder."""
    seed: int = 0
    """The one number from which all randomness of the run follows."""
    seeds: int = 1
    """Number of runs, of seeds SEED, SEED + 1, ...; several are an ensemble, in OUT/seed-..."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device that trains the model."""
    executor: Executor = "auto"
    """What renders the views; all executors of a CPU give the same bits."""
    num_threads: int = 1
    """Threads that prepare views while the model computes; a GPU that holds all images needs none,
    its plans are drawn between two steps."""
    torch_threads: int | None = None
    """CPU threads of torch; None is torch's own choice."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    log_every: int = 20
    """Steps between lines of the log; each epoch ends with one too."""
    logger: tuple[LoggerName, ...] | None = None
    """Where the log goes besides OUT/log.jsonl, one or several: csv (OUT/log.csv), tensorboard
    (OUT/tensorboard), wandb or mlflow, or none. None is tensorboard where it is installed."""

    def __post_init__(self) -> None:
        check_positive(self, "seeds", "num_threads", "checkpoint_every", "log_every")
        check_positive(self, "torch_threads")
        loggers, names = self.logger or (), get_args(LoggerName)
        is_clear = set(loggers) <= set(names) and ("none" not in loggers or len(loggers) == 1)
        check_fields(self, logger=(is_clear, f"some of {names[:-1]}, or none alone"))
        check_fields(self, seed=(0 <= self.seed < 2**64, "0..2**64 - 1"))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One training run: one network, by one method, on one set of images.

    A learning rate of None is replaced here by the usual one of the optimiser, a weight decay of
    None by the published one of the method and the network.

    Example:
        >>> config = TrainConfig(data=DataConfig(path="digits"), run=RunConfig(seed=3))
        >>> config.optimisation.weight_decay
        0.0005
    """

    method: Method = field(default_factory=AugMix)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        self._check()
        decay, rate = self.optimisation.weight_decay, self.optimisation.learning_rate
        if decay is None or rate is None:
            settled = replace(
                self.optimisation,
                learning_rate=rate or _LEARNING_RATES[self.optimisation.optimizer],
                weight_decay=self._published_weight_decay() if decay is None else decay,
            )
            object.__setattr__(self, "optimisation", settled)

    @property
    def network_name(self) -> str:
        """The network that is built: the blur-pooled form where the method says so."""
        from augmix.models.start import network_name

        return self.method.network_name(network_name(self.network.model))

    def member(self, number: int) -> "TrainConfig":
        """The run of one seed of an ensemble."""
        seed = self.run.seed + number
        run = replace(self.run, seeds=1, seed=seed, out=self.run.out / f"seed-{seed}")
        return replace(self, run=run)

    def _check(self) -> None:
        """Refuse settings that do not go together, or that would do nothing."""
        name = str(self.method)
        layers = list(layers_of(self.method.policy))
        if any(getattr(x, "crop_padding", 0) or getattr(x, "flip", False) for x in layers):
            raise ValueError(
                "crop_padding and flip of the policy are settings of the data: set them in "
                "DataConfig"
            )
        has_crop = any(hasattr(layer, "crop_padding") for layer in layers)
        if not has_crop and (self.data.crop_padding or self.data.flip):
            raise ValueError(f"crop_padding and flip would do nothing with method {name!r}")
        if not (self.data.reduced_decoding or self.data.is_cropped):
            raise ValueError(
                "reduced_decoding False would have no effect without resized_crop: only random "
                "parts of photographs are decoded at a reduced size"
            )
        if self.method.needs_stylised and not self.data.stylised:
            raise ValueError(
                f"method {name!r} trains on stylised copies of the images too: name their "
                "folder with --stylised (augmix stylize makes one)"
            )
        if self.network.blur_size is not None and not self.network_name.endswith(_BLURRED):
            raise ValueError(
                f"blur_size {self.network.blur_size} would do nothing with method {name!r}: it "
                f"belongs to method 'maxblur', or --model {self.network.model}{_BLURRED}"
            )
        self._check_network()
        if self.optimisation.compile and not self.method.is_compilable:
            raise ValueError(
                f"method {name!r} runs other operations in every step: leave out compile"
            )
        if self.optimisation.split_batch_norm and self.method.num_passed < 2:
            raise ValueError(
                f"split_batch_norm would do nothing with method {name!r}, by which one view of an "
                "image passes through the network at a time"
            )
        try:  # policies that do not go together say so when they draw
            check_views(self.method)
            fitted = self.method.fit(TrainingImages())
            size, stream = TrainingImages().size, Stream(seed=0)
            num_views = fitted.num_views
            fitted.policy.sample(np.arange(2), num_views=num_views, size=size, stream=stream)
        except ValueError as error:
            raise ValueError(f"method {name!r}: {error}") from error

    def _check_network(self) -> None:
        from augmix.models import find_family, is_foreign
        from augmix.models.start import network_name

        model, name = self.network.model, network_name(self.network.model)
        family = find_family(name)
        if self.network.zero_init_last and not family.form.startswith(_RESIDUAL):
            raise ValueError(
                f"zero_init_last would do nothing with {model}: no residual block of it ends in "
                "batch norm, as those of resnet and resnext networks do"
            )
        if self.network.zero_init_last and name != model:
            raise ValueError(f"zero_init_last would overwrite weights of {model}; leave it out")
        if self.network.dropout is not None and is_foreign(name):
            raise ValueError(
                f"dropout would do nothing with {model}: it is of the networks of this package"
            )
        if self.network.head is not None and not is_foreign(name):
            raise ValueError(f"head would do nothing with {model}, whose last layer is known")
        if self.network.pretrained and not is_foreign(name) and name == model:
            raise ValueError(f"{model} has no published weights: leave out pretrained")

    def _published_weight_decay(self) -> float:
        from augmix.models import find_family
        from augmix.models.start import network_name

        if self.optimisation.optimizer == "adamw":
            return _ADAMW_WEIGHT_DECAY
        if self.method.weight_decay is not None:
            return self.method.weight_decay
        family = find_family(network_name(self.network.model))
        is_small = family.size == 224 or family.form.startswith("densenet")
        return _SMALL_WEIGHT_DECAY if is_small else _WEIGHT_DECAY


def learning_rate(
    step: int,
    num_steps: int,
    *,
    peak: float,
    schedule: Schedule,
    warm_up: int = 0,
    drops: Sequence[int] = (),
) -> float:
    """Compute the learning rate of a step, a function of the step alone.

    ``cosine`` is the released code's: peak * (r + (1 - r) * (1 + cos(pi t / T)) / 2) with
    r = 1e-6 / peak, so step 0 has the peak. ``one-cycle`` climbs linearly from peak / 25 over the
    first 30 % of the steps and then falls by the same cosine. ``step`` is the peak, divided by 10
    for each of ``drops`` that was reached.

    Args:
        step: 0 .. num_steps - 1.
        num_steps: Steps of the whole run.
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
            return peak * (_FIRST_FRACTION + (1 - _FIRST_FRACTION) * step / warm_up)
    done = (step - warm_up) / (num_steps - warm_up)
    last = min(LAST_LEARNING_RATE / peak, 1.0)
    return peak * (last + (1 - last) * (1 + math.cos(math.pi * done)) / 2)

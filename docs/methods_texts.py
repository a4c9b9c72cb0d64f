"""What the pages of the methods say; `methods_page` puts it together with tables and pictures."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Text:
    """One method in words.

    Attributes:
        what: What it does.
        picture: What the picture shows.
        settings: Setting, default, where it comes from; the setting is a flag of `augmix train`.
        notes: What is worth knowing about this implementation.
        when: When to use it.
        image: The picture's file, where it is not the page's own.
        example: Flags behind `augmix train --method NAME`.
    """

    what: str
    picture: str
    settings: tuple[tuple[str, str, str], ...]
    when: str
    notes: tuple[str, ...] = ()
    image: str = ""
    example: str = ""


GUIDE = (
    "**Start with [augmix](augmix.md).** It has the lowest corruption error of the paper's "
    "comparison with every network on CIFAR-10-C and CIFAR-100-C. Three passes a step.",
    "**Only one pass a step is affordable:** [augmix-no-jsd](augmix-no-jsd.md) (13.1 % on "
    "CIFAR-10-C where Standard has 26.9 and AugMix 11.2, WRN-40-2), or [lp-noise](lp-noise.md) "
    "for long runs of wider networks (8.5 %, WRN-28-4, 300 epochs).",
    "**The lowest published error on small images with WRN-40-2:** "
    "[hybridaugment-pp](hybridaugment-pp.md), 8.3 and 31.2 % on CIFAR-10-C and CIFAR-100-C "
    "(AugMix 11.2 and 35.9), two passes a step, 200 epochs. The tables below have no number of it "
    "on C-bar.",
    "**The lowest with WRN-28-4:** [noisymix](noisymix.md), 7.2 and 27.9 %, 200 epochs, three "
    "passes a step and a network that names its stages.",
    "**ImageNet from random weights:** [prime-afa](prime-afa.md), 59.2 mCE, 45.8 % on C-bar "
    "(AugMix's released weights 65.3 and 53.5 by the same code), two passes a step and a second "
    "set of batch norms.",
    "**Predictions that must not flicker:** [afa](afa.md) with `--jsd-weight 12`, 31.9 mFR on "
    "ImageNet-P (AugMix 37.6), or [maxblur](maxblur.md), a form of the network that goes with "
    "the other methods too (`--model NAME-maxblur`) and costs multiply-adds in use.",
    "**A published network that is fine-tuned:** [augmix](augmix.md) with `--recipe finetune` "
    "([the page](../finetune.md)), or [prime](prime.md), whose lowest ImageNet numbers (55.5 mCE) "
    "are fine-tuned from pretrained weights.",
    "**Somebody may choose the inputs:** [adversarial](adversarial.md). Against common "
    "corruptions it helps little: 26.2 % on CIFAR-10-C with WRN-40-2, Standard 26.9.",
    "**Little time, or a CPU:** `augmix train --recipe fast`, AugMix with one view beside the "
    "clean image on a network made for it ([networks](../networks.md#fast)). At the cost of "
    "AugMix's run, `--recipe robust` had 3.9 points less error on CIFAR-10-C and 3.6 less on C-bar "
    "in runs of minutes ([the ladder](../results.md#ablation-ladder)), and probabilities that "
    "need a temperature.",
)
"""Which method to use, a paragraph each."""

_PAIRS = "pairs of images within a batch"
NEEDS = {
    "adversarial": "a GPU is advisable: eleven times the passes of Standard",
    "afa": "a second set of batch norms while training (not with `--jsd-weight`)",
    "apr-sp": _PAIRS,
    "augmax": "a second set of batch norms; a GPU is advisable; no `--compile`",
    "augmix-afa": "a second set of batch norms while training (not with `--jsd-weight`)",
    "augmix-sin": "stylised copies of the images (`augmix stylize`)",
    "cutmix": _PAIRS,
    "hybridaugment-pp": _PAIRS,
    "ipmix": "pictures to mix with: drawn by the package in seconds, or `--pictures DIR`",
    "maxblur": "a network with a blur-pooled form",
    "mixup": _PAIRS,
    "noise2net": "nothing; the convolutions of its random networks are not in the counted cost",
    "noisymix": "a network that names its stages; no `--compile`",
    "pixmix": "pictures to mix with: drawn by the package in seconds, or `--pictures DIR`",
    "prime-afa": "a second set of batch norms while training (not with `--jsd-weight`)",
    "sin": "stylised copies of the images (`augmix stylize`)",
    "trivialaugment-afa": "a second set of batch norms while training (not with `--jsd-weight`)",
}
"""What a method needs beyond images and a network."""

_STRENGTH = (
    "`augmix stylize` with an alpha of 0.5 is said to be the strength of AugMix's rows, its mean "
    "corruption error lower by about 0.6 than full strength (unverified wording); the default, 1, "
    "is that of Stylized-ImageNet."
)
_JSD = (
    "--jsd-weight",
    "12",
    "factor of the Jensen-Shannon divergence (Hendrycks et al. 2020, and the released code)",
)
_CHAINS = (
    ("--severity", "3", "largest level of an operation; 1 on ImageNet (released code)"),
    ("--depth", "None: 1, 2 or 3 at random", "operations in a chain (paper)"),
    (
        "--ops",
        "paper: 9 operations",
        "`all` adds 4 that overlap with the corruptions; `wide` is "
        "[TrivialAugment](trivialaugment.md)'s space",
    ),
)
_OPTIONAL_JSD = (
    "--jsd-weight",
    "0",
    "above 0, e.g. 12: the clean image and two views with AugMix's consistency loss",
)
_COMMON = (
    ("--crop-padding", "4 of 32 pixels", "the usual crop of CIFAR; black border"),
    ("--flip", "by source", "mirror half of the images"),
)
_PICTURES = (
    "--pictures",
    "None: drawn by the package",
    "folder of pictures to mix with, e.g. the published fractals",
)
_BANK = (
    "The published set of fractals and feature visualisations has 1.6 GB and no licence. The "
    "package draws 1,200 pictures of its own instead, from iterated function systems, plasma, "
    "Perlin noise and Voronoi cells; a preview with `augmix preview --method pixmix` and the "
    "switch `bank` shows them. Their bytes are the same on every platform, and a run records "
    "their checksum."
)
_BANK_SPEED = (
    "Drawing the bank takes 2 seconds of CPU time for images of 32 pixels and 7 for 224, once "
    "for each size; then it is read from the cache folder."
)
_VIEWS = "Left the image, then five of its views, each drawn at another epoch."

_PAIRED_VIEWS = (
    "Left the two images of a batch, then their views in form SP, each drawn at another epoch."
)
_RECOMBINING = (
    ("--form", "sp", "S changes single images, P pairs of the batch, SP both (published)"),
    (
        "--overflow",
        "wrap",
        "as published: levels outside 0..255 are taken modulo 256, which is impulse noise in 2 to "
        "6 % of all values; `clip` takes the nearest level",
    ),
    ("--severity", "3", "largest level of an operation (published)"),
    (
        "--jsd-weight",
        "0",
        "above 0, e.g. 12: AugMix's consistency loss of the clean image, the view of form S and "
        "its paired form, in place of the two cross-entropies",
    ),
    *_COMMON,
)
_RECOMBINING_NOTES = (
    "Paired views are not clipped, as published, so that their values may leave [0, 1].",
    "A frequency that an image does not have counts as one of phase 0, and levels are rounded to 6 "
    "decimals before they are cut to bytes: where nothing changes, the image stays the same.",
    "Partners are a random permutation of the batch, drawn by address, as in [mixup](mixup.md); "
    "each process of a distributed run pairs the images of its own part.",
    "Published recipe: batch 128, 200 epochs, the rate divided by 5 after 60, 120, 160 and 190.",
)

_WAVES = (
    ("--wave-mean", "10", "mean strength of a wave: its length on 32x32 pixels (published)"),
    ("--wave-min", "0", "strength that is added to all (published)"),
    (
        "--jsd-weight",
        "0",
        "above 0 (published: 10, on CIFAR-100 1, on ImageNet 12): cross-entropy of the clean image "
        "and the consistency of it, the other view and the waves, with one set of batch norms",
    ),
    (
        "--split-batch-norm",
        "on without a JSD weight",
        "a second set of batch norms for the view of waves, while training",
    ),
    *_COMMON,
)
_WAVES_NOTES = (
    "The second set of batch norms is a mechanism of its own: `--split-batch-norm` gives it to the "
    "augmented views of any method of several views, on any network that has batch norm. It is "
    "used while training alone: evaluation, saved weights and exports hold the main set.",
    "Networks without batch norm (ConvNeXt, ViT) pass both views alike.",
)

_PRIMITIVES = (
    ("--width", "3", "chains that are mixed (published)"),
    ("--depth", "None: 1, 2 or 3 at random", "primitives in a chain (published)"),
    ("--cutoff", "100; above 64 pixels 500", "highest frequency (published)"),
    ("--color-strength", "0.01; above 64 pixels 0.05", "of the colour curves (published)"),
    ("--filter-delta", "corner", "as published: the filter moves the image too; or `centre`"),
    ("--batch-field", "off", "as published: one deformation for all images of a batch"),
)
_PRIMITIVES_NOTES = (
    "Every image has its own deformation, curves and filter. The published code draws one "
    "deformation and one strength for a whole batch, `--batch-field`.",
    "The published filter keeps the image in a corner of its 3x3 pixels, so that it also moves it "
    "by a pixel.",
)

TEXTS: dict[str, Text] = {
    "standard": Text(
        what=(
            "The image mirrored with probability 1/2 and cropped at random from itself with a "
            "black border; cross-entropy. Everything else is compared with this, and every other "
            "method draws the same crops and mirrorings first, once for all views of an image."
        ),
        picture=_VIEWS,
        settings=_COMMON,
        when=("As the baseline, and where a step must cost as little as it can."),
    ),
    "cutout": Text(
        what=(
            "A square of every image is covered, its centre at any pixel, so that up to three "
            "quarters of it may lie outside. The network learns to use more than one part of an "
            "object."
        ),
        picture=_VIEWS,
        settings=(
            (
                "--cutout-size-px",
                "half of the image; a quarter with more than 10 classes",
                "16 of 32 pixels on CIFAR-10, 8 on CIFAR-100 (DeVries and Taylor 2017)",
            ),
            *_COMMON,
        ),
        notes=(
            "The published code writes zeros behind the normalisation. The network here "
            "normalises in its first layer, so the hole shows the mean that this layer subtracts: "
            "mid grey, or ImageNet's mean for its networks.",
            "`--method NAME+cutout` adds holes to any method but `adversarial`. With the "
            "consistency "
            "loss every view has its own hole and the clean image has none.",
        ),
        when=(
            "For accuracy on clean images of small size. Against corruptions it helps little "
            "or not at all: in the paper it is behind Standard in seven of eight comparisons."
        ),
        example="--cutout-size-px 8",
    ),
    "mixup": Text(
        what=(
            "Every image is blended with another of its batch, `lambda x_i + (1 - lambda) x_j`, "
            "and so are the two targets; lambda is drawn from Beta(alpha, alpha), once for the "
            "batch."
        ),
        picture="Left the two images of a batch, then their blends in five batches.",
        settings=(
            ("--mixup-alpha", "1", "Zhang et al. (2018) for CIFAR; 0.2 for ImageNet"),
            ("--mixup-per-image", "off", "a weight for every image instead of one for the batch"),
            ("--weight-decay", "1e-4", "the published code's, instead of 5e-4"),
            *_COMMON,
        ),
        notes=(
            "Partners are a random permutation of the batch, drawn by address: they hang on which "
            "images the batch holds, not on their order. Each process of a distributed run pairs "
            "the images of its own part.",
            "The training error in the log counts a prediction by the probability of its class in "
            "the target.",
            "`--mixup-alpha A` adds Mixup to any method but `cutmix`. With the consistency loss "
            "all views of an image share partner and lambda, so that one soft target stands for "
            "them.",
        ),
        when=(
            "Where more than one view of an image is too much: a step costs what a Standard "
            "step costs. In the paper it is the best of the older methods on CIFAR-10-C, "
            "level with AutoAugment* on CIFAR-100-C, and far behind AugMix on both."
        ),
        example="--mixup-alpha 0.5 --mixup-per-image",
    ),
    "cutmix": Text(
        what=(
            "A box of every image shows another image of the batch; the target has both classes "
            "by the pixels each really has. The box has sides of `sqrt(1 - lambda)` times the "
            "image's, lambda from Beta(alpha, alpha), and is clipped at the border."
        ),
        picture="Left the two images of a batch, then five batches, all of them cut.",
        settings=(
            ("--cutmix-probability", "0.5; 1 above 64 pixels", "Yun et al. (2019), their code"),
            ("--cutmix-alpha", "1", "Yun et al. (2019)"),
            ("--cutmix-per-image", "off", "a box for every image instead of one for the batch"),
            *_COMMON,
        ),
        notes=(
            "Sides are whole and even, as in the published code; the weight of each target is "
            "counted from the clipped box.",
            "`--cutmix-probability P` adds CutMix to any method but `mixup`.",
        ),
        when=(
            "For accuracy on clean images and for localisation. Against corruptions it does "
            "not help: in the paper it is behind Standard with every network on CIFAR-10-C, "
            "and level with it on CIFAR-100-C."
        ),
        example="--cutmix-probability 1 --cutmix-per-image",
    ),
    "autoaugment": Text(
        what=(
            "One of 25 published sub-policies is drawn for every image: two operations, each "
            "applied with its probability at its magnitude. The star says that operations which "
            "overlap with the test corruptions (colour, contrast, brightness, sharpness) do "
            "nothing."
        ),
        picture=_VIEWS,
        settings=(
            ("--autoaugment-table", "by size", "cifar10, or imagenet above 64 pixels"),
            ("--autoaugment-full", "off", "keep the overlapping operations: the original policy"),
            *_COMMON,
        ),
        notes=(
            "How the paper treated sub-policies that hold removed operations is not published; "
            "here a removed operation is the identity.",
            "Pixels are sampled bilinearly and black outside, as everywhere in this package; the "
            "usual re-implementations take nearest pixels and grey. The original training added "
            "Cutout: `--method autoaugment+cutout --cutout-size-px 16`.",
        ),
        when=(
            "As a strong learned policy for clean accuracy. It has seen its own data set during "
            "the search; for other data it is a guess."
        ),
        example="--autoaugment-full",
    ),
    "random-aa": Text(
        what=(
            "One chain of one to three random operations with random magnitudes takes the place "
            "of the image: AugMix without the mixing and without the consistency loss."
        ),
        picture=_VIEWS,
        settings=(*_CHAINS, *_COMMON),
        notes=(
            "The paper does not say how many operations it drew; these are the chains of AugMix, "
            "the very same that `augmix` of width 1 draws, so that the ablation changes one thing "
            "a step.",
        ),
        when="In an ablation, between Standard and AugMix.",
    ),
    "random-aa-jsd": Text(
        what=(
            "The clean image and two random chains of it; cross-entropy of the clean image, plus "
            "the Jensen-Shannon divergence of the three predictions. AugMix without the mixing."
        ),
        picture=_VIEWS,
        image="random-aa.webp",
        settings=(_JSD, *_CHAINS, *_COMMON),
        when=(
            "In an ablation: it shows what the loss brings without the mixing, 2.3 points of "
            "the error on CIFAR-10-C in Table 4."
        ),
    ),
    "patch-uniform": Text(
        what=(
            "Uniform noise is added in a square of every image, its centre at any pixel, its "
            "strength drawn for every image: Patch Gaussian with a noise that is no test "
            "corruption."
        ),
        picture=_VIEWS,
        settings=(
            (
                "--patch-size-px",
                "25 of 32 pixels; above 64 pixels any up to 250 of 224",
                "the sizes of Patch Gaussian (Lopes et al. 2019)",
            ),
            ("--patch-random-size", "off", "draw the size of every patch from 0 to that size"),
            ("--patch-amplitude", "1", "largest noise; a view has U(-a, a) with a ~ U(0, 1)"),
            *_COMMON,
        ),
        notes=(
            "The paper tuned Patch Uniform over about 30 settings, which it does not list.",
            "The noise is not stored in a plan but its address: both executors draw the same "
            "words of the same counter-based generator, pixel by pixel.",
        ),
        when=(
            "Where noise is the shift to be expected, e.g. cameras in the dark; it costs next "
            "to nothing. On ImageNet-C the paper gains 12 points of CE by it on each noise, "
            "and none on fog."
        ),
        example="--patch-amplitude 0.5",
    ),
    "adversarial": Text(
        what=(
            "Before every step the images are attacked: from a random start within a small "
            "distance, some gradient steps up the network's own loss. Only attacked images are "
            "trained on."
        ),
        picture=(
            "Digits; the same attacked within 0.2 of a small network of Standard training; the "
            "change, mid grey where there is none."
        ),
        settings=(
            ("--attack-norm", "linf", "or l2"),
            ("--attack-epsilon", "8/255; 0.5 for l2", "radius (Madry et al. 2018)"),
            ("--attack-steps", "10", "gradient steps"),
            ("--attack-step-size", "a quarter of the radius", "2/255 of 8/255"),
            *_COMMON,
        ),
        notes=(
            "That the paper used just these numbers is not published; they are those of its first "
            "author's code of that year: network in training mode during the attack, random "
            "start, loss on attacked images alone.",
            "The ball is centred on the image (Madry et al. 2018). That code centres it on the "
            "image after the random start, so that its attacks reach up to 16/255.",
            "The start is a view of the plan: image, seed and epoch determine its noise, so a "
            "resumed run attacks from the same starts.",
            "The training error in the log is that on attacked images.",
            "The suite `attack` of `augmix evaluate` measures the error under such attacks, by 20 "
            "steps ([how](../evaluation.md#attacked-images)); in Python, `augmix.attacks` has "
            "`pgd`, `random_start` and `resists`.",
        ),
        when=(
            "Where somebody may choose the inputs. A step costs eleven passes instead of one, "
            "the clean error grows, and against common corruptions it is behind Mixup in the "
            "paper."
        ),
        example="--attack-norm l2 --attack-epsilon 0.25",
    ),
    "maxblur": Text(
        what=(
            "Standard training of a network that halves its maps without aliasing: maxima at "
            "every pixel, then a blur, then every second pixel; a strided convolution becomes a "
            "plain one with a blur behind it. Predictions change less when the image is moved."
        ),
        picture=(
            "Stripes, once more moved by one pixel; what max pooling makes of both; what blurred "
            "max pooling makes of both."
        ),
        settings=(
            ("--blur-size", "5", "binomial filter (Zhang 2019), as in the paper's table"),
            *_COMMON,
        ),
        notes=(
            "It is the network that differs: `--model NAME-maxblur` is the same with any other "
            "method, e.g. AugMix. `docs/networks.md` lists where the blurs are.",
            "Weights have the names and shapes of the plain network.",
        ),
        when=(
            "Where predictions that flicker from frame to frame hurt; together with AugMix "
            "too. It costs some of the network's speed."
        ),
        example="--model resnet50",
    ),
    "sin": Text(
        what=(
            "Standard training on the images and a stylised copy of each, whose shapes are kept "
            "and whose textures come from paintings. The network cannot classify by texture."
        ),
        picture="A drawn scene rendered in the styles above it (see [stylized](stylized.md)).",
        settings=(
            ("--stylised", "none: must be named", "folder made by `augmix stylize`"),
            *_COMMON,
        ),
        notes=(
            "An epoch contains every image and every copy once, so it is twice as long. Both sets "
            "must have the same classes, size and channels.",
            "`--stylised` can be given to any method.",
            _STRENGTH,
        ),
        when=(
            "Where texture misleads: drawings, renderings, odd materials. It costs accuracy "
            "on clean images, 3.3 points on ImageNet in the paper."
        ),
        image="stylized.webp",
        example="--stylised styled --source folder --data images --size 224 --model resnet50",
    ),
    "augmix": Text(
        what=(
            "Three chains of one to three random operations are mixed with random weights, and "
            "the mixture with the image itself, in floats. Cross-entropy of the clean image, plus "
            "the Jensen-Shannon divergence of the predictions for the clean image and two such "
            "views."
        ),
        picture=_VIEWS,
        settings=(
            _JSD,
            ("--width", "3", "chains that are mixed (paper)"),
            ("--alpha", "1", "concentration of chain and mixing weights (paper)"),
            *_CHAINS,
            *_COMMON,
        ),
        notes=(
            "Operations and magnitudes are the released code's; the mixture is never rounded to 8 "
            "bits. `augmix preview --ops` draws each operation alone at a severity, as in the "
            "paper's Figure 10.",
            "Every view is drawn at its own address: seed, epoch, image and view determine it, "
            "whatever the batch, the worker or the executor.",
        ),
        when=(
            "By default: in the paper the lowest error under corruption (on ImageNet, of all "
            "that train on ImageNet alone), well calibrated, and no worse on clean images. A "
            "step costs three views and three passes."
        ),
    ),
    "augmix-no-jsd": Text(
        what="One AugMix view takes the place of the image; cross-entropy. No clean image is seen.",
        picture=_VIEWS,
        image="augmix.webp",
        settings=(
            ("--width", "3", "chains that are mixed (paper)"),
            ("--alpha", "1", "concentration of chain and mixing weights (paper)"),
            *_CHAINS,
            *_COMMON,
        ),
        notes=("On CIFAR-100 a user of the released code found 36.1 % where the paper has 39.8.",),
        when=(
            "Where three passes a step are too many: one view and one pass bring most of the gain."
        ),
    ),
    "augmix-sin": Text(
        what="AugMix on the images and on a stylised copy of each.",
        picture="A drawn scene rendered in the styles above it (see [stylized](stylized.md)).",
        settings=(
            ("--stylised", "none: must be named", "folder made by `augmix stylize`"),
            _JSD,
            *_CHAINS,
            *_COMMON,
        ),
        notes=("See [sin](sin.md) and [augmix](augmix.md).", _STRENGTH),
        when=(
            "For the lowest corruption error of the comparison on ImageNet, at a clean error 2.8 "
            "points above AugMix's."
        ),
        image="stylized.webp",
        example="--stylised styled --source folder --data images --size 224 --model resnet50",
    ),
    "noise2net": Text(
        what=(
            "Half of the views pass through a small residual network whose weights are newly drawn "
            "for each of them: four blocks of convolutions, batch norm and ReLU, each added to the "
            "view. It changes textures and edges in ways that no list of operations has."
        ),
        picture=_VIEWS,
        settings=(
            ("--noise2net-probability", "0.5", "of a view to pass; published is half of a batch"),
            ("--noise2net-strength", "0.75", "largest factor of a block; the smallest is half"),
            *_COMMON,
        ),
        notes=(
            "Sizes and dilations of the convolutions are drawn once, from the seed of the run, as "
            "published; the factor is drawn for every view instead of every step.",
            "`--method augmix+noise2net` lays it over AugMix, with the consistency loss, as "
            "DeepAugment is combined with AugMix.",
            "The definition computes in double precision and takes 10 to 20 ms for a view of 32 "
            "pixels on one CPU thread; it is meant for GPUs.",
        ),
        when=(
            "In DeepAugment's place, without its downloads: its authors fine-tune a pretrained "
            "ResNet-50 for 30 epochs."
        ),
        example="--noise2net-strength 0.5",
    ),
    "noisymix": Text(
        what=(
            "AugMix, and in every step the maps at a random depth of the network, the images "
            "themselves or those behind one of its stages, are mixed in pairs (manifold mixup) and "
            "then made noisy, a later view more than an earlier one. Targets are mixed alike."
        ),
        picture="The views are those of AugMix: left the image, then five of them.",
        settings=(
            ("--jsd-weight", "12", "factor of the divergence; 0 is one view and cross-entropy"),
            ("--mixing-alpha", "1", "concentration of the Beta weight of the mixture"),
            ("--multiplicative-noise", "0.5", "strength of the noise that multiplies"),
            ("--additive-noise", "0.5", "strength of the noise that is added to the first view"),
            ("--noise-sparsity", "0.65", "fraction of values without noise"),
            *_CHAINS,
            *_COMMON,
        ),
        notes=(
            "Networks of the package name their stages, so do those of timm (`feature_info`) and "
            "torchvision's ResNets; an own module names them by an attribute `stage_names`. Any "
            "other network is refused before training.",
            "Depth, pairs and noise are drawn from torch's generators, which every step seeds at "
            "its address, as for dropout; a run that was stopped continues to the same bits.",
            "A step runs other operations than the one before, so `torch.compile` is refused. The "
            "training error in the log is that of mixed images by the image's own class.",
        ),
        when=(
            "For the lowest published errors without extra data on wide networks (WRN-28-4), at "
            "the cost of AugMix."
        ),
        image="augmix.webp",
        example="--model wrn-28-4 --epochs 200 --dropout 0.1",
    ),
    "augmax": Text(
        what=(
            "Beside the image and a view of AugMix stands the mixture of the same kind of chains "
            "that is worst for the network: the weights of the chains and of their mixture follow "
            "the gradient for a few steps, and stop one step after the first mistake. The views "
            "behind the clean image have batch norms of their own."
        ),
        picture="Views of AugMix, whose chains the attack mixes again: left the image, then five.",
        settings=(
            ("--jsd-weight", "10", "10 on CIFAR-10; 1 with ResNet-18 on CIFAR-100, 12 on ImageNet"),
            ("--mixture-steps", "5", "steps of the attack, 5 to 10 as published"),
            ("--mixture-step-size", "0.1", "length of a step"),
            *_CHAINS,
            *_COMMON,
        ),
        notes=(
            "The published networks (DuBIN) also have instance norm on a part of the channels; "
            "here batch norms alone are doubled, on any network.",
            "The attack starts at weights from torch's generator, which every step seeds at its "
            "address.",
            "A step is three views and one forward and backward pass of the batch for every step "
            "of the attack, about 2.1 times the multiply-adds of AugMix by default.",
        ),
        when=(
            "For a lower corruption error than AugMix's at a higher cost: 9.3 instead of 11.0 on "
            "CIFAR-10-C with WRN-40-2 and 200 epochs."
        ),
        image="augmix.webp",
        example="--batch-size 256 --epochs 200",
    ),
    "pixmix": Text(
        what=(
            "A view starts as the image or one operation of it. In each of 0 to 4 rounds it is "
            "added to, or multiplied with, a partner: another operation of the image, or a "
            "picture with structure and no meaning, such as a fractal. Weights are Beta(3, 1) and "
            "Beta(1, 3), or beyond them."
        ),
        picture=_VIEWS,
        settings=(
            _OPTIONAL_JSD,
            ("--rounds", "4", "largest number of rounds (the paper's k)"),
            ("--beta", "3", "concentration of the weights; larger mixes less"),
            ("--severity", "3", "largest level of an operation"),
            ("--ops", "all: 13 operations", "as published; `paper` leaves out 4 that overlap"),
            _PICTURES,
            *_COMMON,
        ),
        notes=(_BANK, _BANK_SPEED, "A view has one picture, as published, whatever its rounds."),
        when=(
            "For one view and one pass a step with more variety than operations alone give. Four "
            "of its operations overlap with the test corruptions, so compare it on C-bar too."
        ),
        example="--jsd-weight 12 --ops paper",
    ),
    "ipmix": Text(
        what=(
            "The three chains of AugMix, each with equal probability 0 to 3 operations (mirroring "
            "and inverting among them) or 0 to 3 patches in which the image is mixed with a "
            "picture: added, multiplied, or pixels or single values taken from either."
        ),
        picture=_VIEWS,
        settings=(
            ("--jsd-weight", "12", "factor of the divergence; 0 is one view and cross-entropy"),
            ("--severity", "3", "largest level of an operation"),
            ("--depth", "3", "largest number of operations or patches in a chain"),
            ("--beta", "3", "concentration of the weights within a patch; larger mixes less"),
            _PICTURES,
            *_COMMON,
        ),
        notes=(
            _BANK,
            "Mirroring changes the sign of the operations behind it, and signs are random; so a "
            "chain mirrors once or not at all, before its other steps, with the same "
            "distribution.",
            "Patches have half, a quarter or an eighth of the image's size, or all of it; half of "
            "them are such squares, the others smaller.",
        ),
        when=(
            "In AugMix's place, at the same cost, where three views a step are affordable: 8.6 % "
            "on CIFAR-10-C is claimed with WRN-40-4."
        ),
        example="--jsd-weight 0",
    ),
    "trivialaugment": Text(
        what=(
            "One operation takes the place of the image, drawn from 14 (AugMix's 13 and the image "
            "as it is), at one of 31 strengths: up to 135 degrees, a shear of 0.99, 32 pixels, 2 "
            "bits, and factors from 0.01 to 2. Nothing is tuned."
        ),
        picture=_VIEWS,
        settings=(_OPTIONAL_JSD, *_COMMON),
        notes=(
            "Moved images are sampled bilinearly, as everywhere in this package; the published "
            "code takes the nearest pixel.",
            "Four of the operations (color, contrast, brightness, sharpness) overlap with the test "
            "corruptions.",
            "AugMix's chains are drawn from this space by the choice `wide` of its operations "
            "([augmix](augmix.md)); severity 10 takes all of the strengths.",
        ),
        when=(
            "For the lowest clean error at one view and one pass a step. Against corruptions it is "
            "behind AugMix alone, and strong with noise and erasing on top."
        ),
        example="--jsd-weight 12",
    ),
    "apr-sp": Text(
        what=(
            "Images keep their phase and get another amplitude spectrum. Form S, on every image "
            "before the crop: an operation of AugMix; with probability 1/2 a second one on top, "
            "and the amplitude of one result with the phase of the other. Form P, on the batch: "
            "with probability 0.6 the amplitude of another image. Cross-entropy of the view of "
            "form S plus that of its paired form."
        ),
        picture=_PAIRED_VIEWS,
        settings=_RECOMBINING,
        notes=_RECOMBINING_NOTES,
        when=(
            "Where two views a step are affordable and three are not: in its paper it is ahead of "
            "AugMix on CIFAR-10-C and CIFAR-100-C, without a consistency loss."
        ),
        example="--form s --overflow clip",
    ),
    "hybridaugment-pp": Text(
        what=(
            "Low frequencies (a Gaussian blur of 3x3 pixels, sigma 0.5) say what the image is; "
            "high frequencies are exchanged. Form S: an operation of AugMix; with probability 1/2 "
            "a second one on top, and the low frequencies of one result, changed by form S of APR, "
            "plus the high ones of the other. Form P: with probability 0.6 for the batch the high "
            "frequencies of another image, and with probability 0.6 the amplitude of a third in "
            "the low ones. The label is that of the low frequencies. Cross-entropy of the view of "
            "form S plus that of its paired form."
        ),
        picture=_PAIRED_VIEWS,
        settings=_RECOMBINING,
        notes=_RECOMBINING_NOTES,
        when=(
            "For the lowest published error on CIFAR-10-C and CIFAR-100-C with the networks of "
            "AugMix's paper, at two views a step instead of three."
        ),
        example="--jsd-weight 12 --overflow clip",
    ),
    "afa": Text(
        what=(
            "Beside the view of every image stands its clean form with a plane wave in each "
            "channel, of random frequency, direction and strength. Both have cross-entropy; the "
            "waves have batch norms of their own, so that the statistics by which the network is "
            "used later stay those of ordinary images."
        ),
        picture="Left the image, then five of its views with waves, each drawn at another epoch.",
        settings=_WAVES,
        notes=_WAVES_NOTES,
        when=(
            "On top of another method, for two views a step: in its paper it lowers the error of "
            "AugMix, TrivialAugment and PRIME on ImageNet-C, C-bar and 3DCC alike."
        ),
        example="--jsd-weight 10",
    ),
    "augmix-afa": Text(
        what="AFA with a view of AugMix as its first view; cross-entropy of both, no clean image.",
        picture="Left the image, then five of its views with waves, each drawn at another epoch.",
        image="afa.webp",
        settings=(*_WAVES, *_CHAINS),
        notes=_WAVES_NOTES,
        when="For AugMix's gains at two views a step, and more of them on C-bar.",
        example="--severity 1",
    ),
    "trivialaugment-afa": Text(
        what="AFA with a view of TrivialAugment as its first view; cross-entropy of both.",
        picture="Left the image, then five of its views with waves, each drawn at another epoch.",
        image="afa.webp",
        settings=_WAVES,
        notes=_WAVES_NOTES,
        when="For a low clean error and corruption error at two views a step.",
    ),
    "prime": Text(
        what=(
            "Chains of one to three primitives are mixed as AugMix mixes its chains, in floats: a "
            "smooth random deformation, a random curve for each colour channel, and a random 3x3 "
            "filter. No operation of a photo program and no severity is left. Cross-entropy of the "
            "clean image, plus the consistency of it and two views."
        ),
        picture=_VIEWS,
        settings=(_JSD, *_PRIMITIVES, *_COMMON),
        notes=_PRIMITIVES_NOTES,
        when=(
            "Where AugMix's operations do not suit the images, and on top of a pretrained network: "
            "the published numbers of ImageNet are fine-tuned. A step costs three views and three "
            "passes; the views cost more than AugMix's on a CPU."
        ),
        example="--jsd-weight 0 --batch-field",
    ),
    "prime-afa": Text(
        what="AFA with a view of PRIME as its first view; cross-entropy of both, no clean image.",
        picture="Left the image, then five of its views with waves, each drawn at another epoch.",
        image="afa.webp",
        settings=(*_WAVES, *_PRIMITIVES),
        notes=(*_WAVES_NOTES, *_PRIMITIVES_NOTES),
        when=(
            "For the lowest error on ImageNet-C, C-bar, -P and 3DCC together that is published "
            "without further data or pretraining, at two views a step."
        ),
        example="--cutoff 100",
    ),
    "lp-noise": Text(
        what=(
            "An operation of TrivialAugment, a black rectangle in 30 % of the images, and noise: a "
            "random point of the ball of one of the norms Linf, L0.5, L1 and L2, or impulses, in a "
            "random rectangle of 20 to 70 % of the image. Radius and the fraction of values left "
            "out are drawn too. Cross-entropy with smoothed labels."
        ),
        picture=_VIEWS,
        settings=(
            ("--noise-strength", "1", "factor of all radii (published: 1)"),
            ("--erasing-probability", "0.3", "fraction of the images with a rectangle (published)"),
            ("--label-smoothing", "0.1", "published"),
            _OPTIONAL_JSD,
            *_COMMON,
        ),
        notes=(
            "Radii are for 32x32 pixels; for other sizes they grow such that single values stay as "
            "large. Every image has its own noise; the published code draws it once for 8 images.",
            "Published: WRN-28-4 with dropout 0.2, batch 256, 300 epochs, weight decay 1e-4, "
            "weights averaged over the last tenth. Its settings were chosen with the corrupted "
            "test sets in sight.",
        ),
        when=(
            "For both a low clean error and a low corruption error at one view and one pass a "
            "step. Gaussian, shot and impulse noise of the benchmark resemble it, so C-bar is the "
            "fairer test."
        ),
        example="--noise-strength 0.5",
    ),
}

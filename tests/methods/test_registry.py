"""Every method: what it draws, what it minimises, what goes with what, and one of your own."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from augmix.augment import policies, render
from augmix.augment.plan import Plan
from augmix.augment.policies import (
    APR,
    PRIME,
    AugMix,
    AutoAugment,
    CutMix,
    Cutout,
    FourierWaves,
    HybridAugment,
    LpNoise,
    Mixup,
    PatchUniform,
    Policy,
    RandomAA,
    RandomErasing,
    RandomStart,
    Standard,
    TrivialAugment,
)
from augmix.methods import (
    METHODS,
    Attack,
    Method,
    Objective,
    TrainingImages,
    build_method,
    register_method,
    registry,
)
from augmix.methods.losses import (
    Adversarial,
    AdversarialMixing,
    Consistency,
    CrossEntropy,
    HiddenMixing,
    Loss,
    ViewsCrossEntropy,
)
from augmix.methods.registry import check_views
from augmix.models.weights import build_model
from augmix.rng import Stream
from augmix.training.config import TrainConfig

IMAGES = TrainingImages(crop_padding=3, flip=True)
LARGE = replace(IMAGES, size=(224, 224))
CROP: dict[str, Any] = {"crop_padding": 3, "flip": True}
BASE, CHAINS, CHAIN = Standard(**CROP), AugMix(**CROP), RandomAA(**CROP)
PLAIN, JSD = CrossEntropy(label_smoothing=0.1), Consistency(weight=12.0, label_smoothing=0.1)
MEAN = ViewsCrossEntropy(factor=0.5, label_smoothing=0.1)
PAIR = ViewsCrossEntropy(label_smoothing=0.1)

# method -> title, policy, objective, views drawn, whether the clean image goes in front
EXPECTED: dict[str, tuple[str, Policy, Objective, int, bool]] = {
    "standard": ("Standard", BASE, PLAIN, 1, False),
    "maxblur": ("MaxBlur pool", BASE, PLAIN, 1, False),
    "sin": ("SIN", BASE, PLAIN, 1, False),
    "cutout": ("Cutout", Cutout(size_px=16, fill=(0.5,), base=BASE), PLAIN, 1, False),
    "patch-uniform": ("Patch Uniform", PatchUniform(size_px=None, base=BASE), PLAIN, 1, False),
    "mixup": ("Mixup", Mixup(alpha=1.0, base=BASE), PLAIN, 1, False),
    "cutmix": ("CutMix", CutMix(probability=None, base=BASE), PLAIN, 1, False),
    "autoaugment": ("AutoAugment*", AutoAugment(table=None, **CROP), PLAIN, 1, False),
    "random-aa": ("Random AutoAugment*", CHAIN, PLAIN, 1, False),
    "random-aa-jsd": ("Random AutoAugment* + JSD", CHAIN, JSD, 2, True),
    "augmix": ("AugMix", CHAINS, JSD, 2, True),
    "augmix-no-jsd": ("AugMix without JSD", CHAINS, PLAIN, 1, False),
    "augmix-sin": ("AugMix + SIN", CHAINS, JSD, 2, True),
    "apr-sp": ("APR-SP", APR(base=BASE), PAIR, 2, False),
    "hybridaugment-pp": ("HybridAugment++", HybridAugment(base=BASE), PAIR, 2, False),
    "afa": ("AFA", FourierWaves(base=BASE), MEAN, 2, False),
    "augmix-afa": ("AugMix + AFA", FourierWaves(base=CHAINS), MEAN, 2, False),
    "trivialaugment-afa": (
        "TrivialAugment + AFA",
        FourierWaves(base=TrivialAugment(**CROP)),
        MEAN,
        2,
        False,
    ),
    "lp-noise": (
        "Lp noise",
        LpNoise(base=RandomErasing(base=TrivialAugment(**CROP))),
        PLAIN,
        1,
        False,
    ),
    "prime": ("PRIME", PRIME(base=BASE), JSD, 2, True),
    "prime-afa": ("PRIME + AFA", FourierWaves(base=PRIME(base=BASE)), MEAN, 2, False),
    "trivialaugment": ("TrivialAugment", TrivialAugment(**CROP), PLAIN, 1, False),
    "noise2net": ("Noise2Net", policies.Noise2Net(base=BASE), PLAIN, 1, False),
    "noisymix": ("NoisyMix", CHAINS, HiddenMixing(label_smoothing=0.1), 2, True),
    "augmax": (
        "AugMax",
        policies.AugMax(**CROP),
        AdversarialMixing(label_smoothing=0.1),
        4,
        True,
    ),
    "pixmix": ("PixMix", policies.PixMix(**CROP), PLAIN, 1, False),
    "ipmix": ("IPMix", policies.IPMix(**CROP), JSD, 2, True),
    "adversarial": (
        "Adv Training",
        RandomStart(base=BASE),
        Adversarial(label_smoothing=0.1),
        1,
        True,
    ),
}


def test_every_method_of_the_comparison_is_registered():
    assert set(METHODS) == set(EXPECTED)
    for name, method in METHODS.items():
        assert method.name == name
        assert method.title == EXPECTED[name][0]
        assert method.source
        assert "\n" not in method.summary()
    assert METHODS["cutout"].summary() == (
        "a square of every image covered with the mean; cross-entropy"
    )
    assert METHODS["augmix-sin"].summary().startswith("AugMix on images")
    assert [name for name, m in METHODS.items() if m.needs_stylised] == ["augmix-sin", "sin"]
    assert {name for name, m in METHODS.items() if m.weight_decay is not None} == {"mixup"}
    names = {name: method().network_name("allconv") for name, method in METHODS.items()}
    assert names.pop("maxblur") == "allconv-maxblur"
    assert set(names.values()) == {"allconv"}


@pytest.mark.parametrize("name", EXPECTED)
def test_methods_are_made_of_these(name: str):
    method = replace(build_method(name), label_smoothing=0.1).fit(IMAGES)
    _, policy, objective, num_views, has_clean = EXPECTED[name]
    assert method.policy == policy
    assert method.objective == objective
    assert (method.num_views, method.has_clean) == (num_views, has_clean)


@pytest.mark.parametrize(
    ("policy", "images", "expected"),
    [
        (Cutout(size_px=None), replace(IMAGES, num_classes=100), Cutout(size_px=8, base=BASE)),
        (Cutout(size_px=None), replace(IMAGES, size=(20, 24)), Cutout(size_px=10, base=BASE)),
        (
            Cutout(size_px=5, base=AugMix()),
            replace(IMAGES, mean=(0.1, 0.2, 0.3)),
            Cutout(size_px=5, fill=(0.1, 0.2, 0.3), base=CHAINS),
        ),
        (
            Mixup(alpha=0.4, base=Cutout(size_px=3, fill=(0.7,))),
            IMAGES,
            Mixup(alpha=0.4, base=Cutout(size_px=3, fill=(0.7,), base=BASE)),
        ),
    ],
    ids=["many classes", "size", "mean", "below"],
)
def test_what_the_policy_leaves_to_the_images(policy: Any, images: TrainingImages, expected: Any):
    fitted = Method(policy=policy).fit(images).policy
    if fitted.__class__ is Cutout and expected.fill is None:
        expected = replace(expected, fill=images.mean)
    assert fitted == expected


@pytest.mark.parametrize(
    ("name", "explicit"),
    [
        ("cutmix", CutMix(probability=1.0, base=BASE)),
        ("patch-uniform", PatchUniform(size_px=250, random_size=True, base=BASE)),
        ("autoaugment", AutoAugment(table="imagenet", **CROP)),
    ],
)
def test_large_images_take_the_settings_of_imagenet(name: str, explicit: Policy):
    drawn = [
        policy.sample(np.arange(8), num_views=1, size=(224, 224), stream=Stream(seed=0))
        for policy in (build_method(name).fit(LARGE).policy, explicit)
    ]
    assert str(drawn[0]) == str(drawn[1])
    images = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), np.uint8)
    np.testing.assert_array_equal(*(render(images, plan) for plan in drawn))


def test_policies_are_laid_over_methods_by_name():
    method = build_method("augmix+mixup+cutout")
    assert method.policy == Cutout(size_px=None, base=Mixup(base=AugMix()))
    assert str(method) == "augmix+mixup+cutout"
    assert str(method.fit(IMAGES)) == "augmix+mixup+cutout"
    assert method.has_clean
    assert str(build_method("adversarial+mixup").fit(IMAGES)) == "adversarial+mixup"
    with pytest.raises(ValueError, match=r"laid over mixup; these can: afa, .*, cutmix, cutout"):
        build_method("mixup+augmix")
    for name, twice in {"cutout+cutout": "cutout", "augmix-afa+cutout+afa": "afa"}.items():
        with pytest.raises(ValueError, match=f"has the policy of {twice} twice; leave out one"):
            build_method(name)


# what is laid over keeps its loss and number of views: name -> policy, objective, passes
COMPOSED: dict[str, tuple[Policy, Objective, int]] = {
    "augmix+apr-sp": (APR(base=AugMix()), Consistency(), 3),
    "augmix+hybridaugment-pp": (HybridAugment(base=AugMix()), Consistency(), 3),
    "augmix+afa": (FourierWaves(base=AugMix()), Consistency(), 3),
    "augmix+prime": (PRIME(base=AugMix()), Consistency(), 3),
    "augmix+hybridaugment-pp+afa": (
        FourierWaves(base=HybridAugment(base=AugMix())),
        Consistency(),
        3,
    ),
    "ipmix+hybridaugment-pp": (HybridAugment(base=policies.IPMix()), Consistency(), 3),
    "prime+afa": (FourierWaves(base=PRIME()), Consistency(), 3),
    "pixmix+apr-sp": (APR(base=policies.PixMix()), CrossEntropy(), 1),
    "hybridaugment-pp+afa": (FourierWaves(base=HybridAugment()), ViewsCrossEntropy(), 2),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_stages_of_later_methods_compose_by_name(name: str):
    method = build_method(name)
    policy, objective, num_passed = COMPOSED[name]
    assert (method.policy, method.objective, method.num_passed) == (policy, objective, num_passed)
    assert str(method.fit(IMAGES)) == name
    check_views(method)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "augmix+afa",
            {"num_views": 1},
            "afa leaves 0 of 1 views .* so none shows augmix: take",
        ),
        (
            "ipmix+afa",
            {"jsd_views": 1},
            "afa leaves 0 of 1 .*, so none shows ipmix: take more",
        ),
        (
            "augmix+afa+apr-sp",
            {},
            "apr-sp leaves 1 of 2 .* afa needs all of its views: lay",
        ),
        ("augmax+hybridaugment-pp", {}, "leaves 3 of 4 .*, and augmax needs all .*: leave hyb"),
        ("augmax+afa", {}, "afa leaves 3 of 4 views to what is below it, and augmax needs all of"),
    ],
)
def test_layers_that_leave_no_view_are_refused(name: str, changes: Any, message: str):
    with pytest.raises(ValueError, match=message):
        check_views(replace(build_method(name), **changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstOnly:
    """A user's layer: the first view is the base's, all others are the clean image."""

    base: Policy = field(default_factory=Standard)
    num_shown: int = 1

    def num_base_views(self, num_views: int) -> int:
        return self.num_shown

    def sample(self, ids: Any, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        plan = self.base.sample(ids, num_views=1, size=size, stream=stream).with_clean()
        return plan.take_views([1, *[0] * (num_views - 1)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles(Standard):
    """A user's policy whose views have uses of their own."""

    has_fixed_views: ClassVar[bool] = True


@pytest.fixture
def first_only(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a method whose policy is a user's layer."""
    monkeypatch.setattr(registry, "METHODS", known := dict(METHODS))

    @dataclass(frozen=True, slots=True, kw_only=True)
    class UserMethod(Method):
        """One view; cross-entropy."""

        policy: Policy = field(default_factory=FirstOnly)

    known["first-only"] = UserMethod
    return "first-only"


def test_a_users_layer_is_checked_by_what_it_declares(first_only: str):
    check_views(build_method(f"augmix+{first_only}"))  # 1 of 2 views is that of AugMix
    check_views(build_method(f"augmix+{first_only}+cutout"))
    TrainConfig(method=build_method(f"augmix+{first_only}"))
    with pytest.raises(ValueError, match="first-only leaves 1 of 4 .*, and augmax needs all of it"):
        TrainConfig(method=build_method(f"augmax+{first_only}"))
    with pytest.raises(ValueError, match="first-only leaves 1 of 2 .*: lay afa over fi"):
        check_views(build_method(f"augmix+afa+{first_only}"))
    check_views(build_method(f"augmix+{first_only}+afa"))
    below = replace(build_method("afa"), policy=FourierWaves(base=Roles()))
    with pytest.raises(ValueError, match="afa leaves 1 of 2 .*, and Roles needs all .*: leave afa"):
        check_views(below)
    for num_shown, message in {0: "leaves 0 of 2 .*none shows augmix", 3: "in 0..2, got 3"}.items():
        layer = FirstOnly(base=AugMix(), num_shown=num_shown)
        with pytest.raises(ValueError, match=message):
            check_views(replace(build_method("augmix"), policy=layer))


def test_a_layer_that_takes_a_view_gives_recombined_images_a_second_one():
    single = build_method("hybridaugment-pp")
    single = replace(single, policy=HybridAugment(form="s"))
    assert single.num_views == 1
    for layer in (FourierWaves, FirstOnly):
        method = replace(single, policy=layer(base=HybridAugment(form="s")))
        assert (method.num_views, method.objective) == (2, ViewsCrossEntropy())
        check_views(method)


def test_consistency_of_one_view_takes_two_passes():
    for name in ("prime", "ipmix", "noisymix"):
        method: Any = replace(build_method(name), jsd_views=1)  # pyright: ignore[reportCallIssue]
        assert (method.num_views, method.num_passed, method.has_clean) == (1, 2, True)
    consistent: Any = {"jsd_weight": 12.0, "jsd_views": 3}
    assert replace(build_method("hybridaugment-pp"), **consistent).num_passed == 4
    with pytest.raises(ValueError, match="jsd_views 1 would do nothing without a consistency loss"):
        replace(build_method("pixmix"), jsd_views=1)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match="jsd_views must be at least 1, got 0"):
        replace(build_method("prime"), jsd_views=0)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    "name", ["mixup+cutmix", "adversarial+cutout", "adversarial+noise2net", "adversarial+apr-sp"]
)
def test_policies_that_do_not_go_together_say_so_when_they_draw(name: str):
    policy = build_method(name).fit(IMAGES).policy
    with pytest.raises(ValueError, match=r"one partner at most|starts at the image itself"):
        policy.sample(np.arange(4), num_views=1, size=(32, 32), stream=Stream(seed=0))


def test_the_attack_starts_within_its_radius():
    method = replace(build_method("adversarial"), attack=Attack(norm="l2"))
    assert method.fit(IMAGES).policy == RandomStart(epsilon=0.5, base=BASE)
    assert method.objective == Adversarial(attack=Attack(norm="l2"))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("augmx", "augmix"), ("Standard", "standard"), ("cut-out", "cutout"), ("pgd", "")],
    ids=["augmx", "Standard", "cut-out", "pgd"],
)
def test_unknown_names_suggest_the_nearest(name: str, nearest: str):
    hint = f", did you mean '{nearest}'" if nearest else "$"
    with pytest.raises(ValueError, match=rf"method must be one of .*, got '{name}'{hint}"):
        build_method(name)


def test_wrong_options_of_the_loss_are_refused():
    with pytest.raises(ValueError, match="weight must be a finite number of at least 0, got -1"):
        METHODS["augmix"](jsd_weight=-1.0)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match="label_smoothing must be in"):
        METHODS["standard"](label_smoothing=1.0)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_method_takes_a_step(name: str, noise: np.ndarray):
    """A batch from plan to gradient."""
    images = TrainingImages(size=noise.shape[1:3], num_classes=3, crop_padding=3, flip=True)
    method = build_method(name).fit(images)
    plan = method.policy.sample(
        np.arange(8), num_views=method.num_views, size=noise.shape[1:3], stream=Stream(seed=0)
    )
    plan = plan.with_clean() if method.has_clean else plan
    views = torch.from_numpy(render(noise, plan, executor="pillow"))
    assert len(views) == method.num_views + method.has_clean
    model = build_model("small", num_classes=3)
    labels = np.arange(8) % 3
    targets = torch.from_numpy(plan.pairs.targets(labels, 3) if plan.pairs else labels)
    loss = method.objective(model, views, targets)
    loss.total.backward()
    assert loss.logits.shape == (8, 3)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())  # pyright: ignore


@pytest.mark.parametrize("weight", [0.0, 12.0])
@pytest.mark.parametrize("name", ["apr-sp", "hybridaugment-pp", "afa", "augmix-afa"])
def test_a_policy_on_top_changes_neither_views_nor_loss(name: str, weight: float):
    own: Any = replace(build_method(name), jsd_weight=weight)  # pyright: ignore[reportCallIssue]
    over: Any = replace(build_method(f"{name}+cutout"), jsd_weight=weight)  # pyright: ignore[reportCallIssue]
    assert (over.num_views, over.has_clean) == (own.num_views, own.has_clean)
    assert over.objective == own.objective


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="'augmix' is taken"):
        register_method("augmix")(Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entropy:
    """An objective of your own: cross-entropy, and a bonus for entropy on the second view."""

    weight: float

    def __call__(self, model, views, targets) -> Loss:
        logits = model(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        log_p = logits.log_softmax(dim=-1)
        fit = torch.nn.functional.nll_loss(log_p[0], targets)
        entropy = -(log_p[1].exp() * log_p[1]).sum(dim=-1).mean()
        terms = {"fit": fit.detach(), "entropy": entropy.detach()}
        return Loss(total=fit - self.weight * entropy, terms=terms, logits=logits[0].detach())


@dataclass(frozen=True, slots=True, kw_only=True)
class Mine(Method):
    """The clean image and a view with a hole; the model may be unsure of the second."""

    policy: Policy = field(default_factory=lambda: policies.Cutout(size_px=4))
    entropy_weight: float = 0.1
    """Weight of the entropy."""

    has_clean: ClassVar[bool] = True

    @property
    def objective(self) -> Objective:
        return Entropy(weight=self.entropy_weight)


def test_a_method_of_your_own_is_trained_by_its_name(tmp_path, monkeypatch, capsys):
    from toy_runs import load_config, write_npz

    from augmix import cli
    from augmix.evaluation.models import load_run

    monkeypatch.setitem(METHODS, "mine", Mine)
    monkeypatch.setattr(Mine, "name", "mine")
    data = write_npz(tmp_path / "toy.npz")
    words = ["train", "--data", str(data), "--model", "small", "--epochs", "1", "--device", "cpu"]
    mine = ["--method", "mine", "--entropy-weight", "0.2", "--cutout-size-px", "5"]
    assert cli.main([*words, *mine, "--out", str(tmp_path / "run")]) == 0
    config = load_config(tmp_path / "run")
    assert config.method == Mine(entropy_weight=0.2, policy=policies.Cutout(size_px=5))
    assert (tmp_path / "run" / "weights.safetensors").exists()
    with pytest.raises(SystemExit):
        cli.main(["train", "--method", "mine", "--help"]) or (_ for _ in ()).throw(SystemExit)
    assert "--entropy-weight" in capsys.readouterr().out
    monkeypatch.delitem(METHODS, "mine")  # another process, in which nothing registers it
    measured = load_run(tmp_path / "run")
    assert (measured.method, measured.data) == ("mine", str(data))

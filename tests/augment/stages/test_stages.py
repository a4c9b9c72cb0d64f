"""Stages defined here, outside the package: everything but their arithmetic comes from the base."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float32, Int64
from toy_plans import images_of

from augmix.augment import batched, render
from augmix.augment.batched.packing import pack
from augmix.augment.plan import Plan, check_plan, concatenate
from augmix.augment.policies import AugMix, CutMix, Standard
from augmix.augment.stages import Form, Stage, fields_of, register_stage
from augmix.augment.stages.chains import Copies
from augmix.rng import Stream


@register_stage("test-invert")
@dataclass(frozen=True, slots=True, kw_only=True)
class Invert(Stage):
    """8-bit images inverted in some views, before the crop."""

    chosen: Bool[np.ndarray, "view batch"]

    takes: ClassVar[Form] = "images"
    gives: ClassVar[Form] = "images"
    rank: ClassVar[int] = 5

    def apply(self, pixels: Any, pictures: Any = None) -> Any:
        return np.where(self.chosen[..., None, None, None], 255 - pixels, pixels)

    @staticmethod
    def apply_torch(pixels: Any, *, chosen: Any) -> Any:
        return torch.where(chosen[..., None, None, None], 255 - pixels, pixels)

    def describe(self, index: int, view: int, ids: Any) -> list[str]:
        return ["inverted"] if self.chosen[view, index] else []


@register_stage("test-waves")
@dataclass(frozen=True, slots=True, kw_only=True)
class Waves(Stage):
    """Plane waves added to finished views, as AFA does."""

    phase: Float32[np.ndarray, "view batch"]
    strength: float

    def apply(self, pixels: Any, pictures: Any = None) -> Any:
        wave = np.sin(np.arange(pixels.shape[4], dtype=np.float32) + self.phase[..., None])
        wave = np.float32(self.strength) * wave * (self.phase != 0)[..., None]
        return np.clip(pixels + wave[:, :, None, None], 0, 1).astype(np.float32)

    @staticmethod
    def apply_torch(pixels: Any, *, phase: Any, strength: float) -> Any:
        column = torch.arange(pixels.shape[4], dtype=torch.float32, device=pixels.device)
        wave = strength * torch.sin(column + phase[..., None]) * (phase != 0)[..., None]
        return (pixels + wave[:, :, None, None]).clamp(0, 1)

    def describe(self, index: int, view: int, ids: Any) -> list[str]:
        return [f"a wave of phase {self.phase[view, index]:.1f}"]


@register_stage("test-blend")
@dataclass(frozen=True, slots=True, kw_only=True)
class Blend(Stage):
    """Pictures of a bank laid over finished views, as PixMix does."""

    picture: Int64[np.ndarray, "view batch"]
    weight: Float32[np.ndarray, "view batch"]
    bank: str

    needs_pictures: ClassVar[bool] = True

    def apply(self, pixels: Any, pictures: Any = None) -> Any:
        shown = pictures[self.picture].transpose(0, 1, 4, 2, 3).astype(np.float32) / 255
        weight = self.weight[..., None, None, None]
        return (np.float32(1) - weight) * pixels + weight * shown

    @staticmethod
    def apply_torch(pixels: Any, *, picture: Any, weight: Any, bank: str, pictures: Any) -> Any:
        shown = pictures[picture].permute(0, 1, 4, 2, 3).float() / 255
        weight = weight[..., None, None, None]
        return (1 - weight) * pixels + weight * shown


@register_stage("test-halve")
@dataclass(frozen=True, slots=True, kw_only=True)
class Halve(Stage):
    """Views made of images by something else than chains, and without a torch form."""

    view: Float32[np.ndarray, " view"]

    takes: ClassVar[Form] = "images"

    def apply(self, pixels: Any, pictures: Any = None) -> Any:
        scaled = pixels.transpose(0, 1, 4, 2, 3).astype(np.float32) / np.float32(255)
        return scaled * self.view[:, None, None, None, None]


@register_stage("test-least")
@dataclass(frozen=True, slots=True, kw_only=True)
class Least(Stage):
    """The copy of a number, made dark where another copy is: copies combined, as PixMix does."""

    first: Int64[np.ndarray, "view batch"]

    takes: ClassVar[Form] = "copies"
    rank: ClassVar[int] = 45

    def apply(self, pixels: Any, pictures: Any = None) -> Any:
        copies = pixels.reshape(len(self.first), -1, *pixels.shape[1:])
        views = np.empty_like(copies[:, 0])
        for view, index in np.ndindex(self.first.shape):
            chosen = self.first[view, index]
            views[view, index] = copies[view, chosen, index] * copies[view, 0, index]
        return views

    @staticmethod
    def apply_torch(pixels: Any, *, first: Any) -> Any:
        copies = pixels.unflatten(0, (len(first), -1)).transpose(1, 2)
        index = first[..., None, None, None, None].expand(-1, -1, 1, *copies.shape[3:])
        return copies.gather(2, index)[:, :, 0] * copies[:, :, 0]


SIZE = (9, 12)
RNG = np.random.default_rng(0)
INVERT = Invert(chosen=RNG.random((2, 6)) < 0.5)
WAVES = Waves(phase=RNG.random((2, 6), np.float32), strength=0.3)
BLEND = Blend(
    picture=RNG.integers(0, 5, (2, 6)), weight=RNG.random((2, 6), np.float32), bank="test 0"
)
LEAST = Least(first=RNG.integers(0, 3, (2, 6)))
OPS = RNG.integers(1, 4, (2, 6, 3, 2), np.int8)  # autocontrast, equalize, posterize
COPIES = Copies(op=OPS, amount=np.full(OPS.shape, 3.0))
BANK = RNG.integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)


def plan_with(*stages: Stage, policy: Any = None) -> Plan:
    policy = policy or AugMix(crop_padding=2, flip=True)
    plan = policy.sample(np.arange(6), num_views=2, size=SIZE, stream=Stream(seed=3))
    for stage in stages:
        plan = plan.with_stage(stage)
    return plan


CROP, CHAINS = plan_with().stages
PLANS = {
    "images by view": plan_with(INVERT),
    "views": plan_with(WAVES),
    "pictures": plan_with(BLEND, policy=Standard(crop_padding=1)),
    "then pairs": plan_with(INVERT, WAVES, BLEND, policy=CutMix(base=AugMix(), per_image=True)),
    "between crop and chains": replace(plan_with(), stages=(CROP, INVERT, CHAINS)),
    "without chains": replace(plan_with(), stages=(CROP, WAVES)),
    "images alone": replace(plan_with(), stages=(INVERT,)),
    "copies": replace(plan_with(), stages=(CROP, COPIES, LEAST, WAVES)),
}


@pytest.mark.parametrize("name", PLANS)
def test_every_executor_applies_the_stage_in_its_order(name: str) -> None:
    plan = PLANS[name]
    images = images_of(plan, 3)
    expected = render(images, plan, executor="pillow", pictures=BANK)
    assert expected.shape == (2, 6, 3, *SIZE)
    got = render(images, plan, executor="compiled", num_threads=2, pictures=BANK)
    np.testing.assert_array_equal(got, expected)
    views = render(images, plan, executor="batched", device="cpu", pictures=BANK)
    np.testing.assert_allclose(views.numpy(), expected, atol=1e-6)


def test_a_stage_by_hand() -> None:
    """Invert, then the image alone: every view is 255 - v or v, over 255."""
    plan = replace(plan_with(), stages=(INVERT,))
    images = images_of(plan, 1)
    views = render(images, plan, executor="pillow")
    for view, index in np.ndindex(2, 6):
        levels = 255 - images[index] if INVERT.chosen[view, index] else images[index]
        expected = levels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(views[view, index], expected)


def test_slices_joins_files_and_the_clean_view_come_from_the_base(tmp_path) -> None:
    plan = plan_with(INVERT, WAVES, BLEND)
    order = [4, 0, 5]
    part = plan[order].find(Waves)
    assert part is not None
    np.testing.assert_array_equal(part.phase, WAVES.phase[:, order])
    joined = concatenate([plan[:2], plan[2:]])
    for stage in joined.stages:
        other = plan.find(type(stage))
        for field in fields_of(type(stage)):
            np.testing.assert_array_equal(getattr(stage, field.name), getattr(other, field.name))
    plan.save(tmp_path / "plan.npz")
    loaded = Plan.load(tmp_path / "plan.npz")
    images = images_of(plan, 3)
    views = render(images, loaded, pictures=BANK)
    np.testing.assert_array_equal(views, render(images, plan, pictures=BANK))
    clean = render(images, plan.with_clean(), pictures=BANK)
    np.testing.assert_array_equal(clean[1:], views)
    crop = replace(plan, stages=(CROP, CHAINS)).with_clean()
    np.testing.assert_array_equal(clean[0], render(images, crop)[0])


def test_copies_are_the_chains_of_their_views() -> None:
    plan = PLANS["copies"]
    images = images_of(plan, 3)
    views = render(images, replace(plan, stages=plan.stages[:3]), executor="pillow")
    for copy in range(3):
        ones = np.ones((2, 6), np.float32)
        op, amount = OPS[:, :, [copy]], COPIES.amount[:, :, [copy]]
        chains = replace(CHAINS, op=op, amount=amount, weight=ones[..., None], mix=ones)
        alone = render(images, replace(plan, stages=(CROP, chains)), executor="pillow")
        first = render(
            images, replace(plan, stages=(CROP, COPIES, Least(first=ones.astype(int) - 1)))
        )
        chosen = LEAST.first == copy
        np.testing.assert_allclose(views[chosen], alone[chosen] * np.sqrt(first[chosen]), atol=1e-6)
    clean = render(images, plan.with_clean(), executor="compiled")
    np.testing.assert_array_equal(clean[1:], render(images, plan, executor="pillow"))
    assert "\n  copy 2: " in plan.describe(0)


def test_copies_and_what_combines_them_follow_each_other() -> None:
    for stages in ((CROP, COPIES), (CROP, COPIES, WAVES), (CROP, CHAINS, LEAST)):
        with pytest.raises(ValueError, match="copies"):
            replace(plan_with(), stages=stages)


def test_copies_are_made_of_the_images_of_their_views() -> None:
    plan = replace(plan_with(), stages=(INVERT, CROP, COPIES, LEAST))
    images = images_of(plan, 3)
    views = render(images, plan, executor="compiled")
    np.testing.assert_array_equal(views, render(images, plan, executor="pillow"))
    for view in range(2):  # each of an image of its own, as if it were the only one
        own = INVERT.apply(images[None])[view]
        one = replace(plan, stages=(CROP, COPIES, LEAST)).take_views([view])
        np.testing.assert_array_equal(views[view], render(own, one)[0])


def test_stages_that_differ_in_a_setting_are_not_joined() -> None:
    with pytest.raises(ValueError, match="must agree in size and stages, got .*strength 0.3.*0.4"):
        concatenate([plan_with(WAVES), plan_with(replace(WAVES, strength=0.4))])


def test_descriptions_say_when_a_stage_is_applied() -> None:
    lines = plan_with(Invert(chosen=np.ones((2, 6), bool)), WAVES).describe(1, 1).splitlines()
    assert lines[1] == "  first: inverted"
    assert lines[-1].startswith("  then: a wave of phase 0.")


def test_pictures_must_be_given_and_fit() -> None:
    plan = plan_with(BLEND)
    images = images_of(plan, 3)
    for executor in ("pillow", "compiled", "batched"):
        with pytest.raises(ValueError, match=r"'test-blend' takes pictures: call render\("):
            render(images, plan, executor=executor, device="cpu")
    with pytest.raises(ValueError, match=r"pictures must be .* got shape \(5, 9, 11, 3\)"):
        check_plan(plan, images.shape, BANK[:, :, 1:])


def test_a_stage_may_make_the_views_itself() -> None:
    stage = Halve(view=np.array([1, 0.5], np.float32))
    plan = replace(plan_with(), stages=(CROP, stage, WAVES))
    images = images_of(plan, 3)
    expected = render(images, plan, executor="pillow")
    np.testing.assert_array_equal(render(images, plan, executor="compiled"), expected)
    with pytest.raises(NotImplementedError, match="without apply_torch cannot be rendered"):
        render(images, plan, executor="batched", device="cpu")


def test_plans_with_such_stages_share_one_layout() -> None:
    """A captured or compiled step serves every plan of the layout: settings are part of it."""
    plan = plan_with(WAVES)
    layout = pack(plan, 3).layout.with_full_capacity()
    other = plan_with(replace(WAVES, phase=WAVES.phase[::-1].copy()))
    words = torch.from_numpy(pack(other, 3, layout=layout).words)
    images = images_of(other, 3)
    views = batched.execute(torch.from_numpy(images), batched.open_words(words, layout), layout)
    np.testing.assert_array_equal(
        views.numpy(), batched.render(images, other, device="cpu").numpy()
    )
    with pytest.raises(ValueError, match="the layout is for Layout"):
        pack(plan_with(replace(WAVES, strength=0.1)), 3, layout=layout)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="a stage 'chains' is registered already"):
        register_stage("chains")(Waves)
    assert register_stage("test-waves")(Waves) is Waves


def test_wrong_arrays_are_named() -> None:
    with pytest.raises(ValueError, match=r"phase of stage test-waves must be float32 .* \(2, 6\)"):
        plan_with(Waves(phase=WAVES.phase[:, :5], strength=0.3))
    wrong = Waves(phase=WAVES.phase.astype(np.float64), strength=0.3)
    with pytest.raises(ValueError, match=r"must be float32 .* got float64 of shape \(2, 6\)"):
        plan_with(wrong)

"""Plans: slices, joins, files and descriptions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augmix.augment.ops import Op, describe_step
from augmix.augment.plan import Plan, check_plan, concatenate
from augmix.augment.policies import AugMix, CutMix, Cutout, Mixup, PatchUniform
from augmix.augment.stages import fields_of
from augmix.augment.stages.chains import Chains, CropFlip
from augmix.augment.stages.pairs import Pairs
from augmix.augment.stages.patches import Hole, Noise
from augmix.rng import Stream

FIELDS = ("ids", "crop", "flip", "op", "amount", "weight", "mix")


def draw(ids, **options) -> Plan:
    policy = AugMix(crop_padding=4, flip=True, **options)
    return policy.sample(np.asarray(ids), num_views=2, size=(20, 24), stream=Stream(seed=0))


def draw_all(ids, pairs=CutMix) -> Plan:
    """A plan with every stage there is."""
    policy = pairs(
        per_image=True, base=Cutout(size_px=6, base=PatchUniform(size_px=9, base=AugMix()))
    )
    return policy.sample(np.asarray(ids), num_views=2, size=(20, 24), stream=Stream(seed=2**64 - 1))


def assert_same(left: Plan, right: Plan) -> None:
    assert left.size == right.size
    assert_same_arrays(left.ids, right.ids)
    assert [type(stage) for stage in left.stages] == [type(stage) for stage in right.stages]
    for first, second in zip(left.stages, right.stages, strict=True):
        for field in fields_of(type(first)):
            assert_same_arrays(getattr(first, field.name), getattr(second, field.name))


def assert_same_arrays(first, second) -> None:
    if isinstance(first, np.ndarray):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    else:
        assert type(first) is type(second)
        assert first == second


@pytest.mark.parametrize("index", [slice(2, 5), slice(None, None, -1), [3, 0, 3], np.array([1])])
def test_a_slice_is_the_plan_of_those_images(index):
    plan = draw(range(6))
    assert_same(plan[index], draw(np.arange(6)[index]))


def test_one_image_needs_a_slice():
    with pytest.raises(TypeError, match=r"\[2:3\]"):
        draw(range(6))[np.int64(2)]


def test_concatenate_joins_batches():
    assert_same(concatenate([draw([0, 1]), draw([2]), draw([3, 4])]), draw(range(5)))


def test_concatenate_refuses_other_forms():
    with pytest.raises(ValueError, match="at least one plan"):
        concatenate([])
    with pytest.raises(ValueError, match="must agree in"):
        concatenate([draw([0]), draw([1], width=2)])


def test_files_come_back_the_same(tmp_path: Path):
    plan = draw(range(5))
    plan.save(tmp_path / "plan.npz")
    assert_same(Plan.load(tmp_path / "plan.npz"), plan)


def test_files_keep_every_stage(tmp_path: Path):
    for pairs in (CutMix, Mixup):
        plan = draw_all(range(5), pairs)
        plan.save(tmp_path / "plan.npz")
        assert_same(Plan.load(tmp_path / "plan.npz"), plan)


def test_files_of_version_1_are_read(tmp_path: Path):
    """They have the fields of crop and chains, and nothing else."""
    plan = draw(range(5))
    arrays = {name: getattr(plan, name) for name in FIELDS}
    np.savez(tmp_path / "plan.npz", version=1, size=plan.size, crop_padding=4, **arrays)
    assert_same(Plan.load(tmp_path / "plan.npz"), plan)


def test_files_of_version_2_are_read(tmp_path: Path):
    """They have noise, hole and pairs by these names, and the weight of pairs as ``share``."""
    plan = draw_all(range(5))
    arrays = {name: getattr(plan, name) for name in FIELDS}
    for name in ("noise", "hole", "pairs"):
        stage = getattr(plan, name)
        for field in fields_of(type(stage)):
            old = "share" if field.name == "weight" else field.name
            value = getattr(stage, field.name)
            arrays[f"{name}.{old}"] = np.uint64(value) if field.name == "seed" else value
    np.savez(tmp_path / "plan.npz", version=2, size=plan.size, crop_padding=0, **arrays)
    assert_same(Plan.load(tmp_path / "plan.npz"), plan)


@pytest.mark.parametrize("lost", ["2.seed", "ids", "stages"])
def test_files_without_a_field_are_refused(tmp_path: Path, lost: str):
    path = tmp_path / "plan.npz"
    draw_all(range(2)).save(path)
    with np.load(path) as file:
        arrays = {key: value for key, value in file.items() if key != lost}
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=f"plan.npz is not a plan of version 3: field '{lost}'"):
        Plan.load(path)


def test_files_with_an_unknown_stage_are_refused(tmp_path: Path):
    path = tmp_path / "plan.npz"
    draw(range(2)).save(path)
    with np.load(path) as file:
        arrays = {**file, "stages": np.array(["crop", "ripples"])}
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="no stage 'ripples' is registered; import the module"):
        Plan.load(path)


def test_a_slice_of_a_plan_with_every_stage():
    plan = draw_all(range(6))
    assert plan.pairs is not None
    order = np.array([4, 2, 0, 1, 3, 5])
    sliced = plan[order]
    assert_same(sliced[np.argsort(order)], plan)
    lonely = int(np.flatnonzero(plan.pairs.partner != np.arange(6))[0])
    with pytest.raises(ValueError, match="must hold both images of every pair"):
        plan[[lonely]]


def test_plans_with_every_stage_are_joined():
    plans = [draw_all([0, 1, 2]), draw_all([7, 9])]
    joined = concatenate(plans)
    assert_same(joined[:3], plans[0])
    assert_same(joined[3:], plans[1])
    with pytest.raises(ValueError, match="must agree in"):
        concatenate([draw_all([0]), draw_all([1], Mixup)])
    with pytest.raises(ValueError, match="must agree in"):
        concatenate([draw_all([0]), draw([1])])


def test_other_files_are_refused(tmp_path: Path):
    path = tmp_path / "plan.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match="not a plan of version 1..3"):
        Plan.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="not a saved plan"):
        Plan.load(path)


def test_with_clean_puts_the_image_in_front():
    plan = draw(range(3))
    clean = plan.with_clean()
    assert clean.num_views == 3
    assert not clean.mix[0].any()
    assert (clean.op[0] == Op.NONE).all()
    np.testing.assert_allclose(clean.weight.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(clean.op[1:], plan.op)


def test_fields_must_agree():
    chains = draw(range(3)).chains
    with pytest.raises(Exception, match="weight|shape|type"):
        replace(draw(range(3)), stages=(replace(chains, weight=chains.weight[:, :2]),))
    with pytest.raises(ValueError, match=r"field op of stage chains must be int8 .* = \(2, 2, "):
        replace(draw(range(2)), stages=(chains,))


def test_stages_on_images_come_before_those_on_views():
    plan = draw_all(range(2))
    with pytest.raises(ValueError, match="stage 'crop' takes 8-bit images, so it must come before"):
        replace(plan, stages=(*plan.stages, *plan.stages))


def test_a_stage_is_added_where_it_belongs():
    plan = draw_all(range(3))
    kinds = [CropFlip, Chains, Noise, Hole, Pairs]
    assert [type(stage) for stage in plan.stages] == kinds
    for kind in (Noise, Hole, Pairs):
        stage = plan.find(kind)
        assert stage is not None
        assert plan.without(kind).find(kind) is None
        again = plan.without(kind).with_stage(stage)
        assert [type(stage) for stage in again.stages] == kinds


def test_a_plan_without_stages_has_the_images_as_its_view():
    plan = Plan(ids=np.arange(3), size=(4, 5), stages=())
    assert (plan.num_views, plan.crop_padding, plan.noise) == (1, 0, None)
    assert (plan.crop.tolist(), plan.flip.tolist()) == ([[0, 0]] * 3, [False] * 3)
    assert not plan.mix.any()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (np.zeros((1, 3, 4), np.int32), r"field box of stage hole must be int32 .* = \(2, 3, 4\)"),
        (np.full((2, 3, 4), 22, np.int32), r"within 20x24 pixels, got \[22, 22, 22, 22\]"),
    ],
    ids=["views", "outside"],
)
def test_boxes_must_fit(box: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        draw(range(3)).with_stage(Hole(box=box, fill=np.full(1, 0.5, np.float32)))


def test_describe_names_every_stage():
    plan = draw_all(range(4)).without(Hole).without(Pairs)
    plan = plan.with_stage(
        Hole(
            box=np.tile(np.array([0, 3, 5, 9], np.int32), (2, 4, 1)),
            fill=np.full(1, 0.5, np.float32),
        )
    )
    pairs = Pairs(
        partner=np.array([1, 2, 3, 0]),
        weight=np.array([0.75, 1, 1, 1], np.float32),
        box=np.tile(np.array([0, 0, 10, 12], np.int32), (4, 1)),
        is_cut=True,
    )
    lines = plan.with_stage(pairs).describe(0).splitlines()
    assert lines[-2:] == [
        "  then: level 0.50 in rows 0..4, columns 3..8",
        "  then: 0.75 itself + 0.25 image 1 in rows 0..9, columns 0..11",
    ]
    assert lines[-3].startswith("  then: noise up to 0.")
    assert "image 2" not in plan.with_stage(pairs).describe(1).split("then", 1)[1]
    blended = plan.without(Hole).with_stage(replace(pairs, is_cut=False))
    assert blended.describe(0).splitlines()[-1] == "  then: 0.75 itself + 0.25 image 1"


def test_check_plan_names_both_sizes():
    with pytest.raises(ValueError, match="3 images of 20x24 pixels, got 4 of 20x20"):
        check_plan(draw(range(3)), (4, 20, 20, 3))


def test_describe_is_a_recipe():
    crop = CropFlip(padding=4, crop=np.array([[0, 7]], np.int32), flip=np.array([True]))
    chains = Chains(
        op=np.array([[[[Op.ROTATE, Op.POSTERIZE], [Op.NONE, Op.NONE]]]], np.int8),
        amount=np.array([[[[-5.0, 4.0], [0.0, 0.0]]]]),
        weight=np.array([[[0.25, 0.75]]], np.float32),
        mix=np.array([[0.4]], np.float32),
    )
    plan = Plan(ids=np.array([9]), size=(32, 32), stages=(crop, chains))
    assert plan.describe(0).splitlines() == [
        "image 9, view 0: 0.60 clean + 0.40 mixture",
        "  first: mirrored, moved +4 px down, -3 px right",
        "  0.25 * rotate -5 deg -> posterize 4 bits",
        "  0.75 * unchanged",
    ]


@pytest.mark.parametrize(
    ("op", "amount", "text"),
    [
        (Op.SHEAR_X, -0.05, "shear_x -0.050 shear"),
        (Op.TRANSLATE_Y, 2.0, "translate_y +2 px"),
        (Op.TRANSLATE_Y, 2.5, "translate_y +2.50 px"),
        (Op.EQUALIZE, 0.0, "equalize"),
        (Op.INVERT, 0.0, "invert"),
        (Op.COLOR, 0.5, "color 0.50 x"),
    ],
)
def test_describe_step(op, amount, text):
    assert describe_step(op, amount) == text

"""`batched.render` equals the definition, without looking at a value or waiting for the device."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from toy_plans import AMOUNTS, OPS, define, make_images, random_plan, single

import augmix
from augmix.augment import batched, compiled
from augmix.augment.batched import tensors
from augmix.augment.batched.packing import pack
from augmix.augment.ops import Op
from augmix.augment.plan import Plan
from augmix.augment.policies import (
    AugMix,
    AutoAugment,
    CutMix,
    Cutout,
    Mixup,
    PatchUniform,
    Policy,
    RandomAA,
    Standard,
)
from augmix.errors import RunError
from augmix.rng import Stream

SIZES = [(1, 1), (6, 1), (2, 2), (3, 3), (17, 33)]
POLICIES: dict[str, Policy] = {
    "standard": Standard(crop_padding=2, flip=True),
    "augmix": AugMix(crop_padding=2, flip=True),
    "autoaugment": AutoAugment(crop_padding=2, flip=True, full=True),
    "random-aa": RandomAA(ops="all", severity=8),
    "cutout": Cutout(size_px=4, fill=(0.3,), base=AugMix()),
    "cutout in colour": Cutout(size_px=5, fill=(0.1, 0.2, 0.9)),
    "patch-uniform": PatchUniform(size_px=9, random_size=True),
    "mixup": Mixup(base=AugMix(), per_image=True),
    "cutmix": CutMix(base=PatchUniform(size_px=6), probability=0.8, per_image=True),
}


def draw(policy: Policy, batch: int, size: tuple[int, int], *, num_views: int = 2) -> Plan:
    ids = np.arange(100, 100 + batch)
    return policy.sample(ids, num_views=num_views, size=size, stream=Stream(seed=batch))


def assert_equal_bits(views: torch.Tensor, expected: np.ndarray, plan: Plan) -> None:
    assert views.dtype == torch.float32
    assert tuple(views.shape) == expected.shape
    different = np.argwhere(views.cpu().numpy().view(np.uint32) != expected.view(np.uint32))
    assert not len(different), (
        f"{len(different)} values differ, first at {different[0]}:\n"
        f"{plan.describe(int(different[0][1]), int(different[0][0]))}"
    )


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_at_every_extreme(op: Op, channels: int) -> None:
    rng = np.random.default_rng(int(op))
    for size in SIZES:
        plan = single(op, AMOUNTS[op] * 4, size)
        images = make_images(rng, (len(plan), *size, channels))
        expected = define(images, plan)
        assert_equal_bits(batched.render(images, plan, device="cpu"), expected, plan)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_float32_alone_stays_within_a_grey_level(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    """What devices without float64 get, but for amounts that only float64 can tell apart."""
    monkeypatch.setattr(batched, "real_of", lambda device: "float32")
    amounts = tuple(one for one in AMOUNTS[op] if abs(one) < 1e6 and one == round(one, 6))
    plan = single(op, amounts * 8, (32, 32))
    images = make_images(np.random.default_rng(0), (len(plan), 32, 32, 3))
    views = batched.render(images, plan, device="cpu")
    off = np.abs(views.numpy() - define(images, plan)) * 255
    assert (off > 1.001).mean() <= 0.001
    assert (off > 0.001).mean() <= 0.01


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_chains_equal_the_compiled_ones(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    size = (data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)))
    axes = [data.draw(st.integers(low, 4)) for low in (1, 0, 1, 1)]  # view batch chain depth
    plan = random_plan(rng, size, tuple(axes))
    images = make_images(rng, (len(plan), *size, data.draw(st.sampled_from([1, 3]))))
    expected = compiled.render(images, plan)
    assert_equal_bits(batched.render(images, plan, device="cpu"), expected, plan)


@pytest.mark.parametrize("name", POLICIES)
def test_the_plans_of_the_policies(name: str) -> None:
    plan = draw(POLICIES[name], 12, (19, 23)).with_clean()
    images = make_images(np.random.default_rng(0), (12, 19, 23, 3))
    expected = define(images, plan)
    assert_equal_bits(batched.render(images, plan, device="cpu"), expected, plan)


def test_pieces_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = draw(AugMix(ops="all"), 9, (20, 24))
    images = make_images(np.random.default_rng(0), (9, 20, 24, 3))
    whole = batched.render(images, plan, device="cpu").numpy()
    monkeypatch.setitem(tensors._PIECE, "cpu", 5 * 20 * 24 * 3)
    assert_equal_bits(batched.render(images, plan, device="cpu"), whole, plan)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_other_types_and_layouts(
    noise: np.ndarray, dtype: torch.dtype, channels_last: bool
) -> None:
    plan = draw(AugMix(), 8, (20, 24))
    views = batched.render(noise, plan, device="cpu", dtype=dtype, channels_last=channels_last)
    expected = torch.from_numpy(define(noise, plan)).to(dtype)
    assert torch.equal(views, expected)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    assert views.flatten(0, 1).is_contiguous(memory_format=memory)
    assert views.data_ptr() == views.flatten(0, 1).data_ptr()


def test_images_as_tensors_of_any_strides(noise: np.ndarray) -> None:
    plan = draw(AugMix(), 8, (20, 12))
    images = torch.from_numpy(noise)[:, :, ::2]
    expected = define(images.numpy(), plan)
    assert_equal_bits(batched.render(images, plan), expected, plan)


def test_a_plan_is_sent_in_one_copy(noise: np.ndarray) -> None:
    plan = draw(CutMix(base=Cutout(base=PatchUniform(size_px=4)), probability=1.0), 8, (20, 24))
    arrays, _ = batched.upload(pack(plan, 3), torch.device("cpu"))
    tensors = [*arrays[:-1], *(values for stage in arrays.stages for values in stage.values())]
    assert len(tensors) == 10 + 3 + 2 + 3
    assert len({values.untyped_storage().data_ptr() for values in tensors}) == 1


@pytest.mark.parametrize("name", ["augmix", "mixup", "cutmix"])
def test_no_value_is_looked_at(name: str) -> None:
    """Fake tensors have no values: whatever depends on one, or waits for one, raises."""
    packed = pack(draw(POLICIES[name], 6, (12, 14)), 3)
    with FakeTensorMode() as mode:
        images = torch.empty(6, 12, 14, 3, dtype=torch.uint8)
        words = mode.from_tensor(torch.from_numpy(packed.words))
        arrays = batched.open_words(words, packed.layout)
        views = batched.execute(images, arrays, packed.layout, dtype=torch.bfloat16)
    assert tuple(views.shape) == (2, 6, 3, 12, 14)


_COMPILE = """
import numpy as np, torch
from augmix.augment import batched, render
from augmix.augment.batched.packing import pack
from augmix.augment.policies import AugMix, CutMix, Cutout
from augmix.rng import Stream
torch._dynamo.config.error_on_recompile = True
images = np.random.default_rng(0).integers(0, 256, (5, 9, 11, 3), dtype=np.uint8)
chains = AugMix(depth=1, ops="all", crop_padding=2, flip=True)
policy = CutMix(base=Cutout(size_px=3, base=chains), probability=1.0)
draw = lambda seed: policy.sample(
    np.arange(5), num_views=2, size=(9, 11), stream=Stream(seed=seed)
)
layout = pack(draw(0), 3).layout.with_full_capacity()
step = torch.compile(batched.execute, fullgraph=True, backend="aot_eager")
for seed in range(3):
    words = torch.from_numpy(pack(draw(seed), 3, layout=layout).words)
    views = step(torch.from_numpy(images), batched.open_words(words, layout), layout)
    assert np.array_equal(views.numpy(), render(images, draw(seed), executor="pillow")), seed
print("equal")
"""


@pytest.mark.slow
def test_one_graph_serves_every_plan_of_a_layout() -> None:
    """In a process of its own: the checked shapes of this one would be traced with the rest."""
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE],
        env=os.environ | {"PYTHONPATH": str(Path(augmix.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "equal\n", done.stderr


def test_out_of_memory_says_how_much_less(
    noise: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore")

    monkeypatch.setattr(batched, "execute", refuse)
    plan = draw(AugMix(), 8, (20, 24))
    with pytest.raises(RunError, match=r"render 8 images .* at most 4 at a time .*9 GiB\)$"):
        batched.render(noise, plan, device="cpu")


@pytest.mark.parametrize(("version", "told"), [((), "none"), ((3, 2), "3.2")])
def test_a_triton_that_is_missing_or_too_old_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], told: str
) -> None:
    device = torch.device("cuda")
    monkeypatch.setattr(batched, "_TRITON", version)
    assert batched.choose_backend(device) == "torch"
    with pytest.raises(ValueError, match=f"needs the package triton from 3.3 on, got {told}; inst"):
        batched.choose_backend(device, "triton")
    monkeypatch.setattr(batched, "_TRITON", (3, 3))
    assert [batched.choose_backend(device, name) for name in ("auto", "triton")] == 2 * ["triton"]
    assert batched.choose_backend(torch.device("cpu")) == "torch"


def test_the_version_of_triton_is_read_without_importing_it() -> None:
    triton = pytest.importorskip("triton")
    assert ".".join(map(str, batched._TRITON)) == ".".join(triton.__version__.split(".")[:2])


def test_errors_name_what_was_expected(noise: np.ndarray) -> None:
    plan = draw(AugMix(), 8, (20, 24))
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda, .* got 'cuba'"):
        batched.render(noise, plan, device="cuba")
    with pytest.raises(ValueError, match="device must be a name such as 'cuda:1', got 'cpu:x'"):
        batched.render(noise, plan, device="cpu:x")
    with pytest.raises(RunError, match="'cuda:99' was asked for, but torch .* finds"):
        batched.render(noise, plan, device="cuda:99")
    with pytest.raises(ValueError, match="backend must be 'auto', 'torch' or 'triton'"):
        batched.choose_backend(torch.device("cpu"), "cuda")
    with pytest.raises(ValueError, match="dtype must be one of float32, .* got float64"):
        batched.render(noise, plan, device="cpu", dtype=torch.float64)
    with pytest.raises(ValueError, match="the plan was drawn for 8 images"):
        batched.render(noise[:7], plan, device="cpu")
    with pytest.raises(TypeError, match="uint8 in 0..255, got torch.float32"):
        batched.render(torch.from_numpy(noise).float(), plan)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        batched.render(torch.from_numpy(noise)[..., :2], plan)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("name", POLICIES)
def test_on_a_gpu(name: str, backend: batched.Backend) -> None:
    plan = draw(POLICIES[name], 64, (65, 47)).with_clean()
    images = make_images(np.random.default_rng(0), (64, 65, 47, 3))
    views = batched.render(images, plan, device="cuda", backend=backend)
    assert_equal_bits(views, define(images, plan), plan)

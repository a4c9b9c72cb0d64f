"""`compiled.render` gives the bits of the definition, whatever the plan and the images."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_plans import (
    AMOUNTS,
    OPS,
    assert_equal_bits,
    change,
    draw_images,
    make_plan,
    single,
)

import augmix
from augmix import jit
from augmix.augment import compiled
from augmix.augment.compiled import mixing, rotations, tables, warps
from augmix.augment.ops import Op
from augmix.augment.policies import AugMix
from augmix.augment.stages.chains import Chains
from augmix.rng import Stream

SIZES = [(1, 1), (1, 7), (6, 1), (2, 2), (2, 9), (3, 3), (17, 33), (32, 32), (31, 70)]
RANGES = {
    Op.ROTATE: (-800.0, 800.0),
    Op.SHEAR_X: (-3.0, 3.0),
    Op.SHEAR_Y: (-3.0, 3.0),
    Op.TRANSLATE_X: (-90.0, 90.0),
    Op.TRANSLATE_Y: (-90.0, 90.0),
    Op.COLOR: (-2.0, 4.0),
    Op.CONTRAST: (-2.0, 4.0),
    Op.BRIGHTNESS: (-2.0, 4.0),
    Op.SHARPNESS: (-2.0, 4.0),
}


@st.composite
def random_steps(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Operations and amounts, the listed extremes as often as anything in between."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    op = rng.integers(0, len(Op), shape)
    amount = np.zeros(shape)
    for index, kind in np.ndenumerate(op):
        if kind in RANGES and rng.random() < 0.6:
            amount[index] = rng.uniform(*RANGES[Op(kind)])
        elif kind:
            amount[index] = rng.choice(AMOUNTS[Op(kind)])
    return op, amount


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_at_every_extreme(op: Op, channels: int) -> None:
    rng = np.random.default_rng(int(op))
    for size in SIZES:
        plan = single(op, AMOUNTS[op], size)
        for kind in ("noise", "levels", "flat", "spot", "slope"):
            assert_equal_bits(draw_images(rng, kind, (len(plan), *size, channels)), plan)


@pytest.mark.parametrize("op", list(RANGES), ids=lambda op: op.name)
def test_every_continuous_operation_at_many_amounts(op: Op) -> None:
    rng = np.random.default_rng(int(op))
    amounts = tuple(rng.uniform(*RANGES[op], 40)) + tuple(rng.uniform(-0.3, 0.3, 40))
    for size in ((32, 32), (19, 67)):
        images = draw_images(rng, "noise", (len(amounts), *size, 3))
        assert_equal_bits(images, single(op, amounts, size))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_chains(data: st.DataObject) -> None:
    draw = data.draw
    side = st.one_of(st.integers(1, 12), st.integers(1, 48))
    size = (draw(side), draw(side))
    batch, views, channels = (
        draw(st.integers(0, 4)),
        draw(st.integers(1, 3)),
        draw(st.sampled_from([1, 3])),
    )
    chains, depth = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    op, amount = draw(random_steps((views, batch, chains, depth)))
    seed = draw(st.integers(0, 2**32))
    plan = make_plan(op, amount, size, seed=seed, padding=draw(st.sampled_from([0, 0, 1, 4])))
    kind = draw(st.sampled_from(["noise", "slope", "levels", "flat", "spot"]))
    images = draw_images(np.random.default_rng(seed), kind, (batch, *size, channels))
    assert_equal_bits(images, plan, num_threads=draw(st.integers(1, 4)))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_chains_on_large_images(data: st.DataObject) -> None:
    side = st.integers(49, 256)
    size = (data.draw(side), data.draw(side))
    op, amount = data.draw(random_steps((2, 2, 3, 3)))
    plan = make_plan(op, amount, size, seed=size[0])
    images = draw_images(np.random.default_rng(size[1]), "noise", (2, *size, 3))
    assert_equal_bits(images, plan, num_threads=2)


@pytest.mark.parametrize("ops", ["paper", "all"])
@pytest.mark.parametrize("severity", [1, 3, 10])
@pytest.mark.parametrize("size", [(32, 32), (224, 224)], ids=str)
def test_the_plans_of_the_policy(ops: str, severity: int, size: tuple[int, int]) -> None:
    count = 40 if size[0] == 32 else 3
    policy = AugMix(severity=severity, ops=ops, crop_padding=4, flip=True)
    plan = policy.sample(np.arange(count), num_views=2, size=size, stream=Stream(seed=severity))
    images = draw_images(np.random.default_rng(0), "slope", (count, *size, 3))
    assert_equal_bits(images, plan.with_clean(), num_threads=2)


@pytest.mark.parametrize(
    "strided",
    [
        lambda images: images[::2, ::2, ::2],
        lambda images: images[::-1, ::-1, ::-1, ::-1],
        lambda images: images.transpose(0, 2, 1, 3),
        lambda images: np.asfortranarray(images),
        lambda images: images[..., 1:2],
        lambda images: np.broadcast_to(images[:1, :1], images.shape),
    ],
    ids=["slices", "negative", "transposed", "fortran", "one channel", "broadcast"],
)
def test_images_of_any_strides(noise: np.ndarray, strided) -> None:
    images = strided(noise)
    assert not images.flags.c_contiguous
    plan = AugMix(ops="all", severity=8).sample(
        np.arange(len(images)), num_views=2, size=images.shape[1:3], stream=Stream(seed=1)
    )
    before = images.copy()
    assert_equal_bits(images, plan)
    np.testing.assert_array_equal(images, before)


def test_read_only_images_and_plans(noise: np.ndarray) -> None:
    plan = AugMix().sample(np.arange(8), num_views=2, size=(20, 24), stream=Stream(seed=1))
    for array in (noise, plan.op, plan.amount, plan.weight, plan.mix, plan.crop, plan.flip):
        array.flags.writeable = False
    assert_equal_bits(noise, plan)


def test_any_number_of_threads_gives_the_same_bits(noise: np.ndarray) -> None:
    plan = AugMix(ops="all").sample(np.arange(8), num_views=3, size=(20, 24), stream=Stream(seed=2))
    one = compiled.render(noise, plan)
    for num_threads in (2, 3, 4, 100):
        assert compiled.render(noise, plan, num_threads=num_threads).tobytes() == one.tobytes()


_FORK = """
import os
import numpy as np
from augmix.augment import compiled
from augmix.augment.policies import AugMix
from augmix.rng import Stream
plan = AugMix().sample(np.arange(9), num_views=2, size=(8, 8), stream=Stream(seed=0))
images = np.arange(9 * 8 * 8 * 3).reshape(9, 8, 8, 3).astype(np.uint8)
before = compiled.render(images, plan, num_threads=2)
child = os.fork()
after = compiled.render(images, plan, num_threads=2)
if not child:
    os._exit(0 if np.array_equal(before, after) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_threads_in_a_forked_process() -> None:
    """A DataLoader worker is a fork of a process whose threads it does not have."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORK],
        env=os.environ | {"PYTHONPATH": str(Path(augmix.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr


def test_both_ways_to_look_up_agree() -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 63, 64, 65, 1000):
        pixels, table = rng.integers(0, 256, size, dtype=np.uint8), rng.permutation(256)
        results = []
        for way in (tables.look_up, tables._look_up_one_by_one):
            result = np.empty_like(pixels)
            way(pixels, table.astype(np.uint8), result)
            results.append(result)
            np.testing.assert_array_equal(result, table[pixels])


def test_memory_of_large_views_is_used_again_only_when_nothing_is_left_on_it() -> None:
    images = np.zeros((8, 224, 224, 3), np.uint8)
    plan = single(Op.INVERT, (0.0,) * 8, (224, 224))
    first = compiled.render(images, plan)
    address, part = first.ctypes.data, torch.from_numpy(first[0, 3])
    del first
    second = compiled.render(images, plan)
    assert second.ctypes.data != address
    second[:] = 0
    assert (part == 1).all()
    del part
    assert compiled.render(images, plan).ctypes.data == address


def test_a_batch_of_no_images() -> None:
    plan = AugMix().sample(np.arange(0), num_views=2, size=(5, 6), stream=Stream(seed=0))
    views = compiled.render(np.zeros((0, 5, 6, 3), np.uint8), plan, num_threads=3)
    assert views.shape == (2, 0, 3, 5, 6)


def test_errors_name_what_was_expected(noise: np.ndarray) -> None:
    plan = AugMix().sample(np.arange(8), num_views=1, size=(20, 24), stream=Stream(seed=0))
    with pytest.raises(ValueError, match="num_threads must be at least 1, got 0"):
        compiled.render(noise, plan, num_threads=0)
    with pytest.raises(ValueError, match="the plan was drawn for 8 images of 20x24 pixels, got 7"):
        compiled.render(noise[:7], plan)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        compiled.render(noise[..., :2], plan)
    with pytest.raises(ValueError, match="posterize must keep 1..8 bits, got 0..9"):
        compiled.render(noise[:2], single(Op.POSTERIZE, (0.0, 9.0), (20, 24)))
    with pytest.raises(ValueError, match="finite"):
        compiled.render(noise[:1], single(Op.ROTATE, (np.nan,), (20, 24)))
    broken = change(plan, Chains, op=np.full_like(plan.op, 15))
    with pytest.raises(ValueError, match=r"operations of a plan must be 0\.\.14, got 15"):
        compiled.render(noise, broken)


_RENDER = """
import numpy as np
from augmix.augment import compiled
from augmix.augment.policies import AugMix
from augmix.rng import Stream
plan = AugMix().sample(np.arange(2), num_views=1, size=(8, 8), stream=Stream(seed=0))
images = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
total = compiled.render(images, plan).sum()
stats = compiled._render_pairs.stats
print(compiled.__file__, stats.cache_path, sum(stats.cache_hits.values()), total)
"""


def run_alone(folder: Path, **environment: str) -> list[str]:
    """What `_RENDER` prints in a process of its own, with the package found in a folder."""
    own = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _RENDER],
        env=os.environ | own | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout.split()


def test_kernels_are_kept_on_disk(noise: np.ndarray) -> None:
    plan = AugMix().sample(np.arange(8), num_views=1, size=(20, 24), stream=Stream(seed=0))
    compiled.render(noise, plan)  # compiled and kept now, if they were not
    cache_path = compiled._render_pairs.stats.cache_path
    if cache_path is None:
        pytest.skip("no folder for kernels can be written here")
    assert list(Path(cache_path).glob("*render_pairs*.nbc"))
    file, used, hits, _ = run_alone(Path(augmix.__file__).parents[1])
    assert (file, used, hits) == (compiled.__file__, cache_path, "1")


@pytest.mark.slow
def test_where_no_folder_can_be_written_kernels_are_compiled_again(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(augmix.__file__).parent, tmp_path / "augmix", ignore=ignored)
    (tmp_path / "augmix" / "augment" / "compiled" / "__pycache__").write_text(
        "a file where a folder belongs"
    )
    nowhere = str(tmp_path / "augmix" / "py.typed" / "below a file")
    file, used, hits, total = run_alone(
        tmp_path, HOME=nowhere, XDG_CACHE_HOME=nowhere, NUMBA_CACHE_DIR=nowhere
    )
    assert file.startswith(str(tmp_path))
    assert (used, hits) == ("None", "0")
    assert total == run_alone(Path(augmix.__file__).parents[1])[3]


def test_a_kernel_knows_the_sources_of_its_parts(tmp_path: Path) -> None:
    """Numba looks at the outer kernel's file only; its other files come in by their checksum."""
    part = tmp_path / "part.py"
    module = ModuleType("part")
    module.__file__ = str(part)
    part.write_text("a = 1")
    stamp = jit.source_stamp(module, warps)
    part.write_text("a = 2")
    assert jit.source_stamp(module, warps) != stamp
    closure = [cell.cell_contents for cell in compiled._render_pairs.py_func.__closure__]
    assert closure == [jit.source_stamp(mixing, rotations, tables, warps)]


def test_a_full_disk_does_not_stop_rendering(
    noise: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full_once(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        kernel(*arguments)

    kernel = compiled._render_pairs
    plan = AugMix().sample(np.arange(8), num_views=1, size=(20, 24), stream=Stream(seed=0))
    expected = compiled.render(noise, plan)
    monkeypatch.setattr(compiled, "_render_pairs", full_once)
    np.testing.assert_array_equal(compiled.render(noise, plan), expected)
    assert len(calls) == 2

"""The Triton kernels give Pillow's bits by Triton's interpreter, and compile for GPUs.

Triton decides at its first import whether it is interpreted, so both happen in processes of their
own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="the package triton is not installed")

import augmix  # noqa: E402

VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])
TESTS = Path(__file__).parents[2]


def run_alone(code: str, *words: str, **environment: str) -> str:
    """What a process prints that finds the package and the tests' plans."""
    paths = [str(Path(augmix.__file__).parents[1]), str(TESTS)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert not done.returncode, done.stderr[-4000:]
    return done.stdout


_INTERPRET = """
import sys
import numpy as np, torch
from toy_plans import AMOUNTS, OPS, define, make_images, single
from augmix.augment import batched
from augmix.augment.batched import triton as kernels
from augmix.augment.batched.packing import pack
from augmix.augment.plan import concatenate
from augmix.augment.policies import AugMix, CutMix, Cutout
from augmix.rng import Stream

assert kernels.is_interpreted()

def check(name, images, plan):
    views = batched.render(images, plan, device="cpu", backend="triton").numpy()
    expected = define(images, plan)
    different = np.argwhere(views.view(np.uint32) != expected.view(np.uint32))
    assert not len(different), (
        name, len(different), different[0], plan.describe(different[0][1], different[0][0])
    )
    return views

def draw(policy, batch, size):
    return policy.sample(np.arange(batch), num_views=2, size=size, stream=Stream(seed=1))

rng = np.random.default_rng(0)
is_whole = sys.argv[1:] == ["whole"]
sizes = ((3, (1, 1), 1), (3, (7, 11), 4), (1, (8, 9), 2)) if is_whole else ((3, (5, 4), 1),)
for channels, size, most in sizes:
    plan = concatenate([single(op, AMOUNTS[op][-most:], size) for op in OPS])
    check("every operation", make_images(rng, (len(plan), *size, channels)), plan)

size, num = ((20, 19), 3) if is_whole else ((6, 5), 2)
images = make_images(rng, (num, *size, 3))
plan = draw(AugMix(ops="all", severity=9, crop_padding=3, flip=True), num, size).with_clean()
views = check("chains", images, plan)
half = batched.render(
    images, plan, device="cpu", backend="triton", dtype=torch.float16, channels_last=True
)
assert torch.equal(half, torch.from_numpy(views).half())
assert half.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
check("no image", images[:0], draw(AugMix(), 0, size))
if is_whole:
    kernels._SCRATCH_BYTES = 2 * 3 * 3 * 4 * (2 * 20 * 19 + 768)  # two images at a time
    assert np.array_equal(check("chains in parts", images, plan), views)
    kernels._COUNTED, kernels._COUNTED_BLOCKS = 64, 2  # three programs count an image
    assert np.array_equal(check("counts in parts", images, plan), views)
    plan = draw(CutMix(base=Cutout(size_px=4, base=AugMix()), probability=1.0), 3, (12, 12))
    check("holes and pairs", make_images(rng, (3, 12, 12, 3)), plan)
    step = torch.compile(batched.execute, fullgraph=True, backend="aot_eager")
    plan = draw(AugMix(), 2, (6, 5))
    arrays, layout = batched.upload(pack(plan, 3), torch.device("cpu"))
    compiled = step(torch.from_numpy(images[:2, :6, :5]), arrays, layout, backend="triton")
    assert np.array_equal(compiled.numpy(), define(images[:2, :6, :5], plan))
print("equal")
"""


@pytest.mark.skipif(VERSION < (3, 9), reason="older interpreters do not work with NumPy 2.4")
@pytest.mark.parametrize("part", ["small", pytest.param("whole", marks=pytest.mark.slow)])
def test_interpreted_kernels_give_pillows_bits(part: str) -> None:
    assert run_alone(_INTERPRET, part, TRITON_INTERPRET="1") == "equal\n"


_PRIMITIVES = """
import sys
import numpy as np
from augmix.augment import batched, render
from augmix.augment.batched import triton_primitives as kernels
from augmix.augment.policies import PRIME, AugMix
from augmix.augment.policies.prime import Primitives
from augmix.rng import Stream

def check(policy, batch, size, channels, seed=2**63 + 5):
    stream = Stream(seed=seed)
    plan = policy.sample(np.arange(batch), num_views=1, size=size, stream=stream).with_clean()
    images = np.random.default_rng(0).integers(0, 256, (batch, *size, channels), np.uint8)
    views = batched.render(images, plan, device="cpu", backend="triton").numpy()
    expected = render(images, plan, executor="pillow")
    far = np.abs(views - expected)
    assert far.max() <= 1e-6, far.max()  # logarithms may differ in their last bit
    assert (far[1] > 0).mean() < 1e-3
    return set(plan.find(Primitives).kind[1].ravel().tolist())

kernels._MODES = kernels._COLUMNS = 2  # several programs for the modes of an axis
assert check(PRIME(cutoff=3, width=1, color_strength=0.1), 3, (4, 3), 3) == {0, 1, 2, 3}
if sys.argv[1:] == ["whole"]:
    check(PRIME(cutoff=7, width=2, depth=2, filter_delta="centre", base=AugMix()), 3, (66, 65), 1)
    check(PRIME(cutoff=18), 3, (1, 5), 3)
    kernels._SCRATCH_BYTES = 1  # a view at a time
    check(PRIME(cutoff=4, batch_field=True), 3, (6, 5), 3)
print("equal")
"""


@pytest.mark.skipif(VERSION < (3, 9), reason="older interpreters do not work with NumPy 2.4")
@pytest.mark.parametrize("part", ["small", pytest.param("whole", marks=pytest.mark.slow)])
def test_interpreted_primitives_equal_the_definition(part: str) -> None:
    assert run_alone(_PRIMITIVES, part, TRITON_INTERPRET="1") == "equal\n"


_REFUSE = """
import numpy as np
from augmix.augment import batched
from augmix.augment.policies import AugMix
from augmix.rng import Stream
plan = AugMix().sample(np.arange(2), num_views=1, size=(8, 8), stream=Stream(seed=0))
try:
    batched.render(np.zeros((2, 8, 8, 3), np.uint8), plan, device="cpu", backend="triton")
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_without_interpreter_the_cpu_is_refused() -> None:
    printed = run_alone(_REFUSE, TRITON_INTERPRET="0")
    assert printed == "Triton kernels need a GPU, got images on the cpu; use backend 'torch'\n"


_COMPILE = """
import re
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from augmix.augment.batched import triton as kernels
from augmix.augment.batched import triton_primitives as primitives

TYPES = {
    **dict.fromkeys(("images", "tables"), "*u8"),
    **dict.fromkeys(("crop", "clean", "pixels", "target", "kind", "value", "start"), "*i32"),
    "counts": "*i32",
    **{"moves": "*i32", "numbers": "*fp64", "weight": "*fp32", "clean_weight": "*fp32"},
}
COUNTED, BLOCK = kernels._COUNTED, kernels._BLOCK
PART = {"BLOCK": COUNTED, "NUM_BLOCKS": kernels._COUNTED_BLOCKS}
FORMS = [
    (kernels.load, {"CHANNELS": 3, "BLOCK": BLOCK}),
    (kernels.count, {"IS_FIRST": True, "IS_WHOLE": True, "CHANNELS": 3, **PART}),
    (kernels.count, {"IS_FIRST": False, "IS_WHOLE": False, "CHANNELS": 1, **PART}),
    (kernels.make_tables, {"IS_FIRST": False, "CHANNELS": 3, "BLOCK": COUNTED}),
    (kernels.make_tables, {"IS_FIRST": True, "CHANNELS": 1, "BLOCK": COUNTED}),
    (kernels.move, {"IS_FIRST": True, "CHANNELS": 3, "BLOCK": BLOCK}),
    (kernels.move, {"IS_FIRST": False, "CHANNELS": 1, "BLOCK": BLOCK}),
    (kernels.mix, {"CHANNELS": 3, "IS_LAST": True, "BLOCK": BLOCK, "out": "*bf16"}),
    (kernels.mix, {"CHANNELS": 3, "IS_LAST": False, "BLOCK": BLOCK, "out": "*fp32"}),
    (kernels.mix, {"CHANNELS": 1, "IS_LAST": False, "BLOCK": BLOCK, "out": "*fp16"}),
]
WORDS = {"kind": "*i8", "address": "*i64", "first": "*i32", "last": "*i32", "views": "*fp32",
    "temperature": "*fp32", "mix": "*fp32", "numbers": "*fp64", "rows": "*fp64", "source": "*fp64",
    "target": "*fp64", "changed": "*fp64", "key0": "i64", "key1": "i64"}
TERMS = {"CHANNELS": 3, "TERMS": 128, "BLOCK": primitives._BLOCK}
PRIMITIVES = [
    (primitives.draw, {"TERMS": 128, **WORDS}),
    (primitives.sum_waves, {"MODES": 16, "BLOCK": 32, **WORDS}),
    (primitives.change, {"IS_FIRST": True, **TERMS, **WORDS, "source": "*fp32"}),
    (primitives.change, {"IS_FIRST": False, **TERMS, **WORDS}),
    (primitives.combine, {"CHANNELS": 1, "BLOCK": primitives._BLOCK, **WORDS, "out": "*fp32"}),
]
TARGETS = [("cuda", 90, 32), ("cuda", 80, 32), ("hip", "gfx942", 64)]
for target in (GPUTarget(*one) for one in TARGETS):
    for kernel, constants in FORMS + PRIMITIVES:
        own = {name: value for name, value in constants.items() if isinstance(value, str)}
        constants = {name: value for name, value in constants.items() if name not in own}
        types = TYPES | own
        signature = {name: types.get(name, "i32") for name in kernel.arg_names}
        signature |= dict.fromkeys(constants, "constexpr")
        positions = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
        source = ASTSource(fn=kernel, signature=signature, constexprs=positions)
        made = triton.compile(source, target=target, options={"enable_fp_fusion": False})
        fused = re.findall(r"fma[.]rn[.]f(?:32|64)", made.asm.get("ptx", ""))
        if "_normals" in kernel.src:  # whose logarithm is a function of the vendor
            fused = []
        print(target.arch, kernel.__name__, len(fused))
"""


@pytest.mark.slow
@pytest.mark.skipif(VERSION < (3, 3), reason="this Triton is too old for the kernels")
def test_kernels_compile_for_gpus_without_fused_products(tmp_path: Path) -> None:
    printed = run_alone(_COMPILE, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    lines = printed.splitlines()
    assert len(lines) == 45
    assert [line for line in lines if not line.endswith(" 0")] == []

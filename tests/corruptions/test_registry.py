"""The table of corruptions, and those of the user's own: registered in Python, or from a file."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

import augmix
from augmix.corruptions import CIFAR_BAR, EXTRA_4, IMAGENET_BAR, PAPER_15, registry
from augmix.corruptions.registry import CORRUPTIONS, SEQUENCES, resolve_preset
from augmix.errors import RunError

CODE = """
import numpy as np
import augmix
import c_helper

@augmix.register_corruption("scratches", severities=(1, 2, 4, 8, 16))
def scratches(image, count, *, generator):
    image[generator.integers(0, len(image), count)] = 255
    return image

@augmix.register_corruption(severities={
    "cifar": (0.9, 0.8, 0.7, 0.6, 0.5), "tiny": (0, 0, 0, 0, 0), "imagenet": (1, 1, 1, 1, 1),
})
def darker(image, factor, *, generator):
    return (image * factor).astype(np.uint8)

def plain(image, severity, *, generator):
    return np.full_like(image, severity)

@augmix.register_sequence("drift", parameters=(3,), num_frames=5)
def drift(scene, step, *, num_frames, generator):
    for frame in range(num_frames):
        yield np.roll(scene.crop(), frame * step, axis=1)

def failing(image, severity, *, generator):
    return image[0] / {}

def floats(image, severity, *, generator):
    return image / 255

def fog(image, severity, *, generator):
    return image

number = 3
"""


@pytest.fixture(autouse=True)
def restored():
    """Leave the registries as they were."""
    kept = dict(CORRUPTIONS), dict(SEQUENCES)
    yield
    for known, entries in zip((CORRUPTIONS, SEQUENCES), kept, strict=True):
        known.clear()
        known.update(entries)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "c_helper.py").write_text("")
    (tmp_path / "c_own.py").write_text(CODE)
    return tmp_path / "c_own.py"


def test_table():
    assert len(PAPER_15) == 15
    bar = dict.fromkeys((*CIFAR_BAR, *IMAGENET_BAR))
    assert (*PAPER_15, *EXTRA_4, *bar) == tuple(CORRUPTIONS)
    groups = [corruption.group for corruption in CORRUPTIONS.values()]
    order = ["noise", "blur", "weather", "digital", "extra", "c-bar"]
    assert groups == sorted(groups, key=order.index)
    for number, (name, corruption) in enumerate(CORRUPTIONS.items()):
        assert corruption.name == name == corruption.function.__name__
        assert corruption.number == number
        assert corruption.suite == ("c-bar" if name in bar else "c")
        assert set(corruption.parameters) == set(registry.PRESETS)
        assert all(len(severities) == 5 for severities in corruption.parameters.values())


def test_names_and_protocols():
    resolve = CORRUPTIONS.resolve
    assert resolve("paper-15") == PAPER_15
    assert resolve(["snow"]) == ("snow",)
    mixed = resolve(("fog", "extra-4", "spatter", "paper-15"))
    assert mixed[:5] == ("fog", *EXTRA_4)
    assert sorted(mixed) == sorted((*PAPER_15, *EXTRA_4))
    with pytest.raises(ValueError, match="unknown corruption 'paper15', did you mean 'paper-15'"):
        resolve(["fog", "paper15"])
    with pytest.raises(ValueError, match="did you mean 'frost'.*the lists paper-15, extra-4"):
        resolve("frosty")
    with pytest.raises(ValueError, match="names must be at least one corruption"):
        resolve(())


INCEPTION = {  # as written in make_imagenet_c_inception.py
    "gaussian_noise": ".09 .13 .19 .27 .40",
    "shot_noise": "50 20 10 5 3",
    "impulse_noise": ".04 .07 .10 .18 .28",
    "speckle_noise": ".16 .21 .36 .46 .61",
    "gaussian_blur": "1.5 2.5 3.5 4.5 6.5",
    "glass_blur": "(.8,1,3) (1,3,1) (1.1,2,4) (1.2,4,2) (1.6,5,2)",
    "defocus_blur": "(4,.1) (5,.5) (7,.5) (10,.5) (12,.5)",
    "motion_blur": "(12,4) (17,6) (17,9) (17,13) (22,16)",
    "fog": "(1.5,2) (2,2) (2.5,1.8) (2.5,1.6) (3,1.5)",
    "spatter": ".65,.3,4,.69,.9,0 .65,.3,3.5,.68,.9,0 .65,.3,3,.68,.8,0 "
    ".65,.3,1.2,.65,1.8,1 .67,.4,1.2,.65,1.8,1",
    "jpeg_compression": "23 16 13 8 5",
    "pixelate": ".5 .4 .3 .25 .2",
}


def test_the_numbers_for_299_pixels():
    for name, row in CORRUPTIONS.items():
        ours, of_224 = row.parameters["imagenet-299"], row.parameters["imagenet"]
        if name in INCEPTION:
            cells = [cell.strip("()").split(",") for cell in INCEPTION[name].split()]
            assert ours == tuple(tuple(float(part) for part in cell) for cell in cells), name
        elif name == "elastic_transform":
            np.testing.assert_allclose(np.array(ours) / 360, np.array(of_224) / 244)
        else:
            assert ours == of_224, name


def test_resolve_preset():
    assert resolve_preset("auto", (32, 32)) == "cifar"
    assert resolve_preset("auto", (48, 500)) == "cifar"
    assert resolve_preset("auto", (64, 64)) == "tiny"
    assert resolve_preset("auto", (200, 112)) == "tiny"
    assert resolve_preset("auto", (224, 224)) == "imagenet"
    assert resolve_preset("imagenet", (32, 32)) == "imagenet"
    with pytest.raises(
        ValueError, match="preset must be one of auto, cifar, tiny, imagenet, imagenet-299"
    ):
        resolve_preset("cifar10", (32, 32))


def test_a_function_registered_in_python(images: np.ndarray):
    @augmix.register_corruption("rows_off", severities=(1, 2, 3, 4, 5))
    def rows(image, count, *, generator):
        image[generator.permutation(len(image))[:count]] = 0
        return image

    before = images.copy()
    result = augmix.corrupt(images, "rows_off", severity=4, seed=2)
    np.testing.assert_array_equal(images, before)
    assert [(image == 0).all(axis=(1, 2)).sum() for image in result] == [4, 4, 4]
    assert (result[0] != result[1]).any()
    turned = augmix.corrupt(images[::-1], "rows_off", severity=4, seed=2, ids=np.array([2, 1, 0]))
    np.testing.assert_array_equal(turned[::-1], result)
    assert CORRUPTIONS.resolve(("rows_off", "fog")) == ("rows_off", "fog")
    entry = CORRUPTIONS["rows_off"]
    assert (entry.suite, entry.group, entry.is_own) == ("own", "own", True)
    assert entry.code_sha256 == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    assert "rows_off" not in {name for names in CORRUPTIONS.protocols.values() for name in names}


def test_the_address_depends_on_the_name_alone(images: np.ndarray):
    def noise(image, std, *, generator):
        return np.clip(image + std * generator.standard_normal(image.shape), 0, 255).astype("uint8")

    def draw(name: str) -> np.ndarray:
        augmix.register_corruption(name, severities=(9, 9, 9, 9, 9))(noise)
        return augmix.corrupt(images[:1], name, severity=3)

    first, second = draw("first_noise"), draw("second_noise")
    assert (first != second).any()
    for name in ("first_noise", "second_noise"):
        del CORRUPTIONS[name]
    np.testing.assert_array_equal(draw("second_noise"), second)
    np.testing.assert_array_equal(draw("first_noise"), first)
    assert (augmix.corrupt(images[:1], "first_noise", severity=4) != first).any()
    published = {
        (e.stream(0, s).seed, e.stream(0, s).part)
        for e in CORRUPTIONS.values()
        for s in (registry.SEVERITIES)
        if not e.is_own
    }
    own = CORRUPTIONS["first_noise"].stream(0, 3)
    assert (own.seed, own.part) not in published
    assert own.seed == 1399250589727046555  # kept for ever: results are compared by it


def test_a_file(images: np.ndarray, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    result = augmix.corrupt(images, f"python:{code}:scratches", severity=5)
    assert ((result == 255).all(axis=(2, 3)).sum(axis=1) > 5).all()
    np.testing.assert_array_equal(augmix.corrupt(images, "scratches", severity=5), result)
    assert (augmix.corrupt(images, f"python:{code}:plain", severity=2) == 2).all()
    for preset, factor in (("cifar", 0.8), ("tiny", 0), ("imagenet-299", 1)):
        dark = augmix.corrupt(images, f"python:{code}:darker", severity=2, preset=preset)
        np.testing.assert_array_equal(dark, (images * factor).astype(np.uint8))
    monkeypatch.chdir(tmp_path)
    names = CORRUPTIONS.resolve(["python:c_own.py:scratches", "fog", "python:c_own:plain"])
    assert names == ("scratches", "fog", "plain")
    digest = hashlib.sha256(code.read_bytes()).hexdigest()
    assert CORRUPTIONS.hash_own(names) == {"scratches": digest, "plain": digest}
    assert CORRUPTIONS.references(names) == (
        *(f"python:{code}:scratches", "fog", f"python:{code}:plain"),
    )


def test_an_edited_file_is_loaded_again(images: np.ndarray, code: Path):
    augmix.corrupt(images, f"python:{code}:plain", severity=2)
    before = CORRUPTIONS["plain"].code_sha256
    code.write_text(CODE.replace("np.full_like(image, severity)", "np.full_like(image, 100)"))
    assert (augmix.corrupt(images, f"python:{code}:plain", severity=2) == 100).all()
    assert CORRUPTIONS["plain"].code_sha256 != before


def test_a_sequence_of_a_file(images: np.ndarray, code: Path):
    frames = augmix.perturb(images, f"python:{code}:drift")
    assert frames.shape == (3, 5, 20, 24, 3)
    np.testing.assert_array_equal(frames[:, 2], np.roll(images, 6, axis=2))
    assert not SEQUENCES["drift"].is_noise
    assert registry.num_frames("drift", "tiny") == 5


def test_a_sequence_of_noise(images: np.ndarray):
    @augmix.register_sequence("grain", parameters=(1, 20, 60), num_frames=3, is_noise=True)
    def grain(scene, std, *, num_frames, generator):
        for _ in range(num_frames):
            noisy = scene.crop() + std * generator.standard_normal(scene.crop().shape)
            yield np.clip(noisy, 0, 255).astype(np.uint8)

    spread = [
        np.abs(augmix.perturb(images, "grain", difficulty=level)[0, 1] - images[0].astype(int))
        for level in (1, 2, 3)
    ]
    assert spread[0].mean() < spread[1].mean() < spread[2].mean()


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("failing", RunError, r"corruption 'failing' failed: TypeError: .*c_own.py, line \d+"),
        ("floats", RunError, "must return a uint8 image of shape (20, 24, 3), got float64 (20, 24"),
        ("fog", ValueError, "there is a corruption 'fog' already; give yours another name"),
        ("number", RunError, "must be a function, got int"),
        ("scratch", RunError, "c_own has no 'scratch', did you mean 'scratches'?"),
    ],
)
def test_mistakes_in_a_file(images: np.ndarray, code: Path, function, error, message):
    with pytest.raises(error, match=re.escape(message) if "(" in message else message):
        augmix.corrupt(images, f"python:{code}:{function}", severity=1)


def test_mistakes_of_a_registration(images: np.ndarray, code: Path):
    def function(image, *, generator):
        return image

    for settings, message in (
        ({"name": "paper-15"}, "there is a corruption 'paper-15' already"),
        ({"name": "a/b"}, "must be of letters, digits, _ and -, got 'a/b'"),
        ({"severities": (1, 2)}, "corruption 'function' needs five severities, got 2"),
        ({"severities": {"cifar": (1,) * 5}}, "must be for cifar, tiny, imagenet, imagenet-299"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            augmix.register_corruption(**settings)(function)
    with pytest.raises(ValueError, match="noise 'function' needs strengths for difficulty 1, 2"):
        augmix.register_sequence(is_noise=True, parameters=(1,))(function)
    with pytest.raises(ValueError, match="num_frames must be at least 2, got 1"):
        augmix.register_sequence(num_frames=1)(function)
    with pytest.raises(TypeError, match="expected a Python function, got ufunc"):
        augmix.register_corruption()(np.add)
    augmix.register_corruption("local")(function)
    with pytest.raises(RunError, match="must be a top-level function in a file to be used by sev"):
        CORRUPTIONS.references(["local"])
    CORRUPTIONS.resolve(f"python:{code}:scratches")
    with pytest.raises(ValueError, match=r"'scratches' already \(python:.*c_own.py:scratches\)"):
        augmix.register_corruption("scratches")(function)

    @augmix.register_sequence("short", num_frames=4)
    def short(scene, *, num_frames, generator):
        yield scene.crop()

    with pytest.raises(RunError, match="perturbation 'short' must yield 4 frames, got 1"):
        augmix.perturb(images, "short")

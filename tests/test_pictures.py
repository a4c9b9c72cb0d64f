"""Pictures show the bytes of the benchmark, and mistakes are found before anything is drawn."""

import inspect
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

import augmix
from augmix import pictures
from augmix.augment.ops import ALL_OPS
from augmix.corruptions import registry
from augmix.errors import RunError

SIZE = 32
TIMES = 4  # a pixel of 32 is shown as a square of 4
NAMES = ("gaussian_noise", "impulse_noise", "contrast")
GAP = 6


@pytest.fixture
def image() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIZE, SIZE)))


@pytest.fixture
def tops(monkeypatch: pytest.MonkeyPatch) -> list:
    """Gets the grid of every sheet that is drawn."""
    grids = []
    original = pictures._arrange

    def record(rows):
        grids.append(original(rows))
        return grids[-1]

    monkeypatch.setattr(pictures, "_arrange", record)
    return grids


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    original = pictures.Pen.text

    def record(self, x, y, text, **options):
        texts.append(text)
        original(self, x, y, text, **options)

    monkeypatch.setattr(pictures.Pen, "text", record)
    return texts


def tile(picture: Image.Image, x: int, y: int, times: int = TIMES, size: int = SIZE) -> np.ndarray:
    """The image at a position in a sheet, at its own size; its pixels must be whole squares."""
    box = np.asarray(picture)[y : y + times * size, x : x + times * size]
    small = box[::times, ::times]
    np.testing.assert_array_equal(box, small.repeat(times, axis=0).repeat(times, axis=1))
    return small


@pytest.mark.parametrize("channels", [1, 3])
def test_every_tile_is_what_corrupt_gives(image: np.ndarray, tops: list, channels: int):
    image = image[:, :, :channels]
    sheet = pictures.render_gallery(image, names=NAMES, preset="tiny", seed=5, sample=9)
    grid = tops[0]
    for name, top in zip(NAMES, grid.tops, strict=True):
        shown = [tile(sheet, grid.left + column * (128 + GAP), top) for column in range(6)]
        levels = [
            augmix.corrupt(
                image[None], name, severity=level, preset="tiny", seed=5, ids=np.array([9])
            )[0]
            for level in registry.SEVERITIES
        ]
        for pixels, level in zip(shown, [image, *levels], strict=True):
            np.testing.assert_array_equal(pixels, np.broadcast_to(level, (SIZE, SIZE, 3)))
        assert any((a != b).any() for a, b in pairwise(shown))


def test_names_groups_and_severities_are_written(image: np.ndarray, written: list[str]):
    pictures.render_gallery(image, names=(*NAMES, "jpeg_compression", "saturate"))
    heads = ["clean", *(f"severity {level}" for level in range(1, 6))]
    texts = [text for text in written if text]
    assert texts == [
        *["noise", *heads, "Gaussian noise", "impulse noise"],
        *["digital", *heads, "contrast", "JPEG compression"],
        *["extra", *heads, "saturate"],
    ]


def test_a_line_stands_between_two_groups_and_nothing_overlaps(image: np.ndarray, tops: list):
    sheet = pictures.render_gallery(image, names=NAMES)
    grid, pixels = tops[0], np.asarray(sheet)
    assert grid.tops[1] - grid.tops[0] == 128 + GAP
    between = pixels[grid.tops[1] + 129 : grid.tops[2] - 1]
    lines = (between == pictures._LINE).all(axis=(2,))[:, grid.margin : sheet.width - grid.margin]
    assert lines.all(axis=1).sum() == 1
    assert (pixels[:, -grid.margin + 1 :] == 255).all()
    assert (pixels[-grid.margin + 1 :] == 255).all()
    assert (pixels[:, : grid.margin - 1] == 255).all()


def test_operations_alone_are_those_of_pillow(
    image: np.ndarray, tops: list, written: list[str]
) -> None:
    """At level 10 of 32 pixels: 30 degrees, shears of 0.3, moves of 10 of 10.67 pixels."""
    sheet = pictures.render_operations(image, ops=ALL_OPS, severity=10)
    picture, grid, how = Image.fromarray(image), tops[0], Image.Resampling.BILINEAR

    def moved(*matrix: float) -> Image.Image:
        return picture.transform((SIZE, SIZE), Image.Transform.AFFINE, matrix, how)

    expected = [
        [
            *(picture, ImageOps.autocontrast(picture), ImageOps.equalize(picture)),
            *(ImageOps.posterize(picture, 1), ImageOps.solarize(picture, 0)),
        ],
        [
            *(picture.rotate(30, how), moved(1, 0.3, 0, 0, 1, 0), moved(1, 0, 0, 0.3, 1, 0)),
            *(moved(1, 0, 10, 0, 1, 0), moved(1, 0, 0, 0, 1, 10)),
        ],
        [
            kind(picture).enhance(1.9)
            for kind in (
                *(ImageEnhance.Color, ImageEnhance.Contrast),
                *(ImageEnhance.Brightness, ImageEnhance.Sharpness),
            )
        ],
    ]
    for top, row in zip(grid.tops, expected, strict=True):
        for column, each in enumerate(row):
            shown = tile(sheet, grid.left + column * (128 + GAP), top)
            np.testing.assert_array_equal(shown, np.asarray(each))
    assert [text for text in written if text][:7] == [
        *("severity 10", "levels", "clean", "autocontrast", "equalize", "posterize 1 bits"),
        "solarize 0 threshold",
    ]
    assert "rotate +30 deg" in written


def test_the_nine_operations_of_the_paper_are_the_default(
    image: np.ndarray, written: list[str]
) -> None:
    pictures.render_operations(image)
    assert len([text for text in written if text]) == 1 + 2 + 1 + 9
    assert "posterize 3 bits" in written  # 4 - int(3 * 4 / 10)
    assert "rotate +9 deg" in written
    with pytest.raises(ValueError, match="severity must be above 0 and at most 10"):
        pictures.render_operations(image, severity=11)
    with pytest.raises(ValueError, match="at least one operation"):
        pictures.render_operations(image, ops=())


def test_a_strip_shows_the_frames_it_names(image: np.ndarray, tops: list, written: list[str]):
    strip = pictures.render_strips(image, names=["translate"], num_tiles=4, preset="cifar")
    frames = augmix.perturb(image[None], "translate", preset="cifar")[0]
    assert len(frames) == 16
    assert [text for text in written if text] == [
        *["standard", "translate", "16 frames", "0", "5", "10", "15"]
    ]
    grid = tops[0]
    for column, frame in enumerate((0, 5, 10, 15)):
        shown = tile(strip, grid.left + column * (128 + GAP), grid.tops[0])
        np.testing.assert_array_equal(shown, frames[frame])


def test_a_strip_of_more_tiles_than_frames_has_all_of_them(image: np.ndarray, written: list[str]):
    pictures.render_strips(image, names=["translate"], num_tiles=40)
    numbers = [text for text in written if text.isdigit()]
    assert numbers == [str(frame) for frame in range(16)]


@pytest.mark.parametrize(("name", "channels"), [("gaussian_noise", 3), ("motion_blur", 1)])
def test_an_animation_has_every_frame(image: np.ndarray, tmp_path: Path, name: str, channels: int):
    image = image[:, :, :channels]
    path = pictures.write_animation(tmp_path / "a.webp", image, name, preset="cifar", seed=2)
    frames = augmix.perturb(image[None], name, preset="cifar", seed=2)[0]
    with Image.open(path) as animation:
        assert (animation.format, animation.info["loop"]) == ("WEBP", 0)
        assert animation.n_frames == registry.num_frames(name, "cifar") == len(frames)
        for index, frame in enumerate(frames):
            animation.seek(index)
            shown = tile(animation.convert("RGB"), 0, 0)
            assert animation.info["duration"] == 100
            np.testing.assert_array_equal(shown, np.broadcast_to(frame, shown.shape))


def test_frames_at_their_own_size_are_close_after_compression(tmp_path: Path):
    image = np.full((160, 160, 3), (200, 120, 40), np.uint8)
    path = pictures.write_animation(
        tmp_path / "a.webp", image, "brightness", preset="imagenet", frames_per_second=20
    )
    frames = augmix.perturb(image[None], "brightness", preset="imagenet")[0]
    assert frames.shape[1:3] == (140, 140)
    with Image.open(path) as animation:
        assert animation.size == (140, 140)
        assert animation.n_frames == len(frames) == 31, "no frames are joined"
        animation.seek(15)
        shown = np.asarray(animation.convert("RGB"), float)
        assert animation.info["duration"] == 50
    assert np.abs(shown - frames[15]).max() <= 6


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((8, 8), (128, 128)),
        ((48, 20), (96, 40)),
        ((100, 130), (100, 130)),
        ((512, 256), (256, 128)),
        ((1, 300), (1, 256)),
    ],
)
def test_how_large_an_image_is_shown(shape: tuple[int, int], shown: tuple[int, int]):
    picture = pictures.to_tile(np.full((*shape, 3), 77, np.uint8))
    assert (picture.height, picture.width) == shown
    assert np.unique(np.asarray(picture)).tolist() == [77]


@pytest.mark.parametrize("ending", ["png", "WEBP", "jpg"])
def test_the_ending_is_the_format(image: np.ndarray, tmp_path: Path, ending: str):
    sheet = pictures.render_gallery(image, names=("contrast",))
    path = pictures.save_picture(tmp_path / f"sheet.{ending}", sheet)
    truth = np.asarray(sheet, float)
    with Image.open(path) as picture:
        assert picture.format == {"png": "PNG", "WEBP": "WEBP", "jpg": "JPEG"}[ending]
        error = np.abs(np.asarray(picture.convert("RGB")) - truth).mean()
    assert error == 0 if ending == "png" else error < 4


def test_everything_of_one_image_lies_in_a_folder(image: np.ndarray, tmp_path: Path):
    """With few names; by default there are those of the papers, without C-bar."""
    names, sequences = ("contrast", "fog"), ("tilt", "brightness")
    folder = tmp_path / "new" / "folder"
    paths = pictures.write_galleries(folder, image, names=names, sequences=sequences)
    assert [str(path.relative_to(folder)) for path in paths] == [
        *["corruptions.png", "perturbations.png"],
        *["perturbations/tilt.webp", "perturbations/brightness.webp"],
    ]
    sheet = np.asarray(pictures.render_gallery(image, names=names))
    np.testing.assert_array_equal(np.asarray(Image.open(paths[0])), sheet)
    alone = pictures.write_animation(tmp_path / "tilt.webp", image, "tilt")
    assert alone.read_bytes() == paths[2].read_bytes()
    alone.unlink()
    how = {"names": names, "sequences": sequences}
    pictures.write_galleries(folder, image, **how)  # over earlier ones
    still = Image.new("RGB", (9, 9))
    for path, what in zip(paths[1:3], ("sheet", "animation"), strict=True):
        kept = path.read_bytes()
        still.save(path)
        foreign = path.read_bytes()
        with pytest.raises(RunError, match=f"{path.name} exists and is no earlier {what}"):
            pictures.write_galleries(folder, image, **how)
        assert path.read_bytes() == foreign
        path.write_bytes(kept)
    defaults = inspect.signature(pictures.write_galleries).parameters
    assert defaults["names"].default == ("paper-15", "extra-4")
    assert registry.SEQUENCES.resolve(defaults["sequences"].default) == tuple(registry.SEQUENCES)
    assert all(path.stat().st_size > 1000 for path in paths)


def test_mistakes_are_said_before_anything_is_written(image: np.ndarray, tmp_path: Path):
    with pytest.raises(ValueError, match=r"did you mean 'fog'"):
        pictures.render_gallery(image, names=("fogg",))
    with pytest.raises(ValueError, match="names must be at least one perturbation or list of them"):
        pictures.render_strips(image, names=())
    with pytest.raises(TypeError, match="image must be uint8 in 0..255, got float64"):
        inspect.unwrap(pictures.render_gallery)(image / 255)
    with pytest.raises(ValueError, match="1 or 3 channels, got shape"):
        pictures.render_gallery(np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(ValueError, match="num_tiles must be at least 2, got 1"):
        pictures.render_strips(image, num_tiles=1)
    with pytest.raises(ValueError, match=r"must end in .png or .webp or .jpg or .jpeg, got .*gif"):
        pictures.save_picture(tmp_path / "a.gif", Image.new("RGB", (1, 1)))
    with pytest.raises(ValueError, match=r"must end in .webp, got .*a.gif"):
        pictures.write_animation(tmp_path / "a.gif", image, "tilt")
    with pytest.raises(ValueError, match="quality must be 0..100, got 101"):
        pictures.save_picture(tmp_path / "a.png", Image.new("RGB", (1, 1)), quality=101)
    with pytest.raises(ValueError, match="frames_per_second must be above 0"):
        pictures.write_animation(tmp_path / "a.webp", image, "tilt", frames_per_second=0)
    with pytest.raises(ValueError, match="at least 16 x 16 pixels, got 12 x 12"):
        pictures.write_galleries(tmp_path / "new", image[:12, :12])
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make the folder"):
        pictures.write_galleries(tmp_path / "file", image, names=NAMES, sequences=("tilt",))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

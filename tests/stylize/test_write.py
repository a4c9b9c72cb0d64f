"""Stylised sets are read back as the same classes and numbers, however often they were stopped."""

import csv
import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from toy_styles import ENCODER, write_images, write_photographs

from augmix.data import Reading
from augmix.data.derived import mix, open_stylised
from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.files import load_json
from augmix.progress import Note
from augmix.stylize import StylizeConfig, write
from augmix.stylize.networks import (
    VGG_DECODER_LAYERS,
    VGG_LAYERS,
    build_decoder,
    build_encoder,
    channel_statistics,
    open_stylizer,
    to_floats,
)
from augmix.stylize.styles import open_styles, style_stream
from augmix.stylize.write import name_files, stylize

SKIP = Reading(on_error="skip")


@pytest.fixture
def config(tmp_path, image_file, style_folder, decoder_file) -> StylizeConfig:
    return StylizeConfig(
        src=str(image_file),
        dst=tmp_path / "out",
        styles=str(style_folder),
        decoder=str(decoder_file),
        style_size=16,
        batch_size=2,
        device="cpu",
    )


@pytest.fixture
def photographs(tmp_path, config) -> StylizeConfig:
    """Of the folder's images, at 16 pixels."""
    folder = write_photographs(tmp_path / "photos")
    return replace(config, src=str(folder), split="val", size=16)


def content(folder: Path) -> dict[str, str]:
    """Sha256 of every file below a folder, the hidden ones too, and its empty folders."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def styles_of(folder: Path) -> list[tuple[str, str]]:
    with open(folder / "styles.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "style"]
    return [(image, style) for image, style in rows[1:]]


def test_names_of_styles_are_no_formulas(tmp_path: Path) -> None:
    images = ["@ant/1.png", "bee/2.png", "bee/3.png"]
    write._write_styles(tmp_path, images, ["=1+1.jpg", 'a "b",c.png', "plain.jpg"])
    assert styles_of(tmp_path) == [
        ("'@ant/1.png", "'=1+1.jpg"),
        ("bee/2.png", 'a "b",c.png'),
        ("bee/3.png", "plain.jpg"),
    ]


def stylise_by_hand(config: StylizeConfig, images: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """One image at a time: encode, restyle by the formula, decode, round."""
    styles = open_styles(config.styles, size=16)
    stylizer, _ = open_stylizer(config.decoder, config.encoder, size=16, scale=1)
    drawn = styles.draw(ids, style_stream(config.seed, 0))
    stylised = []
    for image, index in zip(images, drawn, strict=True):
        style_image = styles.image(int(index))
        with torch.no_grad():
            style = channel_statistics(stylizer.encoder(to_floats(style_image[None]))[-1])
            features = stylizer.encoder(to_floats(image[None]))[-1]
            own = channel_statistics(features)
            mean, std = (value[:, :, None, None] for value in (own.mean, own.std))
            target = (features - mean) / std * style.std[:, :, None, None]
            target = target + style.mean[:, :, None, None]
            target = config.alpha * target + (1 - config.alpha) * features
            floats = stylizer.decoder(target)[0].clamp(0, 1)
        stylised.append(np.rint(floats.permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    return np.stack(stylised)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_an_array_set_is_read_back_with_its_numbers_and_classes(config, alpha):
    config = replace(config, alpha=alpha)
    events = []
    out = stylize(config, on_progress=events.append)
    source = open_source("npz", root=config.src, split="train")
    read = open_source("npz", root=out, split="train")
    assert read.labels.tolist() == source.labels.tolist()
    assert read.class_names == source.class_names
    assert read.size == source.size
    expected = stylise_by_hand(config, source.load(np.arange(7)), np.arange(7))
    found = read.load(np.arange(7)).astype(int)
    assert abs(found - expected).max() <= 1  # batches of convolutions differ in the last bit
    assert (found != expected).mean() < 0.01
    assert [event.done for event in events if hasattr(event, "done")] == [2, 4, 6, 7]
    names = sorted(content(out))
    assert names == ["SHA256SUMS", "manifest.json", "styles.csv", "train.npz"]


def test_a_folder_set_is_read_back_with_its_numbers_and_classes(photographs):
    out = stylize(photographs)
    source = open_source("folder", root=photographs.src, split="val", size=16)
    read = open_source("folder", root=out, split="val")
    assert read.class_names == source.class_names == ("n1", "n2", "n3")
    assert read.labels.tolist() == source.labels.tolist()
    expected = stylise_by_hand(photographs, source.load(np.arange(4)), np.arange(4))
    assert abs(read.load(np.arange(4)).astype(int) - expected).max() <= 1
    assert [name for name in content(out) if name.endswith(".png")] == [
        "n1/a.png",
        "n1/b.png",
        "n1/deep/c.png",
        "n3/a.png",
    ]
    drawn = open_styles(photographs.styles, size=16).draw(np.arange(4), style_stream(0, 0))
    files = open_styles(photographs.styles, size=16).files
    images = ["n1/a.png", "n1/b.png", "n1/deep/c.png", "n3/a.png"]
    assert styles_of(out) == [(i, files[d]) for i, d in zip(images, drawn, strict=True)]


def test_a_stylised_set_stands_beside_its_originals(config, photographs):
    arrays = open_source("npz", root=config.src, split="train")
    files = open_source("folder", root=photographs.src, split="val", size=16)
    other = replace(photographs, dst=photographs.dst.with_name("val"))
    for source, settings in ((arrays, config), (files, other)):
        both = mix(source, open_stylised(stylize(settings), source))
        assert both.labels.tolist() == source.labels.tolist() * 2


def test_the_manifest_says_how_it_was_made(config, decoder_file):
    manifest = load_json(stylize(config) / "manifest.json")
    assert manifest["complete"] is True
    assert (manifest["alpha"], manifest["seed"], manifest["scale"]) == (1.0, 0, 1)
    digest = hashlib.sha256(decoder_file.read_bytes()).hexdigest()
    assert manifest["decoder"] == {"sha256": digest}
    assert manifest["encoder"]["kind"] == "python"
    assert manifest["styles"]["num_pictures"] == 4
    assert {"augmix", "python", "pillow"} <= set(manifest["versions"])
    assert manifest["arithmetic"]["torch"] == torch.__version__
    sums = (config.dst / "SHA256SUMS").read_text().splitlines()
    assert {line.split("  ")[1]: line.split("  ")[0] for line in sums} == {
        name: value
        for name, value in content(config.dst).items()
        if name in ("train.npz", "styles.csv")
    }


@pytest.mark.parametrize("layout", ["npz", "folder"])
def test_stopped_anywhere_and_started_again_the_tree_is_the_same(
    config, photographs, layout, monkeypatch
):
    config = config if layout == "npz" else photographs
    whole = content(stylize(config))
    kind = write.NpzSink if layout == "npz" else write.FolderSink
    steps = [(kind, "write", turn) for turn in range(len(range(0, 7 if layout == "npz" else 4, 2)))]
    steps += [(kind, "finish", 0), (write, "complete", 0)]
    for number, (place, name, turn) in enumerate(steps):
        other = replace(config, dst=config.dst.with_name(f"stopped{number}"))
        real, calls = getattr(place, name), []

        def stop(*arguments, real=real, calls=calls, turn=turn, **notes):
            if len(calls) == turn:
                raise KeyboardInterrupt
            calls.append(1)
            return real(*arguments, **notes)

        monkeypatch.setattr(place, name, stop)
        with pytest.raises(KeyboardInterrupt):
            stylize(other)
        monkeypatch.setattr(place, name, real)
        assert load_json(other.dst / "manifest.json")["complete"] is False
        assert content(stylize(other)) == whole
        assert content(stylize(other)) == whole  # and once more: nothing is left to do


@pytest.mark.parametrize("layout", ["npz", "folder"])
def test_a_dry_run_says_what_is_written(config, photographs, layout):
    config = config if layout == "npz" else photographs
    notes: list[str] = []

    def tell(event):
        notes.extend([event.text] if isinstance(event, Note) else [])

    stylize(replace(config, dry_run=True), on_progress=tell)
    assert not config.dst.exists()
    count = 1 if layout == "npz" else 4
    images = 7 if layout == "npz" else 4
    (line,) = (note for note in notes if " files, " in note)
    assert re.fullmatch(rf"{count} files, [\d.]+ k?(B|bytes), of {images} images", line)
    stylize(config)
    notes.clear()
    stylize(replace(config, dry_run=True), on_progress=tell)
    assert any(note.endswith(f"of {images} images, 0 of them left") for note in notes)


@pytest.mark.parametrize("layout", ["npz", "folder"])
def test_shards_write_the_same_tree(config, photographs, layout):
    config = replace(config if layout == "npz" else photographs, batch_size=1)
    whole = content(stylize(config))
    other = replace(config, dst=config.dst.with_name("shards"))
    started = threading.Barrier(2)

    def work(number):
        started.wait()
        stylize(replace(other, shard=f"{number}/2"))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, (1, 2))) == [None, None]
    assert content(other.dst) == whole
    with pytest.raises(RunError, match="holds a set with seed = 0, asked for 1"):
        stylize(replace(other, seed=1, shard="1/2"))


def test_a_file_cut_short_by_a_power_failure_is_written_again(photographs, monkeypatch):
    whole = content(stylize(photographs))
    other = replace(photographs, dst=photographs.dst.with_name("other"))

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(write, "complete", stop)
        with pytest.raises(KeyboardInterrupt):
            stylize(other)
    (other.dst / "n1" / "b.png").write_bytes(b"")
    assert content(stylize(other)) == whole


def test_a_part_of_a_set_has_the_styles_of_the_whole(config):
    whole = stylize(config)
    part = stylize(replace(config, dst=config.dst.with_name("part"), max_images=3))
    images = np.load(whole / "train.npz")["images"]
    chosen = np.load(part / "train.npz")
    places = [
        int(np.flatnonzero((abs(images.astype(int) - image) <= 1).all((1, 2, 3)))[0])
        for image in chosen["images"]
    ]
    assert places == sorted(set(places))
    assert len(places) == 3
    styles = [style for _, style in styles_of(whole)]
    assert [style for _, style in styles_of(part)] == [styles[place] for place in places]


def test_the_batch_changes_no_style_and_no_level_by_more_than_one(config):
    one = stylize(config)
    other = stylize(replace(config, dst=config.dst.with_name("other"), batch_size=7))
    assert styles_of(one) == styles_of(other)
    found = [np.load(folder / "train.npz")["images"].astype(int) for folder in (one, other)]
    assert abs(found[0] - found[1]).max() <= 1


def test_seeds_draw_other_styles(config):
    one = stylize(config)
    other = stylize(replace(config, dst=config.dst.with_name("other"), seed=1))
    assert styles_of(one) != styles_of(other)


def test_grey_images_stay_grey(config, image_file):
    write_images(image_file, channels=1)
    read = open_source("npz", root=stylize(config), split="train")
    source = open_source("npz", root=image_file, split="train")
    colour = np.repeat(source.load(np.arange(7)), 3, axis=3)
    stylised = stylise_by_hand(config, colour, np.arange(7)).astype(float)
    luma = stylised @ [0.299, 0.587, 0.114]
    assert read.channels == 1
    assert abs(read.load(np.arange(7))[..., 0] - luma).max() <= 2


def test_digits_are_stylised(config):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    out = stylize(replace(config, src="digits", max_images=5, split="test", size=16))
    read = open_source("npz", root=out, split="test")
    assert (len(read), read.num_classes, read.channels) == (5, 10, 3)


def test_another_set_in_the_folder_is_left_alone(config):
    stylize(config)
    with pytest.raises(RunError, match=r"holds a set with alpha = 1.0, asked for 0.5"):
        stylize(replace(config, alpha=0.5))
    with pytest.raises(RunError, match=r"holds a set with batch_size = 2, asked for 3"):
        stylize(replace(config, batch_size=3))


def test_other_style_images_do_not_go_on_with_a_set(config, style_folder):
    stylize(config)
    (style_folder / "a.png").unlink()
    with pytest.raises(RunError, match=r"styles.num_pictures = 4, asked for 3"):
        stylize(config)


def test_a_broken_style_image_stops_or_is_passed_over(config, style_folder):
    (style_folder / "b.jpg").write_bytes(b"broken")
    with pytest.raises(RunError, match=r"cannot use style image .*b\.jpg"):
        stylize(config)
    out = stylize(replace(config, reading=SKIP, dst=config.dst.with_name("other")))
    used = [style for _, style in styles_of(out)]
    assert len(used) == 7
    assert "b.jpg" not in used
    assert load_json(out / "manifest.json")["skipped"] == {"images": [], "styles": ["b.jpg"]}


def test_a_broken_image_is_named_or_left_out(photographs):
    (Path(photographs.src) / "n1" / "b.png").write_bytes(b"broken")
    with pytest.raises(RunError, match=r"cannot use image .*b\.png"):
        stylize(photographs)
    out = stylize(replace(photographs, reading=SKIP))
    assert [image for image, _ in styles_of(out)] == ["n1/a.png", "n1/deep/c.png", "n3/a.png"]
    (skipped,) = load_json(out / "manifest.json")["skipped"]["images"]
    assert skipped.endswith("b.png")


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """VGG-19 and its decoder in the published files, with drawn weights."""
    folder = tmp_path_factory.mktemp("published")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(build_encoder(VGG_LAYERS).state_dict(), folder / "vgg_normalised.pth")
        torch.save(build_decoder(VGG_DECODER_LAYERS).state_dict(), folder / "decoder.pth")
    return folder


def test_the_published_weights_paint(config, published):
    """Images of 16 pixels are enlarged 8 times, to VGG's least size of 128."""
    config = replace(
        config,
        encoder=str(published / "vgg_normalised.pth"),
        decoder=str(published / "decoder.pth"),
        style_size=None,
        max_images=1,
    )
    out = stylize(config)
    manifest = load_json(out / "manifest.json")
    assert (manifest["scale"], manifest["style_size"]) == (8, 128)
    assert manifest["encoder"]["kind"] == "vgg"
    digest = hashlib.sha256((published / "vgg_normalised.pth").read_bytes()).hexdigest()
    assert manifest["encoder"]["sha256"] == digest
    assert open_source("npz", root=out, split="train").size == (16, 16)


def test_networks_that_do_not_fit_are_refused(config, published, decoder_file, tmp_path):
    vgg, decoder = str(published / "vgg_normalised.pth"), str(published / "decoder.pth")
    with pytest.raises(RunError, match="has no decoder.json beside it that names its encoder"):
        stylize(replace(config, decoder=decoder))
    with pytest.raises(RunError, match="the published decoder needs the features of VGG-19"):
        stylize(replace(config, decoder=decoder, encoder=ENCODER))
    with pytest.raises(RunError, match="name a decoder with --decoder"):
        stylize(replace(config, decoder=""))
    with pytest.raises(RunError, match="expected 18 tensors, got 20"):
        stylize(replace(config, encoder=vgg, decoder=vgg))
    with pytest.raises(RunError, match=r"vgg.pth does not exist"):
        stylize(replace(config, encoder=str(tmp_path / "vgg.pth"), decoder=decoder))
    weights = {"1.weight": torch.zeros(2, 2, 3, 3)}
    (tmp_path / "other.json").write_text(decoder_file.with_suffix(".json").read_text())
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(RunError, match="does not hold the weights of a decoder"):
        stylize(replace(config, decoder=str(tmp_path / "other.safetensors")))


def test_a_fitted_decoder_wants_its_own_encoder(config, decoder_file, tmp_path):
    plain = json.loads(decoder_file.with_suffix(".json").read_text())
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(decoder_file.read_bytes())
    plain["identity"]["sha256"] = "0" * 64
    moved.with_suffix(".json").write_text(json.dumps(plain))
    with pytest.raises(RunError, match="was fitted to an encoder of sha256 0000"):
        stylize(replace(config, decoder=str(moved)))
    moved.with_suffix(".json").write_text(json.dumps({**plain, "encoder": "runs/gone"}))
    with pytest.raises(RunError, match="fitted to the encoder runs/gone, which is no longer there"):
        stylize(replace(config, decoder=str(moved)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 1.1}, "alpha must be 0..1, got 1.1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"scale": -1}, "scale must be at least 1, got -1"),
    ],
    ids=["alpha", "batch", "scale"],
)
def test_settings_out_of_range_are_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


def test_style_images_too_small_to_be_seen_are_refused(config):
    with pytest.raises(ValueError, match="style images must be at least 4 pixels wide and high"):
        stylize(replace(config, style_size=3))


def test_names_keep_the_order_or_are_numbers():
    names = name_files(["a/1.jpg", "a/2.png", "b/1.jpg"], np.array([0, 0, 1]), ["a", "b"])
    assert names == ("a/1.png", "a/2.png", "b/1.png")
    twice = name_files(["a/1.jpg", "a/1.png", "b/1.jpg"], np.array([0, 0, 1]), ["a", "b"])
    assert twice == ("a/00000000.png", "a/00000001.png", "b/00000002.png")
    turned = name_files(["a/x.jpg", "a/x.k.jpg"], np.array([0, 0]), ["a"])
    assert turned == ("a/00000000.png", "a/00000001.png")  # x.k.png sorts before x.png
    assert name_files([], np.array([1, 0]), ["a", "b"]) == ("b/00000000.png", "a/00000001.png")


def test_images_are_stored_bit_by_bit(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(write.encode_png(image))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)
    (tmp_path / "b.png").write_bytes(write.encode_png(image[..., :1]))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), image[..., 0])


def test_names_with_commas_and_quotes_are_read_back(tmp_path):
    write._write_styles(tmp_path, ['a, "b".png'], ["c\nd.jpg"])
    assert styles_of(tmp_path) == [('a, "b".png', "c\nd.jpg")]

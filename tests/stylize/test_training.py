"""A decoder learns, and learns the same however often it is stopped."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_styles import ENCODER, write_images

from augmix import files
from augmix.errors import ResumeError, RunError
from augmix.progress import Note
from augmix.stylize import FitConfig, training
from augmix.stylize.networks import (
    build_decoder,
    channel_statistics,
    load_fitted,
    open_encoder,
    open_stylizer,
)
from augmix.stylize.training import (
    decoder_layers,
    find_restyled,
    fit,
    fit_loss,
    make_batches,
    measure_gains,
    open_inputs,
)


@pytest.fixture
def config(tmp_path, image_file, style_folder) -> FitConfig:
    return FitConfig(
        src=str(image_file),
        styles=str(style_folder),
        encoder=ENCODER,
        out=tmp_path / "decoder.safetensors",
        stages=("first", "second"),
        steps=6,
        batch_size=3,
        depth=1,
        crop=12,
        style_size=16,
        device="cpu",
        checkpoint_every=2,
        log_every=4,
    )


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_log(config: FitConfig) -> list[dict]:
    lines = files.load_lines(config.out.with_suffix(".fit") / "log.jsonl")
    return [{name: v for name, v in line.items() if name != "seconds"} for line in lines]


def test_fitting_lowers_every_term(config):
    fit(replace(config, steps=150, log_every=10, learning_rate=3e-3, checkpoint_every=1000))
    log = read_log(config)
    assert [line["step"] for line in log] == list(range(10, 151, 10))
    assert log[-1]["loss"] < 0.4 * log[0]["loss"]
    assert log[-1]["style"] < 0.5 * log[0]["style"]
    assert log[-1]["identity"] < 0.5 * log[0]["identity"]


def test_a_fit_stopped_after_any_step_ends_with_the_same_weights(config, monkeypatch):
    fit(config)
    whole, log = digest(config.out), read_log(config)
    for last in range(6):
        other = replace(config, out=config.out.with_name(f"stopped{last}.safetensors"))

        def make_some(*arguments, last=last):
            make = make_batches(*arguments)

            def make_until(step):
                if step == last:
                    raise KeyboardInterrupt
                return make(step)

            return make_until

        monkeypatch.setattr(training, "make_batches", make_some)
        with pytest.raises(KeyboardInterrupt):
            fit(other)
        monkeypatch.setattr(training, "make_batches", make_batches)
        assert not other.out.exists()
        fit(other)
        assert digest(other.out) == whole
        assert read_log(other) == log


def test_a_finished_fit_is_not_begun_again(config):
    fit(config)
    before = digest(config.out)
    config.out.unlink()
    events = []
    fit(config, on_progress=events.append)
    assert digest(config.out) == before
    assert [type(event) for event in events] == [Note]


def test_another_fit_is_not_continued(config):
    fit(config)
    with pytest.raises(ResumeError, match=r"style_weight = 10.0, this one has 5.0"):
        fit(replace(config, style_weight=5.0))


def test_other_images_are_not_fitted_on(config, image_file):
    fit(config)
    write_images(image_file, count=9)
    with pytest.raises(ResumeError, match="images = "):
        fit(config)


def test_the_seed_decides(config):
    fit(config)
    other = replace(config, seed=1, out=config.out.with_name("other.safetensors"))
    fit(other)
    assert digest(config.out) != digest(other.out)


def test_torch_s_own_state_is_left_alone(config):
    before = torch.get_rng_state()
    fit(replace(config, num_threads=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() != 0


def test_the_terms_are_the_paper_s(config):
    """Equations 12 and 13 written out for an encoder of two stages."""
    encoder = open_encoder(ENCODER, stages=("first", "second"), size=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        decoder = build_decoder(decoder_layers(encoder, depth=1, restyled=1))
    generator = torch.Generator().manual_seed(0)
    content, style = (torch.rand(2, 3, 16, 16, generator=generator) for _ in range(2))
    with torch.no_grad():
        terms = fit_loss(encoder, decoder, content, style)
        features, wanted = encoder(content)[1], encoder(style)
    mean_c, var_c = features.mean((2, 3), keepdim=True), features.var((2, 3), keepdim=True)
    mean_s, var_s = wanted[1].mean((2, 3), keepdim=True), wanted[1].var((2, 3), keepdim=True)
    target = (features - mean_c) / (var_c + 1e-5).sqrt() * (var_s + 1e-5).sqrt() + mean_s
    with torch.no_grad():
        seen = encoder(decoder(target))
        torch.testing.assert_close(terms["content"], (seen[1] - target).square().mean())
        distances = [
            (own.mean((2, 3)) - other.mean((2, 3))).square().mean()
            + ((own.var((2, 3)) + 1e-5).sqrt() - (other.var((2, 3)) + 1e-5).sqrt()).square().mean()
            for own, other in zip(seen, wanted, strict=True)
        ]
        torch.testing.assert_close(terms["style"], distances[0] + distances[1])
        back = decoder(features)
    torch.testing.assert_close(terms["identity"], (back - content).square().mean())


def test_the_stage_that_is_restyled():
    encoder = open_encoder(ENCODER, size=16)
    assert [stage.stride for stage in encoder.stages] == [1, 2, 4]
    assert find_restyled(encoder, "") == 1
    assert find_restyled(encoder, "third") == 2
    with pytest.raises(RunError, match="restyled must be one of first, second, third, got 'head'"):
        find_restyled(encoder, "head")
    encoder.identity = {"kind": "vgg"}
    assert find_restyled(encoder, "") == 2
    with pytest.raises(RunError, match="restyled must be one of third, got 'first'"):
        find_restyled(encoder, "first")


def test_a_deeper_stage_is_compared_but_not_stylised_from(config):
    fit(replace(config, stages=("first", "second", "third")))
    fitted = load_fitted(config.out.with_suffix(".json"))
    assert fitted.identity["stages"] == ["first", "second"]
    assert len(fitted.gains) == 2
    stylizer, _ = open_stylizer(str(config.out), None, size=16, scale=None)
    assert stylizer.stride == 2
    other = replace(config, out=config.out.with_name("other.safetensors"))
    fit(other)
    assert digest(other.out) != digest(config.out)


def test_gains_bring_every_stage_to_a_mean_square_of_1():
    encoder = open_encoder(ENCODER, size=16)
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    encoder.gains = measure_gains(encoder, images)
    for found in encoder(images):
        assert float(found.square().mean()) == pytest.approx(1, rel=1e-5)


def test_crops_are_cut_from_the_images_and_images(config):
    inputs = open_inputs(config)
    content, style = make_batches(config, inputs)(0)
    assert content.shape == (3, 3, 12, 12)
    assert style.shape == (3, 3, 12, 12)
    whole = inputs.content.load(np.arange(7))
    windows = np.lib.stride_tricks.sliding_window_view(whole, (12, 12), axis=(1, 2))
    levels = (content * 255).round().to(torch.uint8).numpy()
    for square in levels:
        assert (windows == square[None, None, None]).all((3, 4, 5)).any()


def test_the_description_names_the_encoder(config):
    fit(config)
    fitted = load_fitted(config.out.with_suffix(".json"))
    encoder = open_encoder(ENCODER, stages=("first", "second"), size=16)
    assert fitted.encoder == ENCODER
    assert fitted.identity == encoder.identity
    assert fitted.min_size == 12
    stylizer, about = open_stylizer(str(config.out), None, size=16, scale=None)
    assert about["scale"] == 1
    assert about["decoder"]["sha256"] == digest(config.out)
    weights = load_file(config.out)
    assert set(weights) == set(stylizer.decoder.state_dict())
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    style = channel_statistics(stylizer.encoder(images)[-1])
    torch.testing.assert_close(stylizer.encoder.gains, fitted.gains)
    assert stylizer(images, style, alpha=1.0).shape == images.shape


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"encoder": ""}, RunError, "name an encoder with --encoder"),
        ({"styles": ""}, RunError, "name a folder of style images"),
        ({"crop": 17}, ValueError, "crop must be at most the images' shorter edge 16, got 17"),
        ({"stages": ("third", "first")}, RunError, "from shallow to deep"),
        ({"crop": 3}, ValueError, "images, as cropped and enlarged, must be at least 4 pixels"),
        ({"style_size": 9}, ValueError, "style_size must be at least 12 to crop squares of 12"),
    ],
    ids=["encoder", "styles", "crop", "stages", "too small", "style size"],
)
def test_what_cannot_be_fitted_is_refused(config, changes, error, message):
    with pytest.raises(error, match=message):
        fit(replace(config, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
        ({"style_weight": -1.0}, "style_weight must be a finite number from 0, got -1.0"),
        ({"out": Path("decoder.pth")}, "out must be a file NAME.safetensors, got decoder.pth"),
    ],
    ids=["steps", "rate", "weight", "out"],
)
def test_settings_out_of_range_are_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


def test_grey_images_are_refused(config, image_file):
    write_images(image_file, channels=1)
    with pytest.raises(RunError, match="a fit needs colour images"):
        fit(config)


def test_a_loss_that_is_not_finite_stops_with_the_last_checkpoint(config):
    with pytest.raises(RunError, match="no longer finite at step"):
        fit(replace(config, learning_rate=1e20, steps=50))
    assert (config.out.with_suffix(".fit") / "state.pt").exists()


def test_the_description_is_checked(config):
    fit(config)
    path = config.out.with_suffix(".json")
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({**plain, "schema": 9}))
    with pytest.raises(RunError, match="does not describe a decoder of schema 2"):
        load_fitted(path)
    del plain["gains"]
    path.write_text(json.dumps(plain))
    with pytest.raises(RunError, match="does not describe a decoder: 'gains'"):
        load_fitted(path)


def test_descriptions_of_schema_1_are_read(config):
    fit(config)
    path = config.out.with_suffix(".json")
    expected = load_fitted(path)
    plain = json.loads(path.read_text())
    old = {"rows": plain.pop("layers"), "least_side": plain.pop("min_size")}
    path.write_text(json.dumps({**plain, **old, "schema": 1}))
    assert load_fitted(path) == expected

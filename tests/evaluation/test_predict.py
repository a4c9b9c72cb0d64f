"""Predictions for new images equal the model's own, at the temperature; broken files are named."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from augmix import cli
from augmix.errors import RunError
from augmix.evaluation.config import PredictConfig
from augmix.evaluation.predict import Prediction, predict, predict_file, write_predictions
from augmix.models.weights import build_model, save_model
from augmix.results import Results, write_results

NAMES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of images of 16 pixels, with random weights."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(5)
    save_model(folder, build_model("small", num_classes=3, class_names=NAMES).eval())
    config = {
        "schema": 2,
        "method": "augmix",
        "seed": 0,
        "source": "folder",
        "data": "x",
        "max_train_images": None,
    }
    (folder / "config.json").write_text(json.dumps({**config, "size": 16}))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs, one of them turned by its tag, a broken one, and a text."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    (folder / "more").mkdir()
    for name in ("a.png", "more/b.png"):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name)
    turned = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.png", exif=exif)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    (folder / "list.txt").write_text("not an image")
    return folder


def logits_of(run: Path, image: Image.Image) -> torch.Tensor:
    from augmix.models.weights import load_model

    pixels = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / np.float32(255)
    with torch.no_grad():
        return load_model(run)(torch.from_numpy(pixels)[None])[0].double()


def test_averaged_weights_of_a_file_are_said_and_taken_by_flag(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(build_model("small", num_classes=3).state_dict())
    torch.save({"model": states[0], "model_ema": states[1]}, tmp_path / "both.pt")
    torch.save(states[1], tmp_path / "ema.pt")
    words = ["--size", "16", "--form", "csv"]
    assert not cli.main(["predict", f"small@{tmp_path}/ema.pt", str(photos), *words])
    expected = capsys.readouterr().out
    cli.main(["predict", f"small@{tmp_path}/both.pt", str(photos), *words, "--ema"])
    averaged = capsys.readouterr()
    assert averaged.out == expected
    assert "averaged" not in averaged.err
    cli.main(["predict", f"small@{tmp_path}/both.pt", str(photos), *words])
    trained = capsys.readouterr()
    assert trained.out != expected
    assert "both.pt holds averaged weights too (model_ema); take those with --ema" in trained.err


def test_predictions_are_those_of_the_model(run: Path, photos: Path) -> None:
    config = PredictConfig(model=str(run), images=(str(photos),), top=3, temperature=2.0)
    found = {Path(each.path).name: each for each in predict(config)}
    assert list(found) == ["a.png", "broken.jpg", "b.png", "turned.png"]
    expected = (logits_of(run, Image.open(photos / "a.png")) / 2).softmax(0)
    assert dict(zip(found["a.png"].classes, found["a.png"].confidences, strict=True)) == (
        pytest.approx(dict(zip(NAMES, expected.tolist(), strict=True)), abs=1e-6)
    )
    assert list(found["a.png"].confidences) == sorted(found["a.png"].confidences, reverse=True)
    assert found["broken.jpg"].error
    assert not found["broken.jpg"].classes


def test_photographs_are_turned_upright(run: Path, photos: Path) -> None:
    path = photos / "turned.png"
    (upright,) = predict(PredictConfig(model=str(run), images=(str(path),)))
    turned = Image.open(path).transpose(Image.Transpose.ROTATE_270)
    best = logits_of(run, turned).softmax(0).max()
    assert upright.confidences[0] == pytest.approx(float(best), abs=1e-6)


def test_the_temperature_is_that_of_the_run(run: Path, photos: Path, tmp_path: Path) -> None:
    from augmix.evaluation.config import EvaluateConfig
    from augmix.evaluation.loop import evaluate
    from augmix.models.open_model import open_model

    images = np.random.default_rng(1).integers(0, 256, (12, 16, 16, 3), np.uint8)
    pairs = [(image, index % 3) for index, image in enumerate(images)]
    how = EvaluateConfig(suite=("clean",), temperature_images=6, out=run)
    found = evaluate(open_model(run), pairs_source(pairs), how)
    assert found.temperature is not None
    config = PredictConfig(model=str(run), images=(str(photos / "a.png"),))
    (fitted,) = predict(config)
    (same,) = predict(
        PredictConfig(model=str(run), images=config.images, temperature=found.temperature["value"])
    )
    assert fitted == same
    (run / "results.json").unlink()


def test_calibrators_are_those_that_evaluate_fitted(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    from augmix.evaluation.loop import evaluate
    from augmix.models.open_model import open_model

    images = np.random.default_rng(2).integers(0, 256, (60, 16, 16, 3), np.uint8)
    source = pairs_source([(image, index % 3) for index, image in enumerate(images)])
    how: dict[str, Any] = {"suite": ("clean",), "temperature_images": 40}
    out = tmp_path / "trust"
    evaluate(open_model(run), source, **how, metrics=("calibrators",), out=out)
    fitted = json.loads((out / "results.json").read_text())  # read without the package
    logits = logits_of(run, Image.open(photos / "a.png")).numpy()
    top = np.exp(logits - logits.max()).max() / np.exp(logits - logits.max()).sum()
    plain = {"model": str(run), "images": (str(photos / "a.png"),), "calibration": out}

    def ask(**changes: Any) -> Prediction:
        (found,) = predict(PredictConfig(**(plain | changes)))
        return found

    tempered = logits / fitted["temperature"]["value"]
    expected = np.exp(tempered.max()) / np.exp(tempered).sum()
    assert ask().confidences[0] == pytest.approx(expected, abs=1e-6)
    vector = fitted["fitted"]["vector"]
    scaled = logits * vector["weight"] + vector["bias"]
    found = ask(calibrator="vector", top=3)
    order = np.argsort(-scaled)
    assert found.classes == tuple(NAMES[index] for index in order)
    softmax = np.exp(scaled) / np.exp(scaled).sum()
    assert found.confidences == pytest.approx(softmax[order], abs=1e-6)
    isotonic, steps = fitted["fitted"]["isotonic"], fitted["fitted"]["histogram"]
    line = np.interp(top, isotonic["confidence"], isotonic["accuracy"])
    assert ask(calibrator="isotonic").confidences == pytest.approx([line], abs=1e-4)
    below = [y for x, y in zip(steps["confidence"], steps["accuracy"], strict=True) if x <= top]
    found = ask(calibrator="histogram")
    assert found.confidences == pytest.approx([below[-1]])
    assert found.classes == (NAMES[int(logits.argmax())],)

    config = PredictConfig(**plain, calibrator="vector", out=tmp_path / "x.csv")
    predict_file(config)
    with pytest.raises(RunError, match="holds predictions with temperature = None"):
        predict_file(replace(config, calibrator="temperature"))
    with pytest.raises(RunError, match="vector was fitted for no model in"):
        ask(calibrator="vector", calibration=None)
    other = build_model("small", num_classes=3).eval()
    evaluate(other, source, **how, metrics=("calibrators",), out=tmp_path / "other")
    with pytest.raises(RunError, match="with other weights than"):
        ask(calibration=tmp_path / "other")
    evaluate(open_model(run), source, **how, out=tmp_path / "one")
    with pytest.raises(RunError, match="isotonic was not fitted; evaluate with"):
        ask(calibrator="isotonic", calibration=tmp_path / "one")
    with pytest.raises(ValueError, match="top 2 asks for more; take temperature or vector"):
        ask(calibrator="isotonic", top=2)
    with pytest.raises(ValueError, match="does not go with calibrator 'vector'"):
        ask(calibrator="vector", temperature=2.0)


def pairs_source(pairs: list[tuple[np.ndarray, int]]):
    from augmix.data.decode import Geometry
    from augmix.data.sources import OpenOptions, as_source

    return as_source(pairs, OpenOptions(name="pairs", split="test", geometry=Geometry()))


def test_an_ensemble_predicts_by_mean_probabilities(
    tmp_path: Path, photos: Path, run: Path
) -> None:
    ensemble = tmp_path / "ens"
    for seed in (0, 1):
        folder = ensemble / f"seed-{seed}"
        folder.mkdir(parents=True)
        torch.manual_seed(seed)
        save_model(folder, build_model("small", num_classes=3, class_names=NAMES).eval())
        plain = json.loads((run / "config.json").read_text()) | {"seed": seed}
        (folder / "config.json").write_text(json.dumps(plain))
    image = Image.open(photos / "a.png")
    mean = sum(logits_of(ensemble / f"seed-{seed}", image).softmax(0) for seed in (0, 1)) / 2
    (found,) = predict(PredictConfig(model=str(ensemble), images=(str(photos / "a.png"),), top=3))
    assert dict(zip(found.classes, found.confidences, strict=True)) == pytest.approx(
        dict(zip(NAMES, mean.tolist(), strict=True)), abs=1e-5
    )


def test_an_exported_file_predicts_the_same(run: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    exported = tmp_path / "run"
    shutil.copytree(run, exported)
    measured = Results(
        model={},
        source={},
        protocol={},
        temperature={"value": 2.5, "num_images": 9, "nll_before": 1.0, "nll_after": 0.9},
    )
    write_results(exported / "results.json", measured)
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (61, 47, 3), np.uint8)).save(
        tmp_path / "large.png"  # resized and cut by what the file says
    )
    assert cli.main(["export", str(exported)]) == 0
    described = json.loads((exported / "model.onnx.json").read_text())
    assert (described["class_names"], described["temperature"]) == (list(NAMES), 2.5)
    images = (str(photos / "*.png"), str(tmp_path / "large.png"))
    texts = str(exported), f"onnx:{exported / 'model.onnx'}"
    own, read = (list(predict(PredictConfig(model=text, images=images, top=3))) for text in texts)
    assert [each.classes for each in read] == [each.classes for each in own]
    np.testing.assert_allclose(
        [each.confidences for each in read], [each.confidences for each in own], atol=1e-5
    )


def test_the_command_prints_tables_csv_and_json(
    run: Path, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["predict", str(run), str(photos / "*.png"), str(photos / "broken.jpg")]) == 0
    printed = capsys.readouterr()
    assert "a.png" in printed.out
    assert "1 of 3 images left out" in printed.err
    words = ["predict", str(run), str(photos), "--top", "2", "--form"]
    assert cli.main([*words, "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["rank"] for row in rows] == ["1", "2", "", "1", "2", "1", "2"]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{photos / 'a.png'}\n"))
    assert cli.main(["predict", str(run), "-", "--form", "jsonl"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["predictions"][0]["class"] in NAMES
    assert cli.main(["predict", str(run), str(photos / "broken.jpg")]) == 1


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX pipes")
def test_a_reader_that_has_enough_is_no_error(run: Path, photos: Path) -> None:
    words = [sys.executable, "-m", "augmix", "predict", str(run), str(photos), "--form", "csv"]
    with subprocess.Popen(
        [*words, "--batch-size", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"path,rank,class,confidence,error\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_cells_are_safe_in_spreadsheets_and_names_in_terminals() -> None:
    found = [
        Prediction("=1+1.png", ("ant",), (0.5,)),
        Prediction("half\udce9.png", error="broken"),
    ]
    lines = list(write_predictions(iter(found), "csv"))
    assert lines[1] == "'=1+1.png,1,ant,0.500000,"
    assert lines[2].encode() == b"half\\udce9.png,,,,broken"
    assert json.loads(list(write_predictions(iter(found), "jsonl"))[1])["path"] == "half\udce9.png"


def test_what_cannot_be_predicted_is_said(run: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere.png does not exist"):
        list(predict(PredictConfig(model=str(run), images=("nowhere.png",))))
    with pytest.raises(RunError, match="holds no image"):
        list(predict(PredictConfig(model=str(run), images=(str(tmp_path),))))
    from augmix.data import Reading

    config = PredictConfig(model=str(run), images=(str(photos),), reading=Reading(on_error="raise"))
    with pytest.raises(RunError, match=r"broken.jpg: .*; leave out --on-error raise"):
        list(predict(config))


@pytest.fixture
def many(photos: Path, tmp_path: Path) -> Path:
    """The photographs and 20 more."""
    folder = tmp_path / "many"
    shutil.copytree(photos, folder)
    rng = np.random.default_rng(3)
    for number in range(20):
        image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
        image.save(folder / f"image{number:02d}.png")
    return folder


def printed(run: Path, folder: Path, form: str) -> str:
    config = PredictConfig(model=str(run), images=(str(folder),), batch_size=2, top=2)
    return "".join(f"{line}\n" for line in write_predictions(predict(config), form))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_shards_write_what_one_process_prints(
    run: Path, many: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augmix.evaluation.predict._BATCHES_IN_PART", 1)
    out = tmp_path / f"found.{form}"
    config = PredictConfig(model=str(run), images=(str(many),), batch_size=2, top=2, out=out)
    events: list[Any] = []

    def stop(event: Any) -> None:
        events.append(event)
        raise KeyboardInterrupt

    for shard in ("1/2", None, "2/3"):  # each is stopped after one part
        with pytest.raises(KeyboardInterrupt):
            predict_file(replace(config, shard=shard), on_progress=stop)
        assert not out.exists()
    assert [(each.done, each.total) for each in events] == [(2, 24), (4, 24), (6, 24)]
    with ThreadPoolExecutor(2) as pool:
        work = [pool.submit(predict_file, replace(config, shard=f"{n}/2")) for n in (1, 2)]
        ((num_images, broken), second) = (each.result() for each in work)
    assert (num_images, broken) == second
    assert num_images == 24
    assert [Path(path).name for path, _ in broken] == ["broken.jpg"]
    assert out.read_text() == printed(run, many, form)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"found.{form}",
        f"found.{form}.json",
        "many",
    ]
    assert predict_file(replace(config, shard="1/9"), on_progress=stop) == second  # nothing to do
    with pytest.raises(RunError, match=r"holds predictions with top = 2, asked for 1"):
        predict_file(replace(config, top=1))
    out.write_text("lost")
    assert predict_file(config) == second
    assert out.read_text() == printed(run, many, form)


def test_files_of_predictions_need_a_form_and_shards_a_file(run: Path, tmp_path: Path) -> None:
    how: Any = {"model": str(run), "images": ("x",)}
    with pytest.raises(ValueError, match=r"out must be a file NAME.csv or NAME.jsonl"):
        PredictConfig(**how, out=tmp_path / "found.txt")
    assert PredictConfig(**how, out=tmp_path / "found.txt", form="csv").written_form == "csv"
    with pytest.raises(ValueError, match="shard '1/2' needs the file that all shards write"):
        PredictConfig(**how, shard="1/2")
    with pytest.raises(ValueError, match="shard must be i/n"):
        PredictConfig(**how, shard="3/2", out=tmp_path / "found.csv")


def test_a_file_of_unknown_predictions_is_left_alone(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "found.csv"
    out.write_text("mine")
    with pytest.raises(RunError, match="exists without found.csv.json"):
        predict_file(PredictConfig(model=str(run), images=(str(photos),), out=out))
    assert out.read_text() == "mine"


def test_a_file_belongs_to_its_model_and_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "from pathlib import Path\nimport torch\ndef net():\n    net = torch.nn.Module()\n"
    code += (
        "    net.forward = lambda x: x.mean(dim=(2, 3)) * float(Path('factor.txt').read_text())\n"
    )
    Path("net.py").write_text(f"{code}    return net\n")
    Path("factor.txt").write_text("1")  # a weight that the model keeps outside its state
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save("a.bmp")
    config = PredictConfig(
        model="python:net.py:net", images=("a.bmp",), out=Path("found.csv"), size=8
    )
    assert predict_file(config) == predict_file(config)
    Image.fromarray(255 - pixels).save("a.bmp")  # as long as before
    with pytest.raises(RunError, match="found.csv holds predictions with images = "):
        predict_file(config)
    Image.fromarray(pixels).save("a.bmp")
    Path("factor.txt").write_text("3")
    with pytest.raises(RunError, match="computes other logits for the same images"):
        predict_file(config)


def test_probabilities_are_no_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "import torch\ndef net():\n    net = torch.nn.Module()\n"
    code += "    net.forward = lambda x: {}\n    return net\n"
    Path("net.py").write_text(code.format("(9 * x.mean(dim=(2, 3))).softmax(1)"))
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 1] = 255
    Image.fromarray(image).save("a.png")
    config = PredictConfig(model="python:net.py:net", images=("a.png",), size=8)
    with pytest.raises(RunError, match="gives probabilities .* --outputs probabilities"):
        list(predict(config))
    (found,) = predict(replace(config, outputs="probabilities"))
    expected = torch.tensor([0.0, 9.0, 0.0]).softmax(0)[1]
    assert found.confidences[0] == pytest.approx(float(expected), abs=1e-5)
    Path("net.py").write_text(code.format("x.mean(dim=(2, 3)) / 0"))
    with pytest.raises(RunError, match="for a.png are not finite"):
        list(predict(config))


def test_no_images_make_an_empty_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    path = tmp_path / "none.jsonl"
    assert predict_file(PredictConfig(model=str(run), images=("-",), out=path)) == (0, [])
    assert path.read_text() == ""

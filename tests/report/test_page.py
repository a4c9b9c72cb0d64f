"""The page: what it says, what it must not say, and that it stands alone."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_runs import NAMES, keep_cells, make_run, write_examples

from augmix import results, run_folder
from augmix.bootstrap import proportion_interval
from augmix.errors import RunError
from augmix.per_image import MeasuredImages, images_path, load_images, write_predictions
from augmix.report import summarise, write_report
from augmix.report.comparison import differences
from augmix.report.images import thumb_uris
from augmix.report.load import load_runs
from augmix.results import Results


def text_of(page: Path) -> str:
    """The page's text without tags, scripts and pictures, whitespace as one blank."""
    body = page.read_text(encoding="utf-8").split("<body>")[1].split("<script>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages whose words matter are not drawn, which takes most of their time."""
    from augmix.report import page as page_

    monkeypatch.setattr(page_, "draw", lambda chart: {"wide": "<svg/>", "narrow": "<svg/>"})


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "standard", label="Standard")
    make_run(folder / "augmix", label="AugMix", weakness=0.35, seed=1)
    return [folder / "standard", folder / "augmix"]


@pytest.mark.usefixtures("undrawn")
def test_page_holds_the_numbers(two_runs: list[Path], tmp_path: Path):
    page = write_report(two_runs, tmp_path / "deep" / "report.html")
    text = text_of(page)
    for folder in two_runs:
        found = results.load_results(folder / results.RESULTS_FILE)
        summary = summarise(found)
        for key in ("clean_error", "corruption_error", "rms_calibration_error"):
            assert f" {100 * summary[key]:.1f} " in text
        assert f" {summary['nll']:.3f} " in text
        fog = found.find("c", "contrast", 4)
        assert f" {100 * fog.num_errors / fog.num_images:.1f} " in text
    assert "means over 8 corruptions × 5 severities" in text
    assert "Read with care" not in text
    assert "not measured alike" not in text


def test_page_is_self_contained(two_runs: list[Path], tmp_path: Path):
    """A folder as the target gets report.html; the same runs give the same bytes."""
    page = write_report(two_runs, tmp_path)
    assert page == tmp_path / "report.html"
    html = page.read_text(encoding="utf-8")
    assert len(html) < 2_000_000
    assert not re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)[^"]*"', html)
    assert not re.findall(r'url\((?!#|"data:image/png;base64,)', html)
    outside = set(re.findall(r"https?://[^\s\"'<]+", html))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert sorted(ids) == sorted(set(ids))
    again = write_report(two_runs, tmp_path / "again.html").read_text(encoding="utf-8")
    assert again == html


@pytest.mark.usefixtures("undrawn")
def test_only_what_is_best_is_marked(two_runs: list[Path], tmp_path: Path):
    html = write_report(two_runs, tmp_path).read_text(encoding="utf-8")
    table = html.split('id="table-summary"')[1].split("</table>")[0]
    rows = table.split("<tbody>")[1].split("</tr>")[:2]
    marks = [re.findall(r'<td class="number ?(\w*)"', row) for row in rows]
    assert len(marks[0]) == len(marks[1]) == 4
    assert marks[0][2] == ""
    assert marks[1][2:] == ["best", "best"]
    single = write_report(two_runs[:1], tmp_path).read_text(encoding="utf-8")
    assert "(best)" not in single


@pytest.mark.usefixtures("undrawn")
def test_differences_forbid_comparison(two_runs: list[Path], tmp_path: Path):
    make_run(tmp_path / "other", label="Elsewhere", preset="cifar", seed=2)
    folders = [*two_runs, tmp_path / "other"]
    assert differences(load_runs(folders)) == [
        "protocol preset: imagenet for Standard and AugMix; cifar for Elsewhere"
    ]
    page = write_report(folders, tmp_path / "report.html")
    assert "must not be compared" in text_of(page)
    assert "(best)" not in text_of(page)
    assert "errs" not in text_of(page)


@pytest.mark.usefixtures("undrawn")
def test_what_is_missing_is_said(two_runs: list[Path], tmp_path: Path):
    make_run(tmp_path / "bare", label="Bare", has_log=False, has_examples=False, seed=0)
    keep_cells(tmp_path / "bare", lambda cell: cell.name != "pixelate" or cell.severity < 4)
    text = text_of(write_report([*two_runs, tmp_path / "bare"], tmp_path / "report.html"))
    assert "Bare is incomplete: 2 of 40 corrupted sets are not measured (pixelate 4, " in text
    assert "Left out: pixelate." in text
    assert "means over 7 corruptions × 5 severities" in text
    assert "No training log: Bare." in text

    keep_cells(tmp_path / "bare", lambda cell: cell.suite == "clean")
    text = text_of(write_report([tmp_path / "bare"], tmp_path / "report.html"))
    assert "Bare was not measured on corrupted images." in text
    assert "No run kept example images." in text
    assert "nothing to draw" in text


@pytest.mark.usefixtures("undrawn")
def test_runs_without_common_corruptions(tmp_path: Path):
    make_run(tmp_path / "a", label="A", names=NAMES[:2])
    make_run(tmp_path / "b", label="B", names=NAMES[2:4])
    text = text_of(write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "report.html"))
    assert "no completely measured corruption in common" in text


def test_names_are_text(tmp_path: Path):
    evil = '<img src=x onerror="alert(1)">'
    make_run(tmp_path / "a", label=evil, names=(*NAMES[:3], "<b>fog<i> $x_1$"))
    html = write_report([tmp_path / "a"], tmp_path).read_text(encoding="utf-8")
    assert evil not in html
    assert "<b>fog" not in html
    assert "&lt;img src=x onerror=" in html
    assert "$x" in html


def test_equal_labels_are_distinguished(tmp_path: Path):
    for name in ("a", "b"):
        make_run(tmp_path / name, label="AugMix")
    runs = load_runs([tmp_path / "a", tmp_path / "b", tmp_path / "a"])
    assert [run.label for run in runs] == ["AugMix (1)", "AugMix (2)"]


def test_repeated_steps_of_a_log_count_once(tmp_path: Path):
    make_run(tmp_path / "a")
    lines = [{"step": step, "epoch": step, "loss": 1.0} for step in (1, 2, 3, 2, 3, 4)]
    log = tmp_path / "a" / run_folder.LOG_FILE
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 5, "lo')
    assert [record["step"] for record in load_runs([tmp_path / "a"])[0].log] == [1, 2, 3, 4]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("size", "channels"), [(32, 1), (224, 3)])
def test_examples_fit_into_the_page(tmp_path: Path, size: int, channels: int):
    names = tuple(f"corruption_{index}" for index in range(19))
    make_run(tmp_path / "a", names=names, has_examples=False)
    write_examples(tmp_path / "a" / "examples.npz", names, side=size, channels=channels)
    page = write_report([tmp_path / "a"], tmp_path)
    assert page.stat().st_size < 5_000_000
    assert ("reduced from 224 to" in text_of(page)) == (size == 224)
    assert page.read_text(encoding="utf-8").count("<img ") >= 19 * 6


def test_refusals_name_the_way_out(two_runs: list[Path], tmp_path: Path):
    with pytest.raises(RunError, match="at least one run folder, got none"):
        write_report([], tmp_path / "x.html")
    with pytest.raises(RunError, match="is not a folder"):
        write_report([tmp_path / "nowhere"], tmp_path / "x.html")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"holds no results.json.*augmix evaluate"):
        write_report([tmp_path / "empty"], tmp_path / "x.html")
    results.write_results(
        tmp_path / "empty" / results.RESULTS_FILE, Results(model={}, source={}, protocol={})
    )
    with pytest.raises(RunError, match="no measured cell yet"):
        write_report([tmp_path / "empty"], tmp_path / "x.html")
    make_run(tmp_path / "torn", has_examples=False)
    (tmp_path / "torn" / "examples.npz").write_bytes(b"no zip")
    with pytest.raises(RunError, match=r"examples.npz is damaged"):
        write_report([tmp_path / "torn"], tmp_path / "x.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make the folder"):
        write_report(two_runs, tmp_path / "file" / "x.html")
    assert not (tmp_path / "x.html").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_temperature_at_its_bound_is_said(tmp_path: Path):
    make_run(tmp_path / "a", label="Sure", names=NAMES[:1], num_images=60, temperature=1000.0)
    page = write_report([tmp_path / "a"], tmp_path / "page.html").read_text()
    assert "Sure: the temperature 1000 is the highest that is tried" in page


def test_adapted_models_and_temperature_are_distinguished(tmp_path: Path):
    few = {"names": NAMES[:2], "num_images": 200, "has_log": False, "has_examples": False}
    plain = make_run(tmp_path / "a", label="Cutout", method="cutout", **few)
    make_run(
        tmp_path / "b",
        label="Cutout",
        method="cutout",
        weakness=0.4,
        adaptation="batch norm, prior 16",
        temperature=1.5,
        **few,
    )
    page = write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "x.html")
    html, text = page.read_text(encoding="utf-8"), text_of(page)
    assert "Cutout, adapted (batch norm, prior 16)" in text
    table = html.split('id="table-adaptation"')[1].split("</table>")[0]
    titles = re.findall(r'class="sort">([^<]*?) <', table)
    assert titles == ["as trained", "batch norm, prior 16"] * 3
    assert len(re.findall(r'<th scope="row">', table)) == 1
    assert f"{100 * (summarise(plain)['corruption_error'] or 0):.1f}" in table
    summary = html.split('id="table-summary"')[1].split("</table>")[0]
    assert "best" not in summary  # the adapted one does not take part, so nobody is beside it
    temperature = html.split('id="table-temperature"')[1].split("</table>")[0]
    assert len(re.findall(r'<th scope="row">', temperature)) == 1
    assert "1.500" in temperature
    assert "before" in temperature


@pytest.mark.usefixtures("undrawn")
def test_the_attack_has_its_numbers_and_its_settings(tmp_path: Path):
    few = {"names": NAMES[:2], "num_images": 200, "has_log": False, "has_examples": False}
    found = make_run(tmp_path / "a", label="Madry", robust_error=0.5, **few)
    make_run(tmp_path / "b", label="AugMix", weakness=0.4, robust_error=0.95, seed=1, **few)
    make_run(tmp_path / "c", label="Cutout", seed=2, **few)
    page = write_report([tmp_path / name for name in "abc"], tmp_path / "x.html")
    html, text = page.read_text(encoding="utf-8"), text_of(page)
    (cell,) = [each for each in found.cells if each.suite == "attack"]
    share = cell.num_errors / 200
    interval = proportion_interval(cell.num_errors, 200)
    robust = f"{100 * share:.1f} {100 * interval.low:.1f}–{100 * interval.high:.1f} (best)"
    section = text.split("Error under attack")[-1].split("Calibration")[0]
    settings = "linf 8/255 20 2/255 1"
    assert re.search(rf"Madry {settings} \S+ \S+ .*?{re.escape(robust)}", section)
    assert f"AugMix {settings}" in section
    assert "Cutout" not in section
    assert "so the error is at least this" in section
    summary = html.split('id="table-summary"')[1].split("</table>")[0]
    assert "Robust error" in summary
    assert f">{100 * share:.1f}<" in summary
    words = "(linf within 8/255, 20 steps of 2/255 from 1 random start)"
    assert f"attacked by projected gradient descent {words}" in text
    assert "not measured alike" not in text
    assert " robust error " in text.split("Difference from")[1]
    keep_cells(tmp_path / "a", lambda cell: cell.suite != "attack")
    text = text_of(write_report([tmp_path / "a"], tmp_path / "y.html"))
    assert "Madry is incomplete: the attack is not measured." in text
    assert "obust error" not in text


@pytest.mark.usefixtures("undrawn")
def test_an_attack_alone_is_a_page(tmp_path: Path):
    make_run(tmp_path / "a", robust_error=0.5, num_images=100, names=NAMES[:1], temperature=1.5)
    keep_cells(tmp_path / "a", lambda cell: cell.suite == "attack")
    page = write_report([tmp_path / "a"], tmp_path / "x.html")
    assert re.findall(r'<section id="(\w+)"', page.read_text(encoding="utf-8")) == [
        *["summary", "corruptions", "attack", "training", "examples", "settings", "glossary"]
    ]
    text = text_of(page)
    assert "Error under attack" in text
    assert "was not measured on clean images" in text
    glossary = text.split(" Glossary ")[-1]
    assert "Robust error Fraction" in glossary
    assert "Flips" not in glossary
    assert "Corruption error" not in glossary
    cost = text.split(" Training cost ")[-1]  # 2.5e13 operations and a minute
    assert re.match(r"\s*Run PFLOP Hours Standard 0\.025 0\.02 ", cost)


def test_other_attacks_forbid_comparison(tmp_path: Path):
    few = {"names": NAMES[:1], "num_images": 100, "has_log": False, "robust_error": 0.5}
    make_run(tmp_path / "a", label="A", **few)
    make_run(tmp_path / "b", label="B", seed=1, attack_steps=50, **few)
    found = differences(load_runs([tmp_path / "a", tmp_path / "b"]))
    assert found == ["protocol attack steps: 20 for A; 50 for B"]


@pytest.mark.usefixtures("undrawn")
def test_missing_predictions_are_said(tmp_path: Path):
    few = {"names": NAMES[:2], "num_images": 200, "has_log": False, "has_examples": False}
    make_run(tmp_path / "a", label="Old", has_predictions=False, **few)
    make_run(tmp_path / "b", label="AugMix", weakness=0.4, seed=1, **few)
    text = text_of(write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "x.html"))
    assert "No intervals for Old: the predictions of single images were not kept." in text
    assert "Difference from" not in text
    assert "AugMix is wrong on" in text


def test_other_images_of_the_source_forbid_comparison(tmp_path: Path):
    few = {"names": NAMES[:1], "num_images": 100, "has_log": False}
    make_run(tmp_path / "a", label="A", **few)
    make_run(tmp_path / "b", label="B", seed=1, **few)
    images = load_images(tmp_path / "b")
    other = MeasuredImages(ids=images.ids + 1, labels=images.labels)
    write_predictions(images_path(tmp_path / "b"), other)
    found = differences(load_runs([tmp_path / "a", tmp_path / "b"]))
    assert found == ["the images that were measured: other ones of the same source"]


def test_what_was_not_measured_is_no_difference(tmp_path: Path):
    """A run with sequences beside one without; another difficulty is one."""
    few = {"names": NAMES[:1], "num_images": 100, "has_log": False}
    make_run(tmp_path / "a", label="A", **few)
    make_run(tmp_path / "b", label="B", sequences=("tilt",), **few)
    make_run(tmp_path / "c", label="C", sequences=("tilt",), difficulty=2, **few)
    a, b, c = load_runs([tmp_path / name for name in "abc"])
    assert differences([a, b]) == []
    assert differences([a, b, c]) == ["protocol difficulty: 1 for B; 2 for C"]


def test_many_large_pictures_stay_small():
    """Twelve hardest images of each of eight runs, all noise; those not shown cost nothing."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 224, 224, 3), dtype=np.uint8)
    thumbs = dict(enumerate(noise))
    assert sum(map(len, thumb_uris(thumbs, range(96)).values())) < 1_500_000
    assert list(thumb_uris(thumbs, [5])) == [5]

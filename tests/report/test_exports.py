"""The same numbers for other programs, whatever the names hold, and what goes to the Hub."""

import csv
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_runs import NAMES, make_run

import augmix
from augmix.errors import RunError
from augmix.models.weights import build_model, load_model, save_model
from augmix.report import export_path, summarise, write_report
from augmix.report.comparison import Comparison, compare
from augmix.report.exports import (
    escape,
    records_to_csv,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
    write_card,
)
from augmix.report.sections import all_tables
from augmix.results import Results, load_results, write_results

EVIL = "<b>50_%</b> | x & \\y"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("exports")
    few = {"names": NAMES[:2], "sequences": ("tilt",), "num_images": 150, "temperature": 1.5}
    make_run(folder / "a", label=EVIL, **few)
    make_run(folder / "b", label="AugMix", weakness=0.3, seed=1, **few)
    return [folder / "a", folder / "b"]


@pytest.fixture(scope="module")
def comparison(folders: list[Path]) -> Comparison:
    return compare(folders)


def test_csv_has_every_number(comparison: Comparison):
    lines = list(csv.DictReader(to_csv(comparison).splitlines()))
    found = {
        (line["row"], line["metric"], line["scope"]): line for line in lines if not line["name"]
    }
    for run in comparison.runs:
        summary = summarise(run.results)
        for key, metric, scope in (
            ("clean_error", "error", "clean"),
            ("corruption_error", "error", "corrupted"),
            ("rms_calibration_error", "rms", "corrupted"),
            ("flip_probability", "flip", "perturbed"),
            ("nll", "nll", "corrupted"),
        ):
            assert float(found[run.label, metric, scope]["value"]) == pytest.approx(summary[key])
    line = found[EVIL, "error", "corrupted"]
    assert float(line["low"]) < float(line["value"]) < float(line["high"])
    assert line["std"] == ""
    severities = [line for line in lines if line["scope"] == "severity"]
    assert {line["name"] for line in severities} == {"1", "2", "3", "4", "5"}


def test_json_has_verdicts(comparison: Comparison):
    content = json.loads(to_json(comparison))
    assert [row["label"] for row in content["rows"]] == [EVIL, "AugMix"]
    assert content["rows"][0]["runs"][0]["temperature"]["value"] == 1.5
    assert content["grid"]["names"] == list(NAMES[:2])
    apart = next(
        each
        for each in content["differences"]
        if (each["metric"], each["scope"]) == ("error", "corrupted")
    )
    assert (apart["row"], apart["minus"], apart["verdict"]) == ("AugMix", EVIL, "lower")
    assert apart["low"] < apart["estimate"] < apart["high"] < 0


def test_latex_is_escaped_and_regular(comparison: Comparison):
    text = to_latex(comparison)
    tables = all_tables(comparison)
    assert text.count("\\begin{tabular}") == text.count("\\bottomrule") == len(tables)
    name = "\\textless{}b\\textgreater{}50\\_\\%\\textless{}/b\\textgreater{} | x \\& "
    assert name + "\\textbackslash{}y" in text
    summary = text.split("\\midrule")[1].split("\\bottomrule")[0].strip().splitlines()
    widths = {line.replace("\\&", "").count("&") for line in summary}
    assert widths == {len(tables[0].columns)}
    assert "\\textbf{" in summary[1]
    assert escape("#1 ~ $x^2$ – −3 → {a}") == (
        "\\#1 \\textasciitilde{} \\$x\\textasciicircum{}2\\$ -- $-$3 $\\to$ \\{a\\}"
    )


def test_markdown_card_is_escaped(comparison: Comparison):
    text = to_markdown(comparison)
    assert text.startswith("# Robustness of &lt;b&gt;50\\_%&lt;/b&gt; \\| x &amp; \\\\y, AugMix\n")
    assert "<b>" not in text
    for heading in ("## Models", "## Results", "## Limits", "### Temperature scaling"):
        assert heading in text
    rows = [line for line in text.split("### Summary")[1].split("###")[0].splitlines() if line]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert len(rows) == 4
    assert "150 images of digits (test)" in text


def test_runs_on_different_data_say_so_everywhere(tmp_path: Path):
    few = {"names": NAMES[:1], "num_images": 60, "has_log": False}
    make_run(tmp_path / "a", label="A", **few)
    make_run(tmp_path / "b", label="B", source="digits_% 2", **few)
    comparison = compare([tmp_path / "a", tmp_path / "b"])
    warning = "These runs were not measured alike, so their numbers must not be compared"
    card = to_markdown(comparison)
    before = card.partition("## Models")[0]
    assert f"**{warning}:**" in before
    assert (
        "Measured on 60 images of digits (test); 60 images of digits\\_% 2 (test): clean" in before
    )
    assert "- B: 60 images of digits\\_% 2 (test)" in before
    latex = to_latex(comparison)
    assert f"\\textbf{{{warning}:}}" in latex.partition("\\begin{table}")[0]
    assert latex.count(f"{warning}.}}") == latex.count("\\caption{") > 1
    lines = list(csv.DictReader(to_csv(comparison).splitlines()))
    assert {line["not_comparable"] for line in lines} == {"; ".join(comparison.unlike)}
    assert {line["measured_on"] for line in lines if line["row"] == "B"} == {
        "60 images of digits_% 2 (test)"
    }
    alone = compare([tmp_path / "a"])
    assert warning not in to_markdown(alone) + to_latex(alone)
    line = next(csv.DictReader(to_csv(alone).splitlines()))
    assert (line["not_comparable"], line["interval"]) == ("", "Wilson")


def test_cells_are_no_formulas(tmp_path: Path):
    make_run(tmp_path / "a", label="=1+1", names=NAMES[:1], num_images=60, has_log=False)
    text = to_csv(compare([tmp_path / "a"]))
    assert text.splitlines()[1].startswith("'=1+1,")
    records = [{"a": word} for word in ("+x", "-x", "@x", "\tx", "x", -0.5)]
    found = [line["a"] for line in csv.DictReader(records_to_csv(records, ["a"]).splitlines())]
    assert found == ["'+x", "'-x", "'@x", "'\tx", "x", "-0.5"]


def test_the_attack_is_in_every_export(tmp_path: Path):
    few = {"names": NAMES[:1], "num_images": 80, "has_log": False}
    found = make_run(tmp_path / "a", robust_error=0.5, **few)
    (cell,) = [each for each in found.cells if each.suite == "attack"]
    fraction = cell.num_errors / 80
    comparison = compare([tmp_path / "a"])
    lines = list(csv.DictReader(to_csv(comparison).splitlines()))
    (line,) = [each for each in lines if each["scope"] == "attacked"]
    assert (line["metric"], float(line["value"])) == ("error", fraction)
    assert float(line["low"]) < fraction < float(line["high"])
    content = json.loads(to_json(comparison))
    assert content["protocol"]["attack_epsilon"] == 8 / 255
    (number,) = [each for each in content["numbers"] if each["scope"] == "attacked"]
    assert number["value"] == fraction
    for text, sign in ((to_latex(comparison), "&"), (to_markdown(comparison), "|")):
        table = text.split("Error under attack")[1]
        (shown,) = [line for line in table.splitlines() if "8/255" in line and sign in line][:1]
        words = [word.strip() for word in shown.strip(" |\\").split(sign)]
        assert words[:6] == ["Standard", "linf", "8/255", "20", "2/255", "1"]
        assert words[7].startswith(f"{100 * fraction:.1f} ")
    card = to_markdown(comparison)
    assert "attacked (linf within 8/255, 20 steps of 2/255 from 1 random start)" in card


def test_files_are_beside_the_page(folders: list[Path], tmp_path: Path):
    names = ("csv", "json", "latex", "markdown")
    page = write_report(folders[:1], tmp_path / "x.html", names)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["x.csv", "x.html", "x.json", "x.md", "x.tex"]
    assert [export_path(page, name).suffix for name in names] == [".csv", ".json", ".tex", ".md"]
    with pytest.raises(ValueError, match="export must be of csv, json, latex, markdown, got 'pdf'"):
        inspect.unwrap(write_report)(folders, tmp_path / "y.html", ("pdf",))
    assert not (tmp_path / "y.html").exists()


def test_numbers_need_no_drawing():
    """Importing the report, to print its numbers, loads neither matplotlib nor torch."""
    program = (
        "import sys, augmix.report, augmix.report.exports\n"
        "loaded = {'matplotlib', 'torch', 'jinja2', 'numba', 'cv2'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_nothing_but_an_earlier_report_is_written_over(folders: list[Path], tmp_path: Path):
    names = ("csv", "json", "latex", "markdown")
    page = write_report(folders[:1], tmp_path / "x.html", names)
    before = page.read_bytes()
    assert write_report(folders[:1], page, names).read_bytes() == before  # again is fine
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"\0\1\2")
    with pytest.raises(RunError, match="weights.safetensors exists and is no report"):
        write_report(folders[:1], weights)
    for name, suffix in zip(names, (".csv", ".json", ".tex", ".md"), strict=True):
        other = tmp_path / f"results{suffix}"
        other.write_text('{"schema": 3, "cells": []}')
        with pytest.raises(RunError, match=f"results{suffix} exists and is no report as {name}"):
            write_report(folders[:1], tmp_path / "results.html", (name,))
        assert other.read_text() == '{"schema": 3, "cells": []}'
        with pytest.raises(RunError, match=f"the page and its {name} would both be"):
            write_report(folders[:1], tmp_path / f"page{suffix}", (name,))
    assert weights.read_bytes() == b"\0\1\2"
    assert not (tmp_path / "results.html").exists()


def test_latex_tables_have_labels_and_wide_ones_both_columns(tmp_path: Path):
    few = {"names": NAMES[:1], "num_images": 60, "has_log": False, "has_examples": False}
    for place in range(7):
        make_run(
            tmp_path / str(place),
            label=f"run {'abcdefg'[place]}",
            seed=place,
            method=f"m{place}",
            **few,
        )
    latex = to_latex(compare([tmp_path / str(place) for place in range(7)]))
    assert "\\label{tab:summary}" in latex
    wide = latex.partition("\\label{tab:corruptions-error}")[0].rpartition("\\begin{")[2]
    assert wide.startswith("table*}")
    assert latex.count("\\begin{table*}") == latex.count("\\end{table*}")
    assert latex.count("\\begin{") == latex.count("\\end{")


class FakeHub:
    """A hub of folders, with the functions of huggingface_hub that upload."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[tuple[str, bool | None]] = []
        self.commits: list[str] = []
        self.tokens: list[str | None] = []
        self.error: Exception | None = None

    def HfApi(self, *, token: str | None = None) -> "FakeHub":
        self.tokens.append(token)
        return self

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> None:
        assert exist_ok
        if self.error:
            raise self.error
        self.made.append((repo_id, private))
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)

    def CommitOperationAdd(self, path_in_repo: str, path_or_fileobj: Any) -> SimpleNamespace:
        return SimpleNamespace(path=path_in_repo, content=path_or_fileobj)

    def create_commit(self, repo_id: str, operations: list, *, commit_message: str) -> None:
        self.commits.append(commit_message)
        for each in operations:
            data = each.content
            data = data if isinstance(data, bytes) else Path(data).read_bytes()
            (self.root / repo_id / each.path).write_bytes(data)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    found = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", found)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(0)
    save_model(folder, build_model("small", num_classes=3))
    config = {"schema": 1, "method": "augmix", "epochs": 7, "data": "mine/x", "out": "/home/r"}
    config |= {"stylised": "/home/me/sin", "nested": {"depth": 3, "root": "mine/y"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_files_of_a_published_model(fake: FakeHub, run: Path):
    address = augmix.push_to_hub(run, "me/digits", is_private=True, message="First", token="t")
    assert address == "https://huggingface.co/me/digits"
    assert fake.made == [("me/digits", True)]
    assert fake.commits == ["First"]
    assert fake.tokens == ["t"]
    there = fake.root / "me/digits"
    files = sorted(path.name for path in there.iterdir())
    assert files == ["README.md", "config.json", "model.json", "weights.safetensors"]
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(load_model(there)(images), load_model(run)(images))


def test_paths_and_commands_stay_private(fake: FakeHub, run: Path):
    results = Results(
        model={"name": "small"},
        source={"name": "digits"},
        protocol={"official": ["/home/me/Digits-C", "C:\\\\me\\\\more"]},
        provenance={"command": "augmix evaluate /home/me/run", "python": "3.11"},
    )
    write_results(run / "results.json", results)
    augmix.push_to_hub(run, "me/digits")
    there = fake.root / "me/digits"
    for path in (*there.glob("*.json"), there / "README.md"):
        assert not re.search(rb"/home|mine/|C:", path.read_bytes()), path.name
    config = {"method": "augmix", "epochs": 7, "stylised": "sin", "nested": {"depth": 3}}
    assert json.loads((there / "config.json").read_text()) == config
    published = load_results(there / "results.json")
    assert published.provenance == {"python": "3.11"}
    assert published.protocol == {"official": ["Digits-C", "more"]}
    assert load_results(run / "results.json") == results


def test_without_the_package(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = r"putting a model on the Hugging Face Hub needs huggingface_hub, .*'huggingface-hub>="
    with pytest.raises(RunError, match=message):
        augmix.push_to_hub(run, "me/digits")


def test_what_cannot_be_published(fake: FakeHub, run: Path):
    with pytest.raises(RunError, match=r"named owner/name, got 'digits'"):
        augmix.push_to_hub(run, "digits")
    fake.error = PermissionError("403 Forbidden.\nRequest ID: 1")
    with pytest.raises(RunError, match=r"did not take 'me/x': 403 Forbidden; log in with `hf auth"):
        augmix.push_to_hub(run, "me/x")
    (run / "weights.safetensors").unlink()
    with pytest.raises(RunError, match=r"weights.safetensors does not exist; is .* a finished run"):
        augmix.push_to_hub(run, "me/x")


def test_card_of_an_unmeasured_run(run: Path):
    card = write_card(run, "me/digits")
    assert card.startswith("---\nlibrary_name: augmix\npipeline_tag: image-classification\n")
    assert "\n# me/digits\n" in card
    assert "A `small` for 3 classes" in card
    assert "model = augmix.load_model('me/digits')" in card
    assert "| method | augmix |" in card
    assert "| nested.depth | 3 |" in card
    assert "Nothing was measured" in card
    (run / "config.json").unlink()
    assert "## Training" not in write_card(run, "me/digits")


def test_card_of_a_measured_run(run: Path):
    """Its numbers are those of the report; see `test_exports.py`."""
    folder = run.parent / "measured"
    make_run(folder, names=NAMES[:2], sequences=("tilt",), num_images=100, robust_error=0.5)
    for file in ("model.json", "config.json"):
        shutil.copy(run / file, folder)
    card = write_card(folder, "me/digits")
    assert re.findall(r"(?m)^#+ .*", card)[:4] == [
        "# me/digits",
        "## Training",
        f"## Robustness of {load_results(folder / 'results.json').model['label']}",
        "### Models",
    ]
    for title in ("attack", "tilt", "### Limits"):
        assert title.lower() in card.lower()
    assert "Nothing was measured" not in card


def test_damaged_results(run: Path):
    (run / "results.json").write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        write_card(run, "me/digits")

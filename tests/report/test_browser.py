"""The report in a real browser: a headless Chromium opens the page at two widths and uses it.

A copy of the page carries two more scripts: the first collects errors from the start on, the second
clicks through the page and posts what it saw to the page around it, whose DOM Chromium prints.
"""

import html
import json
import re
import subprocess
from pathlib import Path

import pytest
from browser import FLAGS, find_browser
from fake_runs import NAMES, keep_cells, make_run

from augmix.report import write_report

EVIL = '<b class="evil">Standard</b><script>fail()</script>'
WIDTHS = (390, 1280)

COLLECT = """<script>
window.seen = [];
addEventListener("error", (event) => seen.push(String(event.message)));
addEventListener("securitypolicyviolation", (event) => seen.push("refused " + event.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => seen.push(words.join(" "));
</script>"""

USE = """<script>
addEventListener("load", () => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const style = (selector) => getComputedStyle(document.querySelector(selector));
  const button = (index) => all("#table-summary .sort")[index];
  const column = (index) =>
    all("#table-summary tbody tr").map((row) => row.cells[index].innerText);
  const size = (node) => {
    const box = node.getBoundingClientRect();
    return [box.width, box.height];
  };
  const root = document.documentElement;
  const report = { width: innerWidth };
  report.plots = all("figure .plot").map((plot) => [
    plot.closest("figure").id,
    ...size(plot.firstElementChild),
    plot.querySelectorAll("text").length,
  ]);
  report.pictures = all(".gallery:not([hidden]) img").map((image) => image.naturalWidth);
  report.overflow = Math.max(root.scrollWidth, document.body.scrollWidth) - innerWidth;

  report.before = column(5);
  button(5).click();
  report.ascending = column(5);
  report.sort = button(5).closest("th").ariaSort;
  button(5).click();
  report.descending = column(5);
  button(3).click();
  report.gaps = [column(3)];
  button(3).click();
  report.gaps.push(column(3));
  button(0).click();
  report.labels = column(0);
  report.other = button(5).closest("th").ariaSort;
  const heat = all(".heat")[0];
  heat.closest("details").open = true;
  heat.querySelectorAll(".sort")[6].click();
  report.means = [...heat.tBodies[0].rows].map((row) => row.cells[6].innerText);
  const errors = document.getElementById("table-corruptions-error");
  errors.querySelectorAll(".sort")[1].click();
  report.last = [...errors.tBodies[0].rows].map((row) => row.cells[0].innerText).at(-1);

  const drill = document.getElementById("drill-c-1");
  const inside = drill.querySelector(".inside");
  report.drill = [inside.checkVisibility()];
  drill.querySelector("summary").click();
  report.drill.push(inside.checkVisibility());
  report.drilled = inside.innerText;
  report.thumbs = [...inside.querySelectorAll(".thumb:not(.none)")].map((thumb) =>
    [getComputedStyle(thumb).backgroundImage.slice(0, 26), ...size(thumb)]);

  const reference = document.getElementById("reference");
  const shown = () => all(".contrast:not([hidden]) h3").map((title) => title.innerText);
  report.references = [shown()];
  reference.value = "1";
  reference.dispatchEvent(new Event("change"));
  report.references.push(shown());

  report.markup = all(".evil, main script, main iframe").length;
  const colours = () => [style("body").backgroundColor, style("figure text").fill];
  report.light = colours();
  document.getElementById("theme").click();
  report.dark = colours();
  all(".picker button")[1].click();
  report.galleries = all("[data-gallery]:not([hidden])").map((one) => one.dataset.gallery);
  const rows = () => all("#settings tbody tr").filter((row) => row.checkVisibility()).length;
  report.rows = [rows()];
  document.querySelector("#settings details summary").click();
  report.rows.push(rows());
  report.differing = all("#table-settings-differing tbody tr").length;
  document.querySelector("#severity details summary").click();
  report.numbers = all("#severity details td.number").every((cell) => size(cell)[0] > 0);

  report.reach = all("a[href^='#']").every((link) => document.querySelector(link.hash));
  report.headers = all("th").every((header) => header.scope);
  report.names = all("button, input, select").every((control) =>
    control.ariaLabel || control.textContent.trim() || (control.labels || [])[0]);
  report.alts = all("img").every((image) => image.hasAttribute("alt"));

  // What paper shows: the rules for print as rules for everything.
  const sheet = document.createElement("style");
  sheet.textContent = [...document.styleSheets].flatMap((each) => [...each.cssRules])
    .filter((rule) => rule.media && rule.media.mediaText === "print")
    .flatMap((rule) => [...rule.cssRules]).filter((rule) => rule.selectorText)
    .map((rule) => rule.cssText).join(" ");
  document.head.append(sheet);
  const isShown = (node) => size(node)[0] > 0 && size(node)[1] > 0;
  report.closed = all(".drill:not([open])").length;
  report.paper = {
    tables: all("table").filter((table) => !isShown(table)
      && !table.closest("details:not([open]), [hidden]")).map((table) => table.id),
    drills: all(".drill .name").filter((name) => !isShown(name)).length,
    bar: isShown(document.querySelector(".bar")),
    pictures: all(".gallery:not([hidden]) img").every(isShown),
    colour: style("body").backgroundColor,
  };
  report.errors = seen;
  parent.postMessage(JSON.stringify(report), "*");
});
</script>"""

FRAMES = """<!doctype html><body><script>
const expected = %s;
addEventListener("message", (event) => {
  const note = document.createElement("pre");
  note.textContent = event.data;
  document.body.append(note);
});
for (const width of expected) {
  const frame = document.createElement("iframe");
  frame.src = "page.html#theme=light";
  frame.style = `width: ${width}px; height: 900px; border: 0`;
  document.body.append(frame);
}
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    return find_browser()


@pytest.fixture(scope="module")
def seen(browser: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict]:
    """What the page reported at each width."""
    folder = tmp_path_factory.mktemp("page")
    few = {"names": NAMES[:5], "sequences": ("tilt", "scale"), "temperature": 1.5}
    make_run(folder / "a", label=EVIL, **few)
    make_run(folder / "b", label="AugMix", weakness=0.35, seed=1, **few)
    long = "AugMix with a label as " + "long" * 20
    make_run(folder / "c", label=long, weakness=0.5, seed=2, adaptation="batch norm", **few)
    keep_cells(folder / "c", lambda cell: cell.suite == "c")  # nothing clean: sorted last
    page = write_report([folder / name for name in "abc"], folder / "report.html")
    text = page.read_text(encoding="utf-8")
    text = text.replace("<style>", COLLECT + "<style>", 1).replace("</body>", USE + "</body>")
    (folder / "page.html").write_text(text, encoding="utf-8")
    (folder / "frames.html").write_text(FRAMES % json.dumps(WIDTHS))
    command = [
        browser,
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr",
        "--v=0",
        "--dump-dom",
        (folder / "frames.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    reports = [
        json.loads(html.unescape(text)) for text in re.findall(r"<pre>(.*?)</pre>", done.stdout)
    ]
    assert len(reports) == len(WIDTHS), done.stdout[-2000:] + done.stderr[-2000:]
    return {report["width"]: {**report, "console": console} for report in reports}


@pytest.mark.parametrize("width", WIDTHS)
class TestPage:
    def test_no_errors(self, seen, width):
        assert seen[width]["errors"] == []
        assert seen[width]["console"] == []

    def test_every_figure_is_there(self, seen, width):
        shown = {plot[0]: plot for plot in seen[width]["plots"] if plot[1] > 0}
        assert set(shown) == {
            "figure-bars",
            "figure-severity-error",
            "figure-severity-rms",
            "figure-stability",
            "figure-reliability-clean",
            "figure-reliability-corrupted",
            "figure-training-loss",
            "figure-training-train-error",
            "figure-training-learning-rate",
        }
        for name, plot_width, height, num_texts in shown.values():
            assert plot_width > 200, name
            assert height > 150, name
            assert num_texts >= 8, name
        assert len([plot for plot in seen[width]["plots"] if plot[1] == 0]) == 1  # the other bars
        assert len(seen[width]["pictures"]) == 5 * 6
        assert set(seen[width]["pictures"]) == {32}

    def test_the_page_does_not_scroll_sideways(self, seen, width):
        assert seen[width]["overflow"] <= 0

    def test_tables_sort(self, seen, width):
        page = seen[width]
        errors = [float(text.split()[0]) for text in page["ascending"]]
        assert errors == sorted(float(text.split()[0]) for text in page["before"])
        assert page["before"] != page["ascending"]
        assert page["sort"] == "ascending"
        assert page["descending"] == page["ascending"][::-1]
        assert [label.strip()[:6] for label in page["labels"]] == ["<b cla", "AugMix", "AugMix"]
        assert page["other"] is None
        assert [gaps[-1] for gaps in page["gaps"]] == ["–", "–"]  # not measured: last either way
        means = [float(text) for text in page["means"]]
        assert means == sorted(means)
        assert len(set(means)) > 4
        assert page["last"] == "mean"  # stays below what it is the mean of

    def test_drill_down_opens(self, seen, width):
        assert seen[width]["drill"] == [False, True]
        text = seen[width]["drilled"]
        for part in ("Error by severity", "Most often confused", "Images most often wrong"):
            assert part in text
        assert re.search(r"[1-5] of 5 wrong: \d", text)
        assert len(seen[width]["thumbs"]) >= 3
        for picture, *size in seen[width]["thumbs"]:
            assert picture == 'url("data:image/png;base64'
            assert size == [48, 48]

    def test_differences_are_from_the_chosen_row(self, seen, width):
        before, after = seen[width]["references"]
        assert len(before) == 1
        assert EVIL in before[0]
        assert len(after) == 1
        assert after[0].startswith("Difference from AugMix")

    def test_paper_shows_what_the_page_shows(self, seen, width):
        assert seen[width]["paper"] == {
            "tables": [],
            "drills": seen[width]["closed"],  # on demand: an open one is printed
            "bar": False,
            "pictures": True,
            "colour": "rgb(255, 255, 255)",
        }

    def test_names_are_text(self, seen, width):
        assert seen[width]["markup"] == 0
        assert any(EVIL in label for label in seen[width]["labels"])

    def test_theme_images_and_settings_open(self, seen, width):
        page = seen[width]
        assert page["light"][0] == "rgb(247, 247, 245)"
        assert page["dark"][0] == "rgb(19, 20, 22)"
        assert page["light"][1] != page["dark"][1]
        assert page["galleries"] == ["1"]
        assert page["rows"][1] > page["rows"][0] == page["differing"] > 0
        assert page["numbers"]

    def test_it_can_be_reached_and_read_aloud(self, seen, width):
        for fact in ("reach", "headers", "names", "alts"):
            assert seen[width][fact], fact


def test_two_runs_are_printed_on_five_pages(browser: str, tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        make_run(tmp_path / name, seed=seed, label=name, weakness=0.3 + 0.1 * seed)
    page = write_report([tmp_path / name for name in "ab"], tmp_path / "report.html")
    printed = tmp_path / "report.pdf"
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    output = f"--print-to-pdf={printed}"
    subprocess.run(
        [browser, *FLAGS, profile, output, "--no-pdf-header-footer", page.as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert 2 <= len(re.findall(rb"/Type\s*/Page[^s]", printed.read_bytes())) <= 5

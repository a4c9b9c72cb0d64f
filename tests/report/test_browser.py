"""The report in a real browser: a headless Chromium opens the page at two widths and uses it.

A copy of the page carries two more scripts: the first collects errors from the start on, the second
clicks through the page and posts what it saw to the page around it, whose DOM Chromium prints.
"""

import html
import json
import re
import shutil
import subprocess

import pytest
from fake_runs import keep_cells, make_run

from augmix.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
    "--virtual-time-budget=20000",
)
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

  report.before = column(7);
  button(7).click();
  report.ascending = column(7);
  report.sort = button(7).closest("th").ariaSort;
  button(7).click();
  report.descending = column(7);
  button(3).click();
  report.gaps = [column(3)];
  button(3).click();
  report.gaps.push(column(3));
  button(0).click();
  report.labels = column(0);
  report.other = button(7).closest("th").ariaSort;
  const heat = all(".heat")[0];
  heat.querySelectorAll(".sort")[6].click();
  report.means = [...heat.tBodies[0].rows].map((row) => row.cells[6].innerText);

  report.markup = all(".evil, main script, main iframe").length;
  const colours = () => [style("body").backgroundColor, style("figure text").fill];
  report.light = colours();
  document.getElementById("theme").click();
  report.dark = colours();
  all(".picker button")[1].click();
  report.galleries = all("[data-gallery]:not([hidden])").map((one) => one.dataset.gallery);
  const rows = () => all("#table-settings tbody tr").filter((row) => size(row)[1] > 0).length;
  report.rows = [rows()];
  document.getElementById("only-differences").click();
  report.rows.push(rows());
  report.differing = all("#table-settings .differs").length;
  document.querySelector("details summary").click();
  report.numbers = all("details td.number").every((cell) => size(cell)[0] > 0);

  report.reach = all("a[href^='#']").every((link) => document.querySelector(link.hash));
  report.headers = all("th").every((header) => header.scope);
  report.names = all("button, input").every((control) =>
    control.ariaLabel || control.innerText || (control.labels || [])[0]);
  report.alts = all("img").every((image) => image.hasAttribute("alt"));
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
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    pytest.skip(f"no browser to open the page with: none of {', '.join(BROWSERS)} is installed")


@pytest.fixture(scope="module")
def seen(browser: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict]:
    """What the page reported at each width."""
    folder = tmp_path_factory.mktemp("page")
    make_run(folder / "a", label=EVIL)
    make_run(folder / "b", label="AugMix", weakness=0.35, seed=1)
    make_run(folder / "c", label="AugMix with a label as " + "long" * 20, weakness=0.5, seed=2)
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
            "figure-reliability-clean",
            "figure-reliability-corrupted",
            "figure-training-loss",
            "figure-training-train_error",
            "figure-training-learning_rate",
        }
        for name, plot_width, height, num_texts in shown.values():
            assert plot_width > 200, name
            assert height > 150, name
            assert num_texts >= 8, name
        assert len([plot for plot in seen[width]["plots"] if plot[1] == 0]) == 1  # the other bars
        assert len(seen[width]["pictures"]) == 8 * 6
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

    def test_names_are_text(self, seen, width):
        assert seen[width]["markup"] == 0
        assert any(EVIL in label for label in seen[width]["labels"])

    def test_theme_images_and_settings_switch(self, seen, width):
        page = seen[width]
        assert page["light"][0] == "rgb(247, 247, 245)"
        assert page["dark"][0] == "rgb(19, 20, 22)"
        assert page["light"][1] != page["dark"][1]
        assert page["galleries"] == ["1"]
        assert page["rows"][1] < page["rows"][0]
        assert page["rows"][1] >= page["differing"] > 0
        assert page["numbers"]

    def test_it_can_be_reached_and_read_aloud(self, seen, width):
        for fact in ("reach", "headers", "names", "alts"):
            assert seen[width][fact], fact

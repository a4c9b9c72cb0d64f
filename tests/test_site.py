"""The documentation site, built and opened in a headless Chromium from a local server."""

import functools
import html
import http.server
import importlib.util
import inspect
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from browser import FLAGS, find_browser

from augmix import metrics

ROOT = Path(__file__).parents[1]
WIDTHS = (390, 1280)

DRIVE = """<!doctype html><body><script>
const pages = %s, widths = %s, seen = [];
const frame = document.createElement("iframe");
frame.style = "height: 900px; border: 0";
document.body.append(frame);
const open = (page, width) => new Promise((resolve) => {
  frame.style.width = `${width}px`;
  frame.onload = () => resolve(frame.contentWindow);
  frame.src = page;
});
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
(async () => {
  for (const width of widths) for (const page of pages) {
    const view = await open(page, width);
    const root = view.document.documentElement;
    seen.push({ page, width, overflow: root.scrollWidth - root.clientWidth,
      broken: [...view.document.images].filter((image) => image.loading !== "lazy"
        && image.complete && !image.naturalWidth).map((image) => image.src) });
  }
  const view = await open("index.html", 1280);
  const search = view.document.querySelector("[data-md-component=search-query]") !== null;
  const ground = () => view.getComputedStyle(view.document.body).backgroundColor;
  const light = ground();
  view.document.querySelectorAll("[data-md-component=palette] input")[1].click();
  await pause(500);
  const note = document.createElement("pre");
  note.textContent = JSON.stringify({ seen, search, light, dark: ground() });
  document.body.append(note);
})();
</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed; `make site` installs it")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def pages(site: Path) -> list[str]:
    return [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))]


@pytest.fixture(scope="module")
def visited(site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a browser found on every page at both widths."""
    browser = find_browser()
    served = [page for page in pages(site) if page != "404.html"]  # that one needs the address
    (site / "drive.html").write_text(DRIVE % (json.dumps(served), json.dumps(WIDTHS)))
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        profile = tmp_path_factory.mktemp("profile")
        flags = [flag for flag in FLAGS if "virtual-time" not in flag]
        command = [browser, *flags, "--virtual-time-budget=300000", f"--user-data-dir={profile}"]
        command += ["--enable-logging=stderr", "--v=0", "--dump-dom"]
        command += [f"http://127.0.0.1:{server.server_address[1]}/drive.html"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        server.shutdown()
    (site / "drive.html").unlink()
    found = re.search(r"<pre>(.*?)</pre>", done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return {**json.loads(html.unescape(found[1])), "console": console}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_no_page_scrolls_sideways_or_misses_a_picture(visited):
    assert len(visited["seen"]) > 100
    for page in visited["seen"]:
        assert page["overflow"] <= 0, page
        assert page["broken"] == [], page


@pytest.mark.slow
def test_console_is_empty(visited):
    assert visited["console"] == []


@pytest.mark.slow
def test_search_and_a_dark_theme_are_there(visited, site):
    assert visited["search"]
    index = json.loads((site / "search" / "search_index.json").read_text())
    found = {entry["location"] for entry in index["docs"] if "jsd_loss" in entry["text"]}
    assert {"transforms.html#the-loss", "reference/losses.html#augmix.JSDLoss"} <= found
    assert visited["light"] != visited["dark"]


@pytest.mark.slow
def test_every_metric_is_in_the_reference(site):
    page = (site / "reference" / "metrics.html").read_text()
    shown = set(re.findall(r'\bid="augmix\.metrics\.(\w+)"', page))
    functions = {name for name, each in vars(metrics).items() if inspect.isfunction(each)}
    assert functions - shown == set()


@pytest.mark.slow
def test_links_lead_to_a_page_and_an_anchor(site):
    anchors = {
        page: set(re.findall(r'\bid="([^"]+)"', (site / page).read_text())) for page in pages(site)
    }
    for page in pages(site):
        if page == "404.html":
            continue
        for link in set(re.findall(r'<a\b[^>]*\bhref="([^"]+)"', (site / page).read_text())):
            if re.match(r"\w+:", link):
                continue
            path, _, anchor = html.unescape(link).partition("#")
            target = ((site / page).parent / path).resolve() if path else site / page
            if target.is_dir():
                target /= "index.html"
            assert target.is_file(), (page, link)
            if anchor and target.suffix == ".html":
                name = target.relative_to(site).as_posix()
                assert anchor in anchors[name] | {"__codelineno"}, (page, link)


@pytest.mark.slow
def test_pages_fetch_nothing_from_elsewhere(site):
    for page in pages(site):
        text = (site / page).read_text()
        for source in re.findall(r'<(?:script|img|iframe)\b[^>]*\bsrc="([^"]+)"', text):
            assert not source.startswith(("http:", "https:", "//")), (page, source)
        for tag in re.findall(r"<link\b[^>]*>", text):
            if "stylesheet" in tag or "preconnect" in tag:
                assert "://" not in tag, (page, tag)

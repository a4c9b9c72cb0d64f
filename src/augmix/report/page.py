"""The page: a comparison's tables, figures and pictures laid out by the templates.

The page needs no network, and jinja2 escapes every text on it; only the drawings, style sheet and
script made here are put in as they are.
"""

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from augmix.bootstrap import LEVEL
from augmix.report import calibration, robustness
from augmix.report.charts import Chart, key
from augmix.report.comparison import Comparison
from augmix.report.estimates import CLEAN, CORRUPTED
from augmix.report.figures import draw
from augmix.report.images import (
    collect_thumbs,
    corruption_drills,
    examples,
    perturbation_drills,
    thumb_uris,
)
from augmix.report.literature import literature_tables, unmatched
from augmix.report.robustness import adaptation_table, attack_table, attack_words
from augmix.report.summary import (
    contrast_tables,
    lead,
    score_table,
    seed_table,
    seeds_counted,
    summary_table,
)
from augmix.report.tables import Table
from augmix.report.training import MAX_POINTS, settings, training
from augmix.results import provenance

_FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A chart drawn, with what stands above it."""

    name: str
    title: str
    note: str
    svg: dict[str, Markup]


def render_page(comparison: Comparison) -> str:
    """The page's HTML."""
    pages = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    thumbs = collect_thumbs(comparison.runs)
    drills = corruption_drills(comparison, set(thumbs))
    flips = perturbation_drills(comparison, set(thumbs))
    used = {hard.number for drill in (*drills, *flips) for hard in drill.hard}
    groups, contrasts = comparison.groups, contrast_tables(comparison)
    sections = _sections(comparison, has_contrasts=bool(contrasts))
    return pages.get_template("page.html").render(
        sections={name: title for name, (title, _) in sections.items()},
        headings={name: heading for name, (_, heading) in sections.items()},
        spans=_spans,
        css=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        js=Markup((_FOLDER / "page.js").read_text(encoding="utf-8")),
        version=provenance()["versions"].get("augmix", "from its source tree"),
        level=round(100 * LEVEL),
        comparison=comparison,
        keys=[Markup(key(style)) for style in range(len(groups))],
        labels=[group.label for group in groups],
        run_labels=[run.label for run in comparison.runs],
        run_keys=_run_keys(comparison),
        thumbs=thumb_uris(thumbs, used),
        facts=_facts(comparison),
        lead=lead(comparison),
        attack_words=attack_words(comparison),
        has_seeds=any(len(group.runs) > 1 for group in groups),
        tables={
            "summary": summary_table(comparison),
            "seeds": seed_table(comparison),
            "adaptation": adaptation_table(comparison),
            "scores": score_table(comparison),
            "corruptions": robustness.corruption_table(comparison),
            "ce": robustness.corruption_table(comparison, "ce"),
            "rms": robustness.corruption_table(comparison, "rms"),
            "by_severity": robustness.severity_tables(comparison),
            "flips": robustness.stability_table(comparison),
            "rates": robustness.stability_table(comparison, "fr"),
            "distances": robustness.distance_table(comparison),
            "attack": attack_table(comparison),
            "temperature": calibration.temperature_table(comparison),
        },
        bars=_drawn(robustness.corruption_bars(comparison), "Error per corruption"),
        severity=_severity(comparison),
        scatter=_drawn(
            robustness.stability_chart(comparison), "Flip probability against calibration error"
        ),
        reliability=_reliability(comparison),
        contrasts=contrasts,
        seeds_counted=seeds_counted(comparison),
        drills=drills,
        flip_drills=flips,
        literature=literature_tables(comparison),
        unmatched=unmatched(comparison),
        training=training(comparison),
        training_charts=[
            _drawn(chart, title) for title, chart in training(comparison).charts.items()
        ],
        max_points=MAX_POINTS,
        examples=examples(comparison.runs),
        setup=settings(comparison.runs),
    )


def _sections(comparison: Comparison, *, has_contrasts: bool) -> dict[str, tuple[str, str]]:
    """What the page has, in order: the template's name, its link, its heading."""
    cells = [cell for run in comparison.runs for cell in run.results.cells]
    has_attack = any(cell.suite == "attack" for cell in cells)
    has_cells = any(cell.suite != "attack" for cell in cells)
    everything = {
        "summary": ("Summary", "Summary", True),
        "corruptions": ("Corruptions", "Error per corruption", True),
        "severity": ("Severity", "Severity", bool(comparison.grid)),
        "stability": ("Stability", "Stability along sequences", bool(comparison.sequences)),
        "attack": ("Attack", "Attacked images", has_attack),
        "calibration": ("Calibration", "Calibration", has_cells),
        "differences": ("Differences", "Differences between rows", has_contrasts),
        "literature": ("Literature", "Beside published numbers", True),
        "training": ("Training", "Training", True),
        "examples": ("Examples", "Examples", True),
        "settings": ("Settings", "Settings and provenance", True),
    }
    return {name: (link, head) for name, (link, head, is_there) in everything.items() if is_there}


def _spans(table: Table) -> list[dict]:
    """Headings over neighbouring columns of one group."""
    found: list[dict] = []
    for column in table.columns:
        if found and found[-1]["title"] == column.group:
            found[-1]["width"] += 1
        else:
            found.append({"title": column.group, "width": 1})
    return found


def _drawn(chart: Chart | None, title: str, note: str = "") -> Drawing | None:
    if chart is None:
        return None
    svg = {form: Markup(text) for form, text in draw(chart).items()}
    return Drawing(name=chart.name, title=title, note=note, svg=svg)


def _severity(comparison: Comparison) -> list[dict]:
    return [
        {
            "drawing": _drawn(
                robustness.severity_chart(comparison, metric),
                f"{title}, %",
                "Severity 0 is the clean images.",
            ),
            "table": robustness.severity_table(comparison, metric),
        }
        for metric, title in robustness.METRICS.items()
    ]


def _reliability(comparison: Comparison) -> list[dict]:
    note = (
        "Accuracy in % against confidence, 15 bins of equal width; larger markers hold more "
        f"predictions, bins of fewer than {calibration.MIN_IN_BIN} are left out."
    )
    return [
        {
            "drawing": _drawn(chart, calibration.TITLES[scope], note),
            "table": calibration.calibration_table(comparison, scope),
        }
        for scope in (CLEAN, CORRUPTED)
        if (chart := calibration.reliability_chart(comparison, scope))
    ]


def _facts(comparison: Comparison) -> list[str]:
    """What was measured, for the head of the page."""
    runs = comparison.runs
    results = runs[0].results
    sources = [run.results.source for run in runs]
    first = sources[0]
    facts = [_counted(len(runs), "run")]
    if len(comparison.groups) < len(runs):
        facts = [f"{facts[0]} in {_counted(len(comparison.groups), 'row')}"]
    if all(source.get("fingerprint") == first.get("fingerprint") for source in sources):
        facts.append(" ".join(str(first[key]) for key in ("name", "split") if key in first))
        counts = [cell.num_images for cell in [*results.cells, *results.sequences]]
        facts.append(f"{max(counts):,} images")
        size = first.get("size")
        if isinstance(size, (list, tuple)):
            facts.append(" × ".join(map(str, size)) + " pixels")
    return facts


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"


def _run_keys(comparison: Comparison) -> list[Markup]:
    """The swatch of every run's row."""
    styles = {id(run): place for place, g in enumerate(comparison.groups) for run in g.runs}
    return [Markup(key(styles[id(run)])) for run in comparison.runs]

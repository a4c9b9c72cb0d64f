"""The sections of the report in their order, and those that are of no other module.

`SECTIONS` has one line a section. The page lays them out; LaTeX has their tables. A section of
your own is added by `register_section`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from augmix.bootstrap import Interval
from augmix.report import images, literature, robustness, trust
from augmix.report.classes import class_tables, classes
from augmix.report.comparison import Comparison, Number, contrast
from augmix.report.estimates import IMAGE_SCOPES, METRICS, Key, Scope, readable
from augmix.report.load import Run, flatten
from augmix.report.tables import (
    Chart,
    Column,
    Curve,
    Entry,
    Lines,
    Row,
    Table,
    changed,
    group_row,
    plain,
    shown,
    span,
    table_by_row,
    text,
)
from augmix.results import Results
from augmix.run_folder import ValidationRecord

# -- Summary --------------------------------------------------------------------------------------

_GROUPS = {
    Scope.CLEAN: "Clean images",
    Scope.CORRUPTED: "Corrupted images",
    Scope.BAR: "C-bar",
    Scope.PERTURBED: "Perturbed",
    Scope.ATTACKED: "Attacked",
    Scope.FOURIER: "Single frequencies",
}
_ALWAYS = frozenset(Key(metric, scope) for metric in ("error", "rms") for scope in IMAGE_SCOPES)


def summary_columns(
    comparison: Comparison, *, always: frozenset[Key] = _ALWAYS
) -> dict[Key, Column]:
    """List the main numbers, by scope and metric: those measured of any row, and some always."""
    columns = {}
    for scope, group in _GROUPS.items():
        for name, metric in METRICS.items():
            key = Key(name, scope)
            if "summary" not in metric.tables or scope not in metric.scopes:
                continue
            if key in always or comparison.has(key):
                title = f"Robust {metric.words}" if scope == Scope.ATTACKED else metric.heading
                columns[key] = Column(title=title, unit=metric.unit, group=group)
    return columns


def summary_table(comparison: Comparison) -> Table:
    """Show the main numbers of every row."""
    runs = [group.first for group in comparison.groups]
    return table_by_row(
        comparison,
        summary_columns(comparison),
        lead={
            Column(title="Method", is_number=False): [run.method for run in runs],
            Column(title="Model", is_number=False): [run.network for run in runs],
        },
        name="summary",
        title="Summary",
    )


def seed_table(comparison: Comparison) -> Table | None:
    """Show the single runs of rows with several seeds."""
    runs = [
        (style, single)
        for style, group in enumerate(comparison.groups)
        if len(group.runs) > 1
        for single in group.singles
    ]
    if not runs:
        return None
    alone = replace(comparison, groups=tuple(run for _, run in runs), unlike=("not compared",))
    seeds = [str(run.first.results.model.get("seed")) for _, run in runs]
    columns = summary_columns(alone, always=frozenset())
    words = {Column(title="Seed", is_number=False): seeds}
    table = table_by_row(alone, columns, lead=words, name="seeds", title="Single seeds")
    styled = zip(table.rows, runs, strict=True)
    return replace(table, rows=tuple(replace(row, style=style) for row, (style, _) in styled))


def in_words(fraction: float) -> str:
    """Say a fraction of images as everybody does.

    Example:
        >>> in_words(0.385), in_words(0.188), in_words(0.031), in_words(0.0002), in_words(0.97)
        ('2 in 5', '1 in 5', '1 in 32', 'fewer than 1 in 1,000', 'nearly all')
    """
    if fraction < 0.001:
        return "fewer than 1 in 1,000" if fraction else "none of the"
    if fraction > 0.95:
        return "nearly all"
    if fraction < 1 / 6:
        return f"1 in {round(1 / fraction):,}"
    pairs = [(k, n) for n in (2, 3, 4, 5, 6, 10) for k in range(1, n)]
    k, n = min(pairs, key=lambda pair: (round(abs(pair[0] / pair[1] - fraction), 3), pair[1]))
    return f"{k} in {n}"


def lead(comparison: Comparison) -> str:
    """State the result in one or two sentences; empty if the runs must not be compared."""
    keys = Key("error", Scope.CORRUPTED), Key("error", Scope.CLEAN)
    measured = [
        group
        for group in comparison.groups
        if not group.first.adaptation and all(group.number(key) for key in keys)
    ]
    if not measured or (len(comparison.groups) > 1 and not comparison.is_comparable):
        return ""
    errors = {
        group.label: [100 * number.value for key in keys if (number := group.number(key))]
        for group in measured
    }
    ranked = sorted(measured, key=lambda group: errors[group.label][0])
    best, worst = ranked[0], ranked[-1]
    corrupted, clean = errors[best.label]
    among = f"Of {len(measured)} models, " if len(measured) > 2 else ""
    sentence = (
        f"{among}{best.label} is wrong {'least often: ' if among else ''}on "
        f"{in_words(corrupted / 100)} corrupted images ({corrupted:.1f} %)"
    )
    if best is worst:
        return f"{sentence} and {clean:.1f} % of clean ones."
    other, clean_other = errors[worst.label]
    sentence += (
        f", {worst.label} {'most often: ' if among else ''}on {in_words(other / 100)} "
        f"({other:.1f} %); on clean images {clean:.1f} % and {clean_other:.1f} %."
    )
    apart = contrast(ranked[1], best, keys[0])
    if apart is None:
        return sentence
    if apart.verdict == "within noise":
        pair = f"{best.label} and {ranked[1].label}"
        return f"{sentence} {pair} cannot be distinguished with these images."
    points = f"{100 * apart.estimate:.1f} points ({span(apart.low, apart.high)})"
    return f"{sentence} {best.label} is ahead of {ranked[1].label} by {points}."


def _summary(comparison: Comparison) -> dict[str, Any]:
    return {
        "table": summary_table(comparison),
        "seeds": seed_table(comparison),
        "adaptation": robustness.adaptation_table(comparison),
        "attack": robustness.attack_words(comparison),
        "has_seeds": any(len(group.runs) > 1 for group in comparison.groups),
        "higher": [
            METRICS[key.metric].heading
            for key in summary_columns(comparison)
            if METRICS[key.metric].lower_is_better is False
        ],
        "has_ce": comparison.has(Key("ce", Scope.CORRUPTED)),
        "has_flip_rates": comparison.has(Key("fr", Scope.PERTURBED)),
    }


# -- Corruptions, severity, stability, attack, calibration ----------------------------------------


def _corruption_tables(comparison: Comparison) -> list[Table | None]:
    tables = [robustness.corruption_table(comparison, metric) for metric in ("error", "ce")]
    return [*tables, robustness.bar_table(comparison, "error")]


def _corruptions(comparison: Comparison) -> dict[str, Any]:
    thumbs = set(images.collect_thumbs(comparison.runs))
    return {
        "bars": robustness.corruption_bars(comparison),
        "matrix": robustness.corruption_matrix(comparison),
        "tables": _corruption_tables(comparison),
        "by_severity": robustness.severity_tables(comparison),
        "drills": images.corruption_drills(comparison, thumbs),
    }


def _severity_tables(comparison: Comparison) -> list[Table | None]:
    """Tables by corruption of the metrics other than error and CE."""
    return [
        robustness.corruption_table(comparison, name)
        for name, metric in METRICS.items()
        if Scope.CORRUPTION in metric.scopes and name not in ("error", "ce")
    ]


def _severity(comparison: Comparison) -> dict[str, Any] | None:
    if not comparison.grid:
        return None
    measured = {key.metric for group in comparison.groups for key in group.estimates[0]}
    names = [
        name
        for name, metric in METRICS.items()
        if Scope.SEVERITY in metric.scopes and "summary" in metric.tables and name in measured
    ]
    return {
        "charts": [robustness.severity_chart(comparison, name) for name in names],
        "tables": [
            *(robustness.severity_table(comparison, name) for name in names),
            *_severity_tables(comparison),
        ],
    }


def _stability_tables(comparison: Comparison) -> dict[str, Table | None]:
    names = [name for name, metric in METRICS.items() if Scope.PERTURBATION in metric.scopes]
    return {name: robustness.stability_table(comparison, name) for name in names}


def _stability(comparison: Comparison) -> dict[str, Any] | None:
    if not comparison.sequences:
        return None
    thumbs = set(images.collect_thumbs(comparison.runs))
    return {
        "scatter": robustness.stability_chart(comparison),
        "tables": _stability_tables(comparison),
        "drills": images.perturbation_drills(comparison, thumbs),
    }


def _calibration(comparison: Comparison) -> dict[str, Any] | None:
    cells = [cell for run in comparison.runs for cell in run.results.cells]
    if all(cell.suite == "attack" for cell in cells):
        return None
    *by_scope, scores, temperature = _confidence_tables(comparison)
    charts = [robustness.reliability_chart(comparison, scope) for scope in IMAGE_SCOPES]
    return {
        "charts": charts,
        "by_scope": by_scope,
        "scores": scores,
        "temperature": temperature,
        "more": trust.trust_tables(comparison),
    }


def _calibration_tables(comparison: Comparison) -> list[Table | None]:
    return [*_confidence_tables(comparison), *trust.trust_tables(comparison)]


def _confidence_tables(comparison: Comparison) -> list[Table | None]:
    by_scope = [robustness.calibration_table(comparison, scope) for scope in IMAGE_SCOPES]
    return [*by_scope, robustness.score_table(comparison), robustness.temperature_table(comparison)]


def _fourier(comparison: Comparison) -> dict[str, Any] | None:
    maps = robustness.fourier_maps(comparison)
    return {"charts": maps, "table": robustness.fourier_table(comparison)} if maps else None


# -- Differences ----------------------------------------------------------------------------------


def contrast_tables(comparison: Comparison) -> list[Table]:
    """Show, for each row of the report, the differences of all others from it."""
    if not comparison.is_comparable or any(run.predictions is None for run in comparison.runs):
        return []
    labels = _contrast_labels(comparison)
    return [_contrast_table(comparison, index, labels) for index in range(len(comparison.groups))]


def _contrast_table(comparison: Comparison, index: int, labels: Mapping[Key, str]) -> Table:
    others = list(comparison.groups)
    reference = others.pop(index)
    rows = []
    for key, label in labels.items():
        if not reference.number(key):
            continue
        metric = METRICS[key.metric]
        entries = [
            changed(contrast(other, reference, key), scale=metric.scale, decimals=metric.decimals)
            for other in others
        ]
        unit = "" if metric.unit == "%" else f", {metric.unit}"
        direction = " (positive is better)" if metric.lower_is_better is False else ""
        rows.append(Row(label=label + unit + direction, entries=tuple(entries)))
    return Table(
        name=f"contrast-{index}",
        title=f"Difference from {reference.label}",
        unit="percentage points; negative is better",
        corner="Number",
        columns=tuple(Column(title=other.label) for other in others),
        rows=tuple(rows),
    )


def _contrast_labels(comparison: Comparison) -> dict[Key, str]:
    """The numbers of the summary, then errors by corruption and flips by perturbation."""
    labels, attacked = {}, {}  # the latter also by frequency
    for name, metric in METRICS.items():
        if "summary" in metric.tables:
            shown = (*IMAGE_SCOPES, Scope.BAR, Scope.PERTURBED)
            scopes = [s for s in shown if s in metric.scopes]
            for scope in scopes:
                where = "C-bar" if scope == Scope.BAR else scope
                suffix = f", {where}" if len(scopes) > 1 else ""
                labels[Key(name, scope)] = metric.words + suffix
            if Scope.ATTACKED in metric.scopes:
                attacked[Key(name, Scope.ATTACKED)] = f"robust {metric.words}"
            if Scope.FOURIER in metric.scopes:
                attacked[Key(name, Scope.FOURIER)] = f"{metric.words}, single frequencies"
    labels |= attacked
    for name in comparison.grid.names:
        labels[Key("error", Scope.CORRUPTION, name)] = f"error, {readable(name)}"
    for name in comparison.sequences:
        labels[Key("flip", Scope.PERTURBATION, name)] = f"flips, {readable(name)}"
    return labels


def _differences(comparison: Comparison) -> dict[str, Any] | None:
    tables = contrast_tables(comparison)
    counts = [len(group.runs) for group in comparison.groups]
    return {"tables": tables, "num_seeds": (min(counts), max(counts))} if tables else None


# -- Decisions ------------------------------------------------------------------------------------


def decision_words(results: Results) -> str:
    """State in two sentences what a measurement to a margin of error has shown.

    Raises:
        ValueError: If the results are of another kind.
    """
    decision = results.decision
    if decision is None:
        raise ValueError("results of a whole evaluation have no decision")
    label = str(results.model.get("label") or results.model.get("name") or "the model")
    estimate, low, high = (100 * each for each in (decision.estimate, decision.low, decision.high))
    if decision.against is None:
        found = f"{label} errs on {estimate:.2f} % of the images ({low:.2f} to {high:.2f})."
    else:
        other = str(decision.against.get("label") or decision.against.get("name") or "the other")
        if decision.low <= 0 <= decision.high:
            most = max(-low, high)
            found = (
                f"{label} and {other} differ by at most {most:.2f} points, and which errs less is "
                f"open: difference {estimate:.2f} ({low:.2f} to {high:.2f})."
            )
        else:
            word = "less" if estimate < 0 else "more"
            near, far = sorted((abs(low), abs(high)))
            found = (
                f"{label} errs {word} than {other}, by {abs(estimate):.2f} points "
                f"({near:.2f} to {far:.2f})."
            )
    total = decision.num_cells * decision.num_images
    return (
        f"{found} It took {decision.num_passes:,} of {total:,} images a model "
        f"({100 * decision.fraction:.2f} %)."
    )


def decision_table(comparison: Comparison) -> Table | None:
    """Show the measurements that ended at a margin of error; None without any."""
    if not comparison.decided:
        return None
    rows = []
    for run in comparison.decided:
        decision = run.results.decision
        assert decision is not None  # see `compare`
        found = Number(value=decision.estimate, low=decision.low, high=decision.high)
        error, other, apart = shown(found, decimals=2), text(""), text("")
        if decision.against is not None:
            error, other = (plain(each, decimals=2) for each in decision.errors)
            interval = Interval(estimate=found.value, low=decision.low, high=decision.high)
            apart = changed(interval, decimals=2)
        against = decision.against or {}
        shown_first = (text(str(against.get("label") or against.get("name") or "")), error, other)
        drawn = (
            text(f"{decision.num_passes:,}"),
            plain(decision.fraction, decimals=2),
        )
        entries = (*shown_first, apart, plain(decision.margin, decimals=2), *drawn)
        rows.append(Row(label=run.label, entries=entries))
    columns = (
        Column(title="Against", is_number=False),
        Column(title="Error", unit="%"),
        Column(title="Error of the other", unit="%"),
        Column(title="Difference", unit="points; negative is better"),
        Column(title="Margin of error", unit="points"),
        Column(title="Images a model"),
        Column(title="Part of all", unit="%"),
    )
    methods = {run.results.decision.method for run in comparison.decided if run.results.decision}
    return Table(
        name="decisions",
        title="Parts of the images, to a margin of error",
        columns=columns,
        rows=tuple(rows),
        note=f"95 % intervals that hold at every look: {'; '.join(sorted(methods))}.",
    )


# -- Training -------------------------------------------------------------------------------------

_MAX_POINTS = 300  # of a curve; longer logs are averaged
_CURVES = (  # key of the log, title, logarithmic, scale
    ("loss", "Loss, logarithmic", True, 1.0),
    ("train_error", "Training error, %", False, 100.0),
    ("learning_rate", "Learning rate", False, 1.0),
)


_VALIDATED = (  # key of a validation in the log, title
    ("clean_error", "Validation error, clean, %"),
    ("corrupted_error", "Validation error, corrupted, %"),
)


def _training(comparison: Comparison) -> dict[str, Any]:
    """Curves of every row's first run that kept a log."""
    logged = [
        (style, run)
        for style, group in enumerate(comparison.groups)
        if (run := next((run for run in group.runs if run.log), None))
    ]
    charts = []
    for key, title, is_log, scale in _CURVES:
        curves = [_curve(style, run, key, scale) for style, run in logged]
        curves = tuple(curve for curve in curves if not np.isnan(curve.y).all())
        if curves:
            charts.append(
                Lines(
                    name=f"training-{key.replace('_', '-')}",
                    title=title,
                    curves=curves,
                    x_label="epoch",
                    width_px=310,
                    is_log=is_log,
                    has_markers=False,
                )
            )
    watched = [(style, run) for style, run in logged if _validations(run)]
    for key, title in _VALIDATED if watched else ():
        charts.append(
            Lines(
                name=f"validation-{key.replace('_', '-')}",
                title=title,
                curves=tuple(_validation_curve(style, run, key) for style, run in watched),
                x_label="epoch",
                width_px=310,
            )
        )
    has_log = {style for style, _ in logged}
    return {
        "costs": _cost_table(comparison, logged),
        "is_validated": bool(watched),
        "charts": charts,
        "missing": [g.label for style, g in enumerate(comparison.groups) if style not in has_log],
        "max_points": _MAX_POINTS if any(len(run.log) > _MAX_POINTS for _, run in logged) else None,
        "has_seeds": any(len(group.runs) > 1 for group in comparison.groups),
    }


def _cost_table(comparison: Comparison, logged: Sequence[tuple[int, Run]]) -> Table | None:
    """Show what the training of every row's first run cost; None if no log says it."""
    rows = []
    for style, run in logged:
        last = run.log[-1]
        if "flop" in last and "seconds" in last:
            pflop, hours = last["flop"] / 1e15, last["seconds"] / 3600
            written = f"{pflop:,.0f}" if pflop >= 1000 else f"{pflop:.3g}"
            entries = [Entry(text=written, value=pflop), Entry(text=f"{hours:.2f}", value=hours)]
            rows.append(group_row(style, comparison.groups[style], entries))
    if not rows:
        return None
    return Table(
        name="training-cost",
        title="Training cost",
        columns=(Column(title="PFLOP"), Column(title="Hours")),
        rows=tuple(rows),
        note="Operations of the network: six for each multiply-add of a view that the weights "
        "learn from, four for each step of an attack. Hours are those of the steps on the machine "
        "that trained. Of rows with several seeds the first is shown.",
    )


def _validations(run: Run) -> list[tuple[float, ValidationRecord]]:
    """The validations of a run by their epochs."""
    found = ((record.get("epoch", 0.0), record.get("validation")) for record in run.log)
    return [(epoch, validation) for epoch, validation in found if validation]


def _validation_curve(style: int, run: Run, key: str) -> Curve:
    """An error at every validation; the epoch whose weights the run kept is marked."""
    found = _validations(run)
    x = [epoch for epoch, _ in found]
    y = [100 * float(dict(record)[key]) for _, record in found]  # pyright: ignore[reportArgumentType]
    selected = found[-1][1]["selected_epoch"]
    marked = next(((a, b) for a, b in zip(x, y, strict=True) if round(a) == selected), None)
    return Curve(style=style, x=x, y=y, marked=marked)


def _curve(style: int, run: Run, key: str, scale: float) -> Curve:
    """A column of the log against the epoch, averaged down to a readable number of points."""
    pairs = [(record.get("epoch", record["step"]), record.get(key)) for record in run.log]
    values = np.array([(x, np.nan if y is None else scale * y) for x, y in pairs], np.float64)
    chunks = np.array_split(values, min(len(values), _MAX_POINTS))
    means = np.array([chunk.mean(axis=0) for chunk in chunks])
    return Curve(style=style, x=means[:, 0].tolist(), y=means[:, 1].tolist())


# -- Settings -------------------------------------------------------------------------------------

_MAX_LISTED = 12  # entries of a list
_UNSHOWN = ("schema", "outputs")  # by which a program knows a file, or a model, again


def _settings(comparison: Comparison) -> dict[str, Any]:
    """Every setting of every run; rows whose values differ are marked."""
    parts: dict[str, Callable[[Run], dict[str, Any]]] = {
        "Model": lambda run: run.results.model,
        "Configuration": lambda run: run.config,
        "Data": lambda run: run.results.source,
        "Protocol of the measurement": lambda run: run.results.protocol,
        "Software and machine": lambda run: run.results.provenance,
        "Run": lambda run: {
            "training_seconds": run.log[-1].get("seconds") if run.log else None,
            "measuring_seconds": round(sum(cell.seconds for cell in run.results.measured), 1),
            "folder": run.folder.name,
            **{f"training_{name}": found for name, found in run.left_out.items()},
        },
    }
    found = []
    for title, settings in parts.items():
        flat = [flatten(settings(run)) for run in comparison.runs]
        rows = [
            {
                "name": key.replace("_", " ").replace(".", " › "),
                "shown": [_shortened(_setting(each.get(key), key)) for each in flat],
                "differs": any(each.get(key) != flat[0].get(key) for each in flat),
            }
            for key in dict.fromkeys(key for each in flat for key in each if key not in _UNSHOWN)
        ]
        if any(flat):
            found.append({"title": title, "rows": rows})
    return {"parts": found}


def _setting(value: Any, name: str = "") -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        if name.endswith("skipped"):  # every image is named
            return "; ".join(value)
        listed = ", ".join(_setting(entry) for entry in value[:_MAX_LISTED])
        return f"{listed}, … ({len(value)})" if len(value) > _MAX_LISTED else listed
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shortened(words: str) -> dict[str, str]:
    """Cut hashes to a length that can be compared by eye; ``full`` holds the rest."""
    is_hash = len(words) >= 32 and set(words) <= set("0123456789abcdef")
    return {"text": words[:12] + "…" if is_hash else words, "full": words if is_hash else ""}


# -- The registry ---------------------------------------------------------------------------------

Block = Table | Chart | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of the report."""

    title: str  # in the navigation of the page
    # variables of the template, or None if the section is left out
    content: Callable[[Comparison], Mapping[str, Any] | None]
    heading: str = ""  # above the section; by default the title
    # those that stand for themselves in LaTeX
    tables: Callable[[Comparison], Sequence[Table | None]] = lambda comparison: ()
    template: str = ""  # a file; by default of the section's name


def _of_blocks(
    title: str, build: Callable[[Comparison], Sequence[Block | None]], heading: str = ""
) -> Section:
    """A section of the blocks that are not None, in order; left out if there are none."""

    def blocks(comparison: Comparison) -> list[Block]:
        return [block for block in build(comparison) if block is not None]

    return Section(
        title=title,
        heading=heading,
        content=lambda c: {"blocks": found} if (found := blocks(c)) else None,
        tables=lambda c: [block for block in blocks(c) if isinstance(block, Table)],
        template="blocks.html",
    )


def register_section(
    name: str,
    title: str,
    build: Callable[[Comparison], Sequence[Block]],
    *,
    before: str = "training",
) -> None:
    """Add a section to every report.

    Args:
        name: Its anchor on the page, of letters, digits and hyphens.
        title: Its heading.
        build: Makes the tables, charts and paragraphs of a comparison, in order; nothing leaves
            the section out. Text is escaped, unless it is a `markupsafe.Markup`.
        before: Name of the section that follows.

    Raises:
        ValueError: If the name is taken, or there is no section to follow.
    """
    if name in SECTIONS:
        raise ValueError(f"a section named {name!r} is registered already; choose another name")
    if before not in SECTIONS:
        raise ValueError(f"before must be one of {', '.join(SECTIONS)}; got {before!r}")

    following = list(SECTIONS)[list(SECTIONS).index(before) :]
    moved = {each: SECTIONS.pop(each) for each in following}
    SECTIONS.update({name: _of_blocks(title, build), **moved})


def _glossary(comparison: Comparison) -> dict[str, Any]:
    """The metrics and scopes that any row has: only their terms are explained."""
    keys = {key for group in comparison.groups for each in group.estimates for key in each}
    return {"metrics": {key.metric for key in keys}, "scopes": {key.scope for key in keys}}


def all_tables(comparison: Comparison) -> list[Table]:
    """List the tables of all sections that stand for themselves elsewhere."""
    found = [table for section in SECTIONS.values() for table in section.tables(comparison)]
    return [table for table in found if table is not None]


SECTIONS: dict[str, Section] = {
    "summary": Section(
        title="Summary",
        content=_summary,
        tables=lambda c: [summary_table(c), robustness.adaptation_table(c)],
    ),
    "corruptions": Section(
        title="Corruptions",
        heading="Error per corruption",
        content=_corruptions,
        tables=_corruption_tables,
    ),
    "severity": Section(title="Severity", content=_severity, tables=_severity_tables),
    "stability": Section(
        title="Stability",
        heading="Stability along sequences",
        content=_stability,
        tables=lambda c: list(_stability_tables(c).values()),
    ),
    "natural": _of_blocks(
        "Natural shift", lambda c: [robustness.natural_table(c)], heading="Other photographs"
    ),
    "ood": _of_blocks("No class", lambda c: [trust.outlier_table(c)], heading="Images of no class"),
    "attack": _of_blocks(
        "Attack", lambda c: [robustness.attack_table(c)], heading="Attacked images"
    ),
    "fourier": Section(
        title="Frequencies",
        heading="Fourier sensitivity",
        content=_fourier,
        tables=lambda c: [robustness.fourier_table(c)],
    ),
    "calibration": Section(title="Calibration", content=_calibration, tables=_calibration_tables),
    "classes": Section(title="Classes", content=classes, tables=class_tables),
    "decisions": _of_blocks(
        "Decisions", lambda c: [decision_table(c)], heading="Decided on a part of the images"
    ),
    "differences": Section(
        title="Differences", heading="Differences between rows", content=_differences
    ),
    "literature": Section(
        title="Literature",
        heading="Beside published numbers",
        content=lambda c: {"tables": t} if (t := literature.literature_tables(c)) else None,
        tables=literature.literature_tables,
    ),
    "training": Section(title="Training", content=_training),
    "examples": Section(title="Examples", content=lambda c: {"gallery": images.examples(c.runs)}),
    "settings": Section(title="Settings", heading="Settings and provenance", content=_settings),
    "glossary": Section(title="Glossary", content=_glossary),
}

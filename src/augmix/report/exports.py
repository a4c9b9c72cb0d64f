"""The report for other programs: CSV and JSON in fractions, LaTeX and a model card in per cent."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from augmix.bootstrap import KINDS, LEVEL
from augmix.errors import escape_cell
from augmix.files import to_plain
from augmix.report.classes import class_records
from augmix.report.comparison import Comparison, Group, contrast
from augmix.report.estimates import METRICS, readable
from augmix.report.load import Run
from augmix.report.robustness import attack_words
from augmix.report.sections import all_tables, lead
from augmix.report.tables import Entry, Table, escape_markdown, to_markdown_table

_FACTS = ("num_parameters", "num_classes", "seed", "weights_sha256")  # of a model card
_SCHEMA = 2  # of the JSON file
_FIELDS = ("row", "method", "model", "adaptation", "metric", "scope", "name")
_NUMBER = ("value", "low", "high", "std", "num_seeds", "interval")
_MEASURED = ("measured_on", "not_comparable")  # columns of the CSV file
_WIDE = 6  # columns of numbers that fit into one column of text
_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "±": "$\\pm$",
    "×": "$\\times$",
    "→": "$\\to$",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
}


def to_csv(comparison: Comparison) -> str:
    """Write every number, one a line: fractions, nats and Brier units.

    Each line says on which images it was measured, and why it must not be compared with the others,
    if it must not.
    """
    images = {group.label: _images(run) for group in _parts(comparison) for run in group.runs}
    why = "; ".join(comparison.unlike)
    lines = [
        {**line, "measured_on": images[line["row"]], "not_comparable": why}
        for line in _lines(comparison)
    ]
    return records_to_csv(lines, (*_FIELDS, *_NUMBER, *_MEASURED))


def records_to_csv(records: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> str:
    """Write records as CSV with a line of field names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        [{name: escape_cell(value) for name, value in each.items()} for each in records]
    )
    return text.getvalue()


def to_json(comparison: Comparison) -> str:
    """Write every number, and every difference of two rows with its verdict."""
    first = comparison.runs[0].results
    content = {
        "schema": _SCHEMA,
        "level": LEVEL,
        "intervals": KINDS,
        "source": first.source,
        "protocol": first.protocol,
        "grid": comparison.grid,
        "sequences": comparison.sequences,
        "notes": comparison.notes,
        "unlike": comparison.unlike,
        "rows": [
            {"label": group.label, "runs": [_about(run) for run in group.runs]}
            for group in comparison.groups
        ],
        "numbers": _lines(comparison),
        "classes": class_records(comparison),
        "differences": _differences(comparison),
    }
    return json.dumps(to_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _about(run: Run) -> dict[str, Any]:
    results = run.results
    return {"label": run.label, "model": results.model, "temperature": results.temperature}


def to_latex(comparison: Comparison) -> str:
    """Write the tables for `booktabs`; ``\\input`` the file."""
    head = f"% Intervals of {round(100 * LEVEL)} %: {KINDS}.\n"
    if comparison.unlike:
        reasons = "\n".join(f"\\item {escape(reason)}" for reason in comparison.unlike)
        head += f"\\noindent\\textbf{{{escape(comparison.warning)}:}}\n"
        head += f"\\begin{{itemize}}\n{reasons}\n\\end{{itemize}}\n\n"
    return tables_to_latex(all_tables(comparison), head=head, warning=comparison.warning)


def tables_to_latex(tables: Sequence[Table], *, head: str = "", warning: str = "") -> str:
    """Write any tables for `booktabs`, behind the lines of a head; a warning ends each caption."""
    first = "% Written by augmix. Needs \\usepackage{booktabs}.\n"
    return first + head + "\n".join(_latex_table(table, warning) for table in tables)


def _lines(comparison: Comparison) -> list[dict[str, Any]]:
    """Every number of every row; of metrics known as sums only, of every run."""
    lines = []
    rows = {id(group) for group in comparison.groups}
    for part in _parts(comparison):
        run = part.first
        about = {"row": part.label, "method": run.method, "model": run.network}
        lines += [
            {**about, "adaptation": run.adaptation, **key._asdict(), **to_plain(number)}
            for key in part.estimates[0]
            if METRICS[key.metric].has_draws == (id(part) in rows) and (number := part.number(key))
        ]
    return lines


def _parts(comparison: Comparison) -> list[Group]:
    """Every row, followed by each of its runs."""
    return [part for group in comparison.groups for part in (group, *group.singles)]


def _differences(comparison: Comparison) -> list[dict[str, Any]]:
    if not comparison.is_comparable:
        return []
    found = []
    for reference, other in combinations(comparison.groups, 2):
        about = {"row": other.label, "minus": reference.label}
        for key in reference.estimates[0]:
            if apart := contrast(other, reference, key):
                numbers = {**to_plain(apart), "verdict": apart.verdict}
                found.append({**about, **key._asdict(), **numbers})
    return found


def _latex_table(table: Table, warning: str) -> str:
    kinds = "".join("r" if column.is_number else "l" for column in table.columns)
    title = f"{table.title}{', ' if table.unit else ''}{table.unit}."
    title += f" {warning}." if warning else ""
    form = "table*" if len(table.columns) > _WIDE else "table"
    lines = [
        f"\\begin{{{form}}}",
        f"\\caption{{{escape(title)}}}",
        f"\\label{{tab:{table.name}}}",
        f"\\begin{{tabular}}{{l{kinds}}}",
        "\\toprule",
    ]
    if any(column.group for column in table.columns):
        spans = [f"\\multicolumn{{{width}}}{{c}}{{{escape(name)}}}" for name, width in table.groups]
        lines.append(" & " + " & ".join(spans) + " \\\\")
    titles = [f"{column.title} {column.unit}".strip() for column in table.columns]
    lines += [" & ".join(map(escape, [table.corner, *titles])) + " \\\\", "\\midrule"]
    for row in table.rows:
        label = f"{row.label} ({row.kind})" if row.kind == "published" else row.label
        lines.append(" & ".join([escape(label), *map(_latex_entry, row.entries)]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", f"\\end{{{form}}}", ""])


def _latex_entry(entry: Entry) -> str:
    text = escape(entry.text)
    text = f"\\textbf{{{text}}}" if entry.mark == "best" else text
    return f"{text} {{\\scriptsize {escape(entry.detail)}}}" if entry.detail else text


def escape(text: str) -> str:
    """Escape what LaTeX would read as a command."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def to_markdown(comparison: Comparison) -> str:
    """Write a model card of all rows: the models, how well they do, and what to keep in mind."""
    parts = [
        "# Robustness of " + ", ".join(escape_markdown(group.label) for group in comparison.groups),
        escape_markdown(lead(comparison)),
        _warning(comparison),
        _described(comparison),
        "## Models",
        *[_model(run) for run in comparison.runs],
        "## Results",
        f"Brackets are {round(100 * LEVEL)} % intervals over the measured images ({KINDS}); ± is "
        "the standard deviation over seeds. Smaller is better, except for accuracy and confidence.",
    ]
    parts += [to_markdown_table(table) for table in all_tables(comparison)]
    parts += ["## Limits", _limits(comparison)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _warning(comparison: Comparison) -> str:
    """Why the runs must not be compared, and the images of each."""
    if not comparison.unlike:
        return ""
    lines = [*comparison.unlike, *(f"{run.label}: {_images(run)}" for run in comparison.runs)]
    listed = "\n".join(f"- {escape_markdown(line)}" for line in lines)
    return f"**{comparison.warning}:**\n\n{listed}"


def _images(run: Run) -> str:
    """The images that a run was measured on."""
    name, split = (str(run.results.source.get(key)) for key in ("name", "split"))
    return f"{run.results.num_images:,} images of {name} ({split})"


def _described(comparison: Comparison) -> str:
    """Which images, and how they were corrupted."""
    protocol, grid = comparison.runs[0].results.protocol, comparison.grid
    images = dict.fromkeys(_images(run) for run in comparison.runs)
    text = f"Measured on {escape_markdown('; '.join(images))}: clean"
    if grid:
        severities = ", ".join(map(str, grid.severities))
        text += f", {len(grid.names)} corruptions at severities {severities}"
    if comparison.sequences:
        text += f", {len(comparison.sequences)} perturbation sequences"
    if attack := attack_words(comparison):
        text += f", attacked ({attack})"
    if "fourier_norm" in protocol:
        text += f", under single Fourier-basis perturbations of norm {protocol['fourier_norm']:g}"
    text += f"; severities of the preset {escape_markdown(str(protocol.get('preset')))}."
    names = ", ".join(readable(name) for name in (*grid.names, *comparison.sequences))
    return text + (f" In detail: {escape_markdown(names)}." if names else "")


def _model(run: Run) -> str:
    """Facts of one run as a list."""
    model = run.results.model
    facts = {"network": run.network, "method": run.method, "adaptation": run.adaptation}
    facts |= {key.replace("_", " "): model.get(key) for key in _FACTS}
    versions = run.results.provenance.get("versions", {})
    facts["measured with"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [
        f"- {name}: {escape_markdown(str(value))}"
        for name, value in facts.items()
        if value not in ("", None)
    ]
    return "\n".join([f"### {escape_markdown(run.label)}", "", *lines])


def _limits(comparison: Comparison) -> str:
    """What the numbers do not say, as a list."""
    lines = [*comparison.notes]
    lines.append(
        "Corruptions are synthetic; a model that survives them may still fail under another shift."
    )
    if all(len(group.runs) == 1 for group in comparison.groups):
        lines.append("One training run each: the noise of training is not in the intervals.")
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


EXPORT_SIGNS: Mapping[str, tuple[bytes, ...]] = {  # what is in every file that was written
    "csv": (b"row,method,model,adaptation,metric,scope,name,value",),
    "json": (b'"schema": ', b'"numbers": ', b'"differences": '),
    "latex": (b"% Written by augmix.",),
    "markdown": (b"# Robustness of ", b"## Limits"),
}
EXPORTS: Mapping[str, tuple[str, Callable[[Comparison], str]]] = {
    "csv": (".csv", to_csv),
    "json": (".json", to_json),
    "latex": (".tex", to_latex),
    "markdown": (".md", to_markdown),
}

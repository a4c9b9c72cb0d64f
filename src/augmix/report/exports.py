"""The report for other programs: CSV, JSON, LaTeX, a model card, and the model's page on the Hub.

CSV and JSON hold fractions, the others per cent. The package huggingface_hub (extra ``hub``) is
imported when a model is published.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from augmix.bootstrap import KINDS, LEVEL
from augmix.errors import RunError, escape_cell, first_line, import_library
from augmix.files import load_json, load_record, to_plain
from augmix.report.classes import class_records
from augmix.report.comparison import Comparison, Group, compare, contrast
from augmix.report.estimates import METRICS, readable
from augmix.report.load import Run, flatten
from augmix.report.robustness import attack_words
from augmix.report.sections import all_tables, lead
from augmix.report.tables import Entry, Table, escape_markdown, to_markdown_table
from augmix.results import RESULTS_FILE, load_results
from augmix.run_folder import CONFIG_FILE, MODEL_FILE, WEIGHTS_FILE, ModelFile

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


_FRONT_MATTER = """---
library_name: augmix
pipeline_tag: image-classification
tags:
- robustness
- augmix
---
"""
_PRIVATE = {  # entries that are of use on the machine that trained only
    CONFIG_FILE: ("data", "root", "out", "schema", "command"),
    RESULTS_FILE: ("command",),
}
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def push_to_hub(
    run: str | Path,
    repo_id: str,
    *,
    is_private: bool = False,
    message: str = "Upload model",
    token: str | None = None,
) -> str:
    """Upload the model of a run folder to the Hugging Face Hub, with a model card.

    The card shows how the model was trained and what `augmix evaluate` measured. `config.json` and
    `results.json` are uploaded too, without the paths and the command line of this machine.

    Args:
        run: Folder with `model.json` and `weights.safetensors`.
        repo_id: ``owner/name``; created if it does not exist.
        is_private: Whether a newly created repository is visible to its owner only.
        message: Of the commit.
        token: Token of the hub; by default the one that `hf auth login` stored.

    Returns:
        The address of the model.

    Raises:
        RunError: If huggingface_hub or a file of the model is missing, or the hub refuses.
    """
    folder = Path(run)
    if not _NAME.fullmatch(repo_id):
        raise RunError(f"a model on the hub is named owner/name, got {repo_id!r}")
    for file in (MODEL_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise RunError(f"{folder / file} does not exist; is {folder} a finished run?")
    files: dict[str, bytes | str] = {"README.md": write_card(folder, repo_id).encode()}
    files |= {file: str(folder / file) for file in (MODEL_FILE, WEIGHTS_FILE)}
    for file in _PRIVATE:
        if (folder / file).is_file():
            public = _load_public(folder / file)
            files[file] = json.dumps(public, indent=1, ensure_ascii=False).encode()
    hub = import_library(
        "huggingface_hub", "putting a model on the Hugging Face Hub", "augmix[hub]"
    )
    try:
        api = hub.HfApi(token=token)
        api.create_repo(repo_id, private=is_private, exist_ok=True)
        api.create_commit(
            repo_id,
            operations=[
                hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
                for name, content in files.items()
            ],
            commit_message=message,
        )
    except Exception as error:  # the package's own errors, the network's
        raise RunError(
            f"the Hugging Face Hub did not take {repo_id!r}: {first_line(error)}; "
            "log in with `hf auth login`, or pass a token that may write"
        ) from error
    return f"https://huggingface.co/{repo_id}"


def write_card(run: Path, name: str) -> str:
    """Write the model card of a run folder as Markdown, under a name ``owner/name``.

    `model.json` is needed; `config.json` and `results.json` are used if they exist. A damaged file
    is a `RunError`.
    """
    model = load_record(run / MODEL_FILE, ModelFile)
    parts = [
        _FRONT_MATTER,
        f"# {escape_markdown(name)}\n",
        f"A `{escape_markdown(str(model['name']))}` for {model['num_classes']} classes, trained "
        f"with [augmix](https://pypi.org/project/augmix/). It takes images in [0, 1] of "
        f"{model['channels']} channel(s), and normalises them itself.\n",
        "```python\nimport augmix\n\n"
        f"model = augmix.load_model({name!r})  # logits = model(images)\n```\n",
    ]
    if (run / CONFIG_FILE).is_file():
        settings = flatten(_load_public(run / CONFIG_FILE))
        rows = [[escape_markdown(str(word)) for word in entry] for entry in settings.items()]
        lines = [f"| {key} | {value} |" for key, value in rows]
        parts.append("\n".join(["## Training\n", "| setting | value |", "| --- | --- |", *lines]))
    path = run / RESULTS_FILE
    if path.is_file() and load_results(path).num_images:
        parts.append("\n" + re.sub(r"(?m)^#", "##", to_markdown(compare([run]))))
    else:
        parts.append("\n## Robustness\n\nNothing was measured.\n")
    return "\n".join(parts)


def _load_public(path: Path) -> dict[str, Any]:
    """Load `config.json` or `results.json` without private entries and folders."""
    private = _PRIVATE[path.name]

    def publish(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if isinstance(v, dict) or k not in private}
            return {key: publish(entry) for key, entry in kept.items()}
        if isinstance(value, list):
            return [publish(entry) for entry in value]
        for kind in (PurePosixPath, PureWindowsPath):
            if isinstance(value, str) and kind(value).is_absolute():
                return kind(value).name
        return value

    return publish(load_json(path))

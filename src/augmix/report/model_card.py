"""A model card in Markdown: what was measured, how well it does, and what to keep in mind."""

from collections.abc import Sequence

from augmix.bootstrap import LEVEL
from augmix.report.calibration import calibration_table, score_table, temperature_table
from augmix.report.comparison import Comparison
from augmix.report.estimates import CLEAN, CORRUPTED, readable
from augmix.report.load import Run
from augmix.report.robustness import attack_table, attack_words, corruption_table, stability_table
from augmix.report.sections import lead, summary_table
from augmix.report.tables import escape_markdown as escape
from augmix.report.tables import to_markdown_table

_FACTS = ("num_parameters", "num_classes", "seed", "weights_sha256")


def to_markdown(comparison: Comparison) -> str:
    """The card of all rows of a report."""
    parts = [
        "# Robustness of " + ", ".join(escape(group.label) for group in comparison.groups),
        escape(lead(comparison)),
        _described(comparison),
        "## Models",
        *[_model(run) for run in comparison.runs],
        "## Results",
        f"Brackets are {round(100 * LEVEL)} % intervals over the measured images; ± is the "
        "standard deviation over seeds. Smaller is better, except for accuracy and confidence.",
    ]
    tables = [
        summary_table(comparison),
        corruption_table(comparison),
        corruption_table(comparison, "ce"),
        stability_table(comparison),
        stability_table(comparison, "fr"),
        attack_table(comparison),
        calibration_table(comparison, CLEAN),
        calibration_table(comparison, CORRUPTED),
        score_table(comparison),
        temperature_table(comparison),
    ]
    parts += [to_markdown_table(table) for table in tables if table is not None]
    parts += ["## Limits", *_limits(comparison)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _described(comparison: Comparison) -> str:
    """Which images, damaged how."""
    results = comparison.runs[0].results
    source, protocol = results.source, results.protocol
    cells = [*results.cells, *results.sequences]
    grid = comparison.grid
    text = (
        f"Measured on {max(cell.num_images for cell in cells):,} images of "
        f"{escape(str(source.get('name')))} ({escape(str(source.get('split')))}): clean"
    )
    if grid:
        text += (
            f", {len(grid.names)} corruptions at severities {', '.join(map(str, grid.severities))}"
        )
    if comparison.sequences:
        text += f", {len(comparison.sequences)} perturbation sequences"
    if attack := attack_words(comparison):
        text += f", attacked ({attack})"
    text += f"; severities of the preset {escape(str(protocol.get('preset')))}."
    names = ", ".join(readable(name) for name in (*grid.names, *comparison.sequences))
    return text + (f" In detail: {escape(names)}." if names else "")


def _model(run: Run) -> str:
    """Facts of one run as a list."""
    model = run.results.model
    facts = {"network": run.network, "method": run.method, "adaptation": run.adaptation}
    facts |= {key.replace("_", " "): model.get(key) for key in _FACTS}
    versions = run.results.provenance.get("versions", {})
    facts["measured with"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [
        f"- {name}: {escape(str(value))}"
        for name, value in facts.items()
        if value not in ("", None)
    ]
    return "\n".join([f"### {escape(run.label)}", "", *lines])


def _limits(comparison: Comparison) -> Sequence[str]:
    """What the numbers do not say."""
    lines = [*comparison.unlike, *comparison.notes]
    lines.append(
        "Corruptions are synthetic; a model that survives them may still fail under another shift."
    )
    if all(len(group.runs) == 1 for group in comparison.groups):
        lines.append("One training run each: the noise of training is not in the intervals.")
    return ["\n".join(f"- {escape(line)}" for line in lines)]

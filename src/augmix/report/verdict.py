"""The result of the page in a sentence or two."""

from augmix.report.comparison import Comparison
from augmix.report.estimates import CLEAN, CORRUPTED, Key
from augmix.report.groups import Group, contrast
from augmix.report.tables import span


def lead(comparison: Comparison) -> str:
    """The result in one sentence, or nothing where runs must not be compared."""
    measured = [
        group
        for group in comparison.groups
        if not group.first.adaptation
        and group.number(Key("error", CLEAN))
        and group.number(Key("error", CORRUPTED))
    ]
    if not measured or (len(comparison.groups) > 1 and not comparison.is_comparable):
        return ""
    ranked = sorted(measured, key=lambda group: _value(group, Key("error", CORRUPTED)))
    best, worst = ranked[0], ranked[-1]
    among = f"Of {len(measured)} models, " if len(measured) > 2 else ""
    sentence = f"{among}{best.label} errs{' least:' if among else ''} on {_errors(best)}"
    if best is worst:
        return sentence + "."
    sentence += f"; {worst.label}{' most:' if among else ''} on {_errors(worst, is_short=True)}."
    return sentence + _judged(best, ranked[1])


def _errors(group: Group, *, is_short: bool = False) -> str:
    corrupted, clean = (100 * _value(group, Key("error", s)) for s in (CORRUPTED, CLEAN))
    if is_short:
        return f"{corrupted:.1f} % and {clean:.1f} %"
    return f"{corrupted:.1f} % of corrupted images and {clean:.1f} % of clean ones"


def _judged(best: Group, second: Group) -> str:
    """How far the best is ahead of the next, and whether that means anything."""
    apart = contrast(second, best, Key("error", CORRUPTED))
    if apart is None:
        return ""
    if apart.verdict == "within noise":
        return f" {best.label} and {second.label} cannot be told apart with these images."
    between = span(apart.low, apart.high)
    points = f"{100 * apart.estimate:.1f} points ({between})"
    return f" {best.label} is ahead of {second.label} by {points}."


def _value(group: Group, key: Key) -> float:
    number = group.number(key)
    assert number is not None
    return number.value

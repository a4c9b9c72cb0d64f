"""Presets of one's own: a file with the parameters of corruptions at severity 1, 2, ...

The file is JSON, or TOML with the same keys:

    {
      "name": "dashcam",
      "corruptions": {
        "fog": [[0.4, 3], [0.8, 2.5], [1.2, 2], null, null],
        "gaussian_noise": [0.02, 0.04, 0.06, 0.08, 0.1]
      }
    }

A severity is a number or the list of the function's parameters, in the units of the table of the
corruptions; ``null`` (in TOML ``"none"``) where a corruption has no such severity. There are at
most five. ``calibration`` may say how the numbers were found, see `augmix.evaluation.severities`.
"""

import math
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from augmix.corruptions.registry import (
    CORRUPTIONS,
    PRESETS,
    SEVERITIES,
    AnyPreset,
    Corruption,
    Parameters,
    Preset,
    Real,
    resolve_preset,
)
from augmix.errors import RunError, did_you_mean, first_line
from augmix.files import load_json, write_json

SUFFIXES = (".json", ".toml")
_KEYS = ("name", "corruptions", "calibration")
_RESERVED = ("auto", *PRESETS)
_NONE = "none"  # TOML has no null
_HINT = "correct the file; docs/corruptions.md shows its form"


def open_preset(preset: AnyPreset) -> str | Preset:
    """Return a preset, of a file what it holds; ``"auto"`` and the published names as they are.

    Raises:
        ValueError: If there is no preset of this name.
        RunError: If a file is missing or does not fit.
    """
    if isinstance(preset, Preset):
        return preset
    if str(preset) in _RESERVED:  # also as a path
        return str(preset)
    path = Path(preset).expanduser()
    if path.suffix.lower() in SUFFIXES:
        return load_preset(path)
    raise ValueError(
        f"preset must be one of {', '.join(_RESERVED)}, or a file FILE.json or FILE.toml, got "
        f"{str(preset)!r}{did_you_mean(str(preset), _RESERVED)}"
    )


def find_preset(preset: AnyPreset, size: tuple[int, int]) -> str | Preset:
    """Return a preset as `open_preset`, and for ``"auto"`` the published one for a size."""
    found = open_preset(preset)
    return resolve_preset(found, size) if isinstance(found, str) else found


def describe_preset(preset: str | Preset) -> dict[str, str]:
    """Return what results and manifests say of a preset: its name, and of a file the sha256."""
    if isinstance(preset, str):
        return {"preset": preset}
    return {"preset": preset.name, "preset_sha256": preset.sha256}


def check_levels(preset: str | Preset, cells: Iterable[tuple[str, Real]]) -> None:
    """Refuse corruptions and severities that a preset has no parameters for.

    Args:
        cells: Names and severities; one between two whole ones needs both.

    Raises:
        ValueError: If there are any; the message names those that the preset has.
    """
    if isinstance(preset, str):
        return
    cells = list(cells)
    names = list(dict.fromkeys(name for name, _ in cells))
    wanted = sorted({level for _, severity in cells for level in _ends(severity)})
    known = [name for name in names if preset.levels(name)]
    if len(known) < len(names):
        missing = [name for name in names if name not in known]
        raise ValueError(
            f"preset {preset.name!r} has no parameters for {', '.join(missing)}; name those that "
            f"it has: --names {' '.join(preset.table)}"
        )
    lacking = {
        name: [level for level in wanted if level not in preset.levels(name)] for name in names
    }
    lacking = {name: levels for name, levels in lacking.items() if levels}
    if lacking:
        shown = "; ".join(f"{name} {', '.join(map(str, each))}" for name, each in lacking.items())
        rest = [name for name in names if name not in lacking]
        common = [level for level in wanted if all(level in preset.levels(n) for n in names)]
        ways = [f"--names {' '.join(rest)}"] if rest else []
        ways += [f"--severities {' '.join(map(str, common))}"] if common else []
        raise ValueError(
            f"preset {preset.name!r} lacks severities: {shown}; take "
            f"{' or '.join(ways) or 'other severities'}"
        )


def _ends(severity: Real) -> set[int]:
    return {math.floor(severity), math.ceil(severity)}


def load_preset(path: Path) -> Preset:
    """Read the file of a preset.

    Raises:
        RunError: If it is missing, is no JSON or TOML, or a name, a number of parameters or a value
            is wrong; the message names the entry.
    """
    content = _load_toml(path) if path.suffix.lower() == ".toml" else _load_json(path)
    for key in content:
        if key not in _KEYS:
            guess = did_you_mean(key, _KEYS)
            raise RunError(f"{path}: unknown entry {key!r}{guess} There are {', '.join(_KEYS)}")
    name, table = content.get("name", path.stem), content.get("corruptions")
    if not isinstance(name, str) or not name.strip() or name in _RESERVED:
        raise RunError(
            f"{path}: name must be a text, and none of {', '.join(_RESERVED)}, got {name!r}"
        )
    if not isinstance(table, dict) or not table:
        raise RunError(f"{path}: 'corruptions' must be a table of at least one; {_HINT}")
    found: dict[str, tuple[Parameters | None, ...]] = {}
    for key, rows in table.items():
        if key not in CORRUPTIONS and key not in CORRUPTIONS.aliases:
            raise RunError(
                f"{path}: unknown corruption {key!r}{did_you_mean(key, CORRUPTIONS, cutoff=0.0)} "
                "One of your own must be named or registered before"
            )
        corruption = CORRUPTIONS.find(key)
        if corruption.name in found:
            raise RunError(f"{path}: {corruption.name} is there twice")
        if not isinstance(rows, list) or not 1 <= len(rows) <= len(SEVERITIES):
            raise RunError(
                f"{path}: {key} must be a list of 1 to {len(SEVERITIES)} severities, got {rows!r}"
            )
        found[corruption.name] = tuple(
            _check_row(corruption, row, f"{path}: {key}, severity {level}")
            for level, row in enumerate(rows, 1)
        )
        if not any(found[corruption.name]):
            raise RunError(f"{path}: {key} has no severity with parameters; leave it out")
    return Preset(name=name, table=found)


def write_preset(path: Path, preset: Preset, calibration: Mapping[str, Any] | None = None) -> None:
    """Write the file of a preset, and how its numbers were found; an earlier file is replaced."""
    table = {name: [row and list(row) for row in rows] for name, rows in preset.table.items()}
    content = {"name": preset.name, "corruptions": table}
    write_json(path, content | ({"calibration": calibration} if calibration else {}))


def _load_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RunError(f"{path} does not exist; expected the file of a preset")
    return load_json(path, way_out=_HINT)


def _load_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; expected the file of a preset") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise RunError(f"{path} is not valid TOML ({first_line(error)}); {_HINT}") from error


def _check_row(corruption: Corruption, row: Any, where: str) -> Parameters | None:
    """The parameters of a severity, checked by kind, count and limits."""
    if row is None or row == _NONE:
        return None
    given = row if isinstance(row, list) else [row]
    kinds = corruption.kinds
    if kinds is not None and len(given) != len(kinds):
        raise RunError(f"{where}: takes {_count(len(kinds))}, got {_count(len(given))}: {row!r}")
    kinds = kinds or (False,) * len(given)
    limits = corruption.limits or ((-math.inf, math.inf),) * len(given)
    for value, is_whole, (low, high) in zip(given, kinds, limits, strict=True):
        is_number = type(value) in (int, float) and abs(value) <= sys.float_info.max
        if not is_number or (is_whole and value != int(value)) or not low <= value <= high:
            what = "a whole number" if is_whole else "a finite number"
            least = f", at least {low:g}" if low > -math.inf else ""
            most = f", at most {high:g}" if high < math.inf else ""
            raise RunError(f"{where}: expected {what}{least}{most}, got {value!r}")
    pairs = zip(given, kinds, strict=True)
    return tuple(int(value) if is_whole else value for value, is_whole in pairs)


def _count(number: int) -> str:
    return f"{number} parameter{'s' if number != 1 else ''}"

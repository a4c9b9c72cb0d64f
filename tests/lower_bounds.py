"""Print the lower bound of every dependency as a pin, for `make test-lowest`.

python tests/lower_bounds.py > constraints-lowest.txt
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIXED = ("pyright", "ruff", "pytest", "pytest-xdist", "hypothesis")  # tools, not what is tested


def lower_bounds() -> dict[str, str]:
    """The lowest version that is declared, by package, of all extras that the tests use."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["dev"]]
    for name in re.findall(r"[\w-]+", extras["dev"][0].removeprefix("augmix")):  # augmix[NAME,...]
        lines += extras[name]
    found = (re.match(r"([\w-]+)>=([\w.]+)", line) for line in lines)
    return {each[1]: each[2] for each in found if each and each[1] not in FIXED}


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in sorted(lower_bounds().items())))

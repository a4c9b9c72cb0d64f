"""The command `augmix`, also as ``python -m augmix``: its help comes before anything is loaded."""

import os
import sys

from augmix.commands import help_text


def main() -> int:
    """Run the command line and return the exit code of the process."""
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        print(help_text())
        return 0
    # Torch's threads would keep a core while they wait, which the threads that make images need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from augmix.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())

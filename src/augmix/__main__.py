"""`python -m augmix` is the command line."""

import sys

from augmix.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`augmix reproduce`: the paper's tables and figures, made again."""

import sys
from collections.abc import Sequence

from augmix.commands.terminal import make_console, parse
from augmix.paper.reproduce import ReproduceConfig, reproduce
from augmix.progress import ProgressDisplay


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line; ends with code 1 if a run failed."""
    config = parse(ReproduceConfig, "reproduce", words)
    console = make_console()
    with ProgressDisplay(console) as progress:
        made = reproduce(config, on_progress=progress)
    for path in made.paths:
        if path.suffix == ".md":
            console.print(path.read_text(), highlight=False, markup=False)
        print(f"written: {path}")
    if not made.unfinished:
        return
    count = f"{len(made.unfinished)} of {len(made.runs)} runs"
    print(f"augmix: {count} failed; the same command tries them again:", file=sys.stderr)
    for failed in made.unfinished:
        reason = failed.reason or "its process ended before it was done"
        print(f"  {failed.task.name}: {reason}", file=sys.stderr)
    sys.exit(1)

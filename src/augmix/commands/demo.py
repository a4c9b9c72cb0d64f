"""`augmix demo`: the whole walk on handwritten digits."""

from collections.abc import Sequence

from augmix.commands.terminal import make_console, parse, print_summaries
from augmix.paper.demo import DemoConfig, demo
from augmix.progress import ProgressDisplay


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(DemoConfig, "demo", words)
    console = make_console()
    with ProgressDisplay(console) as progress:
        report = demo(config, on_progress=progress)
    print_summaries(console, [report.parent / "standard", report.parent / "augmix"])
    console.print(f"report: {report}", highlight=False, markup=False)

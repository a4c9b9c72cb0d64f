"""The door: commands, flags from the dataclasses, messages and exit codes.

A command's module in `commands` is loaded when the command is given, so that `augmix --help` stays
quick; a required field of a configuration is a positional argument, all others are flags.
Exit codes: 0 done, 1 some runs of `augmix reproduce` failed (or a bug), 2 a mistake that the
message explains, 130 stopped by Ctrl-C.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from augmix.errors import RunError, did_you_mean

# The line of each command in the help; its module in `commands` has the same name.
COMMANDS = {
    "demo": "train Standard and AugMix on the embedded digits, measure both, write a report",
    "train": "train one model by one method on one source",
    "evaluate": "measure any model on clean, corrupted, perturbed and attacked images",
    "report": "one HTML page that compares any number of runs",
    "export": "a trained model as one file: ONNX, torch.export or safetensors",
    "corrupt": "write the -C form of any images, in the official layout",
    "perturb": "write the -P form of any images, in the official layout",
    "stylize": "write a stylised copy of any images (stylize fit: train a decoder for it)",
    "download": "fetch a published -C or -P set, checked and unpacked",
    "preview": "pictures of AugMix realisations, or of every corruption",
    "reproduce": "a table or figure of the paper, published numbers beside measured ones",
    "bench": "how fast executors and corruptions are on this machine",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the process's exit code."""
    # Before torch is loaded: its threads sleep instead of spinning while they wait for each other.
    # Spinning costs most of a core as soon as anything else runs, and views are made beside them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] == "--version":
        import augmix

        print(augmix.__version__)
        return 0
    if words[0] not in COMMANDS:
        guess = did_you_mean(words[0], COMMANDS)
        return _fail(f"unknown command {words[0]!r}{guess}; see augmix --help")
    try:
        from augmix.devices import keep_freed_memory

        keep_freed_memory()
        command = importlib.import_module(f"augmix.commands.{words[0]}")
        command.run(words[1:])
    except SystemExit as stop:  # tyro has printed its message
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        return _fail("stopped; start the same command again to go on", code=130)
    except Exception as error:
        return _explain(error, is_debug)
    return 0


def _explain(error: Exception, is_debug: bool) -> int:
    """One message for what a user can mend; anything else is a bug and shows where."""
    if is_debug:
        traceback.print_exception(error)
        return 2
    if type(error).__name__ == "Interrupted":
        return _fail(str(error), code=130)
    if isinstance(error, (RunError, ValueError, TypeError, OSError)):
        return _fail(f"{error}")
    traceback.print_exception(error)
    return _fail("this is a bug; please report it with the lines above", code=1)


def _fail(message: str, code: int = 2) -> int:
    print(f"augmix: {message}", file=sys.stderr)
    return code


def _help() -> str:
    lines = [
        "augmix: image classifiers that stay accurate and honest when the data shifts",
        "",
        "usage: augmix COMMAND [OPTIONS]     (augmix COMMAND --help lists the options)",
        "",
        *(f"  {name:<10} {summary}" for name, summary in COMMANDS.items()),
        "",
        "  --debug    show the traceback of an error",
        "  --version  print the version",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""The names of the commands and the first help, which loads nothing else."""

COMMANDS = {
    "demo": "train Standard and AugMix on the embedded digits, measure both, write a report",
    "train": "train one model by one method on one set of images",
    "evaluate": "measure any model on clean, corrupted, perturbed and attacked images",
    "calibrate-severity": "severities at which a model loses 10, 20, ... points, as a preset",
    "predict": "the classes of new images, with calibrated confidences",
    "check": "a gate: limits and a run to compare with in, pass or fail out",
    "report": "one HTML page that compares any number of runs",
    "export": "a trained model as one file: ONNX, torch.export or safetensors",
    "corrupt": "write the -C form of any images, in the official layout",
    "perturb": "write the -P form of any images, in the official layout",
    "stylize": "write a stylised copy of any images (stylize fit: train a decoder for it)",
    "download": "fetch a published -C or -P set, checked and unpacked",
    "preview": "pictures of a method's views, or of every corruption",
    "reproduce": "tables and figures of the paper and of later methods, published beside measured",
    "bench": "how fast executors and corruptions are on this machine",
}
"""The line of each command in the help."""


def help_text() -> str:
    """The help of ``augmix`` without a command."""
    lines = [
        "augmix: image classifiers that stay accurate and honest when the data shifts",
        "",
        "usage: augmix COMMAND [OPTIONS]     (augmix COMMAND --help lists the options)",
        "",
        *(f"  {name:<18} {summary}" for name, summary in COMMANDS.items()),
        "",
        "  --debug             show the traceback of an error",
        "  --version           print the version",
        "  --completion SHELL  print the completion script for bash or zsh",
    ]
    return "\n".join(lines)

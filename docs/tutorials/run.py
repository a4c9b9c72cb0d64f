"""Run the tutorials and write their outputs into the notebooks; needs the extra `docs`.

python docs/tutorials/run.py [NAME.ipynb ...]

Every notebook runs in a new folder. What would differ from run to run without a reason (counts of
executions, ids, metadata of the kernel) is not kept, and a picture is kept in its smaller form.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def run(path: Path) -> None:
    """Execute the cells of a notebook in order and write it back with what they gave."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"timeout": 1200, "resources": {"metadata": {"path": folder}}}
        NotebookClient(notebook, kernel_name="python3", **how).execute()
    write(path, notebook["cells"])


def write(path: Path, cells: list[dict[str, Any]]) -> None:
    """Write a notebook of these cells."""
    content = {
        "cells": [_tidy(cell, number) for number, cell in enumerate(cells)],
        "metadata": {"kernelspec": KERNEL, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _tidy(cell: dict[str, Any], number: int) -> dict[str, Any]:
    text = "".join(cell["source"])
    tidy = {"cell_type": cell["cell_type"], "id": f"cell-{number}", "metadata": {}}
    if cell["cell_type"] == "code":
        tidy |= {"execution_count": None, "outputs": [*map(_tidy_output, cell["outputs"])]}
    return {**tidy, "source": text.splitlines(keepends=True)}


def _tidy_output(output: dict[str, Any]) -> dict[str, Any]:
    if output["output_type"] == "stream":
        text = "".join(output["text"]).splitlines(keepends=True)
        return {"name": output["name"], "output_type": "stream", "text": text}
    data = {kind: value for kind, value in output["data"].items() if kind.startswith("image/")}
    if data:
        kind = min(data, key=lambda each: len(data[each]))
        data = {kind: data[kind].replace("\n", "")}
    else:
        data = {"text/plain": "".join(output["data"]["text/plain"]).splitlines(keepends=True)}
    return {"data": data, "metadata": {}, "output_type": "display_data"}


if __name__ == "__main__":
    for name in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(HERE.glob("*.ipynb")):
        run(name)
        print(f"{name}: {name.stat().st_size / 1000:.0f} kB")

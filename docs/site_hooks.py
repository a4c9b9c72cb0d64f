"""Hooks of MkDocs for the site: pages from the repository's root and from notebooks, links to files
outside `docs/`, docstrings that must be there.

Named by `mkdocs.yml`; a warning ends `make site`.
"""

import base64
import json
import logging
import re
import tomllib
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
METHODS = ROOT / "docs" / "methods"
TUTORIALS = ROOT / "docs" / "tutorials"
PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
MODULES = ("transforms", "metrics", "bootstrap", "published")  # public as a whole
LOG = logging.getLogger("mkdocs.plugins.augmix")


def on_config(config: MkDocsConfig) -> None:
    """Check docstrings, take the addresses of repository and site, and list the methods' pages."""
    config.repo_url, config.site_url = URLS["Source"], URLS["Documentation"]
    for name in undocumented():
        LOG.warning("%s has no docstring", name)
    methods = find_section(config.nav, "methods/README.md")
    methods += sorted(f"methods/{path.name}" for path in METHODS.glob("[!R]*.md"))


def find_section(items: list[Any], page: str) -> list[Any]:
    """The list of the navigation that holds a page."""
    if page in items:
        return items
    inner = [value for item in items if isinstance(item, dict) for value in item.values()]
    return next(filter(None, (find_section(v, page) for v in inner if isinstance(v, list))), [])


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are files of the repository's root, and those of the notebooks."""
    for name, source in PAGES.items():
        text = re.sub(r"\]\(docs/", "](", (ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, name, content=text))
    for path in TUTORIALS.glob("*.ipynb"):
        text, pictures = read_notebook(path)
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=picture))


def read_notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """The page of a notebook in Markdown, and the pictures that its cells show, by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", [])})
            kind, content = next(iter(data.items()))
            if kind.startswith("image/"):
                name = f"{path.stem}-{len(pictures) + 1}.{kind.removeprefix('image/')}"
                pictures[name] = base64.b64decode(content)
                parts.append(f"![Output of the cell above]({name}){{ .plain }}")
            else:
                parts.append("```{ .text .output }\n" + "".join(content).rstrip() + "\n```")
    parts.append(f"[Download this page as a notebook]({path.name}){{ .md-button }}")
    return "\n\n".join(parts) + "\n", pictures


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links that leave `docs/` to a page of the site or to the repository."""
    markdown = re.sub(r"\]\((?:tutorials/)?([\w-]+)\.ipynb\)(?!\{)", _to_page, markdown)
    return re.sub(r"\]\(\.\./([^)#]+)", _resolve, markdown)


def _to_page(link: re.Match[str]) -> str:
    return link[0].replace(".ipynb", ".md")


def _resolve(link: re.Match[str]) -> str:
    target = link[1]
    pages = {source: page for page, source in PAGES.items()}
    if target in pages:
        return f"]({pages[target]}"
    if not (ROOT / target).exists() or (ROOT / "docs" / target).exists():
        return link[0]  # MkDocs resolves it, or warns
    return f"]({URLS['Source']}/blob/main/{target}"


def undocumented() -> list[str]:
    """Public names, and public functions and classes in them, that have no docstring."""
    package: Any = griffe.load("augmix", search_paths=[str(ROOT / "src")], resolve_aliases=True)
    names = {name: member for name, member in package.members.items() if member.is_alias}
    for module in MODULES:
        names |= {f"{module}.{name}": member for name, member in package[module].members.items()}
    missing: list[str] = []
    for name, member in sorted(names.items()):
        is_own = not member.is_alias or member.target_path.startswith("augmix.")
        if not is_own or name.rpartition(".")[2].startswith("_"):
            continue
        target = member.final_target if member.is_alias else member
        if not target.is_attribute:
            missing += _undocumented(name, target)
    return missing


def _undocumented(name: str, thing: Any) -> list[str]:
    missing = [] if thing.docstring else [name]
    if thing.is_class:
        for inner, member in thing.members.items():
            if not inner.startswith("_") and member.is_function:
                missing += _undocumented(f"{name}.{inner}", member)
    return missing


class Examples(griffe.Extension):
    """Docstrings say "Example:", which griffe takes for a note; code needs its "Examples:"."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)

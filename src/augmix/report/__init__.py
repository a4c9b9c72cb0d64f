"""The report: run folders -> numbers, figures and one self-contained HTML page.

The names below are loaded at first use: numbers need no matplotlib, only figures do.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augmix.report.comparison import summarise as summarise
    from augmix.report.page import write_report as write_report

_HOME = {"summarise": "comparison", "write_report": "page"}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'augmix.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"augmix.report.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__]

"""The damage done at test time; the package can be called, as `augmix.corrupt.suite.corrupt`.

``augmix.corrupt`` is the name of this folder and of the function users call. So that
``augmix.corrupt(images, "fog", severity=3)`` works whoever imported what before, the module is
callable.
"""

import sys
from types import ModuleType
from typing import Any

from augmix.corrupt import suite


class _Callable(ModuleType):
    __wrapped__ = staticmethod(suite.corrupt)

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return suite.corrupt(*arguments, **settings)


sys.modules[__name__].__class__ = _Callable

"""deltaspace: one low-dimensional space for every way of tuning a pre-trained language model.

Every name is imported when it is first used, so that `import deltaspace` needs neither torch nor transformers. The names, with
their types, are listed in `__init__.pyi`; further ones are in `deltaspace.figures`, `.landscape`, `.study` and `.tasks`.
"""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import Any

import lazy_loader

_get, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version(__name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _get(name)

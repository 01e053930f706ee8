"""For the documentation site: `Example:` in a docstring is read as `Examples:`, so that its doctests are shown as code."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Give the sections of examples the name that griffe's Google style knows."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object, once it is collected."""
        if obj.docstring is not None and ">>>" in obj.docstring.value:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)

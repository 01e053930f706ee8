"""Markdown in which what people name is shown as it is: a model's path, a task, a delta."""

from __future__ import annotations

import json
import re

import yaml

# What means something inside a line; an underscore within a word is only itself.
_SPECIAL = re.compile(r"[\\`*\[\]<>|&~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def plain(text: object) -> str:
    r"""A value as part of a line or of a table's cell.

    Example:
        >>> plain("my_task"), plain("[red]|<b>"), plain("two\nlines")
        ('my_task', '\\[red\\]\\|\\<b\\>', 'two lines')
    """
    return _SPECIAL.sub(r"\\\g<0>", " ".join(str(text).splitlines()))


def literal(text: str) -> str:
    r"""A text as a line of Python has it.

    Example:
        >>> literal('a "b"')
        '"a \\"b\\""'
    """
    return json.dumps(text, ensure_ascii=False)


def front_matter(**entries: object) -> str:
    """The YAML with which a model card begins, as the Hugging Face Hub reads it.

    Example:
        >>> print(front_matter(library_name="peft", base_model="a: b"))
        ---
        library_name: peft
        base_model: 'a: b'
        ---
    """
    said = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=float("inf"), default_flow_style=False)
    return f"---\n{said}---"

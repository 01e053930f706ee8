"""Templates of prompts and columns: texts with names in braces, and nothing else that Python's formats can do."""

from __future__ import annotations

from string import Formatter


def fields_of(template: str) -> list[str]:
    """The names in a template's braces, in their order; `{{` and `}}` are braces as text.

    Raises:
        ValueError: its braces do not close, or hold more than a name (a width such as `{mask:>9}` could fill the memory).

    Example:
        >>> fields_of("{input} It was {mask}.")
        ['input', 'mask']
    """
    names = []
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template[:80]!r} is no template: {error}") from None
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if form or conversion or not name or "." in name or "[" in name:
            raise ValueError(f"{template[:80]!r} is no template: braces hold a name and nothing else")
        names.append(name)
    return names

"""Typed values from what a file says of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

Thing = TypeVar("Thing")
# Made once for each type.
_ADAPTERS: Callable[[Any], Any] = cache(TypeAdapter)


def typed(kind: type[Thing], said: object) -> Thing:
    """A named tuple or a dataclass from the JSON that says it; nothing is converted.

    Raises:
        ValueError: it says something else.

    Example:
        >>> from typing import NamedTuple
        >>> class Size(NamedTuple):
        ...     width: int
        >>> typed(Size, {"width": 2})
        Size(width=2)
        >>> typed(Size, {"width": "2"})
        Traceback (most recent call last):
            ...
        ValueError: width: Input should be a valid integer
    """
    try:
        # As JSON, in which a tuple is a list and a dataclass an object.
        checked: Thing = _ADAPTERS(kind).validate_json(json.dumps(said), strict=True)
        return checked
    except ValidationError as error:
        [problem, *_] = error.errors()
        where = ".".join(map(str, problem["loc"]))
        raise ValueError(f"{where}: {problem['msg']}" if where else problem["msg"]) from None

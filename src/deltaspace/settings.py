"""What people write as settings: nothing is converted, so that true is no number, 2.0 no whole number, and nan no amount."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

# Of pydantic's schemas, those that would convert what they are given.
_PLAIN = ("int", "float", "bool", "str")

Changed = TypeVar("Changed", bound="Settings")


def _strict(schema: Any) -> Any:
    if isinstance(schema, dict):
        made = {key: _strict(part) for key, part in schema.items()}
        return {**made, "strict": True} if made.get("type") in _PLAIN else made
    return [_strict(part) for part in schema] if isinstance(schema, list) else schema


class Settings(BaseModel):
    """Settings as a file, an option or Python gives them. Unknown ones are refused; a float takes a whole number, and no more.

    Example:
        >>> class Size(Settings):
        ...     width: int
        >>> Size(width=2)
        Size(width=2)
        >>> Size(width=True)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        pydantic_core._pydantic_core.ValidationError: 1 validation error for Size
        ...
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Not pydantic's `strict` for whole models, which refuses a list for a tuple too.
        return _strict(handler(source))


def changed(settings: Changed, **values: Any) -> Changed:
    """Settings with other values, checked as all are; None leaves one as it is.

    Example:
        >>> class Size(Settings):
        ...     width: int
        ...     height: int = 1
        >>> changed(Size(width=2), width=None, height=3)
        Size(width=2, height=3)
    """
    given = {name: value for name, value in values.items() if value is not None}
    return type(settings)(**{**settings.model_dump(), **given})

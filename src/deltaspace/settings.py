"""What people write as settings: nothing is converted, so that true is no number, 2.0 no whole number, and nan no amount."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from deltaspace.errors import DeltaspaceError
from deltaspace.mistakes import mistakes_of, shown

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

# Of pydantic's schemas, those that would convert what they are given.
_PLAIN = ("int", "float", "bool", "str")

Changed = TypeVar("Changed", bound="Settings")


def _strict(schema: Any) -> Any:
    if isinstance(schema, dict):
        made = {key: _strict(part) for key, part in schema.items()}
        return {**made, "strict": True} if made.get("type") in _PLAIN else made
    return [_strict(part) for part in schema] if isinstance(schema, list) else schema


class _Told(ModelMetaclass):
    """Classes that tell what is wrong with settings in plain words where a program makes them; what a file says is told by its
    reader, with all other mistakes of the file: `model_validate` raises pydantic's error.
    """

    if not TYPE_CHECKING:  # the types of settings are those of their fields

        def __call__(cls, *args: Any, **given: Any) -> Any:
            if args:
                raise DeltaspaceError(
                    f"{cls.__name__} takes its settings by name", found=", ".join(map(shown, args)), expected=_forms(cls, ())
                )
            try:
                return super().__call__(**given)
            except ValidationError as error:
                mistakes = mistakes_of(error)
                wrong = [str(mistake.where[0]) for mistake in mistakes if mistake.where]
                found = "; ".join(map(str, mistakes))
                raise DeltaspaceError(f"{cls.__name__} has wrong settings", found=found, expected=_forms(cls, wrong)) from None


def _forms(cls: type[BaseModel], wrong: Sequence[str]) -> str:
    """What the settings that are wrong mean; which there are, where one is unknown."""
    fields = cls.model_fields
    if not wrong or any(name not in fields for name in wrong):
        return ", ".join(fields) or "no settings"
    return "; ".join(f"{name}: {fields[name].description or 'see its class'}" for name in dict.fromkeys(wrong))


class Settings(BaseModel, metaclass=_Told):
    """Settings as a file, an option or Python gives them. Unknown ones are refused; a float takes a whole number, and no more.

    Raises:
        DeltaspaceError: a program makes them with a setting that is wrong, missing or unknown: all of them.

    Example:
        >>> class Size(Settings):
        ...     width: int
        >>> Size(width=2)
        Size(width=2)
        >>> Size(width=True)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        deltaspace.errors.DeltaspaceError: Size has wrong settings
        ...
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Not pydantic's `strict` for whole models, which refuses a list for a tuple too.
        return _strict(handler(source))


def changed(settings: Changed, **values: Any) -> Changed:
    """Settings with other values, checked as those of a file are; None leaves one as it is.

    Example:
        >>> class Size(Settings):
        ...     width: int
        ...     height: int = 1
        >>> changed(Size(width=2), width=None, height=3)
        Size(width=2, height=3)
    """
    given = {name: value for name, value in values.items() if value is not None}
    return type(settings).model_validate({**settings.model_dump(), **given})

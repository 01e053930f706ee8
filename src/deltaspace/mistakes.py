"""What pydantic finds wrong in what people write, in plain words: each mistake once, with where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from deltaspace.names import did_you_mean

# A value as a message shows it.
_SHOWN = 80
_WORDS = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "finite_number": "should be a finite number",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "should be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "should be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "should be true or false"),
    **dict.fromkeys(("string_type", "string_unicode"), "should be a text"),
    **dict.fromkeys(("tuple_type", "list_type"), "should be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "should be a mapping"),
}
# Mistakes that the message of a validator of ours says in full, or that are no value's.
_SELF_EXPLAINING = ("missing", "extra_forbidden", "value_error")
_MISTAKES = "mistakes"


class Mistake(NamedTuple):
    """Where it is, as keys and positions, and what is wrong there."""

    where: tuple[str | int, ...]
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (".".join(map(str, self.where)), self.what) if part)


def mistakes_of(error: ValidationError, known: Callable[[tuple[str | int, ...]], bool] | None = None) -> list[Mistake]:
    """Every mistake that a validation met.

    Args:
        error: what pydantic raised.
        known: whether a place is one of what was written; what pydantic calls the members of a union is none, and where none of
            them fits, it is one mistake.
    """
    told: dict[tuple[str | int, ...], list[tuple[tuple[str | int, ...], str]]] = {}
    problems = error.errors(include_url=False)
    places = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
    for problem in problems:
        if problem["type"] in ("too_short", "too_long") and problem["loc"] in places:
            continue  # counted without its wrong entries, which are told
        said = problem.get("ctx", {}).get(_MISTAKES)
        for below, what in said if said is not None else [((), _words(problem))]:
            union, where = _places((*problem["loc"], *below), known)
            if problem["type"] == "extra_forbidden":
                what += did_you_mean(str(problem["loc"][-1]), _keys_beside(error.title, problem["loc"]))
            told.setdefault(union, []).append((where, what))
    return [mistake for parts in told.values() for mistake in _joined(parts)]


def refuse(mistakes: Sequence[Mistake]) -> PydanticCustomError:
    """What a validator raises that met several mistakes below its field, each with where it is there."""
    text = "; ".join(map(str, mistakes)).replace("{", "{{").replace("}", "}}")
    return PydanticCustomError("mistakes", "{text}", {"text": text, _MISTAKES: [tuple(mistake) for mistake in mistakes]})


def plainly(error: ValidationError) -> str:
    """All mistakes of a validation on one line."""
    return "; ".join(map(str, mistakes_of(error)))


def shown(value: object) -> str:
    """A value as a message shows it, cut where it is long."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**_SHOWN else "a very long number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _keys_beside(title: str, where: Sequence[str | int]) -> list[str]:
    """The keys that there are where an unknown one was met, in the settings of this name."""
    models = [model for model in _below(BaseModel) if model.__name__ == title]
    for part in where[:-1]:
        # Positions in lists, and what pydantic calls the members of a union, are no keys.
        fields = [field for model in models for name, field in model.model_fields.items() if part in (name, field.alias)]
        models = [inner for field in fields for inner in _models_in(field.annotation)] if fields else models
    return list(dict.fromkeys(field.alias or name for model in models for name, field in model.model_fields.items()))


def _below(model: type[Any]) -> Iterator[type[BaseModel]]:
    for inner in model.__subclasses__():
        yield inner
        yield from _below(inner)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation such as `tuple[TaskSpec, ...]` or `Translation | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _words(problem: ErrorDetails) -> str:
    kind = problem["type"]
    if kind in ("too_short", "too_long"):
        count = problem["ctx"]["min_length" if kind == "too_short" else "max_length"]
        return f"should have at {'least' if kind == 'too_short' else 'most'} {count} {'entry' if count == 1 else 'entries'}"
    words = _WORDS.get(kind) or problem["msg"].removeprefix("Value error, ").replace("Input should", "should")
    return words if kind in _SELF_EXPLAINING else f"{words} (found {shown(problem['input'])})"


def _places(
    where: tuple[str | int, ...], known: Callable[[tuple[str | int, ...]], bool] | None
) -> tuple[tuple[str | int, ...], tuple[str | int, ...]]:
    """The place of the outermost union, or the place itself where there is none; and the place without the unions' members."""
    if known is None:
        return where, where
    plain: tuple[str | int, ...] = ()
    union: tuple[str | int, ...] | None = None
    for position, part in enumerate(where):
        if known((*plain, part)) or (position == len(where) - 1 and str(part).isidentifier() and not _is_type(str(part))):
            plain = (*plain, part)
        elif union is None:
            union = plain
    return (plain if union is None else union), plain


def _is_type(part: str) -> bool:
    return part in ("str", "int", "float", "bool")


def _joined(parts: list[tuple[tuple[str | int, ...], str]]) -> list[Mistake]:
    """Of what the members of a union say, what those say that went deepest; at one place once."""
    if len(parts) == 1:
        return [Mistake(*parts[0])]
    depth = max(len(where) for where, _ in parts)
    by_place: dict[tuple[str | int, ...], list[str]] = {}
    for where, what in parts:
        if len(where) == depth:
            by_place.setdefault(where, []).append(what)
    return [Mistake(where, _either(list(dict.fromkeys(what)))) for where, what in by_place.items()]


def _either(texts: list[str]) -> str:
    """`should be a list (found 3)` and `should be a mapping (found 3)` as one."""
    heads = [text.partition(" (found ")[0] for text in texts]
    if len(texts) == 1 or not all(head.startswith("should be ") for head in heads):
        return "; or ".join(texts)
    _, found, value = texts[0].partition(" (found ")
    return " or ".join([heads[0], *(head.removeprefix("should be ") for head in heads[1:])]) + found + value

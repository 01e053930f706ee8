"""Every key of a recipe, as tables from the models: `python -m deltaspace.report.recipe_reference docs/recipes.md`."""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deltaspace.storage import write_text

# How a key is written, where its default is no example of it.
EXAMPLES: dict[str, Any] = {
    "model": "demo",
    "family": "decoder",
    "deltas": ["adapter", {"lora": {"r": 4}}, {"peft": "IA3", "name": "ia3"}],
    "tasks": {"source": ["demo:tweets"], "unseen": ["demo:movies"]},
    "dim": 4,
    "seed": [0, 1, 2],
    "projection": {"dense": {"start": "random"}},
    "rivals": ["random", "unilora"],
    "landscapes": [{"task": "movies"}],
    "translate": True,
    "tasks.folder": "~/data/tasks",
    "tasks.source": ["demo:tweets", {"from": "reviews.csv"}],
    "tasks.unseen": ["demo:movies"],
    "tasks.shots": 32,
    "tasks.source.from": "hub:stanfordnlp/sst2",
    "tasks.source.name": "films",
    "tasks.source.kind": "classification",
    "tasks.source.metric": "macro_f1",
    "tasks.source.labels": {"neg": "negative", "pos": "positive"},
    "tasks.source.prompt": "{input} It was {mask}.",
    "tasks.source.limits": {"train": 500},
    "tasks.source.columns": {"input": "{premise} {hypothesis}", "target": "label"},
    "tasks.source.splits": {"train": "train[:90%]", "dev": "train[90%:]", "test": "test", "shuffle": 0},
    "tasks.source.columns.input": "{premise} [SEP] {hypothesis}",
    "tasks.source.columns.target": "stars",
    "tasks.source.columns.options": ["choice1", "choice2"],
    "tasks.source.columns.values": {"1": "bad", "5": "good"},
    "tasks.source.splits.train": "train[:90%]",
    "tasks.source.splits.shuffle": 0,
    "limits": {"train": 4000, "dev": 200, "test": 500},
    "limits.train": 4000,
    "limits.dev": 200,
    "limits.test": 500,
    "train.steps": 400,
    "train.lr": 2e-3,
    "train.patience": 4,
    "approximate.temperature": 2.0,
    "disagreement": False,
    "landscapes.task": "movies",
    "landscapes.points": ["adapter", "lora", "prefix"],
    "landscapes.point": "mean",
    "landscapes.directions": ["principal-1", "random-1"],
    "landscapes.grid": "-2:2:25",
    "landscapes.dim": 4,
    "landscapes.seed": 0,
    "landscapes.name": "plane",
}
# Keys whose parts are said elsewhere: a training's are those of `train`, an unseen task's those of a source task.
_AS_BEFORE = {"tasks.unseen": "tasks.source", "tasks.source.limits": "limits", "approximate": "train", "optimize": "train"}
_AS_BEFORE["translate"] = "train"


def recipe_tables() -> str:
    """Every key of a recipe as Markdown tables, one for each mapping: its type, default, meaning and an example."""
    from deltaspace.deltas import DELTAS
    from deltaspace.study import Recipe
    from deltaspace.subspace import PROJECTIONS

    parts = [_section("The recipe", "", Recipe, ())]
    models = dict(_below("", Recipe))
    parts += [_section(f"`{path}`", path, model, _shared(path, models)) for path, model in models.items()]
    for kind, registry in (("deltas", DELTAS), ("projection", PROJECTIONS)):
        for name, method in registry.items():
            if method.model_fields:
                parts.append(_section(f"`{kind}`: `{name}`", "", method, (), named=name))
    return "\n\n".join(parts)


def keys() -> Iterator[tuple[str, type[BaseModel], str, FieldInfo]]:
    """Every key of a recipe once: its path, the model that has it, its name there, and what is said of it."""
    from deltaspace.study import Recipe

    models = {"": Recipe} | dict(_below("", Recipe))
    for path, model in models.items():
        for name, field in model.model_fields.items():
            if name not in _shared(path, models):
                yield ".".join(part for part in (path, field.alias or name) if part), model, name, field


def put_into(page: str) -> str:
    """The page with the tables between its two marks."""
    return re.sub(
        r"(<!-- recipe -->\n).*(\n<!-- /recipe -->)", lambda marks: marks[1] + recipe_tables() + marks[2], page, flags=re.DOTALL
    )


def _below(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The mappings inside of a model's keys, with their paths, but those that are said of another key."""
    for name, field in model.model_fields.items():
        inner = ".".join(part for part in (path, field.alias or name) if part)
        for below in _models(field.annotation):
            if inner in ("tasks.unseen", "tasks.source.limits"):
                continue
            yield inner, below
            yield from _below(inner, below)


def _shared(path: str, models: dict[str, type[BaseModel]]) -> tuple[str, ...]:
    """The keys of a mapping that another one has too, which says them."""
    other = models.get(_AS_BEFORE[path]) if path in _AS_BEFORE else None
    return tuple(other.model_fields) if other is not None else ()


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _section(title: str, path: str, model: type[BaseModel], shared: tuple[str, ...], named: str = "") -> str:
    rows = [["key", "type", "default", "meaning", "example"], ["---"] * 5]
    for name, field in model.model_fields.items():
        if name in shared:
            continue
        key = field.alias or name
        default = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
        example = EXAMPLES.get(".".join(part for part in (path, key) if part), default) if not named else default
        rows.append(
            [
                f"`{key}`",
                _type(field.annotation),
                "**required**" if field.is_required() else _default(default),
                _sentence(field.description or ""),
                "" if example is None or isinstance(example, BaseModel) else _code(f"{key}: {_yaml(example)}"),
            ]
        )
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    before = f"\n\nAll keys of `{_AS_BEFORE[path]}`, and:" if shared and len(lines) > 2 else ""
    return f"## {title}{before}\n\n" + "\n".join(lines)


def _type(annotation: Any) -> str:
    """A type in the words of a recipe's writer."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in inner if part is not type(None)))
    if origin in (list, tuple):
        of = [part for part in inner if part is not Ellipsis]
        return f"list of: {_type(of[0])}" if of else "list"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "mapping"
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}.get(annotation, "anything")


def _default(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, BaseModel):
        said = {name: part for name, part in value.model_dump(mode="json").items() if part is not None}
        own = {name: said[name] for name in ("steps", "lr") if name in said}
        return _code(_yaml(own)) if own else ("see below" if said else "none")
    return _code(_yaml(value))


def _code(text: str) -> str:
    return f"`{text}`"


def _yaml(value: Any, depth: int = 0) -> str:
    """A value on one line of YAML, as people write it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(part, 1)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_yaml(part, 1) for part in value) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z~][\w./:~-]*", value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _sentence(text: str) -> str:
    # Brackets are text here, no links and no HTML.
    return text.replace("<", "&lt;").replace("[", "\\[")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    write_text(path, put_into(path.read_text(encoding="utf-8")))

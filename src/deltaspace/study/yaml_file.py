"""A YAML file as a pydantic model: every mistake with its line. How YAML itself is read is `yaml_text.py`'s affair."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from deltaspace.errors import DeltaspaceError
from deltaspace.mistakes import mistakes_of
from deltaspace.study.kinds import other_ways, refuse_other, refuse_other_keys
from deltaspace.study.yaml_text import NotYaml, read_yaml

Model = TypeVar("Model", bound=BaseModel)


def load_yaml(path: Path, model: type[Model], what: Literal["recipe", "sweep"], keys: str, mend: str) -> Model:
    """Read a YAML file as a pydantic model.

    Args:
        path: the file.
        model: what it must fit.
        what: how messages call it.
        keys: some of its keys, for the message that there are none.
        mend: for the message about wrong keys.

    Raises:
        DeltaspaceError: as `load_recipe`.
    """
    refuse_other(path, what)
    try:
        node, value = read_yaml(path)
    except NotYaml as error:
        where = f"{what} {path}" + ("" if error.line is None else f", line {error.line}")
        raise DeltaspaceError(
            f"{where}{': ' * (error.line is not None) or ' '}{error}",
            expected=error.expected,
            mend=other_ways(path, what) if error.missing else None,
        ) from None
    if not isinstance(value, dict):
        raise DeltaspaceError(f"{what} {path} is not a mapping", found=type(value).__name__, expected=keys, mend=mend)
    refuse_other_keys(path, value, what, {*model.model_fields})
    try:
        return model.model_validate(value, context={"base": path.parent})
    except ValidationError as error:
        mistakes = mistakes_of(error, lambda where: _at(node, where)[1] == len(where))
        lines = [f"  line {_at(node, mistake.where)[0]}: {mistake}" for mistake in mistakes]
        count = f"{len(lines)} mistake{'s' * (len(lines) > 1)}"
        raise DeltaspaceError(f"{what} {path} has {count}:\n" + "\n".join(lines), mend=mend) from None


def _at(node: yaml.Node, where: tuple[int | str, ...]) -> tuple[int, int]:
    """The line of a place, or of the innermost part of it that there is; and how many parts there are."""
    line = node.start_mark.line
    for depth, part in enumerate(where):
        below = _child(node, part)
        if below is None:
            return line + 1, depth
        node, line = below
    return line + 1, len(where)


def _child(node: Any, part: int | str) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((value, key.start_mark.line) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return (node.value[part], node.value[part].start_mark.line) if part < len(node.value) else None
    if isinstance(node, yaml.SequenceNode):  # of entries such as {lora: {r: 4}}
        return next((below for entry in node.value if (below := _child(entry, part)) is not None), None)
    return None

"""A YAML file as a pydantic model: every mistake with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from deltaspace.errors import DeltaspaceError

Model = TypeVar("Model", bound=BaseModel)


def load_yaml(path: Path, model: type[Model], what: str, keys: str, mend: str) -> Model:
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
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except OSError as error:
        how = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise DeltaspaceError(f"{what} {path} {how}", found=error.strerror, expected="a YAML file") from None
    except (ValueError, yaml.YAMLError) as error:
        raise DeltaspaceError(f"{what} {path} is not YAML", found=" ".join(str(error).split())) from None
    _check_keys(node, f"{what} {path}")
    if not isinstance(value, dict):
        raise DeltaspaceError(f"{what} {path} is not a mapping", found=type(value).__name__, expected=keys)
    try:
        return model.model_validate(value, context={"base": path.parent})
    except ValidationError as error:
        lines = [_explain(node, problem) for problem in error.errors()]
        count = f"{len(lines)} mistake{'s' * (len(lines) > 1)}"
        raise DeltaspaceError(f"{what} {path} has {count}:\n" + "\n".join(lines), mend=mend) from None


def _check_keys(node: yaml.Node | None, where: str) -> None:
    """Refuse a key that stands twice, of which YAML would silently take the last."""
    stack, seen = [node], set()
    while stack:
        if (part := stack.pop()) is None or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, yaml.MappingNode):
            lines: dict[object, int] = {}
            for key, value in part.value:
                line = key.start_mark.line + 1
                if (first := lines.setdefault(key.value, line)) != line and isinstance(key, yaml.ScalarNode):
                    raise DeltaspaceError(
                        f"{where}, line {line}: {key.value} stands twice", found=f"it stands in line {first} too"
                    )
                stack.append(value)
        elif isinstance(part, yaml.SequenceNode):
            stack += part.value


def _explain(node: Any, problem: Any) -> str:
    line, path = node.start_mark.line, [str(part) for part in problem["loc"]]
    for part in problem["loc"]:
        below = _child(node, part)
        if below is None:
            break
        node, line = below
    text = {"extra_forbidden": "unknown key", "missing": "is missing"}.get(
        problem["type"], problem["msg"].removeprefix("Value error, ")
    )
    given = "" if problem["type"] in ("missing", "extra_forbidden", "value_error") else f" (found {problem['input']!r})"
    return f"  line {line + 1}: {'.'.join(path)}: {text}{given}"


def _child(node: yaml.Node, part: int | str) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((value, key.start_mark.line) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part].start_mark.line
    return None

"""A study's recipe as the report shows it: as it is written, without the folders of the machine that made the study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePath

import yaml

from deltaspace.storage import hub_name
from deltaspace.study import Recipe
from deltaspace.study.yaml_text import parse_yaml

# The keys whose values may be paths, wherever they stand.
_PATHS = ("model", "folder", "from")


def shown_recipe(text: str) -> str:
    """A recipe's text; of an absolute path, the last part alone."""
    node, _ = parse_yaml(text)
    for scalar in sorted(_scalars(node), key=lambda scalar: scalar.start_mark.index, reverse=True):
        path = PurePath(scalar.value)
        if path.is_absolute() or path.parts[:1] == ("~",):
            shown = f"…/{path.name}"
            shown = json.dumps(shown, ensure_ascii=False) if scalar.style else shown
            text = text[: scalar.start_mark.index] + shown + text[scalar.end_mark.index :]
    return text


def model_title(recipe: Recipe) -> str:
    """What a title calls the recipe's model: its name on the Hub, or its folder's, without what stands before it."""
    return Path(hub_name(recipe.model)).name


def _scalars(node: yaml.Node, key: str = "") -> Iterator[yaml.ScalarNode]:
    """The values of those keys."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _scalars(value, name.value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _scalars(value, key)
    elif isinstance(node, yaml.ScalarNode) and key in _PATHS:
        yield node

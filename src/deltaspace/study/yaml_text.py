"""YAML as we take it: texts, plain numbers, true and false, lists and mappings of bounded size; nothing that surprises.

Of what YAML 1.1 reads in its own way, octal and sexagesimal numbers and dates are refused: `010` is 8 there, `1:30` is 90.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from deltaspace.mistakes import shown

# Bytes of a file, parts of what it says with all aliases written out, and how deep they may be nested.
_BYTES, _PARTS, _DEPTH = 1_000_000, 100_000, 50
_DIGITS = 40
_TAG = "tag:yaml.org,2002:"
_FORMS = {
    "int": re.compile(r"[-+]?(0|[1-9][0-9]*)"),
    "float": re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    "bool": re.compile("yes|no|true|false|on|off", re.IGNORECASE),
    "null": re.compile("~|null|Null|NULL|"),
}
_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_KNOWN = ("str", "merge", "seq", "map", *_FORMS)


class NotYaml(Exception):
    """A file is not what we take as YAML.

    Args:
        text: what is wrong.
        line: where, from 1.
        expected: what should be there.
        missing: whether nothing is there.
    """

    def __init__(self, text: str, line: int | None = None, expected: str | None = None, missing: bool = False) -> None:
        super().__init__(text)
        self.line = line
        self.expected = expected
        self.missing = missing


def read_yaml(path: Path) -> tuple[yaml.Node, Any]:
    """The nodes of a YAML file, which know their lines, and what they say.

    Raises:
        NotYaml: it is missing, cannot be read, or is not what we take as YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES + 1)
    except (OSError, ValueError) as error:  # the latter for a path that holds a NUL
        missing = isinstance(error, FileNotFoundError)
        how = "is missing" if missing else "cannot be read"
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NotYaml(how, expected=f"a YAML file (found: {reason})", missing=missing) from None
    if len(content) > _BYTES:
        raise NotYaml("is too large", expected=f"at most {_BYTES:,} bytes of YAML")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotYaml(f"is not UTF-8 ({error.reason} at byte {error.start})", expected="a YAML file in UTF-8") from None
    return parse_yaml(text)


def parse_yaml(text: str) -> tuple[yaml.Node, Any]:
    """As `read_yaml`, of a text.

    Raises:
        NotYaml: it is not what we take as YAML.
    """
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that YAML does not take
        raise NotYaml(f"is not YAML: {' '.join(str(error).split())}") from None
    try:
        node = loader.get_single_node()
        if node is None or node.tag == f"{_TAG}null":
            raise NotYaml("is empty", expected="a mapping of keys to values")
        return node, loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise NotYaml(f"is not YAML: {' '.join(reason.split())}" + (f" (line {mark.line + 1})" if mark else "")) from None
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        # Of each finished node, how many parts it says with all aliases written out.
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        alias: Any = self.peek_event()
        line = alias.start_mark.line + 1
        if self._depth >= _DEPTH:
            raise NotYaml(f"nested more than {_DEPTH} deep", line)
        self._depth += 1
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if id(node) not in self._sizes:
            if isinstance(alias, yaml.AliasEvent):
                raise NotYaml(f"the alias *{alias.anchor} is a part of itself", line)
            self._sizes[id(node)] = self._checked(node)
        if self._sizes[id(node)] > _PARTS:
            raise NotYaml(f"more than {_PARTS:,} parts, with aliases written out", line)
        return node

    def _checked(self, node: Any) -> int:
        kind = node.tag.removeprefix(_TAG)
        line = node.start_mark.line + 1
        if node.tag == f"{_TAG}timestamp":
            raise NotYaml(f"{node.value} is a date", line, "a text: write it in quotes")
        if kind not in _KNOWN or isinstance(node, yaml.ScalarNode) is (kind in ("seq", "map")):
            raise NotYaml(f"the tag {node.tag} is not for this file", line, "a value without a tag")
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node, kind, line)
            return 1
        if isinstance(node, yaml.SequenceNode):
            return 1 + sum(self._sizes[id(part)] for part in node.value)
        _check_keys(node)
        return 1 + sum(1 + self._sizes[id(value)] for _, value in node.value)


def _check_scalar(node: yaml.ScalarNode, kind: str, line: int) -> None:
    form = _FORMS.get(kind)
    if form is not None and form.fullmatch(node.value) is None:
        if (node.style is None and node.value[:1].isdigit()) or node.value[:1] in ("+", "-"):
            raise NotYaml(f"{node.value} is no plain number", line, "digits without a leading 0, or a text in quotes")
        raise NotYaml(f"{shown(node.value)} is no !!{kind}", line, "a value without a tag")
    if kind == "int" and len(node.value) > _DIGITS:
        raise NotYaml(f"a number of {len(node.value)} digits", line, f"at most {_DIGITS}")
    # JSON's escapes write a character beyond the first 65,536 as two halves, which YAML leaves as they are.
    node.value = _HALVES.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), node.value)
    if wrong := re.search("[\0\ud800-\udfff]", node.value):
        what = "a NUL" if wrong[0] == "\0" else "half of a character (a surrogate)"
        raise NotYaml(f"a text holds {what}", line, "characters that can be written")


def _check_keys(node: yaml.MappingNode) -> None:
    """Keys are texts, each once; of one that stands twice YAML would silently take the last."""
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            said = f"; {key.value} is read as {key.tag.removeprefix(_TAG)}" if isinstance(key, yaml.ScalarNode) else ""
            raise NotYaml(f"a key is a text{said}", line, "a key in quotes")
        if key.value in lines:
            raise NotYaml(f"{key.value} stands twice", line, f"once (it stands in line {lines[key.value]} too)")
        lines[key.value] = line


# As in YAML 1.2, a float needs no point before its exponent.
_Loader.add_implicit_resolver(f"{_TAG}float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789"))

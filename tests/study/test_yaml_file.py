"""A YAML file as a model: mistakes come with their lines, and nothing is taken twice."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from deltaspace.errors import DeltaspaceError
from deltaspace.study.yaml_file import load_yaml


class Box(BaseModel):
    width: int
    inside: dict[str, int] = {}


def load(path, text):
    path.write_text(text, encoding="utf-8")
    return load_yaml(path, Box, "recipe", "keys such as width", "see a box")


def test_what_fits_is_read(tmp_path):
    assert load(tmp_path / "box.yaml", "width: 2\ninside: {a: 1}\n") == Box(width=2, inside={"a": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width: 2\nwidth: 3\n", "line 2: width stands twice(.|\n)*line 1"),
        ("width: 2\ninside:\n  a: 1\n  a: 2\n", "line 4: a stands twice"),
        ("inside: {a: x}\n", "2 mistakes"),
        ("width: 2\ninside:\n  a: x\n", r"line 3: inside.a: .* \(found 'x'\)"),
        ("- 2\n", "is not a mapping"),
        ("width: [2\n", "is not YAML"),
    ],
)
def test_mistakes_have_their_lines(tmp_path, text, message):
    with pytest.raises(DeltaspaceError, match=message):
        load(tmp_path / "box.yaml", text)


def test_what_is_no_file_is_told_for_what_it_is(tmp_path):
    for path, message in ((tmp_path / "nothing.yaml", "is missing"), (tmp_path, "is not a recipe(.|\n)*an empty folder")):
        with pytest.raises(DeltaspaceError, match=message):
            load_yaml(path, Box, "recipe", "keys such as width", "see a box")

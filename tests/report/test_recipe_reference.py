"""The page of a recipe's keys is what the models say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from deltaspace.report.recipe_reference import EXAMPLES, keys, put_into, recipe_tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
KEYS = list(keys())


def test_the_page_is_what_the_code_says():
    """If this fails: make docs."""
    text = PAGE.read_text(encoding="utf-8")
    assert put_into(text) == text
    assert recipe_tables() in text


def test_every_key_is_there_with_what_it_means():
    text = recipe_tables()
    for path, _, _, field in KEYS:
        assert f"| `{path.split('.')[-1]}` |" in text, path
        assert field.description, path


@pytest.mark.parametrize(
    ("path", "model", "name"), [(path, model, name) for path, model, name, _ in KEYS], ids=[k[0] for k in KEYS]
)
def test_every_example_is_right(path, model, name):
    field = model.model_fields[name]
    if path not in EXAMPLES:
        assert not field.is_required(), "a key without a default needs an example"
        return
    try:
        model.model_validate({field.alias or name: EXAMPLES[path]})
    except ValidationError as error:
        wrong = [problem for problem in error.errors() if problem["loc"][:1] == (field.alias or name,)]
        assert not wrong, wrong


def test_no_example_is_of_a_key_that_is_not_there():
    assert set(EXAMPLES) <= {path for path, *_ in KEYS}

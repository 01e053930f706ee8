"""What was meant is told, where a name is like one that there is."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from deltaspace.cli import app
from deltaspace.mistakes import plainly
from deltaspace.study import Recipe


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"modle": "demo"}, "modle: unknown key; did you mean 'model'?"),
        ({"train": {"step": 3}}, "train.step: unknown key; did you mean 'steps'?"),
        ({"tasks": {"source": [{"from": "a", "lables": ["b", "c"]}], "unseen": ["d"]}}, "did you mean 'labels'?"),
        ({"tasks": {"source": [{"from": "a", "metric": "acuracy"}], "unseen": ["d"]}}, "did you mean 'accuracy'?"),
        ({"deltas": ["adaptor"]}, "did you mean 'adapter'?"),
        ({"deltas": [{"lora": {"rank": 3, "alhpa": 1}}]}, "deltas.lora.alhpa: unknown key; did you mean 'alpha'?"),
        ({"projection": "svdd"}, "did you mean 'svd'?"),
        ({"rivals": ["uni-lora"]}, "did you mean 'unilora'?"),
        ({"landscapes": [{"tsk": "d"}]}, "did you mean 'task'?"),
        ({"xyzzy": 1}, "xyzzy: unknown key"),
    ],
)
def test_what_was_meant_is_told(recipe, told):
    whole = {"model": "demo", "deltas": ["lora"], "tasks": {"source": ["a"], "unseen": ["d"]}, "dim": 1, **recipe}
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(whole)
    said = plainly(caught.value)
    assert told in said
    assert ("did you mean" in said) == ("did you mean" in told)


@pytest.mark.parametrize(("command", "told"), [("shwo STUDY", "Did you mean 'show'?"), ("run recipe.yaml --ouput x", "--out)")])
def test_what_was_meant_on_the_command_line_is_told(command, told):
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 2
    assert told in result.output

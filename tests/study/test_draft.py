"""A first recipe, for models and data as people have them."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from deltaspace.cli import app
from deltaspace.errors import DeltaspaceError
from deltaspace.study import check_recipe, draft_recipe, load_recipe
from tests.tiny import save_tiny, write_task


def table(path, names=("review", "id", "stars"), labels=("1", "5"), size=40):
    """A CSV file whose names of columns tell nothing."""
    rows = [f'"a {"good" if i % 2 else "bad"} film {i} . it was fine",{i},{labels[i % len(labels)]}' for i in range(size)]
    path.write_text("\n".join([",".join(names), *rows]))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "reviews.csv")
    for name in ("one", "two"):
        write_task(tmp_path / "tasks" / name, size=20)
    return tmp_path


@pytest.mark.parametrize("kind", ["bert", "t5", "gpt2", "sentence"])
def test_init_writes_a_recipe_that_check_accepts(place, kind):
    save_tiny(kind, place / "model")
    (place / "recipes").mkdir()
    result = CliRunner().invoke(app, ["init", "model", "tasks", "reviews.csv", "-o", "recipes/mine.yaml"])
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "next: deltaspace run recipes/mine.yaml" in result.output
    recipe = load_recipe(place / "recipes" / "mine.yaml")
    assert (recipe.source_tasks, recipe.unseen_tasks) == (["one", "two"], ["reviews"])
    spec = recipe.tasks.unseen[0]
    assert (spec.columns.input, spec.columns.target) == ("review", "stars")
    text = (place / "recipes" / "mine.yaml").read_text()
    assert "Guessed from the data: review is the text, stars what it is." in text
    # 1 and 5 are no words of this vocabulary.
    assert (spec.labels is not None) == (kind != "sentence")
    if kind != "sentence":
        assert list(spec.labels) == ["1", "5"] and len(set(spec.labels.values())) == 2


def test_what_is_left_out_is_told(place, monkeypatch):
    save_tiny("bert", place / "model")
    from deltaspace import deltas

    real = deltas.attach

    def attach(name, backbone, **settings):
        if name == "prefix":
            raise DeltaspaceError("this model takes no prefix")
        return real(name, backbone, **settings)

    monkeypatch.setattr(deltas, "attach", attach)
    text = draft_recipe("model", ["tasks/one"], ["tasks/two"], place)
    assert "# prefix is left out: this model takes no prefix\ndeltas: [adapter, lora]" in text


def test_max_length_comes_from_the_data_and_the_model(place):
    save_tiny("bert", place / "model")
    (place / "long.jsonl").write_text("\n".join(json.dumps({"text": "good film " * 40, "label": "happy"}) for _ in range(9)))
    with pytest.raises(DeltaspaceError, match="too small"):
        draft_recipe("model", ["tasks/one", "long.jsonl"], [], place)
    rows = [json.dumps({"text": f"good film {i} " * 40, "label": ("happy", "sad")[i % 2]}) for i in range(20)]
    (place / "long.jsonl").write_text("\n".join(rows))
    short = yaml.safe_load(draft_recipe("model", ["tasks"], [], place))
    long = yaml.safe_load(draft_recipe("model", ["tasks", "long.jsonl"], [], str(place)))
    assert short["max_length"] < 48 and long["max_length"] >= 120
    (place / "recipe.yaml").write_text(yaml.safe_dump(long))
    assert len(check_recipe(load_recipe(place / "recipe.yaml"))) == 3


def test_one_task_is_not_enough(place):
    save_tiny("bert", place / "model")
    with pytest.raises(DeltaspaceError, match=r"two tasks at least(.|\n)*found: reviews(.|\n)*demo:tweets"):
        draft_recipe("model", ["reviews.csv"], [], place)


def test_a_recipe_that_is_there_stays(place):
    (place / "recipe.yaml").write_text("mine")
    result = CliRunner().invoke(app, ["init", "model", "tasks"])
    assert isinstance(result.exception, DeltaspaceError) and "a file is there" in str(result.exception)
    assert (place / "recipe.yaml").read_text() == "mine"

"""A first recipe for a model and tasks that somebody has: written after looking at them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaspace.errors import DeltaspaceError
from deltaspace.names import counted
from deltaspace.storage import path_of
from deltaspace.tasks import Columns, Task, TaskSpec, load_task
from deltaspace.tasks.sources.tables import SUFFIXES, Row, read_rows
from deltaspace.tasks.task import SPLITS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from deltaspace.backbone import Backbone

_DELTAS = ("adapter", "lora", "prefix")
# Inputs whose tokens are counted, and the share of them that max_length shall not cut.
_COUNTED, _UNCUT = 1000, 0.99
# Tokens for a prompt around an input; max_length is a multiple of the step.
_ROOM, _STEP, _LONGEST = 16, 16, 512
# From so many source tasks on a joint decomposition has something to decompose; d is so many times their number.
_MANY, _TIMES, _MOST_DIMS, _FEW_DIMS = 4, 4, 100, 4


@dataclass(frozen=True)
class _Looked:
    """A task as it was looked at."""

    task: Task
    spec: TaskSpec
    notes: tuple[str, ...]


def draft_recipe(model: str, sources: Sequence[str], unseen: Sequence[str], folder: Path | str) -> str:
    """The text of a commented recipe for a model and tasks; `check_recipe` has nothing to say against it.

    Args:
        model: as in a recipe.
        sources: source tasks: folders, files, `demo:` or `hub:` names; a folder of folders is all of its tasks.
        unseen: unseen tasks in the same way; where there is none, the last source task becomes one.
        folder: where the recipe will lie, to which its paths are relative.

    Raises:
        DeltaspaceError: there is no such model or task, the model cannot do a task, or there are fewer than two tasks.
    """
    from deltaspace.backbone import load_backbone
    from deltaspace.deltas import attach

    folder = path_of(folder)
    seen, kept = ([_look(origin, folder) for name in names for origin in _expanded(name)] for names in (sources, unseen))
    if not kept:
        seen, kept = seen[:-1], seen[-1:]
    if not seen or not kept:
        raise DeltaspaceError(
            "a recipe has two tasks at least: one that the space is made from, and one to tune in it",
            found=", ".join(looked.task.name for looked in (*seen, *kept)) or "none",
            mend="name another task of yours, or one of the demo's, such as demo:tweets",
        )
    backbone = load_backbone(model, max_length=_LONGEST)
    every = [_for_model(looked, backbone) for looked in (*seen, *kept)]
    deltas, refused = [], []
    for name in _DELTAS:
        try:
            attach(name, backbone)
        except DeltaspaceError as error:
            refused.append(f"# {name} is left out: {error.what}")
        else:
            deltas.append(name)
    count = len(seen)
    dim = min(_MOST_DIMS, _TIMES * count) if count >= _MANY else _FEW_DIMS
    lines = [
        "# A first recipe, made by `deltaspace init`: read it, `deltaspace check` it, then `deltaspace run` it.",
        "# Every key, with what it means: docs/recipes.md.",
        f"model: {_yaml(model)}",
        f"# How this model reads a task: {backbone.family.name.replace('_', ' ')}.",
        f"family: {backbone.family.name}",
        f"# Tokens to which inputs are cut: {_UNCUT:.0%} of yours are shorter.",
        f"max_length: {_length(backbone, every)}",
        "# Ways of tuning that share the space; docs/methods.md has more.",
        *refused,
        f"deltas: [{', '.join(deltas)}]",
        "tasks:",
        "  # The space is made from these …",
        "  source:",
        *[line for looked in every[:count] for line in _entry(looked)],
        "  # … and these are tuned inside of it.",
        "  unseen:",
        *[line for looked in every[count:] for line in _entry(looked)],
        "# Numbers of a task in the space.",
        f"dim: {dim}",
        "# svd: a joint decomposition of many source tasks; dense: trained, as in the paper, for few.",
        f"projection: {'svd' if count >= _MANY else 'dense'}",
        "# Three seeds ([0, 1, 2]) tell what is chance.",
        "seed: 0",
        "# Most examples of each split.",
        "limits: {train: 4000, dev: 300, test: 1000}",
    ]
    return "\n".join(lines) + "\n"


def _expanded(name: str) -> list[str]:
    """A folder of task folders as all of them; anything else as it is."""
    folder = path_of(name)
    if ":" in name.split("/")[0] or not folder.is_dir() or _is_task(folder):
        return [name]
    below = sorted(str(path) for path in folder.iterdir() if path.is_dir() and _is_task(path))
    return below or [name]


def _is_task(folder: Path) -> bool:
    return any((folder / f"{SPLITS[0]}{suffix}").exists() for suffix in SUFFIXES)


def _look(origin: str, folder: Path) -> _Looked:
    """A task, with the columns that it seems to have."""
    if ":" in origin.split("/")[0]:
        spec = _spec({"from": origin})
        return _Looked(load_task(spec), spec, ())
    path = path_of(origin)
    columns, notes = _columns(path)
    said: dict[str, Any] = {"from": os.path.relpath(path.resolve(), folder.resolve())}
    if columns is not None:
        said["columns"] = columns.model_dump(exclude_none=True, exclude_defaults=True)
    spec = _spec(said)
    return _Looked(load_task(spec, folder=folder), spec, notes)


def _spec(said: dict[str, Any]) -> TaskSpec:
    return TaskSpec.model_validate(said)


def _columns(path: Path) -> tuple[Columns | None, tuple[str, ...]]:
    """Columns of a file whose names tell nothing: the longest texts are inputs, the column of fewest different values targets."""
    file = (
        path
        if path.is_file()
        else next((path / f"{SPLITS[0]}{s}" for s in SUFFIXES if (path / f"{SPLITS[0]}{s}").exists()), None)
    )
    rows: list[Row] = read_rows(file)[:_COUNTED] if file is not None and file.suffix in SUFFIXES else []
    names = [name for name in (rows[0].fields if rows else {}) if all(isinstance(row.fields.get(name), str) for row in rows)]
    if not rows or ({"input", "text"} & set(rows[0].fields) and {"target", "label"} & set(rows[0].fields)):
        return None, ()
    if len(rows[0].fields) < 2:
        return None, ()
    texts = {name: sum(len(row.fields[name]) for row in rows) for name in names}
    if not texts:
        return None, ()
    longest = next((name for name in ("input", "text") if name in texts), max(texts, key=lambda name: texts[name]))
    others = [name for name in rows[0].fields if name != longest]
    kinds = {name: len({json.dumps(row.fields.get(name)) for row in rows}) for name in others}
    # A column that says the same everywhere is no target.
    fewest = min(kinds, key=lambda name: (kinds[name] < 2, kinds[name]))
    return Columns(input=longest, target=fewest), (f"# Guessed from the data: {longest} is the text, {fewest} what it is.",)


def _for_model(looked: _Looked, backbone: Backbone) -> _Looked:
    """The task, with other label words where the model cannot say the labels themselves.

    Raises:
        DeltaspaceError: the model cannot do the task whatever the words.
    """
    task = looked.task
    try:
        _read(task, backbone)
    except DeltaspaceError:
        if task.kind != "classification":
            raise
    else:
        return looked
    words: dict[str, str] = {}
    for label in task.labels:
        words[label] = _word(label, backbone.tokenizer, set(words.values()))
    _read(replace(task, labels=words), backbone)
    note = "# This model cannot say all of the labels. Better words for them make better scores."
    return _Looked(task, looked.spec.model_copy(update={"labels": words}), (*looked.notes, note))


def _read(task: Task, backbone: Backbone) -> None:
    """Raise DeltaspaceError where the model cannot do a task, or cannot say its labels."""
    backbone.family.check(task)
    backbone.family.encode(task, task.train[:1])


def _word(label: str, tokenizer: PreTrainedTokenizerBase, taken: set[str]) -> str:
    """A word of one token for a label: the label itself, one of its words, else the first word of the vocabulary that is free."""
    alphabet = [token for token in sorted(tokenizer.get_vocab(), key=len) if token.isalpha() and token.isascii()]
    for word in (label, label.lower(), *re.findall(r"[A-Za-z]+", label), *re.findall(r"[a-z]+", label.lower()), *alphabet):
        for text in (" " + word, word):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if word not in taken and len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
                return word
    raise DeltaspaceError(f"no word of one token for the label {label!r}", mend="give label words under 'labels' in the recipe")


def _length(backbone: Backbone, every: Sequence[_Looked]) -> int:
    """Tokens of nearly all inputs, with room for a prompt, within the model's positions."""
    lengths = []
    for looked in every:
        texts = [example.input for example in looked.task.train[:_COUNTED]]
        lengths += [len(ids) for ids in backbone.tokenizer(texts, add_special_tokens=True)["input_ids"]]
    lengths.sort()
    wanted = lengths[min(len(lengths) - 1, int(len(lengths) * _UNCUT))] + _ROOM
    rounded = -(-wanted // _STEP) * _STEP
    positions = getattr(backbone.model.config, "max_position_embeddings", None)
    # RoBERTa's positions begin behind that of its padding.
    return min([rounded, _LONGEST, *([positions - 2] if isinstance(positions, int) and positions > 2 else [])])


def _entry(looked: _Looked) -> list[str]:
    spec, task = looked.spec, looked.task
    sizes = f"{len(task.train)} train, {len(task.dev)} dev, {len(task.test)} test"
    labels = f", {counted(len(task.labels), 'label')}" if task.labels else ""
    lines = [
        f"    # {task.name}: {task.kind}{labels}; {sizes}; judged by {task.metric}",
        *[f"    {note}" for note in looked.notes],
    ]
    said = spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    columns = spec.columns.model_dump(exclude_none=True, exclude_defaults=True)
    first, *rest = [
        f"from: {_yaml(said['from'])}",
        *([f"columns: {_yaml(columns)}"] if columns else []),
        *([f"labels: {_yaml(spec.labels)}"] if spec.labels is not None else []),
    ]
    return [*lines, f"    - {first}", *[f"      {line}" for line in rest]]


def _yaml(value: Any) -> str:
    """A value on one line of YAML: JSON is YAML, and plain words need no quotes."""
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", value)
    return (
        str(value)
        if plain and str(value).lower() not in ("true", "false", "yes", "no", "on", "off", "null")
        else json.dumps(value, ensure_ascii=False)
    )

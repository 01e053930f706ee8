"""What a conversion is tuned on, as people name it: a file of texts, a file of examples, or a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deltaspace.checkpoints.conversion import Conversion, shuffled
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import parse_json, path_of
from deltaspace.tasks import Task, load_task, make_task, read_inputs
from deltaspace.tasks.inputs import read_lines
from deltaspace.tasks.sources.folder import read_examples
from deltaspace.tasks.spec import Columns
from deltaspace.tasks.task import infer_kind


def conversion_inputs(name: str, settings: Conversion, *, prompt: str | None = None, seed: int = 0) -> Sequence[str] | Task:
    """Texts, or a task where there are targets, by which both deltas can be scored.

    Args:
        name: a file with a text a line; a `.jsonl` file with `input`, and perhaps `target`, in every line, of which some lines
            are held out; or a task as recipes name it: its folder or CSV file, demo:NAME or hub:NAME.
        settings: how many inputs are held out.
        prompt: how inputs are put to the model.
        seed: decides which.

    Raises:
        DeltaspaceError: there is no such file or task, or it is not what it should be.
    """
    path = path_of(name)
    if not path.is_file() or path.suffix.lower() in (".csv", ".tsv"):
        if not path.exists() and path.suffix in (".txt", ".jsonl"):
            raise DeltaspaceError(f"{name} is missing", expected="a file of texts, one a line, or JSON Lines with 'input'")
        task = load_task(name)
        return task if prompt is None else replace(task, prompt=prompt)
    if path.suffix != ".jsonl" or not _has_targets(name):
        return read_inputs(path)
    examples = shuffled(read_examples(path, Columns()), None, seed, "examples")
    count = min(settings.held_out, len(examples) // 2)
    if count < 1:
        raise DeltaspaceError("conversion needs at least two inputs", found=f"{len(examples)} in {name}")
    splits = {"train": examples[count:], "dev": examples[:count], "test": examples[:count]}
    return make_task("inputs", splits, source=name, kind=infer_kind(examples), prompt=prompt)


def _has_targets(name: str) -> bool:
    """Whether the first line of a file of JSON Lines has a target: then all must."""
    path = path_of(name)
    lines = read_lines(path, "a file of JSON Lines")
    try:
        first = parse_json(lines[0][1]) if lines else None
    except ValueError:
        return False  # told by who reads all lines
    return isinstance(first, dict) and "target" in first

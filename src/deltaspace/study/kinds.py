"""What a path holds that was given for something else, in words, and how to go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from deltaspace.errors import DeltaspaceError
from deltaspace.names import counted
from deltaspace.study.files import RECIPE, RUNS, SWEEP
from deltaspace.study.lock import LOCK

Wanted = Literal["recipe", "sweep", "study"]

_EXPECTED: dict[Wanted, str] = {
    "recipe": "a recipe: a YAML file with keys such as model, deltas, tasks, dim",
    "sweep": "a sweep: a YAML file with the keys recipe and grids",
    "study": "the folder given to 'deltaspace run --out'",
}
# How to come by what is wanted, whatever was given.
_WAYS: dict[Wanted, str] = {
    "recipe": "'deltaspace init MODEL TASKS...' writes one",
    "sweep": "docs/sweeps.md shows one",
    "study": "'deltaspace run RECIPE --out STUDY' makes one",
}
_TASKS = ("train.jsonl", "train.csv", "train.tsv")
_PEFT = "adapter_config.json"
_EXAMPLES = {".csv": "a CSV file", ".tsv": "a TSV file", ".jsonl": "a JSON Lines file"}
_SHOWN = 4
# An artefact lies so deep in its study, at most.
_DEEP = 5


def refuse_other(path: Path, wanted: Wanted) -> None:
    """Raise DeltaspaceError where a path holds something that is known and is not what is wanted."""
    try:
        known = _folder(path, wanted) if path.is_dir() else _file(path, wanted) if path.is_file() else None
    except OSError:  # what reads the path says what is wrong with it
        return
    if known is not None:
        raise _error(path, wanted, *known)


def refuse_other_keys(path: Path, said: Mapping[Any, Any], wanted: Wanted, keys: set[str]) -> None:
    """Raise DeltaspaceError where a file's mapping has no key of those that are wanted, as of a file of another kind."""
    if said and not keys & {*said}:
        raise _error(path, wanted, *_mapping(path, said, wanted))


def other_ways(path: Path, wanted: Wanted) -> str:
    """What to do where nothing is at a path."""
    return "standard input is not read: write it to a file" if str(path) == "-" else f"correct the path; {_WAYS[wanted]}"


def _error(path: Path, wanted: Wanted, found: str, mend: str | None) -> DeltaspaceError:
    return DeltaspaceError(f"{path} is not a {wanted}", found=found, expected=_EXPECTED[wanted], mend=mend or _WAYS[wanted])


def _folder(path: Path, wanted: Wanted) -> tuple[str, str | None]:
    """What a folder is, and how to go on with it, if there is a way of its own."""
    below = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    names = {entry.name for entry in below}
    of_study = _study_around(path)
    if SWEEP in names:
        return "a sweep's folder", None if wanted == "study" else "name the file that the sweep was run from"
    if RECIPE in names:
        recipe = path / RECIPE
        what = "a study's folder" if _is_study(path) else "a folder with a recipe"
        return what, f"write a sweep that names its recipe: recipe: {recipe}" if wanted == "sweep" else f"its recipe is {recipe}"
    if "subspace.json" in names:
        return "an exported subspace", "'deltaspace info', 'export' and 'convert' take it" if wanted == "study" else None
    if _PEFT in names:
        return "a checkpoint of peft", _importing(path)
    if checkpoints := [entry for entry in below if (entry / _PEFT).is_file()]:
        return f"a folder of {counted(len(checkpoints), 'checkpoint')} of peft", _importing(path / "*")
    if names & {*_TASKS}:
        return "a task's folder", _drafting("MODEL", path, wanted)
    if tasks := [entry for entry in below if any((entry / name).is_file() for name in _TASKS)]:
        return f"a folder of {counted(len(tasks), 'task')}", _drafting("MODEL", path, wanted)
    if "config.json" in names:
        return "a model's folder", _drafting(path, "TASKS...", wanted)
    if of_study is not None:
        return f"a folder of the study {of_study}", _of_study(of_study, wanted)
    listed = ", ".join(entry.name for entry in below[:_SHOWN]) + (" …" if len(below) > _SHOWN else "")
    return (f"a folder that holds {listed}" if below else "an empty folder"), None


def _is_study(folder: Path) -> bool:
    """Whether a folder is a study's that was run, and no other in which a recipe lies."""
    return (folder / RECIPE).is_file() and ((folder / RUNS).exists() or (folder / LOCK).exists())


def _study_around(path: Path) -> Path | None:
    """The study in whose folder something lies, by the nearest folders around it."""
    return next((parent for parent in path.absolute().parents[:_DEEP] if _is_study(parent)), None)


def _file(path: Path, wanted: Wanted) -> tuple[str, str | None] | None:
    """The same of a file; None where it may be what is wanted."""
    from deltaspace.gguf_header import MAGIC

    suffix = path.suffix.lower()
    with path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            return "a GGUF file, of a model", _drafting(path, "TASKS...", wanted)
    if suffix == ".safetensors":
        of_study = _study_around(path)
        found = "a safetensors file" + ("" if of_study is None else f" of the study {of_study}")
        return found, None if of_study is None else _of_study(of_study, wanted)
    if suffix in _EXAMPLES:
        return f"{_EXAMPLES[suffix]}, of examples", _drafting("MODEL", path, wanted)
    if wanted != "study":
        return None
    if path.name == RECIPE and any(
        entry.is_dir() and entry.name in ("subspace", "independent") for entry in path.parent.iterdir()
    ):
        return "the recipe in a study", f"name the study's folder: {path.parent}"
    if suffix in (".yaml", ".yml"):
        return "a YAML file", f"if it is a recipe, 'deltaspace run {path} --out STUDY' makes a study; name that folder"
    return "a file", None


def _mapping(path: Path, said: Mapping[Any, Any], wanted: Wanted) -> tuple[str, str | None]:
    keys = ", ".join(map(str, [*said][:_SHOWN])) + (" …" if len(said) > _SHOWN else "")
    if {"recipe", "grids"} & {*said}:
        return "a sweep", f"'deltaspace sweep {path} --out SWEEP' runs it; 'deltaspace run' and 'tasks' take the recipe it names"
    if {"model", "deltas"} & {*said}:
        return "a recipe", f"'deltaspace run {path} --out STUDY' runs it; a sweep names it: recipe: {path.name}"
    if all(isinstance(entry, str) or (isinstance(entry, dict) and {*entry} <= {"folder", "task"}) for entry in said.values()):
        return f"a manifest of checkpoints, or another mapping of names ({keys})", _importing(path)
    return f"the keys {keys}", None


def _importing(path: Path) -> str:
    return f"'deltaspace import STUDY {path} --recipe RECIPE' takes it into a study"


def _drafting(model: Path | str, tasks: Path | str, wanted: Wanted) -> str | None:
    """How a recipe is made from a model or from tasks, and a study from that."""
    draft = f"'deltaspace init {model} {tasks} -o recipe.yaml' writes a recipe for it"
    return {"recipe": draft, "study": f"{draft}, {_WAYS['study'].replace('RECIPE', 'recipe.yaml')}", "sweep": None}[wanted]


def _of_study(study: Path, wanted: Wanted) -> str | None:
    return {"recipe": f"its recipe is {study / RECIPE}", "study": f"name the study's folder: {study}", "sweep": None}[wanted]

"""A recipe: everything that decides what a study computes, as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from deltaspace.deltas import Delta, make_delta, peft_settings
from deltaspace.errors import DeltaspaceError
from deltaspace.names import check_name
from deltaspace.rivals import RIVALS
from deltaspace.solutions import TRAIN
from deltaspace.study.slices import SettledSlice, SliceSpec, vector_of
from deltaspace.subspace import APPROXIMATE, OPTIMIZE, PROJECTIONS, Approximation, Optimization, ProjectionMethod
from deltaspace.tasks import Limits, TaskSpec
from deltaspace.training import Training

Model = TypeVar("Model", bound=BaseModel)


class Tasks(BaseModel):
    """Source tasks make the subspace, unseen tasks judge it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str | None = Field(
        default=None,
        validate_default=True,
        description="where folders of tasks lie; relative to the recipe's folder, the default",
    )
    source: tuple[TaskSpec, ...] = Field(min_length=1)
    unseen: tuple[TaskSpec, ...] = Field(min_length=1)
    shots: int | None = Field(
        default=None,
        ge=1,
        description="few-shot: unseen tasks keep so many train and as many dev examples, labels in equal parts",
    )

    @field_validator("folder")
    @classmethod
    def _absolute(cls, value: str | None, info: ValidationInfo) -> str | None:
        # A recipe's file says where it is; a recipe made in Python is relative to the current folder.
        base = (info.context or {}).get("base")
        return value if base is None else str((base / Path(value or "").expanduser()).resolve())

    @model_validator(mode="after")
    def _different_names(self) -> Tasks:
        names = [check_name("a task", spec.task_name) for spec in (*self.source, *self.unseen)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two tasks are called {twice[0]!r}; give one of them another 'name'")
        return self


def known_projection(value: Any) -> dict[str, Any]:
    """A kind of projections as a recipe writes it, a name or {name: settings}, with all its settings.

    Raises:
        ValueError: there is no such kind or setting.
    """
    if isinstance(value, str):
        value = {value: {}}
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("name one projection, with its settings if need be")
    [(name, settings)] = value.items()
    if name not in PROJECTIONS:
        raise ValueError(f"no projection {name!r}; there are {', '.join(PROJECTIONS)}")
    return {name: PROJECTIONS[name](**(settings or {})).model_dump()}


def _named(entry: Any) -> tuple[str, dict[str, Any]]:
    """Name and settings of an entry in a recipe's list of deltas: `lora`, `{lora: {r: 4}}`, or `{peft: IA3, name: ia3}`."""
    if isinstance(entry, str):
        return entry, {}
    if not isinstance(entry, dict) or not entry:
        raise ValueError(f"a delta is a name, or a name with its settings; not {entry!r}")
    if isinstance(entry.get("peft"), str):
        rest = {key: value for key, value in entry.items() if key != "name"}
        return str(entry.get("name") or Path(entry["peft"]).name.lower()), rest
    [(name, settings)] = list(entry.items())[:1]
    if len(entry) > 1:
        raise ValueError(
            f"the delta {name!r} and {', '.join(list(entry)[1:])} are one entry; indent the settings, or divide them"
        )
    return str(name), settings or {}


def _known_delta(name: str, settings: dict[str, Any], base: Path) -> dict[str, Any]:
    """All settings of a delta.

    Raises:
        ValueError: there is no such delta or setting.
    """
    check_name("a delta", name)
    given = dict(settings)
    if "peft" in given and (base / str(given["peft"])).is_dir():
        rest = {key: value for key, value in given.items() if key != "peft"}
        given = {**peft_settings(base / str(given["peft"])), **rest}
    made = make_delta(name, given).model_dump()
    return {"method": given["method"], **made} if "method" in given else made


class Recipe(BaseModel):
    """A study: a PLM, deltas, tasks, d, seeds, and how each stage trains."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="demo, a folder, or a name on the Hugging Face Hub")
    family: str | None = Field(default=None, description="the model's family, where its configuration does not tell")
    max_length: int = Field(default=128, ge=8, description="tokens to which inputs are cut")
    deltas: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="delta tuning methods with their settings; 'method' or 'peft' says which it is, where the name does not",
    )
    tasks: Tasks
    dim: tuple[int, ...] = Field(min_length=1, description="d, or several")
    seed: tuple[int, ...] = Field(default=(0,), min_length=1, description="a seed, or several")
    limits: Limits = Limits()
    train: Training = TRAIN
    projection: dict[str, Any] = Field(
        # Not worked out before a recipe is made: other packages' methods are looked for, and these may import this module.
        default_factory=lambda: known_projection("svd"),
        description="projection method, with its settings",
    )
    approximate: Approximation = APPROXIMATE
    optimize: Optimization = OPTIMIZE
    rivals: tuple[str, ...] = Field(default=(), description="other ways of tuning few numbers, trained beside the subspace")
    landscapes: tuple[SliceSpec, ...] = Field(default=(), description="slices of the subspace on which every delta is scored")

    @field_validator("deltas", mode="before")
    @classmethod
    def _deltas(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        deltas: dict[str, Any] = {}
        for entry in value:
            name, settings = _named(entry)
            if name in deltas:
                raise ValueError(f"the delta {name!r} stands twice")
            deltas[name] = settings or {}
        return deltas

    @field_validator("deltas")
    @classmethod
    def _known(cls, value: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        base = (info.context or {}).get("base", Path())
        return {name: _known_delta(name, settings, base) for name, settings in value.items()}

    @field_validator("projection", mode="before")
    @classmethod
    def _known_projection(cls, value: Any) -> Any:
        return known_projection(value)

    @field_validator("rivals")
    @classmethod
    def _known_rivals(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in RIVALS:
                raise ValueError(f"no rival {name!r}; there are {', '.join(RIVALS)}")
        return tuple(dict.fromkeys(value))

    @field_validator("dim", "seed", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @field_validator("dim")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError("d is at least 1")
        return value

    @field_validator("train", "approximate", "optimize", mode="before")
    @classmethod
    def _over_defaults(cls, value: Any, info: Any) -> Any:
        default = {"train": TRAIN, "approximate": APPROXIMATE, "optimize": OPTIMIZE}[info.field_name]
        return {**default.model_dump(), **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _known_landscapes(self) -> Recipe:
        try:
            names = [self.settle(spec).name for spec in self.landscapes]
        except DeltaspaceError as error:
            raise ValueError("landscapes: " + "; ".join(str(error).splitlines())) from None
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two landscapes are called {twice[0]!r}; give one of them another 'name'")
        return self

    @property
    def source_tasks(self) -> list[str]:
        """Names of the source tasks."""
        return [spec.task_name for spec in self.tasks.source]

    @property
    def unseen_tasks(self) -> list[str]:
        """Names of the unseen tasks."""
        return [spec.task_name for spec in self.tasks.unseen]

    @property
    def all_tasks(self) -> list[str]:
        """Names of the source tasks, then of the unseen ones."""
        return [*self.source_tasks, *self.unseen_tasks]

    def vector_of(self, point: str, task: str) -> tuple[str, str] | None:
        """See `deltaspace.study.slices.vector_of`."""
        return vector_of(point, task, list(self.deltas), self.source_tasks, self.unseen_tasks)

    def settle(self, spec: SliceSpec) -> SettledSlice:
        """A slice of this study with everything decided that was left to the recipe.

        Raises:
            DeltaspaceError: it names a task, a point, d or seed that the recipe does not have.
        """
        if spec.task not in self.all_tasks:
            raise DeltaspaceError(f"no task {spec.task!r}", expected=", ".join([*self.unseen_tasks, *self.source_tasks]))
        settled = spec.settled(list(self.deltas), self.dim, self.seed)
        for point in settled.named:
            vector = self.vector_of(point, spec.task)
            if vector is not None and vector[0] not in self.unseen_tasks:
                raise DeltaspaceError(
                    f"{vector[0]} is a source task: no delta's vector is tuned for it",
                    mend=f"take its code as a point: {vector[0]}, or an unseen task",
                )
        return settled

    def delta(self, name: str) -> Delta:
        """The settings of one delta."""
        return make_delta(name, self.deltas[name])

    def projection_method(self) -> ProjectionMethod:
        """The projection method, with its settings."""
        [(name, settings)] = self.projection.items()
        return PROJECTIONS[name](**settings)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        DeltaspaceError: the file is missing or not YAML, or keys are unknown, missing or wrong: all of them, with their lines.
    """
    hint = "'deltaspace check --full' on a smaller recipe shows every key with its default"
    return load_yaml(path, Recipe, "recipe", "keys such as model, deltas, tasks, dim", hint)


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
    except (FileNotFoundError, IsADirectoryError):
        raise DeltaspaceError(f"{what} {path} is missing", expected="a YAML file") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise DeltaspaceError(f"{what} {path} is not YAML", found=" ".join(str(error).split())) from None
    if not isinstance(value, dict):
        raise DeltaspaceError(f"{what} {path} is not a mapping", found=type(value).__name__, expected=keys)
    try:
        return model.model_validate(value, context={"base": path.parent})
    except ValidationError as error:
        lines = [_explain(node, problem) for problem in error.errors()]
        count = f"{len(lines)} mistake{'s' * (len(lines) > 1)}"
        raise DeltaspaceError(f"{what} {path} has {count}:\n" + "\n".join(lines), mend=mend) from None


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

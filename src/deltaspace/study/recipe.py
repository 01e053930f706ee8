"""A recipe: everything that decides what a study computes, as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from deltaspace.deltas import Delta, config_settings, is_config, make_delta, native_lora, peft_settings
from deltaspace.errors import DeltaspaceError
from deltaspace.families import PLAIN, Prompting
from deltaspace.mistakes import Mistake, mistakes_of, refuse, shown
from deltaspace.names import check_name, did_you_mean
from deltaspace.rivals import RIVALS
from deltaspace.settings import Settings
from deltaspace.solutions import TRAIN
from deltaspace.storage import path_of, resolved
from deltaspace.study.numbers import Dims, Seeds
from deltaspace.study.slices import POINTS, SettledSlice, SliceSpec, principal_number, vector_of
from deltaspace.study.yaml_file import load_yaml
from deltaspace.subspace import (
    APPROXIMATE,
    OPTIMIZE,
    PROJECTIONS,
    TRANSLATE,
    Approximation,
    Optimization,
    ProjectionMethod,
    Translation,
)
from deltaspace.subspace.agreement import Probing
from deltaspace.tasks import Limits, TaskSpec
from deltaspace.tasks.sources import source_of
from deltaspace.training import Training


def _path(text: str) -> Path:
    """See `path_of`; for validators."""
    try:
        return path_of(text)
    except DeltaspaceError as error:
        raise ValueError("; ".join(str(error).splitlines())) from None


class Tasks(Settings):
    """Source tasks make the subspace, unseen tasks judge it."""

    folder: str | None = Field(
        default=None,
        validate_default=True,
        description="where folders of tasks lie; relative to the recipe's folder, the default",
    )
    source: tuple[TaskSpec, ...] = Field(min_length=1, description="the tasks that the subspace is made from")
    unseen: tuple[TaskSpec, ...] = Field(min_length=1, description="the tasks that are tuned inside the subspace, and judge it")
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
        return value if base is None else str(resolved(base / _path(value or "")))

    @field_validator("source", "unseen")
    @classmethod
    def _of_sources(cls, value: tuple[TaskSpec, ...]) -> tuple[TaskSpec, ...]:
        wrong = []
        for index, spec in enumerate(value):
            try:
                source_of(spec.origin)
            except ValueError as error:
                wrong.append(Mistake((index,), str(error)))
        if wrong:
            raise refuse(wrong)
        return value

    @model_validator(mode="after")
    def _different_names(self) -> Tasks:
        names = [spec.task_name for spec in (*self.source, *self.unseen)]
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
        raise ValueError(f"name one projection, with its settings if need be; not {shown(value)}")
    [(name, settings)] = value.items()
    if name not in PROJECTIONS:
        raise ValueError(f"no projection {name!r}; there are {', '.join(PROJECTIONS)}{did_you_mean(name, PROJECTIONS)}")
    settings = _mapping(name, settings)
    try:
        return {name: PROJECTIONS[name].model_validate(settings).model_dump()}
    except ValidationError as error:
        raise refuse([Mistake((name, *where), what) for where, what in mistakes_of(error)]) from None


def _mapping(name: object, settings: Any) -> dict[str, Any]:
    """The settings of something, if they are a mapping; none is one of nothing."""
    if settings is not None and not isinstance(settings, dict):
        raise ValueError(f"the settings of {name} are a mapping, such as {{key: value}}; not {shown(settings)}")
    return settings or {}


def _named(entry: Any) -> tuple[str, dict[str, Any]]:
    """Name and settings of an entry in a recipe's list of deltas: `lora`, `{lora: {r: 4}}`, or `{peft: IA3, name: ia3}`."""
    if isinstance(entry, str):
        return entry, {}
    if is_config(entry):
        settings = _configured(entry)
        return settings["peft"].lower(), settings
    if not isinstance(entry, dict) or not entry:
        raise ValueError(f"a delta is a name, or a name with its settings; not {shown(entry)}")
    if isinstance(entry.get("peft"), str):
        rest = {key: value for key, value in entry.items() if key != "name"}
        return str(entry.get("name") or Path(entry["peft"]).name.lower()), rest
    [(name, settings)] = list(entry.items())[:1]
    if len(entry) > 1:
        raise ValueError(
            f"the delta {name!r} and {', '.join(list(entry)[1:])} are one entry; indent the settings, or divide them"
        )
    return str(name), _mapping(name, settings)


def _configured(config: Any) -> dict[str, Any]:
    """`config_settings`, as a validator."""
    try:
        return config_settings(config)
    except DeltaspaceError as error:
        raise ValueError(f"{error.what} ({error.found}): {error.mend}") from None


def _known_delta(name: str, settings: dict[str, Any], base: Path) -> dict[str, Any]:
    """All settings of a delta.

    Raises:
        ValueError: there is no such delta or setting.
    """
    check_name("a delta", name)
    given = dict(settings)
    if not isinstance(method := given.get("method", ""), str):
        raise ValueError(f"no delta {shown(method)}; a method is a text")
    if isinstance(given.get("peft"), str) and (base / _path(given["peft"])).is_dir():
        folder, rest = base / given["peft"], {key: value for key, value in given.items() if key != "peft"}
        said = peft_settings(folder)
        native = None if rest else native_lora(folder, said["peft"], said["settings"])
        given = {**said, **rest} if native is None else {"method": "lora", **native}
    made = make_delta(name, given).model_dump()
    return {"method": given["method"], **made} if "method" in given else made


def _mistakes_in(name: str, settings: Any, base: Path, where: tuple[str | int, ...]) -> list[Mistake]:
    """What is wrong with a delta, at a place in the recipe's deltas."""
    try:
        _known_delta(name, _mapping(name, settings), base)
    except ValidationError as error:
        return [Mistake((*where, *below), what) for below, what in mistakes_of(error)]
    except ValueError as error:
        return [Mistake(where, str(error))]
    return []


def delta_of(entry: Any) -> tuple[str, Delta]:
    """A delta as an entry of a recipe's list of deltas says it, with its name.

    Raises:
        ValueError: there is no such delta or setting.
    """
    name, settings = _named(entry)
    return name, make_delta(name, _known_delta(name, settings, Path()))


class Recipe(Settings):
    """A study: a PLM, deltas, tasks, d, seeds, and how each stage trains."""

    model: str = Field(description="demo, demo-lm, a folder, a GGUF file, or a name on the Hugging Face Hub")
    family: str | None = Field(default=None, description="the model's family, where its configuration does not tell")
    max_length: int = Field(default=128, ge=8, description="tokens to which inputs are cut")
    prompt: Prompting = Field(default=PLAIN, description="how inputs are put to a decoder: plain, chat, or settings")
    deltas: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="delta tuning methods with their settings; 'method' or 'peft' says which it is, where the name does not",
    )
    tasks: Tasks = Field(description="source tasks and unseen tasks, each a text that says where it is from, or a mapping")
    dim: Dims = Field(min_length=1, description="d, or several")
    seed: Seeds = Field(default=(0,), min_length=1, description="a seed, or several")
    limits: Limits = Field(default=Limits(), description="most examples of each split of every task")
    train: Training = Field(default=TRAIN, description="how independent solutions are trained (stage 0)")
    projection: dict[str, Any] = Field(
        # Not worked out before a recipe is made: other packages' methods are looked for, and these may import this module.
        default_factory=lambda: known_projection("svd"),
        description="projection method, with its settings",
    )
    approximate: Approximation = Field(default=APPROXIMATE, description="how projections are trained, where they are (stage 1)")
    optimize: Optimization = Field(default=OPTIMIZE, description="how the d numbers of an unseen task are tuned (stage 2)")
    disagreement: Probing | None = Field(
        default=Probing(), description="where the deltas' functions are compared before anything is tuned; false: nowhere"
    )
    controls: bool = Field(
        default=True, description="score the mean code, and of every transferred vector the part in the source codes' span, too"
    )
    translate: Translation | None = Field(
        default=None, description="tune transferred vectors without labels: true, or its settings; not by default"
    )
    rivals: tuple[str, ...] = Field(default=(), description="other ways of tuning few numbers, trained beside the subspace")
    reconstruction: bool | None = Field(
        default=None,
        description="measure what the space keeps of each source solution: true, false; by default of those that were imported",
    )
    landscapes: tuple[SliceSpec, ...] = Field(default=(), description="slices of the subspace on which every delta is scored")

    @field_validator("deltas", mode="before")
    @classmethod
    def _deltas(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list):
            if not isinstance(value, dict):
                raise ValueError(f"should be a mapping or a list (found {shown(value)})")
            return {name: _configured(said) if is_config(said) else said or {} for name, said in value.items()}
        deltas: dict[str, Any] = {}
        mistakes: list[Mistake] = []
        for position, entry in enumerate(value):
            try:
                name, settings = _named(entry)
            except ValueError as error:
                mistakes.append(Mistake((position,), str(error)))
                continue
            if name in deltas:
                # What is wrong with its settings is told as well: the first one's are those that are kept.
                mistakes.append(
                    Mistake(
                        (position,),
                        f"the delta {name!r} stands twice; give one of them another name: {{NAME: {{method: {name}}}}}",
                    )
                )
                mistakes += _mistakes_in(name, settings, (info.context or {}).get("base", Path()), (position,))
            else:
                deltas[name] = settings or {}
        if mistakes:
            base = (info.context or {}).get("base", Path())
            others = [mistake for name, settings in deltas.items() for mistake in _mistakes_in(name, settings, base, (name,))]
            raise refuse([*mistakes, *others])
        return deltas

    @field_validator("deltas")
    @classmethod
    def _known(cls, value: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        base = (info.context or {}).get("base", Path())
        if mistakes := [wrong for name, settings in value.items() for wrong in _mistakes_in(name, settings, base, (name,))]:
            raise refuse(mistakes)
        return {name: _known_delta(name, settings, base) for name, settings in value.items()}

    @field_validator("projection", mode="before")
    @classmethod
    def _known_projection(cls, value: Any, info: ValidationInfo) -> Any:
        [(name, settings)] = known_projection(value).items()
        base = (info.context or {}).get("base", Path())
        return {name: PROJECTIONS[name].model_validate(settings).relative_to(base).model_dump()}

    @field_validator("rivals")
    @classmethod
    def _known_rivals(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in RIVALS:
                raise ValueError(f"no rival {name!r}; there are {', '.join(RIVALS)}{did_you_mean(name, RIVALS)}")
            if value.count(name) > 1:
                raise ValueError(f"the rival {name!r} stands twice")
        return value

    @field_validator("dim", "seed", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("train", "approximate", "optimize", mode="before")
    @classmethod
    def _over_defaults(cls, value: Any, info: Any) -> Any:
        default = {"train": TRAIN, "approximate": APPROXIMATE, "optimize": OPTIMIZE}[info.field_name]
        return {**default.model_dump(), **value} if isinstance(value, dict) else value

    @field_validator("translate", "disagreement", mode="before")
    @classmethod
    def _whether_and_how(cls, value: Any, info: Any) -> Any:
        default = {"translate": TRANSLATE, "disagreement": Probing()}[info.field_name]
        if isinstance(value, bool):
            return default if value else None
        if not isinstance(value, dict | Settings | None):
            raise ValueError(f"should be true, false or a mapping of settings (found {shown(value)})")
        return {**default.model_dump(), **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _one_meaning(self) -> Recipe:
        for name in (*self.deltas, *self.source_tasks):
            if name in POINTS:
                raise ValueError(f"a delta or source task cannot be called {name!r}, a landscape's point; give it another 'name'")
        if twice := sorted({*self.deltas} & {*self.all_tasks}):
            raise ValueError(f"a delta and a task are called {twice[0]!r}; give one of them another 'name'")
        return self

    @model_validator(mode="after")
    def _projection_of_deltas(self) -> Recipe:
        try:
            self.projection_method().check_deltas(list(self.deltas))
        except DeltaspaceError as error:
            raise ValueError("; ".join(str(error).splitlines())) from None
        return self

    @model_validator(mode="after")
    def _deltas_to_agree(self) -> Recipe:
        if self.optimize.agreement and len(self.deltas) == 1:
            raise ValueError("'optimize: {agreement: …}' needs several deltas; leave it out, or add one")
        if self.optimize.agreement and not self.projection_method().shared:
            [name] = self.projection
            raise ValueError(f"'optimize: {{agreement: …}}' needs codes that all deltas share, which {name} has not; take svd")
        return self

    @model_validator(mode="after")
    def _known_landscapes(self) -> Recipe:
        names = []
        for number, spec in enumerate(self.landscapes, start=1):
            try:
                names.append(self.settle(spec).name)
            except DeltaspaceError as error:
                named = repr(spec.name) if spec.name else f"number {number}, of the task {spec.task!r}"
                raise ValueError(f"the landscape {named}: " + "; ".join(str(error).splitlines())) from None
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
            DeltaspaceError: it names a task, a point, d or seed that the recipe does not have, one point twice, or codes of
                source tasks where the deltas share none.
        """
        if spec.task not in self.all_tasks:
            like = did_you_mean(spec.task, self.all_tasks)
            raise DeltaspaceError(f"no task {spec.task!r}{like}", expected=", ".join([*self.unseen_tasks, *self.source_tasks]))
        settled = spec.settled(list(self.deltas), self.dim, self.seed)
        meant: dict[object, str] = {}
        for point in settled.named:
            vector = self.vector_of(point, spec.task)
            # The mean of one code is that code.
            code = self.source_tasks[0] if point == "mean" and len(self.tasks.source) == 1 else point
            if (other := meant.setdefault(vector or code, point)) != point:
                raise DeltaspaceError(f"{other} and {point} are one point", mend="name another: mean, zero, a source task")
            if vector is not None and vector[0] not in self.unseen_tasks:
                raise DeltaspaceError(
                    f"{vector[0]} is a source task: no delta's vector is tuned for it",
                    mend=f"take its code as a point: {vector[0]}, or an unseen task",
                )
        count = min(settled.dim, len(self.tasks.source) - 1)
        if beyond := [way for way in spec.directions if isinstance(way, str) and principal_number(way) > count]:
            raise DeltaspaceError(
                f"there is no {beyond[0]}",
                found=f"{count} principal directions at most, of {len(self.tasks.source)} source tasks",
                mend="take random ones",
            )
        shared = len(self.deltas) == 1 or self.projection_method().shared
        if not shared and (asked := settled.shared_codes(self.source_tasks)):
            raise DeltaspaceError(
                f"{asked[0]} is of codes that all deltas share",
                found=f"the projection {next(iter(self.projection))}, in which each delta has its own",
                mend="take vectors, zero, random directions or d numbers; or another projection, such as svd",
            )
        return settled

    def delta(self, name: str) -> Delta:
        """The settings of one delta."""
        return make_delta(name, self.deltas[name])

    def projection_method(self) -> ProjectionMethod:
        """The projection method, with its settings."""
        [(name, settings)] = self.projection.items()
        return PROJECTIONS[name].model_validate(settings)


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe.

    Raises:
        DeltaspaceError: the file is missing or not YAML, or keys are unknown, missing or wrong: all of them, with their lines.
    """
    hint = "'deltaspace check --full' on a smaller recipe shows every key with its default"
    return load_yaml(Path(path), Recipe, "recipe", "keys such as model, deltas, tasks, dim", hint)

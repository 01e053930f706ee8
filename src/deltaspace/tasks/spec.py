"""How a recipe names a task: where it is from, and what it says of it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from deltaspace.names import check_name, did_you_mean, plain_name
from deltaspace.settings import Settings
from deltaspace.tasks.metrics import METRICS
from deltaspace.tasks.task import Kind, check_labels
from deltaspace.tasks.templates import fields_of

# Of a file, the ending is no part of its task's name.
_FILES = (".jsonl", ".csv", ".tsv")


def _known_metric(value: str) -> str:
    if value not in METRICS:
        raise ValueError(f"no metric {value!r}; there are {', '.join(METRICS)}{did_you_mean(value, METRICS)}")
    return value


Labels = Annotated[list[str] | dict[str, str], AfterValidator(check_labels)]
Metric = Annotated[str, AfterValidator(_known_metric)]


class Limits(Settings):
    """Most examples of each split; its first ones are taken."""

    train: int | None = Field(default=None, ge=1, description="most training examples; all by default")
    dev: int | None = Field(default=None, ge=1, description="most dev examples; all by default")
    test: int | None = Field(default=None, ge=1, description="most test examples; all by default")


class Columns(Settings):
    """Which columns of a Hub data set, or of a file, hold what. `a.b` and `a.0` are what is inside of a column a."""

    input: str | None = Field(
        default=None,
        description="a column, or a template of columns such as '{premise} [SEP] {hypothesis}'; by default input, else text",
    )
    target: str | None = Field(default=None, description="the column of targets; by default target, else label")
    options: str | list[str] | None = Field(
        default=None, description="the column of options, for multiple choice; or one column for each option"
    )
    answer: Literal["text", "index", "key"] = Field(
        default="text", description="how a target names its option: as its text, by number from 0, or as A, B … or 1, 2 …"
    )
    values: dict[str, str] | None = Field(
        default=None,
        min_length=1,
        description="the label that each value of the target means; rows with other values are left out",
    )

    @field_validator("input")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None:
            fields_of(value)
        return value


class Splits(Settings):
    """Which splits of a Hub data set serve as train, dev and test, in the Hub's own syntax (`train[:90%]`)."""

    train: str = Field(default="train", description="the split, or the part of one, that is trained on")
    dev: str = Field(default="validation", description="the split on which the best step is chosen")
    test: str = Field(default="test", description="the split on which scores are reported")
    shuffle: int | None = Field(
        default=None, description="a seed with which every split of the Hub is shuffled before parts of it are taken"
    )


class TaskSpec(Settings):
    """A task in a recipe: a text that says where it is from, or these fields."""

    model_config = ConfigDict(populate_by_name=True)

    origin: str = Field(
        alias="from", description="a folder or a file, hub:NAME[/CONFIG][@REVISION], or demo:tweets|movies|products|editorials"
    )
    name: str | None = Field(default=None, description="how the task is called; by default the end of 'from'")
    kind: Kind | None = Field(default=None, description="what sort of task it is; inferred from the examples by default")
    metric: Metric | None = Field(default=None, description="how predictions are judged; the kind's usual metric by default")
    labels: Labels | None = Field(default=None, description="labels, or label: the words a model reads for it")
    prompt: str | None = Field(
        default=None, description="how the input is put to the model, with {input} and, for masked encoders, {mask}"
    )
    limits: Limits = Field(default=Limits(), description="most examples of each split of this task")
    columns: Columns = Field(default=Columns(), description="which columns of a Hub data set, or of a file, hold what")
    splits: Splits = Field(default=Splits(), description="which splits of a Hub data set serve as train, dev and test")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"from": value} if isinstance(value, str) else value

    @field_validator("prompt")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None:
            fields_of(value)
        return value

    @model_validator(mode="after")
    def _named(self) -> TaskSpec:
        try:
            check_name("a task", self.task_name)
        except ValueError as error:
            raise ValueError(f"{error}; give it another 'name'") from None
        return self

    @property
    def task_name(self) -> str:
        """The task's name."""
        if self.name is not None:
            return self.name
        # A revision of the Hub may have a / too.
        origin = self.origin.partition("@")[0] if self.origin.startswith("hub:") else self.origin
        name = origin.rstrip("/").split(":")[-1].split("/")[-1]
        return plain_name(name.removesuffix(PurePosixPath(name).suffix) if name.endswith(_FILES) else name)

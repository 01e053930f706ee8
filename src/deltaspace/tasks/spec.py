"""How a recipe names a task: where it is from, and what it says of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from deltaspace.names import check_name, plain_name
from deltaspace.settings import Settings
from deltaspace.tasks.metrics import METRICS
from deltaspace.tasks.task import Kind, check_labels
from deltaspace.tasks.templates import fields_of


def _known_metric(value: str) -> str:
    if value not in METRICS:
        raise ValueError(f"no metric {value!r}; there are {', '.join(METRICS)}")
    return value


Labels = Annotated[list[str] | dict[str, str], AfterValidator(check_labels)]
Metric = Annotated[str, AfterValidator(_known_metric)]


class Limits(Settings):
    """Most examples of each split; its first ones are taken."""

    train: int | None = Field(default=None, ge=1)
    dev: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)


class Columns(Settings):
    """Which columns of a Hub data set hold what."""

    input: str = Field(default="text", description="a column, or a template of columns such as '{premise} [SEP] {hypothesis}'")
    target: str = Field(default="label", description="the column of targets")
    options: str | None = Field(default=None, description="the column of options, for multiple choice")

    @field_validator("input")
    @classmethod
    def _template(cls, value: str) -> str:
        fields_of(value)
        return value


class Splits(Settings):
    """Which splits of a Hub data set serve as train, dev and test, in the Hub's own syntax (`train[:90%]`)."""

    train: str = "train"
    dev: str = "validation"
    test: str = "test"


class TaskSpec(Settings):
    """A task in a recipe: a text that says where it is from, or these fields."""

    model_config = ConfigDict(populate_by_name=True)

    origin: str = Field(alias="from", description="a folder, hub:NAME[/CONFIG], or demo:tweets|movies|products|editorials")
    name: str | None = Field(default=None, description="how the task is called; by default the end of 'from'")
    kind: Kind | None = None
    metric: Metric | None = None
    labels: Labels | None = Field(default=None, description="labels, or label: the words a model reads for it")
    prompt: str | None = Field(
        default=None, description="how the input is put to the model, with {input} and, for masked encoders, {mask}"
    )
    limits: Limits = Limits()
    columns: Columns = Columns()
    splits: Splits = Splits()

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
        return self.name if self.name is not None else plain_name(self.origin.rstrip("/").split(":")[-1].split("/")[-1])

"""How a recipe names a task: where it is from, and what it says of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator, model_validator

from deltaspace.names import check_name, plain_name
from deltaspace.tasks.metrics import METRICS
from deltaspace.tasks.task import Kind


class Limits(BaseModel):
    """Most examples of each split; its first ones are taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: StrictInt | None = Field(default=None, ge=1)
    dev: StrictInt | None = Field(default=None, ge=1)
    test: StrictInt | None = Field(default=None, ge=1)


class Columns(BaseModel):
    """Which columns of a Hub data set hold what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str = Field(default="text", description="a column, or a template of columns such as '{premise} [SEP] {hypothesis}'")
    target: str = Field(default="label", description="the column of targets")
    options: str | None = Field(default=None, description="the column of options, for multiple choice")


class Splits(BaseModel):
    """Which splits of a Hub data set serve as train, dev and test, in the Hub's own syntax (`train[:90%]`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: str = "train"
    dev: str = "validation"
    test: str = "test"


class TaskSpec(BaseModel):
    """A task in a recipe: a text that says where it is from, or these fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    origin: str = Field(alias="from", description="a folder, hub:NAME[/CONFIG], or demo:tweets|movies|products|editorials")
    name: str | None = Field(default=None, description="how the task is called; by default the end of 'from'")
    kind: Kind | None = None
    metric: str | None = None
    labels: list[str] | dict[str, str] | None = Field(
        default=None, description="labels, or label: the words a model reads for it"
    )
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

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str | None) -> str | None:
        if value is not None and value not in METRICS:
            raise ValueError(f"no metric {value!r}; there are {', '.join(METRICS)}")
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
        return self.name or plain_name(self.origin.rstrip("/").split(":")[-1].split("/")[-1])

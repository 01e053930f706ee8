"""A task source: how the examples of a task are read, and what is known of the task beside them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from deltaspace.registry import Registry
from deltaspace.tasks.spec import TaskSpec
from deltaspace.tasks.task import Example, Kind


@dataclass(frozen=True)
class Contents:
    """What a source has of a task; a recipe's own words about kind, metric and labels go first.

    Args:
        splits: the examples of train, dev and test.
        kind: of the task, where the source knows it.
        metric: a name of `deltaspace.tasks.METRICS`, where the source knows it.
        labels: labels, or label -> label words, where the source knows them.
    """

    splits: Mapping[str, Sequence[Example]]
    kind: Kind | None = None
    metric: str | None = None
    labels: Sequence[str] | Mapping[str, str] | None = None


class TaskSource(ABC):
    """Where tasks come from. One object of each class is registered: `TASK_SOURCES.register(MySource())`.

    A recipe names a task of it as `NAME:WHERE`, in which `NAME` is the source's name and `WHERE` is what `read` is given. A text
    without a name before a colon is a folder.
    """

    name: ClassVar[str]
    # How a recipe writes a task of it, for messages.
    form: ClassVar[str]

    @abstractmethod
    def read(self, where: str, spec: TaskSpec, base: Path | None) -> Contents:
        """The examples of a task.

        Args:
            where: what the recipe says behind the source's name and its colon.
            spec: all that the recipe says of the task, such as columns and splits.
            base: what relative paths are relative to; the current folder where it is None.

        Raises:
            DeltaspaceError: there is no such task, or its examples are not what they should be.
        """


TASK_SOURCES: Registry[TaskSource] = Registry(
    "task source", TaskSource, "deltaspace.task_sources", "deltaspace.tasks.sources", objects=True
)

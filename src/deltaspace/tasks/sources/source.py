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

    def check(self, where: str) -> None:  # noqa: B027 - most sources cannot tell from the text alone
        """See that a recipe's text names something of this source, as far as the text tells.

        Raises:
            ValueError: it does not.
        """

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


# Of texts that name no source.
_DEFAULT = "folder"
TASK_SOURCES: Registry[TaskSource] = Registry(
    "task source", TaskSource, "deltaspace.task_sources", "deltaspace.tasks.sources", objects=True
)


def source_of(origin: str) -> tuple[TaskSource, str]:
    """The source that a spec's `from` names, and what stands behind the name.

    Raises:
        ValueError: there is no such source, or it knows nothing of that name.
    """
    name, colon, where = origin.partition(":")
    # A colon further inside is one of a file's name.
    if not colon or "/" in name:
        return TASK_SOURCES[_DEFAULT], origin
    if name not in TASK_SOURCES:
        first = TASK_SOURCES[_DEFAULT].form
        *others, last = [source.form for source in TASK_SOURCES.values() if source.name != _DEFAULT]
        raise ValueError(f"no task source {origin!r}; there are {', '.join([first, *others])} and {last}; {TASK_SOURCES.hint}")
    TASK_SOURCES[name].check(where)
    return TASK_SOURCES[name], where

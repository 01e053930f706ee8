"""Tasks, metrics, and where tasks come from."""

from deltaspace.tasks.inputs import read_inputs
from deltaspace.tasks.load import load_task
from deltaspace.tasks.metrics import METRICS, MeanMetric, Metric
from deltaspace.tasks.sources import TASK_SOURCES, Contents, TaskSource
from deltaspace.tasks.spec import Columns, Limits, Splits, TaskSpec
from deltaspace.tasks.task import Example, Task, few_shot, make_task

__all__ = [
    "METRICS",
    "TASK_SOURCES",
    "Columns",
    "Contents",
    "Example",
    "Limits",
    "MeanMetric",
    "Metric",
    "Splits",
    "Task",
    "TaskSource",
    "TaskSpec",
    "few_shot",
    "load_task",
    "make_task",
    "read_inputs",
]

"""Tasks, metrics, and where tasks come from."""

from deltaspace.tasks.metrics import METRICS
from deltaspace.tasks.spec import Limits, TaskSpec, load_task
from deltaspace.tasks.task import Example, Task, few_shot, make_task

__all__ = ["METRICS", "Example", "Limits", "Task", "TaskSpec", "few_shot", "load_task", "make_task"]

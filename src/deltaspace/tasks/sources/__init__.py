"""Where tasks come from. Each source is one module here, and registers itself."""

from deltaspace.tasks.sources.source import TASK_SOURCES, Contents, TaskSource, source_of

__all__ = ["TASK_SOURCES", "Contents", "TaskSource", "source_of"]

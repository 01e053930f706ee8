from . import figures as figures
from . import landscape as landscape
from . import study as study
from . import tasks as tasks
from .backbone import Backbone, load_backbone, make_backbone
from .checkpoints.conversion import convert
from .checkpoints.export import export_delta
from .checkpoints.load import load_delta
from .deltas.delta import AttachedDelta, Delta
from .deltas.registry import attach
from .errors import DeltaspaceError
from .scoring import score
from .solutions import Solution, train
from .study import load_recipe, read_scores, read_subspace, run_study
from .subspace import (
    Approximation,
    Optimization,
    Optimized,
    Subspace,
    SubspaceModel,
    Vectors,
    approximate,
    load_subspace,
    optimize,
    save_subspace,
    transfer,
)
from .tasks import Example, Task, load_task, make_task
from .training import Training

__version__: str
__all__ = [
    "Approximation",
    "AttachedDelta",
    "Backbone",
    "Delta",
    "DeltaspaceError",
    "Example",
    "Optimization",
    "Optimized",
    "Solution",
    "Subspace",
    "SubspaceModel",
    "Task",
    "Training",
    "Vectors",
    "approximate",
    "attach",
    "convert",
    "export_delta",
    "figures",
    "landscape",
    "load_backbone",
    "load_delta",
    "load_recipe",
    "load_subspace",
    "load_task",
    "make_backbone",
    "make_task",
    "optimize",
    "read_scores",
    "read_subspace",
    "run_study",
    "save_subspace",
    "score",
    "study",
    "tasks",
    "train",
    "transfer",
]

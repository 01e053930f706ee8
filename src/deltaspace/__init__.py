"""deltaspace: one low-dimensional space for every way of tuning a pre-trained language model."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "APPROXIMATE": "subspace",
    "Approximation": "subspace",
    "AttachedDelta": "deltas",
    "Backbone": "backbone",
    "DELTAS": "deltas",
    "Delta": "deltas",
    "DeltaspaceError": "errors",
    "Extension": "subspace",
    "FAMILIES": "families",
    "FIGURES": "report.figures",
    "Grid": "landscape",
    "Landscape": "landscape",
    "Layout": "deltas",
    "METRICS": "tasks",
    "OPTIMIZE": "subspace",
    "Optimization": "subspace",
    "PROJECTIONS": "subspace",
    "Peft": "deltas",
    "RIVALS": "rivals",
    "Recipe": "study",
    "Region": "landscape",
    "Share": "landscape",
    "Slice": "landscape",
    "SliceSpec": "study",
    "Solution": "solutions",
    "Subspace": "subspace",
    "SubspaceModel": "subspace",
    "Sweep": "study",
    "TRAIN": "solutions",
    "Task": "tasks",
    "Training": "training",
    "Vectors": "subspace",
    "approximate": "subspace",
    "attach": "deltas",
    "attach_rival": "rivals",
    "curves_figure": "report.figures",
    "explore": "study",
    "export_delta": "export",
    "find_projection": "subspace",
    "history": "study",
    "import_solutions": "study",
    "landscape_figure": "report.figures",
    "landscapes": "study",
    "load_backbone": "backbone",
    "load_delta": "export",
    "load_recipe": "study",
    "load_sweep": "study",
    "load_task": "tasks",
    "make_backbone": "backbone",
    "make_delta": "deltas",
    "make_task": "tasks",
    "map_figure": "report.figures",
    "optimize": "subspace",
    "panels_figure": "report.figures",
    "regions": "landscape",
    "rows": "study",
    "run": "study",
    "run_sweep": "study",
    "sample": "landscape",
    "save_figure": "report.figures",
    "score": "solutions",
    "scores_figure": "report.figures",
    "similarity_figure": "report.figures",
    "study_curves": "report.figures",
    "study_subspace": "study",
    "sweep_figure": "report.figures",
    "sweep_rows": "study",
    "train": "solutions",
    "transfer": "subspace",
    "transfer_figure": "report.figures",
    "tune": "rivals",
    "write_report": "report.page",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    # Loaded when first used, so that `deltaspace --help` needs neither torch nor transformers.
    if name in _PUBLIC:
        return getattr(import_module(f"deltaspace.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'deltaspace' has no attribute {name!r}")

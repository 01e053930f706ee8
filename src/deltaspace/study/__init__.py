"""A recipe, the folder of what it made, running and resuming."""

from deltaspace.study.artefact import Artefact, Content, MadeFrom
from deltaspace.study.check import check_recipe
from deltaspace.study.disagreements import DisagreementRow, VectorRadius, read_disagreements, read_radii
from deltaspace.study.draft import draft_recipe
from deltaspace.study.engines import ENGINES, Engine, Ray, Serial, Workers
from deltaspace.study.explore import sample_landscape
from deltaspace.study.fetch import fetch_tasks
from deltaspace.study.history import RunRecord, read_history
from deltaspace.study.imports import Imported, import_checkpoints
from deltaspace.study.kept import read_kept
from deltaspace.study.live import Live, Running
from deltaspace.study.missed import MissedRow, read_missed
from deltaspace.study.observer import Observer, Worker
from deltaspace.study.plan import Plan, StagePlan, plan_study
from deltaspace.study.planned_sweep import plan_sweep
from deltaspace.study.points import Sweep
from deltaspace.study.recipe import Recipe, load_recipe
from deltaspace.study.results import (
    Answer,
    Curve,
    outdated,
    read_answers,
    read_curves,
    read_landscape_seeds,
    read_landscapes,
    read_scores,
    read_subspace,
)
from deltaspace.study.run import run_study
from deltaspace.study.scores import ScoreRow, SweepRow, measures
from deltaspace.study.slices import SliceSpec
from deltaspace.study.stage import STAGES, Stage
from deltaspace.study.status import StageStatus, StudyStatus, read_status
from deltaspace.study.sweep import is_sweep, load_sweep, points_without_scores, read_sweep_scores, run_sweep
from deltaspace.study.zoo import zoo_tasks
from deltaspace.subspace.kept import Kept

__all__ = [
    "ENGINES",
    "STAGES",
    "Answer",
    "Artefact",
    "Content",
    "Curve",
    "DisagreementRow",
    "Engine",
    "Imported",
    "Kept",
    "Live",
    "MadeFrom",
    "MissedRow",
    "Observer",
    "Plan",
    "Ray",
    "Recipe",
    "RunRecord",
    "Running",
    "ScoreRow",
    "Serial",
    "SliceSpec",
    "Stage",
    "StagePlan",
    "StageStatus",
    "StudyStatus",
    "Sweep",
    "SweepRow",
    "VectorRadius",
    "Worker",
    "Workers",
    "check_recipe",
    "draft_recipe",
    "fetch_tasks",
    "import_checkpoints",
    "is_sweep",
    "load_recipe",
    "load_sweep",
    "measures",
    "outdated",
    "plan_study",
    "plan_sweep",
    "read_answers",
    "read_curves",
    "read_disagreements",
    "read_history",
    "read_kept",
    "read_landscape_seeds",
    "read_landscapes",
    "read_missed",
    "read_radii",
    "read_scores",
    "read_status",
    "read_subspace",
    "points_without_scores",
    "read_sweep_scores",
    "run_study",
    "run_sweep",
    "sample_landscape",
    "zoo_tasks",
]

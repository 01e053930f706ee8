"""The one training loop, what it trains with, and how it goes on after a kill."""

from deltaspace.training.batches import Batches
from deltaspace.training.loop import Fit, fit
from deltaspace.training.optimizer import Adam, Loss, Optimizer, StepLoss
from deltaspace.training.processes import Processes
from deltaspace.training.resume import NO_RESUME, Progress, Resume
from deltaspace.training.settings import Score, Training
from deltaspace.training.side_by_side import Asked, Job, fit_each

__all__ = [
    "NO_RESUME",
    "Adam",
    "Asked",
    "Batches",
    "Fit",
    "Job",
    "Loss",
    "Optimizer",
    "Progress",
    "Processes",
    "Resume",
    "Score",
    "StepLoss",
    "Training",
    "fit",
    "fit_each",
]

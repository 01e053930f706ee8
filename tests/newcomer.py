"""What a newcomer has: a model, two tables, and trainings that are over at once."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from deltaspace.subspace import Approximation, Optimization
from deltaspace.training import Training
from tests.tiny import save_tiny

SHORT = {"steps": 2, "lr": 1e-2, "evaluate_every": 2, "batch_size": 4}
LABELS = ("good", "bad")


def table(path: Path, names: tuple[str, str] = ("text", "label"), labels: tuple[str, ...] = LABELS, size: int = 40) -> None:
    """A CSV file of texts, with a comma in each, and labels in turn."""
    rows = [f'"a {LABELS[i % 2]} film , number {i} . it was fine","{labels[i % len(labels)]}"' for i in range(size)]
    path.write_text("\n".join([",".join(names), *rows]) + "\n", encoding="utf-8")


def furnish(folder: Path) -> None:
    """The model and the tables of the documents' pages."""
    save_tiny("bert", folder / "my-bert")
    table(folder / "films.csv")
    table(folder / "products.csv")


def shorten(recipe: Path, **more: object) -> None:
    """Give a recipe trainings of two steps."""
    said = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    said |= {"train": SHORT, "approximate": SHORT, "optimize": SHORT, "disagreement": False, **more}
    recipe.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")


def hurry(monkeypatch) -> None:
    """Let Python programs train for two steps where they do not say how long."""
    monkeypatch.setattr("deltaspace.solutions.TRAIN", Training(**SHORT))
    monkeypatch.setattr(sys.modules["deltaspace.subspace.stages.approximate"], "APPROXIMATE", Approximation(**SHORT))
    monkeypatch.setattr(sys.modules["deltaspace.subspace.stages.optimize"], "OPTIMIZE", Optimization(**SHORT))

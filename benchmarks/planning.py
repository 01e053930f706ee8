"""`python -m benchmarks.planning`: how long a study of 100,000 artefacts is planned, and in how much memory.

60 source and 60 unseen tasks, 5 deltas, as many seeds as it takes; nothing is there yet and nothing is computed. Planning is what
`deltaspace run` does before the first artefact: the order, every fingerprint and state, and what comes first; in the end all of
them are passed through the schedule, as if each took no time.
"""

from __future__ import annotations

import json
import math
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import conditions
from deltaspace.storage import digest, write_json
from deltaspace.study.engines.costs import Costs
from deltaspace.study.engines.schedule import Schedule
from deltaspace.study.engines.threads import Threads
from deltaspace.study.folder import Folder
from deltaspace.study.graph import Graph
from deltaspace.study.imported import Imports
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.tasks import Example, make_task

RESULTS = Path(__file__).parent / "results" / "planning.json"
TASKS, WANTED = 60, 100_000
DELTAS = ("adapter", "lora", "prefix", {"peft": "IA3", "name": "ia3"}, "finetune")


class MadeUp(Resources):
    """What stages plan with, without a model or files of tasks."""

    def __init__(self, recipe: Recipe, folder: Folder) -> None:
        self.recipe, self.folder = recipe, folder
        self.imports = Imports(folder)
        rows = [Example(f"text {number}", str(number % 2)) for number in range(100)]
        splits = dict.fromkeys(("train", "dev", "test"), rows)
        self.tasks = {name: make_task(name, splits, source="made up") for name in recipe.all_tasks}
        self.model_fingerprint = digest("made up")
        self._kept = {}


def made_up_recipe(seeds: int, tasks: int = TASKS) -> Recipe:
    """A recipe of so many seeds."""
    said = {
        "model": "made-up",
        "deltas": list(DELTAS),
        "tasks": {"source": [f"source-{i}" for i in range(tasks)], "unseen": [f"unseen-{i}" for i in range(tasks)]},
        "dim": 100,
        "seed": list(range(seeds)),
    }
    return Recipe.model_validate(said)


def plan(folder: Path, wanted: int = WANTED, tasks: int = TASKS) -> dict[str, Any]:
    """Plan a study of at least so many artefacts; seconds of the processor for each part, as other jobs may run beside it."""
    of_one_seed = sum(1 for _ in Graph(MadeUp(made_up_recipe(1, tasks), Folder(folder))).wanted())
    graph = Graph(MadeUp(made_up_recipe(math.ceil(wanted / of_one_seed), tasks), Folder(folder)))
    started = time.process_time()
    ordered = graph.order(graph.wanted())
    seconds = {"order": time.process_time() - started}
    states = [(artefact, graph.state(artefact)) for artefact in ordered]
    seconds["states"] = time.process_time() - started - seconds["order"]
    schedule = Schedule(graph, states, Costs(graph.resources), Threads(1, 1))
    seconds["planned"] = time.process_time() - started
    while schedule.left:
        schedule.done(schedule.begin(), 0.0)
    seconds["all"] = time.process_time() - started
    return {"artefacts": len(states), "seconds": {name: round(spent, 2) for name, spent in seconds.items()}}


def main() -> None:
    """Measure, print and write `results/planning.json`."""
    with tempfile.TemporaryDirectory() as folder:
        result = plan(Path(folder))
    result["memory_GiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(json.dumps(result, indent=1))
    write_json(RESULTS, {**conditions(), **result})


if __name__ == "__main__":
    main()

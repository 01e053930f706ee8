"""`python -m benchmarks.engines [NAME…]`: what engines cost and what they bring.

- `engine-overhead`: milliseconds that an artefact takes with one worker beyond what it takes in this process; artefacts are as
  good as empty, and the first of the worker does not count, which loads what all others use.
- `workers-speedup`: trainings of MiniLM on made-up sentences, one thread each: one worker's time over that of two.
- `ray-speedup`: the same on a Ray cluster of this machine, with one CPU and with two. Needs the extra `ray`.
- `side-by-side`: trainings of one delta, four in each pass of the model in place of one after another: how many times as fast.
  For a GPU; on CPUs it says whether it pays.

Times go from the first artefact's start to the last one's end. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import conditions
from deltaspace.storage import read_json, write_json
from deltaspace.study import Artefact, Engine, Observer, Ray, Serial, Workers, load_recipe, run_study
from deltaspace.tasks.task import SPLITS

RESULTS = Path(__file__).parent / "results" / "engines.json"
EMPTY = '''
from typing import NamedTuple

import torch

from deltaspace.study import STAGES, Content, MadeFrom, Stage


class Key(NamedTuple):
    number: int


class Empty(Stage[Key]):
    """Artefacts of one number each, as many as the recipe's first seed."""

    name, title, position = "empty", "empty", -1

    def keys(self, recipe):
        return map(Key, range(recipe.seed[0]))

    def made_from(self, resources, key):
        return MadeFrom(settings=key.number)

    def make(self, resources, key, resume):
        return Content({"number": torch.tensor([key.number])})


STAGES.register(Empty())
'''
Result = dict[str, Any]


class Times(Observer):
    """When each artefact was begun and ended."""

    def __init__(self) -> None:
        self.started: list[float] = []
        self.ended: list[float] = []

    def start(self, artefact: Artefact, reason: str) -> None:
        self.started.append(time.perf_counter())

    def end(self, artefact: Artefact) -> None:
        self.ended.append(time.perf_counter())


def write_recipe(folder: Path, model: str, tasks: int, steps: int, seed: int = 0, words: int = 24) -> Path:
    """A recipe of two deltas on made-up tasks of two labels."""
    labels = ("bad", "good")
    rows = [{"input": f"{number} " * words + labels[number % 2], "target": labels[number % 2]} for number in range(64)]
    names = [f"task-{index}" for index in range(tasks)]
    for name in (*names, "task-unseen"):
        (folder / name).mkdir(parents=True)
        for split in SPLITS:
            (folder / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    training = {"steps": steps, "evaluate_every": steps, "batch_size": 16}
    said = {"model": model, "deltas": ["adapter", "lora"], "seed": seed, "train": training, "max_length": 64, "dim": 1}
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({**said, "tasks": {"source": names, "unseen": ["task-unseen"]}}))
    return path


@contextmanager
def empty_stage(folder: Path) -> Iterator[None]:
    """The stage `empty`, as an installed package has it, so that workers know it too."""
    from deltaspace.study import STAGES

    metadata = folder / "empty-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "empty.py").write_text(EMPTY)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: empty\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[deltaspace.stages]\nempty = empty\n")
    sys.path.insert(0, str(folder))
    __import__("empty")
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        del STAGES._things["empty"], sys.modules["empty"]


def engine_overhead(count: int = 200, model: str = "demo") -> list[Result]:
    """One worker against this process."""
    each: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, empty_stage(Path(folder) / "packages"):
        recipe = load_recipe(write_recipe(Path(folder), model, 1, 1, seed=count))
        for name, engine in {"serial": Serial(1), "worker": Workers(1)}.items():
            times = Times()
            made = run_study(recipe, Path(folder) / name, until="empty", observer=times, engine=engine)
            assert made == len(times.ended) == count
            each[name] = (times.ended[-1] - times.ended[0]) / (count - 1)
    value = 1000 * (each["worker"] - each["serial"])
    milliseconds = {name: 1000 * seconds for name, seconds in each.items()}
    return [{"name": "engine-overhead", "value": value, "unit": "ms an artefact", "goal": "at most 50", "each": milliseconds}]


def seconds_of_study(engine: Engine, model: str, tasks: int, steps: int) -> float:
    """From the first artefact's start to the last one's end, once each worker is there."""
    with tempfile.TemporaryDirectory() as folder:
        recipe, times = load_recipe(write_recipe(Path(folder), model, tasks, steps)), Times()
        run_study(recipe, Path(folder) / "study", until="independent", observer=times, engine=engine)
        return times.ended[-1] - times.started[0]


def workers_speedup(model: str = "demo", tasks: int = 8, steps: int = 60) -> list[Result]:
    """Two workers against one; both of one thread."""
    seconds = {}
    for count in (1, 2):
        with Workers(count) as engine:
            # The first study starts the processes, which load the model.
            seconds_of_study(engine, model, count, 1)
            seconds[count] = seconds_of_study(engine, model, tasks, steps)
    return [_speedup("workers-speedup", seconds)]


def ray_speedup(model: str = "demo", tasks: int = 8, steps: int = 60) -> list[Result]:
    """Two CPUs of a Ray cluster against one; tasks of one thread."""
    import ray

    seconds = {}
    for count in (1, 2):
        ray.init(num_cpus=count, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False)
        with Ray() as engine:
            seconds_of_study(engine, model, count, 1)
            seconds[count] = seconds_of_study(engine, model, tasks, steps)
        ray.shutdown()
    return [_speedup("ray-speedup", seconds)]


def _speedup(name: str, seconds: dict[int, float]) -> Result:
    value = seconds[1] / seconds[2]
    return {"name": name, "value": value, "unit": "x one worker of one thread", "goal": "at least 1.8", "seconds": seconds}


def side_by_side(model: str = "demo", tasks: int = 4, steps: int = 20) -> list[Result]:
    """As many trainings as there are tasks in a pass, against one; of one thread where they are on CPUs."""
    seconds = {}
    for count in (1, tasks):
        seconds_of_study(Serial(1, side_by_side=count), model, tasks, 1)
        seconds[count] = seconds_of_study(Serial(1, side_by_side=count), model, tasks, steps)
    said = {"unit": "x one after another", "goal": "none on CPUs", "seconds": seconds}
    return [{"name": "side-by-side", "value": seconds[1] / seconds[tasks], **said}]


BENCHMARKS: dict[str, Callable[[], list[Result]]] = {
    "engine-overhead": engine_overhead,
    "workers-speedup": workers_speedup,
    "ray-speedup": ray_speedup,
    "side-by-side": side_by_side,
}


def main() -> None:
    """Measure, print and write `results/engines.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    kept = {result["name"]: result for result in (read_json(options.out) if options.out.exists() else [])}
    for name in options.names or BENCHMARKS:
        for result in BENCHMARKS[name]():
            kept[name] = {**result, "command": f"python -m benchmarks.engines {name}", **conditions()}
            print(f"{name}: {result['value']:.2f} {result['unit']} (goal {result['goal']})", flush=True)
            write_json(options.out, list(kept.values()))


if __name__ == "__main__":
    main()

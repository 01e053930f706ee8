"""What all benchmarks share: times as medians of rounds, and under which conditions they were taken."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from deltaspace.study.history import machine, versions

Step = Callable[[], object]


def seconds_of(step: Step) -> float:
    """How long a step takes."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def medians(steps: Mapping[str, Any], rounds: int, measure: Callable[[Any], float] = seconds_of) -> dict[str, float]:
    """Median seconds of each step; all are run in turn, so that a machine that is slow for a while slows all of them.

    Args:
        steps: by name; functions, unless `measure` takes something else.
        rounds: that count; one more goes before them.
        measure: runs a step and says how many seconds of it count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            spent = measure(step)
            if turn:
                seconds[name].append(spent)
    result = {name: statistics.median(values) for name, values in seconds.items()}
    print(json.dumps(result, indent=1), file=sys.stderr)
    return result


def conditions() -> dict[str, Any]:
    """Where and with which versions a benchmark ran, as results keep it."""
    return {"machine": machine(), "versions": versions()}

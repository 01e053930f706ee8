"""What a run would make, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from deltaspace.cli._terminal import print_tables

if TYPE_CHECKING:
    from deltaspace.study.plan import Plan

_UNITS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def print_plan(plan: Plan) -> None:
    """The stages with what would be made of each, then the sums, and where the numbers are from."""
    table = Table(title="What would be made", title_justify="left")
    for heading in ("stage", "there", "to make", "time", "disk", "from"):
        table.add_column(heading, justify="left" if heading in ("stage", "from") else "right")
    for stage in plan.stages:
        known = {"measured": "artefacts", "one step": "one step", "unknown": "not known"}
        basis = known[stage.basis] if stage.todo else ""
        costs = (_time(stage.seconds), _size(stage.bytes)) if stage.todo else ("", "")
        table.add_row(stage.stage, str(stage.present), str(stage.todo), *costs, basis)
    print_tables([table])
    for line in _sums(plan):
        print(line)


def _sums(plan: Plan) -> Iterator[str]:
    if not plan.todo:
        yield f"{plan.out}: everything is there and valid; nothing to do"
        return
    unknown = " and what is not known" if any(stage.seconds is None for stage in plan.stages) else ""
    yield (
        f"{plan.out}: {plan.todo} to make, about {_time(plan.seconds)}{unknown}, "
        f"one after another on this machine; {_size(plan.bytes)}"
    )
    for delta, (trained, read) in plan.steps.items():
        yield f"one example with {delta}: {1000 * trained:.1f} ms to train on, {1000 * read:.1f} ms to score"
    yield "nothing was made"


def _time(seconds: float | None) -> str:
    """In the largest unit of which there is more than one."""
    if seconds is None:
        return "?"
    for length, unit in _UNITS:
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s"


def _size(count: float | None) -> str:
    if count is None:
        return "?"
    for size, unit in _SIZES:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"

"""What a model card says of a conversion."""

from __future__ import annotations

from collections.abc import Mapping

from deltaspace.checkpoints.conversion import Converted
from deltaspace.checkpoints.followed import Agreement
from deltaspace.names import counted


def conversion_rows(made: Converted, source: str, inputs: str) -> dict[str, object]:
    """Rows of a model card's table, by their names.

    Args:
        made: what came of it.
        source: what was converted.
        inputs: on what.
    """
    rows: dict[str, object] = {
        "converted from": f"{source} ({made.source}), without labels",
        "start": made.start,
        "agreement at the start": told(made.before),
        "agreement": told(made.after),
    }
    if made.fit is None:
        rows["tuned"] = "not at all: the start computes the same function"
    else:
        rows["tuned"] = (
            f"{made.fit.best_step} of {counted(made.fit.steps, 'step')} kept, on {counted(made.inputs, 'input')} of {inputs}"
        )
    if made.scores is not None:
        both = f"{made.scores.target.value:.1f}, its source {made.scores.source.value:.1f}"
        rows[f"{made.metric} on {counted(made.scores.target.count, 'example')}"] = both
    return rows


def told(agreement: Agreement) -> str:
    """An agreement in words."""
    parts = [f"{agreement.missed:.1%} of what the source changes is missed"]
    if agreement.same is not None:
        parts.append(f"{agreement.same:.1%} decided alike")
    if agreement.divergence is not None:
        parts.append(f"KL {agreement.divergence:.2g} nats")
    return ", ".join(parts) + f" ({agreement.inputs:,} held-out inputs)"


def as_json(made: Converted) -> Mapping[str, object]:
    """What came of a conversion, as JSON."""
    agreement = {"before": vars(made.before), "after": vars(made.after)}
    scores = None if made.scores is None else {name: vars(score) for name, score in made.scores._asdict().items()}
    steps = None if made.fit is None else {"best": made.fit.best_step, "taken": made.fit.steps, "seconds": made.fit.seconds}
    common = {"from": made.source, "to": made.attached.name, "start": made.start, "inputs": made.inputs}
    return {**common, "agreement": agreement, "steps": steps, "metric": made.metric, "scores": scores}

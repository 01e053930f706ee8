"""What is kept of a checkpoint of peft when it is read: measured beside peft's own loading of it, on the same PLM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from jaxtyping import Float
from torch import Tensor, nn

from deltaspace.checkpoints.read_peft import Checkpoint
from deltaspace.deltas import AttachedDelta, PeftBacked
from deltaspace.deltas.peft_checkpoint import WEIGHTS, read_weights, without_warnings
from deltaspace.deltas.prompts import Prompted
from deltaspace.pretrained import load_peft
from deltaspace.scoring import Scorer
from deltaspace.subspace.agreement import decisions, decisions_of, disagreement_of
from deltaspace.subspace.kept import TEXTS, Kept, relative_error
from deltaspace.tasks import Task

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone


def kept_of(attached: AttachedDelta, task: Task, checkpoint: Checkpoint) -> Kept:
    """Compare a checkpoint as it was read with what peft makes of its folder.

    Args:
        attached: the delta that it was read as.
        task: whose test inputs decisions and scores are compared on.
        checkpoint: what was read.
    """
    backbone, vector = attached.backbone, checkpoint.parameters
    scorer = Scorer(attached, task, "test")
    items = backbone.family.encode(task, task.test[:TEXTS])
    untuned = decisions_of(backbone.model, backbone, items)
    model = _loaded_by_peft(checkpoint.folder, backbone)
    with backbone.products.computing():
        before = scorer.score_by(lambda batch: backbone.family.evaluate(model, batch))
    theirs, [ours] = decisions_of(model, backbone, items), decisions(attached, vector.unsqueeze(0), items)
    after = scorer.score(vector)
    return Kept(
        task=task.name,
        delta=attached.name,
        seed=attached.seed,
        dim=None,
        source=checkpoint.name,
        parameter_error=_error(attached, vector, checkpoint.folder),
        disagreement=disagreement_of(theirs, ours, untuned),
        metric=task.metric,
        before=before.value,
        after=after.value,
        n_test=after.count,
    )


def _loaded_by_peft(folder: Path, backbone: Backbone) -> nn.Module:
    """What peft makes of a folder, whose settings and tensors were looked at before."""
    with without_warnings():
        model = load_peft(backbone.share(), folder).eval()
    return Prompted(model) if model.active_peft_config.is_prompt_learning else model


def _error(attached: AttachedDelta, vector: Float[Tensor, " params"], folder: Path) -> float:
    """Relative error of the tensors that the parameters would be written as, beside those in the folder."""
    from peft import get_peft_model_state_dict

    with without_warnings():
        written = get_peft_model_state_dict(cast("PeftBacked", attached.delta).as_peft(attached, vector))
    return relative_error((tensor, written[name]) for name, tensor in read_weights(folder / WEIGHTS).items())

"""How far a delta computes what another one computes, judged on inputs that neither of them is tuned on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.checkpoints.function import by_length, decisions_on, distributions, function_of, states_of
from deltaspace.deltas.delta import AttachedDelta
from deltaspace.families import Item

# Examples in one pass of the model.
_PASS = 64
# Squared decisions in fp32 are not nearer to each other than this.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Agreement:
    """How far a target computes what its source computes, on held-out inputs.

    Args:
        missed: the share of the change that the source makes to the PLM's decisions which the target misses: 0 is the same
            function, 1 as far from it as the untuned PLM.
        divergence: KL of the target's distributions from the source's, in nats; None where decisions are embeddings.
        same: share of the inputs that are decided alike: the same prediction of a ranked task, else the same likeliest token;
            None where nothing is decided.
        inputs: how many.
    """

    missed: float
    divergence: float | None
    same: float | None
    inputs: int


class Followed:
    """Agreement with a source on held-out inputs.

    Args:
        source: the delta that is followed, and its parameters, (n,).
        target: the delta that follows.
        held: encoded inputs.
        ranked: whether they are decided by ranking candidates, as predictions tell.
    """

    def __init__(
        self,
        source: tuple[AttachedDelta, Float[Tensor, " params"]],
        target: AttachedDelta,
        held: Sequence[Item],
        ranked: bool,
    ) -> None:
        self._target, self._held, self._ranked = target, held, ranked
        self._states = states_of(*source, held)
        self._wanted = function_of(*source, self._states)
        self._predicted = self._predictions(*source)
        # 1 where the source leaves the PLM as it was: then misses are told in units of squared decisions.
        self.change = 1.0
        change = self.missed(target.initial)
        self.change = change if change > _NOTHING else 1.0
        # The share that the target misses before anything is done.
        self.untuned = change / self.change

    def __len__(self) -> int:
        return len(self._held)

    def missed(self, parameters: Float[Tensor, " params"]) -> float:
        """The share of the source's change that the target misses with these parameters, (m,)."""
        total = 0.0
        for chosen, decided in decisions_on(self._target, parameters, self._states):
            total += float(self._wanted.rows(chosen).distance(decided).double().sum())
        return total / len(self._states) / self.change

    def agreement(self, parameters: Float[Tensor, " params"]) -> Agreement:
        """All that is told of it, with these parameters of the target, (m,)."""
        divergence, alike = None, None
        if distributions(self._target):
            divergence, alike = 0.0, 0.0
            for chosen, decided in decisions_on(self._target, parameters, self._states):
                wanted = self._wanted.rows(chosen)
                divergence += float(wanted.divergence(decided).double().sum()) / len(self._states)
                alike += float((wanted.likeliest() == decided.argmax(1)).sum()) / len(self._states)
        if self._ranked:
            pairs = zip(self._predicted, self._predictions(self._target, parameters), strict=True)
            alike = sum(wanted == given for wanted, given in pairs) / len(self._held)
        return Agreement(self.missed(parameters), divergence, alike, len(self._held))

    @torch.no_grad()
    def _predictions(self, attached: AttachedDelta, parameters: Float[Tensor, " params"]) -> list[str]:
        if not self._ranked:
            return []
        predictions: dict[int, str] = {}
        order = by_length(self._held)
        for start in range(0, len(order), _PASS):
            chosen = order[start : start + _PASS]
            batch = attached.backbone.family.collate([self._held[index] for index in chosen])
            predictions |= dict(zip(chosen, attached.evaluate(parameters, batch).predictions, strict=True))
        return [predictions[index] for index in range(len(self._held))]

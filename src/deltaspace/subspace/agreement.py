"""How far deltas compute the same function at one intrinsic vector, told from what the PLM decides by (`Family.decision`).

For deltas s and t, vectors c around the source tasks' codes and texts x,

    disagreement(s, t) = mean over c, x of |f_s(x; c) - f_t(x; c)|^2 / V,
    V = mean over deltas, c, x of |f_t(x; c) - mean over c of f_t(x; c)|^2

0: the same function. 1: as far apart as one delta's function at two vectors drawn alike is from its mean. No target is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.families import Item
from deltaspace.seeds import derived_seed

# Texts that one pass of the model takes, over all vectors together.
_PASS = 256

Decode = Callable[[int, Float[Tensor, "rows dim"]], Float[Tensor, "rows params"]]


@dataclass(frozen=True)
class Disagreement:
    """How far each pair of deltas is apart.

    Args:
        pairs: names of two deltas -> disagreement.
        variance: V.
    """

    pairs: dict[tuple[str, str], float]
    variance: float

    @property
    def mean(self) -> float:
        """Over the pairs; 0 for one delta."""
        return sum(self.pairs.values()) / len(self.pairs) if self.pairs else 0.0


def draw_codes(
    codes: Float[Tensor, "tasks dim"], count: int, reach: float, radius: tuple[float, float], seed: int
) -> Float[Tensor, "count dim"]:
    """Vectors around source tasks' codes: a c_i + s L z, with L the codes' mean length and z uniform on the sphere.

    Args:
        codes: c_1 ... c_T.
        count: how many.
        reach: a is uniform from 0 to this.
        radius: s is uniform between these.
        seed: decides them.
    """
    generator = torch.Generator().manual_seed(seed)
    tasks, dim = codes.shape
    chosen = torch.randint(tasks, (count,), generator=generator)
    shares = reach * torch.rand(count, 1, generator=generator)
    away = torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=1)
    low, high = radius
    lengths = low + (high - low) * torch.rand(count, 1, generator=generator)
    length = codes.norm(dim=1).mean()
    return shares.to(codes) * codes[chosen.to(codes.device)] + (lengths * away).to(codes) * length


@torch.no_grad()
def decisions(
    attached: AttachedDelta, parameters: Float[Tensor, "rows params"], items: Sequence[Item]
) -> Float[Tensor, "rows texts features"]:
    """What the PLM decides by on each text, with each of some parameters of a delta; several of these in one pass."""
    family = attached.backbone.family
    each = max(1, _PASS // len(items)) if attached.delta.grouped else 1
    parts = []
    for start in range(0, len(parameters), each):
        part = parameters[start : start + each]
        batch = family.collate([*items] * len(part))
        parts.append(attached.decision(part, batch).unflatten(0, (len(part), -1)))
    return torch.cat(parts)


def disagreement_at(
    attached: Sequence[AttachedDelta], decode: Decode, vectors: Float[Tensor, "rows dim"], items: Sequence[Item]
) -> Disagreement:
    """The disagreement of each pair of deltas at some vectors, on some texts.

    Args:
        attached: the deltas.
        decode: a delta's index and vectors -> its parameters.
        vectors: c.
        items: encoded texts.
    """
    outputs = [decisions(delta, decode(index, vectors), items) for index, delta in enumerate(attached)]
    variance = sum(float((out - out.mean(0)).square().sum(2).mean()) for out in outputs) / len(outputs)
    pairs = {
        (attached[i].name, attached[j].name): float((outputs[i] - outputs[j]).square().sum(2).mean()) / max(variance, 1e-30)
        for i, j in itertools.combinations(range(len(attached)), 2)
    }
    return Disagreement(pairs, variance)


def probe_seed(seed: int, *purpose: str) -> int:
    """The seed of what agreement draws for one purpose."""
    return derived_seed(seed, "agreement", *purpose)

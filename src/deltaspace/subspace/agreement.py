"""How far deltas compute the same function at one intrinsic vector, told from what the PLM decides by (`Family.decision`).

For deltas s and t, vectors c around the source tasks' codes, texts x, and f_0, the decisions of the PLM before anything is tuned,

    disagreement(s, t) = mean over c of |f_s - f_t|^2 / (|f_s - f_0|^2 + |f_t - f_0|^2 + 2 SMALL),    |.|^2: mean over x

0: the same function. 1: two changes of the PLM that have nothing in common. 2: opposite ones. Every vector counts alike: one that
changes much would hide the others. No target is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor, nn

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.families import Item
from deltaspace.seeds import derived_seed
from deltaspace.settings import Settings
from deltaspace.subspace.codes import draw_codes

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone
    from deltaspace.subspace.subspace import Subspace

# Texts that one pass of the model takes, over all vectors together.
_PASS = 256
# Of one vector, of like length.
_TEXTS = 16

# Pairs of deltas that differ in less than this are said to agree.
AGREE = 0.25
# Changes of decisions (their length is 1) of this mean square and less need not be alike.
SMALL = 0.03

Decode = Callable[[int, Float[Tensor, "rows dim"]], Float[Tensor, "rows params"]]


@dataclass(frozen=True)
class Disagreement:
    """How far each pair of deltas is apart.

    Args:
        pairs: names of two deltas -> disagreement.
    """

    pairs: dict[tuple[str, str], float]

    @property
    def mean(self) -> float:
        """Over the pairs; 0 for one delta."""
        return sum(self.pairs.values()) / len(self.pairs) if self.pairs else 0.0


class Probing(Settings):
    """At which vectors, and on how many texts, the deltas' functions are compared."""

    radii: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        default=(0.0, 0.25, 0.5, 1.0, 2.0), min_length=1, description="how far from the source tasks' codes (see codes.py)"
    )
    vectors: int = Field(default=8, ge=2, description="drawn at each radius")
    texts: int = Field(default=32, ge=1, description="inputs of unseen tasks, for each vector")

    @field_validator("radii")
    @classmethod
    def _each_once(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if twice := sorted({radius for radius in value if value.count(radius) > 1}):
            raise ValueError(f"the radius {twice[0]:g} stands twice")
        return tuple(sorted(value))


def disagreement_by_radius(
    subspace: Subspace, attached: Sequence[AttachedDelta], items: Sequence[Item], probing: Probing, seed: int
) -> dict[float, Disagreement]:
    """Disagreement at vectors at each radius around the source tasks' codes: how far transfer can be trusted there.

    Args:
        subspace: its codes are shared by the deltas.
        attached: deltas of it.
        items: encoded texts that it was not made from.
        probing: the radii.
        seed: decides which vectors.

    Raises:
        DeltaspaceError: the deltas share no codes.
    """
    codes = subspace.shared_codes()
    measured = {}
    for radius in probing.radii:
        # The same draws at every radius, so that radii differ in nothing else.
        vectors = draw_codes(codes, probing.vectors, 1.0, (radius, radius), probe_seed(seed, "radii"))
        measured[radius] = disagreement_at(
            attached, lambda index, rows: subspace.decode(attached[index].name, rows), vectors, items
        )
    return measured


def decisions(
    attached: AttachedDelta, parameters: Float[Tensor, "rows params"], items: Sequence[Item]
) -> Float[Tensor, "rows texts features"]:
    """What the PLM decides by on each text, with each of some parameters of a delta; several of these in one pass."""
    return _in_order(items, lambda texts: _each(attached, attached.decision, parameters, texts))


def answers(
    attached: AttachedDelta, parameters: Float[Tensor, "rows params"], items: Sequence[Item]
) -> Iterator[Float[Tensor, "rows texts features"]]:
    """Likewise what it answers to the items' own task (`Family.answer`), a few texts at a time: a written answer is many numbers.
    The texts are in an order that their lengths decide."""
    for chosen in _parts(items):
        yield _each(attached, attached.answer, parameters, [items[index] for index in chosen])


@torch.no_grad()
def _each(
    attached: AttachedDelta,
    asked: Callable[[Tensor, Any], Tensor],
    parameters: Float[Tensor, "rows params"],
    texts: list[Item],
) -> Float[Tensor, "rows texts features"]:
    family = attached.backbone.family
    each = max(1, _PASS // len(texts)) if attached.delta.grouped else 1
    parts = [asked(part, family.collate(texts * len(part))) for part in parameters.split(each)]
    return torch.cat(parts).unflatten(0, (len(parameters), -1))


def _in_order(
    items: Sequence[Item], outputs: Callable[[list[Item]], Float[Tensor, "rows texts features"]]
) -> Float[Tensor, "rows texts features"]:
    """Outputs of all items, in their order, a few at a time."""
    parts = _parts(items)
    columns = [outputs([items[index] for index in part]) for part in parts]
    return torch.cat(columns, dim=1)[:, torch.tensor([index for part in parts for index in part]).argsort()]


def _parts(items: Sequence[Item]) -> list[list[int]]:
    """Positions of the items, a few at a time, those of like length together: what is padded is computed."""
    order = sorted(range(len(items)), key=lambda index: len(items[index].input_ids))
    return [order[start : start + _TEXTS] for start in range(0, len(order), _TEXTS)]


@torch.no_grad()
def drawn_states(backbone: Backbone, items: Sequence[Item], continued: int, seed: int) -> list[Item]:
    """Each text in one of the states in which the PLM decides something behind it, drawn.

    Behind the beginning of a candidate, or, where answers are written, of what the PLM writes before anything is tuned, so many
    tokens at most. For 0, and in families that write nothing, texts are as they were: what comes next is decided.
    """
    if not continued:
        return list(items)
    family = backbone.family
    with backbone.products.computing():
        written = family.written(backbone.model, items, continued)
    drawn = torch.rand(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    return [states[int(share * len(states))] for share, states in zip(drawn, family.states(written), strict=True)]


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
    # Not those of a delta's initial vector, which need not be nothing, such as a prefix.
    backbone = attached[0].backbone
    untuned = decisions_of(backbone.model, backbone, items)
    outputs = []
    for index, delta in enumerate(attached):
        # A delta that takes one vector at a time may be of the PLM's size: no more than one is decoded.
        parts = vectors.split(len(vectors) if delta.delta.grouped else 1)
        outputs.append(torch.cat([decisions(delta, decode(index, part), items) for part in parts]))
    changes = [_mean_square(out - untuned) for out in outputs]
    pairs = {
        (attached[i].name, attached[j].name): float(_apart(outputs[i] - outputs[j], changes[i] + changes[j]).mean())
        for i, j in itertools.combinations(range(len(attached)), 2)
    }
    return Disagreement(pairs)


@torch.no_grad()
def decisions_of(model: nn.Module, backbone: Backbone, items: Sequence[Item]) -> Float[Tensor, "texts features"]:
    """What a model decides by on each text, such as the PLM itself, or peft's own model on it."""
    with backbone.products.computing():
        return _in_order(items, lambda texts: backbone.family.decision(model, backbone.family.collate(texts)).unsqueeze(0))[0]


@torch.no_grad()
def answers_of(model: nn.Module, backbone: Backbone, items: Sequence[Item]) -> Iterator[Float[Tensor, "texts features"]]:
    """Likewise what it answers to the items' own task, in the parts of `answers`."""
    for chosen in _parts(items):
        with backbone.products.computing():
            yield backbone.family.answer(model, backbone.family.collate([items[index] for index in chosen]))


def disagreement_of(
    first: Float[Tensor, "texts features"], second: Float[Tensor, "texts features"], untuned: Float[Tensor, "texts features"]
) -> float:
    """The disagreement of two functions whose decisions are at hand, with those of the PLM before anything is tuned."""
    changes = _mean_square((first - untuned).unsqueeze(0)) + _mean_square((second - untuned).unsqueeze(0))
    return float(_apart((first - second).unsqueeze(0), changes))


def _apart(difference: Float[Tensor, "rows texts features"], changes: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    return _mean_square(difference) / (changes + 2 * SMALL)


def _mean_square(changes: Float[Tensor, "rows texts features"]) -> Float[Tensor, " rows"]:
    return changes.square().sum(2).mean(1)


def probe_seed(seed: int, *purpose: str) -> int:
    """The seed of what agreement draws for one purpose."""
    return derived_seed(seed, "agreement", *purpose)

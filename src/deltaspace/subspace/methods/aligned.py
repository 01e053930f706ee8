"""Directions of the source solutions, brought to mean the same function for every delta.

After arXiv 2210.13311, section 3, which asks for one vector to do one task through every delta at the source tasks' codes,
and for nothing elsewhere. Here the deltas must agree wherever tuning may go:

1. Raw directions: the joint SVD of the displacements without their mean, cut by depth into d; the mean is the offset.
2. Functional start, if it is asked for: a leader (the named one, or the one that the others follow best) keeps its directions.
   The others' offsets are tuned until they decide at the vector 0 as the leader does; R_t is the change of decisions on some
   texts when delta t moves from there along each of its directions; these are mixed by ridge regression until R_t is nearest to
   the leader's.
3. Training: task loss and distillation at the codes, agreement around them, reconstruction (`objectives/aligned.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import normalize, pad

from deltaspace.deltas.delta import AttachedDelta
from deltaspace.errors import DeltaspaceError
from deltaspace.families import Item
from deltaspace.storage import resolved
from deltaspace.subspace.agreement import decisions, disagreement_at, drawn_states, probe_seed
from deltaspace.subspace.codes import REACH, draw_codes
from deltaspace.subspace.fitting.affine import Affine, AffineDense, AffineMixture
from deltaspace.subspace.fitting.displacements import Centered
from deltaspace.subspace.fitting.joint import basis, cuts, gram, mixture, shared_codes, spread
from deltaspace.subspace.fitting.method import Fitted, Problem, ProjectionMethod
from deltaspace.subspace.fitting.source import Source
from deltaspace.subspace.fitting.trainable import Trainable
from deltaspace.subspace.joint_training import DevScores, train_jointly
from deltaspace.subspace.maps import Map
from deltaspace.subspace.methods.registry import PROJECTIONS
from deltaspace.subspace.objectives.aligned import CONSENSUS, TURNS, Aligned, Weights
from deltaspace.tasks import Example, Task, read_inputs
from deltaspace.tasks.task import unlabeled
from deltaspace.training import NO_RESUME, Batches, Resume, Score, Training, fit

# Vectors at which disagreement is measured while training, on so many texts.
_JUDGED, _JUDGED_TEXTS = 12, 48
# Features of a text's decision beyond which responses are compared through a random sketch of this size.
_SKETCH = 1024
_RIDGE = 1e-2
# Vectors of a delta's size that are decoded together at the start.
_ROWS = 16
# How the offsets are found; lr is in units of a displacement's entries.
_CENTERING = Training(steps=40, lr=0.3, batch_size=24, evaluate_every=10)


@PROJECTIONS.register
class AlignedDirections(ProjectionMethod):
    """Trained so that one vector is the same function in every delta, around the source tasks' codes and not only at them."""

    name: ClassVar[str] = "aligned"
    source: ClassVar[str] = "https://arxiv.org/abs/2210.13311"
    summary: ClassVar[str] = "joint SVD with offsets, trained so that all deltas compute the same function at one vector"
    trained: ClassVar[bool] = True
    later: ClassVar[dict[str, object]] = {"continued": 0}

    leader: str = Field(default=CONSENSUS, description="whom the deltas follow: consensus, turns, or one of the recipe's deltas")
    directions: Literal["sources", "random"] = Field(
        default="sources",
        description="where directions start: the source solutions', or random ones of their length, as a control",
    )
    start: Literal["svd", "responses"] = Field(
        default="svd", description="the joint SVD as it is, or first fit the deltas' responses to each coordinate: 5 d passes"
    )
    task: float = Field(default=1.0, ge=0, description="weight of the task loss at the source tasks' codes")
    distillation: float = Field(
        default=1.0, ge=0, description="weight of how far deltas decide there otherwise than the source solutions do on average"
    )
    agreement: float = Field(default=1.0, ge=0, description="weight of the disagreement around them")
    isometry: float = Field(
        default=5.0, ge=0, description="with agreement, weight of what keeps different vectors' functions as different"
    )
    task_every: int = Field(
        default=4, ge=1, description="the task loss is taken every so many steps, and weighs so much more then"
    )
    vectors: int = Field(default=6, ge=1, description="vectors a step at which deltas are compared")
    texts: int = Field(default=4, ge=2, description="texts a step, the same for all vectors")
    probe: str | None = Field(
        default=None, description="file of texts to compare on, one a line or JSON Lines; else the source tasks' training inputs"
    )
    continued: int = Field(
        default=0, ge=0, description="where models write: tokens by which texts go on, at most, before deltas are compared"
    )
    responding: int = Field(default=64, ge=1, description="texts on which responses are compared at the start")
    reach: float = Field(
        default=REACH, ge=0, description="how far along a source task's code vectors are drawn, as a share of the code"
    )
    near: float = Field(default=0.3, ge=0, description="how far around them at first, as a share of the codes' mean length")
    far: float = Field(default=1.5, ge=0, description="and from half of the steps on")

    @model_validator(mode="after")
    def _outward(self) -> AlignedDirections:
        if self.far < self.near:
            raise ValueError(
                f"far is at least near, which is {self.near:g} (found {self.far:g}): vectors are drawn farther out later"
            )
        return self

    def make(self, sources: Sequence[Source], dim: int, seed: int) -> list[Map]:
        return [made.fixed(source.displacements) for made, source in zip(self.raw(sources, dim, seed), sources, strict=True)]

    def fit(self, problem: Problem, drawn: int, resume: Resume = NO_RESUME) -> Fitted:
        names = [delta.name for delta in problem.attached]
        self.check_deltas(names)
        self.check_sources(problem.tasks, [delta.name for delta in problem.attached if delta.delta.large])
        family, each = problem.attached[0].backbone.family, max(1, self.responding // len(problem.tasks))
        items = [family.encode(task, examples) for task, examples in self._examples(problem.tasks)]
        start = self.raw(problem.sources, problem.dim, problem.seed)
        if self.start == "responses":
            start = self._responding(problem, start, [item for part in items for item in part[:each]], resume)
        held_out = [item for task in problem.tasks for item in family.encode(task, task.dev[: problem.settings.dev])]
        judged = drawn_states(
            problem.attached[0].backbone,
            held_out[:: max(1, len(held_out) // _JUDGED_TEXTS)][:_JUDGED_TEXTS],
            self.continued,
            probe_seed(problem.seed, "judged states"),
        )
        codes = start[0].task_codes
        vectors = draw_codes(codes, _JUDGED, self.reach, (0.0, self.far), probe_seed(problem.seed, "judged"))

        def decode_by(trainables: Sequence[Trainable], index: int, vectors: Tensor) -> Tensor:
            return problem.attached[index].initial + trainables[index].decode(vectors)

        def apart(trainables: Sequence[Trainable]) -> Score:
            measured = disagreement_at(problem.attached, lambda i, v: decode_by(trainables, i, v), vectors, judged)
            return Score(100 * (1 - measured.mean), measured.mean, len(judged))

        weights = Weights(
            self.task,
            self.distillation,
            self.agreement if len(names) > 1 else 0.0,
            self.isometry,
            problem.settings.alpha,
            self.task_every if self.agreement and len(names) > 1 else 1,
            self.leader,
            self.vectors,
            self.texts,
            self.reach,
            self.near,
            self.far,
            self.continued,
        )
        if not (weights.task or weights.distillation or weights.agreement or weights.reconstruction):
            made = [m.fixed(source.displacements) for m, source in zip(start, problem.sources, strict=True)]
            return Fitted(made, torch.stack([m.codes() for m in start]), [m.displacement_at_zero() for m in start])
        texts: list[Item] = [item for part in items for item in part]
        objective = Aligned(problem, weights, texts)
        evaluate = apart if weights.agreement else DevScores(problem, True).score
        return train_jointly(problem, start, [objective], True, resume, evaluate)

    def check_deltas(self, names: Sequence[str]) -> None:
        if self.leader not in (CONSENSUS, TURNS, *names):
            raise DeltaspaceError(f"aligned: no leader {self.leader!r}", expected=", ".join((CONSENSUS, TURNS, *names)))

    def check_sources(self, tasks: Sequence[Task], large: Sequence[str]) -> None:
        self._check_directions(large)
        self._examples(tasks)

    def _check_directions(self, large: Sequence[str]) -> None:
        if self.directions == "random" and large:
            raise DeltaspaceError(
                "aligned: random directions of a delta of the PLM's size do not fit",
                found=", ".join(large),
                mend="leave out fine-tuning, or 'directions'",
            )

    def relative_to(self, folder: Path) -> AlignedDirections:
        return self if self.probe is None else self.model_copy(update={"probe": str(resolved(folder / self.probe))})

    def without_paths(self) -> AlignedDirections:
        return self.model_copy(update={"probe": None})

    def read_from(self) -> list[str]:
        return [] if self.probe is None else read_inputs(Path(self.probe))

    def _examples(self, tasks: Sequence[Task]) -> list[tuple[Task, Sequence[Example]]]:
        """Of every task the inputs on which deltas are compared: its own, or its part of the texts that the user names."""
        if self.probe is None:
            return [(task, task.train) for task in tasks]
        texts = self.read_from()
        # Options belong to examples: a text alone has none.
        fit = [task for task in tasks if task.kind != "multiple_choice"][: len(texts)]
        if not fit:
            raise DeltaspaceError("no source task can be read without options", mend="leave out 'probe'")
        return [(task, unlabeled(task, texts[index :: len(fit)])) for index, task in enumerate(fit)]

    def raw(self, sources: Sequence[Source], dim: int, seed: int) -> list[Affine]:
        """Step 1: the directions and codes of the joint SVD, without training; or its codes and random directions."""
        self._check_directions([f"{source.displacements.shape[1]:,} parameters" for source in sources if source.large])
        generator = torch.Generator().manual_seed(seed)
        center = sources[0].tasks > 1
        centered = [replace(s, displacements=Centered(s.displacements)) if center else s for s in sources]
        units = [self.units(source) for source in sources]
        rank = min(max(1, sources[0].tasks - center), dim)
        parts = cuts(dim, rank, min(len(source.blocks) for source in sources))
        codes = shared_codes([gram(s.displacements, u) for s, u in zip(centered, units, strict=True)], rank)
        spreads = pad(spread(codes, parts), (0, dim - sum(parts)))
        started: list[Affine] = []
        for source, without_mean, unit in zip(sources, centered, units, strict=True):
            if source.large:
                span = mixture(source, codes, parts, dim)
                mixing = span.mixing - span.mixing.mean(2, keepdim=True) if center else span.mixing
                mean = torch.full_like(mixing[:, :1], 1 / source.tasks if center else 0.0)
                started.append(AffineMixture(unit, spreads, span, torch.cat([mixing, mean], dim=1)))
                continue
            up = basis(without_mean, unit, codes, parts, dim)
            if self.directions == "random":
                drawn = torch.randn(up.shape, generator=generator).to(up)
                up = normalize(drawn, dim=1) * up.norm(dim=1, keepdim=True)
            rows = without_mean.displacements
            offset = rows.mean / unit if isinstance(rows, Centered) else torch.zeros_like(unit)
            started.append(AffineDense(unit, spreads, torch.cat([up, offset.unsqueeze(0)])))
        return started

    def _responding(self, problem: Problem, raw: Sequence[Affine], items: Sequence[Item], resume: Resume) -> list[Affine]:
        """Step 2: the deltas do what a leader does at the vector 0, and respond to each coordinate as it does."""
        moves = raw[0].task_codes.square().mean(0).sqrt()
        moves = torch.where(moves > 0, moves, moves[moves > 0].mean())
        decided = [_decided(delta, made, moves, items) for delta, made in zip(problem.attached, raw, strict=True)]
        responses = [_sketched(rows[1:] - rows[:1]) for rows in decided]
        names = [delta.name for delta in problem.attached]
        leader = names.index(self.leader) if self.leader in names else _easiest_to_follow(responses)
        started = []
        for index, (delta, made) in enumerate(zip(problem.attached, raw, strict=True)):
            if index == leader:
                started.append(made)
                continue
            placed = _with_origin(delta, made, items, decided[leader][0], problem.seed, resume)
            rows = _decided(delta, placed, moves, items)
            mixing = _ridge(_sketched(rows[1:] - rows[:1]), responses[leader])
            started.append(placed.transformed(mixing * moves / moves.unsqueeze(1)))
        return started


def _decided(
    delta: AttachedDelta, made: Affine, moves: Float[Tensor, " dim"], items: Sequence[Item]
) -> Float[Tensor, "moves texts features"]:
    """The decisions on all texts at the vector 0, then with each coordinate moved alone."""
    rows = torch.cat([torch.zeros_like(moves).unsqueeze(0), torch.diag(moves)])
    # A few at a time: each is a vector of the delta's size.
    return torch.cat([decisions(delta, delta.initial + made.decode(part), items) for part in rows.split(_ROWS)])


def _easiest_to_follow(responses: Sequence[Float[Tensor, "dim outputs"]]) -> int:
    """The delta whose responses the others' explain best, by ridge regression."""
    shares = []
    for wanted in responses:
        left = [(_ridge(given, wanted) @ given - wanted).square().sum() for given in responses]
        shares.append(float(torch.stack(left).sum() / wanted.square().sum().clamp_min(1e-30)))
    return shares.index(min(shares))


def _with_origin(
    delta: AttachedDelta, made: Affine, items: Sequence[Item], wanted: Float[Tensor, "texts features"], seed: int, resume: Resume
) -> Affine:
    """The offset tuned so that the delta decides at the vector 0 as is wanted. The mean of the solutions' parameters does not:
    that of prefixes decides farther from what their solutions decide on average than the untuned PLM does.
    """
    family = delta.backbone.family
    by_item = dict(zip(map(id, items), wanted, strict=True))
    batches = Batches(items, _CENTERING.batch_size, probe_seed(seed, "origin", delta.name))

    def loss(values: list[Tensor], step: int) -> Tensor:
        chosen = batches.at(step)
        origin = delta.initial + made.with_offset(values[0]).displacement_at_zero()
        decided = delta.decision(origin.unsqueeze(0), family.collate(chosen))
        return (decided - torch.stack([by_item[id(item)] for item in chosen])).square().sum(1).mean()

    def evaluate(values: list[Tensor]) -> Score:
        origin = delta.initial + made.with_offset(values[0]).displacement_at_zero()
        apart = float((decisions(delta, origin.unsqueeze(0), items)[0] - wanted).square().sum(1).mean())
        return Score(-100 * apart, apart, len(items))

    def tell(done: int, total: int, text: str) -> None:
        resume.tell(done, total, f"offset of {delta.name}")

    tuned = fit([made.offset()], loss, evaluate, _CENTERING, resume=Resume(progress=tell))
    return made.with_offset(tuned.parameters[0])


def _sketched(outputs: Float[Tensor, "rows texts features"]) -> Float[Tensor, "rows outputs"]:
    width = outputs.shape[2]
    if width > _SKETCH:
        generator = torch.Generator().manual_seed(width)
        signs = (torch.randint(2, (width, _SKETCH), generator=generator) * 2.0 - 1).to(outputs) / _SKETCH**0.5
        outputs = outputs @ signs
    return outputs.flatten(1)


def _ridge(given: Float[Tensor, "k outputs"], wanted: Float[Tensor, "rows outputs"]) -> Float[Tensor, "rows k"]:
    """M with M given near wanted, by ridge regression."""
    products = (given @ given.T).double()
    return torch.linalg.solve(products + _ridge_weight(products), (given @ wanted.T).double()).T.to(given)


def _ridge_weight(products: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
    """A share of the mean squared length of what is given, on the diagonal."""
    size = products.diagonal().mean().clamp_min(1e-30)
    return _RIDGE * size * torch.eye(len(products), dtype=products.dtype, device=products.device)

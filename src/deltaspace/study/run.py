"""Running a recipe: every artefact that is missing or stale is made, in order; everything else stays."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from deltaspace.deltas import AttachedDelta, Lora
from deltaspace.errors import DeltaspaceError
from deltaspace.storage import digest, read_tensors, write_json, write_tensors, write_text
from deltaspace.landscape import sample
from deltaspace.rivals import RANDOM, RIVALS, Tuned, attach_rival, tune
from deltaspace.solutions import score, train
from deltaspace.storage import model_fingerprint, model_folder
from deltaspace.study.folder import Artefact, Folder, Row
from deltaspace.study.history import logged
from deltaspace.study.imports import Imports, import_print
from deltaspace.study.landscapes import SliceSpec, make_slice, own_vectors, vector_of, with_ways
from deltaspace.subspace import Optimized, Subspace, approximate, optimize, transfer
from deltaspace.subspace.methods.displacements import InFiles
from deltaspace.tasks import Task, few_shot, load_task
from deltaspace.training import Fit, Progress, Score

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone
    from deltaspace.study.recipe import Recipe

Until = Literal["train", "approximate", "optimize", "transfer", "landscape"]
# Raised when the numbers that a stage computes change, so that older artefacts become stale.
_VERSION = 1


class Report:
    """What `run` tells while it works; the command line shows it."""

    def study(self, name: str) -> None:
        """Called before each study of a sweep."""

    def plan(self, todo: int, done: int) -> None:
        """Called once: artefacts to make, and artefacts that are there and valid."""

    def start(self, path: str, reason: str) -> None:
        """An artefact is going to be made, because it is `missing`, `stale` or `damaged`."""

    def progress(self, step: int, steps: int, text: str) -> None:
        """A training goes on."""

    def end(self, path: str) -> None:
        """An artefact is there."""


def run(recipe: Recipe, out: Path, *, base: Path | None = None, until: Until = "landscape", report: Report | None = None) -> int:
    """Make everything of a study that is missing, stale or damaged.

    Args:
        recipe: what to compute.
        out: the study's folder.
        base: what relative task folders are relative to; the current folder by default.
        until: the last stage to run.
        report: told what goes on.

    Returns:
        The number of artefacts made.

    Raises:
        DeltaspaceError: a mistake in the recipe or the tasks, a full disk, a study that is already running.
    """
    report = report or Report()
    study = Study(recipe, Folder(out), base, report)
    artefacts = list(study.artefacts(until))
    with study.folder.locked():
        states = [study.folder.state(artefact) for artefact in artefacts]
        report.plan(sum(s != "valid" for s in states), sum(s == "valid" for s in states))
        keep_recipe(recipe, out, base)
        made = 0
        with logged(study.folder, until) as log:
            for artefact, state in zip(artefacts, states, strict=True):
                if state != "valid":
                    log.begin()
                    made += study.make(artefact, state)
                    log.made(artefact.path)
        study.sweep(artefacts if until == "landscape" else [])
    return made


def keep_recipe(recipe: Recipe, out: Path, base: Path | None) -> None:
    """Write the recipe into the study so that it can be run from there: its folder of tasks as an absolute path."""
    written = recipe.model_dump(mode="json", by_alias=True)
    if recipe.tasks.folder is not None or base is not None:
        written["tasks"]["folder"] = str(((base or Path()) / Path(recipe.tasks.folder or "").expanduser()).resolve())
    text = yaml.safe_dump(written, sort_keys=False)
    if not (out / "recipe.yaml").exists() or (out / "recipe.yaml").read_text(encoding="utf-8") != text:
        write_text(out / "recipe.yaml", text)


def check_tasks(recipe: Recipe, base: Path | None = None) -> list[Task]:
    """Load all tasks and the model of a recipe and see that they fit, without training anything.

    Raises:
        DeltaspaceError: something does not fit.
    """
    study = Study(recipe, Folder(Path()), base, Report())
    for name in recipe.deltas:
        study.attached(name, recipe.seed[0])
    for task in study.tasks.values():
        study.backbone.family.check(task)
    return list(study.tasks.values())


class Study:
    """A recipe at work in a folder: what it is made of, and how each part of it is made."""

    def __init__(self, recipe: Recipe, folder: Folder, base: Path | None, report: Report) -> None:
        self.recipe, self.folder, self.report = recipe, folder, report
        specs = (*recipe.tasks.source, *recipe.tasks.unseen)
        place = (base or Path()) / Path(recipe.tasks.folder or "").expanduser()
        self.tasks = {spec.task_name: load_task(spec, folder=place, limits=recipe.limits) for spec in specs}
        if recipe.tasks.shots is not None:
            few = {spec.task_name: few_shot(self.tasks[spec.task_name], recipe.tasks.shots) for spec in recipe.tasks.unseen}
            self.tasks |= few
        self.imports = Imports(folder)
        self.source = [spec.task_name for spec in recipe.tasks.source]
        self.unseen = [spec.task_name for spec in recipe.tasks.unseen]
        self.model_fingerprint = digest(
            [_VERSION, model_fingerprint(model_folder(recipe.model)), recipe.family, recipe.max_length]
        )

    @functools.cached_property
    def backbone(self) -> Backbone:
        from deltaspace.backbone import load_backbone

        return load_backbone(self.recipe.model, family=self.recipe.family, max_length=self.recipe.max_length)

    @functools.cache  # noqa: B019 - a study lives as long as its run
    def attached(self, name: str, seed: int) -> AttachedDelta:
        return AttachedDelta(self.recipe.delta(name), self.backbone, seed, name, self.imports.initial(name, seed))

    @functools.cache  # noqa: B019
    def subspace(self, dim: int, seed: int) -> Subspace:
        return Subspace.load(self.folder.path / self.subspace_path(dim, seed)).to(self.backbone.device)

    # What depends on what: a fingerprint is made of the fingerprints of what an artefact is made from.

    def print_of(self, stage: str, *parts: Any) -> str:
        return digest([stage, self.model_fingerprint, *parts])

    @functools.cache  # noqa: B019
    def zero_shot_print(self, task: str, delta: str, seed: int) -> str:
        parts: list[Any] = [self.tasks[task].fingerprint, delta, self.recipe.deltas[delta], seed]
        if own := self.imports.initial_print(delta, seed):
            parts.append(own)
        return self.print_of("zero_shot", *parts)

    @functools.cache  # noqa: B019
    def solution_print(self, task: str, delta: str, seed: int) -> str:
        if source := self.imports.source(task, delta, seed):
            return import_print(self.zero_shot_print(task, delta, seed), source)
        return self.print_of("solution", self.zero_shot_print(task, delta, seed), self.recipe.train.model_dump())

    @functools.cache  # noqa: B019
    def subspace_print(self, dim: int, seed: int) -> str:
        sources = [self.solution_print(task, delta, seed) for task in self.source for delta in self.recipe.deltas]
        return self.print_of(
            "subspace", sources, dim, self.recipe.projection, self.recipe.alpha, self.recipe.approximate.model_dump()
        )

    @functools.cache  # noqa: B019
    def vector_print(self, task: str, delta: str, dim: int, seed: int) -> str:
        training = self.recipe.optimize.model_dump()
        return self.print_of("vector", self.subspace_print(dim, seed), self.tasks[task].fingerprint, delta, training)

    def transfer_print(self, task: str, source: str, delta: str, dim: int, seed: int) -> str:
        return self.print_of("transfer", self.vector_print(task, source, dim, seed), delta)

    @functools.cache  # noqa: B019
    def rival_print(self, rival: str, task: str, delta: str, dim: int, seed: int) -> str:
        parts = [rival, self.tasks[task].fingerprint, dim, seed, self.recipe.optimize.model_dump()]
        parts.append(RIVALS[rival].lr)
        if rival == RANDOM:
            # Random directions have the length of the source tasks' displacements.
            parts += [self.solution_print(source, delta, seed) for source in self.source]
        return self.print_of("rival", *parts)

    def landscape_print(self, spec: SliceSpec) -> str:
        assert spec.dim is not None and spec.seed is not None
        parts = [self.print_of("subspace of", self.subspace_print(spec.dim, spec.seed)), self.tasks[spec.task].fingerprint]
        return self.print_of("landscape", *parts, spec.model_dump(), sorted(self.slice_vectors(spec).items()))

    def slice_vectors(self, spec: SliceSpec) -> dict[str, str]:
        """Files and fingerprints of the vectors that a slice is laid through, and of those of its task, which it shows."""
        keys = [(spec.task, delta) for delta in self.recipe.deltas if spec.task in self.unseen]
        keys += [key for point in spec.named if (key := self.vector_of(point, spec)) is not None and key not in keys]
        assert spec.dim is not None and spec.seed is not None
        return {
            self.vector_path(*key, spec.dim, spec.seed): self.vector_print(*key, spec.dim, spec.seed)
            for key in dict.fromkeys(keys)
        }

    def vector_of(self, point: str, spec: SliceSpec) -> tuple[str, str] | None:
        return vector_of(point, spec.task, list(self.recipe.deltas), self.source, self.unseen)

    @staticmethod
    def solution_path(task: str, delta: str, seed: int) -> str:
        return f"solutions/{delta}/{task}-{seed}.safetensors"

    @staticmethod
    def subspace_path(dim: int, seed: int) -> str:
        return f"subspace/{dim}-{seed}.safetensors"

    @staticmethod
    def vector_path(task: str, delta: str, dim: int, seed: int) -> str:
        return f"vectors/{dim}/{task}-{delta}-{seed}.safetensors"

    def artefacts(self, until: Until) -> Iterator[Artefact]:
        """All artefacts up to a stage, each behind those that it is made from."""
        deltas = list(self.recipe.deltas)
        for seed in self.recipe.seed:
            for task, delta in itertools.product(self.tasks, deltas):
                yield self.artefact(
                    f"scores/zero_shot/{task}-{delta}-{seed}.json",
                    self.zero_shot_print(task, delta, seed),
                    self.make_zero_shot,
                    task,
                    delta,
                    seed,
                )
                path = self.solution_path(task, delta, seed)
                yield self.artefact(path, self.solution_print(task, delta, seed), self.make_solution, task, delta, seed)
        if until == "train":
            return
        slices = [self.recipe.slice_spec(spec) for spec in self.recipe.landscapes] if until == "landscape" else []
        for dim, seed in itertools.product(self.recipe.dim, self.recipe.seed):
            yield self.artefact(self.subspace_path(dim, seed), self.subspace_print(dim, seed), self.make_subspace, dim, seed)
            if until == "approximate":
                continue
            for task, delta in itertools.product(self.unseen, deltas):
                fingerprint = self.vector_print(task, delta, dim, seed)
                yield self.artefact(
                    self.vector_path(task, delta, dim, seed), fingerprint, self.make_vector, task, delta, dim, seed
                )
            if until == "optimize":
                continue
            for task, (source, delta) in itertools.product(self.unseen, itertools.permutations(deltas, 2)):
                yield self.artefact(
                    f"scores/transferred/{dim}/{task}-{source}-{delta}-{seed}.json",
                    self.transfer_print(task, source, delta, dim, seed),
                    self.make_transfer,
                    task,
                    source,
                    delta,
                    dim,
                    seed,
                )

        if until == "approximate":
            return
        for dim, seed, rival, task in itertools.product(self.recipe.dim, self.recipe.seed, self.recipe.rivals, self.unseen):
            for delta in deltas if rival == RANDOM else [Lora.name]:
                yield self.artefact(
                    f"rivals/{dim}/{rival}-{task}-{delta}-{seed}.safetensors",
                    self.rival_print(rival, task, delta, dim, seed),
                    self.make_rival,
                    rival,
                    task,
                    delta,
                    dim,
                    seed,
                )

        for spec in slices:
            yield self.artefact(spec.path, self.landscape_print(spec), self.make_landscape, spec)

    @staticmethod
    def artefact(path: str, fingerprint: str, make: Callable[..., None], *arguments: Any) -> Artefact:
        return Artefact(path, fingerprint, lambda target: make(target, fingerprint, *arguments))

    def make(self, artefact: Artefact, state: str) -> int:
        if state == "stale":
            self.folder.set_aside(artefact)
        if self.folder.restore(artefact):
            return 0
        self.report.start(artefact.path, state)
        artefact.make(self.folder.path / artefact.path)
        self.folder.checkpoint(artefact).unlink(missing_ok=True)
        self.report.end(artefact.path)
        return 1

    def sweep(self, artefacts: list[Artefact]) -> None:
        """Set aside what the recipe no longer speaks of, so that tables show this recipe's rows only."""
        wanted = {artefact.path for artefact in artefacts}
        for part in ("solutions", "vectors", "rivals", "scores") if wanted else ():
            for path in sorted((self.folder.path / part).rglob("*.*")):
                name = str(path.relative_to(self.folder.path))
                if name not in wanted and not path.name.startswith(".") and path.is_file():
                    self.folder.set_aside(Artefact(name, "", lambda _: None))

    def training(self, path: Path, fingerprint: str) -> dict[str, Any]:
        name = str(path.relative_to(self.folder.path))
        progress: Progress = self.report.progress
        checkpoint = self.folder.checkpoint(Artefact(name, fingerprint, lambda _: None))
        return {"checkpoint": checkpoint, "fingerprint": fingerprint, "progress": progress}

    def make_zero_shot(self, path: Path, fingerprint: str, task: str, delta: str, seed: int) -> None:
        attached = self.attached(delta, seed)
        row = self.row("zero_shot", task, delta, None, seed, None, score(attached, self.tasks[task], attached.initial), None, 0)
        write_json(path, {"fingerprint": fingerprint, "row": row})

    def make_solution(self, path: Path, fingerprint: str, task: str, delta: str, seed: int) -> None:
        if source := self.imports.source(task, delta, seed):
            raise DeltaspaceError(
                f"{path} was imported, and is missing or of another recipe",
                found=f"it came from {source['from']}",
                mend="import it again: deltaspace import",
            )
        attached = self.attached(delta, seed)
        found = train(attached, self.tasks[task], self.recipe.train, seed=seed, **self.training(path, fingerprint))
        vector, tensors = found.vector, {"vector": found.vector, "displacement": found.displacement}
        if attached.delta.large:
            # A quarter of the file; what is scored is what is kept.
            tensors = {"displacement": found.displacement.bfloat16()}
            vector = attached.initial + tensors["displacement"]
        result = score(attached, self.tasks[task], vector)
        row = self.row("independent", task, delta, None, seed, None, result, found.fit, attached.layout.size)
        layout = [[name, list(shape)] for name, shape in attached.layout.entries]
        write_tensors(path, tensors, {"fingerprint": fingerprint, "row": row, "layout": layout, **_history(found.fit)})

    def make_subspace(self, path: Path, fingerprint: str, dim: int, seed: int) -> None:
        solutions = {delta: self.displacements(delta, seed) for delta in self.recipe.deltas}
        found = approximate(
            [self.attached(delta, seed) for delta in self.recipe.deltas],
            solutions,
            [self.tasks[task] for task in self.source],
            dim=dim,
            projection=self.recipe.decomposition(),
            alpha=self.recipe.alpha,
            settings=self.recipe.approximate,
            seed=seed,
            **self.training(path, fingerprint),
        )
        found.save(path, {"fingerprint": fingerprint})

    def displacements(self, delta: str, seed: int) -> InFiles:
        """Of the source tasks, read as they are needed: together they may be larger than memory."""
        paths = [self.folder.path / self.solution_path(task, delta, seed) for task in self.source]
        for path in paths:
            read_tensors(path)  # finds damage before anything is computed from it
        return InFiles(paths, self.backbone.device)

    def make_vector(self, path: Path, fingerprint: str, task: str, delta: str, dim: int, seed: int) -> None:
        attached, subspace = self.attached(delta, seed), self.subspace(dim, seed)
        found = optimize(
            subspace, attached, self.tasks[task], self.recipe.optimize, seed=seed, **self.training(path, fingerprint)
        )
        result = transfer(subspace, found.vector, attached, self.tasks[task])
        row = self.row("optimized", task, delta, delta, seed, dim, result, found.fit, dim)
        chosen = {"start": found.start, "factor": found.factor}
        metadata = {"fingerprint": fingerprint, "row": row, **chosen, **_history(found.fit)}
        write_tensors(path, {"vector": found.vector, "path": found.path}, metadata)

    def make_transfer(self, path: Path, fingerprint: str, task: str, source: str, delta: str, dim: int, seed: int) -> None:
        tensors, _ = read_tensors(self.folder.path / self.vector_path(task, source, dim, seed))
        attached = self.attached(delta, seed)
        result = transfer(self.subspace(dim, seed), tensors["vector"].to(self.backbone.device), attached, self.tasks[task])
        row = self.row("transferred", task, delta, source, seed, dim, result, None, 0)
        write_json(path, {"fingerprint": fingerprint, "row": row})

    def make_rival(self, path: Path, fingerprint: str, rival: str, task: str, delta: str, dim: int, seed: int) -> None:
        settings, training = self.recipe.optimize, self.training(path, fingerprint)
        found: Optimized | Tuned
        if rival == RANDOM:
            attached, subspace = self.attached(delta, seed), self.random_subspace(dim, seed)
            found = optimize(subspace, attached, self.tasks[task], settings, seed=seed, **training)
            parameters = subspace.decode(delta, found.vector)
        else:
            attached = self.attached_rival(rival, dim, seed)
            lr = RIVALS[rival].lr
            assert lr is not None
            found = tune(attached, self.tasks[task], settings, lr=lr, seed=seed, **training)
            parameters = found.vector
        result = score(attached, self.tasks[task], parameters)
        row = self.row("rival", task, delta, delta, seed, dim, result, found.fit, len(found.vector)) | {"rival": rival}
        metadata = {"fingerprint": fingerprint, "row": row, "factor": found.factor, **_history(found.fit)}
        write_tensors(path, {"vector": found.vector}, metadata)

    def make_landscape(self, path: Path, fingerprint: str, spec: SliceSpec) -> None:
        assert spec.dim is not None and spec.seed is not None
        dim, seed = spec.dim, spec.seed
        keys = [key for point in spec.named if (key := self.vector_of(point, spec)) is not None]
        vectors = {key: read_tensors(self.folder.path / self.vector_path(*key, dim, seed))[0]["vector"] for key in keys}
        subspace = Subspace.load(self.folder.path / self.subspace_path(dim, seed))
        found = sample(
            self.subspace(dim, seed),
            [self.attached(delta, seed) for delta in self.recipe.deltas],
            self.tasks[spec.task],
            make_slice(spec, subspace, vectors),
            split=spec.split,
            examples=spec.examples,
            tolerance=spec.tolerance,
            precision=spec.precision,
            **self.training(path, fingerprint),
        )
        own = {delta: self.vector_path(spec.task, delta, dim, seed) for delta in self.recipe.deltas}
        with_ways(found, own_vectors(self.folder.path, own if spec.task in self.unseen else {}))
        made_from = {self.subspace_path(dim, seed): self.subspace_print(dim, seed), **self.slice_vectors(spec)}
        found.save(path, {"fingerprint": fingerprint, "made_from": made_from, "spec": spec.model_dump()})

    @functools.cache  # noqa: B019
    def attached_rival(self, rival: str, dim: int, seed: int) -> AttachedDelta:
        return attach_rival(rival, dim, self.backbone, seed)

    @functools.cache  # noqa: B019
    def random_subspace(self, dim: int, seed: int) -> Subspace:
        return approximate(
            [self.attached(delta, seed) for delta in self.recipe.deltas],
            {delta: self.displacements(delta, seed) for delta in self.recipe.deltas},
            [self.tasks[task] for task in self.source],
            dim=dim,
            projection="gaussian",
            seed=seed,
        )

    def row(
        self,
        stage: str,
        task: str,
        delta: str,
        source: str | None,
        seed: int,
        dim: int | None,
        result: Score,
        fit: Fit | None,
        tuned: int,
    ) -> Row:
        return {
            "stage": stage,
            "rival": None,
            "tuned": tuned,
            "task": task,
            "delta": delta,
            "source_delta": source,
            "seed": seed,
            "dim": dim,
            "metric": self.tasks[task].metric,
            "score": result.metric,
            "n_test": result.count,
            "seconds": round(fit.seconds, 3) if fit else 0.0,
            "steps": fit.steps if fit else 0,
        }


def _history(fit: Fit) -> dict[str, Any]:
    return {"curve": fit.curve, "best_step": fit.best_step}

"""A study as a graph: stages say what their artefacts are made from; order, fingerprints and states follow from that alone."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import ClassVar

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import digest
from deltaspace.study.artefact import Artefact, Content, MadeFrom
from deltaspace.study.claims import ClaimedElsewhere
from deltaspace.study.folder import State
from deltaspace.study.imported import Imports
from deltaspace.study.observer import Observer
from deltaspace.study.record import check_row, state
from deltaspace.study.resources import Resources
from deltaspace.study.stage import STAGES, ordered_stages
from deltaspace.training import Resume


class Graph:
    """The artefacts of one study: what each is made from, in which order, and what state it is in.

    Args:
        resources: what stages work with; its folder is where the artefacts are.
    """

    # Whether a mistake of one artefact leaves the others to be made, also where one process makes all.
    goes_on: ClassVar[bool] = False

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._made_from: dict[Artefact, MadeFrom] = {}
        self._fingerprints: dict[Artefact, str] = {}

    def renewed(self) -> Graph:
        """The same study, with what was imported into it since."""
        self.resources.imports = Imports(self.resources.folder)
        return Graph(self.resources)

    def wanted(self, until: str | None = None) -> Iterator[Artefact]:
        """What the recipe asks for, stage by stage, up to one of them."""
        for stage in ordered_stages(until):
            for key in stage.keys(self.resources.recipe):
                if stage.wanted(self.resources, key):
                    yield stage.artefact(key)

    def made_from(self, artefact: Artefact) -> MadeFrom:
        """What decides its content; asked for once."""
        if artefact not in self._made_from:
            self._made_from[artefact] = STAGES[artefact.stage].made_from(self.resources, artefact.key)
        return self._made_from[artefact]

    def fingerprint(self, artefact: Artefact) -> str:
        """SHA-256 of everything that it is made from, through all artefacts before it."""
        if artefact not in self._fingerprints:
            for missing in self._walk([artefact], self._fingerprints):
                stage, made_from = STAGES[missing.stage], self.made_from(missing)
                inputs = [self._fingerprints[part] for part in made_from.artefacts]
                plm = self.resources.model_fingerprint
                self._fingerprints[missing] = digest([stage.name, stage.version, plm, made_from.settings, inputs])
        return self._fingerprints[artefact]

    def check_fingerprint(self, artefact: Artefact, asked: str, where: str) -> None:
        """See that this process would make an artefact from what another one, that asks for it, sees.

        Args:
            asked: the fingerprint that it has there.
            where: this process, for the message.

        Raises:
            DeltaspaceError: it would not.
        """
        if (seen := self.fingerprint(artefact)) != asked:
            raise DeltaspaceError(
                f"{artefact.path} would be made from something else {where}",
                found=f"the fingerprint {seen[:12]}",
                expected=f"{asked[:12]}, as where the run was started",
                mend="have the same model, tasks and version of deltaspace on every machine",
            )

    def order(self, artefacts: Iterable[Artefact]) -> list[Artefact]:
        """The artefacts and all that they are made from, each once and behind what it is made from.

        Raises:
            DeltaspaceError: two of them have one path.
        """
        ordered: dict[Artefact, None] = {}
        for artefact in self._walk(artefacts, ordered):
            ordered[artefact] = None
        paths: dict[str, Artefact] = {}
        for artefact in ordered:
            if (other := paths.setdefault(artefact.path, artefact)) is not artefact:
                raise DeltaspaceError(
                    f"two artefacts have the path {artefact.path}",
                    found=f"{other.key!r} and {artefact.key!r}",
                    expected=f"a path for each key of the stage {artefact.stage}",
                )
        return list(ordered)

    def _walk(self, artefacts: Iterable[Artefact], known: Container[Artefact]) -> Iterator[Artefact]:
        """Those not known yet, and such that they are made from, each behind these; whoever takes one makes it known."""
        for artefact in artefacts:
            stack = [artefact]
            while stack:
                if stack[-1] in known:
                    stack.pop()
                elif missing := [part for part in self.made_from(stack[-1]).artefacts if part not in known]:
                    stack += reversed(missing)
                else:
                    yield stack.pop()

    def state(self, artefact: Artefact, *, tensors: bool = False) -> State:
        """Whether it is there and was made from what it would be made from now; read whole where its tensors count."""
        return state(self.resources.folder, artefact.path, self.fingerprint(artefact), tensors=tensors)

    def make(self, artefact: Artefact, state: State, observer: Observer) -> bool:
        """Make an artefact that is not valid, or bring it back where an earlier recipe had it.

        Returns:
            Whether it was made here.

        Raises:
            ClaimedElsewhere: another run makes it, or has just made it.
        """
        outcome = self.make_each([(artefact, state)], observer)
        if artefact not in outcome:
            raise ClaimedElsewhere(artefact.path)
        return outcome[artefact]

    def alike(self, artefact: Artefact) -> Hashable:
        """Artefacts of which this is the same can be made by one `make_each`; None: this one is made alone."""
        alike = STAGES[artefact.stage].alike(self.resources, artefact.key)
        return None if alike is None else (self.resources.folder.path, artefact.stage, alike)

    def make_each(self, artefacts: Sequence[tuple[Artefact, State]], observer: Observer) -> dict[Artefact, bool]:
        """Make artefacts that are alike, side by side; of each that was made, or brought back, whether it was made here.

        Left out are those that another run makes, or has just made; and after the first, the one with a mistake and what follows.
        Observers are told of the first while all are made.

        Raises:
            DeltaspaceError: a user's mistake, before anything was made.
        """
        folder, outcome = self.resources.folder, dict[Artefact, bool]()
        with ExitStack() as claims:
            todo: list[tuple[Artefact, State]] = []
            for artefact, state in artefacts:
                with suppress(ClaimedElsewhere):
                    claims.enter_context(folder.claims.held(artefact.path))
                    if self.state(artefact, tensors=state == "damaged") == "valid":
                        continue
                    if self._brought_back(artefact, observer):
                        outcome[artefact] = False
                    else:
                        todo.append((artefact, state))
            if not todo:
                return outcome
            observer.start(*todo[0])
            told, resumes = _Foremost(observer, len(todo)), []
            for artefact, _ in todo:
                self.begin(artefact)
                kept = folder.resume_state(artefact.path)
                resumes.append(Resume(kept, self.fingerprint(artefact), told.tell, note=observer.note))
            stage, keys = STAGES[todo[0][0].stage], [artefact.key for artefact, _ in todo]
            try:
                for (artefact, state), content in zip(todo, stage.make_each(self.resources, keys, resumes), strict=True):
                    if artefact is not todo[0][0]:
                        observer.start(artefact, state)
                    self.write(artefact, content)
                    folder.forget_states(artefact.path)
                    observer.end(artefact)
                    outcome[artefact] = True
            except DeltaspaceError:
                # The one that has the mistake is left out, and tells it when it is made alone.
                if not outcome:
                    raise
        return outcome

    def _brought_back(self, artefact: Artefact, observer: Observer) -> bool:
        """Take it from what an earlier recipe had, if that is there."""
        self._keep_stale(artefact)
        if self.resources.folder.restore(artefact.path, self.fingerprint(artefact)) and self.state(artefact) == "valid":
            observer.note(f"{artefact.path} brought back from superseded/")
            return True
        return False

    def begin(self, artefact: Artefact) -> None:
        """Called when an artefact is about to be computed."""

    def is_claimed(self, artefact: Artefact) -> bool:
        """Whether somebody makes it now."""
        return self.resources.folder.claims.is_held(artefact.path)

    def settled(self, artefact: Artefact) -> None:
        """Called by an engine when an artefact is there, before anything is made from it."""

    def located(self, artefact: Artefact) -> tuple[str, str]:
        """The study that it is of, as an absolute path, and its own path there: what another process finds it by."""
        return str(self.resources.folder.path.absolute()), artefact.path

    def folders(self) -> list[Path]:
        """Of all studies whose artefacts these are."""
        return [self.resources.folder.path]

    def write(self, artefact: Artefact, content: Content) -> None:
        """Write an artefact, with what it was made from; what was at its path until then is kept, and goes only now.

        Raises:
            ValueError: its row is missing, or is one of another artefact.
            DeltaspaceError: it cannot be written.
        """
        stage = STAGES[artefact.stage]
        check_row(stage, stage.described(artefact.key), content.row)
        metadata = {
            **content.metadata,
            "stage": stage.name,
            "key": stage.described(artefact.key),
            "fingerprint": self.fingerprint(artefact),
            "made_from": {part.path: self.fingerprint(part) for part in self.made_from(artefact).artefacts},
        }
        if content.row is not None:
            metadata["row"] = content.row.stored()
        self._keep_stale(artefact)
        self.resources.folder.write(artefact.path, content.tensors, metadata)

    def _keep_stale(self, artefact: Artefact) -> None:
        if self.state(artefact) == "stale":
            self.resources.folder.keep(artefact.path)


class _Foremost:
    """Tells an observer of several computations as if they were one: of each step the first that comes to it."""

    def __init__(self, observer: Observer, count: int) -> None:
        self._observer, self._beside, self._step = observer, f" ({count} side by side)" if count > 1 else "", -1

    def tell(self, step: int, steps: int, text: str) -> None:
        # They go in step; one that has several trainings begins to count anew, and so do all.
        if step != self._step or not self._beside:
            self._step = step
            self._observer.progress(step, steps, f"{text}{self._beside}")

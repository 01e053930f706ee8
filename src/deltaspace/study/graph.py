"""A study as a graph: stages say what their artefacts are made from; order, fingerprints and states follow from that alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar, cast

from deltaspace.registry import Registry
from deltaspace.storage import digest
from deltaspace.study.artefact import Artefact, Content, MadeFrom
from deltaspace.study.folder import State
from deltaspace.study.observer import Observer
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.training import Resume

Key = TypeVar("Key", bound=Hashable)


class Stage(ABC, Generic[Key]):
    """A kind of artefact that a study makes. One object of each subclass is registered: `MY_STAGE = STAGES.register(MyStage())`.

    `name` is that of its folder and of its scores' `stage`; `title` is what people read. `position` is where it stands among the
    stages: in tables, and for runs that end at a stage. Artefacts of a stage that is `explored` may be asked for beside the
    recipe, and stay when a recipe does not speak of them. `version` is raised when the numbers that it computes change.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    position: ClassVar[int] = 100
    suffix: ClassVar[str] = ".safetensors"
    explored: ClassVar[bool] = False
    version: ClassVar[int] = 1

    @abstractmethod
    def keys(self, recipe: Recipe) -> Iterable[Key]:
        """The artefacts that a recipe asks for; a key is a `NamedTuple` of plain values."""

    @abstractmethod
    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        """What decides an artefact's content. Cheap: it must not load the PLM."""

    @abstractmethod
    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        """Compute an artefact from what it is made from, all of which is there.

        Raises:
            DeltaspaceError: a user's mistake.
        """

    def path(self, key: Key) -> str:
        """The artefact's path in a study: a folder for each part of the key, so that no two keys have one path."""
        return "/".join([self.name, *map(str, cast("tuple[object, ...]", key))]) + self.suffix

    def described(self, key: Key) -> dict[str, Any]:
        """The key as the artefact keeps it: its parts by name."""
        described: dict[str, Any] = cast("Any", key)._asdict()
        return described

    def artefact(self, key: Key) -> Artefact:
        """An artefact of this stage."""
        return Artefact(self.name, key, self.path(key))


STAGES: Registry[Stage[Any]] = Registry(
    "stage", Stage, "deltaspace.stages", "deltaspace.study.stages", objects=True, position=lambda stage: stage.position
)


def ordered_stages(until: str | None = None) -> list[Stage[Any]]:
    """The stages by position; up to one of them.

    Raises:
        DeltaspaceError: there is no such stage.
    """
    last = float("inf") if until is None else STAGES.find(until).position
    return [stage for stage in STAGES.values() if stage.position <= last]


class Graph:
    """The artefacts of one study: what each is made from, in which order, and what state it is in.

    Args:
        resources: what stages work with; its folder is where the artefacts are.
    """

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._made_from: dict[Artefact, MadeFrom] = {}
        self._fingerprints: dict[Artefact, str] = {}

    def wanted(self, until: str | None = None) -> Iterator[Artefact]:
        """What the recipe asks for, stage by stage, up to one of them."""
        for stage in ordered_stages(until):
            for key in stage.keys(self.resources.recipe):
                yield stage.artefact(key)

    def made_from(self, artefact: Artefact) -> MadeFrom:
        """What decides its content; asked for once."""
        if artefact not in self._made_from:
            self._made_from[artefact] = STAGES[artefact.stage].made_from(self.resources, artefact.key)
        return self._made_from[artefact]

    def fingerprint(self, artefact: Artefact) -> str:
        """SHA-256 of everything that it is made from, through all artefacts before it."""
        for missing in self.order([artefact]):
            if missing not in self._fingerprints:
                stage, made_from = STAGES[missing.stage], self.made_from(missing)
                inputs = [self._fingerprints[part] for part in made_from.artefacts]
                plm = self.resources.model_fingerprint
                self._fingerprints[missing] = digest([stage.name, stage.version, plm, made_from.settings, inputs])
        return self._fingerprints[artefact]

    def order(self, artefacts: Iterable[Artefact]) -> list[Artefact]:
        """The artefacts and all that they are made from, each once and behind what it is made from."""
        ordered: dict[Artefact, None] = {}
        for artefact in artefacts:
            stack = [artefact]
            while stack:
                if stack[-1] in ordered:
                    stack.pop()
                elif missing := [part for part in self.made_from(stack[-1]).artefacts if part not in ordered]:
                    stack += reversed(missing)
                else:
                    ordered[stack.pop()] = None
        return list(ordered)

    def state(self, artefact: Artefact) -> State:
        """Whether it is there and was made from what it would be made from now."""
        return self.resources.folder.state(artefact.path, self.fingerprint(artefact))

    def make(self, artefact: Artefact, state: State, observer: Observer) -> bool:
        """Make an artefact that is not valid, or bring it back where an earlier recipe had it.

        Returns:
            Whether it was made.
        """
        folder, fingerprint = self.resources.folder, self.fingerprint(artefact)
        if state == "stale":
            folder.set_aside(artefact.path)
        if folder.restore(artefact.path, fingerprint):
            return False
        observer.start(artefact, state)
        resume = Resume(folder.resume_state(artefact.path), fingerprint, observer.progress)
        self.write(artefact, STAGES[artefact.stage].make(self.resources, artefact.key, resume))
        folder.resume_state(artefact.path).unlink(missing_ok=True)
        observer.end(artefact)
        return True

    def write(self, artefact: Artefact, content: Content) -> None:
        """Write an artefact, with what it was made from."""
        stage = STAGES[artefact.stage]
        metadata = {
            **content.metadata,
            "stage": stage.name,
            "key": stage.described(artefact.key),
            "fingerprint": self.fingerprint(artefact),
            "made_from": {part.path: self.fingerprint(part) for part in self.made_from(artefact).artefacts},
        }
        if content.row is not None:
            metadata["row"] = content.row.stored()
        self.resources.folder.write(artefact.path, content.tensors, metadata)

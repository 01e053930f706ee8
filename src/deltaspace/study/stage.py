"""What a stage is: a kind of artefact, which says once which there are, what each is made from, and how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

from deltaspace.errors import DeltaspaceError
from deltaspace.names import check_name
from deltaspace.registry import Registry
from deltaspace.study.artefact import Artefact, Content, MadeFrom
from deltaspace.study.recipe import Recipe
from deltaspace.study.resources import Resources
from deltaspace.study.scores import ScoreRow
from deltaspace.study.typed import typed
from deltaspace.study.work import Work
from deltaspace.training import Resume

if TYPE_CHECKING:
    from deltaspace.tasks import Task
    from deltaspace.training import Score

Key = TypeVar("Key", bound=Hashable)


class Stage(ABC, Generic[Key]):
    """A kind of artefact that a study makes. One object of each subclass is registered: `MY_STAGE = STAGES.register(MyStage())`.

    `name` is that of its folder and of its scores' `stage`; `title` is what people read. `position` is where it stands among the
    stages: in tables, and for runs that end at a stage. Each artefact of a stage that is `scored` has a row. Artefacts of a stage
    that is `explored` may be asked for beside the recipe, and stay when a recipe does not speak of them. For one of a stage that
    is `joint` many others wait: where there are several workers it may have all cores. `version` is raised when the numbers that
    it computes change.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    position: ClassVar[int] = 100
    suffix: ClassVar[str] = ".safetensors"
    scored: ClassVar[bool] = False
    explored: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    version: ClassVar[int] = 1
    key_type: ClassVar[type[Any]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        bases = (base for kind in cls.__mro__ for base in kind.__dict__.get("__orig_bases__", ()))
        keys = [get_args(base)[0] for base in bases if get_origin(base) is Stage]
        if not keys:
            raise TypeError(f"{cls.__name__} does not say of which keys it is: Stage[Key], with a NamedTuple of plain values")
        cls.key_type = keys[0]

    @abstractmethod
    def keys(self, recipe: Recipe) -> Iterable[Key]:
        """The artefacts that a recipe asks for; a key is a `NamedTuple` of plain values."""

    def wanted(self, resources: Resources, key: Key) -> bool:
        """Whether a study has this one of its recipe's artefacts; where that depends on more than the recipe."""
        return True

    @abstractmethod
    def made_from(self, resources: Resources, key: Key) -> MadeFrom:
        """What decides an artefact's content. Cheap: it must not load the PLM."""

    @abstractmethod
    def make(self, resources: Resources, key: Key, resume: Resume) -> Content:
        """Compute an artefact from what it is made from, all of which is there.

        Raises:
            DeltaspaceError: a user's mistake.
        """

    def alike(self, resources: Resources, key: Key) -> Hashable:
        """Artefacts of which this is the same can be made by one `make_each`; None: this one is made alone."""
        return None

    def make_each(self, resources: Resources, keys: Sequence[Key], resumes: Sequence[Resume]) -> Iterator[Content]:
        """Compute several artefacts that are alike, as `make` computes each; each is kept as soon as it comes."""
        for key, resume in zip(keys, resumes, strict=True):
            yield self.make(resources, key, resume)

    def work(self, resources: Resources, key: Key) -> Work | None:
        """What making an artefact takes at most, for estimates; None where the stage cannot tell."""
        return None

    def path(self, key: Key) -> str:
        """The artefact's path in a study: a folder for each part of the key, so that no two keys have one path.

        Raises:
            DeltaspaceError: a part of the key cannot be a folder's name.
        """
        parts = [str(part) for part in cast("tuple[object, ...]", key)]
        try:
            for part in parts:
                check_name("a part of a key", part)
        except ValueError as error:
            raise DeltaspaceError(f"the stage {self.name} has a key {tuple(parts)!r}", found=str(error)) from None
        return "/".join([self.name, *parts]) + self.suffix

    def described(self, key: Key) -> dict[str, Any]:
        """The key as the artefact keeps it: its parts by name."""
        described: dict[str, Any] = cast("Any", key)._asdict()
        return described

    def path_of(self, described: Mapping[str, Any]) -> str:
        """The path of the artefact that keeps its key so.

        Raises:
            ValueError: that is no key of this stage.
            DeltaspaceError: as `path`.
        """
        return self.path(typed(self.key_type, dict(described)))

    def artefact(self, key: Key) -> Artefact:
        """An artefact of this stage."""
        return Artefact(self.name, key, self.path(key))

    def row(self, key: Key, task: Task, score: Score, **rest: Any) -> ScoreRow:
        """The row of an artefact: what its key says, its score on the task, and `rest`, the fields that neither says."""
        said = ScoreRow.fields_among(self.described(key))
        return ScoreRow(self.name, metric=task.metric, score=score.value, n_test=score.count, **said, **rest)

    def shown(self, score: Score) -> dict[str, Any]:
        """What an artefact keeps of a score for people to read: a few answers, where they are written."""
        return {"answers": [list(answer) for answer in score.answers]} if score.answers else {}


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

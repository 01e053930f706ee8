"""Kinds of things that anyone can add to: deltas, projection methods, metrics, figures, stages, task sources …

A thing is added by a decorator where it is defined. Ours are collected from the modules of one package, so that a new one is one
file; those of other packages from the entry points of the registry's group, so that a recipe can name them.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from types import FrameType
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.names import check_name, did_you_mean

Thing = TypeVar("Thing")
Registered = TypeVar("Registered")
# All there are, of which a package may have added to several before it failed.
_REGISTRIES: WeakValueDictionary[int, Registry[Any]] = WeakValueDictionary()


class Registry(Mapping[str, Thing]):
    """Things of one kind by name: in the order that `position` gives, then by name, whatever was imported first.

    Args:
        kind: what one of them is called in messages.
        base: the class that they are subclasses of, or objects of.
        group: the entry points' group; each names a module, or something in it, that adds to this registry when it is imported.
        package: whose modules (but those that begin with `_`) are imported before the first look.
        objects: whether they are objects, not classes.
        named: tells a thing's name; its attribute `name` by default.
        position: where a thing stands among them.

    Example:
        >>> class Tool: ...
        >>> TOOLS = Registry("tool", Tool, "my_package.tools")
        >>> @TOOLS.register
        ... class Hammer(Tool):
        ...     name = "hammer"
        >>> TOOLS["hammer"] is Hammer, list(TOOLS)
        (True, ['hammer'])
    """

    # It has as many parameters as registries differ in.
    def __init__(
        self,
        kind: str,
        base: type,
        group: str,
        package: str | None = None,
        *,
        objects: bool = False,
        named: Callable[[Thing], str] = attrgetter("name"),
        position: Callable[[Thing], int] = lambda thing: 0,
    ) -> None:
        self.kind, self.group = kind, group
        self._base, self._objects = base, objects
        self._package, self._named, self._position = package, named, position
        self._things: dict[str, Thing] = {}
        self._collected = self._collecting = False
        _REGISTRIES[id(self)] = self

    def register(self, entry: Registered) -> Registered:
        """Add a thing; a decorator.

        Raises:
            DeltaspaceError: it is no such thing, its name cannot be one, or another thing has its name.
        """
        # Ours come first, so that of two things of one name somebody else's is the one to be refused.
        if not _running_module().startswith("deltaspace."):
            self._collect_ours()
        # Typed apart from `Thing`, so that a decorated class keeps its type.
        checked: Thing = entry  # type: ignore[assignment]
        self._check(checked)
        name = self._named(checked)
        if (known := self._things.get(name)) is not None and known is not checked:
            raise DeltaspaceError(f"{_title(checked)}: there is a {self.kind} {name!r} already", found=_title(known))
        self._things[name] = checked
        return entry

    @property
    def hint(self) -> str:
        """How one of another package comes to be known, for messages."""
        return f"one of another package is known by its entry point in the group {self.group}, or once its module is imported"

    def find(self, name: str) -> Thing:
        """The thing of this name.

        Raises:
            DeltaspaceError: there is none; those that there are are listed.
        """
        if name not in self:
            what = f"no {self.kind} {name!r}{did_you_mean(name, self)}"
            raise DeltaspaceError(what, expected=f"{', '.join(self)}; {self.hint}")
        return self[name]

    def __getitem__(self, name: str) -> Thing:
        self._collect()
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        self._collect()
        return iter(sorted(self._things, key=lambda name: (self._position(self._things[name]), name)))

    def __len__(self) -> int:
        self._collect()
        return len(self._things)

    def _check(self, entry: Any) -> None:
        kind, base = self.kind, self._base.__name__
        if self._objects:
            if isinstance(entry, type):
                raise DeltaspaceError(
                    f"the class {_title(entry)} is registered as a {kind}", expected=f"an object: {entry.__name__}()"
                )
            fits = isinstance(entry, self._base)
        else:
            fits = isinstance(entry, type) and issubclass(entry, self._base)
        if not fits:
            wanted = f"an object of a subclass of {base}" if self._objects else f"a subclass of {base}"
            raise DeltaspaceError(f"{_title(entry)} cannot be registered as a {kind}", expected=wanted)
        if inspect.isabstract(entry):
            raise DeltaspaceError(
                f"{_title(entry)} is no whole {kind}", expected="methods: " + ", ".join(sorted(entry.__abstractmethods__))
            )
        try:
            name: object = self._named(entry)
        except AttributeError:
            name = None
        if not isinstance(name, str):
            raise DeltaspaceError(f"{_title(entry)} lacks a {kind}'s name", found=name, expected="a text")
        try:
            check_name(f"a {kind}", name)
        except ValueError as error:
            raise DeltaspaceError(f"{_title(entry)}: {error}") from None

    def _collect(self) -> None:
        # A module that is being collected may look for what is already there.
        if self._collected or self._collecting:
            return
        self._collect_ours()
        self._collecting = True
        try:
            for entry in entry_points(group=self.group):
                self._load(entry)
            self._collected = True
        finally:
            self._collecting = False

    def _collect_ours(self) -> None:
        if self._package is None or self._collected or self._collecting:
            return
        self._collecting = True
        try:
            for module in pkgutil.iter_modules(import_module(self._package).__path__):
                if not module.name.startswith("_"):
                    import_module(f"{self._package}.{module.name}")
        finally:
            self._collecting = False

    def _load(self, entry: EntryPoint) -> None:
        modules = set(sys.modules)
        try:
            entry.load()
        except (Exception, SystemExit) as error:  # somebody else's package may fail in any way, and even exit; the cause is told
            _forget({name for name in set(sys.modules) - modules | {entry.module} if _package(name) == _package(entry.module)})
            raise DeltaspaceError(
                f"the {self.kind} {entry.name!r} of another package cannot be loaded",
                found=f"{entry.value}: {first_line(error) if isinstance(error, Exception) else repr(error)}",
                mend=f"mend or uninstall {entry.dist.name if entry.dist else 'that package'}",
            ) from error


def _forget(modules: set[str]) -> None:
    """Take back what modules of a package registered that failed half-way, in whatever registry; they can be loaded again."""
    for registry in list(_REGISTRIES.values()):
        for name, thing in list(registry._things.items()):
            if (thing if isinstance(thing, type) else type(thing)).__module__ in modules:
                del registry._things[name]
    for name in modules:
        sys.modules.pop(name, None)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _running_module() -> str:
    """The name of the innermost module that is being run, so of the one that registers something."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return "" if frame is None else str(frame.f_globals.get("__name__", ""))


def _title(thing: object) -> str:
    """A class by its full name, an object by its representation."""
    return f"{thing.__module__}.{thing.__qualname__}" if isinstance(thing, type) else repr(thing)

"""Kinds of things that anyone can add to: deltas, projection methods, metrics, figures, stages, task sources …

A thing is added by a decorator where it is defined. Ours are collected from the modules of one package, so that a new one is one
file; those of other packages from the entry points of the registry's group, so that a recipe can name them.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from typing import TypeVar

from deltaspace.errors import DeltaspaceError, first_line

Thing = TypeVar("Thing")
Registered = TypeVar("Registered")


class Registry(Mapping[str, Thing]):
    """Things of one kind by name, in the order in which they were added.

    Args:
        kind: what one of them is called in messages.
        group: the entry points' group; each names a module, or something in it, that adds to this registry when it is imported.
        package: whose modules (but those that begin with `_`) are imported before the first look.
        named: tells a thing's name; its attribute `name` by default.

    Example:
        >>> TOOLS = Registry("tool", "my_package.tools")
        >>> @TOOLS.register
        ... class Hammer:
        ...     name = "hammer"
        >>> TOOLS["hammer"] is Hammer, list(TOOLS)
        (True, ['hammer'])
    """

    def __init__(
        self, kind: str, group: str, package: str | None = None, named: Callable[[Thing], str] = attrgetter("name")
    ) -> None:
        self.kind, self.group = kind, group
        self._package, self._named = package, named
        self._things: dict[str, Thing] = {}
        self._collected = self._collecting = False

    def register(self, entry: Registered) -> Registered:
        """Add a thing; a decorator.

        Raises:
            ValueError: another thing has its name.
        """
        # Typed apart from `Thing`, so that a decorated class keeps its type.
        checked: Thing = entry  # type: ignore[assignment]
        name = self._named(checked)
        if (known := self._things.get(name)) is not None and known is not checked:
            raise ValueError(f"there is a {self.kind} {name!r} already: {known!r}")
        self._things[name] = checked
        return entry

    def find(self, name: str) -> Thing:
        """The thing of this name.

        Raises:
            DeltaspaceError: there is none; those that there are are listed.
        """
        if name not in self:
            raise DeltaspaceError(f"no {self.kind} {name!r}", expected=", ".join(self))
        return self[name]

    def __getitem__(self, name: str) -> Thing:
        self._collect()
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        self._collect()
        return iter(self._things)

    def __len__(self) -> int:
        self._collect()
        return len(self._things)

    def _collect(self) -> None:
        # A module that is being collected may look for what is already there.
        if self._collected or self._collecting:
            return
        self._collecting = True
        try:
            if self._package is not None:
                for module in pkgutil.iter_modules(import_module(self._package).__path__):
                    if not module.name.startswith("_"):
                        import_module(f"{self._package}.{module.name}")
            for entry in entry_points(group=self.group):
                try:
                    entry.load()
                except Exception as error:  # somebody else's package may fail in any way; the cause is kept and told
                    raise DeltaspaceError(
                        f"the {self.kind} {entry.name!r} of another package cannot be loaded",
                        found=f"{entry.value}: {first_line(error)}",
                        mend=f"mend or uninstall {entry.dist.name if entry.dist else 'that package'}",
                    ) from error
            self._collected = True
        finally:
            self._collecting = False

"""What an output may take the place of: only what such an output wrote before. Everything else is somebody's, and stays."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

from deltaspace.errors import DeltaspaceError
from deltaspace.storage.atomic import replacing, replacing_folder
from deltaspace.storage.digests import digest, file_digest
from deltaspace.storage.paths import path_of
from deltaspace.storage.reading import readable, walk, what_is_at

# How files of each kind begin.
_STARTS = {
    ".html": (b"<!doctype html", b"<html"),
    ".png": (b"\x89png",),
    ".pdf": (b"%pdf",),
    ".svg": (b"<?xml", b"<svg"),
}
_CARD = "README.md"
# In the card of an export: the files that were written with it.
_WROTE = re.compile(r"<!-- deltaspace wrote: (.*) -->")
# And, of a sealed one, the digest of their contents.
_DIGEST = re.compile(r"<!-- deltaspace content: (\w+) -->")
_SHOWN = 8

ExportKind = Literal["a checkpoint", "a subspace", "fetched tasks"]
# Files that only one kind of export has; a checkpoint has none of them.
_MARKS: dict[str, ExportKind] = {"subspace.json": "a subspace", "recipe.yaml": "fetched tasks"}


@contextmanager
def output(path: Path, kind: str) -> Iterator[Path]:
    """As `replacing`, for a page or a figure, which takes the place of one of its kind only.

    Args:
        path: where to.
        kind: `.html`, `.png`, `.pdf` or `.svg`, whatever the file is called.

    Raises:
        DeltaspaceError: as `replacing`, or something else is there.
    """
    check_output(path, kind)
    with replacing(path) as temporary:
        yield temporary


def check_output(path: Path, kind: str) -> None:
    """Raise DeltaspaceError where `output` would: before anything is computed for it."""
    present = what_is_at(path)
    if present == "a file":
        with readable(path, f"a {kind} file"), path.open("rb") as file:
            start = file.read(64).lstrip().lower()
        if not start or start.startswith(_STARTS[kind]):
            return
        present = "a file of another kind"
    if present is not None:
        raise DeltaspaceError(
            f"cannot write {path}", found=f"{present} is there", expected=f"a {kind} file, or nothing", mend="choose another path"
        )


@contextmanager
def exporting(path: Path, kind: ExportKind, *, sealed: bool = False) -> Iterator[Path]:
    """As `replacing_folder`, for an export with a model card, README.md, which replaces an earlier one of its kind only.

    Args:
        path: where to.
        kind: of the export.
        sealed: the card has a digest of the other files, without which `is_exported` knows none of them.

    Raises:
        DeltaspaceError: as `replacing_folder`, or the folder has files that no export wrote, or an export of another kind.
    """
    check_export(path, kind)
    with replacing_folder(path) as temporary:
        yield temporary
        names = sorted(_files(temporary))
        with (temporary / _CARD).open("a", encoding="utf-8") as card:
            card.write(f"\n<!-- deltaspace wrote: {', '.join(names)} -->\n")
            if sealed:
                card.write(f"<!-- deltaspace content: {_content(temporary, names)} -->\n")


def check_export(path: Path, kind: ExportKind, source: Path | str | None = None) -> None:
    """Raise DeltaspaceError where `exporting` would: before anything is computed for it.

    Args:
        path: where to.
        kind: of the export: a zoo of checkpoints that became a subspace is not lost to one checkpoint.
        source: what it is made from, which it must not take the place of: an earlier export, too.
    """
    if source is not None:
        check_apart(path, source)
    present = what_is_at(Path(os.path.abspath(path)))  # noqa: PTH100 - links stay links
    if present == "a folder":
        present = ", ".join(_strangers(path)[:_SHOWN]) or _other(path, kind)
    if present:
        raise DeltaspaceError(
            f"cannot write {path}",
            found=f"{present} is there",
            expected=f"an earlier export of {kind} with nothing else in it, an empty folder, or nothing",
            mend="choose another folder",
        )


def check_apart(path: Path, source: Path | str) -> None:
    """Raise DeltaspaceError where an output would take the place of what it is made from, or be put among its files."""
    if os.path.realpath(path) == os.path.realpath(path_of(source)):
        raise DeltaspaceError(f"cannot write {path}", found="what it is made from is there", mend="choose another folder")


def check_writable(path: Path) -> None:
    """Raise DeltaspaceError where nothing can be written beside a path: before anything is computed for it."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DeltaspaceError(f"cannot write {path}", found=str(error), mend="choose another folder") from None


def is_exported(path: Path, mark: str) -> bool:
    """Whether a sealed export is there, with all files as they were written with it, whose card says `mark`."""
    text = _card_of(path)
    wrote, content = _WROTE.findall(text), _DIGEST.findall(text)
    if mark not in text or not wrote or not content:
        return False
    names = wrote[-1].split(", ")
    return all(what_is_at(path / name) == "a file" for name in names) and _content(path, names) == content[-1]


def _content(folder: Path, names: Iterable[str]) -> str:
    """A digest of files, the card's own text aside."""
    return digest([[name, file_digest(folder / name)] for name in names if name != _CARD])


def _card_of(folder: Path) -> str:
    card = folder / _CARD
    return card.read_text(encoding="utf-8", errors="replace") if what_is_at(card) == "a file" else ""


def _other(folder: Path, kind: ExportKind) -> str | None:
    """An export of another kind that is in a folder."""
    wrote = _WROTE.findall(_card_of(folder))
    there = next((_MARKS[name] for name in wrote[-1].split(", ") if name in _MARKS), "a checkpoint") if wrote else kind
    return there if there != kind else None


def _strangers(folder: Path) -> list[str]:
    """What is in a folder that no export wrote."""
    wrote = _WROTE.findall(_card_of(folder))
    known = set(wrote[-1].split(", ")) if wrote else set()
    return sorted(set(_files(folder)) - known)


def _files(folder: Path) -> Iterator[str]:
    """All that is in a folder and no folder of files, relative to it."""
    for below, folders, files in walk(folder):
        names = files + [name for name in folders if (Path(below) / name).is_symlink()]
        if not files and not folders and Path(below) != folder:
            names = [""]  # an empty folder
        for name in names:
            yield (Path(below) / name).relative_to(folder).as_posix()

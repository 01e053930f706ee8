"""Tasks from the Hugging Face Hub, through `datasets`, with a mapping of columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.storage import hub_answers
from deltaspace.tasks.sources.fields import check_fields
from deltaspace.tasks.sources.source import TASK_SOURCES, Contents, TaskSource
from deltaspace.tasks.spec import Columns, TaskSpec
from deltaspace.tasks.task import SPLITS, Example


class Hub(TaskSource):
    """A data set `OWNER/NAME[/CONFIG]` of the Hub, or a local folder that `datasets` can read."""

    name = "hub"
    form = "hub:NAME[/CONFIG]"

    def read(self, where: str, spec: TaskSpec, base: Path | None) -> Contents:
        """The data set's splits; DeltaspaceError where `datasets` is missing, it cannot be loaded, or a column is not there."""
        try:
            from datasets import load_dataset
        except ImportError:
            raise DeltaspaceError("hub: tasks need the package datasets", mend="pip install 'deltaspace[hub]'") from None
        path, config = _parts(where)
        if not path or not Path(path).is_dir():
            _check_name(where, path)
        away = not Path(path).exists() and not hub_answers()
        splits: dict[str, list[Example]] = {}
        for split in SPLITS:
            wanted = getattr(spec.splits, split)
            try:
                with _cache_alone() if away else nullcontext():
                    data = load_dataset(path, config, split=wanted)
            except Exception as error:  # datasets raises whatever its loaders do; the cause is kept and told
                raise DeltaspaceError(
                    f"hub:{where}: the split {wanted!r} cannot be loaded",
                    found=first_line(error) + ("; the Hub does not answer" if away else ""),
                    expected="a data set on the Hub (and a network), in the cache, or a local folder",
                    mend="check the name, the network and 'splits'",
                ) from error
            splits[split] = [
                _example(data.features, row, spec.columns, f"hub:{where}, {split} row {i}") for i, row in enumerate(data, start=1)
            ]
        return Contents(splits)


@contextmanager
def _cache_alone() -> Iterator[None]:
    """In here `datasets` asks no network, of which it would try every question for half a minute."""
    import datasets
    from huggingface_hub import constants

    modules = (datasets.config, constants)
    before = [module.HF_HUB_OFFLINE for module in modules]
    try:
        for module in modules:
            module.HF_HUB_OFFLINE = True
        yield
    finally:
        for module, offline in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = offline


def _check_name(where: str, path: str) -> None:
    """Raise DeltaspaceError where `datasets` would look for something else than a data set of the Hub: files that lie around."""
    from datasets import packaged_modules

    if path in packaged_modules._PACKAGED_DATASETS_MODULES or re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", path) is None:
        raise DeltaspaceError(
            f"hub:{where} names no data set",
            expected="OWNER/NAME or OWNER/NAME/CONFIG of the Hub, or a local folder that is there",
        )


def _parts(name: str) -> tuple[str, str | None]:
    if Path(name).is_dir() or name.startswith((".", "/", "~")):
        return name, None
    parts = name.split("/")
    # OWNER/NAME, NAME/CONFIG and OWNER/NAME/CONFIG: with two parts the Hub's own form, OWNER/NAME, is meant.
    return ("/".join(parts[:2]), parts[2]) if len(parts) == 3 else (name, None)


def _example(features: Any, row: dict[str, Any], columns: Columns, where: str) -> Example:
    wanted, target = columns.input, columns.target
    try:
        text = wanted.format(**row) if "{" in wanted else row[wanted]
        value = row[target]
        options = row[columns.options] if columns.options else None
    except KeyError as error:
        raise DeltaspaceError(
            f"{where}: no column {error}", found=", ".join(row), mend="name the data set's columns under 'columns' in the recipe"
        ) from None
    names = getattr(features[target], "names", None)
    if names is not None and isinstance(value, int):
        if value < 0:
            raise DeltaspaceError(f"{where}: no label", found=value, mend="choose a split with labels under 'splits'")
        value = names[value]
    fields = {"input": text, "target": str(value)} | ({"options": list(options)} if options is not None else {})
    return check_fields(fields, where)


TASK_SOURCES.register(Hub())

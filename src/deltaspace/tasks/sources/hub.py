"""Tasks from the Hugging Face Hub, through `datasets`, with a mapping of columns."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.storage import hub_answers, path_of
from deltaspace.tasks.sources.rows import check_values, example_of, target_column
from deltaspace.tasks.sources.source import TASK_SOURCES, Contents, TaskSource
from deltaspace.tasks.spec import TaskSpec
from deltaspace.tasks.task import SPLITS, Example

# The branch on which the Hub keeps every public data set as Parquet, also those that are code otherwise, which never runs here.
_PARQUET = "refs/convert/parquet"


class Hub(TaskSource):
    """A data set `OWNER/NAME[/CONFIG][@REVISION]` of the Hub, or a local folder that `datasets` can read."""

    name = "hub"
    form = "hub:NAME[/CONFIG][@REVISION]"

    def read(self, where: str, spec: TaskSpec, base: Path | None) -> Contents:
        """The data set's splits; DeltaspaceError where `datasets` is missing, it cannot be loaded, or a column is not there."""
        address = _address(where, base)
        whole: dict[str, Any] = {}

        def load(split: str) -> Any:
            if split not in whole:
                whole[split] = _load(address, split, where)
            return whole[split]

        splits: dict[str, list[Example]] = {}
        for split in SPLITS:
            data = _part(getattr(spec.splits, split), spec.splits.shuffle, load, where)
            names = _class_names(data, spec)
            rows = (example_of(row, spec.columns, f"hub:{where}, {split} row {i}", names) for i, row in enumerate(data, start=1))
            splits[split] = [example for example in rows if example is not None]
            if not splits[split]:
                check_values(data, spec.columns, f"hub:{where}, {getattr(spec.splits, split)}", names)
        return Contents(splits)


class _Address(NamedTuple):
    path: str
    config: str | None
    revision: str | None


def _address(where: str, base: Path | None) -> _Address:
    local = path_of(where) if base is None else base / path_of(where)
    if where and local.is_dir():
        return _Address(str(local), None, None)
    name, mark, revision = where.partition("@")
    parts = name.split("/")
    # OWNER/NAME, NAME/CONFIG and OWNER/NAME/CONFIG: with two parts the Hub's own form, OWNER/NAME, is meant.
    path, config = ("/".join(parts[:2]), parts[2]) if len(parts) == 3 else (name, None)
    _check_name(where, path)
    # Branches and tags of the Hub, refs/convert/parquet, or a commit.
    if mark and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", revision) is None:
        raise DeltaspaceError(
            f"hub:{where} names no revision", found=repr(revision), expected="a branch, a tag or a commit behind @, such as @main"
        )
    return _Address(path, config, revision if mark else None)


def _load(address: _Address, split: str, where: str) -> Any:
    datasets = _datasets()
    away = not Path(address.path).exists() and not hub_answers()
    try:
        with _cache_alone() if away else nullcontext():
            if address.revision == _PARQUET:
                # The branch says nothing about configurations: they are its folders.
                name = re.sub(r"\[.*", "", split)
                files = f"hf://datasets/{address.path}@{_PARQUET}/{address.config or 'default'}/{name}/*.parquet"
                return datasets.load_dataset("parquet", data_files={name: files}, split=split)
            revision = {} if address.revision is None else {"revision": address.revision}
            return datasets.load_dataset(address.path, address.config, split=split, **revision)
    except Exception as error:  # datasets raises whatever its loaders do; the cause is kept and told
        raise DeltaspaceError(
            f"hub:{where}: the split {split!r} cannot be loaded",
            found=first_line(error) + ("; the Hub does not answer" if away else ""),
            expected="a data set on the Hub (and a network), in the cache, or a local folder",
            mend="check the name, the network and 'splits'; without a network, run 'deltaspace tasks RECIPE --fetch FOLDER' "
            "where there is one, copy FOLDER here, and run FOLDER/recipe.yaml",
        ) from error


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


def _datasets() -> Any:
    try:
        import datasets
        import datasets.packaged_modules
    except ImportError:
        raise DeltaspaceError("hub: tasks need the package datasets", mend="pip install 'deltaspace[hub]'") from None
    return datasets


def _check_name(where: str, path: str) -> None:
    """Raise DeltaspaceError where `datasets` would look for something else than a data set of the Hub: files that lie around."""
    named = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", path) is not None
    if not named or path in _datasets().packaged_modules._PACKAGED_DATASETS_MODULES:
        raise DeltaspaceError(
            f"hub:{where} names no data set",
            expected="OWNER/NAME or OWNER/NAME/CONFIG of the Hub, or a local folder that is there",
        )


def _part(wanted: str, seed: int | None, load: Callable[[str], Any], where: str) -> Any:
    """The rows that a text in the Hub's syntax, such as `train[:90%]`, means; with a seed, of splits that are shuffled first."""
    if seed is None:
        return load(wanted)
    import datasets

    whole = {name: load(name) for name in re.findall(r"(?:^|\+)\s*([\w.-]+)", wanted)}
    try:
        parts = datasets.ReadInstruction.from_spec(wanted).to_absolute({name: len(data) for name, data in whole.items()})
    except (AssertionError, ValueError, KeyError) as error:
        raise DeltaspaceError(
            f"hub:{where}: {wanted!r} is no part of a split", found=first_line(error), expected="such as train[:90%]"
        ) from None
    rows = []
    for part in parts:
        data = whole[part.splitname]
        order = list(range(len(data)))
        random.Random(seed).shuffle(order)
        rows.append(data.select(order[part.from_ : part.to]))
    return rows[0] if len(rows) == 1 else datasets.concatenate_datasets(rows)


def _class_names(data: Any, spec: TaskSpec) -> list[str] | None:
    """The names of the target's classes, where the data set has numbers for them."""
    target = target_column(data.features, spec.columns)
    return getattr(data.features[target], "names", None) if target in data.features else None


TASK_SOURCES.register(Hub())

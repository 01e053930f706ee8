"""Tasks from the Hugging Face Hub, through `datasets`, with a mapping of columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.tasks.jsonl import check_fields
from deltaspace.tasks.task import SPLITS, Example, Split


def read_hub(name: str, columns: dict[str, str | None], splits: dict[str, str]) -> dict[Split, list[Example]]:
    """The three splits of a Hub data set `OWNER/NAME[/CONFIG]`, or of a local folder that `datasets` can read.

    Args:
        name: the data set.
        columns: input (a column or a template of columns), target, options.
        splits: train, dev, test -> the Hub's split.

    Raises:
        DeltaspaceError: `datasets` is missing, the data set cannot be loaded, or a column is not there.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise DeltaspaceError("hub: tasks need the package datasets", mend="pip install 'deltaspace[hub]'") from None
    path, config = _parts(name)
    found = {}
    for split in SPLITS:
        try:
            data = load_dataset(path, config, split=splits[split])
        except Exception as error:  # datasets raises whatever its loaders do; the cause is kept and told
            raise DeltaspaceError(
                f"hub:{name}: the split {splits[split]!r} cannot be loaded",
                found=first_line(error),
                expected="a data set on the Hub (and a network), in the cache, or a local folder",
                mend="check the name, the network and 'splits'",
            ) from error
        found[split] = [
            _example(data.features, row, columns, f"hub:{name}, {split} row {i}") for i, row in enumerate(data, start=1)
        ]
    return found


def _parts(name: str) -> tuple[str, str | None]:
    if Path(name).is_dir():
        return name, None
    parts = name.split("/")
    # OWNER/NAME, NAME/CONFIG and OWNER/NAME/CONFIG: with two parts the Hub's own form, OWNER/NAME, is meant.
    return ("/".join(parts[:2]), parts[2]) if len(parts) == 3 else (name, None)


def _example(features: Any, row: dict[str, Any], columns: dict[str, str | None], where: str) -> Example:
    wanted, target = str(columns["input"]), str(columns["target"])
    try:
        text = wanted.format(**row) if "{" in wanted else row[wanted]
        value = row[target]
        options = row[columns["options"]] if columns["options"] else None
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

"""A delta's checkpoint in deltaspace's format (docs/format.md), which every delta has that declares no other.

`delta.safetensors` has every parameter by its name in the PLM, and under `fixed/` what the delta draws and does not train;
`delta.json` says which delta it is, on which model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from deltaspace.deltas.layout import Layout
from deltaspace.errors import DeltaspaceError
from deltaspace.model_files import listed, not_finite
from deltaspace.storage import check_format, read_json, read_tensors, seal_holds, sealed, write_json, write_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FORMAT = "deltaspace.delta/1"
DESCRIPTION = "delta.json"
_TENSORS = "delta.safetensors"
_AGAIN = "export it again, or copy both of its files from where they are whole"


@dataclass(frozen=True)
class CheckpointCard:
    """What a model card says of the checkpoint beside it.

    Args:
        title: what it is: `A lora`.
        library: which loads it, by its name on the Hugging Face Hub.
        loading: the line of Python that loads it; `{folder}` stands for the folder's name, as a text of Python.
    """

    title: str
    library: str
    loading: str


@dataclass(frozen=True)
class Description:
    """Which delta a checkpoint is of: `delta.json`.

    Args:
        model: the PLM's name.
        model_fingerprint: SHA-256 over its files.
        name: what the delta is called.
        seed: what is drawn comes from it.
        delta: what `make_delta` makes the delta from.
        layout: names and shapes of its parameters.
    """

    model: str
    model_fingerprint: str
    name: str
    seed: int
    delta: dict[str, Any]
    layout: Layout

    def check_base(self, checkpoint: str | Path, model: str, fingerprint: str) -> None:
        """Raise DeltaspaceError where the PLM is another than that of this name and fingerprint."""
        if self.model_fingerprint != fingerprint:
            raise DeltaspaceError(
                f"{checkpoint} belongs to another model",
                found=f"{model}, {fingerprint[:12]}",
                expected=f"{self.model}, {self.model_fingerprint[:12]}",
                mend="load it on the model that it was made from, with the same files to the last byte",
            )


def write_description(folder: Path, description: Description) -> None:
    """Write `delta.json`, by which `load_delta` knows the delta."""
    layout = [[name, list(shape)] for name, shape in description.layout.entries]
    write_json(folder / DESCRIPTION, sealed({"format": FORMAT, **vars(description), "layout": layout}))


def read_description(folder: Path) -> Description:
    """The `delta.json` in a folder.

    Raises:
        DeltaspaceError: there is none, it is damaged, or of a newer version.
    """
    path = folder / DESCRIPTION
    written = read_json(path)
    check_format(path, written if isinstance(written, dict) else {}, FORMAT, "is not of a delta")
    if not seal_holds(written):
        raise DeltaspaceError(f"{path} is damaged", found="what it says does not match its digest", mend=_AGAIN)
    keys = Description.__dataclass_fields__
    if missing := [key for key in keys if key not in written]:
        raise DeltaspaceError(f"{path} is damaged", found=f"no {missing[0]}", expected=", ".join(keys), mend=_AGAIN)
    kinds = {"model": str, "model_fingerprint": str, "name": str, "seed": int, "delta": dict, "layout": list}
    if wrong := [key for key, kind in kinds.items() if not isinstance(written[key], kind)]:
        raise DeltaspaceError(
            f"{path} is damaged",
            found=f"{wrong[0]}: {written[wrong[0]]!r}"[:200],
            expected=kinds[wrong[0]].__name__,
            mend=_AGAIN,
        )
    try:
        layout = Layout(tuple((str(name), tuple(map(int, shape))) for name, shape in written["layout"]))
    except (TypeError, ValueError):
        raise DeltaspaceError(
            f"{path} is damaged", found="a layout of another form", expected="[name, shape] of each tensor", mend=_AGAIN
        ) from None
    return Description(**{**{key: written[key] for key in keys}, "layout": layout})


def write_checkpoint(
    folder: Path, description: Description, parameters: Mapping[str, Tensor], fixed: Mapping[str, Tensor]
) -> CheckpointCard:
    """Write a checkpoint.

    Args:
        folder: an empty one.
        description: which delta it is.
        parameters: by their names in the layout.
        fixed: what the delta draws and does not train, by the names of its buffers.
    """
    tensors = {name: parameter.clone() for name, parameter in parameters.items()}
    write_tensors(folder / _TENSORS, tensors | {f"fixed/{name}": buffer for name, buffer in fixed.items()}, {"format": FORMAT})
    write_description(folder, description)
    return CheckpointCard(f"A {description.name}", "deltaspace", "deltaspace.load_delta({folder}, backbone)")


def read_checkpoint(
    folder: Path, expected: Description, fixed: Mapping[str, Tensor], *, same_base: bool = False
) -> dict[str, Tensor]:
    """The parameters of a checkpoint of `write_checkpoint`, by their names in the layout.

    Args:
        folder: where it is.
        expected: the delta that it must be of; its name, settings and seed may be others.
        fixed: what that delta draws and does not train.
        same_base: its model is that of `expected`, whatever its description says.

    Raises:
        DeltaspaceError: it is damaged, of another PLM, of a newer version, or does not fit the delta.
    """
    description = read_description(folder)
    if not same_base:
        description.check_base(folder, expected.model, expected.model_fingerprint)
    tensors, _ = read_tensors(folder / _TENSORS)
    drawn = {name: tensors.get(f"fixed/{name}") for name in fixed}
    if description.layout != expected.layout or not all(
        tensor is not None and fixed[name].equal(tensor.to(fixed[name].device)) for name, tensor in drawn.items()
    ):
        raise DeltaspaceError(
            f"{folder} does not fit the {description.name} that this version makes",
            mend="load it with the version that wrote it",
        )
    path, names = folder / _TENSORS, [name for name, _ in expected.layout.entries]
    wrong = {
        "missing": [name for name in names if name not in tensors],
        "left over": [name for name in tensors if name not in {*names, *(f"fixed/{name}" for name in fixed)}],
        "of another shape": [n for n, shape in expected.layout.entries if n in tensors and tuple(tensors[n].shape) != shape],
        "not finite (NaN or infinite)": not_finite(tensors),
    }
    if faults := [f"{listed(keys)} {how}" for how, keys in wrong.items() if keys]:
        raise DeltaspaceError(
            f"{path} does not fit its {DESCRIPTION}",
            found="; ".join(faults),
            expected="the tensors of its layout, finite",
            mend=_AGAIN,
        )
    return {name: tensors[name] for name, _ in expected.layout.entries}


def write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> CheckpointCard:
    """Write a plain model, which any program that knows transformers loads."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return CheckpointCard("A model", "transformers", "AutoModel.from_pretrained({folder})")


class UnmergeableError(DeltaspaceError):
    """A delta cannot be added to the PLM's weights."""


def unmergeable(name: str, why: str) -> UnmergeableError:
    """What is raised where the delta of a name cannot be added to the PLM's weights, because of what it does instead."""
    return UnmergeableError(
        f"{name} cannot be merged into the model's weights",
        found=why,
        expected="a method that adds to weights, such as lora, apet or finetune",
        mend="export without --merge, or as another delta",
    )

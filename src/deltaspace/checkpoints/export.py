"""Checkpoints out: parameters of a delta as a checkpoint that loads without the subspace they came from.

Each delta says in which format (`Delta.write`), and what becomes of the PLM's weights where it is added to them (`Delta.merge`):

- What peft made is written as peft writes it: `PeftModel.from_pretrained(model, folder)`.
- Adapters, prefixes and APET: `delta.safetensors` and `delta.json` (docs/format.md); `load_delta(folder, backbone)`.
- Fine-tuning, and any delta that is merged: a plain model, `AutoModel.from_pretrained(folder)`.

A LoRA is written for llama.cpp where a file `*.gguf` is named in place of a folder (`gguf_lora.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from deltaspace.checkpoints.gguf_lora import write_gguf_lora
from deltaspace.deltas import AttachedDelta, CheckpointCard
from deltaspace.deltas.checkpoint import write_model
from deltaspace.errors import DeltaspaceError
from deltaspace.gguf_header import is_gguf
from deltaspace.markdown import front_matter, literal, plain
from deltaspace.names import require_task_name
from deltaspace.storage import digest, exporting, hub_name, is_exported, path_of, write_text

DECODED, CONVERTED = "decoded from a deltaspace subspace", "converted by deltaspace"


def export_delta(
    attached: AttachedDelta,
    parameters: Float[Tensor, " params"],
    folder: Path | str,
    *,
    merge: bool = False,
    provenance: Mapping[str, object] | None = None,
    origin: str = DECODED,
) -> Path:
    """Write a delta's parameters as a checkpoint with its model card, which of a GGUF file is its description.

    Args:
        attached: the delta.
        parameters: (n,), such as `subspace.decode` gives.
        folder: where to: an earlier export, which goes, an empty folder, or none; or a file `*.gguf`, for a LoRA alone.
        merge: add them to the PLM's weights and write a plain model.
        provenance: where they come from, for the model card.
        origin: how they came to be, for its title.

    Raises:
        DeltaspaceError: there are not n finite numbers, the delta cannot be merged, something else is in the folder, it
            cannot be written, or it is no LoRA that a GGUF file can hold (`gguf_lora`).
    """
    delta, folder = attached.delta, path_of(folder)
    _check_finite(attached, parameters)
    if is_gguf(folder):
        if merge:
            raise DeltaspaceError(
                f"cannot write {folder}",
                found="a merged model",
                expected="a LoRA alone",
                mend="name a folder, or do not merge it",
            )
        title = f"A {attached.name} for {hub_name(attached.backbone.name)}, {origin}"
        return write_gguf_lora(attached, parameters, folder, title, provenance or {})
    with exporting(folder, "a checkpoint") as made:
        if merge:
            card = write_model(delta.merge(attached, parameters), attached.backbone.tokenizer, made)
        else:
            card = delta.write(attached, parameters, made)
        write_text(made / "README.md", model_card(attached, card, folder.name, provenance or {}, origin))
    return folder


def export_each(
    attached: AttachedDelta,
    tasks: Iterable[tuple[str, Float[Tensor, " params"], Mapping[str, object]]],
    folder: Path,
) -> Iterator[tuple[Path, bool]]:
    """Write the parameters of many tasks, each as a checkpoint in a folder of its own; what is there already is left.

    Args:
        attached: the delta.
        tasks: name, parameters, (n,), and provenance of each; read one after the other.
        folder: where the tasks' folders are.

    Yields:
        The folder of each, and whether it was written now.

    Raises:
        DeltaspaceError: a task's name is none that a folder can have, or as `export_delta`.
    """
    writer = attached.delta.writer(attached)
    for task, parameters, provenance in tasks:
        require_task_name(task, f"the task {task!r} cannot be written as a folder", "rename it")
        out = folder / task
        values = hashlib.sha256(parameters.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        said = {**provenance, "content": digest([values, attached.settings(), {k: str(v) for k, v in provenance.items()}])}
        there = is_exported(out, f"| content | {said['content']} |")
        if not there:
            _check_finite(attached, parameters)
            with exporting(out, "a checkpoint", sealed=True) as made:
                card = writer(parameters, made)
                write_text(made / "README.md", model_card(attached, card, task, said))
        yield out, not there


def _check_finite(attached: AttachedDelta, parameters: Float[Tensor, " params"]) -> None:
    if not bool(parameters.isfinite().all()):
        raise DeltaspaceError(
            f"these are no parameters of {attached.name}", found="NaN or infinite numbers", expected="what subspace.decode gives"
        )


def model_card(
    attached: AttachedDelta, card: CheckpointCard, folder: str, provenance: Mapping[str, object], origin: str = DECODED
) -> str:
    """The model card, as Markdown.

    Args:
        attached: the delta.
        card: what it was written as.
        folder: the name of the checkpoint's folder.
        provenance: rows of its table, by their names.
        origin: how it came to be.
    """
    rows = "\n".join(f"| {plain(key)} | {plain(value)} |" for key, value in provenance.items())
    matter = front_matter(library_name=card.library, base_model=hub_name(attached.backbone.name), tags=["deltaspace"])
    return f"""{matter}

# {card.title} for {plain(attached.backbone.name)}, {origin}

| | |
| --- | --- |
| delta | {attached.name}, {attached.layout.size:,} parameters |
{rows}

    {card.loading.replace("{folder}", literal(folder))}
"""

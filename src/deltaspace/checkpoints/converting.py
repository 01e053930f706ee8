"""A conversion from its start to a checkpoint with its model card; a killed one goes on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from deltaspace.checkpoints.conversion import Conversion, Converted, conversion_fingerprint, convert
from deltaspace.checkpoints.conversion_card import conversion_rows
from deltaspace.checkpoints.export import CONVERTED, export_delta
from deltaspace.checkpoints.gguf_lora import gguf_lora
from deltaspace.deltas import AttachedDelta, Delta
from deltaspace.gguf_header import is_gguf
from deltaspace.tasks import Task
from deltaspace.training import Progress, Resume


def convert_to_folder(
    source: tuple[AttachedDelta, Float[Tensor, " params"]],
    target: tuple[str, Delta],
    inputs: Sequence[str] | Task,
    out: Path,
    *,
    settings: Conversion,
    told: tuple[str, str],
    prompt: str | None = None,
    provenance: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Convert, and write what came of it. Its state lies beside `out` while it is tuned.

    It has as many parameters as a card has to tell of.

    Args:
        source: a delta and its parameters, (n,).
        target: the name and settings of the delta that follows.
        inputs, settings, prompt: see `convert`.
        out: where to: a folder, or a LoRA's GGUF file.
        told: what source and inputs are called in the card.
        provenance: further rows of the card.
        progress: told how far it is.

    Raises:
        DeltaspaceError: see `convert` and `export_delta`.
    """
    attached = AttachedDelta(target[1], source[0].backbone, name=target[0])
    if is_gguf(out):
        gguf_lora(attached, attached.initial)  # what cannot be written is told before it is tuned
    state = out.parent / f".{out.name}.converting.safetensors"
    resume = Resume(state, conversion_fingerprint(source, target[1], inputs, settings, prompt), progress)
    made = convert(source, attached, inputs, settings, prompt=prompt, resume=resume)
    rows = {**(provenance or {}), **conversion_rows(made, *told)}
    export_delta(attached, made.parameters, out, provenance=rows, origin=CONVERTED)
    resume.forget()
    return made

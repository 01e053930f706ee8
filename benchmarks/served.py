"""Many tasks of one space in one process, and the same in peft's own model: what benchmarks of serving compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

from benchmarks.models import random_tokens
from deltaspace.backbone import Backbone
from deltaspace.deltas import AttachedDelta, Lora, attach
from deltaspace.subspace import Subspace, SubspaceModel, approximate


class Served(NamedTuple):
    """A model that serves tasks with random vectors, as LoRAs.

    Args:
        lora: the delta.
        subspace: the space.
        model: what serves it.
        tasks: their names.
        inputs: a batch of random tokens without padding.
        generator: what all of it was drawn from.
    """

    lora: AttachedDelta
    subspace: Subspace
    model: SubspaceModel
    tasks: list[str]
    inputs: dict[str, torch.Tensor]
    generator: torch.Generator

    def in_peft(self, tasks: Sequence[str]) -> PeftModel:
        """peft's model with the LoRAs of some tasks as its adapters."""
        delta = self.lora.delta
        assert isinstance(delta, Lora)
        theirs = delta.as_peft(self.lora, self.model.decoded(tasks[0]))
        for task in tasks:
            theirs.add_adapter(task, theirs.peft_config["default"])
            state = get_peft_model_state_dict(delta.as_peft(self.lora, self.model.decoded(task)))
            set_peft_model_state_dict(theirs, state, adapter_name=task)
        return theirs


def serve(plm: Backbone, *, tasks: int, dim: int, batch: int, length: int, rank: int) -> Served:
    """A space of so many tasks and dimensions, with a batch of so many texts and tokens."""
    lora, generator = attach("lora", plm, r=rank), torch.Generator().manual_seed(0)
    subspace = approximate([lora], [], [], dim=dim, projection="gaussian")
    names = [f"task-{index}" for index in range(tasks)]
    for name in names:
        subspace.vectors.add(name, "lora", torch.randn(dim, generator=generator))
    inputs = {
        "input_ids": random_tokens(batch, length, plm.model.config.vocab_size, generator),
        "attention_mask": torch.ones(batch, length, dtype=torch.long),
    }
    model = SubspaceModel(subspace, plm)
    model.set_task(names[0], delta="lora")
    return Served(lora, subspace, model, names, inputs, generator)

"""Fixtures of these tests."""

from __future__ import annotations

import pytest

from deltaspace.checkpoints import export_delta
from deltaspace.deltas import attach
from tests.tiny import tiny_backbone


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A LoRA, adapters and a fine-tuned model, as they should be, of one tiny BERT."""
    folder, backbone = tmp_path_factory.mktemp("checkpoints"), tiny_backbone("bert")
    made = {"lora": attach("lora", backbone, r=2), "adapter": attach("adapter", backbone, bottleneck=2)}
    made["finetune"] = attach("finetune", backbone)
    for name, attached in made.items():
        export_delta(attached, attached.initial, folder / name)
    return folder, made

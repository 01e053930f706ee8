"""Registries: by decorator, from the modules of a package, by another package's entry points."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from deltaspace import registry as module
from deltaspace.errors import DeltaspaceError
from deltaspace.registry import Registry


class Named:
    def __init__(self, name):
        self.name = name


def test_what_is_registered_is_there_in_order():
    registry = Registry("tool", "deltaspace.none")
    first, second = registry.register(Named("b")), registry.register(Named("a"))
    assert list(registry) == ["b", "a"] and registry["a"] is second and len(registry) == 2
    assert registry.register(first) is first  # a module that is imported twice
    with pytest.raises(ValueError, match="there is a tool 'a' already"):
        registry.register(Named("a"))
    with pytest.raises(DeltaspaceError, match="no tool 'c'") as told:
        registry.find("c")
    assert "b, a" in str(told.value)


def test_a_package_of_its_own_registers_by_entry_point(monkeypatch):
    registry = Registry("tool", "deltaspace.tools")
    plugin = ModuleType("somebody_elses_package")
    plugin.add = registry.register(Named("theirs"))
    del registry._things["theirs"]
    plugin.__getattr__ = lambda name: registry.register(Named("theirs"))
    monkeypatch.setitem(sys.modules, "somebody_elses_package", plugin)
    points = [EntryPoint("theirs", "somebody_elses_package:late", "deltaspace.tools")]
    monkeypatch.setattr(module, "entry_points", lambda group: points if group == "deltaspace.tools" else [])
    assert list(registry) == ["theirs"]


def test_a_package_that_cannot_be_loaded_is_named(monkeypatch):
    points = [EntryPoint("broken", "no_such_package_anywhere", "deltaspace.tools")]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    with pytest.raises(DeltaspaceError, match=r"'broken' of another package cannot be loaded(.|\n)*no_such_package_anywhere"):
        list(Registry("tool", "deltaspace.tools"))


def test_all_of_ours_are_collected_from_their_packages():
    from deltaspace.deltas import DELTAS
    from deltaspace.families import FAMILIES
    from deltaspace.figures import FIGURES
    from deltaspace.rivals import RIVALS
    from deltaspace.study import STAGES
    from deltaspace.subspace import MAPS, PROJECTIONS
    from deltaspace.tasks import METRICS

    assert {"adapter", "lora", "prefix", "finetune", "apet", "peft"} == set(DELTAS)
    assert {"dense", "svd", "span", "autoencoder", "gaussian", "fastfood"} <= set(PROJECTIONS)
    assert {"linear", "dense", "hadamard", "mixture", "stacked"} == set(MAPS)
    assert {"accuracy", "macro_f1", "matthews", "pearson", "exact_match", "qa_f1", "rouge_l"} == set(METRICS)
    assert {"scores", "transfer", "landscape", "panels", "similarity", "map", "curves", "sweep"} <= set(FIGURES)
    assert {"encoder_decoder", "decoder", "masked_encoder", "sentence_encoder"} == set(FAMILIES)
    assert {"random", "unilora", "tinylora", "vblora", "fourierft", "lora-1"} == set(RIVALS)
    assert "optimized" in STAGES

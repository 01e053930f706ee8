"""Registries: by decorator, from the modules of a package, by another package's entry points."""

from __future__ import annotations

import importlib
import subprocess
import sys
from abc import ABC, abstractmethod
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from deltaspace import registry as module
from deltaspace.errors import DeltaspaceError
from deltaspace.registry import Registry


class Named:
    def __init__(self, name):
        self.name = name


class Tools:
    """Registries for the tests; each is new."""

    @staticmethod
    def of_objects(**options):
        return Registry("tool", Named, "deltaspace.tools", objects=True, **options)

    @staticmethod
    def of_classes():
        return Registry("tool", Named, "deltaspace.tools")


def test_the_order_is_by_position_and_name_not_by_registration():
    registry = Tools.of_objects()
    last, first = registry.register(Named("b")), registry.register(Named("a"))
    assert list(registry) == ["a", "b"] and registry["a"] is first and len(registry) == 2
    assert registry.register(last) is last  # a module that is imported twice
    with pytest.raises(DeltaspaceError, match="there is a tool 'a' already"):
        registry.register(Named("a"))
    with pytest.raises(DeltaspaceError, match="no tool 'c'") as told:
        registry.find("c")
    assert "a, b" in str(told.value)
    placed = Tools.of_objects(position=lambda tool: {"a": 2, "b": 1}[tool.name])
    placed.register(first)
    placed.register(last)
    assert list(placed) == ["b", "a"]


def test_what_is_no_such_thing_is_refused_where_it_registers():
    class Nameless(Named):
        def __init__(self):
            pass

    class Hammer(Named):
        name = "hammer"

    class Unfinished(Named, ABC):
        name = "unfinished"

        @abstractmethod
        def hit(self): ...

    for thing, told in (
        (Hammer, r"the class .*Hammer is registered as a tool(.|\n)*an object: Hammer\(\)"),
        (3, r"3 cannot be registered as a tool(.|\n)*an object of a subclass of Named"),
        (Nameless(), "lacks a tool's name"),
        (Named("../evil"), "'../evil' cannot be a tool's name"),
        (Named(3), r"lacks a tool's name(.|\n)*found: 3"),
    ):
        with pytest.raises(DeltaspaceError, match=told):
            Tools.of_objects().register(thing)
    for thing, told in (
        (Hammer("hammer"), r"cannot be registered as a tool(.|\n)*a subclass of Named"),
        (str, r"builtins.str cannot be registered as a tool"),
        (Unfinished, r"Unfinished is no whole tool(.|\n)*hit"),
    ):
        with pytest.raises(DeltaspaceError, match=told):
            Tools.of_classes().register(thing)
    assert Tools.of_classes().register(Hammer) is Hammer


def run_fresh(script):
    """In an interpreter that has imported nothing of ours."""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_order_does_not_depend_on_imports():
    script = """
import deltaspace.subspace.methods.dense, deltaspace.deltas.prefix, deltaspace.tasks.metrics.squad, deltaspace.study.stages.rivals
from pathlib import Path
from deltaspace.report.methods import put_into
from deltaspace.study import STAGES
page = Path("docs/methods.md").read_text(encoding="utf-8")
assert put_into(page) == page
print(*STAGES)
"""
    before = "zero_shot independent subspace reconstructed disagreement optimized"
    stages = f"{before} mean_code rivals in_span transferred translated landscapes"
    assert run_fresh(script).split() == stages.split()


def test_anothers_thing_that_comes_before_ours_is_the_one_refused():
    script = """
from deltaspace.deltas.delta import Delta
from deltaspace.deltas.registry import DELTAS
from deltaspace.errors import DeltaspaceError

class Mine(Delta):
    name, source = "lora", "https://example.org"
    def install(self, model, backbone): ...

try:
    DELTAS.register(Mine)
except DeltaspaceError as error:
    print(error)
print(DELTAS["lora"].__name__)
"""
    told = run_fresh(script)
    assert "__main__.Mine: there is a delta 'lora' already" in told and told.split()[-1] == "Lora"


def test_a_package_of_its_own_registers_by_entry_point(monkeypatch):
    registry = Tools.of_objects()
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
        list(Tools.of_objects())


def test_a_package_that_exits_is_named(monkeypatch):
    plugin = ModuleType("a_package_that_exits")
    plugin.__getattr__ = lambda name: sys.exit(7)
    monkeypatch.setitem(sys.modules, "a_package_that_exits", plugin)
    points = [EntryPoint("leaving", "a_package_that_exits:late", "deltaspace.tools")]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    with pytest.raises(DeltaspaceError, match=r"'leaving' of another package cannot be loaded(.|\n)*SystemExit\(7\)"):
        list(Tools.of_objects())


def test_a_package_that_fails_half_way_leaves_nothing_behind(monkeypatch, tmp_path):
    """In no registry, so that it can be mended and loaded again in the same process."""
    tools, others = Tools.of_objects(), Tools.of_objects()
    registries = ModuleType("the_registries")
    registries.tools, registries.others, registries.Named = tools, others, Named
    monkeypatch.setitem(sys.modules, "the_registries", registries)
    package = tmp_path / "half_way"
    package.mkdir()
    part = "from the_registries import Named, others, tools\n\nclass Mine(Named): ...\n\n"
    (package / "part.py").write_text(f"{part}tools.register(Mine('first'))\nothers.register(Mine('second'))\n")
    (package / "__init__.py").write_text("import half_way.part\nraise RuntimeError('too late')\n")
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint("half", "half_way", "deltaspace.tools")]
    monkeypatch.setattr(module, "entry_points", lambda group: points if group == "deltaspace.tools" else [])
    for _ in range(2):
        with pytest.raises(DeltaspaceError, match=r"'half' of another package cannot be loaded(.|\n)*half_way: too late"):
            list(tools)
        assert not tools._things and not others._things
        assert not [name for name in sys.modules if name.startswith("half_way")]
    (package / "__init__.py").write_text("import half_way.part  # mended\n")
    importlib.invalidate_caches()
    assert list(tools) == ["first"] and list(others) == ["second"]


def test_who_knows_no_such_thing_is_told_how_a_package_s_is_known():
    from deltaspace.deltas import DELTAS, make_delta

    with pytest.raises(DeltaspaceError, match=r"entry point in the group deltaspace\.deltas, or once its module is imported"):
        DELTAS.find("mine")
    with pytest.raises(ValueError, match=r"no delta 'mine'; .*entry point in the group deltaspace\.deltas"):
        make_delta("mine", {})


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
    assert {"blocks", "linear", "dense", "hadamard", "mixture", "stacked"} == set(MAPS)
    assert {"accuracy", "macro_f1", "matthews", "pearson", "exact_match", "qa_f1", "rouge_l"} == set(METRICS)
    assert {"scores", "transfer", "landscape", "panels", "similarity", "map", "curves", "sweep"} <= set(FIGURES)
    assert {"encoder_decoder", "decoder", "masked_encoder", "sentence_encoder"} == set(FAMILIES)
    assert {"random", "unilora", "tinylora", "vblora", "fourierft", "lora-1"} == set(RIVALS)
    assert "optimized" in STAGES

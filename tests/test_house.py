"""The house keeps its rules: arrows one way, short files, no module hidden by a name, few parameters, a typed public face."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import deltaspace

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "deltaspace"
FILES = sorted(path for path in SOURCE.rglob("*.py"))
SUBMODULES = {"figures", "landscape", "study", "tasks"}


def module_of(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(path):
    """The modules of the package that a file imports: at its top, in functions, or for types only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def test_there_is_no_import_circle():
    arrows = {name: {other for other in imports_of(path) if other in MODULES} - {name} for name, path in MODULES.items()}
    done, circles = set(), []

    def visit(name, trail):
        if name in trail:
            circles.append(" -> ".join([*trail[trail.index(name) :], name]))
        elif name not in done:
            for other in sorted(arrows[name]):
                visit(other, [*trail, name])
            done.add(name)

    for name in sorted(arrows):
        visit(name, [])
    assert circles == []


def test_files_are_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert max(lengths.values()) <= 450
    assert statistics.median(length for length in lengths.values() if length > 10) < 130
    assert lengths[SOURCE / "study" / "run.py"] < 150


def test_no_module_is_hidden_by_another_name():
    for name, path in MODULES.items():
        if path.name == "__init__.py":
            package = importlib.import_module(name)
            for inner in pkgutil.iter_modules(package.__path__):
                shown = getattr(package, inner.name, None)
                assert shown is None or inspect.ismodule(shown), f"{name}.{inner.name}"


def test_every_public_name_is_there_and_few_are_modules():
    assert len(set(deltaspace.__all__) - SUBMODULES) <= 34
    for name in deltaspace.__all__:
        assert inspect.ismodule(getattr(deltaspace, name)) == (name in SUBMODULES), name
    assert set(dir(deltaspace)) >= set(deltaspace.__all__)


def test_a_name_that_is_not_there_is_told_as_python_does():
    with pytest.raises(AttributeError, match=r"^module 'deltaspace' has no attribute 'xyz'$"):
        _ = deltaspace.xyz


def test_importing_it_is_light():
    script = "import sys, deltaspace.cli.application; sys.exit(any(m in sys.modules for m in 'torch transformers numpy'.split()))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def public_functions():
    names = [("deltaspace", name) for name in deltaspace.__all__ if name not in SUBMODULES]
    for part in sorted(SUBMODULES):
        names += [(f"deltaspace.{part}", name) for name in importlib.import_module(f"deltaspace.{part}").__all__]
    for module, name in names:
        thing = getattr(importlib.import_module(module), name)
        if inspect.isfunction(thing):
            yield f"{module}.{name}", thing


@pytest.mark.parametrize(
    ("name", "function"), list(public_functions()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_public_functions_have_few_parameters_or_say_why(name, function):
    count = len(inspect.signature(function).parameters)
    assert count <= 7 or "parameters" in (inspect.getdoc(function) or "").split("Args:")[0], f"{name} takes {count}"


USER_SCRIPT = """
from pathlib import Path

import deltaspace as ds
from deltaspace.study import Recipe, ScoreRow

backbone = ds.load_backbone("demo")
task = ds.load_task("demo:tweets")
lora = ds.attach("lora", backbone, r=4)
solution = ds.train(lora, task, ds.Training(steps=10, lr=1e-3))
subspace = ds.approximate([lora], [solution], [task], dim=4)
tuned = ds.optimize(subspace, lora, task)
score: float = ds.transfer(subspace, tuned.vector, lora, task).value
recipe: Recipe = ds.load_recipe(Path("recipe.yaml"))
rows: list[ScoreRow] = ds.study.read_scores(Path("study"))
reveal_type(backbone)
reveal_type(task)
reveal_type(lora)
reveal_type(solution.vector)
reveal_type(subspace)
reveal_type(tuned)
reveal_type(rows[0].relative)
reveal_type(ds.figures.draw)
"""
REVEALED = (
    "deltaspace.backbone.Backbone",
    "deltaspace.tasks.task.Task",
    "deltaspace.deltas.delta.AttachedDelta",
    "torch._tensor.Tensor",
    "deltaspace.subspace.subspace.Subspace",
    "deltaspace.subspace.stages.optimize.Optimized",
    "float | None",
    "def (name: str, folder: pathlib.Path",
)


@pytest.mark.slow
def test_a_users_script_has_real_types_under_mypy_strict(tmp_path):
    """As a user's own project has it: untyped libraries are passed over, everything of ours is checked."""
    # The README's programs follow one another, as they are.
    readme = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(readme) == 2 and all("ds." in program for program in readme)
    (tmp_path / "readme.py").write_text("\n".join(readme))
    (tmp_path / "script.py").write_text(USER_SCRIPT)
    heavy = "[mypy-transformers.*,accelerate.*,peft.*,safetensors.*]\nfollow_imports = skip\nignore_missing_imports = True\n"
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = True\ndisable_error_code = syntax, name-defined\n" + heavy)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "script.py", "readme.py"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    revealed = [line for line in result.stdout.splitlines() if "Revealed type" in line]
    assert len(revealed) == len(REVEALED), result.stdout + result.stderr
    for line, wanted in zip(revealed, REVEALED, strict=True):
        assert wanted in line
    assert not [line for line in result.stdout.splitlines() if line.startswith(("script.py", "readme.py")) and "error" in line], (
        result.stdout
    )

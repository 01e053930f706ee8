"""`make wheel`: build the wheel, install it where the repository is out of sight, and use it.

Its environment sees the libraries of the one that runs this (so that nothing large is fetched again), but not the checkout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SCRIPT = """
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import deltaspace

assert not Path(deltaspace.__file__).is_relative_to(sys.argv[1]), deltaspace.__file__
for name in deltaspace.__all__:
    getattr(deltaspace, name)
for asset in ("py.typed", "__init__.pyi", "demo.yaml", "report/assets/page.html", "report/assets/page.js"):
    assert (files("deltaspace") / asset).is_file(), asset
print("deltaspace", version("deltaspace"), "from", Path(deltaspace.__file__).parent.parent.name)
"""


def run(*command: object, **options: object) -> None:
    """A command that must succeed."""
    subprocess.run([str(word) for word in command], check=True, **options)  # type: ignore[call-overload]


def main() -> None:
    """Build, install, import, and run the command line on a study of two steps."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
        [wheel] = folder.glob("deltaspace-*.whl")
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        [packages] = (folder / "venv").glob("lib/python*/site-packages")
        # Behind its own packages; an editable install's path file is not followed from a .pth.
        (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", wheel, cwd=folder)
        environment = {**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
        run(python, "-c", SCRIPT, ROOT, cwd=folder, env=environment)
        made = "import sys; sys.path.insert(0, sys.argv[1]); from tests.tiny import write_example; write_example(sys.argv[2])"
        run(sys.executable, "-c", made, ROOT, folder / "example", env=environment)
        command = folder / "venv" / "bin" / "deltaspace"
        run(command, "check", folder / "example" / "recipe.yaml", cwd=folder, env=environment)
        run(command, "run", folder / "example" / "recipe.yaml", "--out", folder / "study", cwd=folder, env=environment)
        run(command, "show", folder / "study", cwd=folder, env=environment)


if __name__ == "__main__":
    main()

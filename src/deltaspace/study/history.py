"""What ran where: one entry for every run of a study that made something, in `runs.json`."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json, write_json

if TYPE_CHECKING:
    from deltaspace.study.folder import Folder

STAGES = {
    "scores/zero_shot": "zero-shot",
    "solutions": "independent solutions",
    "subspace": "approximation",
    "vectors": "optimization",
    "scores/transferred": "transfer",
    "rivals": "rivals",
    "landscapes": "landscapes",
}


def stage_of(path: str) -> str:
    """The stage that an artefact belongs to, as people call it."""
    return next(stage for start, stage in STAGES.items() if path.startswith(start))


@dataclass
class Log:
    """Seconds and artefacts of each stage of a run."""

    seconds: dict[str, float] = field(default_factory=dict)
    artefacts: dict[str, int] = field(default_factory=dict)
    _begun: float = 0.0

    def begin(self) -> None:
        """An artefact is going to be made."""
        self._begun = time.perf_counter()

    def made(self, path: str) -> None:
        """It is there."""
        stage = stage_of(path)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - self._begun
        self.artefacts[stage] = self.artefacts.get(stage, 0) + 1


@contextmanager
def logged(folder: Folder, until: str) -> Iterator[Log]:
    """Keep an entry of this run, also when it is interrupted; none where nothing was made."""
    path, log = folder.path / "runs.json", Log()
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        yield log
    finally:
        if log.artefacts:
            entry = {"started": started, "until": until, "artefacts": log.artefacts}
            entry |= {"seconds": {stage: round(spent, 1) for stage, spent in log.seconds.items()}}
            write_json(path, [*history(folder.path), entry | {"machine": machine(), "versions": versions()}])


def history(folder: Path) -> list[dict[str, Any]]:
    """The runs of a study, the first first: when, up to which stage, artefacts and seconds of each stage, machine, versions."""
    path = folder / "runs.json"
    found = read_json(path) if path.exists() else []
    if not isinstance(found, list):
        raise DeltaspaceError(f"{path} is damaged", found=type(found).__name__, expected="a JSON list", mend="delete it")
    return found


def machine() -> dict[str, Any]:
    """Where this runs: system, processor, cores, accelerator, Python."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "accelerator": device,
        "python": platform.python_version(),
    }


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def versions() -> dict[str, str]:
    """Versions of what numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("deltaspace")
    except PackageNotFoundError:
        raise DeltaspaceError("deltaspace is not installed", mend="pip install -e .") from None
    return {"deltaspace": own, "torch": torch.__version__, "transformers": version("transformers"), "peft": version("peft")}

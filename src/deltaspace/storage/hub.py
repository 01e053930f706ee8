"""Folders from and to the Hugging Face Hub. Needs neither torch nor transformers."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.storage.paths import path_of

# How long the Hub may take to say that it is there.
_SECONDS = 5.0
# Never pickles.
_PATTERNS = ("*.json", "*.safetensors", "*.md", "*.txt", "*.model")


def download(name: str | Path, holds: str) -> Path:
    """A folder that is here, or a copy of one on the Hub.

    Args:
        name: a folder, or owner/name.
        holds: a file that must be in it.

    Raises:
        DeltaspaceError: there is no such folder, it cannot be fetched, or it lacks the file.
    """
    folder = path_of(name)
    if folder.exists() and not folder.is_dir():
        raise DeltaspaceError(
            f"{name} is a file",
            expected=f"a folder with {holds}, or a name on the Hugging Face Hub (owner/name)",
            mend="name the folder in which the checkpoint is",
        )
    if not folder.is_dir():
        folder = _fetched(str(name))
    if not (folder / holds).exists():
        names = sorted(path.name for path in folder.iterdir())[:8]
        raise DeltaspaceError(
            f"{name} has no {holds}",
            found=", ".join(names) or "an empty folder",
            expected=f"a folder with {holds}",
            mend="name the folder in which that file is",
        )
    return folder


def _fetched(name: str) -> Path:
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise DeltaspaceError(
            f"there is no folder {name}",
            expected="a folder, or a name on the Hugging Face Hub (owner/name)",
            mend="correct the path",
        )
    return fetch(name, _PATTERNS)


def fetch(name: str, patterns: Sequence[str]) -> Path:
    """The files of owner/name on the Hub that fit the patterns, in the Hub's own cache.

    Raises:
        DeltaspaceError: there is no such name, or no network and no copy in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns), local_files_only=not hub_answers()))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise DeltaspaceError(
            f"{name} cannot be fetched from the Hugging Face Hub",
            found=first_line(error) if hub_answers() else "the Hub does not answer, and the cache has no such copy",
            expected="a name on the Hub and a network, one in the Hub's cache, or a local folder",
            mend="check the name; without a network, give a local folder",
        ) from None


@cache
def hub_answers() -> bool:
    """Whether the Hub can be reached: asked once, as its libraries try for half a minute what cannot be."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_SECONDS).close()
    except urllib.error.HTTPError:
        return True  # it answers, whatever
    except OSError as error:
        # Whose certificates are trusted is the library's affair.
        return isinstance(getattr(error, "reason", error), ssl.SSLError)
    return True


def push_to_hub(folder: Path, repo: str, *, private: bool = False, message: str = "deltaspace") -> str:
    """Put a folder on the Hub; its repository is made if need be.

    Args:
        folder: what to put there.
        repo: owner/name.
        private: of a repository that is made.
        message: of the commit.

    Returns:
        The commit's address.

    Raises:
        DeltaspaceError: there is no network, no permission, or no such owner.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = HfApi(library_name="deltaspace")
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message))
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise DeltaspaceError(
            f"{folder} cannot be put on the Hugging Face Hub as {repo}",
            found=first_line(error),
            expected="a network, a token with the right to write (`hf auth login`), and owner/name",
        ) from None

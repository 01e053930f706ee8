"""A client of SGLang's server that gives it tasks of a subspace as LoRAs.

Folders are passed, not tensors: SGLang's endpoint for tensors takes pickles, and its fields differ between versions. So the
server must see the folders: run it on the same machine, or put `cache` of `LoraFolders` on a disk that both see.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from deltaspace.errors import DeltaspaceError
from deltaspace.serving.lora_folders import LoraFolder, LoraFolders

_SECONDS = 300.0


class SglangServer:
    """A running server, started with --enable-lora, --max-lora-rank and --lora-target-modules.

    Args:
        url: where it is: http://localhost:30000.
        api_key: if it asks for one.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise DeltaspaceError("no server's address", found=url, expected="http://HOST:PORT")
        self.url, self._key = url.rstrip("/"), api_key

    def load(self, folders: LoraFolders, task: str, name: str | None = None) -> LoraFolder:
        """Give the server a task, in place of what it has under this name.

        Args:
            folders: the subspace's.
            task: the task.
            name: what requests call it (`lora_path`, or MODEL:NAME); the task's by default.

        Raises:
            DeltaspaceError: there is no such task, the server is not there, or it refuses the LoRA, with its reason.
        """
        folder = folders.find(task)
        if folder is None:
            raise DeltaspaceError(f"{folders.subspace} has no task {task!r}", expected=", ".join(folders.tasks[:10]))
        self.unload(name or task)
        done, reason = self._post("/load_lora_adapter", {"lora_name": name or task, "lora_path": str(folder.path.resolve())})
        if not done:
            raise DeltaspaceError(
                f"{self.url} does not load {name or task}",
                found=reason,
                mend="compare the LoRA's rank and modules with the server's --max-lora-rank and --lora-target-modules",
            )
        return folder

    def unload(self, name: str) -> bool:
        """Take a LoRA from the server; whether it had one of this name."""
        return self._post("/unload_lora_adapter", {"lora_name": name})[0]

    def _post(self, path: str, body: dict[str, str]) -> tuple[bool, str]:
        """Whether the server did it, and what it says where it did not."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = Request(self.url + path, json.dumps(body).encode(), headers, method="POST")
        try:
            with urlopen(request, timeout=_SECONDS) as answer:
                text = answer.read().decode(errors="replace")
        except HTTPError as error:
            text = error.read().decode(errors="replace")
            if error.code != HTTPStatus.BAD_REQUEST:
                raise DeltaspaceError(
                    f"{self.url}{path} answers {error.code}", found=text[:200], expected="SGLang's server with --enable-lora"
                ) from None
        except (URLError, OSError) as error:
            raise DeltaspaceError(f"{self.url} does not answer", found=str(error), expected="SGLang's server") from None
        try:
            said = json.loads(text)
        except ValueError:
            said = {}
        said = said if isinstance(said, dict) else {}
        return said.get("success") is True, str(said.get("error_message") or text)[:500]

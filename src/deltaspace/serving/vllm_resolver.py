"""vLLM asks for a LoRA by name, and gets a subspace's task of that name (docs/serving.md).

vLLM finds `register` by the entry point group `vllm.general_plugins`, in each of its processes. Settings are environment
variables, as vLLM passes nothing to plugins:

    DELTASPACE_SUBSPACE         a folder of `save_subspace`; without it nothing is registered
    DELTASPACE_DELTA            which LoRA of it; its only one by default
    DELTASPACE_LORA_CACHE       where LoRA folders are put, which all of vLLM's processes see
    DELTASPACE_LORA_BYTES       how many bytes they may take together
    DELTASPACE_MAX_LORA_RANK    the server's --max-lora-rank; vLLM's own default by default
    DELTASPACE_TARGET_MODULES   the server's --lora-target-modules, by commas; all by default
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from vllm.config.lora import LoRAConfig
from vllm.logger import init_logger
from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

from deltaspace.errors import DeltaspaceError
from deltaspace.gguf_files import model_files
from deltaspace.serving.lora_folders import LARGEST_BYTES, LoraFolders
from deltaspace.storage import hub_name, model_fingerprint

logger = init_logger(__name__)
_NAME = "deltaspace"
# vLLM gives every LoRA a number of its own in place of this one.
_NUMBER = 1


class SubspaceResolver(LoRAResolver):
    """Gives the tasks of a subspace out as LoRAs.

    Args:
        folders: the tasks as LoRA folders.
    """

    def __init__(self, folders: LoraFolders) -> None:
        self.folders = folders
        self._same: dict[str, bool] = {}

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
        """The LoRA of a task; None where there is no such task, or the server's model is not the subspace's.

        The request's own name ends in a hash of the LoRA's content, as vLLM's prefix cache goes by it. Decoding and files are
        left to a thread: other requests go on.
        """
        return await asyncio.to_thread(self._resolve, base_model_name, lora_name)

    def _resolve(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
        if not self._is_of(base_model_name):
            return None
        folder = self.folders.find(lora_name)
        if folder is None:
            return None
        return LoRARequest(lora_name=folder.name, lora_int_id=_NUMBER, lora_path=str(folder.path.resolve()))

    def _is_of(self, model: str) -> bool:
        if model not in self._same:
            self._same[model] = _same_model(model, self.folders.model)
            if not self._same[model]:
                logger.warning("deltaspace: %s is a subspace of %s, not of %s", self.folders.subspace, self.folders.model, model)
        return self._same[model]


def check_limits(folders: LoraFolders, largest_rank: int, modules: list[str] | None) -> None:
    """See that the server takes the subspace's LoRA.

    Args:
        folders: of the subspace.
        largest_rank: the server's --max-lora-rank.
        modules: the only ones to which the server applies LoRAs, by their last names; None are all.

    Raises:
        DeltaspaceError: its rank is larger, or it updates other modules, which the server would leave out without a word.
    """
    writer = folders.writer()
    if writer.rank > largest_rank:
        raise DeltaspaceError(
            f"the LoRAs of {folders.subspace} have a higher rank than the server takes",
            found=f"rank {writer.rank}",
            expected=f"at most {largest_rank}",
            mend=f"start the server with --max-lora-rank {writer.rank} or more, and set DELTASPACE_MAX_LORA_RANK to the same",
        )
    if modules is not None and (other := sorted(set(writer.modules) - set(modules))):
        raise DeltaspaceError(
            f"the LoRAs of {folders.subspace} update modules that the server leaves alone",
            found=", ".join(other),
            expected=", ".join(modules),
            mend="start the server with these modules too, and name them in DELTASPACE_TARGET_MODULES",
        )


def register() -> None:
    """What vLLM calls: register the resolver, if the environment names a subspace.

    Raises:
        DeltaspaceError: it cannot be served, so that the server does not start without it.
    """
    subspace = os.environ.get("DELTASPACE_SUBSPACE")
    if not subspace:
        return
    cache = os.environ.get("DELTASPACE_LORA_CACHE")
    folders = LoraFolders(
        subspace,
        os.environ.get("DELTASPACE_DELTA"),
        cache=Path(cache) if cache else None,
        largest=_number("DELTASPACE_LORA_BYTES", LARGEST_BYTES),
    )
    modules = os.environ.get("DELTASPACE_TARGET_MODULES")
    named = [name.strip() for name in modules.split(",")] if modules else None
    check_limits(folders, _number("DELTASPACE_MAX_LORA_RANK", LoRAConfig().max_lora_rank), named)
    LoRAResolverRegistry.register_resolver(_NAME, SubspaceResolver(folders))


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable)
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise DeltaspaceError(f"{variable} is no number", found=text, expected="a whole number above 0")
    return int(text)


def _same_model(served: str, wanted: str) -> bool:
    """Whether two names are of one model: by their names, where they lie, or what is in their files."""
    if served in (wanted, hub_name(wanted)):
        return True
    if not Path(served).is_dir():
        return False
    try:
        files = model_files(wanted)
    except DeltaspaceError:
        return False
    return Path(served).resolve() == files.folder.resolve() or model_fingerprint(Path(served)) == files.fingerprint

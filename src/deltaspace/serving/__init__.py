"""Tasks of a subspace behind servers that people run: as LoRA folders (`lora_folders.py`), which vLLM asks for by name
(`vllm_resolver.py`) and SGLang is told of (`sglang.py`).
"""

from deltaspace.serving.lora_folders import LoraFolder, LoraFolders
from deltaspace.serving.sglang import SglangServer

__all__ = ["LoraFolder", "LoraFolders", "SglangServer"]

"""A PLM's files as somebody else wrote them, looked at before anything of them is loaded: the configuration and the weights."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import read_json

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
# More than any PLM has, and still made in a few seconds.
_LAYERS = 512
_REPEATED = re.compile(r"layers?$|blocks$|depth$|groups$|experts$")
# No size of any PLM comes near.
_SIZE = 2**40
_SHOWN = 3


@dataclass(frozen=True)
class WeightFiles:
    """The safetensors files of a PLM.

    Args:
        paths: all of them.
        numbers: how many numbers they hold together.
    """

    paths: tuple[Path, ...]
    numbers: int


def check_config(folder: Path) -> dict[str, Any]:
    """A model's config.json, if it describes a model that can be loaded from this folder alone, without code from elsewhere.

    Raises:
        DeltaspaceError: it is no JSON object, the weights are quantized, a number is impossible, or it names files or code
            elsewhere.
    """
    path = folder / CONFIG
    if (folder / "adapter_config.json").exists():
        raise DeltaspaceError(
            f"{folder} is a checkpoint of peft and not a model",
            found="adapter_config.json",
            expected="a model's folder",
            mend="give the model that it was trained on; checkpoints are taken in by 'deltaspace import'",
        )
    config = read_json(path)
    if not isinstance(config, dict):
        raise DeltaspaceError(
            f"{path} is not a model's configuration",
            found=type(config).__name__,
            expected="a JSON object",
            mend="copy or download the model again",
        )
    if quantized := config.get("quantization_config"):
        method = quantized.get("quant_method") if isinstance(quantized, dict) else None
        raise DeltaspaceError(
            f"{path}: quantized models are not supported",
            found=f"quantization_config, {method or 'of no known method'}",
            expected="weights in full as float32, float16 or bfloat16",
            mend="take the model that it was made from",
        )
    check_entries(path, config)
    return config


def check_entries(path: Path, config: Mapping[str, Any]) -> None:
    """Raise DeltaspaceError where an entry of a configuration is an impossible number, or names files or code elsewhere.

    Args:
        path: of the configuration, for messages.
        config: its entries.
    """
    for key, value in _entries(config):
        if _REPEATED.search(key) and isinstance(value, int) and value > _LAYERS:
            raise DeltaspaceError(f"{path}: too many layers", found=f"{key}: {value:.3g}", expected=f"at most {_LAYERS:,}")
        if isinstance(value, int) and abs(value) > _SIZE:
            raise DeltaspaceError(f"{path}: a number is too large", found=f"{key}: {value:.3g}", expected=f"below {_SIZE:,}")
        if (key.endswith(("attn_implementation", "experts_implementation")) and "/" in str(value)) or (
            key == "transformers_weights" and value is not None
        ):
            raise DeltaspaceError(
                f"{path} names code or files elsewhere",
                found=f"{key}: {value}",
                expected="a model that transformers itself knows, in this folder alone",
                mend="remove that entry",
            )


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _entries(value)
        else:
            yield key, value


def weight_files(folder: Path) -> WeightFiles:
    """A model's safetensors files, whole and in its own folder.

    Raises:
        DeltaspaceError: there are none, one is missing, cut or no file, or the index names a file outside of the folder.
    """
    if (folder / WEIGHTS).exists():
        paths: tuple[Path, ...] = (folder / WEIGHTS,)
    elif (folder / INDEX).exists():
        paths = _shards(folder)
    else:
        others = sorted(
            p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".h5", ".msgpack", ".safetensors")
        )
        raise DeltaspaceError(
            f"{folder} has no {WEIGHTS}",
            found=", ".join(others[:5]) or "no weights",
            expected=f"weights as safetensors: {WEIGHTS}, or {INDEX} with its files; pickles such as *.bin are never read",
            mend="save the model with save_pretrained of a current transformers, which writes safetensors",
        )
    return WeightFiles(paths, sum(map(_numbers, paths)))


def _shards(folder: Path) -> tuple[Path, ...]:
    path = folder / INDEX
    index = read_json(path)
    mapped = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(mapped, dict) or not mapped or not all(isinstance(name, str) for name in mapped.values()):
        raise DeltaspaceError(
            f"{path} is damaged",
            found="no weight_map of names",
            expected="tensor names with the files they are in",
            mend="copy or download the model again",
        )
    names = sorted(set(mapped.values()))
    for name in names:
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise DeltaspaceError(
                f"{path} names a file that is not a safetensors file of its own folder",
                found=name[:200],
                expected="plain names such as model-00001-of-00002.safetensors",
                mend="copy or download the model again, from where you trust it",
            )
    if missing := [name for name in names if not (folder / name).exists()]:
        raise DeltaspaceError(
            f"{folder}: {len(missing)} of {len(names)} files of weights are missing",
            found=f"no {', '.join(missing[:3])}",
            expected=f"all that {INDEX} names",
            mend="copy or download the model again",
        )
    return tuple(folder / name for name in names)


def _numbers(path: Path) -> int:
    """How many numbers a safetensors file holds, by its header, which is checked against the file's length."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb"), safe_open(path, framework="pt") as file:
            return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError) as error:
        raise DeltaspaceError(
            f"{path} cannot be read",
            found=str(error),
            expected="a whole safetensors file",
            mend="copy or download the model again",
        ) from None


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors in which a number is NaN or infinite."""
    return [name for name, tensor in tensors.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())]


def listed(names: Collection[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(list(names)[:_SHOWN]) + more

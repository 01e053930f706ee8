"""Loading what transformers wrote: from a local folder alone, never running code that lies in it, and nothing drawn at random."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.model_files import CONFIG, WEIGHTS, check_config, check_entries, listed, not_finite, weight_files

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# A model may be this much larger than its files: tables that are computed and not read.
_COMPUTED = 100_000_000


def load_pretrained(kind: Any, folder: Path, **options: Any) -> Any:
    """`kind.from_pretrained` of a folder. All of the package goes through this function, which no option can make trust code.

    Args:
        kind: a class of transformers, such as AutoTokenizer or a model's.
        folder: a local one.
        options: what else `from_pretrained` takes.
    """
    return kind.from_pretrained(folder, **{**options, "local_files_only": True, "trust_remote_code": False})


def load_peft(model: PreTrainedModel, folder: Path) -> PeftModel:
    """What peft makes of a checkpoint on a model.

    Args:
        model: peft puts its modules into it.
        folder: a local one, whose settings and tensors were looked at before (`deltas/peft_checkpoint.py`).
    """
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, local_files_only=True)


def load_config(folder: Path, what: str, expected: str) -> PretrainedConfig:
    """A model's configuration.

    Args:
        folder: the model's.
        what: the model, for messages.
        expected: which models there may be, for messages.

    Raises:
        DeltaspaceError: it cannot be used (see `check_config`), or transformers does not know such a model.
    """
    from transformers import AutoConfig

    check_config(folder)
    with _told(f"{what}: its configuration cannot be used", expected):
        config: PretrainedConfig = load_pretrained(AutoConfig, folder)
    return config


def load_tokenizer(folder: Path, what: str) -> PreTrainedTokenizerBase:
    """A model's tokenizer.

    Args:
        folder: the model's.
        what: the model, for messages.

    Raises:
        DeltaspaceError: there is none, or it is damaged.
    """
    from transformers import AutoTokenizer

    with _told(f"{what}: its tokenizer cannot be loaded", f"the tokenizer's files, such as tokenizer.json, in {folder}"):
        tokenizer: PreTrainedTokenizerBase = load_pretrained(AutoTokenizer, folder)
    # Without its files transformers makes one that knows no words. Those of bytes and characters have none.
    names = {name for name in tokenizer.vocab_files_names.values() if isinstance(name, str)}
    if names and not any((folder / name).is_file() for name in names | {"tokenizer.json"}):
        raise DeltaspaceError(
            f"{what} has no tokenizer",
            found=f"a {type(tokenizer).__name__} without a vocabulary",
            expected=f"the tokenizer's files in {folder}: {', '.join(sorted(names))}",
            mend="copy them there, or save the tokenizer beside the model: tokenizer.save_pretrained(folder)",
        )
    return tokenizer


def load_model(
    kind: Any, config: PretrainedConfig, folder: Path, what: str, *, unused: Iterable[str] = (), expected: str = ""
) -> PreTrainedModel:
    """A model of which each weight is what its files say, in fp32.

    Args:
        kind: transformers' class.
        config: the folder's.
        folder: the model's.
        what: that it cannot be loaded, for messages.
        unused: patterns of weights on which nothing depends here; missing ones are zero.
        expected: which models there may be, for messages.

    Raises:
        DeltaspaceError: weights are missing, of another shape, left over though the model has such parts, or not finite; the
            files are damaged, or hold less than the configuration says.
    """
    files = weight_files(folder)
    said = _said(config)
    with _told(what, f"weights that fit {folder / CONFIG}: {said}" + (f"; {expected}" if expected else "")):
        _check_size(kind, config, files.numbers, what, f"{folder / CONFIG}", [path.name for path in files.paths])
        model, info = load_pretrained(
            kind,
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    return _whole(model, info, f"{folder}", what, unused)


def convert_gguf(path: Path, numbers: int, what: str, folder: Path) -> None:
    """Write the model of a GGUF file as a folder: configuration, tokenizer, and weights in fp32 without those tied to others.

    Args:
        path: the file; its header was looked at.
        numbers: how many its tensors hold.
        what: the model, for messages.
        folder: where to; it is made.

    Raises:
        DeltaspaceError: transformers does not know its architecture, or its tensors are not that model's.
    """
    from safetensors.torch import save_file
    from tqdm.auto import tqdm
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    refused = f"{what} cannot be converted"
    source: dict[str, Any] = {"gguf_file": path.name}
    with (
        tqdm(total=4, desc=f"{what}, once: configuration", disable="TQDM_DISABLE" in os.environ or None, leave=False) as bar,
        _told(refused, "a GGUF file of an architecture that transformers reads, such as llama, qwen2, gemma3, gpt2 or t5"),
    ):
        config = load_pretrained(AutoConfig, path.parent, **source)
        check_entries(path, json.loads(json.dumps(config.to_dict(), default=str)))
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        _check_size(kind, config, numbers, refused, f"{path}", [path.name])
        _advance(bar, f"{what}, once: tokenizer")
        tokenizer = load_pretrained(AutoTokenizer, path.parent, **source)
        _advance(bar, f"{what}, once: weights")
        model, info = load_pretrained(
            kind,
            path.parent,
            **source,
            **_dequantized(),
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        _advance(bar, f"{what}, once: writing")
        _whole(model, info, f"{path}", refused)
        folder.mkdir()
        # What transformers would refuse to write: the weights were dequantized, and the configuration says so no more.
        kept = {id(tensor): name for name, tensor in reversed(model.state_dict(keep_vars=True).items())}
        tensors = {name: tensor for name, tensor in model.state_dict().items() if name in set(kept.values())}
        if packed := [name for name, tensor in tensors.items() if not tensor.is_floating_point()]:
            raise DeltaspaceError(refused, found=f"{listed(packed)} no numbers with a point", expected="weights in full")
        config = model.config
        config.architectures = [type(model).__name__]
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    # Outside: what the disk says is told by those who write.
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS, metadata={"format": "pt"})


def _advance(bar: Any, text: str) -> None:
    bar.update()
    bar.set_description(text)


def _dequantized() -> dict[str, Any]:
    """The option that has weights dequantized even where they could be used packed; earlier versions dequantize anyway."""
    import transformers

    kind = getattr(transformers, "GgufConfig", None)
    return {} if kind is None else {"quantization_config": kind(dequantize=True)}


def _said(config: PretrainedConfig) -> str:
    return f"{config.model_type} as {(config.architectures or ['?'])[0]}, {getattr(config, 'num_hidden_layers', '?')} layers"


def skeleton(kind: Any, config: PretrainedConfig) -> PreTrainedModel:
    """A model without weights: every tensor has a shape and no numbers."""
    with torch.device("meta"):
        if hasattr(kind, "from_config"):
            made: PreTrainedModel = kind.from_config(config, trust_remote_code=False)
        else:
            made = kind._from_config(config)
    return made


def _check_size(kind: Any, config: PretrainedConfig, numbers: int, what: str, where: str, names: list[str]) -> None:
    """Raise DeltaspaceError where a configuration asks for a far larger model than its files hold."""
    empty = skeleton(kind, config)
    size = sum(tensor.numel() for tensors in (empty.parameters(), empty.buffers()) for tensor in tensors)
    if size > 2 * numbers + _COMPUTED:
        raise DeltaspaceError(
            what,
            found=f"{numbers:,} numbers in {', '.join(names[:3])}",
            expected=f"{size:,}, as {where} says",
            mend="the configuration is of another model: take that of these weights",
        )


def _whole(model: PreTrainedModel, info: dict[str, Any], where: str, what: str, unused: Iterable[str] = ()) -> PreTrainedModel:
    """The model, if each of its weights was read; see `load_model`."""
    spare = re.compile("|".join(unused) or r"(?!)")
    shapes = {name: f"{name} ({list(theirs)}, not {list(ours)})" for name, theirs, ours in info["mismatched_keys"]}
    missing = sorted(set(info["missing_keys"]) - set(shapes))
    faults = {
        "missing": [name for name in missing if not spare.search(name)],
        "of another shape": [text for name, text in sorted(shapes.items()) if not spare.search(name)],
        "left over": sorted(name for name in info["unexpected_keys"] if _is_part(name, model) and not spare.search(name)),
    }
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name in {*missing, *shapes} & set(weights):
            if spare.search(name):
                weights[name].zero_()
    faults["not finite (NaN or infinite)"] = not_finite(weights)
    if bad := [f"{listed(names)} {how}" for how, names in faults.items() if names]:
        raise DeltaspaceError(
            what,
            found=f"{where}: {'; '.join(bad)}",
            expected=f"all weights of a {type(model).__name__}, finite, as its configuration says: {_said(model.config)}",
            mend="take the configuration of these weights, or a model that has this head; nothing is drawn at random",
        )
    return model


def _is_part(name: str, model: PreTrainedModel) -> bool:
    """Whether a weight that the model did not take is of a part that it has: one more layer, or a bias."""
    prefix = f"{model.base_model_prefix}."
    patterns = {_pattern(known.removeprefix(prefix)) for known, _ in model.named_parameters()}
    if _pattern(name.removeprefix(prefix)) in patterns:
        return True
    parent = name.rpartition(".")[0]
    modules = dict(model.named_modules())
    module = next((modules[path] for path in (parent, prefix + parent, parent.removeprefix(prefix)) if path in modules), None)
    return module is not None and any(True for _ in module.parameters(recurse=False))


def _pattern(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


@contextmanager
def _told(what: str, expected: str) -> Iterator[None]:
    """What transformers raises of files that somebody else wrote, as a message."""
    try:
        yield
    except DeltaspaceError:
        raise
    except Exception as error:  # every architecture fails in its own way; the cause is kept and told
        raise DeltaspaceError(
            what,
            found=f"{type(error).__name__}: {first_line(error)}",
            expected=expected,
            mend="copy or download its files again; or take one that transformers itself loads",
        ) from error

"""Loading what transformers wrote: from a local folder alone, never running code that lies in it, and nothing drawn at random."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.model_files import CONFIG, check_config, listed, not_finite, weight_files

if TYPE_CHECKING:
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


def load_config(folder: Path, what: str, expected: str) -> PretrainedConfig:
    """A model's configuration.

    Args:
        folder: the model's.
        what: the model, for messages.
        expected: which models there may be, for messages.

    Raises:
        DeltaspaceError: it is none (see `check_config`), or transformers does not know such a model.
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
    said = f"{config.model_type} as {(config.architectures or ['?'])[0]}, {getattr(config, 'num_hidden_layers', '?')} layers"
    with _told(what, f"weights that fit {folder / CONFIG}: {said}" + (f"; {expected}" if expected else "")):
        with torch.device("meta"):
            empty = (
                kind.from_config(config, trust_remote_code=False) if hasattr(kind, "from_config") else kind._from_config(config)
            )
        size = sum(tensor.numel() for tensors in (empty.parameters(), empty.buffers()) for tensor in tensors)
        if size > 2 * files.numbers + _COMPUTED:
            raise DeltaspaceError(
                what,
                found=f"{files.numbers:,} numbers in {', '.join(path.name for path in files.paths[:3])}",
                expected=f"{size:,}, as {folder / CONFIG} says",
                mend="the configuration is of another model: take that of these weights",
            )
        model, info = load_pretrained(
            kind,
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
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
            found=f"{folder}: {'; '.join(bad)}",
            expected=f"all weights of a {type(model).__name__}, finite, as {folder / CONFIG} says: {said}",
            mend="take the configuration of these weights, or a model that has this head; nothing is drawn at random",
        )
    result: PreTrainedModel = model
    return result


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
        raise DeltaspaceError(what, found=f"{type(error).__name__}: {first_line(error)}", expected=expected) from error

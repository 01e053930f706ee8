"""Options that all verbs have, put behind their own: `--quiet`, and `--device` and `--precision` where a model is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from deltaspace.cli._terminal import be_quiet
from deltaspace.devices import on_device
from deltaspace.errors import DeltaspaceError
from deltaspace.precision import in_precision

_QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no hints: only results, and errors.")]
_DEVICE = Annotated[
    str | None,
    typer.Option("--device", metavar="cpu|cuda|cuda:N|mps", help="Where the model goes; a GPU if there is one by default."),
]
_PRECISION = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="auto|fp32|bf16",
        help="Of the PLM's matrix products: auto is bf16 where it is faster; by default so on GPUs, and fp32 on CPUs.",
    ),
]


def common_options(verb: Callable[..., None], *, device: bool = True) -> Callable[..., None]:
    """A verb with the options that all have.

    Args:
        verb: what typer would call.
        device: whether it loads a model.
    """

    # `landscape` says it of the landscape, which keeps it.
    says_precision = "precision" in inspect.signature(verb).parameters

    @wraps(verb)
    def with_common(*args: Any, quiet: bool = False, device: str | None = None, **given: Any) -> None:
        _check_engine(given, device)
        precision = None if says_precision else given.pop("precision", None)
        with be_quiet(quiet), on_device(device), in_precision(precision):
            verb(*args, **given)

    types = get_type_hints(verb, include_extras=True)
    parameters = [parameter.replace(annotation=types[name]) for name, parameter in inspect.signature(verb).parameters.items()]
    added: dict[str, tuple[Any, Any]] = {"quiet": (False, _QUIET)}
    if device:
        added["device"] = (None, _DEVICE)
    if device and not says_precision:
        added["precision"] = (None, _PRECISION)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters += [inspect.Parameter(name, keyword, default=default, annotation=kind) for name, (default, kind) in added.items()]
    # What typer reads a verb's options from.
    with_common.__dict__["__signature__"] = inspect.Signature(sorted(parameters, key=lambda parameter: parameter.kind is keyword))
    with_common.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_common


def _check_engine(given: dict[str, Any], device: str | None) -> None:
    """Raise DeltaspaceError where an engine deals out the GPUs itself."""
    if device is None:
        return
    if given.get("ray") is not None:
        raise DeltaspaceError(
            f"--device {device} is for this machine, and --ray deals out those of a cluster", mend="--gpus-per-task in its place"
        )
    if given.get("workers") is not None and ":" in device:
        raise DeltaspaceError(
            f"--device {device} is one GPU, and --workers deals out all that are seen",
            mend=f"--device cuda, with CUDA_VISIBLE_DEVICES={device.partition(':')[2]} for this one alone",
        )

"""All delta tuning methods by name, each registered where it is defined, and attaching one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from deltaspace.deltas.delta import AttachedDelta, Delta
from deltaspace.deltas.peft_fields import check_known
from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.mistakes import did_you_mean
from deltaspace.registry import Registry

if TYPE_CHECKING:
    from deltaspace.backbone import Backbone

DELTAS: Registry[type[Delta]] = Registry("delta", Delta, "deltaspace.deltas", "deltaspace.deltas")


def make_delta(name: str, settings: dict[str, Any]) -> Delta:
    """A delta as a recipe writes it.

    Args:
        name: its name, which is a method's unless the settings say `method` (a name of `DELTAS`) or `peft`.
        settings: its settings.

    Raises:
        ValueError: there is no such method or setting.
    """
    rest = {key: value for key, value in settings.items() if key != "method"}
    method = settings.get("method") or ("peft" if "peft" in settings else name)
    if not isinstance(method, str) or method not in DELTAS:
        raise ValueError(f"no delta {method!r}{did_you_mean(str(method), DELTAS)}; there are {', '.join(DELTAS)}; {DELTAS.hint}")
    return DELTAS[method](**rest)


def read_delta(name: str, settings: dict[str, Any], where: str) -> Delta:
    """A delta as a file has it.

    Args:
        name, settings: see `make_delta`.
        where: the file.

    Raises:
        DeltaspaceError: this version has no such method or setting, or it may load or run something.
    """
    given = settings.get("settings")
    if "peft" in settings:
        # What is no field of the delta is of peft, wherever it stands.
        beside = {key: value for key, value in settings.items() if key not in ("method", *DELTAS["peft"].model_fields)}
        check_known(beside | (given if isinstance(given, dict) else {}), where)
    try:
        return make_delta(name, settings)
    except ValueError as error:
        told = first_line(error)
        if isinstance(error, ValidationError):
            told = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors()[:3])
        raise DeltaspaceError(
            f"{where}: the delta {name} cannot be made", found=told, mend="load it with the version that wrote it"
        ) from None


def attach(delta: str | Delta, backbone: Backbone, *, seed: int = 0, **settings: Any) -> AttachedDelta:
    """Attach a delta tuning method to a backbone.

    Args:
        delta: its name with `settings`, or the method itself.
        backbone: the PLM, whose weights all its deltas share.
        seed: decides the initial vector.

    Raises:
        DeltaspaceError: there is no such delta, or the backbone has no room for it.
    """
    if isinstance(delta, str):
        delta = DELTAS.find(delta)(**settings)
    return AttachedDelta(delta, backbone, seed)

"""All delta tuning methods by name, each registered where it is defined, and attaching one."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from deltaspace.arguments import check_kind, check_seed
from deltaspace.deltas.delta import AttachedDelta, Delta
from deltaspace.deltas.peft_checkpoint import method_settings
from deltaspace.deltas.peft_fields import check_in_memory, check_known
from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.mistakes import plainly
from deltaspace.names import did_you_mean
from deltaspace.registry import Registry

if TYPE_CHECKING:
    from peft import PeftConfig

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
        raise ValueError(f"no delta {method!r}; there are {', '.join(DELTAS)}{did_you_mean(str(method), DELTAS)}; {DELTAS.hint}")
    return DELTAS[method].model_validate(rest)


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


def attach(
    delta: str | Delta | PeftConfig, backbone: Backbone, *, seed: int = 0, name: str | None = None, **settings: Any
) -> AttachedDelta:
    """Attach a delta tuning method to a backbone.

    Args:
        delta: its name with `settings`; the method itself; or a configuration of peft's, such as `LoraConfig(r=4)`.
        backbone: the PLM, whose weights all its deltas share.
        seed: decides the initial vector.
        name: what it is called; the method's name by default.

    Raises:
        DeltaspaceError: there is no such delta or setting, or the backbone has no room for it.
    """
    from deltaspace.backbone import Backbone

    check_kind(backbone, Backbone, "a backbone", "load_backbone(folder), or load_backbone(model, tokenizer=tokenizer)")
    check_seed(seed)
    if settings and not isinstance(delta, str):
        raise DeltaspaceError("settings are given beside a delta that has its own", found=", ".join(settings), expected="a name")
    method = delta if isinstance(delta, str) else "peft"
    if not isinstance(delta, Delta):
        try:
            delta = DELTAS.find(delta).model_validate(settings) if isinstance(delta, str) else _of_peft(delta)
        except ValidationError as error:
            raise DeltaspaceError(f"the delta {method} cannot be made", found=plainly(error)) from None
    return AttachedDelta(delta, backbone, seed, name)


def is_config(value: object) -> bool:
    """Whether something is a configuration of peft's, such as `LoraConfig(r=4)`."""
    return hasattr(value, "peft_type") and hasattr(value, "to_dict")


def config_settings(config: Any) -> dict[str, Any]:
    """What a recipe says of the delta that a configuration of peft's, made in Python, is of.

    Raises:
        DeltaspaceError: it is of a method that no vector says, or has settings that may load or run something.
    """
    # As a file would have it: peft's enumerations are texts, its sets lists.
    fields = {
        key: sorted(value) if isinstance(value, set) else value.value if isinstance(value, Enum) else value
        for key, value in config.to_dict().items()
    }
    method, settings = method_settings(fields)
    check_in_memory(method, settings, type(config).__name__)
    return {"peft": method, "settings": settings}


def _of_peft(config: object) -> Delta:
    """The delta of a configuration that was made in Python."""
    if not is_config(config):
        raise DeltaspaceError(
            "this cannot be attached",
            found=type(config).__name__,
            expected="a delta's name, a Delta, or a configuration of peft's such as LoraConfig",
        )
    return DELTAS["peft"].model_validate(config_settings(config))

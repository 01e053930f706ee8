"""How arguments and results are checked while tests run: types by beartype, shapes by jaxtyping, in the whole package."""

from __future__ import annotations

from beartype import BeartypeConf, FrozenDict, beartype
from pydantic import ValidationInfo

# pydantic's protocol cannot be asked for at run time.
checked = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({ValidationInfo: object})))

"""d and seeds as recipes and sweeps list them: whole numbers, each once. True and 2.0 are not."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from pydantic import AfterValidator, Field

from deltaspace.seeds import LARGEST_SEED


def _sizes(value: tuple[int, ...]) -> tuple[int, ...]:
    if min(value, default=1) < 1:
        raise ValueError("d is at least 1")
    return _once(value)


def _once(value: tuple[int, ...]) -> tuple[int, ...]:
    if twice := [number for number, count in Counter(value).items() if count > 1]:
        raise ValueError(f"{twice[0]} stands twice")
    return value


Counts = Annotated[tuple[int, ...], AfterValidator(_once)]
Dims = Annotated[tuple[int, ...], AfterValidator(_sizes)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0, le=LARGEST_SEED)], ...], AfterValidator(_once)]

"""d and seeds as recipes and sweeps list them: whole numbers, each once. True and 2.0 are none."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StrictInt


def _sizes(value: tuple[int, ...]) -> tuple[int, ...]:
    if min(value, default=1) < 1:
        raise ValueError("d is at least 1")
    return _once(value)


def _once(value: tuple[int, ...]) -> tuple[int, ...]:
    if twice := [number for number in value if value.count(number) > 1]:
        raise ValueError(f"{twice[0]} stands twice")
    return value


Dims = Annotated[tuple[StrictInt, ...], AfterValidator(_sizes)]
Seeds = Annotated[tuple[Annotated[StrictInt, Field(ge=0)], ...], AfterValidator(_once)]

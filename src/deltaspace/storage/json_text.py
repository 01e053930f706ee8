"""JSON from bytes; as people write it, what is doubtful is refused."""

from __future__ import annotations

import json
from typing import Any


def parse_json(content: bytes, *, strict: bool = True) -> Any:
    """What JSON in UTF-8 says; a byte order mark before it is passed over.

    Args:
        content: of a file, or of a line of it.
        strict: refuse what people write by mistake, and programs on purpose: NaN, half of a character.

    Raises:
        ValueError: it is not UTF-8 or not JSON, a key stands twice in an object, a number has thousands of digits, it is nested
            too deep, or `strict` refuses it.

    Example:
        >>> parse_json(b'{"input": "a"}')
        {'input': 'a'}
        >>> parse_json(b'{"input": "a", "input": "b"}')
        Traceback (most recent call last):
            ...
        ValueError: 'input' stands twice
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason} at byte {error.start})") from None
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number if strict else None)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from None
    except RecursionError:
        raise ValueError("not JSON (nested too deep)") from None
    # Only an escape can hold a half of a character: UTF-8 cannot.
    if strict and b"\\u" in content:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("half of a character (a surrogate without the other)") from None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice")
    return made


def _no_number(name: str) -> Any:
    raise ValueError(f"not JSON ({name} is no number of JSON)")


def checked_text(value: object) -> str:
    """The value, which must be a text. TypeError where it is not."""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where a text should be")
    return value

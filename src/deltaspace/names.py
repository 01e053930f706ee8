"""One rule for the names of deltas, tasks and landscapes: they are parts of files' paths, and they are shown everywhere; and how
messages count things.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from deltaspace.errors import DeltaspaceError

NAME_LIMIT = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_name(kind: str, name: str) -> str:
    """The name, if it is one.

    Args:
        kind: of what, with its article, such as "a delta".
        name: at most `NAME_LIMIT` letters, digits and _ . -, of which the first is a letter or a digit.

    Raises:
        ValueError: it is not of that form.

    Example:
        >>> check_name("a task", "glue-sst2")
        'glue-sst2'
        >>> check_name("a task", "../evil")
        Traceback (most recent call last):
            ...
        ValueError: '../evil' cannot be a task's name: at most 100 letters, digits, and _ . - inside, such as 'evil'
    """
    if _NAME.fullmatch(name) is None or len(name) > NAME_LIMIT:
        rule = f"at most {NAME_LIMIT} letters, digits, and _ . - inside"
        example = f", such as {plain!r}" if (plain := plain_name(name)) else ""
        raise ValueError(f"{name[:NAME_LIMIT]!r} cannot be {kind}'s name: {rule}{example}")
    return name


def require_task_name(name: str, mistake: str, mend: str) -> None:
    """Raise DeltaspaceError unless a task can be called so, as a folder is then: the name is from somebody's files or code.

    Args:
        name: the task's.
        mistake: what is wrong where it cannot.
        mend: what to do then.
    """
    try:
        check_name("a task", name)
    except ValueError as error:
        raise DeltaspaceError(mistake, found=str(error), mend=mend) from None


def plain_name(text: str) -> str:
    """A name like a text: what names do not have becomes -, what they do not begin with goes; nothing where nothing is left.

    Example:
        >>> plain_name("glue/sst2"), plain_name("my reviews"), plain_name("../..")
        ('glue-sst2', 'my-reviews', '')
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip("-_.")[:NAME_LIMIT].rstrip("-")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to say behind a name that is not known: the known one that it is most like, or nothing.

    Example:
        >>> did_you_mean("adaptor", ["adapter", "lora"]), did_you_mean("xyz", ["adapter", "lora"])
        ("; did you mean 'adapter'?", '')
    """
    by_form = {text.lower(): text for text in known}
    like = difflib.get_close_matches(name.lower(), by_form, n=1)
    return f"; did you mean {by_form[like[0]]!r}?" if like else ""


def counted(count: int, noun: str) -> str:
    """A number of things as people say it.

    Args:
        count: how many.
        noun: what, as one of them is called; of several words the last one changes.

    Example:
        >>> counted(1, "source task"), counted(0, "vector"), counted(1200, "vector")
        ('1 source task', '0 vectors', '1,200 vectors')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

"""A tokenizer's chat template as plain texts around inputs and answers.

A template is a program (Jinja) out of somebody's files, which transformers renders in a sandbox without access to anything. It is
rendered twice in all, of marked messages, under a limit of time and size, and never again: texts are put between what stood
around the marks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from deltaspace.errors import DeltaspaceError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Of the processor.
_SECONDS = 10.0
_CHARACTERS = 200_000
_MARKS = ("first-question-7351", "first-answer-7351", "second-question-7351", "second-answer-7351")


@dataclass(frozen=True)
class Chat:
    """What stands around the messages of a chat.

    Args:
        opening: before the first question.
        reply: between a question and its answer, in examples.
        turn: between an answer and the next question.
        generation: between the last question and the answer that is written.
        end: the token that ends an answer.
    """

    opening: str
    reply: str
    turn: str
    generation: str
    end: int


def read_chat(tokenizer: PreTrainedTokenizerBase, name: str, system: str | None) -> Chat:
    """Read a tokenizer's chat template.

    Args:
        tokenizer: the model's.
        name: the model's, for messages.
        system: the system message; None is what the template says by itself.

    Raises:
        DeltaspaceError: there is none, it fails, takes too long, or does not hold the messages.
    """
    if not tokenizer.chat_template:
        raise DeltaspaceError(
            f"model {name} has no chat template",
            found="none in its tokenizer's files",
            expected="chat_template.jinja, or an entry of tokenizer_config.json",
            mend="take a model that was trained for chats, or 'prompt: plain'",
        )
    before = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant") * 2
    messages = [*before, *({"role": role, "content": mark} for role, mark in zip(roles, _MARKS, strict=True))]
    opened = [*before, messages[len(before)]]

    def render(part: list[dict[str, str]], add: bool) -> str:
        return str(tokenizer.apply_chat_template(part, tokenize=False, add_generation_prompt=add))

    try:
        whole, asked = _limited(lambda: (render(messages, False), render(opened, True)))
    except Exception as error:  # a template raises what it likes
        raise _unusable(name, f"{type(error).__name__}: {first_line(error)}") from error
    if max(len(whole), len(asked)) > _CHARACTERS:
        raise _unusable(name, f"{len(whole):,} characters for four short messages")
    positions = [whole.find(mark) for mark in _MARKS]
    if sorted(positions) != positions or -1 in positions or any(whole.count(mark) != 1 for mark in _MARKS):
        raise _unusable(name, "messages that are not there once and in their order")
    opening = whole[: positions[0]]
    if not asked.startswith(opening + _MARKS[0]):
        raise _unusable(name, "another beginning for one message than for several")
    pieces = [whole[at + len(mark) : end] for at, mark, end in zip(positions, _MARKS, [*positions[1:], None], strict=True)]
    ends = tokenizer(pieces[3].lstrip(), add_special_tokens=False)["input_ids"] or [tokenizer.eos_token_id]
    return Chat(opening, pieces[0], pieces[1], asked[len(opening) + len(_MARKS[0]) :], int(ends[0]))


def _unusable(name: str, found: str) -> DeltaspaceError:
    return DeltaspaceError(
        f"model {name}: its chat template cannot be used",
        found=found,
        expected="a template that puts messages of user and assistant one after the other",
        mend="correct chat_template.jinja, or take 'prompt: plain'",
    )


def _limited(render: Callable[[], Any]) -> Any:
    """What a function gives, or a TimeoutError where its Python takes too long."""
    end = time.thread_time() + _SECONDS

    def watch(frame: FrameType, event: str, argument: object) -> Any:
        if time.thread_time() > end:
            raise TimeoutError(f"more than {_SECONDS:.0f} seconds")
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        return render()
    finally:
        sys.settrace(before)

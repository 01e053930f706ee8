"""A tokenizer's chat template as plain texts around inputs and answers.

A template is a program (Jinja) out of somebody's files, which transformers renders in a sandbox without access to anything. It is
rendered twice in all, of marked messages, and never again: texts are put between what stood around the marks. That is done in a
process of its own, which the system ends where it takes too long: one operation (`9**(9**9)`) takes hours within the interpreter.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deltaspace.errors import DeltaspaceError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Of the processor, for rendering alone; and what the process may take at all.
_SECONDS = 5
_BYTES = 2 << 30
_CHARACTERS = 200_000
# Reads {path, template, values, asked: [{messages, add}, ...], seconds, bytes, characters}; writes {texts} or {error}. Limits
# that a system does not know are left out; nothing imports torch.
_PROGRAM = """
import json, math, resource, sys
said = json.load(sys.stdin)
sys.path[:] = said["path"]
from transformers.utils.chat_template_utils import render_jinja_template
used = resource.getrusage(resource.RUSAGE_SELF)
seconds = math.ceil(used.ru_utime + used.ru_stime + said["seconds"])
for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, said["bytes"])):
    try:
        resource.setrlimit(limit, (most, resource.getrlimit(limit)[1]))
    except (OSError, ValueError):
        pass
try:
    texts = []
    for part in said["asked"]:
        rendered = render_jinja_template(
            conversations=[part["messages"]], chat_template=said["template"], add_generation_prompt=part["add"], **said["values"]
        )
        texts.append(rendered[0][0])
    if (length := max(map(len, texts))) > said["characters"]:
        told = {"error": f"{length:,} characters for four short messages"}
    else:
        told = {"texts": texts}
except Exception as error:
    told = {"error": f"{type(error).__name__}: {str(error)[:2000]}"}
json.dump(told, sys.stdout)
"""
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

    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:
        raise _unusable(name, first_line(error)) from None
    try:
        whole, asked = _rendered(template, tokenizer.special_tokens_map, (messages, False), (opened, True))
    except ValueError as error:
        raise _unusable(name, first_line(error)) from None
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


def _rendered(template: object, values: dict[str, str], *asked: tuple[list[dict[str, str]], bool]) -> list[str]:
    """What a template makes of messages, with or without the beginning of an answer behind them.

    Args:
        template: the program.
        values: what it may name beside the messages: the tokenizer's special tokens.
        asked: messages, and whether an answer is begun.

    Raises:
        ValueError: it fails, or takes too much time or memory.
    """
    said = {
        "path": [str(path) for path in sys.path],
        "template": template,
        "values": values,
        "asked": [{"messages": messages, "add": add} for messages, add in asked],
        "seconds": _SECONDS,
        "bytes": _BYTES,
        "characters": _CHARACTERS,
    }
    # In a session of its own: Ctrl-C is for this process, which ends that one.
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps(said, default=str),
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise ValueError(f"more than {_SECONDS} seconds, or too much memory")
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ValueError(f"rendering it ended with code {done.returncode}: {last}")
    told = json.loads(done.stdout)
    if "error" in told:
        raise ValueError(told["error"])
    texts: list[str] = told["texts"]
    return texts

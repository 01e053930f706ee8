"""How the inputs of all tasks are put to a model that writes: plainly or as a chat, with labels named, with examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from deltaspace.errors import DeltaspaceError
from deltaspace.settings import Settings
from deltaspace.tasks.task import Example, Task, drawn_in_turn


class Prompting(Settings):
    """How tasks are put to the model; a text alone is the style."""

    style: Literal["plain", "chat"] = Field(default="plain", description="chat: in the tokenizer's chat template")
    labels: bool = Field(
        default=False, description="name the label words behind every input, of a regression the least and largest number"
    )
    examples: int = Field(default=0, ge=0, le=64, description="training examples with their answers before every input")
    system: str | None = Field(default=None, description="the chat's system message; by default the template's own")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"style": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _of_a_chat(self) -> Prompting:
        if self.system is not None and self.style != "chat":
            raise ValueError("a system message is a chat's; set 'style: chat'")
        return self

    @property
    def plain(self) -> bool:
        """Whether inputs are put as they are, with nothing but a task's own prompt around them."""
        return self == Prompting()


PLAIN = Prompting()


def question(task: Task, prompting: Prompting) -> str:
    """What a task's input is put into when it has no prompt of its own: a template with `{input}`."""
    if prompting.labels and task.kind == "regression":
        numbers = sorted(task.labels, key=float)
        return f"{{input}}\nA number from {numbers[0]} to {numbers[-1]}."
    words = [word.replace("{", "{{").replace("}", "}}") for word in task.labels.values()] if prompting.labels else []
    return "{input}" + (f"\nChoose one: {', '.join(words)}." if words else "")


def demonstrations(task: Task, count: int) -> list[Example]:
    """Training examples that stand before every input, one more than asked for: labels in equal parts, drawn by the task's name.

    The last one takes the place of an example that is the input itself; see `shown`.

    Raises:
        DeltaspaceError: there are too few.
    """
    if count == 0:
        return []
    if len(task.train) <= count:
        raise DeltaspaceError(
            f"task {task.name}: too few examples to show {count} before every input",
            found=f"{len(task.train)} training examples",
            expected=f"at least {count + 1}",
            mend="lower 'examples' under 'prompt'",
        )
    return drawn_in_turn(task, "train", "demonstrations")[: count + 1]


def shown(examples: Sequence[Example], text: str) -> list[Example]:
    """Of `demonstrations`, those that stand before an input: never its own answer."""
    others = [example for example in examples if example.input != text]
    return others[: len(examples) - 1]


def answer(task: Task, example: Example) -> str:
    """What a model reads for an example's target."""
    return task.labels.get(example.target, example.target)

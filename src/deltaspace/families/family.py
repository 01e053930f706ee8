"""What every family of PLM does with a task: encode its examples, the loss of a batch, predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deltaspace.errors import DeltaspaceError
from deltaspace.families.batch import Batch, Evaluation, Inputs, Item
from deltaspace.families.prompting import PLAIN, Prompting
from deltaspace.names import counted
from deltaspace.registry import Registry
from deltaspace.tasks.task import Example, Task
from deltaspace.tasks.templates import fields_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

AnyItem = TypeVar("AnyItem", bound=Item)
AnyBatch = TypeVar("AnyBatch", bound=Batch)


class Family(ABC, Generic[AnyItem, AnyBatch]):
    """A way in which a PLM reads a task as text. A family adds no parameters, so that all tasks share one parameter space.

    Args:
        model: the frozen PLM, as loaded: what the task's text is prepared with (never a delta's).
        tokenizer: its tokenizer.
        max_length: tokens to which an input is cut.
        prompting: how inputs are put to the model.
    """

    name: ClassVar[str]
    # Which models these are, with examples, for messages.
    models: ClassVar[str]
    # peft's task type: it decides how peft loads a checkpoint.
    peft_task_type: ClassVar[str]
    # Of the families that recognize a configuration, the highest takes it. Ours are all lower, so that a family for some special
    # models goes before them.
    precedence: ClassVar[int] = 10
    # Patterns of the names of weights on which nothing here depends, so that a model may lack them.
    unused: ClassVar[tuple[str, ...]] = ()
    # Of what `decision` is: the input's embedding, the candidates' probabilities, or the next token's.
    decides_by: ClassVar[Literal["embedding", "candidates", "next token"]] = "next token"
    # Whether inputs can be put in other ways than plainly.
    prompts: ClassVar[bool] = False

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int, prompting: Prompting = PLAIN
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.prompting = prompting

    @staticmethod
    @abstractmethod
    def auto_class() -> type[Any]:
        """transformers' class that loads these models, such as AutoModelForCausalLM; imported in here, which takes its time."""

    @staticmethod
    @abstractmethod
    def recognizes(config: PretrainedConfig, folder: Path) -> bool:
        """Whether a model of this configuration, in this folder, is of this family."""

    def read(self, folder: Path) -> None:
        """Read what the model's folder says beside its configuration. Raises DeltaspaceError where that is not supported."""

    def check_model(self, name: str) -> None:
        """Raise DeltaspaceError where the PLM called `name` and its tokenizer do not fit, or lack what this family needs."""
        if not self.prompts and not self.prompting.plain:
            raise DeltaspaceError(
                f"model {name} takes no 'prompt' for all tasks",
                found=f"a {self.name.replace('_', ' ')}",
                expected="a decoder-only model",
                mend="leave it out; a task may have a 'prompt' of its own",
            )
        size = self.model.get_input_embeddings().num_embeddings
        beyond = sorted((token for token, index in self.tokenizer.get_vocab().items() if index >= size))
        if beyond:
            raise DeltaspaceError(
                f"model {name}: its tokenizer is of another model",
                found=f"{counted(len(beyond), 'token')} beyond the model's {size:,}, such as {beyond[0]!r}",
                expected="a vocabulary no larger than the model's embeddings",
                mend="put the tokenizer's files of this very model beside its weights",
            )

    def need(self, name: str, value: object, what: str, where: str) -> None:
        """Raise DeltaspaceError where the PLM called `name` lacks something: `what`, which should stand in the file `where`."""
        if value is None:
            raise DeltaspaceError(
                f"model {name} cannot be a {self.name.replace('_', ' ')}: it has no {what}",
                expected=f"{what} in its {where}",
                mend="take a model of this kind, or name it there if the vocabulary has it",
            )

    @abstractmethod
    def check(self, task: Task) -> None:
        """Raise DeltaspaceError where this family cannot do `task` (its kind, its prompt, its label words)."""

    @abstractmethod
    def encode(self, task: Task, examples: Sequence[Example]) -> list[AnyItem]:
        """Tokenize `examples` once. Raises as `check`."""

    @abstractmethod
    def collate(self, items: Sequence[AnyItem]) -> AnyBatch:
        """A padded batch on the model's device. The items may be of different tasks, if all are ranked or all generated."""

    @abstractmethod
    def losses(self, model: PreTrainedModel, batch: AnyBatch, parts: int) -> Float[Tensor, " parts"]:
        """Mean training loss of each of `parts` equal consecutive parts of the batch, in nats.

        `model` is the PLM with a delta applied.
        """

    def loss(self, model: PreTrainedModel, batch: AnyBatch) -> Float[Tensor, ""]:
        """Mean training loss of the whole batch."""
        return self.losses(model, batch, 1)[0]

    @abstractmethod
    def evaluate(self, model: PreTrainedModel, batch: AnyBatch) -> Evaluation:
        """Predictions and losses of the batch; `model` is the PLM with a delta applied."""

    @abstractmethod
    def decision(self, model: PreTrainedModel, batch: AnyBatch) -> Float[Tensor, "batch features"]:
        """What the PLM decides by, as vectors of length 1 or less whose squared distance tells how far two decisions are apart.

        A sentence's embedding; for distributions (of the candidates, of the next token) the square roots of their probabilities,
        so that the squared distance is twice the squared Hellinger distance. The targets are not read.
        """

    def answer(self, model: PreTrainedModel, batch: AnyBatch) -> Float[Tensor, "batch features"]:
        """As `decision`, but only of what the batch's own tasks ask for; the same unless a family decides by more than that.

        Of an answer that is written, the distributions of all its tokens, each behind those before it: there the targets say what
        is before (see `written`), and the longest of the batch says how many features there are; those of others are 0.
        """
        return self.decision(model, batch)

    def written(self, model: PreTrainedModel, items: Sequence[AnyItem], tokens: int) -> list[AnyItem]:
        """The items with what the model itself answers as their targets, at most so many tokens, where it is to write an answer;
        others as they are. Targets are not read."""
        return list(items)

    def states(self, items: Sequence[AnyItem]) -> list[list[AnyItem]]:
        """Of each item all states in which the model decides something, as items.

        Where it writes, or ranks texts, these are the beginnings of the item's target, or of its candidates.
        """
        return [[item] for item in items]

    def losses_and_answer(
        self, model: PreTrainedModel, batch: AnyBatch, parts: int
    ) -> tuple[Float[Tensor, " parts"], Float[Tensor, "batch features"]]:
        """`losses` and `answer`; a family that has both from one pass of the model says so here."""
        return self.losses(model, batch, parts), self.answer(model, batch)

    @property
    def device(self) -> torch.device:
        """Where the PLM is."""
        return self.model.device

    def cut(self, text: str, room: int) -> str:
        """`text` cut to its first `room` tokens (prompts are put around the cut text, so they are never lost)."""
        encoded = self.tokenizer(
            text, add_special_tokens=False, truncation=True, max_length=max(room, 1), return_offsets_mapping=True
        )
        ends = encoded["offset_mapping"]
        return text[: ends[-1][1]] if ends else text

    def prompted(self, task: Task, text: str, default: str = "{input}", around: tuple[str, str] = ("", ""), **fields: str) -> str:
        """The task's prompt (else `default`) around `text`, cut so that the whole stays within `max_length` tokens.

        Args:
            task: whose prompt.
            text: the input.
            default: a prompt.
            around: what stands before and behind all that, and is never cut.
            fields: what else the prompt names.
        """
        template = task.prompt or default

        def whole(part: str) -> str:
            return around[0] + template.format(input=part, **fields) + around[1]

        frame = whole("")
        room = self.max_length - len(self.tokenizer(frame)["input_ids"])
        if room < 1:
            raise DeltaspaceError(
                f"task {task.name}: the prompt leaves no room for the input",
                found=f"{self.max_length - room} tokens without it",
                expected=f"less than max_length, {self.max_length}",
                mend="shorten the prompt, show fewer examples, or raise 'max_length'",
            )
        return whole(self.cut(text, room))

    def check_prompt(self, task: Task, fields: Sequence[str]) -> None:
        """Raise DeltaspaceError unless the task's prompt, if it has one, has each of `fields` once and no other."""
        if task.prompt is None:
            return
        try:
            named = fields_of(task.prompt)
        except ValueError as error:
            raise DeltaspaceError(
                f"task {task.name}: the prompt cannot be filled", found=str(error), expected=_braced(fields)
            ) from None
        if other := [name for name in named if name not in fields]:
            raise DeltaspaceError(
                f"task {task.name}: the prompt cannot be filled", found="{" + other[0] + "}", expected=_braced(fields)
            )
        if sorted(named) != sorted(fields):
            raise DeltaspaceError(
                f"task {task.name}: the prompt lacks a field or has one twice", found=repr(task.prompt), expected=_braced(fields)
            )

    def only_ranked(self, task: Task) -> None:
        """Raise DeltaspaceError when `task` needs text to be generated."""
        if not task.ranked:
            raise DeltaspaceError(
                f"task {task.name} asks for generated text, which a {self.name.replace('_', ' ')} cannot write",
                found=f"kind {task.kind}",
                expected="classification, multiple_choice or regression",
                mend="leave the task out, or use an encoder-decoder or decoder-only model",
            )

    def pad(self, sequences: Sequence[Sequence[int]], value: int, left: bool = False) -> Int[Tensor, "batch length"]:
        """Sequences of token ids padded with `value` to the longest, on the model's device."""
        length = max(map(len, sequences))
        rows = [[value] * (length - len(s)) + list(s) if left else list(s) + [value] * (length - len(s)) for s in sequences]
        return torch.tensor(rows, device=self.device)

    def pad_inputs(self, sequences: Sequence[Sequence[int]], left: bool = False) -> Inputs:
        """Padded sequences of token ids, with the mask that hides the padding."""
        ones = [[1] * len(s) for s in sequences]
        return Inputs(self.pad(sequences, self.pad_id, left), self.pad(ones, 0, left))

    @property
    def pad_id(self) -> int:
        """The padding token; where the tokenizer has none, its end token, which the attention mask hides."""
        return next(i for i in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0) if i is not None)


FAMILIES: Registry[type[Family[Any, Any]]] = Registry("family", Family, "deltaspace.families", "deltaspace.families")


def _braced(fields: Sequence[str]) -> str:
    return " and ".join("{" + field + "}" for field in fields) + ", each once"

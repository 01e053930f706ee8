"""Decoder-only models (GPT-2, Llama): the input text is continued with the target; candidates are ranked, or text generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deltaspace.families.batch import Batch, Evaluation, Inputs
from deltaspace.families.chat import Chat, read_chat
from deltaspace.families.family import FAMILIES
from deltaspace.families.logits import logits_at, takes
from deltaspace.families.losses import IGNORED
from deltaspace.families.packing import packed_scores
from deltaspace.families.prompting import answer, demonstrations, question, shown
from deltaspace.families.ranking import Choice, ranked, roots
from deltaspace.families.text import (
    RankedText,
    TextFamily,
    TextItem,
    begun,
    candidate_scores,
    encode_texts,
    mean_log_likelihood,
    most_new_tokens,
    ranked_items,
)
from deltaspace.tasks.task import Example, Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


# Between examples that are shown plainly.
_TURN = "\n\n"
# Of two ways to the same log-likelihoods in fp32; ways to others are far more apart.
_SAME = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class DecoderBatch(Batch):
    """Inputs, each with its target behind it.

    Args:
        items: what it was made from.
        inputs: tokens of input and target, the last one left out.
        positions: where the target's tokens are predicted, which is one token before each.
        targets: these tokens; IGNORED behind them.
    """

    items: Sequence[TextItem]
    inputs: Inputs
    positions: Int[Tensor, "batch target_tokens"]
    targets: Int[Tensor, "batch target_tokens"]


@FAMILIES.register
class Decoder(TextFamily[DecoderBatch]):
    """Causal language models, trained on the target's tokens only (the input's are not predicted)."""

    name = "decoder"
    models = "decoder-only models (GPT-2, Llama)"
    peft_task_type = "CAUSAL_LM"
    precedence = 0
    prompts = True
    _chat: Chat | None = None

    @staticmethod
    def auto_class() -> type[Any]:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    @staticmethod
    def recognizes(config: PretrainedConfig, folder: Path) -> bool:
        return any(architecture.endswith(("ForCausalLM", "LMHeadModel")) for architecture in config.architectures or [])

    def check_model(self, name: str) -> None:
        super().check_model(name)
        self.need(name, self.tokenizer.eos_token_id, "end token (eos_token)", "tokenizer_config.json")
        if self.prompting.style == "chat":
            self._chat = read_chat(self.tokenizer, name, self.prompting.system)

    def check(self, task: Task) -> None:
        self.check_prompt(task, ["input"])

    def encode(self, task: Task, examples: Sequence[Example]) -> list[TextItem]:
        self.check(task)
        texts = self._texts(task, examples)
        if self._chat is None:
            inputs = [self._open(ids) for ids in self.tokenizer(texts)["input_ids"]]
        else:  # a template names all special tokens itself
            inputs = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return encode_texts(self, task, examples, inputs, self._target_ids)

    def _texts(self, task: Task, examples: Sequence[Example]) -> list[str]:
        """What the model reads of each example, up to where its answer begins."""
        chat, drawn = self._chat, demonstrations(task, self.prompting.examples)
        asked = question(task, self.prompting)
        opening, reply, turn, generation = ("", "\nAnswer: ", _TURN, "\nAnswer:")
        if chat is not None:
            opening, reply, turn, generation = chat.opening, chat.reply, chat.turn, chat.generation
        elif task.prompt is not None:  # it says itself how it ends
            reply, generation = " ", ""

        def one(example: Example) -> str:
            before = "".join(
                (task.prompt or asked).format(input=other.input) + reply + answer(task, other) + turn
                for other in shown(drawn, example.input)
            )
            return self.prompted(task, example.input, asked, (opening + before, generation))

        return [one(example) for example in examples]

    def _open(self, ids: list[int]) -> list[int]:
        # Some tokenizers close every text with their end token; a prompt is to be continued.
        return ids[:-1] if len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id else ids

    @cached_property
    def _end(self) -> int:
        """The token that ends an answer: of the chat, of the examples that are shown, or else of all texts."""
        if self._chat is not None:
            return self._chat.end
        if self.prompting.examples:
            # Between two texts: alone, an empty line may be another token. Some tokenizers drop it.
            word, both = (self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("x", f"x{_TURN}x"))
            if both[: len(word)] == word and len(both) > 2 * len(word):
                return int(both[len(word)])
        return int(self.tokenizer.eos_token_id)

    def _target_ids(self, texts: list[str]) -> list[list[int]]:
        # Behind a colon a word begins with a space, behind a chat's line it does not.
        space = " " if self._chat is None else ""
        encoded = self.tokenizer(
            [space + text for text in texts], add_special_tokens=False, truncation=True, max_length=self.max_length
        )
        return [[*ids, self._end] for ids in encoded["input_ids"]]

    def collate(self, items: Sequence[TextItem]) -> DecoderBatch:
        return DecoderBatch(items, *self._join([(item.input_ids, item.target_ids) for item in items]))

    def _join(self, pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[Inputs, Tensor, Tensor]:
        # The last token is predicted, and nothing behind it: it need not be read.
        inputs = self.pad_inputs([ids + target[:-1] for ids, target in pairs])
        positions = self.pad([list(range(len(ids) - 1, len(ids) - 1 + len(target))) for ids, target in pairs], 0)
        return inputs, positions, self.pad([target for _, target in pairs], IGNORED)

    def _at_targets(self, model: PreTrainedModel, batch: DecoderBatch) -> tuple[Tensor, Tensor]:
        return logits_at(model, batch.inputs, batch.positions), batch.targets

    def _write(self, model: PreTrainedModel, items: Sequence[TextItem], tokens: int) -> list[list[int]]:
        inputs = self.pad_inputs([item.input_ids for item in items], left=True)
        rows: list[list[int]] = self._continue(model, inputs, tokens).sequences[:, inputs.input_ids.shape[1] :].tolist()
        return rows

    def evaluate(self, model: PreTrainedModel, batch: DecoderBatch) -> Evaluation:
        if items := ranked_items(batch.items):
            scores = self._packed(model, items) if self._packs else self._each(model, items)
            return ranked([item.choice for item in items], scores)
        return self._generate(model, batch)

    def _packed(self, model: PreTrainedModel, items: Sequence[RankedText]) -> Float[Tensor, "batch candidates"]:
        """Scores of candidates, each input read once."""
        vocabulary = self.model.get_input_embeddings().num_embeddings
        return packed_scores(model, [(item.input_ids, item.candidate_ids) for item in items], vocabulary, self.pad)

    def _each(self, model: PreTrainedModel, items: Sequence[RankedText]) -> Float[Tensor, "batch candidates"]:
        """Scores of candidates, each behind its own copy of the input."""

        def score(rows: list[tuple[int, list[int]]]) -> Tensor:
            return self._log_likelihood(model, *self._join([(items[index].input_ids, ids) for index, ids in rows]))

        return candidate_scores(items, score)

    @cached_property
    def _packs(self) -> bool:
        """Whether the PLM reads inputs with their candidates as single rows and gives the numbers that it gives for each alone.

        It must take positions and masks of one's own, and attend to all that it is shown, so far as `max_length` reaches. Of
        that an architecture says only a part: it is tried.
        """
        config = self.model.config
        window = getattr(config, "sliding_window", None)
        if config._attn_implementation != "sdpa" or not takes(self.model, "position_ids"):
            return False
        if window is not None and window < 2 * self.max_length:
            return False
        size = self.model.get_input_embeddings().num_embeddings
        tokens = [
            [token % size for token in range(start, start + count)] for start, count in ((3, 4), (9, 2), (5, 1), (7, 3), (4, 2))
        ]
        choice = Choice(("", "", ""), 0)
        items = [RankedText(tokens[i], tokens[2], choice, [tokens[k] for k in of]) for i, of in ((0, (2, 3, 4)), (1, (3, 4, 2)))]
        # Whatever precision this is asked in: bf16 tells the two ways apart by its rounding.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            try:
                packed = self._packed(self.model, items)
            except (RuntimeError, ValueError, TypeError, IndexError):  # how architectures refuse a mask or positions
                return False
            return torch.allclose(packed, self._each(self.model, items), rtol=_SAME, atol=_SAME)

    def _generate(self, model: PreTrainedModel, batch: DecoderBatch) -> Evaluation:
        """Texts as transformers writes them, and the targets' losses behind the same reading of the inputs."""
        inputs = self.pad_inputs([item.input_ids for item in batch.items], left=True)
        output = self._continue(model, inputs, most_new_tokens(batch.items))
        written = output.sequences[:, inputs.input_ids.shape[1] :]
        texts = [text.strip() for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]
        cache = output.get("past_key_values")
        if not _can_be_cut(cache):
            return Evaluation(texts, -self._log_likelihood(model, batch.inputs, batch.positions, batch.targets))
        # What was written goes, and the input's last token too, which is read again before the target.
        cache.crop(-written.shape[1])
        return Evaluation(texts, -self._continued(model, inputs, cache, batch))

    def _continue(self, model: PreTrainedModel, inputs: Inputs, tokens: int) -> Any:
        """What transformers' greedy generation gives, of so many tokens at most."""
        return model.generate(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            max_new_tokens=tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=self.pad_id,
            **({} if self.prompting.plain else {"eos_token_id": self._end}),
            return_dict_in_generate=True,
        )

    def _continued(self, model: PreTrainedModel, read: Inputs, cache: Any, batch: DecoderBatch) -> Float[Tensor, " batch"]:
        """Mean log-likelihood of the targets behind inputs that were read but for their last tokens."""
        ids = self.pad([[item.input_ids[-1], *item.target_ids[:-1]] for item in batch.items], self.pad_id)
        there = self.pad([[1] * len(item.target_ids) for item in batch.items], 0)
        options: dict[str, Any] = {}
        if takes(model, "position_ids"):
            steps = range(ids.shape[1])
            options["position_ids"] = self.pad([[len(item.input_ids) - 1 + step for step in steps] for item in batch.items], 0)
        mask = torch.cat([read.attention_mask[:, :-1], there], dim=1)
        output = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options)
        return mean_log_likelihood(output.logits, batch.targets)

    def _log_likelihood(self, model: PreTrainedModel, inputs: Inputs, positions: Tensor, targets: Tensor) -> Tensor:
        return mean_log_likelihood(logits_at(model, inputs, positions), targets)

    def decision(self, model: PreTrainedModel, batch: DecoderBatch) -> Float[Tensor, "batch features"]:
        """Of the next token's probabilities behind the prompt, and behind what is there of its answer."""
        rows = [[*item.input_ids, *begun(item)] for item in batch.items]
        return roots(logits_at(model, self.pad_inputs(rows), self.pad([[len(row) - 1] for row in rows], 0))[:, 0])


def _can_be_cut(cache: Any) -> bool:
    """Whether a cache keeps keys and values of all tokens, so that what comes after some of them can be taken away."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)

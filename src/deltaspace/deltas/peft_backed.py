"""A delta that peft puts into the model: peft merges it, and its checkpoints are peft's."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from deltaspace.deltas.checkpoint import CheckpointCard, unmergeable
from deltaspace.deltas.delta import AttachedDelta, Delta
from deltaspace.deltas.peft_checkpoint import read_peft_checkpoint, without_warnings
from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.storage import hub_name

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone

Result = TypeVar("Result")


def _fingerprints(model: PreTrainedModel) -> dict[str, tuple[Tensor, int]]:
    """Each weight by its name, with a number that changes with it; a skeleton without numbers has none."""
    return {name: (weight, _fingerprint(weight)) for name, weight in model.named_parameters() if not weight.is_meta}


def _fingerprint(weight: Tensor) -> int:
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    return int(weight.detach().contiguous().view(bits).sum(dtype=torch.int64))


@contextmanager
def _uninitialized_is_nan() -> Iterator[None]:
    """In here memory that nobody initializes is NaN, so that it is noticed where it stays."""
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


class PeftBacked(Delta):
    """A delta that peft puts into the model, and whose checkpoints peft loads."""

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.name

    @abstractmethod
    def config(self, model: PreTrainedModel, backbone: Backbone) -> PeftConfig:
        """peft's configuration, for this model."""

    def wrap(self, model: PreTrainedModel, backbone: Backbone) -> PeftModel:
        """`model`, changed in place, within peft's own class.

        Raises:
            DeltaspaceError: the method does not fit the model.
        """
        from peft import get_peft_model

        before = _fingerprints(model)
        try:
            with without_warnings(), _uninitialized_is_nan():
                wrapped: PeftModel = get_peft_model(model, self.config(model, backbone))
        except DeltaspaceError:
            raise
        except Exception as error:  # every method of peft fails in its own way; the cause is kept and told
            raise DeltaspaceError(
                f"{self.title} does not fit {backbone.name}",
                found=first_line(error),
                expected="settings that peft takes for this model, such as target_modules: names of its linear modules",
            ) from error
        if changed := [name for name, fingerprint in before.items() if _fingerprint(fingerprint[0]) != fingerprint[1]]:
            raise DeltaspaceError(
                f"{self.title} changes the model's own weights, which no vector says",
                found=f"{len(changed)} of them, such as {changed[0]}",
                expected="parameters of its own, beside the model as it is",
                mend="choose another way to begin, or another method; load the model again before it is used for anything else",
            )
        return wrapped

    def as_peft(
        self, attached: AttachedDelta, parameters: Float[Tensor, " params"], model: PreTrainedModel | None = None
    ) -> PeftModel:
        """peft's own model with parameters, (n,), on `model` or else on the backbone's weights, which it shares."""
        backbone = attached.backbone
        with attached.drawing():
            wrapped = self.wrap(backbone.share() if model is None else model, backbone)
        trained = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
        for parameter, part in zip(trained, attached.layout.split(parameters).values(), strict=True):
            parameter.data.copy_(part)
        config = wrapped.active_peft_config
        config.base_model_name_or_path = hub_name(backbone.name)
        return wrapped.eval()

    @torch.no_grad()
    def merge(self, attached: AttachedDelta, parameters: Float[Tensor, " params"]) -> PreTrainedModel:
        wrapped = self.as_peft(attached, parameters, copy.deepcopy(attached.backbone.model))
        if wrapped.active_peft_config.is_prompt_learning:
            raise unmergeable(attached.name, "it adds prompts to the input, no weights")
        if not hasattr(wrapped, "merge_and_unload"):
            raise unmergeable(attached.name, "peft cannot merge its method")
        try:
            plain: PreTrainedModel = wrapped.merge_and_unload()
        except (NotImplementedError, ValueError) as error:  # how peft's methods say that they cannot
            raise unmergeable(attached.name, first_line(error)) from error
        return plain

    def write(self, attached: AttachedDelta, parameters: Float[Tensor, " params"], folder: Path) -> CheckpointCard:
        return self.writer(attached)(parameters, folder)

    def writer(self, attached: AttachedDelta) -> Callable[[Float[Tensor, " params"], Path], CheckpointCard]:
        # One model to write them all from: making it takes longer than writing.
        wrapped = self.as_peft(attached, attached.initial)
        trained = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]

        def write(parameters: Float[Tensor, " params"], folder: Path) -> CheckpointCard:
            for parameter, part in zip(trained, attached.layout.split(parameters).values(), strict=True):
                parameter.data.copy_(part)
            with without_warnings():
                wrapped.save_pretrained(folder)
            return CheckpointCard(f"A {attached.name}", "peft", "PeftModel.from_pretrained(model, {folder})")

        return write

    def reader(self, attached: AttachedDelta, *, same_base: bool = False) -> Callable[[Path], Float[Tensor, " params"]]:
        """What reads one checkpoint after the other, each as `read` does, with no more than one of them in memory."""
        # One model to read them all into, likewise.
        model = self.as_peft(attached, attached.initial)
        return lambda folder: read_peft_checkpoint(folder, attached, model, same_base=same_base)

    def read(
        self, attached: AttachedDelta, folders: Sequence[Path], *, same_base: bool = False
    ) -> list[Float[Tensor, " params"]]:
        reader = self.reader(attached, same_base=same_base)
        return list(each_fits((partial(reader, folder) for folder in folders), attached.name))


def each_fits(calls: Iterable[Callable[[], Result]], delta: str) -> Iterator[Result]:
    """What calls give that read a checkpoint each; all that do not fit are told in one message, after the last.

    Args:
        calls: each raises DeltaspaceError where its checkpoint does not fit.
        delta: which they are to fit.
    """
    wrong, count = [], 0
    for call in calls:
        count += 1
        try:
            yield call()
        except DeltaspaceError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise DeltaspaceError(
            f"{len(wrong)} of {count} checkpoints do not fit {delta}",
            found="\n    ".join(f"{error.what}: {error.found}" for error in wrong),
            expected=f"checkpoints that are all what the recipe's {delta} is",
            mend="give these a delta of their own in the recipe and import them as that, or convert them: deltaspace convert",
        )

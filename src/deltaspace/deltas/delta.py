"""A delta tuning method, and what it is once attached: a layout, an initial vector, a way to apply any vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deltaspace.deltas.checkpoint import CheckpointCard, Description, read_checkpoint, unmergeable, write_checkpoint
from deltaspace.deltas.layout import Layout
from deltaspace.errors import DeltaspaceError, first_line
from deltaspace.families.batch import joined_rows
from deltaspace.memory import bounded
from deltaspace.seeds import derived_seed
from deltaspace.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone
    from deltaspace.families import Batch, Evaluation, Item

Result = TypeVar("Result")
# Decompositions of the weights make several tensors of their size; tiny models may have deltas larger than they are.
_TIMES, _SMALL = 10, 50_000_000


class Delta(Settings, ABC):
    """A way of adapting a frozen PLM by few parameters. The fields are its settings, as a recipe writes them.

    A method says `install`; how it is merged, written and read it says where what is here does not fit.
    """

    # What recipes call the method, and its paper.
    name: ClassVar[str]
    source: ClassVar[str]
    # Whether one pass of the model can have another vector for each part of the batch.
    grouped: ClassVar[bool] = False
    # Whether it is of the PLM's own size, so that no dense up-projection fits it.
    large: ClassVar[bool] = False

    @property
    def rate(self) -> float:
        """The independent solutions' learning rate is multiplied by this."""
        return 1.0

    @abstractmethod
    def install(self, model: PreTrainedModel, backbone: Backbone) -> tuple[nn.Module, list[str]]:
        """Change `model` (a copy that shares the backbone's weights) so that it has this delta's parameters, at their initial
        values drawn from torch's global generator.

        Returns:
            The model that is run, which is `model` or something around it, and the names of those parameters in it, in the
            order of the layout.

        Raises:
            DeltaspaceError: the model has no room for this delta.
        """

    def merge(self, attached: AttachedDelta, parameters: Float[Tensor, " params"]) -> PreTrainedModel:
        """A plain model: a copy of the PLM with the delta added to its weights.

        Args:
            attached: this delta on the PLM.
            parameters: (n,).

        Raises:
            UnmergeableError: the method adds more than weights can hold; so it is unless a method says otherwise.
        """
        raise unmergeable(attached.name, "it puts functions into the model that are no matrix")

    def write(self, attached: AttachedDelta, parameters: Float[Tensor, " params"], folder: Path) -> CheckpointCard:
        """Write parameters as a checkpoint in the method's native format; deltaspace's (docs/format.md) unless it has another.

        Args:
            attached: this delta on the PLM.
            parameters: (n,).
            folder: an empty one.

        Returns:
            What the model card, which is written beside, says of it.
        """
        return write_checkpoint(folder, attached.description(), attached.layout.split(parameters), attached.fixed())

    def writer(self, attached: AttachedDelta) -> Callable[[Float[Tensor, " params"], Path], CheckpointCard]:
        """`write` for many vectors: what prepares it is done once.

        Args:
            attached: this delta on the PLM.
        """
        return lambda parameters, folder: self.write(attached, parameters, folder)

    def read(
        self, attached: AttachedDelta, folders: Sequence[Path], *, same_base: bool = False
    ) -> list[Float[Tensor, " params"]]:
        """Read checkpoints in the format that `write` writes; several at once, because some formats ask for a model to read into.

        Args:
            attached: this delta on the PLM.
            folders: one for each checkpoint.
            same_base: their model is this one, whatever they call it.

        Returns:
            The parameters of each, (n,).

        Raises:
            DeltaspaceError: one is damaged, of another model or method, or does not fit.
        """
        expected, fixed = attached.description(), attached.fixed()
        read = [read_checkpoint(folder, expected, fixed, same_base=same_base) for folder in folders]
        return [attached.layout.flatten(parameters).to(attached.backbone.device) for parameters in read]


class AttachedDelta:
    """A delta on a backbone: its parameters are one flat vector, and any such vector can be applied.

    Args:
        delta: the method and its settings.
        backbone: the PLM; its weights are shared, never copied and never changed.
        seed: decides the initial vector.
        name: what it is called in a study; the method's name by default.
        initial: an initial vector in place of the one that is drawn, (n,).

    Raises:
        DeltaspaceError: the backbone has no room for this delta, or `initial` has not n numbers.
    """

    def __init__(
        self,
        delta: Delta,
        backbone: Backbone,
        seed: int = 0,
        name: str | None = None,
        initial: Float[Tensor, " params"] | None = None,
    ) -> None:
        self.delta = delta
        self.backbone = backbone
        self.seed = seed
        self.name = name or delta.name
        try:
            with self.drawing(), bounded(f"the delta {self.name}", "choose smaller settings of the delta", _largest(backbone)):
                model, names = delta.install(backbone.share(), backbone)
        except RuntimeError as error:  # shapes that do not fit the model's, as more positions than it has
            raise DeltaspaceError(
                f"the delta {self.name} cannot be put into {backbone.name}",
                found=first_line(error),
                mend="choose smaller settings of the delta",
            ) from error
        parameters = dict(model.named_parameters(remove_duplicate=False))
        if unknown := [name for name in names if name not in parameters]:
            raise DeltaspaceError(f"the delta {self.name} names a parameter that the model lacks", found=", ".join(unknown[:5]))
        if not names:
            raise DeltaspaceError(
                f"the delta {self.name} puts no parameters into {backbone.name}",
                expected="an install() that returns the names of the parameters that it put in",
            )
        # A parameter that modules share has several names; each is replaced.
        self._aliases = {
            name: [alias for alias, parameter in parameters.items() if parameter is parameters[name]] for name in names
        }
        self.layout = Layout(tuple((name, tuple(parameters[name].shape)) for name in names))
        self.initial: Float[Tensor, " params"] = self.layout.flatten(parameters).detach().clone()
        if not bool(self.initial.isfinite().all()):
            raise DeltaspaceError(
                f"the delta {self.name} has no initial values",
                found="NaN or infinite numbers: memory that the method leaves uninitialized",
                mend="choose another way to begin, such as init_weights: true",
            )
        if initial is not None:
            if initial.shape != self.initial.shape:
                raise DeltaspaceError(
                    f"the initial vector of {self.name} does not fit", found=len(initial), expected=self.layout.size
                )
            self.initial = initial.to(self.initial)
        model.eval().requires_grad_(False)
        self._scope = _Scope(model)
        tuned = {alias for aliases in self._aliases.values() for alias in aliases}
        # Weights of linear maps that stay as they are, under the names that `call` replaces them by.
        self._frozen = {
            f"model.{path}.{leaf}": parameter
            for path, module in model.named_modules()
            for leaf, parameter in (module.named_parameters(recurse=False) if isinstance(module, nn.Linear) else ())
            if f"{path}.{leaf}" not in tuned
        }

    def __repr__(self) -> str:
        return f"AttachedDelta({self.name!r} of {self.layout.size:,} parameters on {self.backbone.name!r})"

    def settings(self) -> dict[str, Any]:
        """What `make_delta` makes this delta from."""
        return {"method": self.delta.name, **self.delta.model_dump(mode="json")}

    def description(self) -> Description:
        """What a checkpoint says of it."""
        plm = self.backbone
        return Description(plm.name, plm.fingerprint, self.name, self.seed, self.settings(), self.layout)

    def fixed(self) -> dict[str, Tensor]:
        """What the delta draws and does not train, by the names of its buffers in the model."""
        shared = {id(buffer) for buffer in self.backbone.model.buffers()}
        return {name: buffer for name, buffer in self.model.named_buffers() if id(buffer) not in shared}

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Whatever draws from torch's global generator in here draws what this delta's initial vector was drawn from."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, "initial", self.delta.name))
            yield

    @property
    def model(self) -> PreTrainedModel:
        """The PLM with this delta's parts, at initial values unless inside `call`."""
        return self._scope.model

    def flat_parameters(self) -> Float[Tensor, " params"]:
        """A new vector, (n,), at its initial values, of which the model's parameters are views from now on: writing to it changes
        the model in place. The backbone stays as it is.
        """
        flat = self.initial.clone()
        for name, part in self.layout.split(flat).items():
            parameter = nn.Parameter(part, requires_grad=False)
            for alias in self._aliases[name]:
                module, _, leaf = alias.rpartition(".")
                self.model.get_submodule(module).register_parameter(leaf, parameter)
        return flat

    def call(self, vector: Float[Tensor, "*groups params"], function: Callable[[PreTrainedModel], Result]) -> Result:
        """`function(model)` with `vector` as the delta's parameters; gradients flow into `vector`.

        With several vectors, (groups, n), the g-th is applied to the g-th of equal consecutive parts of the batch that
        `function` puts through the model: one pass for many tasks.

        Raises:
            DeltaspaceError: the vector, or each of them, has not n numbers.
        """
        if not 1 <= vector.dim() <= 2 or vector.shape[-1] != self.layout.size:
            raise DeltaspaceError(
                f"the parameters of {self.name} do not fit", found=tuple(vector.shape), expected=f"({self.layout.size},)"
            )
        if vector.dim() == 2 and len(vector) == 1:
            vector = vector[0]
        if vector.dim() == 2 and not self.delta.grouped:
            raise ValueError(f"{self.name} takes one vector at a time")
        parts = self.layout.split(vector)
        views = {f"model.{alias}": part for name, part in parts.items() for alias in self._aliases[name]}
        products = self.backbone.products
        if products.precision != "fp32":
            views = {**{name: products.weight(parameter) for name, parameter in self._frozen.items()}, **views}
        with products.computing():
            # Every name of a shared parameter is among the views, so that torch need not search for tied weights.
            return torch.func.functional_call(self._scope, views, (function,), tie_weights=False)

    def loss(self, vector: Float[Tensor, "*groups params"], batch: Batch) -> Float[Tensor, ""]:
        """Mean training loss of `batch` with `vector` applied, or several, each to its part of the batch (see `call`)."""
        family = self.backbone.family
        if self._in_one_pass(vector):
            return self.call(vector, lambda model: family.loss(model, batch))
        return self.losses(vector, batch).mean()

    def losses(self, vectors: Float[Tensor, "groups params"], batch: Batch) -> Float[Tensor, " groups"]:
        """Mean training losses of several vectors, each on its part of the batch (see `call`)."""
        family, count = self.backbone.family, len(vectors)
        if self._in_one_pass(vectors):
            return self.call(vectors, lambda model: family.losses(model, batch, count))
        return torch.stack([self.loss(row, part) for row, part in self._apart(vectors, batch)])

    def decision(self, vector: Float[Tensor, "*groups params"], batch: Batch) -> Float[Tensor, "batch features"]:
        """What the PLM decides by (`Family.decision`) with `vector` applied, or several, each to its part of the batch."""
        return self._rows(vector, batch, self.backbone.family.decision)

    def answer(self, vector: Float[Tensor, "*groups params"], batch: Batch) -> Float[Tensor, "batch features"]:
        """What it answers to the batch's own tasks (`Family.answer`), likewise."""
        return self._rows(vector, batch, self.backbone.family.answer)

    @torch.no_grad()
    def written(self, vector: Float[Tensor, " params"], items: Sequence[Item], tokens: int) -> list[Item]:
        """Items with what it answers as their targets, at most so many tokens, where answers are written (`Family.written`)."""
        return self.call(vector, lambda model: self.backbone.family.written(model, items, tokens))

    def losses_and_answer(
        self, vectors: Float[Tensor, "groups params"], batch: Batch
    ) -> tuple[Float[Tensor, " groups"], Float[Tensor, "batch features"]]:
        """`losses` and `answer`, in one pass of the model where the family can."""
        family, count = self.backbone.family, len(vectors)
        if self._in_one_pass(vectors):
            return self.call(vectors, lambda model: family.losses_and_answer(model, batch, count))
        return self.losses(vectors, batch), self.answer(vectors, batch)

    def _rows(
        self,
        vector: Float[Tensor, "*groups params"],
        batch: Batch,
        function: Callable[[PreTrainedModel, Batch], Float[Tensor, "batch features"]],
    ) -> Float[Tensor, "batch features"]:
        if self._in_one_pass(vector):
            return self.call(vector, lambda model: function(model, batch))
        return joined_rows([self._rows(row, part, function) for row, part in self._apart(vector, batch)])

    def _in_one_pass(self, vector: Float[Tensor, "*groups params"]) -> bool:
        return vector.dim() == 1 or self.delta.grouped or len(vector) == 1

    def _apart(self, vectors: Float[Tensor, "groups params"], batch: Batch) -> Iterator[tuple[Float[Tensor, " params"], Batch]]:
        """Each vector with its part of the batch."""
        size = len(batch.items) // len(vectors)
        for index, row in enumerate(vectors):
            yield row, self.backbone.family.collate(batch.items[index * size : (index + 1) * size])

    def evaluate(self, vector: Float[Tensor, "*groups params"], batch: Batch) -> Evaluation:
        """Predictions and losses of `batch` with `vector` applied, or several, each to its part of the batch (see `call`)."""
        return self.call(vector, lambda model: self.backbone.family.evaluate(model, batch))


def _largest(backbone: Backbone) -> int:
    """How many numbers all tensors may have together that are made for a delta, those that it only draws or decomposes too."""
    return _TIMES * sum(parameter.numel() for parameter in backbone.model.parameters()) + _SMALL


class _Scope(nn.Module):
    """Lets `functional_call` replace parameters around any function of the model: its forward, or `generate`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[PreTrainedModel], Result]) -> Result:
        return function(self.model)

"""A delta tuning method, and what it is once attached: a layout, an initial vector, a way to apply any vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from deltaspace.deltas.layout import Layout
from deltaspace.errors import DeltaspaceError
from deltaspace.seeds import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from deltaspace.backbone import Backbone
    from deltaspace.families import Batch, Evaluation

Result = TypeVar("Result")


class Delta(BaseModel, ABC):
    """A way of adapting a frozen PLM by few parameters. The fields are its settings, as a recipe writes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
            DeltaspaceError: the model has no place for this delta.
        """


class AttachedDelta:
    """A delta on a backbone: its parameters are one flat vector, and any such vector can be applied.

    Args:
        delta: the method and its settings.
        backbone: the PLM; its weights are shared, never copied and never changed.
        seed: decides the initial vector.
        name: what it is called in a study; the method's name by default.
        initial: an initial vector in place of the one that is drawn, (n,).

    Raises:
        DeltaspaceError: the backbone has no place for this delta, or `initial` has not n numbers.
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
        with self.drawing():
            model, names = delta.install(backbone.share(), backbone)
        own = dict(model.named_parameters(remove_duplicate=False))
        # A parameter that modules share has several names; each is replaced.
        self._aliases = {name: [other for other, entry in own.items() if entry is own[name]] for name in names}
        self.layout = Layout(tuple((name, tuple(own[name].shape)) for name in names))
        self.initial: Float[Tensor, " params"] = self.layout.flatten({name: own[name] for name in names}).detach().clone()
        if initial is not None:
            if initial.shape != self.initial.shape:
                raise DeltaspaceError(
                    f"the initial vector of {self.name} does not fit", found=len(initial), expected=self.layout.size
                )
            self.initial = initial.to(self.initial)
        model.eval().requires_grad_(False)
        self._scope = _Scope(model)
        self._cast: dict[str, Tensor] = {}

    def settings(self) -> dict[str, Any]:
        """What `make_delta` makes this delta from."""
        return {"method": self.delta.name, **self.delta.model_dump(mode="json")}

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

    def own_parameters(self) -> Float[Tensor, " params"]:
        """Give the model parameters that are views of one new vector, at its initial values, and return that vector: writing to
        it changes the model in place. The backbone stays as it is.
        """
        flat = self.initial.clone()
        for name, part in self.layout.split(flat).items():
            parameter = nn.Parameter(part, requires_grad=False)
            for alias in self._aliases[name]:
                place, _, leaf = alias.rpartition(".")
                self.model.get_submodule(place).register_parameter(leaf, parameter)
        return flat

    @contextmanager
    def weights_as(self, dtype: torch.dtype, copies: dict[int, Tensor] | None = None) -> Iterator[None]:
        """In here matrix products are of `dtype`, and frozen weights of linear maps are cast to it once, not at every product.

        Args:
            dtype: bfloat16.
            copies: cast weights by the identity of what they were cast from, for several deltas of one backbone to share.
        """
        copies = {} if copies is None else copies
        own = {alias for aliases in self._aliases.values() for alias in aliases}
        for place, module in self.model.named_modules():
            for leaf, parameter in module.named_parameters(recurse=False) if isinstance(module, nn.Linear) else ():
                if f"{place}.{leaf}" not in own:
                    self._cast[f"model.{place}.{leaf}"] = copies.setdefault(id(parameter), parameter.to(dtype))
        try:
            with torch.autocast(self.backbone.device.type, dtype):
                yield
        finally:
            self._cast = {}

    def call(self, vector: Float[Tensor, "*groups params"], function: Callable[[PreTrainedModel], Result]) -> Result:
        """`function(model)` with `vector` as the delta's parameters; gradients flow into `vector`.

        With several vectors, (groups, n), the g-th is applied to the g-th of equal consecutive parts of the batch that
        `function` puts through the model: one pass for many tasks.
        """
        if vector.dim() == 2 and len(vector) == 1:
            vector = vector[0]
        if vector.dim() == 2 and not self.delta.grouped:
            raise ValueError(f"{self.name} takes one vector at a time")
        parts = self.layout.split(vector)
        views = {f"model.{alias}": part for name, part in parts.items() for alias in self._aliases[name]}
        # Untied: only the delta's own parameters are replaced, so the search for tied weights would find nothing.
        views = {**self._cast, **views}
        with self.backbone.autocast():
            return torch.func.functional_call(self._scope, views, (function,), tie_weights=False)

    def loss(self, vector: Float[Tensor, "*groups params"], batch: Batch) -> Float[Tensor, ""]:
        """Mean training loss of `batch` with `vector` applied, or several, each to its part of the batch (see `call`)."""
        family = self.backbone.family
        if vector.dim() == 1 or self.delta.grouped:
            return self.call(vector, lambda model: family.loss(model, batch))
        size = len(batch["items"]) // len(vector)
        parts = [family.collate(batch["items"][i * size : (i + 1) * size]) for i in range(len(vector))]
        return torch.stack([self.loss(own, part) for own, part in zip(vector, parts, strict=True)]).mean()

    def evaluate(self, vector: Float[Tensor, " params"], batch: Batch) -> Evaluation:
        """Predictions and losses of `batch` with `vector` applied."""
        return self.call(vector, lambda model: self.backbone.family.evaluate(model, batch))


class _Scope(nn.Module):
    """Lets `functional_call` replace parameters around any function of the model: its forward, or `generate`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[PreTrainedModel], Result]) -> Result:
        return function(self.model)

"""A LoRA in closed form for what adds to no weights: an adapter, a prefix, trained prompts.

Let y be what a sublayer ends with under the source, and x what goes into its last linear map W where nothing but this sublayer
lacks the source. The update of W that comes nearest, of rank r, is that of reduced-rank regression (Izenman 1975):

    D = argmin |Y - W X - D X|^2 + lambda |D|^2,    D_r = U U^T D,    U: the r first eigenvectors of D X X^T D^T

X and Y hold the tokens of some texts. The PLM without the source is led along: what each of its sublayers gives is replaced by
what the source's gives, so that one pass of each tells all sublayers. No token is kept: sums of products are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deltaspace.checkpoints.function import by_length
from deltaspace.deltas.delta import AttachedDelta
from deltaspace.families import Item

# So many inputs tell the sums; more change little.
_INPUTS = 256
# Inputs of one length in one pass: there is no padding, whose tokens would count.
_PASS = 64
# lambda, as a share of the mean square of X's features.
_RIDGE = 1e-2
# Numbers of all sums of products that are held at once; modules beyond these take another pass.
_SUMS = 1 << 28


@dataclass(frozen=True)
class _Sums:
    """Of one module, over all tokens so far: X X^T, and X (Y - W X)^T; never in bf16."""

    inputs: Float[Tensor, "inputs inputs"]
    missing: Float[Tensor, "inputs outputs"]

    def add(self, given: Float[Tensor, "*tokens inputs"], missing: Float[Tensor, "*tokens outputs"]) -> None:
        """Tokens more."""
        x, y = given.flatten(0, -2).to(self.inputs), missing.flatten(0, -2).to(self.inputs)
        self.inputs.addmm_(x.T, x)
        self.missing.addmm_(x.T, y)

    def update(self, rank: int) -> Float[Tensor, "outputs inputs"]:
        """D_r."""
        gram = self.inputs.double()
        ridge = _RIDGE * float(gram.diagonal().mean()) or 1.0
        whole = torch.linalg.solve(
            gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), self.missing.double()
        ).T
        _, vectors = torch.linalg.eigh(whole @ gram @ whole.T)
        main = vectors[:, -rank:]
        return (main @ (main.T @ whole)).to(self.inputs)


@torch.no_grad()
def sublayer_updates(
    source: tuple[AttachedDelta, Float[Tensor, " params"]],
    target: AttachedDelta,
    ends: Sequence[str],
    ranks: Mapping[str, int],
    items: Sequence[Item],
) -> dict[str, Float[Tensor, "outputs inputs"]]:
    """The updates of modules that end sublayers, after which the PLM does there what the source does.

    Args:
        source: the delta that is followed, and its parameters, (n,).
        target: a delta on the same PLM that changes nothing yet.
        ends: names of all modules that end sublayers.
        ranks: of the updates, of some of these that are linear.
        items: encoded inputs, of which the first are run.
    """
    attached, parameters = source
    named = _modules(attached.model, ends)
    batches = list(_of_one_length(items[:_INPUTS]))
    updates: dict[str, Tensor] = {}
    for part in _fitting(target.model, ranks):
        sums: dict[str, _Sums] = {}
        for items_of_one_length in batches:
            batch = attached.backbone.family.collate(items_of_one_length)
            wanted: dict[str, deque[Tensor]] = {name: deque() for name in ends}
            with ExitStack() as hooks:
                for name, module in named.items():
                    hooks.enter_context(module.register_forward_hook(_kept(wanted[name])))
                attached.decision(parameters, batch)
            with ExitStack() as hooks:
                for name in ends:
                    hook = _led(wanted[name], sums, name if name in part else None)
                    hooks.enter_context(target.model.get_submodule(name).register_forward_hook(hook))
                target.decision(target.initial, batch)
        updates |= {name: sums[name].update(ranks[name]) for name in part}
    return updates


def _modules(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """The PLM's modules in a model that may have it inside of another."""
    modules = dict(model.named_modules())
    return {
        name: modules.get(name) or next(module for path, module in modules.items() if path.endswith(f".{name}")) for name in names
    }


def _of_one_length(items: Sequence[Item]) -> Iterator[list[Item]]:
    for _, same in groupby(by_length(items), key=lambda index: len(items[index].input_ids)):
        chosen = list(same)
        for start in range(0, len(chosen), _PASS):
            yield [items[index] for index in chosen[start : start + _PASS]]


def _fitting(model: nn.Module, names: Iterable[str]) -> Iterator[list[str]]:
    """The modules in parts whose sums are held at once."""
    part: list[str] = []
    held = 0
    for name in names:
        module: Any = model.get_submodule(name)
        count = module.in_features * (module.in_features + module.out_features)
        if part and held + count > _SUMS:
            yield part
            part, held = [], 0
        part.append(name)
        held += count
    if part:
        yield part


def _kept(outputs: deque[Tensor]) -> Callable[..., None]:
    def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append(output)

    return hook


def _led(wanted: deque[Tensor], sums: dict[str, _Sums], name: str | None) -> Callable[..., Tensor]:
    """Replaces what a module gives by what the source's gives; what was missing is summed up under a name."""

    def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # The source may have trained prompts before the text.
        state = wanted.popleft()[:, -output.shape[1] :]
        if name is not None:
            x = given[0]
            if name not in sums:
                width, height = x.shape[-1], output.shape[-1]
                dtype = torch.promote_types(x.dtype, torch.float32)
                sums[name] = _Sums(x.new_zeros(width, width, dtype=dtype), x.new_zeros(width, height, dtype=dtype))
            sums[name].add(x, state - output)
        return state

    return hook

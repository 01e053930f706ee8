"""A term of what stage 1 minimizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from deltaspace.subspace.fitting.trainable import Trainable


@runtime_checkable
class Objective(Protocol):
    """A term of stage 1's objective. Terms are added up; a weight is the term's own affair.

    `joint_training.train_jointly` takes any number of them, so that a method may train for what it likes.
    """

    def parts(self, trainables: Sequence[Trainable], step: int) -> Iterator[Float[Tensor, ""]]:
        """The term's value on the batch of a step, as parts whose sum it is.

        Each part is backpropagated, and its graph freed, before the next one is asked for. What is drawn must depend on the
        step alone, so that a killed training goes on with the same numbers.

        Args:
            trainables: of every delta, at the values that are trained.
            step: from 0.
        """

"""Kernels of a ladder: one move of the chains of all temperatures."""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from lvkam_pyro.ladder.adaptation import Start, Tuning
from lvkam_pyro.ladder.reference import target_from
from lvkam_pyro.ladder.state import GradientState, StateT
from lvkam_pyro.ladder.target import Evaluate, GradientTarget, Target
from lvkam_pyro.ladder.tempering import temper
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

TargetT = TypeVar("TargetT", bound=Target)


class Kernel(ABC, Generic[StateT, TargetT]):
    """The start and the move of the chains of all temperatures.

    Kernels are frozen dataclasses: ladders with equal kernels compare equal.

    Implementing one: subclass `GradientKernel` where gradients lead. Otherwise define `bind`,
    `start` and `move`, and `num_values` if a move needs more than the latents and outputs of each
    chain. A state is a `LadderState`: the ladder exchanges states, and keeps their positions and
    log likelihoods.

    Attributes:
        biased: Whether its chains converge to other densities than the ladder's.
        target_acceptance: The mean acceptance towards which step sizes are adapted; 1 where every
            move is made.

    Example:
        >>> import lvkam_pyro as lv
        >>> kernel = lv.ladder.GridGibbsKernel()
        >>> lv.ladder.Ladder(kernel=kernel) == lv.ladder.Ladder(kernel=lv.ladder.GridGibbsKernel())
        True
    """

    biased: ClassVar[bool] = False
    target_acceptance: float

    @abstractmethod
    def bind(self, program: BoundProgram, guide: Program | None = None) -> TargetT:
        """The program and its data as the kernel needs them.

        Args:
            program: The bound program.
            guide: Where the ladder begins in the place of the prior, if the kernel can do that.
        """

    @abstractmethod
    def start(self, target: TargetT, temperatures: Tensor, num_chains: int) -> Start[StateT]:
        """States of the chains near the densities of all temperatures `(T,)`."""

    @abstractmethod
    def move(
        self, state: StateT, temperatures: Tensor, tuning: Tuning, target: TargetT
    ) -> tuple[StateT, Tensor]:
        """One step of every chain.

        Args:
            state: Where the chains stand.
            temperatures: `(T, 1, 1)`.
            tuning: The metric and the step sizes.
            target: What `bind` gave.

        Returns:
            The new state, and the probabilities `(T, C, N)` with which the moves were made.
        """

    def num_values(self, program: BoundProgram) -> int:
        """The number of values that one chain of one unit holds in a step."""
        return program.values_per_unit


class GradientKernel(Kernel[GradientState, GradientTarget]):
    """A kernel that follows gradients over the unconstrained latents of any Pyro model.

    The chains start from tempered particles (see `temper`). At temperature 0 they are exact prior
    draws; above, what `propose` finds is accepted or not.

    Implementing one: be a frozen dataclass, define `target_acceptance` and `propose`, and `accept`
    if it is not Metropolis' rule.

    Example:
        >>> import lvkam_pyro as lv
        >>> kernels = lv.ladder.MALA(), lv.ladder.GridGibbsKernel()
        >>> [isinstance(kernel, GradientKernel) for kernel in kernels]
        [True, False]
    """

    @abstractmethod
    def propose(
        self, state: GradientState, temperatures: Tensor, tuning: Tuning, evaluate: Evaluate
    ) -> tuple[GradientState, Tensor]:
        """Where the chains would go, and the Metropolis-Hastings probability of each move.

        Args:
            state: Where they stand.
            temperatures: `(T, 1, 1)`.
            tuning: The preconditioner and the step sizes.
            evaluate: The target. What it gives at temperature 0 are fresh prior draws.

        Returns:
            The proposed state, evaluated, and probabilities `(T, C, N)`.
        """

    def accept(self, probability: Tensor) -> Tensor:
        """Which moves are made."""
        return torch.rand_like(probability) < probability

    def bind(self, program: BoundProgram, guide: Program | None = None) -> GradientTarget:
        """The program over unconstrained latents; see `Kernel.bind`."""
        return target_from(program, guide)

    def start(
        self, target: GradientTarget, temperatures: Tensor, num_chains: int
    ) -> Start[GradientState]:
        """Tempered particles; see `Kernel.start`."""
        return temper(target, temperatures, num_chains)

    def move(
        self, state: GradientState, temperatures: Tensor, tuning: Tuning, target: GradientTarget
    ) -> tuple[GradientState, Tensor]:
        """Propose and accept; see `Kernel.move`."""
        evaluate = target.refreshed(state)
        proposed, probability = self.propose(state, temperatures, tuning, evaluate)
        probability[0] = 1.0
        return state.where(self.accept(probability), proposed), probability

"""The densities in which gradient kernels move: a program's latents, for all chains at once."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from lvkam_pyro.ladder.state import GradientState
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.unconstrained import UnconstrainedProgram

_CACHED = 8
"""Parts of the arrays that fit the memory, of which one and its gradients fit the cache."""

Evaluate = Callable[[Tensor], GradientState]
"""The state of chains at positions `(T, C, N, D)`."""


class Target(Protocol):
    """The interface of a program and its data to the chains of a ladder."""

    num_units: int
    num_evaluations: int

    def constrain(self, position: Tensor) -> dict[str, Tensor]:
        """The latents at positions `(S, U, D)`, `(S, U, *inner plates, *event)` each."""


class GradientTarget(UnconstrainedProgram):
    """A program over unconstrained latents, with states for all temperatures and chains.

    Args:
        program: The bound program.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> target = GradientTarget(lv.bind(model, torch.zeros(3)))
        >>> target.state_at(torch.zeros(2, 4, 3, 1)).log_likelihood.shape
        torch.Size([2, 4, 3])
        >>> target.draw_finite_prior(5).shape
        torch.Size([5, 3, 1])
    """

    def __init__(self, program: BoundProgram) -> None:
        super().__init__(program)
        self._fresh: list[Tensor] = []

    def state_at(self, position: Tensor) -> GradientState:
        """The state of chains at positions `(T, C, N, D)`, by one run of the model.

        By several where their arrays would not fit the memory.
        """
        rungs, flat = position.shape[:2], position.flatten(0, 1)
        parts = [self.evaluate(part) for part in flat.split(self._particles_per_run())]

        def stack(name: str) -> Tensor:
            values = [getattr(part, name) for part in parts]
            return (values[0] if len(values) == 1 else torch.cat(values)).unflatten(0, rungs)

        return GradientState(
            position=position,
            log_likelihood=_possible(stack("log_likelihood")),
            log_prior=_possible(stack("log_prior")),
            prior_gradient=stack("prior_gradient"),
            likelihood_gradient=stack("likelihood_gradient"),
        )

    def _particles_per_run(self) -> int:
        """The particles of one run: all, where blocks of data are cut for that."""
        most = self.program.particles_per_run()
        # One data set runs by its particles: as many as a processor's cache holds go fastest.
        return most if self.num_units > 1 else max(1, most // _CACHED)

    def draw_finite_prior(self, num_draws: int) -> Tensor:
        """Prior draws `(draws, N, D)`, a neighbour's in place of one rounded to a boundary."""
        position = self.draw_prior(num_draws)
        finite = position.isfinite().all(-1, keepdim=True)
        return torch.where(finite, position, position.roll(1, 0).nan_to_num(0.0, 0.0, 0.0))

    def refreshed(self, state: GradientState) -> Evaluate:
        """`state_at` for one step of a ladder, with fresh prior draws at the first temperature.

        They cost no further run: the gradient step of the others evaluates them.

        Args:
            state: Where the chains stand: a draw rounded to a boundary is replaced by theirs.
        """
        fresh = self._draw_ahead(*state.log_likelihood.shape[:2])
        finite = fresh.isfinite().all(-1, keepdim=True)
        fresh = torch.where(finite, fresh, state.position[0])
        return lambda position: self.state_at(torch.cat([fresh[None], position[1:]]))

    def _draw_ahead(self, num_temperatures: int, num_chains: int) -> Tensor:
        """Prior draws `(C, N, D)` for one step; the model draws those of T steps at once."""
        if not self._fresh:
            draws = self.draw_prior(num_temperatures * num_chains)
            self._fresh.extend(draws.split(num_chains))
        return self._fresh.pop()


def _possible(log_density: Tensor) -> Tensor:
    """A log density, minus infinity where it overflows to what is no number."""
    return log_density.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)

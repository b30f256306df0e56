"""One run of the ladder on one block of data: warm-up, exchange, kept draws."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.guides.adaptation import Adaptation
from lvkam_pyro.guides.exchange import exchange
from lvkam_pyro.guides.mala import LadderState, acceptance_probability, propose
from lvkam_pyro.guides.tempering import evaluate_state, temper
from lvkam_pyro.guides.unconstrained import UnconstrainedModel

MIN_DRAWS = 4
"""The least number of kept draws of which convergence can be judged."""


@dataclass(frozen=True)
class LadderDraws:
    """What one run kept.

    Attributes:
        log_likelihood: `(draws, C, T, N)` in float64.
        position: `(draws, C, N, D)`, the unconstrained latents at temperature 1.
        acceptance: `(T, N)`.
        swap_rate: `(T - 1, N)`.
        step_size: `(T, N)`.
    """

    log_likelihood: Tensor
    position: Tensor
    acceptance: Tensor
    swap_rate: Tensor
    step_size: Tensor


class LadderRun:
    """The chains of all temperatures, moved together.

    At temperature 0 every step is an independent draw from the prior; above it, a preconditioned
    MALA step. After each step neighbours exchange their states, even and odd pairs in turn, within
    each chain: the ladders of different chains never meet, so each is a replicate.

    Args:
        target: The model, bound to its data.
        temperatures: `(T,)` in float64, from 0 to 1.
        num_chains: C.
        num_warmup: Steps that adapt and are dropped.
        num_samples: Kept draws.
        thinning: Steps for each kept draw.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.guides.structure import ModelStructure
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> target = UnconstrainedModel(model, x, ModelStructure.of(model, x))
        >>> counts = {"num_chains": 8, "num_warmup": 5, "num_samples": 6, "thinning": 2}
        >>> run = LadderRun(target, torch.linspace(0, 1, 4).double(), **counts)
        >>> run.run(lambda: None).log_likelihood.shape
        torch.Size([6, 8, 4, 3])
    """

    def __init__(
        self,
        target: UnconstrainedModel,
        temperatures: Tensor,
        *,
        num_chains: int,
        num_warmup: int,
        num_samples: int,
        thinning: int,
    ) -> None:
        self.target = target
        self.temperatures = temperatures
        self.num_chains = num_chains
        self.num_warmup = num_warmup
        self.num_samples = num_samples
        self.thinning = thinning
        shape = (len(temperatures), target.num_data)
        self._log_likelihood: list[Tensor] = []
        self._position: list[Tensor] = []
        self._acceptance = temperatures.new_zeros(shape)
        self._swaps = temperatures.new_zeros(shape[0] - 1, shape[1])
        self._offers = temperatures.new_zeros(shape[0] - 1, 1)

    def run(self, tick: Callable[[], object]) -> LadderDraws:
        """Warm up, then keep draws.

        Args:
            tick: Called after every step.

        Returns:
            The draws; those made so far when the user interrupts and at least 4 are kept.

        Raises:
            KeyboardInterrupt: If interrupted earlier.
        """
        start = temper(self.target, self.temperatures, self.num_chains)
        state, dtype = start.state, start.state.position.dtype
        adaptation = Adaptation(start.covariance, start.log_step, self.num_warmup, dtype=dtype)
        for iteration in range(self.num_warmup):
            state, probability, _ = self._step(state, adaptation, iteration)
            adaptation.update(iteration, state, probability)
            tick()
        try:
            self._keep(state, adaptation, tick)
        except KeyboardInterrupt:
            if min(len(self._log_likelihood), len(self._position)) < MIN_DRAWS:
                raise
        return self._draws(adaptation)

    def _keep(self, state: LadderState, adaptation: Adaptation, tick: Callable[[], object]) -> None:
        for iteration in range(self.num_samples * self.thinning):
            state, probability, swaps = self._step(state, adaptation, iteration)
            self._acceptance += probability.mean(1)
            pairs = slice(iteration % 2, iteration % 2 + 2 * len(swaps), 2)
            self._swaps[pairs] += swaps.mean(1)
            self._offers[pairs] += 1
            if (iteration + 1) % self.thinning == 0:
                self._log_likelihood.append(state.log_likelihood.transpose(0, 1))
                self._position.append(state.position[-1])
            tick()

    def _draws(self, adaptation: Adaptation) -> LadderDraws:
        num_draws = min(len(self._log_likelihood), len(self._position))
        return LadderDraws(
            log_likelihood=torch.stack(self._log_likelihood[:num_draws]),
            position=torch.stack(self._position[:num_draws]),
            acceptance=self._acceptance / (num_draws * self.thinning),
            swap_rate=self._swaps / self._offers.clamp(min=1),
            step_size=adaptation.step,
        )

    def _step(
        self, state: LadderState, adaptation: Adaptation, iteration: int
    ) -> tuple[LadderState, Tensor, Tensor]:
        """Move every chain, then offer exchanges."""
        stacked = self.temperatures[:, None, None]
        metric, step = adaptation.metric, adaptation.step
        proposal = propose(state, stacked, metric, step)
        fresh = self.target.draw_prior(self.num_chains)
        finite = fresh.isfinite().all(-1)
        proposal.position[0] = torch.where(finite[..., None], fresh, state.position[0])
        proposed = evaluate_state(self.target, proposal.position)
        probability = acceptance_probability(state, proposed, proposal, stacked, metric, step)
        probability[0] = 1.0
        state = state.where(torch.rand_like(probability) < probability, proposed)
        state, swaps = exchange(state, self.temperatures, first=iteration % 2)
        return state, probability, swaps

"""One run of the ladder on one block of data: warm-up, exchange, kept draws."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from lvkam_pyro.ladder.adaptation import Adaptation
from lvkam_pyro.ladder.chains import LadderState, Metric
from lvkam_pyro.ladder.exchange import exchange
from lvkam_pyro.ladder.kernel import Kernel, LadderDraws, LadderPlan
from lvkam_pyro.ladder.leapfrog import Evaluate
from lvkam_pyro.ladder.tempering import evaluate_state, temper
from lvkam_pyro.tracing.structure import Model, ModelStructure
from lvkam_pyro.tracing.unconstrained import UnconstrainedModel

MIN_DRAWS = 4
"""The least number of kept draws of which convergence can be judged."""


class GradientKernel(Kernel):
    """A kernel that follows gradients over the unconstrained latents of any Pyro model.

    `LadderRun` does what all of them share: prior draws at temperature 0, adaptation, exchange.

    Implementing one: define `target_acceptance` and `propose`, and `accept` if it is not
    Metropolis' rule.

    Attributes:
        target_acceptance: The mean acceptance towards which the step sizes are adapted.

    Example:
        >>> import lvkam_pyro as lv
        >>> kernels = lv.ladder.MALA(), lv.ladder.GridGibbsKernel()
        >>> [isinstance(kernel, GradientKernel) for kernel in kernels]
        [True, False]
    """

    target_acceptance: float

    @abstractmethod
    def propose(
        self,
        state: LadderState,
        temperatures: Tensor,
        metric: Metric,
        step: Tensor,
        evaluate: Evaluate,
    ) -> tuple[LadderState, Tensor]:
        """Where the chains would go, and the Metropolis-Hastings probability of each move.

        Args:
            state: Where they stand.
            temperatures: `(T, 1, 1)`.
            metric: The preconditioner.
            step: The step sizes, `(T, N)`.
            evaluate: The target. What it gives at temperature 0 are fresh prior draws.

        Returns:
            The proposed state, evaluated, and probabilities `(T, C, N)`.
        """

    def accept(self, probability: Tensor) -> Tensor:
        """Which moves are made."""
        return torch.rand_like(probability) < probability

    def run(
        self,
        model: Model,
        x: Tensor,
        structure: ModelStructure,
        plan: LadderPlan,
        tick: Callable[[], object],
    ) -> LadderDraws:
        """Run the chains; see `Kernel.run`."""
        return LadderRun(UnconstrainedModel(model, x, structure), plan, self).run(tick)


class LadderRun:
    """The chains of all temperatures, moved together.

    At temperature 0 every step is an independent draw from the prior; above it, the kernel's move.
    After each step neighbours exchange their states, even and odd pairs in turn, within
    each chain: the ladders of different chains never meet, so each is a replicate.

    Args:
        target: The model, bound to its data.
        plan: What to run.
        kernel: What moves them.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.ladder.mala import MALA
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> target = UnconstrainedModel(model, x, ModelStructure.of(model, x))
        >>> plan = LadderPlan(torch.linspace(0, 1, 4).double(), 8, 5, 6, 2)
        >>> run = LadderRun(target, plan, MALA())
        >>> run.run(lambda: None).log_likelihood.shape
        torch.Size([6, 8, 4, 3])
    """

    def __init__(
        self, target: UnconstrainedModel, plan: LadderPlan, kernel: GradientKernel
    ) -> None:
        self.target = target
        self.plan = plan
        self.kernel = kernel
        self.temperatures = temperatures = plan.temperatures
        shape = (len(temperatures), target.num_data)
        self._fresh: list[Tensor] = []
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
        start = temper(self.target, self.temperatures, self.plan.num_chains)
        state, dtype = start.state, start.state.position.dtype
        adaptation = Adaptation(
            start.covariance,
            start.log_step,
            self.plan.num_warmup,
            target_acceptance=self.kernel.target_acceptance,
            dtype=dtype,
        )
        for iteration in range(self.plan.num_warmup):
            state, probability, _ = self.step(state, adaptation, iteration)
            adaptation.update(iteration, state, probability)
            tick()
        try:
            self._keep(state, adaptation, tick)
        except KeyboardInterrupt:
            if min(len(self._log_likelihood), len(self._position)) < MIN_DRAWS:
                raise
        return self._draws(adaptation)

    def _keep(self, state: LadderState, adaptation: Adaptation, tick: Callable[[], object]) -> None:
        for iteration in range(self.plan.num_samples * self.plan.thinning):
            state, probability, swaps = self.step(state, adaptation, iteration)
            self._acceptance += probability.mean(1)
            pairs = slice(iteration % 2, iteration % 2 + 2 * len(swaps), 2)
            self._swaps[pairs] += swaps.mean(1)
            self._offers[pairs] += 1
            if (iteration + 1) % self.plan.thinning == 0:
                self._log_likelihood.append(state.log_likelihood.transpose(0, 1))
                self._position.append(state.position[None if self.plan.keep_path else -1 :])
            tick()

    def _draws(self, adaptation: Adaptation) -> LadderDraws:
        num_draws = min(len(self._log_likelihood), len(self._position))
        # `(T, C, N, ...)` each, or with the last temperature alone.
        draws = [self._constrain(position) for position in self._position[:num_draws]]
        latents = {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}
        path = {name: value.transpose(1, 2) for name, value in latents.items()}
        return LadderDraws(
            log_likelihood=torch.stack(self._log_likelihood[:num_draws]),
            latents={name: value[:, -1] for name, value in latents.items()},
            acceptance=self._acceptance / (num_draws * self.plan.thinning),
            swap_rate=self._swaps / self._offers.clamp(min=1),
            step_size=adaptation.step,
            num_likelihood_evaluations=self.target.num_evaluations,
            data_scale=self.target.data_scale,
            path=path if self.plan.keep_path else {},
        )

    def _constrain(self, position: Tensor) -> dict[str, Tensor]:
        """The latents at positions `(T, C, N, D)`, `(T, C, N, *inner plates, *event)` each."""
        latents = self.target.constrain(position.flatten(0, 1))
        return {name: value.unflatten(0, position.shape[:2]) for name, value in latents.items()}

    def step(
        self, state: LadderState, adaptation: Adaptation, iteration: int
    ) -> tuple[LadderState, Tensor, Tensor]:
        """Move every chain, then offer exchanges.

        Args:
            state: Where the chains stand.
            adaptation: The metric and the step sizes in use.
            iteration: The step's number: even and odd pairs are offered exchanges in turn.

        Returns:
            The new state, the moves' acceptance probabilities `(T, C, N)`, and those of the offered
            exchanges `(pairs, C, N)`.
        """
        fresh = self._draw_prior()
        finite = fresh.isfinite().all(-1, keepdim=True)
        fresh = torch.where(finite, fresh, state.position[0])

        def evaluate(position: Tensor) -> LadderState:
            return evaluate_state(self.target, torch.cat([fresh[None], position[1:]]))

        stacked = self.temperatures[:, None, None]
        proposed, probability = self.kernel.propose(
            state, stacked, adaptation.metric, adaptation.step, evaluate
        )
        probability[0] = 1.0
        state = state.where(self.kernel.accept(probability), proposed)
        state, swaps = exchange(state, self.temperatures, first=iteration % 2)
        return state, probability, swaps

    def _draw_prior(self) -> Tensor:
        """Prior draws `(C, N, D)` for one step; the model draws those of several steps at once."""
        if not self._fresh:
            num_chains = self.plan.num_chains
            draws = self.target.draw_prior(len(self.temperatures) * num_chains)
            self._fresh.extend(draws.split(num_chains))
        return self._fresh.pop()

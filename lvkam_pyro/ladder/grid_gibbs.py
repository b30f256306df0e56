"""Gibbs sampling on quadrature nodes: exact full conditionals at every temperature."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.additive.conditionals import draw_node
from lvkam_pyro.additive.lookahead_sampler import LookaheadSampler
from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.additive.tables import MIN_NODES, AdditiveTables
from lvkam_pyro.ladder.exchange import exchange_probability
from lvkam_pyro.ladder.kernel import Kernel, LadderDraws, LadderPlan
from lvkam_pyro.ladder.run import MIN_DRAWS
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.tracing.options import check_count
from lvkam_pyro.tracing.structure import Model, ModelStructure

_PARTICLES_PER_CHAIN = 4


@dataclass(frozen=True)
class GridGibbsKernel(Kernel):
    r"""Gibbs steps for additive models: every latent in turn from its exact conditional.

    .. math:: P_t(g_q \mid g_{-q}, x) \propto W_{q g_q} \exp \, t \Big( r_{-q} \cdot
              \Phi_{q g_q} - \tfrac12 |\Phi_{q g_q}|^2 \Big)

    on the nodes of `AdditiveTables` in units of the noise. Nothing is tuned, nothing is refused,
    and a latent jumps between the modes of its conditional at once. The chains start from
    look-ahead draws at their own temperature. Latents are reported as uniform draws from their
    nodes' cells.

    Args:
        num_nodes: Nodes of each latent; None: as many as the functions need, 96 to 1024.

    Raises:
        TypeError: If the number is no integer.
        ValueError: If it is below 1; when run, if the model is not additive.

    References:
        Ritter, C. and Tanner, M. (1992). Facilitating the Gibbs sampler: the Gibbs stopper and the
        griddy-Gibbs sampler. https://doi.org/10.1080/01621459.1992.10475289

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> ladder = lv.ladder.Ladder(
        ...     num_temperatures=4, num_chains=8, num_warmup=2, num_samples=8,
        ...     kernel=GridGibbsKernel())
        >>> ladder.sample(model, torch.rand(5, 3)).latents["z"].shape
        torch.Size([8, 8, 5, 2])
    """

    num_nodes: int | None = None

    def __post_init__(self) -> None:
        if self.num_nodes is not None:
            check_count("num_nodes", self.num_nodes)

    def run(
        self,
        model: Model,
        x: Tensor,
        structure: ModelStructure,
        plan: LadderPlan,
        tick: Callable[[], object],
    ) -> LadderDraws:
        """Run the chains; see `Kernel.run`."""
        additive = AdditiveModel.of(model, x, structure)
        tables = AdditiveTables.of(additive, num_nodes=self.num_nodes)
        return _GibbsRun(tables, x, plan).run(tick)

    def num_values(self, x: Tensor, structure: ModelStructure) -> int:
        """The probabilities of one latent's nodes, which outweigh the rest."""
        return super().num_values(x, structure) + (self.num_nodes or 2 * MIN_NODES)


class _GibbsRun:
    """The chains of all temperatures, moved together: nodes `(T, C, N, Q)` and their residuals."""

    def __init__(self, tables: AdditiveTables, x: Tensor, plan: LadderPlan) -> None:
        self.tables = tables
        self.plan = plan
        self.data, self.constant = tables.project(x)
        self.data_scale = tables.additive.data_scale(x)
        self.nodes = torch.stack([self._start(float(t)) for t in plan.temperatures])
        self.residual = self.data - tables.at(tables.values, self.nodes).sum(-2)
        self._temperatures = plan.temperatures.to(self.data)[:, None, None, None]
        self._swaps = self.data.new_zeros(len(plan.temperatures) - 1, len(x))
        self._offers = self.data.new_zeros(len(plan.temperatures) - 1, 1)

    def _start(self, temperature: float) -> Tensor:
        """Nodes `(C, N, Q)` from the power posterior, nearly."""
        sampler = LookaheadSampler(self.tables.tempered(temperature))
        size = _PARTICLES_PER_CHAIN * self.plan.num_chains
        draws = sampler.sample(self.data * temperature**0.5, self.constant, size)
        index = resample_systematic(draws.log_weights[0], self.plan.num_chains)
        return draws.nodes[0].take_along_dim(index.unsqueeze(-1), 0)

    @property
    def log_likelihood(self) -> Tensor:
        """Of the nodes where the chains stand, `(T, C, N)`."""
        return self.constant - self.residual.square().sum(-1) / 2

    def run(self, tick: Callable[[], object]) -> LadderDraws:
        """Forget the start, then keep draws."""
        for iteration in range(self.plan.num_warmup):
            self._step(iteration)
            tick()
        log_likelihood: list[Tensor] = []
        positions: list[Tensor] = []
        try:
            self._keep(log_likelihood, positions, tick)
        except KeyboardInterrupt:
            if min(len(log_likelihood), len(positions)) < MIN_DRAWS:
                raise
        return self._draws(log_likelihood, positions)

    def _keep(
        self, log_likelihood: list[Tensor], positions: list[Tensor], tick: Callable[[], object]
    ) -> None:
        for iteration in range(self.plan.num_samples * self.plan.thinning):
            probability = self._step(iteration)
            pairs = slice(iteration % 2, iteration % 2 + 2 * len(probability), 2)
            self._swaps[pairs] += probability.mean(1)
            self._offers[pairs] += 1
            if (iteration + 1) % self.plan.thinning == 0:
                log_likelihood.append(self.log_likelihood.transpose(0, 1))
                kept = self.nodes[None if self.plan.keep_path else -1 :]
                positions.append(self.tables.position(kept))
            tick()

    def _step(self, iteration: int) -> Tensor:
        """A sweep over all latents, then exchanges; returns the probability of each offered."""
        for coordinate in range(self.tables.num_coordinates):
            self._draw(coordinate)
        return self._exchange(iteration % 2)

    def _draw(self, coordinate: int) -> None:
        """Draw one latent of every chain from its conditional."""
        functions, log_masses = self.tables.values[coordinate], self.tables.log_masses[coordinate]
        residual = self.residual + functions[self.nodes[..., coordinate]]
        node = draw_node(log_masses, functions, residual, self._temperatures)
        self.nodes[..., coordinate] = node
        self.residual = residual - functions[node]

    def _exchange(self, first: int) -> Tensor:
        """Offer exchanges to every second pair of neighbours, per chain and datum."""
        pairs = (len(self.nodes) - first) // 2
        lower = torch.arange(first, first + 2 * pairs, 2, device=self.nodes.device)
        gap = self.plan.temperatures.to(self.data).diff()[lower][:, None, None]
        log_likelihood = self.log_likelihood
        probability = exchange_probability(log_likelihood[lower], log_likelihood[lower + 1], gap)
        accepted = (torch.rand_like(probability) < probability).unsqueeze(-1)
        for state in (self.nodes, self.residual):
            below, above = state[lower], state[lower + 1]
            state[lower] = torch.where(accepted, above, below)
            state[lower + 1] = torch.where(accepted, below, above)
        return probability

    def _draws(self, log_likelihood: list[Tensor], positions: list[Tensor]) -> LadderDraws:
        num_draws = min(len(log_likelihood), len(positions))
        plan, num_data = self.plan, len(self.data)
        start = _PARTICLES_PER_CHAIN * plan.num_chains * len(self.nodes)
        steps = (plan.num_warmup + num_draws * plan.thinning) * plan.num_chains * len(self.nodes)
        ones = self.data.new_ones(len(self.nodes), num_data)
        latents = self.tables.additive.coordinates.split(torch.stack(positions[:num_draws]))
        path = {name: value.transpose(1, 2) for name, value in latents.items()}
        return LadderDraws(
            log_likelihood=torch.stack(log_likelihood[:num_draws]),
            latents={name: value[:, -1] for name, value in latents.items()},
            acceptance=ones,
            swap_rate=self._swaps / self._offers.clamp(min=1),
            step_size=ones * torch.inf,
            # A sweep evaluates every node of every latent; what a sampler by points would count
            # is one evaluation a sweep.
            num_likelihood_evaluations=start + steps,
            data_scale=self.data_scale,
            path=path if plan.keep_path else {},
        )

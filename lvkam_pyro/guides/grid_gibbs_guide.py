"""The Gibbs guide: equally weighted posterior draws of an additive model, without a network."""

from torch import Tensor

from lvkam_pyro.additive.conditionals import sweep
from lvkam_pyro.guides.lookahead import LookaheadGuide, NodePopulations
from lvkam_pyro.guides.memory import ChainMemory
from lvkam_pyro.guides.population import Draw
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram


class GridGibbsGuide(LookaheadGuide):
    r"""A Pyro guide that moves look-ahead draws by Gibbs sweeps on quadrature nodes.

    For additive models, as `LookaheadGuide`. Draws are resampled from a look-ahead population;
    then each sweep draws every latent anew from its exact conditional,

    .. math:: P(g_q \mid g_{-q}, x) \propto W_{q g_q} \exp \Big( r_{-q} \cdot
              \Phi_{q g_q} - \tfrac12 |\Phi_{q g_q}|^2 \Big)

    in units of the noise. The posterior on the nodes stays what it is under a sweep, copies of one
    particle part, and modes of a latent are crossed at once. So the gradient of training has the
    posterior's own draws in the place of weights, whatever the look-ahead's weights were. All
    weights of a datum are the look-ahead's estimate of its evidence.

    Persistent chains begin so too, but go on from one update of a training to the next, each datum
    with its own, and no look-ahead is run again. Then nothing estimates the evidence: all weights
    of a datum are the mean of :math:`\log p(x_n, z)` over its draws, whose gradient is the same by
    Fisher's identity.

    Args:
        model: The Pyro model.
        num_particles: The least size of the look-ahead population.
        num_sweeps: Sweeps over the latents.
        num_nodes: Nodes of each latent; None: as many as the functions need, 96 to 1024.
        persistent: Whether the chains go on in a training.

    Attributes:
        memory: Where the chains of each datum stand, if they go on; see `ChainMemory`.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1; when called, if the model is not additive.

    References:
        Ritter, C. and Tanner, M. (1992). Facilitating the Gibbs sampler: the Gibbs stopper and the
        griddy-Gibbs sampler. https://doi.org/10.1080/01621459.1992.10475289

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> guide, x = GridGibbsGuide(model), torch.rand(20, 5)
        >>> particles = lv.draw_particles(model, guide, x, num_particles=8)
        >>> particles.latents["z"].shape
        torch.Size([8, 20, 3])
    """

    def __init__(
        self,
        model: Program,
        *,
        num_particles: int = 16,
        num_sweeps: int = 2,
        num_nodes: int | None = None,
        persistent: bool = False,
    ) -> None:
        super().__init__(model, num_particles=num_particles, num_nodes=num_nodes)
        self.num_sweeps = check_count("num_sweeps", num_sweeps)
        self.memory = ChainMemory() if persistent else None

    def prepare(self, program: BoundProgram) -> Draw:
        """The sampler at the model's present parameters; see `PopulationGuide.prepare`."""
        memory = self.memory_for(program)
        chains = NodeChains(self.tabulate(program), program, self.num_particles)

        def draw(num_draws: int) -> tuple[Tensor, Tensor]:
            nodes = None if memory is None else chains.left_in(memory, num_draws)
            if nodes is None:
                nodes, log_evidence = chains.begin(num_draws)
            log_density = chains.sweep(nodes, self.num_sweeps)
            position = chains.tables.position(nodes)
            if memory is not None:
                memory.keep({"position": position.transpose(0, 1)})
                log_evidence = log_density.mean(0)
            return position.to(chains.dtype), log_density - log_evidence

        return draw


class NodeChains(NodePopulations):
    """Chains of a batch on the nodes of a model, which begin from look-ahead populations."""

    def left_in(self, memory: ChainMemory, num_draws: int) -> Tensor | None:
        """Nodes `(S, N, Q)` of the chains that were left; None if there are not as many."""
        kept = memory.recall()
        if kept is None or kept["position"].shape[1] != num_draws:
            return None
        return self.tables.nodes_at(kept["position"].transpose(0, 1))

    def begin(self, num_draws: int) -> tuple[Tensor, Tensor]:
        """Nodes `(S, N, Q)` from a look-ahead population, and its estimate of the evidence."""
        population = self.draw(num_draws)
        nodes, _ = population.resample(num_draws, resample_systematic)
        return nodes, population.log_evidence

    def sweep(self, nodes: Tensor, num_sweeps: int) -> Tensor:
        """Draw the nodes anew, in place; returns their log density p(x_n, z), `(S, N)`."""
        tables = self.tables
        rest = self.residual - tables.at(tables.values, nodes).sum(-2)
        for _ in range(num_sweeps):
            rest = sweep(tables, nodes, rest)
        log_mass = tables.at(tables.log_masses, nodes).sum(-1) - rest.square().sum(-1) / 2
        return log_mass + self.constant - self.log_width(nodes)

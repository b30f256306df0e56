"""Gibbs sampling on quadrature nodes: exact full conditionals at every temperature."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lvkam_pyro.additive.conditionals import sweep
from lvkam_pyro.additive.lookahead_sampler import LookaheadSampler
from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.additive.tables import MIN_NODES, AdditiveTables
from lvkam_pyro.ladder.adaptation import PARTICLES_PER_CHAIN, Start, Tuning
from lvkam_pyro.ladder.kernel import Kernel
from lvkam_pyro.ladder.state import LadderState
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

_LONGEST_STEP = 5.0
"""Deviations of the noise; a table's own are 1.25 on average."""


@dataclass(frozen=True)
class NodeState(LadderState):
    """Nodes `(T, C, N, Q)` as positions, with what they leave of the data.

    Attributes:
        residual: `(T, C, N, R)`, in units of the noise; see `AdditiveTables.project`.

    Example:
        >>> NodeState(torch.zeros(2, 3, 4, 5).long(), torch.zeros(2, 3, 4), torch.ones(2, 3, 4, 6))
        NodeState(...)
    """

    residual: Tensor


class NodeTarget:
    """An additive program on quadrature nodes, and its data.

    Args:
        program: The bound program.
        num_nodes: Nodes of each latent; None: as many as the functions need.

    Attributes:
        tables: The functions and the prior at the nodes.
        data: The data in the tables' coordinates, `(N, R)`.
        num_units: U, the number of data.
        num_evaluations: Likelihood evaluations per datum so far. A sweep evaluates every node of
            every latent; as a sampler by points would count, it is one.

    Raises:
        ValueError: If the model is not additive, or its functions change by many deviations of the
            noise from node to node: then a posterior lies between two of them.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> target = NodeTarget(lv.bind(model, torch.zeros(3)))
        >>> target.state_at(torch.zeros(2, 4, 3, 1).long()).log_likelihood.shape
        torch.Size([2, 4, 3])
    """

    def __init__(self, program: BoundProgram, num_nodes: int | None = None) -> None:
        self.tables = AdditiveTables.of(AdditiveModel.of(program), num_nodes=num_nodes)
        _check_nodes(self.tables)
        self.data, self._constant = self.tables.project(program)
        self.num_units = program.num_units
        self.num_evaluations = 0

    def state_at(self, nodes: Tensor) -> NodeState:
        """The state of chains at nodes `(T, C, N, Q)`."""
        residual = self.data - self.tables.at(self.tables.values, nodes).sum(-2)
        return self.state_of(nodes, residual)

    def state_of(self, nodes: Tensor, residual: Tensor) -> NodeState:
        """The state with its log likelihood, `(T, C, N)`."""
        return NodeState(nodes, self._constant - residual.square().sum(-1) / 2, residual)

    def draw_near(self, temperature: float, num_chains: int) -> Tensor:
        """Nodes `(C, N, Q)` nearly from the density at a temperature, by look-ahead draws."""
        sampler = LookaheadSampler(self.tables.tempered(temperature))
        size = PARTICLES_PER_CHAIN * num_chains
        draws = sampler.sample(self.data * temperature**0.5, self._constant, size)
        self.num_evaluations += size
        index = resample_systematic(draws.log_weights[0], num_chains)
        return draws.nodes[0].take_along_dim(index.unsqueeze(-1), 0)

    def constrain(self, position: Tensor) -> dict[str, Tensor]:
        """The latents in the cells of nodes `(S, N, Q)`, `(S, N, *inner plates, *event)` each."""
        return self.tables.additive.coordinates.split(self.tables.position(position))


def _check_nodes(tables: AdditiveTables) -> None:
    step = tables.longest_step
    if step > _LONGEST_STEP:
        raise ValueError(
            f"Expected functions that change by at most {_LONGEST_STEP:g} deviations of the noise "
            f"between two nodes, but some change by {step:.3g} at {tables.num_nodes} nodes: a "
            f"posterior may lie between them. Pass num_nodes={_enough(tables)} to GridGibbsKernel, "
            "or use Quadrature or MixtureImportance."
        )


def _enough(tables: AdditiveTables) -> int:
    """A number of nodes at which the longest step is short."""
    return round(tables.num_nodes * 2 * tables.longest_step / _LONGEST_STEP)


@dataclass(frozen=True)
class GridGibbsKernel(Kernel[NodeState, NodeTarget]):
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
        TypeError: If a count is no integer.
        ValueError: If it is below 1; when bound, if the model is not additive.

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
    target_acceptance: float = field(default=1.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.num_nodes is not None:
            check_count("num_nodes", self.num_nodes)

    def bind(self, program: BoundProgram, guide: Program | None = None) -> NodeTarget:
        """The program in its additive form, tabulated; a guide is left aside."""
        return NodeTarget(program, self.num_nodes)

    def start(self, target: NodeTarget, temperatures: Tensor, num_chains: int) -> Start[NodeState]:
        """Look-ahead draws at each temperature; see `Kernel.start`."""
        nodes = torch.stack([target.draw_near(float(t), num_chains) for t in temperatures])
        nothing = temperatures.new_zeros(len(temperatures), target.num_units, 0)
        return Start(target.state_at(nodes), nothing, nothing.sum(-1) + torch.inf)

    def move(
        self, state: NodeState, temperatures: Tensor, tuning: Tuning, target: NodeTarget
    ) -> tuple[NodeState, Tensor]:
        """A sweep over all latents; see `Kernel.move`."""
        nodes, power = state.position.clone(), temperatures[..., None].to(state.residual)
        residual = sweep(target.tables, nodes, state.residual, power)
        target.num_evaluations += nodes.shape[:2].numel()
        moved = target.state_of(nodes, residual)
        return moved, torch.ones_like(moved.log_likelihood)

    def num_values(self, program: BoundProgram) -> int:
        """The probabilities of one latent's nodes, which outweigh the rest."""
        return super().num_values(program) + (self.num_nodes or 2 * MIN_NODES)

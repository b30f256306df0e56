"""The look-ahead guide: nearly exact posterior draws of an additive model, without a network."""

from functools import cached_property

from torch import Tensor

from lvkam_pyro.additive.lookahead_sampler import LookaheadSampler
from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.additive.tables import AdditiveTables
from lvkam_pyro.guides.population import Draw, Population, PopulationGuide
from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram


class LookaheadGuide(PopulationGuide):
    r"""A Pyro guide that draws latents by look-ahead sequential importance resampling.

    For models whose output is a sum of functions of one latent each with normal noise, such as an
    `LVKAM` with one layer: see `AdditiveModel` for the form and `LookaheadSampler` for the method.
    It follows the model's parameters by itself, so it is a proposal to train with that needs no
    network and no training of its own; its weights are nearly equal. In `draw_particles` the
    particles of a datum are one weighted population; under `Predictive`, or where fewer draws are
    asked for than `num_particles`, draws are resampled from a population of that size.

    Each draw is uniform in the cell of its quadrature node, and its weight accounts for that: the
    weights are those of the model itself, not of its nodes.

    Args:
        model: The Pyro model.
        num_particles: The least size of a population.
        num_nodes: Nodes of each latent; None: as many as the functions need, 96 to 1024.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1; when called, if the model is not additive.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> guide, x = LookaheadGuide(model), torch.rand(20, 5)
        >>> particles = lv.draw_particles(model, guide, x, num_particles=256)
        >>> particles.latents["z"].shape
        torch.Size([256, 20, 3])
    """

    def __init__(
        self, model: Program, *, num_particles: int = 64, num_nodes: int | None = None
    ) -> None:
        super().__init__(model)
        self.num_particles = check_count("num_particles", num_particles)
        self.num_nodes = None if num_nodes is None else check_count("num_nodes", num_nodes)
        self._is_checked = False

    def tabulate(self, program: BoundProgram) -> AdditiveTables:
        """The model on its nodes at its present parameters; its form is checked once."""
        read = AdditiveModel.unchecked if self._is_checked else AdditiveModel.of
        additive, self._is_checked = read(program), True
        return AdditiveTables.of(additive, num_nodes=self.num_nodes)

    def prepare(self, program: BoundProgram) -> Draw:
        """The sampler at the model's present parameters; see `PopulationGuide.prepare`."""
        populations = NodePopulations(self.tabulate(program), program, self.num_particles)

        def draw(num_draws: int) -> tuple[Tensor, Tensor]:
            population = populations.draw(num_draws)
            self.num_evaluations += len(population.points)
            nodes, log_mass = population.take(num_draws)
            position = populations.tables.position(nodes).to(populations.dtype)
            return position, log_mass - populations.log_width(nodes)

        return draw


class NodePopulations:
    """Look-ahead populations of a batch on the nodes of a model, at its present parameters.

    Args:
        tables: The model on its nodes.
        program: The program, bound to the batch.
        min_size: The least size of a population.
    """

    def __init__(self, tables: AdditiveTables, program: BoundProgram, min_size: int) -> None:
        self.tables = tables
        self.min_size = min_size
        self.dtype = tables.additive.coordinates.dtype
        self.residual, self.constant = tables.project(program)

    @cached_property
    def _sampler(self) -> LookaheadSampler:
        return LookaheadSampler(self.tables, dtype=self.dtype)

    def draw(self, num_draws: int) -> Population:
        """A population of this size, or of the least size."""
        size = max(num_draws, self.min_size)
        drawn = self._sampler.sample(self.residual, self.constant, size)
        return Population(drawn.nodes[0], drawn.log_joint[0], drawn.log_weights[0])

    def log_width(self, nodes: Tensor) -> Tensor:
        """The log volume of the cells of nodes `(..., Q)`: their draws are uniform in it."""
        return self.tables.at(self.tables.cell_width, nodes).log().sum(-1)

"""Mean field on quadrature nodes: coordinate ascent in closed form for additive models."""

from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from lvkam_pyro.additive.conditionals import conditional_logits
from lvkam_pyro.additive.model import AdditiveReader
from lvkam_pyro.additive.tables import AdditiveTables
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.options import check_count

_CONVERGED = 1e-6


@dataclass(frozen=True)
class MeanField:
    r"""The best product of node probabilities that coordinate ascent finds.

    Attributes:
        log_probabilities: :math:`\log q_{nq}(g)`, `(N, Q, G)`.
        elbo: The lower bound of log p(x_n), `(N,)`, exact on the nodes: no draws.
        num_sweeps: Sweeps until no bound rose by more than 1e-6 nats, or the limit.
    """

    log_probabilities: Tensor
    elbo: Tensor
    num_sweeps: int

    @classmethod
    def of(cls, tables: AdditiveTables, x: Tensor, *, max_sweeps: int = 100) -> "MeanField":
        r"""Coordinate ascent from the prior.

        .. math:: \log q_q(g) = \log W_{qg} + \Big( \rho - \sum_{r \ne q} E_{q_r} \Phi_r \Big)
                  \cdot \Phi_{qg} - \tfrac12 |\Phi_{qg}|^2 - c

        (Blei, Kucukelbir and McAuliffe 2017, equation 17, https://arxiv.org/abs/1601.00670), which
        raises the bound at every step.

        Args:
            tables: The model on its nodes.
            x: The observations, `(N, ...)`.
            max_sweeps: The most sweeps over all coordinates.

        Returns:
            The product.

        Example:
            >>> import pyro.distributions as dist
            >>> from lvkam_pyro.additive.model import AdditiveModel
            >>> from lvkam_pyro.tracing.structure import ModelStructure
            >>> def model(x):
            ...     with pyro.plate("data", len(x)):
            ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
            ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            >>> x = torch.zeros(2)
            >>> additive = AdditiveModel.of(lv.bind(model, x))
            >>> MeanField.of(AdditiveTables.of(additive), x).elbo  # One latent: the evidence.
            tensor([-1.2655, -1.2655], dtype=torch.float64)
        """
        residual, constant = tables.project(x)
        log_q = tables.log_masses.expand(len(x), -1, -1).clone()
        bound = _bound(tables, log_q, residual, constant)
        num_sweeps, rise = 0, torch.inf
        while num_sweeps < max_sweeps and rise > _CONVERGED:
            _sweep(tables, log_q, residual)
            before, bound = bound, _bound(tables, log_q, residual, constant)
            num_sweeps, rise = num_sweeps + 1, float((bound - before).amax())
        return cls(log_q, bound, num_sweeps)


def _sweep(tables: AdditiveTables, log_q: Tensor, residual: Tensor) -> None:
    """Renew every coordinate's probabilities in turn, in place."""
    means = torch.einsum("nqg,qgr->nqr", log_q.exp(), tables.values)
    rest = residual - means.sum(1)
    for q, (log_masses, functions) in enumerate(zip(tables.log_masses, tables.values, strict=True)):
        without = rest + means[:, q]
        log_q[:, q] = conditional_logits(log_masses, functions, without).log_softmax(-1)
        rest = without - log_q[:, q].exp() @ functions


def _bound(tables: AdditiveTables, log_q: Tensor, residual: Tensor, constant: Tensor) -> Tensor:
    """The evidence lower bound, `(N,)`: expected log likelihood less divergence from the prior."""
    q = log_q.exp()
    means = torch.einsum("nqg,qgr->nqr", q, tables.values)
    squares = torch.einsum("nqg,qg->n", q, tables.values.square().sum(-1))
    variance = squares - means.square().sum((1, 2))
    square = (residual - means.sum(1)).square().sum(-1) + variance
    divergence = (q * (log_q - tables.log_masses)).sum((1, 2))
    return constant - square / 2 - divergence


class GridMeanFieldGuide:
    r"""A Pyro guide that proposes each latent by itself, from its best mean-field density.

    For additive models (see `AdditiveModel`). Each density is constant on the cells around the
    nodes, a share of it the prior's own, so that no part of the support is left out. It follows
    the model's parameters by itself; its weights show what the product misses, so it is a good
    proposal and a poor final word.

    Args:
        model: The Pyro model.
        num_nodes: Nodes of each latent; None: as many as the functions need, 96 to 1024.
        max_sweeps: The most sweeps of coordinate ascent.
        prior_share: The share of each latent's density that is its prior, between 0 and 1.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a number is out of its range; when called, if the model is not additive.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> particles = lv.draw_particles(model, GridMeanFieldGuide(model), torch.rand(20, 5), 64)
        >>> particles.latents["z"].shape
        torch.Size([64, 20, 3])
    """

    def __init__(
        self,
        model: Program,
        *,
        num_nodes: int | None = None,
        max_sweeps: int = 100,
        prior_share: float = 0.05,
    ) -> None:
        if not 0 <= prior_share <= 1:
            raise ValueError(f"Expected a prior_share between 0 and 1, but got {prior_share}.")
        self.model = model
        self.num_nodes = None if num_nodes is None else check_count("num_nodes", num_nodes)
        self.max_sweeps = check_count("max_sweeps", max_sweeps)
        self.prior_share = prior_share
        self._read = AdditiveReader(model)

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Draw every latent site of the model for data `x` of shape `(N, ...)`."""
        # Hidden from whoever records the guide: these are runs of the model.
        with torch.no_grad(), pyro.poutine.block():
            tables = self._tables(x)
            product = MeanField.of(tables, x, max_sweeps=self.max_sweeps)
            law = _CellLaw(tables, self._shares(tables, product.log_probabilities))
        additive = tables.additive
        with pyro.plate(additive.structure.data_plate, len(x), dim=additive.structure.data_dim):
            position = pyro.sample("_mean_field", law.to_event(1), infer={"is_auxiliary": True})
            return {
                name: pyro.sample(name, dist.Delta(value, event_dim=value.ndim - position.ndim + 1))
                for name, value in additive.coordinates.split(position).items()
            }

    def elbo(self, x: Tensor) -> Tensor:
        """The lower bound of each log p(x_n), `(N,)`, without draws; see `MeanField`.

        Raises:
            TypeError: If `x` is no tensor.
            ValueError: If `x` is empty or not finite, or the model is not additive.
        """
        check_data(x)
        with torch.no_grad():
            return MeanField.of(self._tables(x), x, max_sweeps=self.max_sweeps).elbo

    def _tables(self, x: Tensor) -> AdditiveTables:
        return AdditiveTables.of(self._read(x), num_nodes=self.num_nodes)

    def _shares(self, tables: AdditiveTables, log_q: Tensor) -> Tensor:
        share = self.prior_share
        return (1 - share) * log_q.exp() + share * tables.log_masses.exp()


class _CellLaw(TorchDistribution):
    """Independent coordinates `(N, Q)`, each uniform in cells of given probabilities."""

    arg_constraints = {"probabilities": constraints.simplex}  # noqa: RUF012 - torch's own form
    support = constraints.real

    def __init__(self, tables: AdditiveTables, probabilities: Tensor) -> None:
        self.tables = tables
        self.probabilities = probabilities
        super().__init__(probabilities.shape[:-1], validate_args=False)

    def expand(self, batch_shape: Size, _instance: "_CellLaw | None" = None) -> "_CellLaw":
        new = self._get_checked_instance(_CellLaw, _instance)
        new.__dict__.update(self.__dict__)
        new._batch_shape = Size(batch_shape)
        return new

    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008 - torch's own form
        shape = self._extended_shape(Size(sample_shape))
        cumulated = self.probabilities.cumsum(-1)
        rows = shape[:-2].numel()
        place = torch.rand(*cumulated.shape[:-1], rows).to(cumulated) * cumulated[..., -1:]
        node = torch.searchsorted(cumulated, place).clamp(max=cumulated.shape[-1] - 1)
        position = self.tables.position(node.movedim(-1, 0))
        return position.to(self.tables.additive.coordinates.dtype).view(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        num_coordinates = value.shape[-1]
        ends = self.tables.cell_low[:, 1:].contiguous()
        columns = value.double().reshape(-1, num_coordinates).T.contiguous()
        node = torch.searchsorted(ends, columns, right=True).T.reshape(value.shape)
        width = self.tables.at(self.tables.cell_width, node)
        mass = self.probabilities.expand(*value.shape, -1).gather(-1, node.unsqueeze(-1))
        return (mass.squeeze(-1).log() - width.log()).to(value.dtype)

"""Look-ahead sequential importance resampling: posteriors of an additive model without a chain."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.additive.tables import AdditiveTables
from lvkam_pyro.statistics.resampling import systematic_indices

_RESAMPLE_BELOW = 0.5


@dataclass(frozen=True)
class LookaheadDraws:
    """Weighted draws of the nodes of every coordinate.

    Attributes:
        nodes: The chosen nodes, `(A, S, N, Q)`: A islands of S particles each.
        log_weights: `(A, S, N)`; the mean of their exponentials over an island estimates p(x_n)
            on the nodes, without bias.
        log_joint: The log density of the nodes and the data, `(A, S, N)`.
        ess: The least effective sample size before any step, summed over the islands, `(N,)`.
    """

    nodes: Tensor
    log_weights: Tensor
    log_joint: Tensor
    ess: Tensor


class LookaheadSampler:
    r"""Draws the coordinates of an additive model one after the other, each with the rest in view.

    After q coordinates the residual is :math:`r = \rho - \sum_{i \le q} \Phi_{i g_i}`. Those to
    come are replaced by a normal density of their prior mean (0) and covariance,

    .. math:: \psi_q(r) = N\Big(r; \; 0, \; I + \sum_{i > q} \operatorname{Cov} \Phi_i \Big), \qquad
              P(g_q = g) \propto W_{qg} \, \psi_q(r - \Phi_{qg}),

    and the weight grows by :math:`\sum_g W_{qg} \psi_q(r - \Phi_{qg}) / \psi_{q-1}(r)`. Particles
    are resampled before the draw, per island and datum, where their effective number is below
    half. The look-ahead is exact for linear models with normal priors: then every weight is the
    evidence. It is a twisted particle filter (Whiteley and Lee 2014,
    https://doi.org/10.1214/13-AAP984; auxiliary weights as of Pitt and Shephard 1999) over the
    coordinates of one datum in the place of time.

    Args:
        tables: The model on its nodes.
        dtype: The precision of the particles: float64 for evidence, float32 to train.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.additive.model import AdditiveModel
        >>> import lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> program = lv.bind(model, torch.zeros(3))
        >>> tables = AdditiveTables.of(AdditiveModel.of(program))
        >>> draws = LookaheadSampler(tables).sample(*tables.project(program), 8, num_islands=2)
        >>> draws.log_weights[0, 0]  # log N(0; 0, 3)
        tensor([-1.4682, -1.4682, -1.4682], dtype=torch.float64)
    """

    def __init__(self, tables: AdditiveTables, *, dtype: torch.dtype = torch.float64) -> None:
        covariances = tables.covariances()
        # The largest first: while many are to come, the look-ahead smooths most.
        sizes = covariances.diagonal(dim1=-2, dim2=-1).sum(-1)
        order = sizes.argsort(descending=True)
        self.dtype = dtype
        self._places = order.argsort()
        self._log_masses = tables.log_masses.to(dtype)
        noise = torch.eye(covariances.shape[-1]).to(covariances)
        later = covariances[order].flip(0).cumsum(0).flip(0)
        self._start, *rests = (
            _Normal.of(noise + covariance, dtype)
            for covariance in [*later, torch.zeros_like(noise)]
        )
        self._stages = [
            _Stage.of(tables.values[coordinate], tables.log_masses[coordinate], rest)
            for coordinate, rest in zip(order.tolist(), rests, strict=True)
        ]

    def sample(
        self, residual: Tensor, constant: Tensor, num_particles: int, *, num_islands: int = 1
    ) -> LookaheadDraws:
        """Draw weighted particles, from torch's global generator.

        Args:
            residual: The projected data, `(N, R)`; see `AdditiveTables.project`.
            constant: Their log constants, `(N,)`.
            num_particles: S of each island.
            num_islands: A, islands that never meet.

        Returns:
            The draws.
        """
        population = _Population(residual.to(self.dtype), num_particles, num_islands, self._start)
        for stage in self._stages:
            population.choose(stage, population.resample(population.weigh(stage)))
        nodes = torch.stack(population.nodes, -1)[..., self._places]
        log_masses = self._log_masses[torch.arange(len(self._places)), nodes].sum(-1)
        return LookaheadDraws(
            nodes=nodes,
            log_weights=population.log_evidence + population.log_weights + constant,
            log_joint=log_masses + constant - population.residual.square().sum(-1) / 2,
            ess=population.ess,
        )


@dataclass(frozen=True)
class _Normal:
    """A centred normal density: log N(r) = -|r whiten|^2 / 2 - log_volume, up to pi."""

    whiten: Tensor
    log_volume: Tensor

    @classmethod
    def of(cls, covariance: Tensor, dtype: torch.dtype) -> "_Normal":
        factor = torch.linalg.cholesky(covariance)
        inverse = torch.linalg.solve_triangular(
            factor, torch.eye(len(factor)).to(factor), upper=False
        )
        return cls(inverse.T.contiguous().to(dtype), factor.diagonal().log().sum().to(dtype))

    def log_density(self, white: Tensor) -> Tensor:
        """Of whitened residuals `(..., R)`; the constant belongs to the data's."""
        return -white.square().sum(-1) / 2 - self.log_volume


@dataclass(frozen=True)
class _Stage:
    """One coordinate's turn."""

    rest: _Normal
    functions: Tensor
    """The coordinate's functions `(G, R)`."""
    white: Tensor
    """The same, whitened by what is still to come."""
    bias: Tensor
    """Log mass of each node less half the square of its function, `(G,)`."""

    @classmethod
    def of(cls, functions: Tensor, log_masses: Tensor, rest: _Normal) -> "_Stage":
        functions = functions.to(rest.whiten)
        white = functions @ rest.whiten
        return cls(rest, functions, white, log_masses.to(white) - white.square().sum(-1) / 2)


class _Population:
    """The particles of all islands on their way through the coordinates."""

    def __init__(
        self, residual: Tensor, num_particles: int, num_islands: int, start: _Normal
    ) -> None:
        self.residual = residual.expand(num_islands, num_particles, *residual.shape)
        self._before = start.log_density(residual @ start.whiten)
        self.log_evidence = self._before.expand(num_islands, 1, -1)
        self.log_weights = self._before.new_zeros(self.residual.shape[:-1])
        self.ess = torch.full_like(self._before, torch.inf)
        self.nodes: list[Tensor] = []

    def weigh(self, stage: _Stage) -> Tensor:
        """Multiply the weights by a coordinate's look-ahead; returns its cumulated masses."""
        self._white = self.residual @ stage.rest.whiten
        logits = torch.addmm(stage.bias, self._white.flatten(0, 2), stage.white.T)
        largest = logits.amax(-1, keepdim=True)
        # One pass of exponentials serves the sum and the draw.
        cumulated = logits.sub_(largest).exp_().cumsum(-1)
        total = (largest + cumulated[:, -1:].log()).view_as(self.log_weights)
        now = stage.rest.log_density(self._white) + total
        self.log_weights = self.log_weights + now - self._before
        return cumulated.view(*self._white.shape[:-1], -1)

    def resample(self, cumulated: Tensor) -> Tensor:
        """Draws particles anew in proportion to their weights, where few carry them."""
        num_particles = self.log_weights.shape[1]
        weights = self.log_weights.softmax(1)
        size = 1 / weights.square().sum(1)
        self.ess = torch.minimum(self.ess, size.sum(0))
        poor = size < _RESAMPLE_BELOW * num_particles
        if not poor.any():
            return cumulated
        kept = torch.arange(num_particles, device=poor.device)[:, None]
        drawn = systematic_indices(weights.movedim(1, -1), num_particles).movedim(-1, 1)
        index = torch.where(poor.unsqueeze(1), drawn, kept)
        mean = self.log_weights.logsumexp(1, keepdim=True) - math.log(num_particles)
        self.log_evidence = torch.where(
            poor.unsqueeze(1), self.log_evidence + mean, self.log_evidence
        )
        self.log_weights = self.log_weights.masked_fill(poor.unsqueeze(1), 0.0)
        self.nodes = [node.gather(1, index) for node in self.nodes]
        self.residual, self._white, cumulated = (
            tensor.take_along_dim(index.unsqueeze(-1), 1)
            for tensor in (self.residual, self._white, cumulated)
        )
        return cumulated

    def choose(self, stage: _Stage, cumulated: Tensor) -> None:
        """Draw a node for each particle and take its function off the residual."""
        place = torch.rand_like(cumulated[..., :1]) * cumulated[..., -1:]
        node = torch.searchsorted(cumulated, place).squeeze(-1).clamp(max=cumulated.shape[-1] - 1)
        self.nodes.append(node)
        self.residual = self.residual - stage.functions[node]
        self._before = stage.rest.log_density(self._white - stage.white[node])

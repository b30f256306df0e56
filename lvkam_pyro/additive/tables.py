"""An additive model on quadrature nodes: the ground of look-ahead and Gibbs."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.statistics.quadrature import composite_gauss_legendre
from lvkam_pyro.tracing.program import BoundProgram

NODES_PER_PANEL = 4
MIN_NODES = 96
MAX_NODES = 1024
_NUM_SCOUTS = 257
_STEP = 1.25
_INSIDE = 1e-6
_RANK_TOLERANCE = 1e-13


@dataclass(frozen=True)
class AdditiveTables:
    r"""An additive model whose latents live on `G` quadrature nodes each.

    .. math:: p(x) \approx \sum_{g_1} \dots \sum_{g_Q} \prod_q W_{q g_q} \;
              N\Big(x; \; m + \sum_q \Phi_{q g_q}, \; L L'\Big)

    with the prior masses :math:`W_{qg} = w_{qg} \, p_q(z_{qg})`. Nodes are crowded where a function
    runs fast in units of the noise and where the prior has its mass. Functions are centred at their
    prior means, and they and the data are whitened and projected on the span of all functions: of
    `O` outputs `R` at most `Q G` are left, and the cost does not depend on `O`.

    Attributes:
        additive: The model.
        nodes: The nodes, `(Q, G)`.
        cell_low: The lower ends of the cells around the nodes, `(Q, G)`.
        cell_width: The cells' widths, the quadrature weights, `(Q, G)`.
        log_masses: :math:`\log W`, normalised, `(Q, G)`.
        mass_error: How far the sum of each W was from 1, `(Q,)`.
        values: The functions, centred, whitened and projected, `(Q, G, R)`.
        means: The functions' prior means, `(Q, O)`, which the outputs' mean m sums up.
        span: An orthonormal basis of the functions' span, `(O, R)`.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> import lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z @ torch.ones(2, 3), 0.5).to_event(1), obs=x)
        >>> x = torch.zeros(5, 3)
        >>> additive = AdditiveModel.of(lv.bind(model, x))
        >>> AdditiveTables.of(additive, num_nodes=64).values.shape
        torch.Size([2, 64, 1])
    """

    additive: AdditiveModel
    nodes: Tensor
    cell_low: Tensor
    cell_width: Tensor
    log_masses: Tensor
    mass_error: Tensor
    values: Tensor
    means: Tensor
    span: Tensor

    @classmethod
    def of(cls, additive: AdditiveModel, *, num_nodes: int | None = None) -> Self:
        """Tabulate a model.

        Args:
            additive: The model.
            num_nodes: G, rounded up to a multiple of 4. Default: as many as keep the functions'
                mean step between their nodes near 1.25 of the noise, from 96 to 1024.

        Returns:
            The tables.
        """
        scouts = _Scouts.of(additive)
        nodes, weights = scouts.nodes(scouts.wanted_nodes() if num_nodes is None else num_nodes)
        log_masses, mass_error = _prior_masses(additive, nodes, weights)
        functions = additive.functions(nodes.T).transpose(0, 1)
        means = (log_masses.exp()[..., None] * functions).sum(1)
        white = additive.whiten(functions - means[:, None])
        span = _span(white.flatten(0, 1))
        # Cells as long as the weights, side by side: every Gauss-Legendre node lies inside its own
        # (Chebyshev, Markov and Stieltjes; Szego 1939, Orthogonal Polynomials, section 3.41).
        cell_low = additive.coordinates.low[:, None] + weights.cumsum(-1) - weights
        return cls(
            additive=additive,
            nodes=nodes,
            cell_low=cell_low,
            cell_width=weights,
            log_masses=log_masses,
            mass_error=mass_error,
            values=white @ span,
            means=means,
            span=span,
        )

    def refine(self) -> tuple[Tensor, Tensor]:
        """Log masses `(Q, 2 G)` and functions `(Q, 2 G, R)` on twice as many nodes."""
        nodes, weights = _Scouts.of(self.additive).nodes(2 * self.num_nodes)
        log_masses, _ = _prior_masses(self.additive, nodes, weights)
        functions = self.additive.functions(nodes.T).transpose(0, 1)
        return log_masses, self.additive.whiten(functions - self.means[:, None]) @ self.span

    @property
    def num_coordinates(self) -> int:
        """The number of coordinates Q."""
        return len(self.nodes)

    @property
    def num_nodes(self) -> int:
        """The number of nodes G."""
        return self.nodes.shape[1]

    @property
    def longest_step(self) -> float:
        """The greatest change of a function between neighbouring nodes, in units of the noise."""
        return float(self.values.diff(dim=1).norm(dim=-1).amax())

    @property
    def mean(self) -> Tensor:
        """The prior mean m of the outputs, `(O,)`."""
        return self.additive.loc + self.means.sum(0)

    def project(self, program: BoundProgram) -> tuple[Tensor, Tensor]:
        r"""The data in the coordinates of the tables.

        Args:
            program: The program, bound to them.

        Returns:
            Residuals :math:`\rho`, `(N, R)`, and constants c, `(N,)`, with which
            :math:`\log p(x_n | g) = c_n - |\rho_n - \sum_q \Phi_{q g_q}|^2 / 2`.
        """
        white = self.additive.whiten(self.additive.observed(program) - self.mean)
        residual = white @ self.span
        orthogonal = (white.square().sum(-1) - residual.square().sum(-1)).clamp(min=0)
        return residual, -orthogonal / 2 - self.additive.log_normaliser

    def tempered(self, temperature: float) -> Self:
        """The same model with its likelihood to a power: functions in units of wider noise."""
        return replace(self, values=self.values * temperature**0.5)

    def position(self, nodes: Tensor) -> Tensor:
        """Positions drawn uniformly from the cells of nodes `(..., Q)`, of the same shape."""
        low, width = self.at(self.cell_low, nodes), self.at(self.cell_width, nodes)
        return low + torch.rand_like(low) * width

    def nodes_at(self, position: Tensor) -> Tensor:
        """The nodes whose cells positions `(..., Q)` lie in; the nearest for those outside."""
        columns = position.to(self.cell_low).movedim(-1, 0).contiguous()
        place = torch.searchsorted(self.cell_low, columns.flatten(1), right=True) - 1
        return place.clamp(min=0).view_as(columns).movedim(0, -1).contiguous()

    @staticmethod
    def at(table: Tensor, nodes: Tensor) -> Tensor:
        """`table[q, g]` for nodes `(..., Q)`."""
        return table[torch.arange(len(table), device=table.device), nodes]

    def covariances(self) -> Tensor:
        """The prior covariance of every function, `(Q, R, R)`."""
        weighted = self.log_masses.exp()[..., None] * self.values
        return weighted.transpose(1, 2) @ self.values


@dataclass(frozen=True)
class _Scouts:
    """The functions' lengths and the prior's mass at equally spaced points."""

    points: Tensor  # (Q, M)
    length: Tensor  # (Q, M): of each function's curve in units of the noise
    mass: Tensor  # (Q, M): of the prior

    @classmethod
    def of(cls, additive: AdditiveModel) -> "_Scouts":
        low, high = additive.coordinates.low, additive.coordinates.high
        points = torch.lerp(low, high, torch.linspace(0, 1, _NUM_SCOUTS).to(low)[:, None])
        # The ends of an open support are no points of it.
        inside = torch.lerp(
            low, high, torch.linspace(_INSIDE, 1 - _INSIDE, _NUM_SCOUTS).to(low)[:, None]
        )
        curves = additive.whiten(additive.functions(inside)).transpose(0, 1)
        density = additive.coordinates.log_prob(inside).T.exp()
        widths = points.T.diff(dim=-1)
        mass = (density[:, 1:] + density[:, :-1]) / 2 * widths
        return cls(points.T, _cumulated(curves.diff(dim=1).norm(dim=-1)), _cumulated(mass))

    def wanted_nodes(self) -> int:
        """The number of nodes of which half divide the longest curve into small steps."""
        wanted = 2 * float(self.length[:, -1].amax()) / _STEP
        return int(min(max(wanted, MIN_NODES), MAX_NODES))

    def nodes(self, num_nodes: int) -> tuple[Tensor, Tensor]:
        """Nodes and weights: a half for the curve's length, a quarter each for mass and range."""
        place = self.points - self.points[:, :1]
        measure = 0.5 * _share(self.length) + 0.25 * _share(self.mass) + 0.25 * _share(place)
        edges = edges_of_equal_length(self.points, measure, num_nodes)
        return composite_gauss_legendre(edges, NODES_PER_PANEL)


def edges_of_equal_length(points: Tensor, length: Tensor, num_nodes: int) -> Tensor:
    """Panel edges between which a measure grows equally.

    Args:
        points: Increasing points, `(Q, M)`.
        length: The measure from the first point to each, increasing from 0, `(Q, M)`.
        num_nodes: The number of nodes wanted, rounded up to whole panels.

    Returns:
        Edges from the first to the last point, `(Q, panels + 1)`.

    Example:
        >>> points = torch.tensor([[0.0, 1.0, 2.0]])
        >>> edges_of_equal_length(points, torch.tensor([[0.0, 3.0, 4.0]]), 8)
        tensor([[0.0000, 0.6667, 2.0000]])
    """
    num_panels = -(-num_nodes // NODES_PER_PANEL)
    steps = torch.linspace(0, 1, num_panels + 1, dtype=length.dtype, device=length.device)
    wanted = (length[:, -1:] * steps).clamp(max=length[:, -1:])
    right = torch.searchsorted(length, wanted).clamp(1, length.shape[1] - 1)
    low, high = length.gather(1, right - 1), length.gather(1, right)
    share = ((wanted - low) / (high - low)).clamp(0, 1)
    return torch.lerp(points.gather(1, right - 1), points.gather(1, right), share)


def _cumulated(steps: Tensor) -> Tensor:
    return torch.nn.functional.pad(steps.cumsum(-1), (1, 0))


def _share(measure: Tensor) -> Tensor:
    """A measure that ends at 1, or is 0 throughout."""
    return measure / measure[:, -1:].clamp(min=torch.finfo(measure.dtype).tiny)


def _prior_masses(additive: AdditiveModel, nodes: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised log masses of the nodes `(Q, G)`, and how far their sum was from 1, `(Q,)`."""
    log_masses = additive.coordinates.log_prob(nodes.T).T + weights.log()
    total = log_masses.logsumexp(-1, keepdim=True)
    return log_masses - total, total.squeeze(-1).expm1().abs()


def _span(rows: Tensor) -> Tensor:
    """An orthonormal basis `(O, R)` of the span of vectors `(M, O)`."""
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    kept = values > _RANK_TOLERANCE * values[-1]
    # One is kept where all functions are constant.
    kept[-1] = True
    return vectors[:, kept]

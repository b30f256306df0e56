"""A density on the nodes of a quadrature rule: what Pyro enumerates."""

import functools
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from pyro.distributions import Categorical, TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from lvkam_pyro.distributions.panels import Panels

_TAIL_PIECES = 4


class QuadratureNodes(TorchDistribution):
    r"""A one-dimensional density as masses on the nodes of a quadrature rule.

    .. math:: P(z = z_g) = \frac{w_g \, p(z_g)}{\sum_h w_h \, p(z_h)}, \qquad g = 1..G

    The weights :math:`w_g` of the rule are part of the masses, so a sum over the nodes is the
    integral: Pyro's enumeration of a site ``z ~ density.on_nodes()`` gives the evidence
    :math:`\log \int p(z) \, p(x \mid z) \, dz` to quadrature, with its gradients, and
    ``infer_discrete`` draws from the posterior on the nodes. Made by
    :meth:`UnivariateDensity.on_nodes`.

    Enumeration is of one latent per site: `Q` latents in one event would be :math:`G^Q` nodes.
    Pyro builds the result of ``TraceEnum_ELBO().compute_marginals`` from logits alone; such a
    distribution knows its masses and takes its places from :meth:`at`.

    Arguments:
        logits: Unnormalised log masses of the nodes, of shape `(*batch, G)`.
        nodes: Increasing places of the nodes, of shape `(G,)` or `(*batch, G)`.
        validate_args: Whether to check logits and values.

    Raises:
        ValueError: If shapes disagree, nodes do not increase, or the dtype is half precision.

    Example:
        >>> import pyro
        >>> from pyro.infer import TraceEnum_ELBO
        >>> from lvkam_pyro.distributions.energy import EnergyDistribution
        >>> def model():
        ...     prior = EnergyDistribution(lambda z: 2 * z)  # on [0, 1]
        ...     z = pyro.sample("z", prior.on_nodes(), infer={"enumerate": "parallel"})
        ...     pyro.factor("likelihood", -2 * z)
        >>> loss = TraceEnum_ELBO(max_plate_nesting=0).loss(model, lambda: None)
        >>> print(f"{loss:.4f}")  # the integral of 1 over 2 / (e^2 - 1)
        1.1614
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 - torch's own form
    has_enumerate_support = True

    def __init__(
        self, logits: Tensor, nodes: Tensor | None = None, *, validate_args: bool | None = None
    ) -> None:
        _check_precision(logits)
        self.logits = logits - logits.logsumexp(-1, keepdim=True)
        self._nodes = nodes
        batch_shape = logits.shape[:-1]
        if nodes is not None:
            _check_nodes(nodes, logits)
            batch_shape = torch.broadcast_shapes(batch_shape, nodes.shape[:-1])
        super().__init__(batch_shape, validate_args=validate_args)

    @property
    def nodes(self) -> Tensor:
        """Places of the nodes, of shape `(G,)` or `(*batch, G)`.

        Raises:
            RuntimeError: If only the masses are known.
        """
        if self._nodes is None:
            raise RuntimeError(
                "Expected a distribution that knows where its nodes lie, got one that Pyro built "
                "from logits alone (compute_marginals, sample_posterior). Give it the places with "
                "marginal.at(density.on_nodes().nodes); for draws use pyro.infer.infer_discrete."
            )
        return self._nodes

    @property
    def probs(self) -> Tensor:
        """Masses of the nodes, of shape `(*batch, G)`."""
        return self.logits.exp()

    def at(self, nodes: Tensor) -> Self:
        """The same masses on the given places, of shape `(G,)` or `(*batch, G)`."""
        return type(self)(self.logits, nodes, validate_args=self._validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The nodes themselves."""
        return OneOfNodes(self.nodes)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same masses over a larger batch; nothing is copied."""
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        new._batch_shape = Size(batch_shape)
        return new

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> TorchDistribution:
        """Refused for one dimension or more: a joint enumeration of latents is not possible.

        Raises:
            NotImplementedError: If a batch dimension would become the event's.
        """
        if reinterpreted_batch_ndims == 0 or not self.batch_shape:
            return super().to_event(reinterpreted_batch_ndims)
        raise NotImplementedError(
            f"Expected latents enumerated one by one, got to_event({reinterpreted_batch_ndims}) "
            f"on batch shape {tuple(self.batch_shape)}: Q latents of G nodes are G^Q points. Give "
            "each latent a site of its own or put independent ones in a plate; draw more than two "
            "or three dependent ones from the density itself."
        )

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All nodes, of shape `(G, *batch)`; with `expand=False` 1 for all that share them."""
        nodes = self.nodes.movedim(-1, 0)
        missing = len(self.batch_shape) - nodes.ndim + 1
        nodes = nodes.reshape(len(nodes), *[1] * missing, *nodes.shape[1:])
        return nodes.expand(-1, *self.batch_shape) if expand else nodes

    def log_prob(self, value: Tensor) -> Tensor:
        """Log mass of the nodes `value`."""
        if self._validate_args:
            self._validate_sample(value)
        log_prob = _take(self.logits, _nearest(self.nodes, value))
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of nodes by their masses, of shape `sample_shape + batch_shape`."""
        nodes, shape = self.nodes, self._extended_shape(Size(sample_shape))
        # torch draws at least one.
        if shape.numel() == 0:
            return nodes.new_empty(shape)
        masses = Categorical(logits=self.logits.detach(), validate_args=False)
        return _take(nodes, masses.expand(self.batch_shape).sample(Size(sample_shape)))

    @property
    def mean(self) -> Tensor:
        """Expectation of `z`."""
        return (self.probs * self.nodes).sum(-1).expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        """Variance of `z`."""
        centred = self.nodes - self.mean.unsqueeze(-1)
        return (self.probs * centred.square()).sum(-1)


class OneOfNodes(constraints.Constraint):
    """Values that are nodes.

    Example:
        >>> OneOfNodes(torch.tensor([0.0, 1.0])).check(torch.tensor([0.0, 0.5]))
        tensor([ True, False])
    """

    is_discrete = True
    event_dim = 0

    def __init__(self, nodes: Tensor) -> None:
        self.nodes = nodes

    def check(self, value: Tensor) -> Tensor:
        """Whether each value equals a node."""
        return _take(self.nodes, _nearest(self.nodes, value)) == value


def spread_nodes(panels: Panels, num_nodes: int) -> tuple[Tensor, Tensor]:
    """A Gauss-Legendre rule of about `num_nodes` nodes on the cells and tails of a density.

    Each cell, and each of up to four pieces of a tail, gets the same number of nodes, rounded up.

    Returns:
        Nodes and log weights, each of shape `(*rows, G)`, float64.

    Raises:
        ValueError: If there is not at least one node.
    """
    if num_nodes < 1:
        raise ValueError(f"Expected at least 1 for num_nodes, got {num_nodes}. 64 suit most uses.")
    edges = _pieces(panels)
    count = -(-num_nodes // (edges.shape[-1] - 1))
    unit, weights = (edges.new_tensor(rule) for rule in _gauss_legendre(count))
    widths = edges.diff()[..., None]
    nodes = edges[..., :-1, None] + widths * unit
    return nodes.flatten(-2), (widths * weights).log().flatten(-2)


def _pieces(panels: Panels) -> Tensor:
    """Ends of the cells and of four pieces of each tail, of shape `(*rows, M + 1)`."""
    cells = panels.breakpoints.detach().double()
    # All rows of breakpoints have the same ends, hence the same tails.
    edges = panels.edges.reshape(-1, panels.edges.shape[-1])[0]
    lower = _thinned(edges[edges < cells.min()])
    upper = _thinned(edges[edges > cells.max()].flip(0)).flip(0)
    rows = cells.shape[:-1]
    return torch.cat([lower.expand(*rows, -1), cells, upper.expand(*rows, -1)], -1)


def _thinned(tail: Tensor) -> Tensor:
    """Up to four of the edges of a tail, evenly; the outermost, which comes first, is kept."""
    return tail[:: max(1, -(-len(tail) // _TAIL_PIECES))]


@functools.cache
def _gauss_legendre(count: int) -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (0.5 * nodes + 0.5).tolist(), (0.5 * weights).tolist()


def _nearest(nodes: Tensor, value: Tensor) -> Tensor:
    """Number of the node nearest to each value, for nodes `(*batch, G)`."""
    rank = nodes.ndim - 1
    # Where one row of nodes serves several columns of values, each column gets a copy of it.
    own = torch.broadcast_shapes(value.shape[max(0, value.ndim - rank) :], nodes.shape[:-1])
    value = value.detach().expand(torch.broadcast_shapes(value.shape, own))
    middles = (0.5 * (nodes[..., 1:] + nodes[..., :-1])).expand(*own, -1)
    columns = value.reshape(-1, *own).movedim(0, -1).contiguous().to(middles)
    number = torch.searchsorted(middles.contiguous(), columns)
    return number.movedim(-1, 0).reshape(value.shape)


def _take(table: Tensor, number: Tensor) -> Tensor:
    """`table[batch, number]` for a table `(*batch, G)`; memory linear in `number`."""
    own = table.shape[:-1]
    row = torch.arange(own.numel(), device=table.device).view(own)
    index = row * table.shape[-1] + number
    return table.reshape(-1).index_select(0, index.reshape(-1)).view(index.shape)


def _check_precision(logits: Tensor) -> None:
    if logits.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"Expected float32 or float64, got {logits.dtype}: neighbouring nodes coincide in half "
            "precision, and log masses round to 0.4 per cent. Cast with .float()."
        )


def _check_nodes(nodes: Tensor, logits: Tensor) -> None:
    if nodes.shape[-1:] != logits.shape[-1:]:
        raise ValueError(
            f"Expected as many nodes as logits, got {tuple(nodes.shape)} and "
            f"{tuple(logits.shape)}. The last dimension of both is the node."
        )
    if not (nodes.diff() > 0).all():
        raise ValueError(
            f"Expected increasing nodes, got neighbours in {nodes.dtype} that do not increase. "
            "Use float64 where the cells are narrow for their distance from 0, or fewer nodes."
        )

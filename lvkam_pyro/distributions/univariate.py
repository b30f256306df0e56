"""The base of the one-dimensional densities: a Pyro distribution known by its integrals."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, register_kl
from torch.distributions.utils import lazy_property

from lvkam_pyro.distributions.panels import Panels
from lvkam_pyro.distributions.reference import as_measure, is_flat, support_bounds, support_of
from lvkam_pyro.distributions.rows import apply_shared
from lvkam_pyro.distributions.shapes import expanded
from lvkam_pyro.distributions.table import PanelInverse, Table, quantiles
from lvkam_pyro.distributions.tabulated import TOLERANCE, Tabulated


class UnivariateDensity(Tabulated, TorchDistribution):
    r"""An exact one-dimensional density :math:`p(z) = e^{\phi(z)} / Z` known by quadrature.

    The abstract base of the densities of this library. To write one, inherit from it, call
    ``super().__init__(panels, reference, batch_shape)`` and define ``_log_potential``, the
    elementwise :math:`\phi(z) = f(z) + \log \pi_0(z)` of a value of shape `(..., *batch)`.
    Everything else is final: the normaliser and the distribution function are Gauss-Legendre
    sums over panels aligned with the breakpoints of `f`, in float64, moved to where a density
    needs them until its distribution function is known to 1e-10 (2e-7 in float32); draws are the
    inverse distribution function of uniform draws, with implicit reparameterised gradients
    :math:`dz/d\theta = -(dF(z;\theta)/d\theta) / p(z)` (Figurnov et al. 2018, equation 6,
    https://arxiv.org/abs/1805.08498).

    Arguments:
        panels: The quadrature panels, shared by the whole batch.
        reference: The reference measure :math:`\pi_0`.
        batch_shape: Shape of the batch that ``_log_potential`` computes.
        dtype: Floating dtype of values and log densities.
        validate_args: Whether to check values against the support.
    """

    has_rsample = True

    def __init__(
        self,
        panels: Panels,
        reference: Distribution,
        batch_shape: Size,
        *,
        dtype: torch.dtype,
        validate_args: bool | None = None,
    ) -> None:
        _check_dtype(dtype)
        self.panels = panels
        self.reference = as_measure(reference, panels.breakpoints.device)
        self.dtype = dtype
        # The shape of the parameters: expand() grows batch_shape around it and shares the table.
        self._parameter_shape = batch_shape
        self._tables = {}
        self._sampler: Sampler | None = None
        super().__init__(batch_shape, validate_args=validate_args)

    @lazy_property
    def _bounds(self) -> tuple[float, float]:
        return support_bounds(self.reference)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        r"""The interval, half-line or real line on which :math:`\pi_0` lives."""
        return support_of(self.reference)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same densities over a larger batch; parameters and their table stay shared."""
        return expanded(self, batch_shape, self._get_checked_instance(type(self), _instance))

    def _spread(self) -> Self:
        """The same batch without shared parameters, so that they can be indexed."""
        new = self.expand(self._batch_shape)
        if self._parameter_shape != self._batch_shape:
            new._parameter_shape = self._batch_shape
            new._tables = {}
            new._expand_parameters(self._batch_shape)
        return new

    def _expand_parameters(self, shape: Size) -> None:
        """Bring tensor parameters to a batch of another shape, for subclasses that hold some."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Normalised log density of `value`; minus infinity outside the support, NaN for NaN."""
        self._refresh()
        if self._validate_args:
            self._validate_sample(value)
        return self._score(value)

    def _score(self, value: Tensor) -> Tensor:
        low, high = self._bounds
        inside = (value >= low) & (value <= high)
        log_prob = self._apply(self._log_density, self._into_support(value))
        # A function that does not look at its argument, such as a step, hides a NaN.
        nowhere = log_prob.new_full(value.shape, -torch.inf).masked_fill(value.isnan(), torch.nan)
        return torch.where(inside, log_prob, nowhere)

    def cdf(self, value: Tensor) -> Tensor:
        r"""Distribution function :math:`F(z) = \int_{-\infty}^z p`, exact to quadrature."""
        self._refresh()
        if self._validate_args:
            self._validate_sample(value)
        low, high = self._bounds
        cdf = self._apply(self._cdf, self._into_support(value)).to(value.dtype)
        return cdf.masked_fill(value < low, 0.0).masked_fill(value > high, 1.0)

    def icdf(self, value: Tensor) -> Tensor:
        r"""Inverse distribution function of probabilities in [0, 1].

        Differentiable, once, in the probabilities, :math:`dz/du = 1 / p(z)`, and in the
        parameters: ``CumulativeDistributionTransform(density).inv`` is a reparameterisation.

        Raises:
            ValueError: If a probability lies outside [0, 1], under validation.
        """
        if self._validate_args and not ((value >= 0) & (value <= 1)).all():
            raise ValueError(
                "Expected probabilities in [0, 1], got values in "
                f"[{value.min():.4g}, {value.max():.4g}]. Pass u with 0 <= u <= 1."
            )
        self._refresh()
        with torch.no_grad():
            z = self._apply(self._quantile, value)
        z = self._apply(self._with_implicit_gradient, z)
        if not value.requires_grad:
            return z
        slope = self._apply(self._slope, z.detach())
        return z + ((value - value.detach()) / slope).to(z.dtype)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Reparameterised draws, of shape `sample_shape + batch_shape`."""
        self._refresh()
        shape = self._extended_shape(Size(sample_shape))
        draw = self._sampler or type(self)._draw
        like = self.panels.edges.new_empty(()).expand(shape)
        with torch.no_grad():
            z = self._apply(lambda each: draw(self, each.shape), like)
        return self._apply(self._with_implicit_gradient, z)

    def drawn_by(self, sampler: "Sampler") -> Self:
        """The same density, sharing its table, whose draws are made by `sampler`.

        The gradient of `rsample` is that of the density, however draws are made.

        Arguments:
            sampler: Takes the density and the shape of the draws, which ends in the shape of its
                parameters; returns independent draws. See
                :class:`~lvkam_pyro.distributions.rejection.RejectionSampler`.
        """
        new = self.expand(self._batch_shape)
        new._sampler = sampler
        return new

    def _apply(self, function: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
        """An elementwise function of values `(..., *parameter_shape)`, at values of any batch."""
        result = apply_shared(function, self._align(value), self._parameter_shape)
        return result.expand(torch.broadcast_shapes(result.shape, self._batch_shape))

    def _align(self, value: Tensor) -> Tensor:
        return value.expand(torch.broadcast_shapes(value.shape, self._parameter_shape))

    def _into_support(self, value: Tensor) -> Tensor:
        """The nearest value inside the support, whose finite ends do not belong to it."""
        low, high = (torch.tensor(b, dtype=value.dtype, device=value.device) for b in self._bounds)
        # Zero's neighbour is a denormal number, which many kernels flush back to zero.
        lowest = torch.maximum(torch.nextafter(low, high), low + torch.finfo(value.dtype).tiny)
        return value.clamp(lowest, torch.nextafter(high, low))

    def _with_reference(self, energy: Tensor, z: Tensor) -> Tensor:
        r"""The log potential at `z`, of the energy there."""
        # A normaliser absorbs what is constant.
        return energy if is_flat(self.reference) else energy + self.reference.log_prob(z)

    def _log_density(self, z: Tensor) -> Tensor:
        """Normalised log density at points inside the support, in the outer dtype."""
        return self._log_potential(z) - self._table.log_normalizer.to(z.dtype)

    def _cdf(self, z: Tensor) -> Tensor:
        return self._table.below(z.double())

    def _quantile(self, u: Tensor) -> Tensor:
        table = self._table
        masses = table.cdf.diff().reshape(self._parameter_shape.numel(), -1)
        # As in torch, a scalar may be on the CPU.
        rows = u.to(masses).reshape(-1, len(masses)).T.contiguous()
        z = quantiles(masses, table.inverse(torch.float64), rows)
        return self._open(z.T.contiguous().view(u.shape))

    def _draw(self, shape: Size) -> Tensor:
        """Draws without gradient, of any `shape` that ends in the parameters' shape."""
        masses, inverse = self._slots()
        num_draws = shape.numel() // len(masses)
        u = torch.rand(len(masses), num_draws, dtype=masses.dtype, device=masses.device)
        return self._open(quantiles(masses, inverse, u).T.contiguous().view(shape))

    def _slots(self) -> tuple[Tensor, PanelInverse]:
        """Masses of all that a draw may fall into, of shape `(rows, M)`, and their inverse."""
        masses = self._table.cdf.diff().reshape(self._parameter_shape.numel(), -1)
        return masses, self._table.inverse(self.dtype)

    def _open(self, z: Tensor) -> Tensor:
        """`z` in the outer dtype, kept off finite ends, where unconstrained maps are infinite."""
        return self._into_support(z.to(self.dtype))

    def _with_implicit_gradient(self, z: Tensor) -> Tensor:
        # Plain operations and a detach, not an autograd.Function: torch.jit.trace
        # records neither that nor no_grad, and would train on wrong gradients without an error.
        z = z.detach()
        if not (torch.is_grad_enabled() and self._table.cdf.requires_grad):
            return z
        probability = self._cdf(z)
        return z - ((probability - probability.detach()) / self._slope(z)).to(z.dtype)

    def _slope(self, z: Tensor) -> Tensor:
        """The density, the slope of the distribution function; not 0, by which one divides."""
        slope = self._log_density(z).double().exp().detach()
        return slope.clamp(min=torch.finfo(slope.dtype).tiny)


Sampler = Callable[[UnivariateDensity, Size], Tensor]
"""A method of drawing from densities: takes a density and the shape of its draws."""


def _check_dtype(dtype: torch.dtype) -> None:
    if dtype not in TOLERANCE:
        raise ValueError(
            f"Expected parameters and breakpoints in float32 or float64, got {dtype}: an energy of "
            "10 in half precision is off by 0.4 per cent in density. Cast with .float()."
        )


@register_kl(UnivariateDensity, UnivariateDensity)
def _kl_univariate(p: UnivariateDensity, q: UnivariateDensity) -> Tensor:
    """Kullback-Leibler divergence by the quadrature of `p`: no Monte Carlo."""
    p._refresh()
    q._refresh()
    shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    if q.breakpoints.ndim > 1:
        p = p.expand(shape)._spread()
    # The quotient is rough at the breakpoints of either.
    panels = p._table.panels.cut(q.breakpoints.detach())
    log_p = p._node_potentials(panels) - p._table.log_normalizer[..., None, None]
    table = Table(panels, log_p)
    points = table.points(p._open)
    points = points.view(len(points), *[1] * (len(shape) + 1 - points.ndim), *points.shape[1:])
    log_q = table.on_panels(q._score(points))
    divergence = (table.probabilities * (log_p - log_q)).sum((-2, -1)).to(p.dtype)
    return divergence.expand(shape)

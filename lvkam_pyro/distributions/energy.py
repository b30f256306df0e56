"""The energy density: any function of one variable, exponentiated and normalised."""

from collections.abc import Callable

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Uniform, constraints

from lvkam_pyro.distributions.following import check_finite
from lvkam_pyro.distributions.panels import Panels
from lvkam_pyro.distributions.reference import far_quantile, support_bounds
from lvkam_pyro.distributions.univariate import UnivariateDensity

_DEFAULT_CELLS = 32
_OUTER_MASS = 1e-12


class EnergyDistribution(UnivariateDensity):
    r"""Exponential tilting of a reference measure by any function of one variable.

    .. math:: p(z) = e^{f(z)} \, \pi_0(z) / Z, \qquad Z = \int e^{f(z)} \, \pi_0(z) \, dz

    An ordinary Pyro distribution: normalised ``log_prob``, ``cdf``, ``icdf`` and reparameterised
    ``rsample``, all by quadrature aligned with the breakpoints of `f`, without a Markov chain.
    Outside the breakpoints `f` keeps its end values, so the tails are those of :math:`\pi_0`.

    Arguments:
        energy: The function `f`. Takes points of shape `(..., *batch)`, where each entry of the
            batch has its own function, and returns their energies in the same shape.
        reference: One univariate torch distribution :math:`\pi_0`; uniform on [0, 1] by default.
        breakpoints: Where `f` may be rough: increasing points of shape `(G + 1,)`, or `(*b, G + 1)`
            where `b` broadcasts to the batch and all rows share their ends; a number of equal
            cells, or ready :class:`Panels`. Default: 32 equal cells over the support, or
            over all but 1e-12 of the mass on each side where the support is unbounded.
        batch_shape: Shape of the batch of functions. Default: the shape of the energy of a scalar.
        validate_args: Whether to check values against the support.

    Raises:
        ValueError: If the energy is not finite, does not keep the shape of its argument, or the
            breakpoints do not increase or leave the support of the reference.

    Example:
        >>> tilt = torch.tensor([0.0, 1.0, 4.0])
        >>> density = EnergyDistribution(lambda z: tilt * z)
        >>> density.mean
        tensor([0.5000, 0.5820, 0.7687])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 - torch's own form

    def __init__(
        self,
        energy: Callable[[Tensor], Tensor],
        reference: Distribution | None = None,
        *,
        breakpoints: Tensor | Panels | int = _DEFAULT_CELLS,
        batch_shape: Size | None = None,
        validate_args: bool | None = None,
    ) -> None:
        reference = Uniform(0.0, 1.0, validate_args=False) if reference is None else reference
        panels = build_panels(breakpoints, reference)
        self.energy = energy
        point = panels.breakpoints.flatten()[0]
        shape = energy(point).shape if batch_shape is None else Size(batch_shape)
        super().__init__(panels, reference, shape, dtype=point.dtype, validate_args=validate_args)
        self._check_energy()

    def _log_potential(self, z: Tensor) -> Tensor:
        low, high = self.breakpoints.flatten()[[0, -1]]
        return self._with_reference(self.energy(z.clamp(low, high)), z)

    def _check_energy(self) -> None:
        """Refuse an energy of another shape or without a finite value, before it is used."""
        if not self._validate_args:
            return
        with torch.no_grad():
            points = self.breakpoints.expand(*self._parameter_shape, -1).movedim(-1, 0)
            energies = self.energy(points)
        if energies.shape != points.shape:
            raise ValueError(
                f"Expected an energy that keeps the shape {tuple(points.shape)} of its argument, "
                f"got {tuple(energies.shape)}. Each batch entry is one function of one variable; "
                f"pass batch_shape= if it is not {tuple(self._parameter_shape)}."
            )
        check_finite(energies)


def build_panels(breakpoints: Tensor | Panels | int, reference: Distribution) -> Panels:
    """Quadrature panels from breakpoints, a number of equal cells, or ready panels.

    Raises:
        ValueError: If the breakpoints are fewer than two, do not increase or leave the support.
    """
    if isinstance(breakpoints, Panels):
        return breakpoints
    if isinstance(breakpoints, int):
        breakpoints = _equal_cells(breakpoints, reference)
    _check_breakpoints(breakpoints, support_bounds(reference))
    return Panels(breakpoints, reference)


def _equal_cells(count: int, reference: Distribution) -> Tensor:
    low, high = support_bounds(reference)
    if low == -torch.inf:
        low = far_quantile(reference, _OUTER_MASS)
    if high == torch.inf:
        high = far_quantile(reference, 1 - _OUTER_MASS)
    return torch.linspace(low, high, max(count, 0) + 1)


def _check_breakpoints(breakpoints: Tensor, bounds: tuple[float, float]) -> None:
    many = breakpoints.ndim > 0 and breakpoints.shape[-1] > 1 and breakpoints.numel() > 0
    increasing = many and bool((breakpoints.diff() > 0).all())
    if not (increasing and breakpoints.isfinite().all() and breakpoints.is_floating_point()):
        raise ValueError(
            "Expected at least two finite, increasing breakpoints of shape (G + 1,) or "
            f"(*b, G + 1), got {breakpoints}. A domain is given from its low to its high end."
        )
    ends = breakpoints[..., [0, -1]].reshape(-1, 2)
    if not (ends == ends[0]).all():
        raise ValueError(
            "Expected rows of breakpoints that share their ends, for the densities of one batch "
            f"have one support, got ends {ends.tolist()}. Move interior breakpoints only."
        )
    _check_ends(ends[0].tolist(), bounds)


def _check_ends(ends: list[float], bounds: tuple[float, float]) -> None:
    first, last = ends
    low, high = bounds
    if first < low or last > high:
        raise ValueError(
            f"Expected breakpoints inside the support [{low:g}, {high:g}] of the reference "
            f"measure, got [{first:g}, {last:g}]: the reference puts no mass on part of them. "
            "Move the breakpoints or widen the reference."
        )
    # A bounded reference must be covered, or its constant continuation would surprise.
    if (low > -torch.inf and first > low) or (high < torch.inf and last < high):
        raise ValueError(
            f"Expected breakpoints that reach the finite ends of the support [{low:g}, {high:g}], "
            f"got [{first:g}, {last:g}]. Use the support's own ends as first and last breakpoint."
        )

"""The learned prior: one-dimensional energy densities whose functions are KAN functions."""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import Distribution, Uniform
from torch.optim import Optimizer

from lvkam_pyro.distributions.energy import EnergyDistribution, build_panels
from lvkam_pyro.distributions.logspline import LogSpline
from lvkam_pyro.distributions.panels import Panels
from lvkam_pyro.distributions.reference import support_bounds
from lvkam_pyro.distributions.univariate import Sampler, UnivariateDensity
from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.extrapolation import ConstantExtrapolation
from lvkam_pyro.kan.grids.grid import update_grid
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.symbolic.forms import FORMS, SymbolicForm
from lvkam_pyro.modules.formulas import SymbolicEnergy, find_formulas
from lvkam_pyro.modules.knots import KnotUpdate, check_update, compare_densities, latent_rows
from lvkam_pyro.modules.reference import FixedReference, ReferenceMeasure
from lvkam_pyro.modules.summary import PriorSummary, summarize
from lvkam_pyro.options import check_count

Density = TypeVar("Density", bound=UnivariateDensity)


class EnergyPrior(PyroModule):
    r"""The functions :math:`f_{qp}` of a prior and the densities made of them.

    The abstract base of :class:`MixturePrior` and :class:`ProductPrior`. A subclass defines
    ``forward() -> distribution`` and ``combine``, from the latents to what the generator sees.

    Arguments:
        num_latents: Number of latents `Q`.
        num_components: Number of functions per latent `P`.
        basis: Basis of the functions, whose domain is the support of the latents. Default: a
            cubic B-spline basis with 8 cells on [0, 1].
        reference: One univariate torch distribution :math:`\pi_0`, or a :class:`ReferenceMeasure`
            that is learned. Default: uniform on the domain of the basis, which is the flat measure
            there. Where it reaches beyond the domain, its tails are the prior's.
        base_activation: Function added to each spline, none by default. Without one, B-splines
            take the fast log-spline form.
        sampler: How draws are made, such as a :class:`RejectionSampler`, which serves functions
            that are splines. Default: by inversion.

    Raises:
        ValueError: If a count is below 1 or the reference does not fit the domain.
    """

    def __init__(
        self,
        num_latents: int,
        *,
        num_components: int = 1,
        basis: Basis | None = None,
        reference: Distribution | ReferenceMeasure | None = None,
        base_activation: Callable[[Tensor], Tensor] | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        super().__init__()
        self.sampler = sampler
        self.num_latents = check_count("num_latents", num_latents)
        self.num_components = check_count("num_components", num_components)
        basis = BSplineBasis(grid_size=8) if basis is None else basis
        self.functions = KANLayer(
            num_latents, num_components, basis=basis, base_activation=base_activation
        )
        self.measure = _measure_of(reference, self.domain)
        self._panels = build_panels(_cells_of(self.functions), self.reference)
        _check_continuation(basis, self.reference)
        if reference is None:
            # A loaded state may have another domain, on which the flat measure then is.
            self.register_load_state_dict_post_hook(_follow_domain)

    @property
    def domain(self) -> tuple[float, float]:
        """Interval on which the functions vary."""
        return self.functions.domain

    @property
    def reference(self) -> Distribution:
        r"""The reference measure :math:`\pi_0` with its present parameters."""
        return self.measure()

    @property
    @abstractmethod
    def combined_count(self) -> int:
        """Number of latents that sum to one input of the generator."""

    @property
    def combined_domain(self) -> tuple[float, float]:
        """Interval that the functions' part of the generator's inputs keeps to."""
        low, high = self.domain
        return self.combined_count * low, self.combined_count * high

    @abstractmethod
    def combine(self, z: Tensor) -> Tensor:
        """The generator's inputs, of shape `(..., Q)`, made of the latents."""

    def components(self) -> UnivariateDensity:
        """The densities of all functions, of batch shape `(Q, P)`."""
        functions, reference = self.functions, self.reference
        panels = self._current_panels(reference)
        if functions.is_piecewise_polynomial:
            return LogSpline(functions.to_polynomials(), panels, reference)
        return EnergyDistribution(
            lambda z: _evaluate(functions, z),
            reference,
            breakpoints=panels,
            batch_shape=self._batch_shape,
        )

    @abstractmethod
    def densities(self) -> UnivariateDensity:
        """The densities that one plots, of batch shape `(Q,)` or `(Q, P)`."""

    def summary(self) -> PriorSummary:
        r"""Mean, spread, modes, entropy and divergence from :math:`\pi_0` of each latent.

        Returns:
            A table to print, or to make a data frame of. Computed in float64.
        """
        return summarize(self._frozen_densities())

    def to_symbolic(
        self, *, forms: Iterable[SymbolicForm] = tuple(FORMS.values()), penalty: float = 0.1
    ) -> tuple[SymbolicEnergy, ...]:
        r"""Each energy :math:`f_{qp}` as a formula, and with it the log density.

        Each is fitted over the part of the domain between the component's own quantiles of 0.1 %
        and 99.9 %: elsewhere hardly a draw goes, and the function means nothing.

        Args:
            forms: The forms to try, by default those of the library.
            penalty: What one more unit of a formula's complexity must be worth, see
                :func:`fit_symbolic`.

        Returns:
            `Q P` formulas with their :math:`R^2`, the components of each latent one after the
            other.
        """
        components = copy.deepcopy(self).double().components()
        return find_formulas(components, forms, penalty)

    def update_knots(
        self,
        samples: Tensor,
        *,
        ratio: float = 0.05,
        optimizer: Optimizer | None = None,
        tolerance: float = 1e-3,
    ) -> KnotUpdate:
        r"""Moves the interior knots of each latent to where its posterior is.

        The breakpoints of latent `q` become, between the ends of the domain, which stay,

        .. math:: b_{qg} = \rho \, \Big( a + \tfrac{g}{G} (b - a) \Big)
                  + (1 - \rho) \, \hat F_q^{-1}\big( \tfrac{g}{G} \big), \qquad 0 < g < G,

        with the quantiles of the samples. The functions are projected on the new splines by least
        squares over the domain, exactly. Equal cells pass between narrow peaks; these do not.

        Args:
            samples: Draws of the latents from the posterior of many data, of shape `(..., Q)`, or
                `(..., Q, P)` for a :class:`ProductPrior`, whose `P` inner latents share knots.
            ratio: The share :math:`\rho` of equal cells, from 0.001 to 1.
            optimizer: The optimiser in use: what it remembers of the old coefficients is emptied.
            tolerance: A larger Kullback-Leibler divergence of a new density from the old one, in
                nats, is warned about.

        Returns:
            The changes of the functions and of the densities.

        Raises:
            ValueError: If the functions are not B-splines, the samples not of the prior's latents,
                or the ratio is out of range. Nothing has changed then.

        Warns:
            UserWarning: If a density changed by more than the tolerance.
        """
        before = self._frozen_densities()
        rows = latent_rows(samples, before.batch_shape)
        # The change of the densities is warned about, not that of the functions.
        grid = update_grid(
            self.functions, rows, ratio=ratio, optimizer=optimizer, tolerance=math.inf
        )
        return check_update(compare_densities(before, self._frozen_densities(), grid), tolerance)

    @torch.no_grad()
    def _frozen_densities(self) -> UnivariateDensity:
        """The densities in float64, of copied parameters."""
        return copy.deepcopy(self).double().densities()

    def _drawn(self, density: Density) -> Density:
        return density if self.sampler is None else density.drawn_by(self.sampler)

    @property
    def _batch_shape(self) -> torch.Size:
        return torch.Size([self.num_latents, self.num_components])

    def _current_panels(self, reference: Distribution) -> Panels:
        """The panels, built anew once cells or reference moved, also to another device or dtype."""
        kept, now = self._panels.breakpoints, _cells_of(self.functions)
        same_kind = kept.device == now.device and kept.dtype == now.dtype
        is_learned = next(self.measure.parameters(), None) is not None
        if is_learned or not (same_kind and torch.equal(kept, now)):
            self._panels = Panels(now, reference)
        return self._panels


def _evaluate(functions: KANLayer, z: Tensor) -> Tensor:
    """Each function at its own point: `z` of shape `(..., Q, P)`, so is the result."""
    columns = z.transpose(-1, -2)
    component = torch.arange(z.shape[-1], device=z.device)[:, None]
    return functions.selected(columns, component.expand(columns.shape)).transpose(-1, -2)


def _cells_of(functions: KANLayer) -> Tensor:
    """Breakpoints that broadcast to `(Q, P, G + 1)`, between which the functions are smooth."""
    # A row for each latent, shared by its components.
    breakpoints = functions.basis.breakpoints
    return breakpoints if breakpoints.dim() == 1 else breakpoints.unsqueeze(-2)


def _follow_domain(prior: EnergyPrior, _: object) -> None:
    prior.measure = _measure_of(None, prior.domain)


def _measure_of(
    reference: Distribution | ReferenceMeasure | None, domain: tuple[float, float]
) -> ReferenceMeasure:
    if isinstance(reference, ReferenceMeasure):
        return reference
    return FixedReference(Uniform(*domain, validate_args=False) if reference is None else reference)


def _check_continuation(basis: Basis, reference: Distribution) -> None:
    low, high = support_bounds(reference)
    reaches_beyond = low < basis.domain[0] or high > basis.domain[1]
    if reaches_beyond and not isinstance(basis.extrapolation, ConstantExtrapolation):
        raise ValueError(
            "Expected a basis that is constant outside its domain, where the tails of a prior are "
            f"those of its reference measure, got {basis.extrapolation}. Leave the extrapolation "
            "out, or take a reference measure that ends with the domain."
        )

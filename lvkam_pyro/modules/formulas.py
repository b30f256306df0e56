"""A prior's energies as formulas."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import sympy
import torch
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Normal, Uniform

from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.kan.symbolic.fit import SymbolicFit, fit_symbolic
from lvkam_pyro.kan.symbolic.forms import SymbolicForm, Z, round_constants

_NUM_POINTS = 200
_OUTER_MASS = 1e-3


@dataclass(frozen=True)
class SymbolicEnergy:
    r"""One component's energy :math:`f` as a formula, and with it the log density.

    Attributes:
        latent: Index of the latent, from 0, as in the plots.
        component: Index of the mixture's component, or of the inner latent, from 0.
        fits: Every form fitted to the energy, best first, up to a constant, which the
            normaliser takes.
        reference: :math:`\log \pi_0` in sympy up to a constant, of the symbol `z`;
            `log_pi_0(z)` where it is neither uniform nor normal nor lognormal.

    Example:
        >>> from lvkam_pyro.kan.bases.bspline import BSplineBasis
        >>> from lvkam_pyro.modules.priors import MixturePrior
        >>> prior = MixturePrior(1, basis=BSplineBasis(degree=1, grid_size=2))
        >>> ends = torch.tensor([0.0, 1.5, 3.0]).view(1, 3, 1)
        >>> prior.functions.coefficients.data.copy_(ends)[0, -1]
        tensor([3.])
        >>> (energy,) = prior.to_symbolic()
        >>> print(energy, round(energy.r_squared, 6))
        3*z 1.0
    """

    latent: int
    component: int
    fits: tuple[SymbolicFit, ...]
    reference: sympy.Expr

    @property
    def energy(self) -> sympy.Expr:
        """The best formula of the energy, without its constant."""
        return self.fits[0].expression

    @property
    def log_density(self) -> sympy.Expr:
        r"""The formula of :math:`\log p = f + \log \pi_0` up to a constant."""
        return self.energy + self.reference

    @property
    def r_squared(self) -> float:
        """The fraction of the energy's variance that the formula explains, 0 to 1."""
        return self.fits[0].r_squared

    def __str__(self) -> str:
        return sympy.sstr(round_constants(self.log_density, 4), full_prec=False)


@torch.no_grad()
def find_formulas(
    components: UnivariateDensity, forms: Iterable[SymbolicForm], penalty: float
) -> tuple[SymbolicEnergy, ...]:
    """The formulas of densities of batch shape `(Q, P)`, see `EnergyPrior.to_symbolic`.

    Args:
        components: A prior's components, in float64.
        forms: The forms to try.
        penalty: What a unit of complexity must be worth.

    Returns:
        `Q P` formulas, the components of each latent one after the other.
    """
    reference, forms = _log_reference(components.reference), tuple(forms)
    return tuple(
        SymbolicEnergy(latent, component, _fit(z, energy, forms, penalty), reference)
        for latent, component, z, energy in _energies(components)
    )


def _energies(components: UnivariateDensity) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Latent, component, points and energies: over the domain, less where hardly a draw goes."""
    breakpoints = components.breakpoints
    levels = torch.tensor([_OUTER_MASS, 1 - _OUTER_MASS]).to(breakpoints).view(2, 1, 1)
    ends = components.icdf(levels.expand(-1, *components.batch_shape))
    low, high = ends.clamp(breakpoints.min(), breakpoints.max())
    steps = torch.linspace(0, 1, _NUM_POINTS).to(breakpoints).view(-1, 1, 1)
    z = low + (high - low) * steps
    energies = components.log_prob(z) - components.reference.log_prob(z)
    for latent, component in torch.cartesian_prod(*map(torch.arange, z.shape[1:])).tolist():
        column = latent, component
        yield latent, component, z[:, *column], energies[:, *column]


def _fit(
    z: Tensor, energy: Tensor, forms: tuple[SymbolicForm, ...], penalty: float
) -> tuple[SymbolicFit, ...]:
    fits = fit_symbolic(energy, z, forms=forms, penalty=penalty)
    return tuple(replace(fit, d=0.0) for fit in fits)


def _log_reference(reference: Distribution) -> sympy.Expr:
    if isinstance(reference, Uniform):
        return sympy.Integer(0)
    if isinstance(reference, LogNormal):
        return _log_normal(reference.base_dist, sympy.log(Z)) - sympy.log(Z)
    if isinstance(reference, Normal):
        return _log_normal(reference, Z)
    return sympy.Function("log_pi_0")(Z)


def _log_normal(normal: Normal, score: sympy.Expr) -> sympy.Expr:
    return -((score - float(normal.loc)) ** 2) / (2 * float(normal.scale) ** 2)

"""Energies that are formulas are found, and the log density is the prior's up to a constant."""

import numpy as np
import pytest
import sympy
import torch
from torch.distributions import Distribution, Laplace, LogNormal, Normal

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.symbolic.forms import FORMS
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from lvkam_pyro.modules.reference import NormalReference, ReferenceMeasure

Z = sympy.Symbol("z")


def parabolas(
    prior: type[EnergyPrior] = MixturePrior,
    reference: Distribution | ReferenceMeasure | None = None,
    domain: tuple[float, float] = (0.0, 2.0),
) -> EnergyPrior:
    """Energies -k (z - 1)^2 for k = 1..4, which cubic splines hold exactly."""
    basis = BSplineBasis(grid_size=4, domain=domain)
    built = prior(2, num_components=2, basis=basis, reference=reference).double()
    z = torch.linspace(*domain, 60, dtype=torch.float64)
    coefficients = torch.linalg.lstsq(built.functions.basis(z), -((z - 1) ** 2)[:, None]).solution
    factors = torch.arange(1.0, 5).double().view(2, 1, 2)
    with torch.no_grad():
        built.functions.coefficients.copy_(coefficients * factors)
    return built


@pytest.mark.parametrize("kind", [MixturePrior, ProductPrior])
def test_parabolas_are_found(kind: type[EnergyPrior]) -> None:
    for found, factor in zip(parabolas(kind).to_symbolic(), range(1, 5), strict=True):
        assert (found.latent, found.component) == divmod(factor - 1, 2)
        assert found.fits[0].form is FORMS["x^2"]
        assert found.r_squared == pytest.approx(1, abs=1e-9)
        coefficients = sympy.Poly(found.energy, Z).all_coeffs()
        assert np.allclose([float(c) for c in coefficients[:2]], [-factor, 2 * factor])


REFERENCES = {
    "uniform": (None, (0.0, 2.0)),
    "normal": (Normal(0.4, 0.8), (0.0, 2.0)),
    "lognormal": (LogNormal(0.2, 0.7), (0.0, 2.0)),
    "learned normal": (NormalReference(0.4, 0.8), (0.0, 2.0)),
}


@pytest.mark.parametrize(("reference", "domain"), REFERENCES.values(), ids=REFERENCES)
def test_log_density_is_that_of_the_prior(
    reference: Distribution | ReferenceMeasure | None, domain: tuple[float, float]
) -> None:
    prior = parabolas(reference=reference, domain=domain)
    z = torch.linspace(0.3, 1.7, 9, dtype=torch.float64)
    exact = prior.components().log_prob(z.view(-1, 1, 1)).flatten(1).T
    for found, log_prob in zip(prior.to_symbolic(), exact.detach().numpy(), strict=True):
        formula = sympy.lambdify(Z, found.log_density, "numpy")(z.numpy())
        np.testing.assert_allclose(formula - formula[0], log_prob - log_prob[0], atol=1e-6)


def test_other_reference_is_named_in_the_formula() -> None:
    found = parabolas(reference=Laplace(0.0, 1.0)).to_symbolic(forms=[FORMS["x^2"]])[0]
    assert str(found).endswith("+ log_pi_0(z)")


def test_flat_energy_is_zero() -> None:
    prior = MixturePrior(1)
    torch.nn.init.constant_(prior.functions.coefficients, 3.0)
    (found,) = prior.to_symbolic()
    assert found.energy == 0
    assert str(found) == "0"


def test_bad_input_is_that_of_the_fit() -> None:
    with pytest.raises(ValueError, match="at least one form"):
        parabolas().to_symbolic(forms=[])

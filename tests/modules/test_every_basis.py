"""Every basis serves the generator, the prior and the model made of both."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO
from scipy.integrate import quad
from torch.distributions import Normal

from lvkam_pyro.guides.amortized import AmortizedGuide
from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.extrapolation import AnalyticExtrapolation, LinearExtrapolation
from lvkam_pyro.kan.bases.fourier import FourierBasis
from lvkam_pyro.kan.bases.radial import RBFBasis, RSWAFBasis
from lvkam_pyro.kan.bases.wavelet import MorletBasis
from lvkam_pyro.likelihoods.normal import NormalLikelihood
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generators import KANGenerator
from lvkam_pyro.modules.priors import MixturePrior
from tests.kan.bases.bases import BASES, extrapolated

all_bases = pytest.mark.parametrize(
    "basis", [pytest.param(b, id=name) for name, b in BASES.items()]
)


def rough_prior(basis: Basis, **arguments: object) -> MixturePrior:
    """A prior in float64 whose functions are far from zero."""
    prior = MixturePrior(2, num_components=2, basis=basis, **arguments).double()
    with torch.no_grad():
        prior.functions.coefficients.normal_(0.0, 1.5)
    return prior


def assert_normalised(prior: MixturePrior, *, tolerance: float) -> None:
    """The log normaliser that the density implies is that of SciPy's adaptive quadrature."""
    low, high = prior.domain
    functions = prior.functions

    def energy(z: float, index: tuple[int, ...]) -> float:
        with torch.no_grad():
            return float(functions.unsummed(torch.full((2,), z, dtype=torch.float64))[index])

    place = low + 0.4 * (high - low)
    points = torch.full((2, 2), place, dtype=torch.float64)
    log_prob = prior.components().log_prob(points).detach()
    cells = [*pairwise(functions.basis.breakpoints.double().tolist())]
    for index in np.ndindex(2, 2):
        masses = [
            quad(lambda z, index=index: np.exp(energy(z, index)), *cell, epsabs=0)[0]
            for cell in cells
        ]
        implied = energy(place, index) - float(log_prob[index])
        assert implied == pytest.approx(np.log(sum(masses)), abs=tolerance)


@all_bases
def test_prior_is_normalised(basis: Basis) -> None:
    assert_normalised(rough_prior(basis), tolerance=1e-7)


@pytest.mark.parametrize("change", [0.25, 4.0])
@pytest.mark.parametrize("make", [RBFBasis, RSWAFBasis, MorletBasis, FourierBasis])
def test_prior_stays_normalised_while_its_bandwidth_moves(
    make: type[RBFBasis], change: float
) -> None:
    prior = rough_prior(make(8, trainable_bandwidth=True))
    with torch.no_grad():
        (parameter,) = prior.functions.basis.parameters()
        parameter += np.log(change)
    assert_normalised(prior, tolerance=1e-5)


@all_bases
def test_prior_inverts_its_distribution_function(basis: Basis) -> None:
    densities = rough_prior(basis).densities()
    u = torch.linspace(0.001, 0.999, 101, dtype=torch.float64).unsqueeze(-1).expand(-1, 2)
    torch.testing.assert_close(densities.cdf(densities.icdf(u)), u, rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [BSplineBasis, RBFBasis, FourierBasis])
def test_prior_has_the_reference_for_its_tails_whatever_the_extrapolation(make: type) -> None:
    """A density keeps its functions constant outside: another tail might have no integral."""
    priors = [rough_prior(make(domain=(-1.0, 1.0)), reference=Normal(0.0, 1.0))]
    others = [LinearExtrapolation()]
    if make is not BSplineBasis:
        others.append(AnalyticExtrapolation())
    for extrapolation in others:
        twin = copy.deepcopy(priors[0])
        twin.functions.basis = extrapolated(twin.functions.basis, extrapolation)
        priors.append(twin)
    z = torch.linspace(-6, 6, 41, dtype=torch.float64).unsqueeze(-1).expand(-1, 2)
    first, *others = (prior().log_prob(z) for prior in priors)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)
    tail = first[-1] - first[-2]
    exact = 2 * (Normal(0.0, 1.0).log_prob(z[-1, 0]) - Normal(0.0, 1.0).log_prob(z[-2, 0]))
    torch.testing.assert_close(tail, exact)


@all_bases
def test_generator_learns(basis: Basis) -> None:
    low, high = basis.domain
    generator = KANGenerator(2, 3, hidden=(4,), basis=basis)
    z = low + (high - low) * torch.rand(128, 2)
    x = torch.stack([z.sum(-1), z.prod(-1), z[:, 0].cos()], -1)
    optimiser = torch.optim.Adam(generator.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = (generator(z) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in generator.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@all_bases
def test_model_learns_with_every_part(basis: Basis) -> None:
    low, high = basis.domain
    model = LVKAM(
        MixturePrior(2, num_components=2, basis=basis),
        KANGenerator(2, 3, basis=basis),
        NormalLikelihood(3),
    )
    z = low + (high - low) * torch.rand(64, 2)
    x = torch.cat([z, z.sum(-1, keepdim=True)], -1)
    objective = Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    elbo = objective(model, AmortizedGuide(model, x, hidden=(8,)))
    optimiser = torch.optim.Adam(elbo.parameters(), 0.02)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    losses = []
    for _ in range(15):
        loss = elbo(x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    # With a single constant function the prior's energies are constants, which cancel.
    if basis.num_functions > 1:
        assert all((value != start[name]).any() for name, value in model.named_parameters())

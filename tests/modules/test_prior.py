"""The priors: the laws of the two forms, learned by autograd, and what they refuse."""

import pytest
import torch
from scipy.stats import kstest
from torch.distributions import Normal

from lvkam_pyro.distributions.logspline import LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.extrapolation import LinearExtrapolation
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from tests.assertions import assert_p_value


def roughen(prior: MixturePrior | ProductPrior, sd: float = 2.0) -> None:
    """Give the prior functions far from zero."""
    with torch.no_grad():
        prior.functions.coefficients.normal_(0.0, sd)


def test_mixture_prior_is_the_mixture_of_its_normalised_components() -> None:
    prior = MixturePrior(3, num_components=4)
    roughen(prior)
    torch.nn.init.normal_(prior.logits)
    z = prior().sample((50,))
    components = prior.components().log_prob(z.unsqueeze(-1))
    exact = (prior.logits.log_softmax(-1) + components).logsumexp(-1).sum(-1)
    torch.testing.assert_close(prior().log_prob(z), exact)


def test_fast_form_and_callable_form_agree() -> None:
    """A base activation that is zero forces the callable form of the same functions."""
    prior = MixturePrior(3, num_components=2).double()
    roughen(prior)
    plain = MixturePrior(3, num_components=2, base_activation=torch.zeros_like).double()
    with torch.no_grad():
        plain.functions.coefficients[:, :-1] = prior.functions.coefficients
    assert isinstance(prior.densities(), LogSplineMixture)
    assert not isinstance(plain.densities(), LogSplineMixture)
    assert isinstance(plain.densities(), EnergyMixture)
    z = prior().sample((20,))
    torch.testing.assert_close(plain().log_prob(z), prior().log_prob(z))
    torch.testing.assert_close(plain.densities().cdf(z), prior.densities().cdf(z))


def test_product_prior_sums_independent_latents() -> None:
    prior = ProductPrior(2, num_components=3)
    roughen(prior)
    z = prior().sample((20_000,))
    assert z.shape == (20_000, 2, 3)
    u = prior.densities().cdf(z).flatten(1)
    for column in u.T.detach():
        assert_p_value(kstest(column.numpy(), "uniform").pvalue)
    assert prior.combine(z).shape == (20_000, 2)
    assert prior.combined_domain == (0.0, 3.0)


def test_reference_on_the_real_line() -> None:
    basis = BSplineBasis(grid_size=8, domain=(-3.0, 3.0))
    prior = MixturePrior(2, basis=basis, reference=Normal(0.0, 1.0))
    with torch.no_grad():
        prior.functions.coefficients.zero_()
    z = torch.tensor([[-5.0, 4.5], [0.0, 1.0]])
    torch.testing.assert_close(prior().log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(-1))


def test_gradient_is_posterior_minus_prior_expectation() -> None:
    """D log p(z) / dc = phi(z) - E_prior[phi], by autograd through the normaliser."""
    prior = MixturePrior(1).double()
    roughen(prior)
    z = torch.tensor([[0.3]], dtype=torch.float64)
    prior().log_prob(z).sum().backward()
    basis = prior.functions.basis
    grid = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    density = prior.densities().log_prob(grid.unsqueeze(-1)).exp().detach()
    expectation = torch.trapezoid(density * basis(grid), grid, dim=0)
    exact = basis(z).flatten() - expectation
    got = prior.functions.coefficients.grad.flatten()
    torch.testing.assert_close(got, exact, rtol=1e-6, atol=1e-8)


def test_weights_are_learned_only_on_request() -> None:
    names = [
        dict(MixturePrior(2, num_components=3, learn_weights=w).named_parameters())
        for w in (True, False)
    ]
    assert "logits" in names[0]
    assert "logits" not in names[1]


def test_panels_follow_the_dtype() -> None:
    prior = MixturePrior(2)
    single = prior().sample()
    prior.double()
    assert single.dtype == torch.float32
    assert prior().sample().dtype == torch.float64


@pytest.mark.parametrize(
    ("latents", "components", "name"),
    [(0, 1, "num_latents"), (2, 0, "num_components")],
)
def test_counts_below_one_are_refused(latents: int, components: int, name: str) -> None:
    for kind in (MixturePrior, ProductPrior):
        with pytest.raises(ValueError, match=f"{name} >= 1, but got 0"):
            kind(latents, num_components=components)


def test_a_basis_with_other_tails_is_refused() -> None:
    """A prior's tails are its reference measure's: a basis that goes on would be cut unseen."""
    basis = BSplineBasis(extrapolation=LinearExtrapolation())
    with pytest.raises(ValueError, match=r"constant outside.*got LinearExtrapolation"):
        MixturePrior(1, basis=basis, reference=Normal(0.0, 1.0))
    assert MixturePrior(1, basis=basis)().event_shape == (1,)

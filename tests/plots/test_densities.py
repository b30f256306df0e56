"""The densities drawn are those of the prior, on scales that can be read."""

import numpy as np
import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.modules.priors import MixturePrior


def test_densities_are_those_of_the_prior() -> None:
    prior = MixturePrior(num_latents=2)
    (reference, curve) = lv.plots.prior_densities(prior)[1].get_lines()
    z, density = (torch.as_tensor(values).float() for values in curve.get_data())
    expected = prior.densities().log_prob(z[:, None]).exp()[:, 1]
    torch.testing.assert_close(density, expected.detach())
    assert np.allclose(reference.get_ydata(), 1)


@pytest.mark.parametrize(("slope", "is_shared"), [(1.0, True), (20.0, False)])
def test_densities_of_very_different_heights_have_scales_of_their_own(
    slope: float, is_shared: bool
) -> None:
    prior = MixturePrior(num_latents=2)
    with torch.no_grad():
        prior.functions.coefficients.zero_()
        prior.functions.coefficients[1, :, 0] = torch.linspace(0, slope, 11)
    both = lv.plots.prior_densities(prior)
    low, high = (axes.get_ylim()[1] for axes in both)
    assert bool(low == high) == is_shared
    assert high > max(float(np.max(line.get_ydata())) for line in both[1].get_lines())
    assert {axes.get_ylim()[0] for axes in both} == {0.0}

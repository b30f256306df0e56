"""The components of a mixture as densities, and their index, which Pyro sums over."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor

from lvkam_pyro.distributions.logspline import LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from tests.distributions.densities import make, parameters, spline

ENUMERATE = {"enumerate": "parallel"}
OBSERVED = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
NOISE = 0.1


def curved(z: Tensor) -> Tensor:
    return torch.sin(3 * z)


@pytest.mark.parametrize("kind", [EnergyMixture, LogSplineMixture])
def test_enumerated_components_under_a_guide_for_the_latent(kind: type[EnergyMixture]) -> None:
    """Each draw of the bound is that of the marginal mixture: the sum over components is exact."""
    mixture = kind(spline(parameters("spline mixture")[0]))

    def marginal() -> None:
        with pyro.plate("data", len(OBSERVED)):
            z = pyro.sample("z", mixture)
            pyro.sample("x", dist.Normal(curved(z), NOISE), obs=OBSERVED)

    def joint() -> None:
        with pyro.plate("data", len(OBSERVED)):
            c = pyro.sample("c", mixture.mixture_distribution, infer=ENUMERATE)
            z = pyro.sample("z", mixture.component(c))
            pyro.sample("x", dist.Normal(curved(z), NOISE), obs=OBSERVED)

    def beta_guide() -> None:
        with pyro.plate("data", len(OBSERVED)):
            pyro.sample("z", dist.Beta(OBSERVED + 1, 2 - OBSERVED))

    bounds = []
    for program, elbo in ((marginal, Trace_ELBO), (joint, TraceEnum_ELBO)):
        pyro.set_rng_seed(1)
        bounds.append(elbo(max_plate_nesting=1).loss(program, beta_guide))
    assert bounds[0] == pytest.approx(bounds[1], abs=1e-10)


def test_a_component_of_every_shape() -> None:
    theta = parameters("spline mixture")
    for mixture in (
        LogSplineMixture(spline(theta)),
        EnergyMixture(spline(theta)).expand((5, 3)),
    ):
        index = torch.randint(4, (2, 1, 3))
        chosen = mixture.component(index)
        assert chosen.batch_shape == torch.broadcast_shapes(index.shape, mixture.batch_shape)
        z = chosen.sample((6,))
        every = mixture.components.log_prob(z[..., None])
        expected = every.gather(-1, index.expand(z.shape)[..., None])[..., 0]
        torch.testing.assert_close(chosen.log_prob(z), expected)


@pytest.mark.parametrize("index", [4, -1, 0.5])
def test_an_index_of_no_component_is_refused(index: float) -> None:
    with pytest.raises(ValueError, match="integer indices of components from 0 to 3"):
        make("mixture").component(torch.tensor(index))

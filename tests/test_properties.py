"""Shapes and texts of any size: what holds of all of them, on examples that hypothesis finds."""

import math

import pyro
import pyro.distributions as dist
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lvkam_pyro.commands.parsers import assign
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.likelihoods.normal import FactoredNormal
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from lvkam_pyro.programs import load_program
from lvkam_pyro.tracing.bind import draw_particles
from lvkam_pyro.tracing.prior_guide import PriorGuide

sizes = st.integers(1, 4)
few = settings(max_examples=20)
PROGRAMS = {
    "model": load_program("model", "two_moons"),
    "elbo": load_program("inference", "elbo"),
}


class Latents:
    """A model of any number of latents and outputs, whose sites have events or none."""

    def __init__(self, num_latents: int, num_outputs: int) -> None:
        self.num_latents, self.num_outputs = num_latents, num_outputs

    def __call__(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.num_latents), 1.0).to_event(1))
            shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
            loc = (z.sum(-1) + shift)[..., None].expand(*z.shape[:-1], self.num_outputs)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


@few
@given(particles=sizes, data=sizes, latents=sizes, outputs=sizes)
def test_particles_have_a_weight_a_datum(
    particles: int, data: int, latents: int, outputs: int
) -> None:
    model = Latents(latents, outputs)
    drawn = draw_particles(
        model, PriorGuide(model), torch.zeros(data, outputs), num_particles=particles
    )
    assert drawn.latents["z"].shape == (particles, 1, latents)
    assert drawn.latents["shift"].shape == (particles, 1)
    assert drawn.log_weights.shape == (particles, data)
    assert drawn.log_evidence.shape == (data,)
    assert (drawn.num_particles, drawn.num_units) == (particles, data)
    # Shared particles of the prior: their weights are the likelihoods.
    torch.testing.assert_close(drawn.log_weights, drawn.log_likelihood)


@few
@given(
    sample=st.lists(sizes, max_size=2),
    latents=sizes,
    components=sizes,
    cells=sizes,
)
def test_priors_draw_and_weigh_any_shape(
    sample: list[int], latents: int, components: int, cells: int
) -> None:
    basis = BSplineBasis(grid_size=cells)
    mixture = MixturePrior(latents, num_components=components, basis=basis)
    product = ProductPrior(latents, num_components=components, basis=basis)
    for prior, event in ((mixture(), (latents,)), (product(), (latents, components))):
        z = prior.sample(sample)
        assert z.shape == (*sample, *event)
        assert prior.log_prob(z).shape == tuple(sample)
        assert prior.log_prob(z).isfinite().all()
        assert ((z >= 0) & (z <= 1)).all()


@few
@given(
    particles=sizes,
    data=st.integers(1, 4),
    outputs=sizes,
    is_shared=st.booleans(),
    has_one_scale=st.booleans(),
)
def test_factored_normal_is_a_product_of_normals(
    *, particles: int, data: int, outputs: int, is_shared: bool, has_one_scale: bool
) -> None:
    loc = torch.randn(particles, 1 if is_shared else data, outputs, dtype=torch.float64)
    scale = torch.rand(() if has_one_scale else (outputs,), dtype=torch.float64) + 0.1
    x = torch.randn(data, outputs, dtype=torch.float64)
    law = FactoredNormal(loc, scale)
    expected = torch.distributions.Normal(loc, scale).log_prob(x).sum(-1)
    assert law.log_prob(x).shape == (particles, data)
    torch.testing.assert_close(law.log_prob(x), expected)
    assert law.sample((2,)).shape == (2, *loc.shape)


@few
@given(value=st.text(max_size=9), prefix=st.sampled_from(["", "model.", "inference.", "elbo."]))
def test_assigned_value_arrives_as_it_was_written(value: str, prefix: str) -> None:
    """Equals signs, dots, blanks and quotes in a value are the value's."""
    option, owner = ("scale", "model") if prefix in {"", "model."} else ("hidden", "elbo")
    given_options = assign([f"{prefix}{option}={value}"], PROGRAMS)
    assert given_options == {label: {option: value} if label == owner else {} for label in PROGRAMS}


@few
@given(count=st.integers(), rate=st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_the_command_line(count: int, rate: float) -> None:
    options = {"num_latents": str(count), "scale": repr(rate)}
    parsed = PROGRAMS["model"].parse(options)
    assert parsed["num_latents"] == count
    assert math.isclose(parsed["scale"], rate, rel_tol=1e-15)
    assert PROGRAMS["model"].parse(parsed) == parsed

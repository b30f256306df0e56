"""Observations are drawn anew and computed values computed, in every room that draws."""

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from scipy.stats import kstest
from torch import Tensor

from lvkam_pyro.commands.pictures import draw_data
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.recorder import SiteRecorder, Unconditioned
from lvkam_pyro.training.objective import Dreams
from tests.assertions import assert_p_value
from tests.tracing import models

NUM_DATA = 2000


def computed(x: Tensor) -> None:
    """A latent, a deterministic site, a factor of what it says, and the data: x ~ N(0, 5)."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = pyro.deterministic("loc", 2.0 * z)
        pyro.factor("damping", -0.01 * loc.square())
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


class Guide(PyroModule):
    """A guide that keeps the data it was given."""

    def forward(self, x: Tensor) -> None:
        self.x = x
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 1.0))


def assert_law(x: Tensor) -> None:
    assert x.shape == (NUM_DATA,)
    assert_p_value(kstest(x.double().numpy() / 5**0.5, "norm").pvalue)


def test_observed_sites_are_drawn_and_computed_ones_stay() -> None:
    with Unconditioned(), SiteRecorder() as run:
        computed(torch.zeros(NUM_DATA))
    assert_law(run.latents["x"]["value"])
    assert list(run.observations) == ["damping"]
    torch.testing.assert_close(
        run.observations["damping"]["fn"].log_factor, -0.04 * run.latents["z"]["value"].square()
    )


def test_the_pictures_draw_data_through_deterministic_sites_and_factors() -> None:
    assert_law(draw_data(computed, torch.zeros(NUM_DATA)))


def test_dreams_pass_through_deterministic_sites() -> None:
    x, guide = torch.zeros(NUM_DATA), Guide()
    program = bind(models.with_deterministic, x)
    assert Dreams.of(program).log_guide(program, guide).shape == (NUM_DATA,)
    assert_law(guide.x)


def test_nothing_dreams_that_would_have_another_posterior() -> None:
    x = torch.zeros(4)
    for model in (computed, models.with_factor, models.with_user_scale):
        assert Dreams.of(bind(model, x)) is None
    assert Dreams.of(bind(models.with_plate_total, x))

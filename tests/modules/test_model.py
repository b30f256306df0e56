"""The ready-made model, its likelihood and the encoder."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.inspect import get_model_relations
from torch import Tensor
from torch.distributions import constraints

import lvkam_pyro as lv
from lvkam_pyro.modules.encoder import Encoder


def build(num_components: int = 2) -> lv.LVKAM:
    prior = lv.MixturePrior(3, num_components=num_components)
    return lv.LVKAM(prior, lv.KANGenerator(3, 5), lv.NormalLikelihood(5))


def test_log_joint_is_prior_plus_likelihood() -> None:
    model = build()
    x, z = torch.rand(7, 5), torch.rand(7, 3)
    trace = pyro.poutine.trace(pyro.poutine.condition(model, {"z": z})).get_trace(x)
    exact = model.prior().log_prob(z) + dist.Normal(
        model.generator(z), model.likelihood.scale
    ).to_event(1).log_prob(x)
    torch.testing.assert_close(trace.log_prob_sum(), exact.sum())


def test_shared_latents_decode_once() -> None:
    model = build()
    x, z = torch.rand(7, 5), torch.rand(11, 1, 3)
    trace = pyro.poutine.trace(pyro.poutine.condition(model, {"z": z})).get_trace(x)
    site = trace.nodes["x"]
    assert site["fn"].loc.shape == (11, 1, 5)
    assert site["fn"].log_prob(x).shape == (11, 7)


def test_product_model_sums_before_the_generator() -> None:
    prior = lv.ProductPrior(3, num_components=2)
    basis = lv.BSplineBasis(grid_size=8, domain=prior.combined_domain)
    model = lv.LVKAM(prior, lv.KANGenerator(3, 5, basis=basis), lv.NormalLikelihood(5))
    z = torch.rand(7, 3, 2)
    trace = pyro.poutine.trace(pyro.poutine.condition(model, {"z": z})).get_trace(torch.rand(7, 5))
    torch.testing.assert_close(trace.nodes["x"]["fn"].loc, model.generator(z.sum(-1)))


def test_new_data_come_from_the_unconditioned_model() -> None:
    model = build()
    drawn = pyro.poutine.uncondition(model)(torch.zeros(9, 5))
    assert drawn.shape == (9, 5)
    assert not (drawn == 0).any()


def test_parts_that_do_not_fit_are_refused() -> None:
    product = lv.ProductPrior(3, num_components=2)
    with pytest.raises(ValueError, match=r"covers the prior's \[0, 2\], got the domain \[0, 1\]"):
        lv.LVKAM(product, lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
    with pytest.raises(ValueError, match="5 outputs, got one of 4"):
        lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(4))
    with pytest.raises(ValueError, match="3 latents, got one of 4"):
        lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(4, 5), lv.NormalLikelihood(5))


def test_scale_is_set_and_floored() -> None:
    likelihood = lv.NormalLikelihood(3, scale=0.2, min_scale=0.01)
    torch.testing.assert_close(likelihood.scale, torch.full((3,), 0.2))
    likelihood.set_scale(torch.tensor([0.5, 0.011, 0.0]))
    torch.testing.assert_close(likelihood.scale[0], torch.tensor(0.5))
    assert (likelihood.scale >= 0.01).all()


@pytest.mark.parametrize(
    ("outputs", "scale", "message"),
    [
        (0, 0.1, "num_outputs >= 1, but got 0"),
        (3, -0.1, "0 < min_scale < scale"),
        (3, 1e-6, "min_scale"),
    ],
)
def test_likelihood_refuses(outputs: int, scale: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lv.NormalLikelihood(outputs, scale=scale)


@pytest.mark.parametrize(
    ("shape", "support"),
    [
        ((), constraints.interval(-1.0, 2.0)),
        ((3,), constraints.independent(constraints.real, 1)),
        ((3, 2), constraints.independent(constraints.unit_interval, 2)),
        ((2,), constraints.simplex),
    ],
)
def test_encoder_proposes_on_the_support(shape: tuple[int, ...], support) -> None:  # noqa: ANN001
    x = torch.rand(10, 4)
    proposal = Encoder(x, torch.Size(shape), support, hidden=(8,))(x)
    draws = proposal.sample((6,))
    assert proposal.batch_shape == (10,)
    assert support.check(draws).all()
    assert proposal.log_prob(draws).isfinite().all()


def test_proposal_on_an_interval_stays_where_its_density_is_exact() -> None:
    """However far the network goes, float32 draws have the density of float64."""
    support = constraints.independent(constraints.unit_interval, 1)
    encoder = Encoder(torch.rand(10, 4), torch.Size([3]), support, hidden=(8,))
    with torch.no_grad():
        encoder.network[-1].bias.fill_(1e3)
        proposal = encoder(torch.rand(10, 4))
        draws = proposal.sample((1000,))
        exact = encoder.double()(torch.rand(10, 4, dtype=torch.float64))
    loc, scale = exact.base_dist.base_dist.loc[0, 0], exact.base_dist.base_dist.scale[0, 0]
    y = draws.double().logit()
    expected = dist.Normal(loc, scale).log_prob(y) - (draws.double() * (1 - draws.double())).log()
    # One unit in the last place of a draw next to 1 moves its logit by at most 0.2 here.
    assert (proposal.log_prob(draws) - expected.sum(-1)).abs().max() < 1.0
    assert (y < 16).all()


def test_encoder_survives_a_column_that_never_varies() -> None:
    x = torch.cat([torch.rand(10, 3), torch.ones(10, 1)], 1)
    proposal = Encoder(x, torch.Size([2]), constraints.independent(constraints.real, 1))(x)
    assert proposal.sample().isfinite().all()


def test_encoder_refuses_widths_below_one() -> None:
    with pytest.raises(ValueError, match="hidden widths"):
        Encoder(torch.rand(5, 2), torch.Size([1]), constraints.real_vector, hidden=(8, 0))


def test_guide_takes_counts_and_vectors_and_refuses_other_columns() -> None:
    def counts(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Poisson(z.exp()), obs=x)

    x = torch.tensor([0, 3, 5])
    particles = lv.draw_particles(
        counts, lv.AmortizedGuide(counts, x, hidden=(4,)), x, num_particles=6
    )
    assert particles.log_weights.isfinite().all()
    guide = lv.AmortizedGuide(build(), torch.rand(7, 5), hidden=(4,))
    with pytest.raises(ValueError, match=r"5 columns, got shape \(7, 4\)"):
        guide(torch.rand(7, 4))


def test_whole_numbers_are_data_too() -> None:
    model, x = build(), torch.randint(0, 3, (7, 5))
    whole = lv.evidence.Importance(64).estimate(model, x)
    assert whole.total == pytest.approx(lv.evidence.Importance(64).estimate(model, x.float()).total)


@pytest.mark.parametrize("num_data", [4, 5000])
def test_pyro_sees_what_depends_on_what(num_data: int) -> None:
    """As `pyro.render_model` does, whose tensors trace where they come from."""
    relations = get_model_relations(build(), (torch.rand(num_data, 5),))
    assert relations["sample_sample"] == {"z": [], "x": ["z"]}
    assert relations["plate_sample"] == {"data": ["z", "x"]}

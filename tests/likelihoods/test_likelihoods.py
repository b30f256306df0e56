"""Likelihoods of discrete and of mixed data, against torch's own distributions."""

import itertools
import math

import pyro.distributions as dist
import pytest
import torch
from scipy.stats import logistic
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.likelihoods.joint import Concatenation


def mixed() -> lv.JointLikelihood:
    parts = [lv.NormalLikelihood(2), lv.CategoricalLikelihood(2, 3), lv.BernoulliLikelihood(1)]
    return lv.JointLikelihood(parts).double()


def test_joint_density_is_the_sum_of_its_parts() -> None:
    likelihood = mixed()
    outputs = torch.randn(7, 1, 9, dtype=torch.float64, requires_grad=True)
    x = torch.cat([torch.randn(5, 2), torch.randint(3, (5, 2)), torch.ones(5, 1)], 1).double()
    scale = likelihood.parts[0].scale.detach()
    logits = outputs[..., 2:8].unflatten(-1, (2, 3))
    exact = (
        dist.Normal(outputs[..., :2], scale).log_prob(x[:, :2]).sum(-1)
        + dist.Categorical(logits=logits).log_prob(x[:, 2:4]).sum(-1)
        + dist.Bernoulli(logits=outputs[..., 8]).log_prob(x[:, 4])
    )
    ours = likelihood(outputs).log_prob(x)
    torch.testing.assert_close(ours, exact)
    torch.testing.assert_close(
        *[torch.autograd.grad(each.sum(), outputs, retain_graph=True)[0] for each in (ours, exact)]
    )


def test_joint_draws_are_side_by_side() -> None:
    law = mixed()(torch.zeros(4, 9, dtype=torch.float64)).expand((3, 4))
    draws = law.sample((2,))
    assert draws.shape == (2, 3, 4, 5)
    assert not law.has_rsample
    assert set(draws[..., 2:4].unique().tolist()) == {0.0, 1.0, 2.0}
    assert set(draws[..., 4].unique().tolist()) == {0.0, 1.0}
    assert law.log_prob(draws).shape == (2, 3, 4)


def test_scale_of_levels_is_the_standard_deviation_of_the_noise() -> None:
    likelihood = lv.QuantizedLikelihood(2, num_levels=5)
    likelihood.set_scale(torch.tensor([0.3, 0.0]))
    torch.testing.assert_close(likelihood.scale.detach(), torch.tensor([0.3, 1e-4]))
    # scipy's logistic law of scale one has the standard deviation 1.8138.
    expected = torch.tensor([0.3, 1e-4]) / float(logistic.std())
    torch.testing.assert_close(likelihood(torch.zeros(2)).scale.detach(), expected)


def test_joint_moments_and_reparameterised_draws() -> None:
    loc = torch.randn(3, 2, requires_grad=True)
    law = Concatenation([dist.Normal(loc, 1.0).to_event(1), dist.Normal(loc, 2.0).to_event(1)])
    assert law.has_rsample
    assert torch.equal(law.mean, torch.cat([loc, loc], -1))
    assert law.variance[0].tolist() == [1.0, 1.0, 4.0, 4.0]
    assert law.rsample((7,)).requires_grad
    assert not law.sample((7,)).requires_grad


LIKELIHOODS = {
    "bernoulli": (lambda: lv.BernoulliLikelihood(5), 5),
    "categorical": (lambda: lv.CategoricalLikelihood(5, 3), 5),
    "quantized": (lambda: lv.QuantizedLikelihood(5, num_levels=3), 5),
    "joint": (lambda: mixed().float(), 5),
    "joint with levels": (
        lambda: lv.JointLikelihood(
            [lv.QuantizedLikelihood(3, num_levels=4), lv.BernoulliLikelihood(2)]
        ),
        5,
    ),
}


@pytest.mark.parametrize(("make", "num_columns"), LIKELIHOODS.values(), ids=LIKELIHOODS)
@pytest.mark.parametrize("generator", [lv.KANGenerator, lv.MixtureOfExperts])
def test_model_of_discrete_data_is_trained(make: type, num_columns: int, generator: type) -> None:
    likelihood = make()
    model = lv.LVKAM(lv.MixturePrior(2), generator(2, likelihood.num_outputs), likelihood)
    x = torch.ones(20, num_columns)
    objective = lv.EmpiricalBayes(16)(model, lv.PriorGuide(model))
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = objective(x)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    # All rows are the same, so that the loss falls far below where it was at first.
    assert losses[-1] < losses[0] - 20


def test_encoder_sees_categories_as_indicators() -> None:
    likelihood = mixed().float()
    model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 9), likelihood)
    x = torch.tensor([[0.5, -0.5, 2.0, -1.0, 1.0], [1.5, 2.5, 0.0, 1.0, 0.0]])
    seen = torch.tensor([[0.5, -0.5, 0, 0, 1, 0, 0, 0, 1], [1.5, 2.5, 1, 0, 0, 0, 1, 0, 0]])
    assert torch.equal(model.features(x), seen)
    guide = lv.AmortizedGuide(model, x, hidden=(4,))
    torch.testing.assert_close(guide.encoders[0].mean, seen.mean(0))
    assert lv.draw_particles(model, guide, x, num_particles=7).log_weights.isfinite().all()


WRONG = {
    "bernoulli": (lambda: lv.BernoulliLikelihood(0), "num_outputs >= 1, but got 0"),
    "places": (lambda: lv.CategoricalLikelihood(0, 3), "num_places >= 1, but got 0"),
    "categories": (lambda: lv.CategoricalLikelihood(3, 1), "num_categories >= 2, but got 1"),
    "levels": (lambda: lv.QuantizedLikelihood(3, num_levels=1), "num_levels >= 2, but got 1"),
    "measurements": (
        lambda: lv.QuantizedLikelihood(0, num_levels=3),
        "num_outputs >= 1, but got 0",
    ),
    "spread": (lambda: lv.QuantizedLikelihood(3, num_levels=3, scale=0.0), "above 0, got 0"),
    "joint": (lambda: lv.JointLikelihood([]), "at least one likelihood"),
    "no law": (lambda: Concatenation([]), "one event dimension each"),
    "scalar law": (lambda: Concatenation([dist.Normal(0.0, 1.0)]), r"\[\(\)\]. Use .to_event"),
    "gates": (lambda: lv.MixtureOfExperts(3, 0), "num_outputs >= 1, but got 0"),
    "experts": (lambda: lv.MixtureOfExperts(0, 3), "in_features >= 1, but got 0"),
    "outputs": (
        lambda: lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 4), lv.CategoricalLikelihood(4, 3)),
        "4 outputs, got one of 12",
    ),
}


@pytest.mark.parametrize(("make", "match"), WRONG.values(), ids=WRONG)
def test_wrong_sizes_are_refused(make: type, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def test_mixture_of_experts_is_its_formula() -> None:
    generator = lv.MixtureOfExperts(3, 4).double()
    z = torch.rand(5, 3, dtype=torch.float64)
    values = generator.experts.unsummed(z)[..., 0].detach()
    weights = generator.gate_weights.detach()
    exact = torch.empty(5, 4, dtype=torch.float64)
    for n, o in itertools.product(range(5), range(4)):
        votes = [math.exp(z[n, q] * weights[q, o]) for q in range(3)]
        exact[n, o] = sum(votes[q] / sum(votes) * values[n, q] for q in range(3))
    torch.testing.assert_close(generator(z), exact)
    torch.testing.assert_close(generator.gates(z).sum(-2), torch.ones_like(exact))


def test_mixture_of_experts_must_cover_the_prior() -> None:
    wide = lv.BSplineBasis(grid_size=4, domain=(-1.0, 1.0))
    with pytest.raises(ValueError, match=r"covers the prior's \[-1, 1\], got the domain \[0, 1\]"):
        lv.LVKAM(lv.MixturePrior(2, basis=wide), lv.MixtureOfExperts(2, 3), lv.NormalLikelihood(3))


class PoissonLikelihood(lv.likelihoods.Likelihood):
    """Counts, on the public base."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        return dist.Poisson(outputs.exp()).to_event(1)


def test_likelihood_of_the_user_is_a_part_and_others_are_refused() -> None:
    parts = [PoissonLikelihood(2), lv.CategoricalLikelihood(3, 4), lv.NormalLikelihood(1)]
    joint = lv.JointLikelihood([lv.JointLikelihood(parts[:2]), parts[2]])
    assert (joint.num_outputs, joint.num_columns) == (15, 6)
    x, outputs = torch.ones(5, 6), torch.randn(7, 1, 15)
    shares = zip(parts, outputs.split([2, 12, 1], -1), x.split([2, 3, 1], -1), strict=True)
    exact = sum(part(share).log_prob(columns) for part, share, columns in shares)
    torch.testing.assert_close(joint(outputs).log_prob(x), exact)
    assert joint.features(x).shape == (5, 15)
    with pytest.raises(TypeError, match="got Linear"):
        lv.JointLikelihood([torch.nn.Linear(2, 2)])

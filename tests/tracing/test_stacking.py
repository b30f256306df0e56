"""Particles that cannot be stacked, guides that are no densities, and how often programs run."""

import math
import threading
from collections.abc import Callable
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoGuideList, AutoNormal
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.tracing.arguments import RowAccess
from lvkam_pyro.tracing.bind import bind, bind_guide
from tests.assertions import assert_within_standard_errors

Model = Callable[..., object]

WEIGHTS = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))


def sums_an_axis(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(1), 0.5), obs=x)


class Normalised(torch.nn.Module):
    """A decoder whose normalisation takes the second axis for the features."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = torch.nn.BatchNorm1d(6).eval()
        self.normalise.running_mean = torch.arange(6.0) / 6
        self.normalise.running_var = torch.linspace(0.5, 2.0, 6)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(6), 1.0).to_event(1))
            loc = self.normalise(z @ WEIGHTS)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


def branches(x: Tensor) -> None:
    """The same, of latents of all data, in a way that nothing can be mapped over."""
    z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    loc = float(z.sum())
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 0.5), obs=x)


def test_particles_that_cannot_be_stacked_are_mapped_over() -> None:
    x = torch.tensor([0.5, -1.0, 2.0])
    exact = dist.Normal(0.0, 3.25**0.5).log_prob(x).double()
    program = lv.bind(sums_an_axis, x)
    assert (program.stacks, program.maps) == (False, True)
    evidence = lv.evidence.Importance(4096).estimate(program)
    assert_within_standard_errors(evidence.log_evidence, exact, evidence.standard_error)


def test_mapped_particles_are_those_one_by_one_with_their_gradients() -> None:
    program = lv.bind(sums_an_axis, torch.tensor([0.5, -1.0, 2.0]))
    z = torch.randn(7, 3, 3, requires_grad=True)
    found = [
        torch.stack(program.at({"z": z})),
        torch.stack(replace(program, maps=False).at({"z": z})),
    ]
    torch.testing.assert_close(*found)
    gradients = [torch.autograd.grad(each.sum(), z)[0] for each in found]
    torch.testing.assert_close(*gradients)


def test_particles_that_can_neither_be_stacked_nor_mapped_run_one_by_one() -> None:
    x = torch.tensor([0.5, -1.0, 2.0])
    covariance = 3.0 * torch.ones(3, 3) + 0.25 * torch.eye(3)
    exact = dist.MultivariateNormal(torch.zeros(3), covariance).log_prob(x).double()
    with pytest.warns(lv.tracing.StackingWarning, match="one by one"):
        evidence = lv.evidence.Importance(4096).estimate(branches, x)
    assert_within_standard_errors(evidence.log_evidence, exact[None], evidence.standard_error)


def test_sizes_that_coincide_are_seen_through() -> None:
    model, x = Normalised(), torch.randn(6, 6)
    scale = (model.normalise.running_var + model.normalise.eps).rsqrt()
    loading = WEIGHTS * scale
    covariance = loading.T @ loading + torch.eye(6)
    law = dist.MultivariateNormal(-model.normalise.running_mean * scale, covariance)
    evidence = lv.evidence.Importance(2048).estimate(model, x)
    assert_within_standard_errors(
        evidence.log_evidence, law.log_prob(x).double(), evidence.standard_error, extra=0.1
    )


def test_ladders_map_over_particles_too() -> None:
    x = torch.tensor([0.5, -1.0, 2.0])
    ladder = lv.ladder.Ladder(num_temperatures=4, num_chains=8, num_warmup=20, num_samples=20)
    evidence = lv.evidence.MultistateBAR(ladder).estimate(sums_an_axis, x)
    exact = dist.Normal(0.0, 3.25**0.5).log_prob(x).double()
    assert_within_standard_errors(evidence.log_evidence, exact, evidence.standard_error)


def test_data_that_are_joined_by_their_latents_are_mapped_over_too() -> None:
    def joined(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.cumsum(0), 0.5), obs=x)

    x = torch.tensor([0.3, -1.2, 2.2])
    program = lv.bind(joined, x)
    assert (program.num_units, program.stacks, program.maps) == (1, False, True)
    steps = torch.ones(3, 3).tril()
    exact = dist.MultivariateNormal(torch.zeros(3), steps @ steps.T + 0.25 * torch.eye(3))
    evidence = lv.evidence.Importance(20_000).estimate(program)
    error = evidence.standard_error
    assert_within_standard_errors(evidence.log_evidence, exact.log_prob(x).double()[None], error)


def test_guide_draws_the_discrete_latent_of_a_program_that_is_mapped_over() -> None:
    def model(x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        c = pyro.sample("c", dist.Bernoulli(0.3))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w[0] + 2.0 * c, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("c", dist.Bernoulli(0.45))
        pyro.sample("w", dist.Normal(torch.zeros(2), 1.2).to_event(1))

    x = torch.tensor([0.3, -1.2, 2.2, 0.9])
    covariance = torch.ones(4, 4) + torch.eye(4)
    terms = [
        math.log(share) + dist.MultivariateNormal(torch.full((4,), mean), covariance).log_prob(x)
        for mean, share in ((0.0, 0.7), (2.0, 0.3))
    ]
    exact = torch.stack(terms).logsumexp(0).double()[None]
    assert lv.bind(model, x).maps
    evidence = lv.evidence.Importance(20_000).estimate(model, x, guide=guide)
    assert_within_standard_errors(evidence.log_evidence, exact, evidence.standard_error)


def conjugate(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(a + b, 1.0), obs=x)


def with_both(first: dist.Distribution, second: dist.Distribution) -> Model:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("a", first)
            pyro.sample("b", second)

    return guide


def half_a_point() -> Model:
    guide = AutoGuideList(conjugate)
    guide.append(AutoNormal(pyro.poutine.block(conjugate, hide=["b"])))
    guide.append(AutoDelta(pyro.poutine.block(conjugate, hide=["a"])))
    return guide


NORMAL = dist.Normal(0.0, 1.0)
HALF = torch.tensor([True, True, False, False])
NO_DENSITIES = {
    "a point": (with_both(dist.Delta(torch.tensor(0.3)), NORMAL), "'a' is a Delta"),
    "points of each datum": (AutoDelta(conjugate), "is a Delta"),
    "half of the sites points": (half_a_point(), "'b' is a Delta"),
    "a narrow interval": (with_both(NORMAL, dist.Uniform(-1.0, 1.0)), r"'b' draws from \[-1, 1\]"),
    "points for some": (
        with_both(dist.MaskedMixture(HALF, dist.Delta(torch.zeros(4)), NORMAL.expand([4])), NORMAL),
        "'a' is a mixture with a Delta",
    ),
    "a mask": (with_both(NORMAL.mask(HALF), NORMAL), "'a' counts at 2 of 4 values, the model's at"),
    "a mask around": (
        pyro.poutine.mask(with_both(NORMAL, NORMAL), mask=HALF),
        "'a' counts at 2 of 4 values, the model's at 4",
    ),
    "a scale": (
        pyro.poutine.scale(with_both(NORMAL, NORMAL), scale=0.3),
        r"guide's site 'a' has a scale around it \(0.3\)",
    ),
    "half of the line": (with_both(dist.HalfNormal(1.0), NORMAL), r"'a' draws from \[0, inf\]"),
}


@pytest.mark.parametrize("name", NO_DENSITIES)
@pytest.mark.parametrize("estimator", [lv.evidence.Importance(64), lv.evidence.ELBO(64)])
def test_a_guide_is_a_density_on_the_whole_support(
    name: str, estimator: lv.evidence.Estimator
) -> None:
    guide, match = NO_DENSITIES[name]
    with pytest.raises(ValueError, match=match):
        estimator.estimate(conjugate, torch.zeros(4), guide=guide)


@pytest.mark.parametrize("masked", ["by a handler", "by the distribution"])
def test_a_guide_counts_where_the_model_does(masked: str) -> None:
    def model(x: Tensor) -> None:
        inside = pyro.poutine.mask(mask=HALF if masked == "by a handler" else True)
        with pyro.plate("data", len(x)), inside:
            z = pyro.sample("z", NORMAL if masked == "by a handler" else NORMAL.mask(HALF))
            pyro.sample("x", dist.Normal(z, 1.0).mask(HALF), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.8))

    x = torch.tensor([0.5, -1.0, 2.0, 1.0])
    exact = torch.where(HALF, dist.Normal(0.0, 2**0.5).log_prob(x), 0.0).double()
    with pytest.raises(ValueError, match="'z' counts at 4 of 4 values, the model's at 2"):
        lv.evidence.Importance(64).estimate(model, x, guide=guide)
    for same in (None, pyro.poutine.mask(guide, mask=HALF)):
        evidence = lv.evidence.Importance(4096).estimate(model, x, guide=same)
        assert_within_standard_errors(
            evidence.log_evidence[:2], exact[:2], evidence.standard_error[:2]
        )
        assert evidence.log_evidence[2:].tolist() == [0.0, 0.0]


def test_autoguides_that_draw_through_auxiliary_sites_are_densities() -> None:
    guide, x = AutoNormal(conjugate, init_scale=1.0), torch.randn(50)
    guide(x)
    program = bind_guide(bind(conjugate, x), guide)
    assert program.access is None, "its parameters are of each datum"
    evidence = lv.evidence.Importance(2048).estimate(conjugate, x, guide=guide)
    exact = dist.Normal(0.0, 3.0**0.5).log_prob(x).double()
    assert_within_standard_errors(evidence.log_evidence, exact, evidence.standard_error)


def test_a_scale_around_a_latent_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            with pyro.poutine.scale(scale=0.1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    for estimator in (lv.evidence.Importance(), lv.evidence.Auto(), lv.evidence.SteppingStone()):
        with pytest.raises(ValueError, match=r"'z' has a scale around it \(0.1\)"):
            estimator.estimate(model, torch.zeros(3))


def test_a_site_that_is_used_twice_is_refused_with_pyros_words() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match="Multiple sample sites named 'z'"):
        bind(model, torch.zeros(3))


def test_a_density_that_is_no_function_of_the_latents_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + torch.randn(()), 1.0), obs=x)

    with pytest.raises(ValueError, match=r"not a function of its latents.*pyro\.sample"):
        bind(model, torch.zeros(3))


def test_an_outlier_does_not_look_like_a_law_that_is_broken() -> None:
    model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 5), lv.NormalLikelihood(5, scale=0.05))
    x = torch.randn(50, 5)
    x[0, 0] = 1000.0
    assert bind(model, x).access is RowAccess.ARGUMENTS
    assert lv.evidence.Lookahead(512).estimate(model, x).log_evidence.isfinite().all()


def test_inference_mode_changes_no_ladder() -> None:
    x = torch.tensor([0.5, -1.0])
    ladder = lv.ladder.Ladder(num_temperatures=4, num_chains=8, num_warmup=10, num_samples=8)
    expected = ladder.sample(conjugate, x).log_likelihood
    with torch.inference_mode():
        found = ladder.sample(conjugate, x + 0.0).log_likelihood
    assert torch.equal(found, expected)


def test_two_threads_take_turns() -> None:
    x = torch.randn(60, 3)
    recipe = lv.load_recipe("amortized", num_epochs=5, batch_size=20)

    def train() -> list[Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        lv.fit(model, x, recipe, progress=False)
        return [parameter.detach() for parameter in model.parameters()]

    alone, together = train(), []
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3)))
    threads = [
        threading.Thread(target=lv.fit, args=(model, x, recipe), kwargs={"progress": False})
        for model in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [[p.detach() for p in model.parameters()] for model in models]
    for parameters in together:
        assert all(map(torch.equal, parameters, alone))


def test_runs_are_counted() -> None:
    x = torch.randn(20)
    program = bind(conjugate, x)
    assert (program.runs.model, program.runs.guide) == (2, 0)
    lv.evidence.Importance(512).estimate(program)
    assert (program.runs.model, program.runs.guide) == (3, 1)


def test_an_update_runs_the_model_once_and_the_guide_once() -> None:
    model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
    x = torch.rand(20, 3)
    guide = lv.AmortizedGuide(model, x, hidden=(4,))
    program = bind_guide(bind(model, x), guide)
    before = program.runs.model, program.runs.guide
    objective = lv.EmpiricalBayes(8)
    objective(model, guide)(program).backward()
    assert (program.runs.model - before[0], program.runs.guide - before[1]) == (1, 1)


def test_densities_of_a_bound_program_are_the_programs() -> None:
    x = torch.randn(5)
    a, b = torch.randn(2, 7, 5)
    log_prior, log_likelihood = bind(conjugate, x).at({"a": a, "b": b})
    half_log = -math.log(2 * math.pi) / 2
    expected = 2 * half_log - (a.square() + b.square()) / 2
    torch.testing.assert_close(log_prior, expected)
    torch.testing.assert_close(log_likelihood, half_log - (x - a - b).square() / 2)

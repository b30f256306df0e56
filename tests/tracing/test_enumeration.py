"""Discrete latents are summed exactly: against sums written by hand, and in bearable time."""

from itertools import product

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

import lvkam_pyro as lv

WEIGHTS, MEANS = torch.tensor([0.3, 0.7]), torch.tensor([-1.0, 2.0])
X = torch.tensor([0.3, -1.2, 2.2, 0.9])


def assignments(x: Tensor) -> None:
    """A mixture with an assignment for each datum, and nothing else that is latent."""
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(WEIGHTS))
        pyro.sample("x", dist.Normal(MEANS[c], 0.5), obs=x)


def global_means(x: Tensor) -> None:
    """The means of the components are latent for all data together."""
    means = pyro.sample("means", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(WEIGHTS))
        pyro.sample("x", dist.Normal(Vindex(means)[..., c], 0.5), obs=x)


def discrete_above_continuous(x: Tensor) -> None:
    """The prior of a continuous latent hangs on a discrete one."""
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(WEIGHTS))
        z = pyro.sample("z", dist.Normal(MEANS[c], 0.5))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def crossed_with_plate(x: Tensor) -> None:
    """A switch of the whole data set above an assignment of each datum."""
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    switch = pyro.sample("switch", dist.Bernoulli(0.2))
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Bernoulli(0.5 * switch + 0.25))
        pyro.sample("x", dist.Normal(z + c - 2.0 * switch, 0.5), obs=x)


def chain(x: Tensor) -> None:
    """A hidden Markov chain of three states with global means."""
    means = pyro.sample("means", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
    state: int | Tensor = 0
    for t in pyro.markov(range(len(x))):
        state = pyro.sample(f"state_{t}", dist.Categorical(TRANSITIONS[state]))
        pyro.sample(f"x_{t}", dist.Normal(Vindex(means)[..., state], 1.0), obs=x[t])


TRANSITIONS = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4]])


def forward(means: Tensor, x: Tensor) -> Tensor:
    """The log density of a chain by the forward recursion."""
    total = TRANSITIONS[0].log()
    for index, value in enumerate(x):
        step = total if not index else (total[:, None] + TRANSITIONS.log()).logsumexp(0)
        total = step + dist.Normal(means, 1.0).log_prob(value)
    return total.logsumexp(0)


ESTIMATORS = (
    lv.evidence.Auto(),
    lv.evidence.SteppingStone(),
    lv.evidence.ELBO(),
    lv.evidence.Bridge(),
)


def test_program_of_discrete_latents_alone_has_its_density_as_evidence() -> None:
    terms = WEIGHTS.log() + dist.Normal(MEANS, 0.5).log_prob(X[:, None])
    for estimator in ESTIMATORS:
        evidence = estimator.estimate(assignments, X)
        torch.testing.assert_close(evidence.log_evidence.float(), terms.logsumexp(-1))
        assert evidence.verdict.reliable
        assert evidence.total_standard_error == 0.0


def test_local_sum_under_global_latents() -> None:
    means = torch.randn(5, 2)
    log_prior, log_likelihood = lv.bind(global_means, X).at({"means": means[:, None]})
    terms = WEIGHTS.log() + dist.Normal(means[:, None], 0.5).log_prob(X[:, None])
    torch.testing.assert_close(log_likelihood[:, 0], terms.logsumexp(-1).sum(-1))
    torch.testing.assert_close(log_prior[:, 0], dist.Normal(0.0, 3.0).log_prob(means).sum(-1))


def test_prior_under_discrete_latent_is_a_mixture() -> None:
    z = torch.randn(5, len(X))
    log_prior, log_likelihood = lv.bind(discrete_above_continuous, X).at({"z": z})
    terms = WEIGHTS.log() + dist.Normal(MEANS, 0.5).log_prob(z[..., None])
    torch.testing.assert_close(log_prior, terms.logsumexp(-1))
    torch.testing.assert_close(log_likelihood, dist.Normal(z, 1.0).log_prob(X))


def test_switch_of_all_data_above_their_assignments() -> None:
    z = torch.randn(5)
    _, log_likelihood = lv.bind(crossed_with_plate, X).at({"z": z[:, None]})
    terms = []
    for switch, share in ((0.0, 0.8), (1.0, 0.2)):
        inner = [
            torch.tensor(p).log() + dist.Normal(z[:, None] + c - 2 * switch, 0.5).log_prob(X)
            for c, p in ((0.0, 0.75 - 0.5 * switch), (1.0, 0.25 + 0.5 * switch))
        ]
        terms.append(torch.tensor(share).log() + torch.stack(inner).logsumexp(0).sum(-1))
    torch.testing.assert_close(log_likelihood[:, 0], torch.stack(terms).logsumexp(0))


@pytest.mark.parametrize("length", [1, 4, 60])
def test_markov_chain_is_summed_as_by_the_forward_recursion(length: int) -> None:
    x, means = torch.randn(length), torch.randn(5, 3)
    _, log_likelihood = lv.bind(chain, x).at({"means": means[:, None]})
    expected = torch.stack([forward(each, x) for each in means])
    torch.testing.assert_close(log_likelihood[:, 0], expected)


def test_short_chain_is_the_sum_over_all_paths() -> None:
    x, means = torch.randn(4), torch.randn(3)
    _, log_likelihood = lv.bind(chain, x).at({"means": means[None, None]})
    paths = []
    for path in product(range(3), repeat=4):
        moves = zip((0, *path), path, strict=False)
        log_prob = sum(TRANSITIONS[a, b].log() for a, b in moves)
        paths.append(log_prob + dist.Normal(means[list(path)], 1.0).log_prob(x).sum())
    torch.testing.assert_close(log_likelihood[0, 0], torch.stack(paths).logsumexp(0))


def test_gradients_are_those_of_the_sum() -> None:
    means = torch.randn(2, requires_grad=True)
    _, log_likelihood = lv.bind(global_means, X).at({"means": means[None, None]})
    (found,) = torch.autograd.grad(log_likelihood.sum(), means)
    terms = WEIGHTS.log() + dist.Normal(means, 0.5).log_prob(X[:, None])
    (expected,) = torch.autograd.grad(terms.logsumexp(-1).sum(), means)
    torch.testing.assert_close(found, expected)


def test_guide_that_draws_the_discrete_latent_weighs_its_value() -> None:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.4))
            pyro.sample("z", dist.Normal(x - 0.5 * c, 1.5))

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.3))
            z = pyro.sample("z", dist.Normal(2.0 * c, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    terms = [
        torch.tensor(p).log() + dist.Normal(2.0 * c, 2.0**0.5).log_prob(X)
        for c, p in ((0.0, 0.7), (1.0, 0.3))
    ]
    evidence = lv.evidence.Importance(20000).estimate(model, X, guide=guide)
    errors = evidence.log_evidence - torch.stack(terms).logsumexp(0)
    assert bool((errors.abs() < 4 * evidence.standard_error).all())


def test_masked_discrete_latent_sums_to_one() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=x < 1.0):
            c = pyro.sample("c", dist.Categorical(WEIGHTS))
            pyro.sample("x", dist.Normal(MEANS[c], 0.5), obs=x)

    terms = (WEIGHTS.log() + dist.Normal(MEANS, 0.5).log_prob(X[:, None])).logsumexp(-1)
    evidence = lv.evidence.Auto().estimate(model, X)
    torch.testing.assert_close(evidence.log_evidence.float(), terms.where(X < 1.0, 0.0))


def poisson(x: Tensor) -> None:
    n = pyro.sample("n", dist.Poisson(3.0))
    pyro.sample("x", dist.Normal(n, 1.0).expand(x.shape).to_event(1), obs=x)


def many(x: Tensor) -> None:
    n = pyro.sample("n", dist.Categorical(logits=torch.zeros(5000)))
    pyro.sample("x", dist.Normal(n, 1.0).expand(x.shape).to_event(1), obs=x)


def branching(x: Tensor) -> None:
    n = pyro.sample("n", dist.Bernoulli(0.5))
    pyro.sample("x", dist.Normal(1.0 if n else 0.0, 1.0).expand(x.shape).to_event(1), obs=x)


def mixing(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        n = pyro.sample("n", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Normal(100.0 * (n - n.mean(0)), 1.0), obs=x)


REFUSED = {
    "infinitely many values": (poisson, "'n' is discrete and has no list of its values"),
    "too many values": (many, "'n' is discrete .Categorical. with 5000 values, too many"),
    "a branch on a value": (branching, "cannot be summed over its discrete latents"),
    "values that are mixed": (mixing, "the model mixes their axes"),
}


@pytest.mark.filterwarnings("ignore::lvkam_pyro.tracing.stacking.StackingWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_sum_that_cannot_be_taken_is_refused_by_name(case: str) -> None:
    model, match = REFUSED[case]
    with pytest.raises(ValueError, match=match):
        lv.bind(model, X)

"""Programs whose data cannot be cut, whose particles cannot be stacked, whose guides are none.

Each is a kind on which an estimate was once silently wrong; the right values are closed forms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.tracing.arguments import Arguments, RowAccess
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.structure import Unit

Model = Callable[..., object]

NUM_DATA = 1000
TIMES = torch.linspace(-2.0, 2.0, NUM_DATA)
X = TIMES * torch.randn(NUM_DATA, generator=torch.Generator().manual_seed(0)) + 0.1


def indexed_covariates(x: Tensor) -> None:
    with pyro.plate("data", len(x)) as index:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z * TIMES[index], 0.5), obs=x)


def whole_covariates(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z * TIMES, 0.5), obs=x)


def subsampled_covariates(x: Tensor) -> None:
    with pyro.plate("data", len(x), subsample_size=100) as index:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z * TIMES[index], 0.5), obs=x[index])


def indexed_data(x: Tensor) -> None:
    with pyro.plate("data", len(x)) as index:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z * TIMES[index], 0.5), obs=x[index])


def of_covariates(x: Tensor) -> Tensor:
    return dist.Normal(0.0, (TIMES.square() + 0.25).sqrt()).log_prob(x)


def lagged(x: Tensor) -> None:
    before = torch.cat([x.new_zeros(1), x[:-1]])
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z + 0.5 * before, 0.5), obs=x)


def of_lags(x: Tensor) -> Tensor:
    before = torch.cat([x.new_zeros(1), x[:-1]])
    return dist.Normal(0.5 * before, 1.25**0.5).log_prob(x)


def centred(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x - x.mean())


def of_centred(x: Tensor) -> Tensor:
    return dist.Normal(0.0, 1.25**0.5).log_prob(x - x.mean())


@dataclass(frozen=True)
class Case:
    """A program, the log density of its data, and how some of these can be taken."""

    model: Model
    exact: Callable[[Tensor], Tensor]
    access: RowAccess | None


CASES = {
    "covariates indexed by the plate": Case(
        indexed_covariates, of_covariates, RowAccess.ARGUMENTS_AND_INDICES
    ),
    "covariates of all data": Case(whole_covariates, of_covariates, None),
    "covariates and data indexed by the plate": Case(
        indexed_data, of_covariates, RowAccess.INDICES
    ),
    "Pyro's own subsample": Case(subsampled_covariates, of_covariates, RowAccess.INDICES),
    "a lag": Case(lagged, of_lags, None),
    "the mean of the data": Case(centred, of_centred, None),
}
every_case = pytest.mark.parametrize("name", CASES)


@every_case
def test_rows_are_taken_only_as_it_was_seen_to_be_lawful(name: str) -> None:
    case = CASES[name]
    program = bind(case.model, X)
    assert (program.unit, program.num_units, program.access) == (
        Unit.DATUM,
        NUM_DATA,
        case.access,
    )


@every_case
def test_the_total_of_all_data_is_right(name: str) -> None:
    case = CASES[name]
    evidence = lv.evidence.Importance(2048).estimate(case.model, X)
    assert abs(evidence.total - float(case.exact(X).sum())) < 4 * evidence.total_standard_error
    distance = (evidence.log_evidence - case.exact(X)).abs() / evidence.standard_error
    assert (distance < 4).double().mean() > 0.99


@every_case
def test_the_cascade_is_right_and_flags_nothing(name: str) -> None:
    case, x = CASES[name], X
    evidence = lv.evidence.Auto().estimate(case.model, x)
    torch.testing.assert_close(evidence.log_evidence, case.exact(x).double(), rtol=0, atol=1e-3)
    assert evidence.verdict.reliable


@pytest.mark.parametrize("name", ["covariates of all data", "a lag", "the mean of the data"])
def test_a_refusal_names_the_site_and_the_two_values(name: str) -> None:
    program = bind(CASES[name].model, X)
    with pytest.raises(ValueError, match=r"cannot be taken apart: .*(site 'x' is|RuntimeError)"):
        program.rows(torch.arange(3))


@pytest.mark.parametrize("num_data", [2, 3, 4])
def test_few_data_are_seen_through_too(num_data: int) -> None:
    x = torch.arange(1.0, num_data + 1)
    assert bind(lagged, x).access is None
    assert bind(lambda y: lagged(y.flip(0)), x).access is None


def test_blocks_hold_all_data_and_no_more() -> None:
    for case in CASES.values():
        program = bind(case.model, X)
        blocks = list(program.blocks(2**20))
        values = program.join([torch.zeros(2, block.num_units) for block in blocks])
        assert values.shape == (2, NUM_DATA)
        assert len(blocks) == 1 or case.access is not None


class Slope(pyro.nn.PyroModule):
    """x = a t z + noise, with t closed over and indexed by the plate."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(0.5))
        self.log_scale = torch.nn.Parameter(torch.tensor(0.0))
        self.times = torch.linspace(0.5, 2.5, 400)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)) as index:
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            loc = self.slope * self.times[index][:, None] + 0.1 * z
            pyro.sample("x", dist.Normal(loc, self.log_scale.exp()).to_event(1), obs=x)


def test_training_takes_batches_with_their_covariates() -> None:
    model = Slope()
    x = 2.0 * model.times[:, None] + 0.5 * torch.randn(400, 1)
    recipe = lv.Recipe(
        name="slope",
        build_guide=lambda model, x: lv.PriorGuide(model),
        objective=lv.EmpiricalBayes(16),
        num_epochs=60,
        batch_size=50,
        learning_rate=0.05,
    )
    lv.fit(model, x, recipe, progress=False)
    exact = (x * model.times[:, None]).sum() / model.times.square().sum()
    assert abs(float(model.slope.detach() - exact)) < 0.05
    deviation = float((model.log_scale.detach().exp().square() + 0.01).sqrt())
    assert abs(deviation - float((x - exact * model.times[:, None]).std())) < 0.05


def test_training_takes_all_data_where_they_cannot_be_taken_apart() -> None:
    class Centred(Slope):
        def forward(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                loc = self.slope + 0.1 * z
                pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x - x.mean())

    recipe = lv.Recipe(
        name="centred",
        build_guide=lambda model, x: lv.PriorGuide(model),
        objective=lv.EmpiricalBayes(8),
        num_epochs=2,
        batch_size=10,
    )
    with pytest.warns(lv.training.WholeDataWarning, match="each update takes all 40 of them"):
        lv.fit(Centred(), torch.randn(40, 1), recipe, progress=False)


def coupled(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z.cumsum(-1), 0.5), obs=x)


def test_latents_that_act_together_have_one_evidence() -> None:
    x = torch.tensor([0.3, -0.4, 1.1, 0.7])
    lower = torch.ones(4, 4).tril()
    covariance = lower @ lower.T + 0.25 * torch.eye(4)
    exact = float(dist.MultivariateNormal(torch.zeros(4), covariance).log_prob(x))
    program = bind(coupled, x)
    assert (program.unit, program.num_units) == (Unit.DATA_SET, 1)
    for estimator in (lv.evidence.Importance(), lv.evidence.Auto(), lv.evidence.SteppingStone()):
        evidence = estimator.estimate(coupled, x)
        assert evidence.log_evidence.shape == (1,)
        assert abs(evidence.total - exact) < 4 * evidence.total_standard_error + 1e-3


def test_eight_schools() -> None:
    def model(y: Tensor, sigma: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
        tau = pyro.sample("tau", dist.HalfCauchy(10.0))
        with pyro.plate("schools", len(y)):
            theta = pyro.sample("theta", dist.Normal(mu, tau))
            pyro.sample("y", dist.Normal(theta, sigma), obs=y)

    y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    evidence = lv.evidence.Importance(100_000).estimate(model, y, sigma)
    assert abs(evidence.total + 31.7298) < 4 * evidence.total_standard_error


def test_arguments_with_rows_can_be_named() -> None:
    """A vector of weights is as long as there are data, by chance."""
    x, weights = torch.randn(3, 2), torch.tensor([0.2, 0.3, 0.5])

    def model(x: Tensor, *, weights: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            loc = (z * weights).sum(-1, keepdim=True)
            pyro.sample("x", dist.Normal(loc.expand(*loc.shape[:-1], 2), 1.0).to_event(1), obs=x)

    guessed = bind(model, x, weights=weights)
    assert guessed.access is None
    named = bind(model, x, weights=weights, rows=["x"])
    assert named.access is RowAccess.ARGUMENTS
    assert named.rows(torch.tensor([2])).arguments.kwargs["weights"] is weights
    with pytest.raises(ValueError, match=r"name arguments of the model \(x, weights\), got y"):
        bind(model, x, weights=weights, rows=["y"])


def test_data_are_known_by_the_names_of_their_arguments() -> None:
    x, y = torch.randn(3), torch.randn(3)
    assert Arguments((), {"a": x, "b": y}).hash == Arguments((), {"b": y, "a": x}).hash
    assert Arguments((), {"a": x, "b": y}).hash != Arguments((), {"a": y, "b": x}).hash
    assert Arguments((x,), {}).hash == Arguments((), {"x": x}).hash

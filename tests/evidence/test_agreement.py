"""Estimators that share no line of mathematics agree, with each other and with quadrature."""

import pyro
import pyro.distributions as dist
import torch
from numpy.polynomial.legendre import leggauss
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

import lvkam_pyro as lv
from tests.assertions import assert_within_standard_errors

NUM_CELLS, NUM_NODES = 40, 8


def gauss_legendre(low: float, high: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the composite rule on equal cells, `(NUM_CELLS * NUM_NODES,)`."""
    nodes, weights = (torch.as_tensor(array) for array in leggauss(NUM_NODES))
    ends = torch.linspace(low, high, NUM_CELLS + 1, dtype=torch.float64)
    half = (ends[1:] - ends[:-1]) / 2
    centres = (ends[1:] + ends[:-1]) / 2
    points = centres[:, None] + half[:, None] * nodes
    return points.flatten(), (half[:, None] * weights).flatten()


def learned_lvkam() -> lv.LVKAM:
    """An LVKAM of two latents, as training would leave it: nothing at its initial value."""
    model = lv.LVKAM(
        lv.MixturePrior(2, num_components=2),
        lv.KANGenerator(2, 4, hidden=(3,)),
        lv.NormalLikelihood(4, scale=0.5),
    )
    with torch.no_grad():
        for parameter in (*model.prior.parameters(), *model.generator.parameters()):
            parameter.add_(0.7 * torch.randn_like(parameter))
    return model


@torch.no_grad()
def quadrature_of_lvkam(model: lv.LVKAM, x: Tensor) -> Tensor:
    """Log p(x_n) by the tensor rule over both latents."""
    points, weights = gauss_legendre(*model.prior.domain)
    z = torch.cartesian_prod(points, points)
    log_weights = torch.cartesian_prod(weights, weights).log().sum(-1)
    model.double()
    log_prior = model.prior().log_prob(z)
    log_likelihood = model.likelihood(model.generator(z)[:, None]).log_prob(x.double())
    model.to(x.dtype)
    return ((log_weights + log_prior)[:, None] + log_likelihood).logsumexp(0)


class Rotated(PyroModule):
    """x = g(R z) + noise with a rotation R and z ~ N(0, scale): correlated and not linear in z.

    R z has the law of z, so the evidence is a product of integrals over one variable each.
    """

    def __init__(self, num_latents: int) -> None:
        super().__init__()
        self.rotation = nn.Parameter(torch.linalg.qr(torch.randn(num_latents, num_latents))[0])
        self.scale = PyroParam(torch.tensor(1.3), dist.constraints.positive)

    def curve(self, u: Tensor) -> Tensor:
        return u + 0.4 * torch.sin(2 * u)

    def forward(self, x: Tensor) -> Tensor:
        prior = dist.Normal(torch.zeros(len(self.rotation)), self.scale).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            loc = self.curve(z @ self.rotation)
            return pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)

    @torch.no_grad()
    def exact(self, x: Tensor) -> Tensor:
        u, weights = gauss_legendre(-13.0, 13.0)
        log_prior = weights.log() + dist.Normal(0.0, self.scale.double()).log_prob(u)
        log_likelihood = dist.Normal(self.curve(u), 0.5).log_prob(x.double()[..., None])
        return (log_prior + log_likelihood).logsumexp(-1).sum(-1)

    def guide(self, x: Tensor) -> None:
        """A Gaussian about the observed values, rotated back."""
        with pyro.plate("data", len(x)):
            precision = torch.eye(len(self.rotation)) / 0.5
            loc = 0.85 * x @ self.rotation.T
            pyro.sample("z", dist.MultivariateNormal(loc, precision_matrix=precision))


def assert_agreement(results: list[lv.evidence.Evidence], exact: Tensor) -> None:
    """Each is reliable and within its errors of the exact values and of every other one."""
    for evidence in results:
        assert evidence.verdict.reliable, str(evidence)
        assert_within_standard_errors(
            evidence.log_evidence, exact, 1.4 * evidence.standard_error, extra=extra(evidence)
        )
        total = torch.tensor(evidence.total, dtype=torch.float64)
        error = torch.tensor(1.4 * evidence.total_standard_error)
        slack = torch.as_tensor(extra(evidence)).sum()
        assert_within_standard_errors(total, exact.sum(), error, extra=slack)
    for one in results:
        for other in results:
            error = torch.hypot(one.standard_error, other.standard_error)
            slack = extra(one) + extra(other)
            assert_within_standard_errors(
                one.log_evidence, other.log_evidence, 1.4 * error, extra=slack
            )


def extra(evidence: lv.evidence.Evidence) -> Tensor | float:
    return 0.0 if evidence.discretization_error is None else evidence.discretization_error


def test_the_quadrature_integrates_the_prior_to_one() -> None:
    points, weights = gauss_legendre(0.0, 1.0)
    model = learned_lvkam()
    z = points[:, None].expand(-1, 2)
    with torch.no_grad():
        densities = model.prior.densities().log_prob(z.float()).double().exp()
    torch.testing.assert_close(weights @ densities, torch.ones(2).double(), atol=1e-5, rtol=0)


def test_estimators_of_an_lvkam_agree_with_quadrature() -> None:
    model = learned_lvkam()
    with torch.no_grad():
        x = pyro.poutine.uncondition(model)(torch.empty(12, 4))
    ladder = lv.ladder.Ladder()
    samples = ladder.sample(model, x)
    results = [
        lv.evidence.Importance().estimate(model, x),
        lv.evidence.ThermodynamicIntegration(ladder).estimate_from(samples),
        lv.evidence.SteppingStone(ladder).estimate_from(samples),
    ]
    assert_agreement(results, quadrature_of_lvkam(model, x))


def test_estimators_of_ten_latents_agree_on_fifty_data() -> None:
    model = Rotated(10)
    with torch.no_grad():
        x = pyro.poutine.uncondition(model)(torch.empty(50, 10))
    ladder = lv.ladder.Ladder()
    samples = ladder.sample(model, x)
    results = [
        lv.evidence.Importance(16384).estimate(model, x, guide=model.guide),
        lv.evidence.ThermodynamicIntegration(ladder).estimate_from(samples),
        lv.evidence.SteppingStone(ladder).estimate_from(samples),
    ]
    assert_agreement(results, model.exact(x))

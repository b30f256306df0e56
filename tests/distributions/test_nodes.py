"""Enumeration over quadrature nodes: exact evidence, gradients and posteriors in Pyro."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, infer_discrete
from torch import Tensor

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.logspline import LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.nodes import QuadratureNodes
from lvkam_pyro.distributions.univariate import UnivariateDensity
from tests.assertions import assert_within_standard_errors
from tests.distributions.densities import DENSITIES, make, parameters, spline

ENUMERATE = {"enumerate": "parallel"}
OBSERVED = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
NOISE = 0.1
NUM_POINTS = 40_001
SIMPSON = 1e-10
"""Error of Simpson's rule on NUM_POINTS points of these smooth integrands, with room."""


def curved(z: Tensor) -> Tensor:
    return torch.sin(3 * z)


def one_spline(theta: Tensor) -> UnivariateDensity:
    return spline(theta)


def model(density: UnivariateDensity, num_nodes: int | None = None) -> None:
    with pyro.plate("data", len(OBSERVED)):
        z = pyro.sample("z", density.on_nodes(num_nodes), infer=ENUMERATE)
        pyro.sample("x", dist.Normal(curved(z), NOISE), obs=OBSERVED)


def guide(*args: object) -> None:
    """Nothing is left to propose."""


def exact_posterior(density: UnivariateDensity) -> tuple[Tensor, Tensor, Tensor]:
    """Log evidence, mean and variance per datum, by Simpson's rule on a fine grid."""
    z = torch.linspace(0, 1, NUM_POINTS, dtype=torch.float64)
    simpson = torch.full((NUM_POINTS,), 2.0, dtype=torch.float64)
    simpson[1::2] = 4.0
    simpson[[0, -1]] = 1.0
    likelihood = dist.Normal(curved(z)[:, None], NOISE).log_prob(OBSERVED)
    joint = (simpson / (3 * (NUM_POINTS - 1)))[:, None] * (
        density.log_prob(z.clamp(1e-12, 1 - 1e-12))[:, None] + likelihood
    ).exp()
    evidence = joint.sum(0)
    mean = (joint * z[:, None]).sum(0) / evidence
    variance = (joint * (z[:, None] - mean).square()).sum(0) / evidence
    return evidence.log(), mean, variance


@pytest.fixture
def theta() -> Tensor:
    return parameters("spline")[0, 0].requires_grad_()


@pytest.mark.parametrize("name", DENSITIES)
def test_nodes_carry_the_density(name: str) -> None:
    density = make(name)
    nodes = density.on_nodes()
    torch.testing.assert_close(nodes.probs.sum(-1), torch.ones(density.batch_shape).double())
    torch.testing.assert_close(nodes.mean, density.mean)
    torch.testing.assert_close(nodes.variance, density.variance)
    assert nodes.support.check(nodes.enumerate_support()).all()
    torch.testing.assert_close(
        nodes.log_prob(nodes.enumerate_support()).movedim(0, -1),
        nodes.logits.expand(*nodes.batch_shape, -1),
    )


@pytest.mark.parametrize("name", DENSITIES)
def test_twice_as_many_nodes_agree(name: str) -> None:
    density = make(name)
    coarse, fine = (density.on_nodes(num_nodes) for num_nodes in (128, 256))
    assert 256 <= fine.nodes.shape[-1] < 256 + density.panels.edges.shape[-1]

    def expectation(nodes: QuadratureNodes, function: Callable[[Tensor], Tensor]) -> Tensor:
        return (nodes.probs * function(nodes.nodes)).sum(-1)

    for function in (curved, torch.square):
        exact = expectation(density.on_nodes(), function)
        assert (expectation(coarse, function) - exact).abs().max() < 1e-5
        assert (expectation(fine, function) - exact).abs().max() < 1e-8


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_shapes_in_plates(name: str, dtype: torch.dtype) -> None:
    density = make(name, dtype=dtype)
    batch = (4, 2, *density.batch_shape)
    nodes = density.on_nodes(64).expand(batch)
    count = nodes.nodes.shape[-1]
    shared = nodes.enumerate_support(expand=False)
    assert shared.shape == (
        count,
        *[1] * (len(batch) - nodes.nodes.ndim + 1),
        *nodes.nodes.shape[:-1],
    )
    assert shared.dtype == nodes.logits.dtype == dtype
    assert nodes.enumerate_support().shape == (count, *batch)
    assert nodes.log_prob(shared).shape == (count, *batch)
    assert nodes.mean.shape == nodes.variance.shape == batch
    draws = nodes.sample((3,))
    assert draws.shape == nodes.log_prob(draws).shape == (3, *batch)
    # Every node, also the outermost, is a value of the density.
    assert density.log_prob(shared).isfinite().all()


def test_each_row_may_have_its_own_nodes() -> None:
    rows = torch.tensor([[0.0, 1.0, 2.0], [0.0, 10.0, 20.0]])
    nodes = QuadratureNodes(torch.tensor([0.2, 0.3, 0.5]).log(), rows).expand((4, 2))
    assert nodes.enumerate_support(expand=False).shape == (3, 1, 2)
    torch.testing.assert_close(nodes.mean, torch.tensor([1.3, 13.0]).expand(4, 2))
    torch.testing.assert_close(
        nodes.log_prob(torch.tensor([2.0, 10.0])).exp(), torch.tensor([0.5, 0.3]).expand(4, 2)
    )
    assert nodes.support.check(nodes.sample((5,))).all()


def test_draws_follow_the_masses() -> None:
    nodes = make("spline on normal").on_nodes(64)
    draws = nodes.sample((20_000,))
    error = (nodes.variance / len(draws)).sqrt()
    assert_within_standard_errors(draws.mean(0), nodes.mean, error)


@pytest.mark.parametrize(("num_nodes", "slack"), [(None, SIMPSON), (64, 1e-6), (128, SIMPSON)])
def test_enumeration_is_the_evidence_with_its_gradient(
    theta: Tensor, num_nodes: int | None, slack: float
) -> None:
    loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss
    evidence = -loss(model, guide, one_spline(theta), num_nodes)
    exact = exact_posterior(one_spline(theta))[0].sum()
    assert (evidence - exact).abs() < slack
    gradients = [torch.autograd.grad(value, theta)[0] for value in (evidence, exact)]
    assert (gradients[0] - gradients[1]).abs().max() < slack


def test_marginals_are_the_posterior(theta: Tensor) -> None:
    density = one_spline(theta.detach())
    marginals = TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(model, guide, density)
    posterior = marginals["z"].at(density.on_nodes().nodes)
    _, mean, variance = exact_posterior(density)
    assert (posterior.mean - mean).abs().max() < SIMPSON
    assert (posterior.variance - variance).abs().max() < SIMPSON


def test_infer_discrete_draws_from_the_posterior(theta: Tensor) -> None:
    density = one_spline(theta.detach())

    def repeated() -> None:
        with pyro.plate("draws", 4000, dim=-2):
            model(density)

    drawn = pyro.poutine.trace(infer_discrete(repeated, first_available_dim=-3)).get_trace()
    z = drawn.nodes["z"]["value"]
    assert z.shape == (4000, 3)
    _, mean, variance = exact_posterior(density)
    assert_within_standard_errors(z.mean(0), mean, (variance / len(z)).sqrt())


def test_infer_discrete_finds_the_heaviest_node(theta: Tensor) -> None:
    density = one_spline(theta.detach())
    mode = infer_discrete(model, first_available_dim=-2, temperature=0)
    z = pyro.poutine.trace(mode).get_trace(density).nodes["z"]["value"]
    nodes = density.on_nodes()
    places = nodes.nodes[:, None]
    joint = nodes.logits[:, None] + dist.Normal(curved(places), NOISE).log_prob(OBSERVED)
    torch.testing.assert_close(z, nodes.nodes[joint.argmax(0)])


def test_what_pyro_builds_from_logits_alone_does_not_draw(theta: Tensor) -> None:
    """Pyro's sample_posterior would hand the model the number of a node for its place."""
    loss = TraceEnum_ELBO(max_plate_nesting=1)
    with pytest.raises(RuntimeError, match="infer_discrete"):
        loss.sample_posterior(model, guide, one_spline(theta.detach()))


def mixture_model(mixture: EnergyMixture, num_nodes: int | None = None) -> None:
    with pyro.plate("data", len(OBSERVED)):
        c = pyro.sample("c", mixture.mixture_distribution, infer=ENUMERATE)
        z = pyro.sample("z", mixture.component(c).on_nodes(num_nodes), infer=ENUMERATE)
        pyro.sample("x", dist.Normal(curved(z), NOISE), obs=OBSERVED)


@pytest.mark.parametrize("kind", [EnergyMixture, LogSplineMixture])
def test_enumerated_components_have_the_evidence_of_the_mixture(kind: type[EnergyMixture]) -> None:
    theta = parameters("spline mixture")[0].requires_grad_()
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss
    evidence = -loss(mixture_model, guide, kind(spline(theta), logits))
    exact = exact_posterior(kind(spline(theta), logits))[0].sum()
    assert (evidence - exact).abs() < SIMPSON
    gradients = [torch.autograd.grad(value, (theta, logits)) for value in (evidence, exact)]
    for gradient, expected in zip(*gradients, strict=True):
        assert (gradient - expected).abs().max() < 1e-8


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


def test_inferred_components_have_their_posterior_weights() -> None:
    mixture = LogSplineMixture(spline(parameters("spline mixture")[0]))
    loss = TraceEnum_ELBO(max_plate_nesting=1)
    responsibilities = loss.compute_marginals(mixture_model, guide, mixture)["c"].probs
    evidence = torch.stack(
        [exact_posterior(mixture.component(torch.tensor(c)))[0] for c in range(4)], -1
    )
    expected = (evidence + mixture.log_weights).softmax(-1)
    assert (responsibilities - expected).abs().max() < SIMPSON


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


def half_precision() -> QuadratureNodes:
    breakpoints = torch.linspace(0, 1, 9, dtype=torch.bfloat16)
    return EnergyDistribution(lambda z: 0 * z, breakpoints=breakpoints).on_nodes()


def crowded() -> QuadratureNodes:
    """Cells of a width near float32's spacing."""
    breakpoints = torch.linspace(1e5, 1e5 + 1, 9)
    reference = dist.Uniform(breakpoints[0], breakpoints[-1])
    return EnergyDistribution(lambda z: 0 * z, reference, breakpoints=breakpoints).on_nodes()


WRONG: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "half precision": (half_precision, ValueError, "float32 or float64, got torch.bfloat16"),
    "nodes that coincide": (crowded, ValueError, "increasing nodes"),
    "no node": (lambda: make("spline").on_nodes(0), ValueError, "at least 1 for num_nodes, got 0"),
    "too few nodes": (
        lambda: QuadratureNodes(torch.zeros(3), torch.tensor([0.0, 1.0])),
        ValueError,
        "as many nodes as logits",
    ),
    "a joint latent": (lambda: make("spline").on_nodes().to_event(1), NotImplementedError, "G\\^Q"),
    "no such component": (
        lambda: make("mixture").component(torch.tensor(4)),
        ValueError,
        "integer indices of components from 0 to 3",
    ),
    "a component by a fraction": (
        lambda: make("mixture").component(torch.tensor(0.5)),
        ValueError,
        "integer indices of components",
    ),
    "a value between nodes": (
        lambda: QuadratureNodes(torch.zeros(2), torch.tensor([0.0, 1.0])).log_prob(
            torch.tensor(0.5)
        ),
        ValueError,
        "within the support",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused(case: str) -> None:
    attempt, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        attempt()


SHAPES = [((4, 1), (7, 4, 3)), ((1,), (5, 3)), ((), (5,)), ((4,), (7, 4)), ((3, 1), (2,))]


@pytest.mark.parametrize(("rows", "values"), SHAPES)
def test_each_value_is_matched_with_the_nodes_of_its_own_row(
    rows: tuple[int, ...], values: tuple[int, ...]
) -> None:
    """Also where one row of nodes broadcasts over several columns of values."""
    nodes = torch.randn(*rows, 9, dtype=torch.float64).sort(-1).values
    law = QuadratureNodes(torch.randn_like(nodes), nodes)
    shape = torch.broadcast_shapes(rows, values)
    number = torch.randint(9, shape)
    value = nodes.expand(*shape, 9).gather(-1, number[..., None])[..., 0]
    logits = law.logits.log_softmax(-1).expand(*shape, 9)
    torch.testing.assert_close(law.log_prob(value), logits.gather(-1, number[..., None])[..., 0])

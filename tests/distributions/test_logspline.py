"""Log-splines: the same law as the callable form, kept through copies, and what they refuse."""

import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Gamma, Normal, Uniform, kl_divergence

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.logspline import LogSpline, LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from tests.distributions.densities import spline_table


def both_forms(reference: Distribution | None) -> tuple[LogSpline, EnergyDistribution]:
    """One law as a log-spline and as the exponential of a callable."""
    basis = BSplineBasis(grid_size=6, domain=(-2.0, 3.0)).double()
    coefficients = torch.randn(4, 9, dtype=torch.float64)
    table = basis.to_polynomials(coefficients)
    reference = Uniform(-2.0, 3.0) if reference is None else reference
    callable_form = EnergyDistribution(
        lambda z: (basis(z) * coefficients).sum(-1), reference, breakpoints=basis.breakpoints
    )
    return LogSpline(table, basis.breakpoints, reference), callable_form


@pytest.mark.parametrize("reference", [None, Normal(0.0, 1.0)], ids=["uniform", "normal"])
def test_same_law_as_the_callable_form(reference: Distribution | None) -> None:
    table_form, callable_form = both_forms(reference)
    z = table_form.sample((100,))
    torch.testing.assert_close(table_form.log_prob(z), callable_form.log_prob(z))
    torch.testing.assert_close(table_form.cdf(z), callable_form.cdf(z))
    torch.testing.assert_close(table_form.entropy(), callable_form.entropy())


def test_mixture_forms_agree() -> None:
    components = LogSpline(spline_table(torch.randn(3, 5, 11).double()), torch.linspace(0, 1, 9))
    logits = torch.randn(3, 5, dtype=torch.float64)
    fast, plain = LogSplineMixture(components, logits), EnergyMixture(components, logits)
    z = fast.sample((50,))
    torch.testing.assert_close(fast.log_prob(z), plain.log_prob(z))
    torch.testing.assert_close(fast.variance, plain.variance)


def test_mixture_of_one_component_is_that_component() -> None:
    component = LogSpline(spline_table(torch.randn(3, 1, 11).double()), torch.linspace(0, 1, 9))
    mixture = LogSplineMixture(component)
    z = mixture.sample((50,))
    torch.testing.assert_close(mixture.log_prob(z), component.log_prob(z.unsqueeze(-1))[..., 0])


def test_components_that_are_functions_of_normals_in_closed_form() -> None:
    """F = -z^2 / 2 on a standard normal is a normal of variance one half."""
    points = torch.linspace(-8, 8, 2, dtype=torch.float64)
    # In the one cell, z = -8 + 16 t.
    table = torch.tensor([[-32.0, 128.0, -128.0]], dtype=torch.float64)
    density = LogSpline(table, points, Normal(0.0, 1.0))
    exact = Normal(0.0, 0.5**0.5)
    z = torch.linspace(-3, 3, 7, dtype=torch.float64)
    torch.testing.assert_close(density.log_prob(z), exact.log_prob(z), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(density.cdf(z), exact.cdf(z), rtol=1e-6, atol=1e-6)


def test_expand_inside_the_batch() -> None:
    table = spline_table(torch.randn(2, 1, 11).double())
    single = LogSpline(table, torch.linspace(0, 1, 9))
    expanded = single.expand((2, 3))
    z = expanded.sample((5,))
    assert z.shape == (5, 2, 3)
    torch.testing.assert_close(expanded.log_prob(z), single.log_prob(z))
    mixture = LogSplineMixture(single.expand((2, 3)), torch.randn(2, 3))
    wide = LogSplineMixture(LogSpline(table[:1], torch.linspace(0, 1, 9))).expand((4,))
    assert mixture.sample().shape == (2,)
    assert wide.sample((2,)).shape == (2, 4)


def test_copies_after_use() -> None:
    table = spline_table(torch.randn(3, 11)).detach().requires_grad_()
    density = LogSpline(table, torch.linspace(0, 1, 9))
    value = density.rsample()
    clone = copy.deepcopy(density)
    again = pickle.loads(pickle.dumps(density))
    for other in (clone, again):
        torch.testing.assert_close(other.log_prob(value), density.log_prob(value))


def test_parameters_changed_in_place_change_the_law() -> None:
    """What an optimiser's step does to a distribution that outlives it."""
    table = spline_table(torch.randn(3, 2, 11)).detach().requires_grad_()
    logits = torch.zeros(3, 2, requires_grad=True)
    points = torch.linspace(0, 1, 9)
    density = LogSpline(table, points)
    mixture = LogSplineMixture(density, logits)
    callable_form = EnergyDistribution(lambda z: logits.sum() * z)
    z = torch.rand(7, 3, 2)
    for _ in range(2):
        for law, value in ((density, z), (mixture, z[..., 0]), (callable_form, z)):
            with torch.no_grad():
                law.log_prob(value)
            law.log_prob(value).sum().backward()
        with torch.no_grad():
            table.mul_(2)
            logits.add_(torch.randn(3, 2))
    fresh = LogSpline(table, points)
    torch.testing.assert_close(density.log_prob(z), fresh.log_prob(z))
    torch.testing.assert_close(density.mean, fresh.mean)
    exact = LogSplineMixture(fresh, logits)
    torch.testing.assert_close(mixture.log_prob(z[..., 0]), exact.log_prob(z[..., 0]))
    tilt = EnergyDistribution(lambda z: logits.sum() * z)
    torch.testing.assert_close(callable_form.log_prob(z), tilt.log_prob(z))


@pytest.mark.parametrize("grid_size", [8, 20])
def test_steep_energies_are_inverted_as_promised(grid_size: int) -> None:
    """Energies that change by up to 60 across a cell."""
    table = spline_table(torch.randn(500, grid_size + 3).double(), grid_size=grid_size, sd=18.0)
    places = torch.linspace(0, 1, 21, dtype=torch.float64)
    energies = (table.unsqueeze(-1) * places ** torch.arange(4)[:, None]).sum(-2)
    change = (energies.amax(-1) - energies.amin(-1)).amax(-1)
    density = LogSpline(table[(change > 30) & (change < 60)], torch.linspace(0, 1, grid_size + 1))
    u = torch.rand(200, *density.batch_shape, dtype=torch.float64)
    assert density.batch_shape.numel() > 50
    assert (density.cdf(density.icdf(u)) - u).abs().max() < 1e-6


def test_large_energies_stay_finite() -> None:
    density = LogSpline(1e4 * spline_table(torch.randn(20, 11)), torch.linspace(0, 1, 9))
    z = density.sample((100,))
    assert density.log_prob(z).isfinite().all()
    assert density.mean.isfinite().all()
    assert density.entropy().isfinite().all()


WRONG: dict[str, tuple[Tensor, Tensor, Distribution | None, str]] = {
    "cells and breakpoints disagree": (
        torch.zeros(3, 4),
        torch.linspace(0, 1, 6),
        None,
        r"G = 5 cells.*got shape \(3, 4\)",
    ),
    "not finite": (
        torch.full((2, 4), torch.inf),
        torch.linspace(0, 1, 3),
        None,
        "8 of 8 that are NaN or infinite",
    ),
    "half precision": (
        torch.zeros(2, 4, dtype=torch.float16),
        torch.linspace(0, 1, 3),
        None,
        "float32 or float64, got torch.float16",
    ),
    "domain turned round": (
        torch.zeros(2, 4),
        torch.linspace(1, 0, 3),
        Uniform(0.0, 1.0),
        "increasing breakpoints",
    ),
    "no width": (torch.zeros(1, 4), torch.zeros(2), Uniform(0.0, 1.0), "increasing breakpoints"),
    "reference without mass there": (
        torch.zeros(2, 4),
        torch.linspace(-1, 1, 3),
        Uniform(0.0, 1.0),
        "no mass on part of them",
    ),
    "reference beyond the domain": (
        torch.zeros(2, 4),
        torch.linspace(0, 1, 3),
        Uniform(-1.0, 1.0),
        "reach the finite ends",
    ),
    "a batch of references": (
        torch.zeros(2, 4),
        torch.linspace(0, 1, 3),
        Gamma(torch.ones(2), 1.0),
        "one univariate continuous distribution",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input(case: str) -> None:
    table, breakpoints, reference, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        LogSpline(table, breakpoints, reference)


def test_probabilities_outside_are_refused() -> None:
    density = LogSpline(torch.zeros(1, 4), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
        density.icdf(torch.tensor([0.5, 1.5]))


def test_energy_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps the shape"):
        EnergyDistribution(lambda z: z.sum(), batch_shape=torch.Size([3]))
    with pytest.raises(ValueError, match="NaN or infinite"):
        EnergyDistribution(torch.log)


def test_mixture_refuses_logits_that_do_not_fit() -> None:
    components = LogSpline(torch.zeros(3, 4, 1, 4), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"components \(3, 4\) and logits \(5,\)"):
        LogSplineMixture(components, torch.zeros(5))


def test_rows_of_breakpoints_are_checked() -> None:
    rows = torch.tensor([[0.0, 0.3, 1.0], [0.0, 0.6, 1.0]])
    with pytest.raises(ValueError, match="share their ends"):
        LogSpline(torch.zeros(2, 2, 4), rows * torch.tensor([[1.0], [2.0]]), Uniform(0.0, 1.0))
    with pytest.raises(ValueError, match=r"broadcast to \(\*batch, G \+ 1\)"):
        LogSpline(torch.zeros(3, 2, 4), rows)
    with pytest.raises(ValueError, match=r"\(\*batch, 1, G \+ 1\), got \(2, 3\)"):
        LogSplineMixture(LogSpline(torch.zeros(2, 2, 4), rows))


def test_energy_that_is_not_finite_between_breakpoints_is_refused() -> None:
    points = torch.tensor([0.0, 1.0])
    density = EnergyDistribution(
        lambda z: torch.where((z > 0.3) & (z < 0.5), torch.nan, z), breakpoints=points
    )
    with pytest.raises(ValueError, match="Expected finite energies"):
        density.mean  # noqa: B018 - what is computed is not wanted


@pytest.mark.parametrize("logit", [torch.inf, torch.nan])
def test_weights_that_are_not_finite_are_refused(logit: float) -> None:
    components = LogSpline(torch.zeros(3, 1, 4), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"finite|satisfy the constraint"):
        LogSplineMixture(components, torch.tensor([0.0, logit, 0.0]))
    with pytest.raises(ValueError, match="not all of them"):
        LogSplineMixture(components, torch.full((3,), -torch.inf))


def test_a_component_may_have_no_weight() -> None:
    components = LogSpline(torch.tensor([[[0.0, -3.0]], [[0.0, 3.0]]]), torch.tensor([0.0, 1.0]))
    mixture = LogSplineMixture(components, torch.tensor([0.0, -torch.inf]))
    z = torch.rand(5)
    torch.testing.assert_close(mixture.log_prob(z), components.log_prob(z[:, None])[:, 0])
    torch.testing.assert_close(mixture.mean, components.mean[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype: torch.dtype) -> None:
    points = torch.tensor([0.0, 1.0], dtype=dtype)
    with pytest.raises(ValueError, match="float32 or float64"):
        EnergyDistribution(lambda z: z, breakpoints=points)


def test_divergence_between_densities_of_other_knots() -> None:
    """The same law on other knots: no divergence; and rows of knots against shared ones."""
    coarse = torch.tensor([[0.0, 4.0], [4.0, -7.0]], dtype=torch.float64)
    fine = torch.tensor([[0.0, 2.0], [2.0, 2.0], [4.0, -3.5], [0.5, -3.5]], dtype=torch.float64)
    own = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.3, 1.0]], dtype=torch.float64)
    p = LogSpline(fine, torch.linspace(0, 1, 5, dtype=torch.float64))
    q = LogSpline(coarse.expand(2, 2, 2), own)
    for divergence in (kl_divergence(p, q), kl_divergence(q, p)):
        assert divergence.shape == (2,)
        assert divergence[0].abs() < 1e-12
        assert divergence[1] > 0.01
    # The second one, by a sum of 100,000 midpoints.
    z = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    log_p, log_q = p.log_prob(z), q.log_prob(z[:, None])[:, 1]
    exact = (log_p.exp() * (log_p - log_q)).mean()
    torch.testing.assert_close(kl_divergence(p, q)[1], exact, rtol=0, atol=1e-8)


def test_expectation_of_any_function() -> None:
    density = LogSpline(
        torch.tensor([[[0.0, 2.0]], [[0.0, -5.0]]]).double(), torch.tensor([0.0, 1.0]).double()
    )
    slopes = torch.tensor([2.0, -5.0]).double()
    # E exp(z) under exp(s z) on [0, 1].
    exact = slopes * (slopes + 1).expm1() / ((slopes + 1) * slopes.expm1())
    torch.testing.assert_close(density.expectation(torch.exp), exact)
    with pytest.raises(ValueError, match="keeps the shape"):
        density.expectation(lambda z: z.sum(-1))


def test_steps_hide_no_value_that_is_not_a_number() -> None:
    steps = torch.tensor([[1.0], [2.0]])
    density = LogSpline(steps, torch.tensor([0.0, 0.4, 1.0]), validate_args=False)
    values = torch.tensor([0.2, torch.nan, 1.5])
    assert density.log_prob(values).isnan().tolist() == [False, True, False]
    assert density.log_prob(values)[2] == -torch.inf
    assert density.cdf(values).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("mixture", [EnergyMixture, LogSplineMixture])
def test_mixture_of_learnable_weights_is_copied(mixture: type[EnergyMixture]) -> None:
    logits = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    slopes = torch.tensor([[[0.0, -8.0]], [[0.0, 8.0]]])
    density = mixture(LogSpline(slopes, torch.tensor([0.0, 1.0])), logits)
    z = torch.tensor([0.1, 0.7])
    density.log_prob(z).sum().backward()
    twin = copy.deepcopy(density)
    torch.testing.assert_close(twin.log_prob(z), density.log_prob(z))
    with torch.no_grad():
        logits.add_(torch.tensor([3.0, 0.0]))
    assert not torch.allclose(twin.log_prob(z), density.log_prob(z))

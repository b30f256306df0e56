"""Quadrature of the thermodynamic curve, against exact curves and scipy."""

import pytest
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from lvkam_pyro.evidence.rules import (
    CorrectedTrapezoid,
    HermiteRule,
    PCHIPRule,
    Rule,
    TrapezoidRule,
    bracket,
    monotone_slopes,
)
from lvkam_pyro.ladder.schedule import PowerSchedule
from tests.tracing.models import LinearGaussian

RULES = {
    "trapezoid": TrapezoidRule(),
    "corrected": CorrectedTrapezoid(),
    "pchip": PCHIPRule(),
    "hermite": HermiteRule(),
}


def exact_curve(model: LinearGaussian, x: Tensor, temperatures: Tensor) -> tuple[Tensor, Tensor]:
    """E_t and V_t of the log likelihood of a linear Gaussian model, `(T, N)` each."""
    weight, x = model.weight.double(), x.double()
    eigenvalues, basis = torch.linalg.eigh(weight.T @ weight / model.scale**2)
    field = x @ weight / model.scale**2 @ basis
    num_outputs = weight.shape[0]
    constant = -(x.square().sum(-1) / model.scale**2) / 2 - num_outputs / 2 * torch.log(
        2 * torch.pi * torch.tensor(model.scale, dtype=torch.float64) ** 2
    )
    t = temperatures[:, None, None]
    variance = 1 / (1 + t * eigenvalues)
    mean = t * field * variance
    slope = field - eigenvalues * mean
    curve = constant + (field * mean - eigenvalues * (mean**2 + variance) / 2).sum(-1)
    spread = slope**2 * variance + (eigenvalues * variance) ** 2 / 2
    return curve, spread.sum(-1)


def setting(num_temperatures: int) -> tuple[LinearGaussian, Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    model = LinearGaussian(10, 20, scale=0.3)
    x = model.sample(50)
    temperatures = PowerSchedule()(num_temperatures)
    return model, x, temperatures, *exact_curve(model, x, temperatures)


@pytest.mark.parametrize("num_temperatures", [12, 20, 30])
@pytest.mark.parametrize("rule", RULES)
def test_the_reported_error_covers_the_true_one(rule: str, num_temperatures: int) -> None:
    model, x, temperatures, mean, variance = setting(num_temperatures)
    error = RULES[rule].integrate(temperatures, mean, variance) - model.exact(x)
    reported = RULES[rule].error(temperatures, mean, variance)
    assert error.abs().sum() < 1.2 * reported.sum()
    assert reported.sum() < 100 * error.abs().sum()


def test_the_default_rule_has_the_smallest_error() -> None:
    model, x, temperatures, mean, variance = setting(20)
    errors = {
        name: float((rule.integrate(temperatures, mean, variance) - model.exact(x)).sum().abs())
        for name, rule in RULES.items()
    }
    assert errors["hermite"] < 0.1 * min(errors["pchip"], errors["corrected"])
    assert errors["hermite"] < 0.1
    assert max(errors["pchip"], errors["corrected"]) < 0.2 * errors["trapezoid"]


def test_the_bracket_holds_the_evidence() -> None:
    model, x, temperatures, mean, _ = setting(20)
    lower, upper = bracket(temperatures, mean)
    assert (lower < model.exact(x)).all()
    assert (model.exact(x) < upper).all()


@pytest.mark.parametrize("rule", RULES)
def test_batches_are_integrated_one_by_one(rule: str) -> None:
    _, _, temperatures, mean, variance = setting(12)
    stacked = torch.stack([mean, 2 * mean]), torch.stack([variance, 2 * variance])
    together = RULES[rule].integrate(temperatures, *stacked)
    alone = RULES[rule].integrate(temperatures, mean, variance)
    torch.testing.assert_close(together, torch.stack([alone, 2 * alone]))


def test_pchip_is_scipys() -> None:
    temperatures = PowerSchedule()(9)
    values = torch.randn(9, 5, dtype=torch.float64)
    values[:, 3:] = values[:, 3:].sort(0).values
    scipys = PchipInterpolator(temperatures.numpy(), values.numpy(), axis=0)
    slopes = scipys.derivative()(temperatures.numpy())
    torch.testing.assert_close(monotone_slopes(temperatures, values), torch.as_tensor(slopes))
    integral = torch.as_tensor(scipys.integrate(0, 1))
    torch.testing.assert_close(PCHIPRule().integrate(temperatures, values, values), integral)


@pytest.mark.parametrize("exponent", [1.0, 3.0])
def test_hermite_is_exact_for_cubics_in_its_variable(exponent: float) -> None:
    temperatures = PowerSchedule(exponent=2.0)(4)
    s = temperatures[:, None] ** (1 / exponent)
    slope_in_t = 3 * s**2 / (exponent * s ** (exponent - 1)).clamp(min=1e-300)
    integral = HermiteRule(exponent=exponent).integrate(temperatures, s**3, slope_in_t)
    torch.testing.assert_close(integral, torch.full((1,), exponent / (exponent + 3)).double())


@pytest.mark.parametrize("rule", ["corrected", "hermite"])
def test_an_infinite_variance_is_left_out(rule: str) -> None:
    _, _, temperatures, mean, variance = setting(12)
    variance[0] = torch.inf
    assert RULES[rule].integrate(temperatures, mean, variance).isfinite().all()


def test_a_correction_larger_than_the_gap_is_left_out() -> None:
    temperatures = torch.tensor([0.0, 1.0])
    mean, variance = torch.tensor([[0.0], [1.0]]), torch.tensor([[100.0], [1.0]])
    assert CorrectedTrapezoid().integrate(temperatures, mean, variance) == 0.5


def test_two_temperatures_leave_the_error_unknown() -> None:
    temperatures = torch.tensor([0.0, 1.0])
    values = torch.zeros(2, 3)
    for rule in RULES.values():
        assert torch.equal(rule.error(temperatures, values, values), torch.full((3,), torch.inf))


def test_wrong_exponent() -> None:
    with pytest.raises(ValueError, match=r"exponent >= 1, but got 0\.5"):
        HermiteRule(exponent=0.5)


def test_rules_are_rules() -> None:
    assert all(isinstance(rule, Rule) for rule in RULES.values())

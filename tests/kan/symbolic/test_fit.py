"""A function of a known form is recognised, and no function breaks the search."""

import math
import re
from collections.abc import Callable

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lvkam_pyro.kan.symbolic.fit import RESOLUTION, SymbolicFit, fit_symbolic
from lvkam_pyro.kan.symbolic.forms import FORMS, Formula, SymbolicForm, X
from tests.kan.symbolic.samples import SAMPLES, Sample

every_sample = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
# Forms that are one another up to their constants: the simpler, or the first, is reported.
SAME = {"cos": "sin", "sigmoid": "tanh", "arccos": "arcsin"}
POINTS = torch.linspace(0.5, 3, 60, dtype=torch.float64)


def explained(values: Tensor, y: Tensor) -> float:
    return float(1 - (values - y).square().sum() / (y - y.mean()).square().sum())


@every_sample
def test_form_recognises_its_own_samples(sample: Sample) -> None:
    (fit,) = fit_symbolic(sample.y, sample.z, forms=[sample.formula.form])
    assert fit.r_squared > 1 - 1e-12
    # In float64 a loss of 1e-16 of the variance is what rounding leaves: 1e-8 of the values.
    torch.testing.assert_close(fit(sample.z), sample.y, rtol=1e-7, atol=1e-7)


@every_sample
def test_form_is_ranked_first_on_its_own_samples(sample: Sample) -> None:
    name = sample.formula.form.name
    best = fit_symbolic(sample.y, sample.z)[0]
    assert best.form.name == SAME.get(name, name)


@pytest.mark.parametrize("name", [n for n, f in FORMS.items() if f.has_scale and f.has_shift])
def test_constants_are_found_up_to_symmetry(name: str) -> None:
    sample = SAMPLES[name]
    (fit,) = fit_symbolic(sample.y, sample.z, forms=[sample.formula.form])
    assert fit.a == pytest.approx(sample.formula.a, rel=1e-5)
    period = sample.formula.form.period or math.inf
    shift = math.remainder(fit.b - sample.formula.b, period)
    assert shift == pytest.approx(0, abs=1e-5)


def test_constants_are_found_beside_a_fixed_one() -> None:
    power = Formula(FORMS["1/x^2"], b=0.3, c=-2.0, d=1.0)
    (fit,) = fit_symbolic(power, POINTS, forms=[power.form])
    assert fit.constants == pytest.approx(power.constants, rel=1e-6)
    decay = Formula(FORMS["exp"], a=-0.7, c=3.0, d=-1.0)
    (fit,) = fit_symbolic(decay, POINTS, forms=[decay.form])
    assert fit.constants == pytest.approx(decay.constants, rel=1e-6)


@pytest.mark.parametrize("name", ["1/x", "1/x^2", "sqrt", "1/sqrt", "log"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("gap", [1e-3, 0.02, 0.4, 6.0])
def test_singularity_on_either_side_is_found(name: str, sign: float, gap: float) -> None:
    z = torch.linspace(-1, 1, 200, dtype=torch.float64)
    truth = Formula(FORMS[name], a=sign, b=1 + gap, c=2.0)
    (fit,) = fit_symbolic(truth, z, forms=[truth.form])
    assert fit.a == sign
    assert fit.b == pytest.approx(1 + gap, abs=1e-5)


@pytest.mark.parametrize("frequency", [0.4, 3.0, 11.3, 24.9])
@pytest.mark.parametrize("phase", [0.0, 1.0, 2.5])
def test_wave_of_any_frequency_is_found(frequency: float, phase: float) -> None:
    z = torch.linspace(4, 6, 200, dtype=torch.float64)
    wave = torch.sin(frequency * z + phase)
    assert fit_symbolic(wave, z, forms=[FORMS["sin"]])[0].a == pytest.approx(frequency, rel=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1e-4), (-3e5, 2e5), (1000.0, 1001.0)])
def test_units_of_the_argument_do_not_matter(low: float, high: float) -> None:
    t = torch.linspace(0, 1, 100, dtype=torch.float64)
    best = fit_symbolic(torch.tanh(7 * t - 3), low + (high - low) * t)[0]
    assert best.form.name == "tanh"
    assert best.a * (high - low) == pytest.approx(7, rel=1e-5)


def test_shift_that_is_not_needed_is_left_out() -> None:
    waves = {fit.form.name: fit for fit in fit_symbolic(torch.cos(2 * POINTS), POINTS)}
    assert waves["cos"].b == 0
    assert waves["cos"].complexity == waves["sin"].complexity - 1
    assert waves["cos"].score < waves["sin"].score


@pytest.mark.parametrize("shape", [lambda z: z, torch.square])
def test_no_form_imitates_a_simpler_one_by_the_difference_of_large_numbers(
    shape: Callable[[Tensor], Tensor],
) -> None:
    """Or a layer in float32 would lose the function in their rounding."""
    z = torch.linspace(-1, 1, 100, dtype=torch.float64)
    y = shape(z)
    for fit in fit_symbolic(y, z):
        lost = (fit(z.float()).double() - fit(z)).abs().max() / y.std()
        assert lost < 2e-4, str(fit)


def test_score_is_as_documented() -> None:
    for fit in fit_symbolic(torch.exp(POINTS) + POINTS, POINTS, penalty=0.3):
        expected = math.log(1 - fit.r_squared + RESOLUTION) + 0.3 * fit.complexity
        assert fit.score == pytest.approx(expected)
        assert fit.r_squared == pytest.approx(explained(fit(POINTS), POINTS.exp() + POINTS))


def test_large_penalty_prefers_the_simple() -> None:
    y = torch.sin(POINTS / 2)
    assert fit_symbolic(y, POINTS)[0].form.name == "sin"
    assert fit_symbolic(y, POINTS, penalty=100.0)[0].form.name == "0"


def test_constant_function_is_the_form_0() -> None:
    for y in (torch.zeros(50), torch.full((50,), 7.3), 1 + 1e-7 * torch.randn(50)):
        best = fit_symbolic(y, torch.linspace(0, 1, 50))[0]
        assert best.form.name == "0"
        assert best.r_squared == 1
        assert best.d == pytest.approx(float(y.mean()), abs=1e-6)


def test_noise_is_no_formula() -> None:
    noise = torch.randn(400, dtype=torch.float64)
    z = torch.linspace(0, 1, 400, dtype=torch.float64)
    assert fit_symbolic(noise, z)[0].form.name == "0"


@pytest.mark.parametrize("name", ["x", "x^2", "exp", "sin", "tanh", "gaussian", "log", "sqrt"])
def test_form_is_recognised_under_noise(name: str) -> None:
    z = torch.linspace(0.05, 4, 400, dtype=torch.float64)
    truth = Formula(FORMS[name], a=1.0, b=-1.5 if name in {"tanh", "gaussian"} else 0.0, c=2.0)
    y = truth(z)
    noisy = y + 0.03 * y.std() * torch.randn_like(y)
    best = fit_symbolic(noisy, z)[0]
    assert best.form.name == name
    # 1 - R^2 against the truth is the noise times (free constants) / (samples), here below 4 / 400.
    assert 1 - explained(best(z), y) < 10 * 0.03**2 * 4 / 400


def test_samples_in_any_order_and_precision() -> None:
    order = torch.randperm(60)
    shuffled = fit_symbolic(POINTS[order].exp(), POINTS[order])[0]
    assert shuffled.constants == fit_symbolic(POINTS.exp(), POINTS)[0].constants
    single = fit_symbolic(POINTS.float().exp(), POINTS.float())[0]
    assert single.constants == pytest.approx((1.0, 0.0, 1.0, 0.0), abs=1e-4)


def test_function_is_its_values() -> None:
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert fit_symbolic(lambda z: weight * z.exp(), POINTS) == fit_symbolic(POINTS.exp(), POINTS)


def test_own_form_joins_the_others() -> None:
    step = SymbolicForm("erf", torch.erf, sympy.erf(X), 2)
    best = fit_symbolic(torch.erf(2 * POINTS - 3), POINTS, forms=(*FORMS.values(), step))[0]
    assert best.form is step
    assert sympy.sstr(best) == "erf(2*z - 3)"


@settings(max_examples=25)
@given(
    values=st.lists(
        st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 1e-300]), min_size=5, max_size=40
    ),
    low=st.floats(-100, 100),
    width=st.floats(1e-3, 1e3),
)
def test_every_function_gets_finite_formulas(values: list[float], low: float, width: float) -> None:
    y = torch.tensor(values, dtype=torch.float64)
    z = low + width * torch.linspace(0, 1, len(y), dtype=torch.float64)
    fits = fit_symbolic(y, z)
    assert fits[0].score == min(fit.score for fit in fits)
    assert len({fit.form.name for fit in fits}) == len(fits) >= 20
    for fit in fits:
        assert_is_finite(fit, z)


def assert_is_finite(fit: SymbolicFit, z: Tensor) -> None:
    assert all(map(math.isfinite, (*fit.constants, fit.score)))
    assert 0 <= fit.r_squared <= 1
    assert fit(z).isfinite().all()
    assert not fit.expression.has(sympy.nan, sympy.zoo, sympy.oo, sympy.I)


BAD_INPUT: list[tuple[Callable[[], object], str]] = [
    (lambda: fit_symbolic(torch.ones(5), torch.ones(6)), "(6,)"),
    (lambda: fit_symbolic(torch.ones(3), torch.arange(3.0)), "at least 4 different"),
    (lambda: fit_symbolic(torch.ones(9), torch.ones(9)), "1 different"),
    (lambda: fit_symbolic(torch.ones(9, 2), torch.rand(9, 2)), "(9, 2)"),
    (lambda: fit_symbolic(torch.log, torch.linspace(-1, 1, 9)), "0 and 5 that are not"),
    (lambda: fit_symbolic(torch.ones(9), torch.arange(9.0), forms=[]), "0 forms"),
    (lambda: fit_symbolic(torch.ones(9), torch.arange(9.0), penalty=-1.0), "penalty=-1.0"),
]


@pytest.mark.parametrize(("call", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=re.escape(match)):
        call()

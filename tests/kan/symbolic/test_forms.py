"""Every form: torch and sympy agree, and what it says about its constants is true."""

import copy
import math
import pickle
import re
from collections.abc import Callable

import pytest
import sympy
import torch

from lvkam_pyro.kan.symbolic.forms import FORMS, Formula, SymbolicForm, X, round_constants
from tests.kan.symbolic.samples import SAMPLES, Sample

every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
every_sample = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


def inside(form: SymbolicForm, *, margin: float = 0.05) -> torch.Tensor:
    """Points over the form's domain or its part from -3 to 3."""
    low, high = max(form.domain[0], -3.0), min(form.domain[1], 3.0)
    return torch.linspace(low + margin, high - margin, 41, dtype=torch.float64)


def assert_affine(values: torch.Tensor, of: torch.Tensor) -> None:
    """The values are `c of + d` for some constants."""
    design = torch.stack([of, torch.ones_like(of)], 1)
    fitted = design @ torch.linalg.lstsq(design, values).solution
    torch.testing.assert_close(fitted, values)


@every_sample
def test_sympy_and_torch_give_the_same_numbers(sample: Sample) -> None:
    z = sympy.Symbol("z")
    compiled = sympy.lambdify(z, sample.formula.expression, "mpmath")
    expected = torch.tensor([float(compiled(value)) for value in sample.z.tolist()])
    torch.testing.assert_close(sample.y, expected.double())


@every_form
def test_constants_that_do_not_matter_do_not_matter(form: SymbolicForm) -> None:
    x = inside(form)
    if not form.has_scale:
        assert_affine(form(0.5 * x), form(x))
    if not form.has_shift:
        assert_affine(form(x + 0.02), form(x))
    if form.is_mirrored:
        assert_affine(form(-x), form(x))
    if form.period is not None:
        assert_affine(form(x + form.period), form(x))


@every_form
def test_constants_that_matter_matter(form: SymbolicForm) -> None:
    """Otherwise a table would call free what is not, and the score punish it."""
    x = inside(form)[5:-5]
    if form.has_scale:
        with pytest.raises(AssertionError):
            assert_affine(form(0.5 * x), form(x))
    if form.has_shift:
        with pytest.raises(AssertionError):
            assert_affine(form(x + 0.02), form(x))


@every_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradient_stay_finite_beyond_the_domain(
    form: SymbolicForm, dtype: torch.dtype
) -> None:
    x = torch.tensor([-20.0, *form.domain, 0.0, 20.0], dtype=dtype).clamp(-20, 20).requires_grad_()
    values = form(x)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    assert values.dtype == dtype
    assert values.isfinite().all()
    assert gradient.isfinite().all()


@every_form
def test_form_survives_copies(form: SymbolicForm) -> None:
    assert pickle.loads(pickle.dumps(form)) == form
    assert copy.deepcopy(form) == form


def test_forms_have_keys_of_their_own() -> None:
    assert len({form.key for form in FORMS.values()} - {0}) == len(FORMS)


@pytest.mark.parametrize(
    ("expression", "digits", "text"),
    [
        (1.99999 * X + 1e-5, 3, "2*x + 1.0e-5"),
        (-0.99999 * sympy.sin(0.123456 * X), 2, "-sin(0.12*x)"),
        (sympy.Float(1234.5), 3, "1230.0"),
        (sympy.Float(0.49), 1, "0.5"),
        (sympy.sqrt(X) / 3, 2, "sqrt(x)/3"),
    ],
)
def test_constants_are_rounded(expression: sympy.Expr, digits: int, text: str) -> None:
    assert sympy.sstr(round_constants(expression, digits), full_prec=False) == text


def test_formula_prints_as_it_is_read() -> None:
    formula = Formula(FORMS["gaussian"], a=2.0, b=-1.00001, c=0.123456, d=0.0)
    assert str(formula) == "0.1235*exp(-(2*z - 1)**2)"
    assert formula.latex(2) == r"0.12 e^{- \left(2 z - 1\right)^{2}}"
    assert str(Formula(FORMS["0"], d=0.25)) == "0.25"


BAD_INPUT: list[tuple[Callable[[], object], str]] = [
    (lambda: SymbolicForm("", torch.sin, sympy.sin(X), 1), "a name"),
    (lambda: SymbolicForm("f", torch.sin, sympy.sin(X), -1), "-1"),
    (lambda: SymbolicForm("f", torch.sin, sympy.sin(X), 1, (1.0, 0.0)), "(1.0, 0.0)"),
    (lambda: SymbolicForm("f", torch.sin, sympy.Symbol("z"), 1), "got z"),
    (
        lambda: SymbolicForm("f", torch.log, sympy.log(X), 1, (0.0, math.inf), is_mirrored=True),
        "is_mirrored=False",
    ),
    (lambda: round_constants(X, 0), "got 0"),
]


@pytest.mark.parametrize(("call", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=re.escape(match)):
        call()

"""Forms: elementary functions that a learned function may turn out to be."""

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import sympy
import torch
from torch import Tensor
from torch.nn import functional as F

X = sympy.Symbol("x")
"""The argument of every form's expression."""

_POSITIVE = (0.0, math.inf)


@dataclass(frozen=True)
class SymbolicForm:
    r"""An elementary function :math:`g`, of which formulas :math:`c \, g(a z + b) + d` are made.

    ``form(x)`` evaluates it on a tensor. At and beyond the ends of its domain it keeps the value a
    rounding error inside them, so that a logarithm or a square root met in training gives neither
    NaN nor an infinite gradient.

    It should vary over about one unit of its argument: scales are searched around that.

    Three facts spare the search for constants that change nothing; for another form they
    may be left at their defaults, which are always right.

    Args:
        name: How the form is called in tables, and known by in a layer's state.
        function: :math:`g` on tensors, elementwise and differentiable.
        expression: :math:`g` in sympy, of the symbol ``x``.
        complexity: How much harder than a straight line (1) the form is to read.
        domain: The interval on which :math:`g` is finite; its ends may be singular.
        has_scale: Whether :math:`a > 0` matters: False where :math:`g(a x)` is
            :math:`c \, g(x) + d`, as for powers and the logarithm.
        has_shift: Whether :math:`b` matters: False where :math:`g(x + b)` is
            :math:`c \, g(x) + d`, as for the exponential.
        is_mirrored: Whether :math:`g(-x)` is :math:`c \, g(x) + d`, so that :math:`a > 0` suffices.
        period: The shift :math:`p` for which :math:`g(x + p)` is :math:`c \, g(x) + d`, if any.

    Raises:
        ValueError: If the name is empty, the complexity negative, the expression of another symbol,
            or the domain no interval or, for a mirrored form, not symmetric.

    Example:
        >>> root = SymbolicForm(
        ...     "cbrt", lambda x: x ** (1 / 3), sympy.cbrt(sympy.Symbol("x")), 2, (0.0, math.inf)
        ... )
        >>> root(torch.tensor([8.0, -1.0]))
        tensor([2.0000, 0.0049])
        >>> root.of(sympy.Symbol("z") + 1)
        (z + 1)**(1/3)
    """

    name: str
    function: Callable[[Tensor], Tensor]
    expression: sympy.Expr
    complexity: float
    domain: tuple[float, float] = (-math.inf, math.inf)
    has_scale: bool = True
    has_shift: bool = True
    is_mirrored: bool = False
    period: float | None = None

    def __post_init__(self) -> None:
        low, high = self.domain
        if not self.name or self.complexity < 0 or not low < high:
            raise ValueError(
                "Expected a name, a complexity of at least 0 and a domain (low, high) with low < "
                f"high, got {self.name!r}, {self.complexity} and {self.domain}."
            )
        if self.expression.free_symbols - {X}:
            raise ValueError(
                f"Expected an expression in sympy.Symbol('x') alone, got {self.expression}."
            )
        if self.is_mirrored and low != -high:
            raise ValueError(
                f"Expected a domain (-r, r) of the mirrored form {self.name!r}, got {self.domain}. "
                "Pass is_mirrored=False."
            )

    def __call__(self, x: Tensor) -> Tensor:
        """The function at `x` of any shape, kept inside its domain."""
        low, high = self.domain
        if math.isinf(low) and math.isinf(high):
            return self.function(x)
        margin = torch.finfo(x.dtype).eps
        return self.function(x.clamp(low + margin, high - margin))

    def of(self, argument: sympy.Expr) -> sympy.Expr:
        """The form's expression at another argument."""
        return self.expression.subs(X, argument)

    @property
    def key(self) -> int:
        """The integer that stands for the form in a layer's state: a checksum of its name."""
        return zlib.crc32(self.name.encode())

    def __str__(self) -> str:
        return self.name


# Functions with names, not lambdas: a layer that holds forms can be pickled.
def _zero(x: Tensor) -> Tensor:
    return 0 * x


def _identity(x: Tensor) -> Tensor:
    return x


def _cube(x: Tensor) -> Tensor:
    return x * x * x


def _fourth_power(x: Tensor) -> Tensor:
    return x.square().square()


def _inverse_square(x: Tensor) -> Tensor:
    return x.square().reciprocal()


def _gaussian(x: Tensor) -> Tensor:
    return torch.exp(-x.square())


def _lorentzian(x: Tensor) -> Tensor:
    return (1 + x.square()).reciprocal()


_ALL = (
    SymbolicForm("0", _zero, sympy.Integer(0), 0, has_scale=False, has_shift=False),
    SymbolicForm("x", _identity, X, 1, has_scale=False, has_shift=False, is_mirrored=True),
    SymbolicForm("x^2", torch.square, X**2, 2, has_scale=False, is_mirrored=True),
    SymbolicForm("x^3", _cube, X**3, 3, has_scale=False, is_mirrored=True),
    SymbolicForm("x^4", _fourth_power, X**4, 3, has_scale=False, is_mirrored=True),
    SymbolicForm("1/x", torch.reciprocal, 1 / X, 2, _POSITIVE, has_scale=False),
    SymbolicForm("1/x^2", _inverse_square, X**-2, 3, _POSITIVE, has_scale=False),
    SymbolicForm("sqrt", torch.sqrt, sympy.sqrt(X), 2, _POSITIVE, has_scale=False),
    SymbolicForm("1/sqrt", torch.rsqrt, 1 / sympy.sqrt(X), 3, _POSITIVE, has_scale=False),
    SymbolicForm("exp", torch.exp, sympy.exp(X), 2, has_shift=False),
    SymbolicForm("log", torch.log, sympy.log(X), 2, _POSITIVE, has_scale=False),
    SymbolicForm("abs", torch.abs, sympy.Abs(X), 3, has_scale=False, is_mirrored=True),
    SymbolicForm("sin", torch.sin, sympy.sin(X), 2, is_mirrored=True, period=math.pi),
    SymbolicForm("cos", torch.cos, sympy.cos(X), 2, is_mirrored=True, period=math.pi),
    SymbolicForm("tan", torch.tan, sympy.tan(X), 3, (-math.pi / 2, math.pi / 2), is_mirrored=True),
    SymbolicForm("tanh", torch.tanh, sympy.tanh(X), 3, is_mirrored=True),
    SymbolicForm("sigmoid", torch.sigmoid, 1 / (1 + sympy.exp(-X)), 3.5, is_mirrored=True),
    SymbolicForm("softplus", F.softplus, sympy.log(1 + sympy.exp(X)), 4),
    SymbolicForm("arctan", torch.atan, sympy.atan(X), 3, is_mirrored=True),
    SymbolicForm("arcsin", torch.asin, sympy.asin(X), 4, (-1.0, 1.0), is_mirrored=True),
    SymbolicForm("arccos", torch.acos, sympy.acos(X), 4, (-1.0, 1.0), is_mirrored=True),
    SymbolicForm("arctanh", torch.atanh, sympy.atanh(X), 4, (-1.0, 1.0), is_mirrored=True),
    SymbolicForm("gaussian", _gaussian, sympy.exp(-(X**2)), 3, is_mirrored=True),
    SymbolicForm("lorentzian", _lorentzian, 1 / (1 + X**2), 3, is_mirrored=True),
    SymbolicForm("sinh", torch.sinh, sympy.sinh(X), 3, is_mirrored=True),
    SymbolicForm("cosh", torch.cosh, sympy.cosh(X), 3, is_mirrored=True),
)

FORMS: Mapping[str, SymbolicForm] = MappingProxyType({form.name: form for form in _ALL})
"""The library's forms by name. With another beside them: ``forms=(*FORMS.values(), mine)``."""


Z = sympy.Symbol("z")
"""The argument of a formula's expression."""


@dataclass(frozen=True)
class Formula:
    r"""The univariate function :math:`y = c \, g(a z + b) + d`.

    Args:
        form: The form :math:`g`.
        a: Scale of the argument, in units of 1/z.
        b: Shift of the argument.
        c: Scale of the value, in units of y.
        d: Shift of the value, in units of y.

    Example:
        >>> from lvkam_pyro.kan.symbolic.forms import FORMS
        >>> wave = Formula(FORMS["sin"], a=2.0, c=0.5)
        >>> wave.expression
        0.5*sin(2.0*z)
        >>> wave.latex()
        '0.5 \\sin{\\left(2 z \\right)}'
    """

    form: SymbolicForm
    a: float = 1.0
    b: float = 0.0
    c: float = 1.0
    d: float = 0.0

    def __call__(self, z: Tensor) -> Tensor:
        """The function at `z` of any shape."""
        return self.c * self.form(self.a * z + self.b) + self.d

    @property
    def constants(self) -> tuple[float, float, float, float]:
        """The constants `(a, b, c, d)`."""
        return self.a, self.b, self.c, self.d

    @property
    def expression(self) -> sympy.Expr:
        """The formula in sympy, of the symbol `z`, with its constants at full precision."""
        return self.of(Z)

    def of(self, argument: sympy.Expr) -> sympy.Expr:
        """The formula in sympy at another argument."""
        return self.c * self.form.of(self.a * argument + self.b) + self.d

    def latex(self, digits: int = 3) -> str:
        """The formula in LaTeX, its constants rounded to a number of significant digits."""
        return sympy.latex(round_constants(self.expression, digits))

    def __str__(self) -> str:
        return sympy.sstr(round_constants(self.expression, 4), full_prec=False)


def round_constants(expression: sympy.Expr, digits: int) -> sympy.Expr:
    """An expression with its decimal numbers rounded, and without those that became 1 or 0.

    Args:
        expression: Any sympy expression.
        digits: Number of significant digits, at least 1.

    Raises:
        ValueError: If `digits` is below 1.

    Example:
        >>> round_constants(1.0000001 * Z + 0.12345, 3)
        z + 0.123
    """
    if digits < 1:
        raise ValueError(f"Expected at least 1 significant digit, got {digits}.")
    numbers = {number: _round(number, digits) for number in expression.atoms(sympy.Float)}
    return expression.xreplace(numbers)


def _round(number: sympy.Float, digits: int) -> sympy.Number:
    value = float(f"{float(number):.{digits - 1}e}")
    # What is whole prints as it is read: 2 z, not 2.0 z.
    is_whole = value.is_integer() and abs(value) < 10**digits
    return sympy.Integer(value) if is_whole else sympy.Float(str(value))

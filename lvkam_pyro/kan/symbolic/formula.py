"""A formula: a form with its constants."""

from dataclasses import dataclass

import sympy
from torch import Tensor

from lvkam_pyro.kan.symbolic.forms import SymbolicForm

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

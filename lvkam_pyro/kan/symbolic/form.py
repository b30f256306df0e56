"""A form: one elementary function that a learned function may turn out to be."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import sympy
import torch
from torch import Tensor

X = sympy.Symbol("x")
"""The argument of every form's expression."""


@dataclass(frozen=True)
class SymbolicForm:
    r"""An elementary function :math:`g`, of which formulas :math:`c \, g(a z + b) + d` are made.

    ``form(x)`` evaluates it on a tensor. At and beyond the ends of its domain it keeps the value a
    rounding error inside them, so that a logarithm or a square root met in training gives neither
    NaN nor an infinite gradient.

    It should vary over about one unit of its argument: scales are searched around that.

    Three facts spare the search for constants that change nothing; what they say of a form of your
    own may be left at its default, which is always right.

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
        """The number that stands for the form in a layer's state: that of its name."""
        return zlib.crc32(self.name.encode())

    def __str__(self) -> str:
        return self.name

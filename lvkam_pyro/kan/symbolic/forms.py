"""The forms that a learned function is compared with."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import sympy
import torch
from torch import Tensor
from torch.nn import functional as F

from lvkam_pyro.kan.symbolic.form import SymbolicForm, X

_POSITIVE = (0.0, math.inf)


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
"""The library's forms by name. With one's own beside them: ``forms=(*FORMS.values(), mine)``."""

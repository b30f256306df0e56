"""A whole network as formulas: its functions replaced, its outputs written down."""

from collections.abc import Iterable, Sequence
from typing import cast

import sympy
import torch
from torch import Tensor, nn

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, layer_inputs, layers_of
from lvkam_pyro.kan.symbolic.forms import FORMS, SymbolicForm, round_constants
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.kan.symbolic.layer_fit import LayerFit, fit_symbolic_layer


@torch.no_grad()
def auto_symbolic(
    network: KAN,
    samples: Tensor | None = None,
    *,
    min_r_squared: float = 0.99,
    forms: Iterable[SymbolicForm] = tuple(FORMS.values()),
    penalty: float = 0.1,
) -> tuple[LayerFit, ...]:
    """Replaces every function of a network by its best formula, where one is good enough.

    The layers become ``SymbolicLayer``, each with new parameters: build the optimiser afterwards.

    Args:
        network: The network, changed IN PLACE.
        samples: Inputs of the network, of shape ``(..., I)``, at which the functions are compared
            with the formulas; None: over the domain of every layer.
        min_r_squared: The least `R^2` of a formula; with 0 every function is replaced.
        forms: The forms to try, by default those of the library.
        penalty: What a unit of complexity costs, see ``fit_symbolic``.

    Returns:
        The formulas found for every layer.

    Raises:
        ValueError: If the samples do not fit the network, or an argument is not as
            ``fit_symbolic`` wants it.

    Example:
        >>> network = KAN([2, 1], base_activation=None)
        >>> fits = auto_symbolic(network, min_r_squared=0.0)
        >>> len(network.layers[0].formulas)
        2
    """
    forms = tuple(forms)
    fits = []
    for number, (layer, inputs) in enumerate(_layers_with_samples(network, samples)):
        fits.append(fit_symbolic_layer(layer, inputs, forms=forms, penalty=penalty))
        symbolic = layer if isinstance(layer, SymbolicLayer) else SymbolicLayer(layer, forms=forms)
        symbolic.replace(fits[-1], min_r_squared=min_r_squared)
        network.layers[number] = symbolic
    return tuple(fits)


def _layers_with_samples(
    network: KAN, samples: Tensor | None
) -> Iterable[tuple[KANLayer, Tensor | None]]:
    if samples is None:
        return [(layer, None) for layer in layers_of(network)]
    # All of them at once: before the first function is replaced.
    return list(layer_inputs(network, samples))


def to_sympy(
    network: KAN | KANLayer, *, names: Sequence[str] | None = None, digits: int | None = None
) -> tuple[sympy.Expr, ...]:
    r"""The outputs of a network in its inputs, where all its functions are formulas.

    Between layers stands what ``KAN`` squashes hidden values with, a hyperbolic tangent, of the
    standardised values where the network has a layer norm.

    Args:
        network: A network or a layer, each of whose functions is a formula or masked.
        names: The names of the inputs, by default `z0, z1, ...`.
        digits: Significant digits to round the constants to; None: full precision.

    Returns:
        One sympy expression an output. ``sympy.latex`` prints them, ``sympy.lambdify`` and
        ``sympy.diff`` go on with them.

    Raises:
        ValueError: If a function is still a spline, or the names are not as many as the inputs.

    Example:
        >>> from lvkam_pyro.kan.symbolic.forms import Formula
        >>> layer = SymbolicLayer(KANLayer(2, 1))
        >>> layer.set_formula(0, 0, Formula(FORMS["sin"], a=3.0))
        >>> layer.set_formula(1, 0, Formula(FORMS["x^2"], c=0.5, d=-0.25))
        >>> (output,) = to_sympy(layer, digits=2)
        >>> output
        0.5*z1**2 + sin(3*z0) - 0.25
        >>> sympy.latex(output)
        '0.5 z_{1}^{2} + \\sin{\\left(3 z_{0} \\right)} - 0.25'
    """
    layers = layers_of(network)
    values = _symbols(layers[0].in_features, names)
    for number, layer in enumerate(layers):
        if number > 0:
            norm = next(iter(cast("KAN", network).norms[number - 1 : number]), None)
            hidden = values if norm is None else _standardise(values, cast("nn.LayerNorm", norm))
            values = [_squash(value, layer.domain) for value in hidden]
        values = _apply(layer, values, number)
    return tuple(values if digits is None else (round_constants(v, digits) for v in values))


def _symbols(count: int, names: Sequence[str] | None) -> list[sympy.Expr]:
    names = [f"z{i}" for i in range(count)] if names is None else names
    if len(names) != count:
        raise ValueError(f"Expected the names of {count} inputs, got {len(names)}: {names}.")
    return [sympy.Symbol(name) for name in names]


def _standardise(values: list[sympy.Expr], norm: nn.LayerNorm) -> list[sympy.Expr]:
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    scales, shifts = norm.weight.tolist(), norm.bias.tolist()
    return [
        scale * (value - mean) / sympy.sqrt(variance + norm.eps) + shift
        for value, scale, shift in zip(values, scales, shifts, strict=True)
    ]


def _squash(value: sympy.Expr, domain: tuple[float, float]) -> sympy.Expr:
    low, high = domain
    return (low + high) / 2 + (high - low) / 2 * sympy.tanh(value)


def _apply(layer: KANLayer, inputs: Sequence[sympy.Expr], number: int) -> list[sympy.Expr]:
    """The outputs of a layer whose functions are formulas."""
    formulas = layer.formulas if isinstance(layer, SymbolicLayer) else {}
    splines = cast("list[list[int]]", layer.mask.nonzero().tolist())
    if splines:
        raise ValueError(
            f"Expected a formula for every function, got splines at {splines[:5]} (input, output) "
            f"of layer {number}, {len(splines)} in all. Replace them, for example with "
            "auto_symbolic(network, min_r_squared=0), or prune them."
        )
    outputs: list[sympy.Expr] = [sympy.Integer(0)] * layer.out_features
    for (i, o), formula in formulas.items():
        outputs[o] += formula.of(inputs[i])
    return outputs

"""The functions of a small layer, a panel each, with its formula where it has one."""

import numpy as np
import sympy
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import check_samples
from lvkam_pyro.kan.symbolic.formula import round_constants
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.plots._arrays import Values, as_array, function_values, over_domain
from lvkam_pyro.plots.style import DATA, FORMULA, MODEL, QUIET, panels, styled

_MAX_PANELS = 64
_MAX_MARKS = 100


@styled
def function_grid(
    layer: KANLayer, *, samples: Tensor | None = None, axes: object = None
) -> NDArray[np.object_]:
    r"""Every function :math:`f_{oi}` of a layer in a panel: a row an input, a column an output.

    A formula has another colour and is written above its panel; the grey line behind it is the
    spline that it replaced. A function that is masked is 0.

    Args:
        layer: A layer of at most 64 functions.
        samples: Inputs of the layer, of shape `(..., I)`; each panel marks the first 100.
        axes: One axes a function, row by row; None: a new figure.

    Returns:
        The axes, of shape `(I, O)`.

    Raises:
        TypeError: If `layer` is not one.
        ValueError: If there are more functions than 64, or too few axes, or the samples do not fit.

    Example:
        >>> import lvkam_pyro as lv
        >>> axes = lv.plots.function_grid(lv.KANLayer(2, 3))
        >>> axes.shape, axes[1, 2].get_xlabel(), axes[1, 2].get_ylabel()
        ((2, 3), 'z1', 'to x2')
    """
    _check(layer)
    marks = None if samples is None else as_array(check_samples(layer, samples)[:_MAX_MARKS])
    shape = layer.in_features, layer.out_features
    grid = panels(shape[0] * shape[1], axes, num_columns=shape[1], size=(2.2, 1.7)).reshape(shape)
    z = over_domain(layer)
    functions = function_values(layer, z)
    for (i, o), one in np.ndenumerate(grid):
        if isinstance(layer, SymbolicLayer) and (i, o) in layer.formulas:
            _draw_formula(one, layer, z, functions, (i, o))
        else:
            one.plot(as_array(z[:, 0]), functions[:, i, o], color=MODEL)
        if marks is not None:
            ticks = {"transform": one.get_xaxis_transform(), "color": DATA, "alpha": 0.4}
            one.plot(marks[:, i], np.zeros(len(marks)), "|", markersize=6, **ticks)
        one.set(xlabel=f"z{i}", ylabel=f"to x{o}")
    return grid


def _check(layer: object) -> None:
    if not isinstance(layer, KANLayer):
        raise TypeError(f"Expected a KANLayer, got {type(layer).__name__}.")
    count = layer.in_features * layer.out_features
    if count > _MAX_PANELS:
        raise ValueError(
            f"Expected at most {_MAX_PANELS} functions, a panel each, got {layer.in_features} x "
            f"{layer.out_features}. Use plots.functions, which draws a panel an input."
        )


def _draw_formula(
    axes: Axes, layer: SymbolicLayer, z: Tensor, functions: Values, edge: tuple[int, int]
) -> None:
    i, o = edge
    with torch.no_grad():
        features = layer.features(z.expand(-1, layer.in_features))[:, i]
        replaced = features @ layer.coefficients[i, :, o]
    points = as_array(z[:, 0])
    axes.plot(points, as_array(replaced), color=QUIET, linewidth=3, alpha=0.6)
    axes.plot(points, functions[:, i, o], color=FORMULA)
    expression = round_constants(layer.formulas[edge].of(sympy.Symbol(f"z{i}")), digits=2)
    axes.set_title(f"${sympy.latex(expression)}$", fontsize=8)

"""The functions that a KAN layer has learned: a panel an input, or a panel each."""

from math import ceil
from typing import Any

import numpy as np
import sympy
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, check_samples, layers_of
from lvkam_pyro.kan.symbolic.forms import round_constants
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.plots._arrays import (
    Values,
    as_array,
    centres,
    check_image_shape,
    check_network,
    draw_mosaic,
    function_values,
    over_domain,
)
from lvkam_pyro.plots.style import DATA, FORMULA, MODEL, QUIET, label_edges, panels, styled

_NUM_STEPS = 7
_NUM_PRIOR_DRAWS = 4096
_MIN_HEIGHT = 1.4
_MAX_PANELS = 64
_MAX_MARKS = 100


@styled
def functions(
    kan: KAN | KANLayer,
    *,
    prior: EnergyPrior | None = None,
    num_highlighted: int = 3,
    image_shape: tuple[int, int] | None = None,
    axes: object = None,
) -> NDArray[np.object_]:
    r"""The functions :math:`\Phi_{oq}` of a layer, one panel an input.

    Every output's function is a quiet line; those of the largest range stand out and say which
    output they add to, and which form they have if they are formulas. Where the outputs are the
    pixels of an image, each panel is a strip instead: what :math:`\Phi_q(z)` adds to the image as
    :math:`z` grows.

    A learned prior leaves much of the domain empty, and there the functions mean nothing. With the
    prior given, strips go from its 5 % to its 95 % quantile; lines have that part shaded, and
    stand out by their range in it.

    Args:
        kan: A layer, or a generator, whose first layer is shown: there the inputs are the
            latents.
        prior: The prior of the layer's inputs; None: the whole domain.
        num_highlighted: Number of functions that stand out in a panel.
        image_shape: Height and width if the layer's outputs are the pixels of an image.
        axes: One axes an input; None: a new figure.

    Returns:
        The axes, of shape `(Q,)`.

    Raises:
        TypeError: If `kan` is neither a layer nor a generator.
        ValueError: If `image_shape` does not have as many pixels as the layer outputs, or the axes
            are too few.

    Example:
        >>> import lvkam_pyro as lv
        >>> axes = lv.plots.functions(lv.KANLayer(2, 5))
        >>> axes[1].get_title(), axes[1].get_xlabel()
        ('latent 1', 'z')
    """
    layer = layers_of(check_network(kan))[0]
    central = None if prior is None else _central_quantiles(prior)
    if image_shape is not None:
        return _plot_strips(layer, image_shape, central, axes)
    z = over_domain(layer)
    values = _evaluate(layer, z)
    ranges = np.ptp(values if central is None else _evaluate(layer, central), axis=0)
    all_axes = panels(layer.in_features, axes, share=True, size=(2.5, 1.8))
    for latent, one in enumerate(all_axes):
        highlighted = np.argsort(-ranges[latent])[:num_highlighted]
        labels = {output: _label(layer, latent, output) for output in highlighted.tolist()}
        _draw_lines(one, as_array(z[:, 0]), values[:, latent], labels)
        if central is not None:
            one.axvspan(*central[[0, -1], latent].tolist(), color=MODEL, alpha=0.08, linewidth=0)
        one.set_title(f"latent {latent}")
    label_edges(all_axes, own_figure=axes is None, xlabel="z", ylabel="added to output")
    return all_axes


def _central_quantiles(prior: EnergyPrior) -> Tensor:
    """Points `(M, Q)` from the 5 % to the 95 % quantile of each of the generator's inputs."""
    # A generator of our own: the caller's random state stays where it is.
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        densities = prior.densities()
        shape = (_NUM_PRIOR_DRAWS, *densities.batch_shape)
        u = torch.rand(shape, generator=rng, dtype=torch.float64)
        inputs = prior.combine(densities.icdf(u.to(densities.breakpoints.device)))
    return inputs.quantile(torch.linspace(0.05, 0.95, _NUM_STEPS).to(inputs), dim=0)


def _evaluate(layer: KANLayer, z: Tensor) -> Values:
    """All functions at points `(M, I)`, less their mean over these: `(M, I, O)`."""
    values = function_values(layer, z)
    # A constant may move from one function to another without changing the layer.
    return values - values.mean(0)


def _label(layer: KANLayer, latent: int, output: int) -> str:
    """The name of a function in the legend: its output, and its formula's form."""
    if isinstance(layer, SymbolicLayer) and (latent, output) in layer.formulas:
        return f"{output}: {layer.formulas[latent, output].form}"
    return str(output)


def _draw_lines(axes: Axes, z: Values, values: Values, labels: dict[int, str]) -> None:
    axes.plot(z, values, color=QUIET, alpha=0.35, linewidth=0.6)
    for output, label in labels.items():
        axes.plot(z, values[:, output], linewidth=1.4, label=label)
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "borderpad": 0}
    axes.legend(title="output", title_fontsize=7, fontsize=7, handlelength=0.8, **beside)


def _plot_strips(
    layer: KANLayer, image_shape: tuple[int, int], central: Tensor | None, axes: object
) -> NDArray[np.object_]:
    check_image_shape(image_shape, layer.out_features)
    whole = over_domain(layer, _NUM_STEPS)
    values = _evaluate(layer, whole if central is None else central)
    # A few corner pixels would take all contrast from the rest.
    bound = np.quantile(np.abs(values), 0.995)
    rows = ceil(layer.in_features / 2)
    height = 2.4 * image_shape[0] / image_shape[1] / _NUM_STEPS + 0.12
    # The bar beside the strips has a name, which wants its room.
    height = max(height, _MIN_HEIGHT / rows)
    all_axes = panels(layer.in_features, axes, num_columns=2, size=(3.4, height))
    for latent, one in enumerate(all_axes):
        scale = {"cmap": "PuOr", "vmin": -bound, "vmax": bound}
        picture = draw_mosaic(one, values[:, latent], image_shape, _NUM_STEPS, **scale)
        one.set_ylabel(f"latent {latent}", fontsize=8, rotation=0, ha="right", va="center")
    ends = [f"{end:g}" for end in layer.domain] if central is None else ["5 %", "95 %"]
    # What runs along the strips is said under the lowest, and from where to where.
    columns = all_axes[0].get_subplotspec().get_gridspec().ncols
    for one in all_axes[-columns:]:
        one.set_xticks(centres(image_shape[1], _NUM_STEPS)[[0, -1]], ends)
        one.set_xlabel("z" if central is None else "quantile of the prior", labelpad=-8)
        one.tick_params(pad=2)
    all_axes[0].figure.colorbar(
        picture, ax=list(all_axes), label="added to output", shrink=0.7, extend="both"
    )
    return all_axes


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
    _check_grid(layer)
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


def _check_grid(layer: object) -> None:
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

"""The functions that a KAN layer has learned."""

from math import ceil
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, layers_of
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.plots._arrays import (
    Values,
    as_array,
    check_image_shape,
    function_values,
    mosaic,
    over_domain,
)
from lvkam_pyro.plots.style import MODEL, QUIET, label_edges, panels, styled

_NUM_STEPS = 7
_NUM_PRIOR_DRAWS = 4096
_MIN_HEIGHT = 1.4


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
    layer = _first_layer(kan)
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


def _first_layer(kan: KAN | KANLayer) -> KANLayer:
    if not isinstance(kan, KAN | KANLayer):
        raise TypeError(
            f"Expected a KANLayer or a KAN, such as a KANGenerator, got {type(kan).__name__}. "
            "Other modules have no univariate functions to plot."
        )
    return layers_of(kan)[0]


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
        sheet = mosaic(values[:, latent].reshape(-1, *image_shape), _NUM_STEPS)
        picture = one.imshow(sheet, cmap="PuOr", vmin=-bound, vmax=bound, aspect="equal")
        one.set(yticks=[], xticks=[])
        one.set_ylabel(f"latent {latent}", fontsize=8, rotation=0, ha="right", va="center")
        one.spines[:].set_visible(False)
    if central is None:
        _mark_ends(all_axes, (f"{layer.domain[0]:g}", f"{layer.domain[1]:g}"), "z", image_shape)
    else:
        _mark_ends(all_axes, ("5 %", "95 %"), "quantile of the prior", image_shape)
    all_axes[0].figure.colorbar(
        picture, ax=list(all_axes), label="added to output", shrink=0.7, extend="both"
    )
    return all_axes


def _mark_ends(
    all_axes: NDArray[np.object_],
    ends: tuple[str, str],
    scale: str,
    image_shape: tuple[int, int],
) -> None:
    """Says under the lowest strips what runs along them, and from where to where."""
    width = image_shape[1]
    centres = [(width - 1) / 2, (_NUM_STEPS - 1) * (width + 1) + (width - 1) / 2]
    columns = all_axes[0].get_subplotspec().get_gridspec().ncols
    for one in all_axes[-columns:]:
        one.set(xticks=centres, xticklabels=ends)
        one.set_xlabel(scale, labelpad=-8)
        one.tick_params(length=0, pad=2)

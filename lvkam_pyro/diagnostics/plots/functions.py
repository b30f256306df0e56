"""The functions that a KAN layer has learned."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro.diagnostics.plots.samples import Values, as_array, mosaic
from lvkam_pyro.diagnostics.plots.style import (
    QUIET,
    label_edges,
    panels,
    styled,
)
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.modules.generator import KANGenerator

NUM_POINTS = 200
NUM_STEPS = 7


@styled
def plot_functions(
    functions: KANGenerator | KANLayer,
    *,
    num_highlighted: int = 3,
    image_shape: tuple[int, int] | None = None,
    axes: object = None,
) -> NDArray[np.object_]:
    r"""The functions :math:`\Phi_{oq}` of a layer, one panel an input.

    Every output's function is a quiet line; those of the largest range stand out and say their
    output. Where the outputs are the pixels of an image, each panel is a strip instead: what
    :math:`\Phi_q(z)` adds to the image as :math:`z` goes through its domain.

    Args:
        functions: A layer, or a generator, whose first layer is shown: there the inputs are the
            latents.
        num_highlighted: Number of functions that stand out in a panel.
        image_shape: Height and width if the layer's outputs are the pixels of an image.
        axes: One axes an input; None: a new figure.

    Returns:
        The axes, of shape `(Q,)`.

    Raises:
        TypeError: If `functions` is neither a layer nor a generator.
        ValueError: If `image_shape` does not have as many pixels as the layer outputs, or the axes
            are too few.

    Example:
        >>> axes = plot_functions(KANLayer(2, 5))
        >>> axes[1].get_title(), axes[1].get_xlabel()
        ('latent 2', 'z')
    """
    layer = _first_layer(functions)
    if image_shape is not None:
        return _plot_strips(layer, image_shape, axes)
    z, values = _evaluate(layer, NUM_POINTS)
    all_axes = panels(layer.in_features, axes, share=True, size=(2.5, 1.8))
    for latent, one in enumerate(all_axes):
        _draw_lines(one, z, values[:, latent], num_highlighted)
        one.set_title(f"latent {latent + 1}")
    label_edges(all_axes, own_figure=axes is None, xlabel="z", ylabel="added to output")
    return all_axes


def _first_layer(functions: KANGenerator | KANLayer) -> KANLayer:
    layer = functions.layers[0] if isinstance(functions, KANGenerator) else functions
    if not isinstance(layer, KANLayer):
        raise TypeError(
            f"Expected a KANLayer or a KANGenerator, got {type(functions).__name__}. Other "
            "generators have no univariate functions to plot."
        )
    return layer


def _evaluate(layer: KANLayer, num_points: int) -> tuple[Values, Values]:
    """Points `(M,)` over the domain, and all functions there less their mean, `(M, I, O)`."""
    z: Tensor = torch.linspace(*layer.domain, num_points).to(layer.coefficients)
    with torch.no_grad():
        values = layer.unsummed(z[:, None].expand(-1, layer.in_features))
    # A constant may move from one function to another without changing the layer.
    return as_array(z), as_array(values - values.mean(0))


def _draw_lines(axes: Axes, z: Values, values: Values, num_highlighted: int) -> None:
    axes.plot(z, values, color=QUIET, alpha=0.35, linewidth=0.6)
    largest = np.argsort(-np.ptp(values, axis=0))[:num_highlighted]
    for output in largest:
        axes.plot(z, values[:, output], linewidth=1.4, label=f"{output + 1}")
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "borderpad": 0}
    axes.legend(title="output", title_fontsize=7, fontsize=7, handlelength=0.8, **beside)


def _plot_strips(
    layer: KANLayer, image_shape: tuple[int, int], axes: object
) -> NDArray[np.object_]:
    if image_shape[0] * image_shape[1] != layer.out_features:
        raise ValueError(
            f"Expected images of the layer's {layer.out_features} outputs, got image_shape = "
            f"{image_shape}. Pass the height and width whose product is that number."
        )
    z, values = _evaluate(layer, NUM_STEPS)
    bound = np.abs(values).max()
    height = 3.4 * image_shape[0] / image_shape[1] / NUM_STEPS + 0.1
    all_axes = panels(layer.in_features, axes, num_columns=2, size=(3.4, height))
    for latent, one in enumerate(all_axes):
        sheet = mosaic(values[:, latent].reshape(-1, *image_shape), NUM_STEPS)
        picture = one.imshow(sheet, cmap="PuOr", vmin=-bound, vmax=bound, aspect="equal")
        one.set(yticks=[], xticks=[])
        one.set_ylabel(f"latent {latent + 1}", fontsize=8)
        one.spines[:].set_visible(False)
    _mark_steps(all_axes, z, image_shape)
    label = "added to output"
    all_axes[0].figure.colorbar(picture, ax=list(all_axes), label=label, shrink=0.5)
    return all_axes


def _mark_steps(all_axes: NDArray[np.object_], z: Values, image_shape: tuple[int, int]) -> None:
    """Writes the first and the last point under the lowest strips."""
    width = image_shape[1]
    ends = [(width - 1) / 2, (NUM_STEPS - 1) * (width + 1) + (width - 1) / 2]
    columns = all_axes[0].get_subplotspec().get_gridspec().ncols
    for one in all_axes[-columns:]:
        one.set(xticks=ends, xticklabels=[f"z = {z[0]:g}", f"{z[-1]:g}"])
        one.tick_params(length=0, pad=1)

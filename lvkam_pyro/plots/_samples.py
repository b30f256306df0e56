"""Data beside data that the model draws, and their statistics."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lvkam_pyro.checks.predictive import PredictiveCheck
from lvkam_pyro.plots._arrays import Values, as_array, check_image_shape, draw_mosaic
from lvkam_pyro.plots.style import DATA, MODEL, legend_above, panels, styled

Draw = Callable[[Axes, Values, str], None]

_MOSAIC_EDGE = 6
_NUM_LINES = 60
_NUM_BINS = 30


@styled
def samples(
    x: Tensor | ArrayLike,
    draws: Tensor | ArrayLike,
    *,
    image_shape: tuple[int, int] | None = None,
    titles: tuple[str, str] = ("data", "draws from the model"),
    axes: object = None,
) -> NDArray[np.object_]:
    """Data on the left, draws from the model on the right, on one scale.

    Images are shown as a mosaic of the first 36. Data of one output are shown as histograms, of
    two as points, of more as lines over the outputs.

    Args:
        x: Data of shape `(N, O)`.
        draws: Draws from the model, of shape `(M, O)`.
        image_shape: Height and width if each datum is an image, with `O = height * width`.
        titles: Of both sides.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If the shapes do not agree, or hold nothing finite.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> axes = lv.plots.samples(torch.rand(40, 64), torch.rand(40, 64), image_shape=(8, 8))
        >>> [one.get_title() for one in axes]
        ['data', 'draws from the model']
    """
    sides = _check(as_array(x), as_array(draws), image_shape)
    size = (3.0, 2.75) if image_shape else (3.0, 2.5)
    pair = panels(2, axes, size=size, share=image_shape is None)
    if image_shape is not None:
        _plot_images(pair, sides, image_shape, titles)
        return pair
    draw = _drawing(sides)
    for one, values, title, colour in zip(pair, sides, titles, (DATA, MODEL), strict=True):
        draw(one, values, colour)
        one.set_title(title)
    pair[1].set_ylabel("")
    return pair


@styled
def predictive_check(result: PredictiveCheck, *, axes: object = None) -> NDArray[np.object_]:
    """Each statistic of the data as a line, those of the model's data sets as a histogram.

    Args:
        result: The result of `prior_predictive_check` or `posterior_predictive_check`.
        axes: One axes a statistic; None: a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the axes are too few.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> result = lv.checks.prior_predictive_check(problem.model, problem.x, num_draws=200)
        >>> lv.plots.predictive_check(result)[0].get_xlabel()
        'mean'
    """
    all_axes = panels(len(result.names), axes, num_columns=3, size=(2.5, 2.0))
    for index, (one, name) in enumerate(zip(all_axes, result.names, strict=True)):
        draws = as_array(result.replicated[:, index])
        draws = draws[np.isfinite(draws)]
        one.hist(draws, _NUM_BINS, color=MODEL, alpha=0.6, label="data sets of the model")
        one.axvline(float(result.observed[index]), color=DATA, linewidth=2, label="the data")
        one.set(xlabel=name, yticks=[], title=f"p = {result.p_values[name]:.2g}")
        one.spines["left"].set_visible(False)
        one.locator_params(axis="x", nbins=4)
    legend_above(all_axes, own_figure=axes is None)
    return all_axes


def _check(x: Values, draws: Values, image_shape: tuple[int, int] | None) -> list[Values]:
    if x.ndim != 2 or draws.ndim != 2 or x.shape[1] != draws.shape[1]:
        raise ValueError(
            "Expected data (N, O) and draws (M, O) of the same outputs, got shapes "
            f"{x.shape} and {draws.shape}. Flatten what follows the first dimension."
        )
    if image_shape is not None:
        check_image_shape(image_shape, x.shape[1])
    if not np.isfinite(x).any():
        raise ValueError(f"Expected data to plot, got shape {x.shape} with nothing finite in it.")
    return [x, draws]


def _drawing(sides: list[Values]) -> Draw:
    """The way to draw data of that many outputs, on a scale that suits both sides."""
    num_outputs = sides[0].shape[1]
    if num_outputs > 2:
        return _draw_lines
    if num_outputs == 2:
        return _draw_points
    bins = np.histogram_bin_edges(np.concatenate(sides), bins="auto")
    return lambda axes, values, colour: _draw_histogram(axes, values, colour, bins)


def _draw_points(axes: Axes, values: Values, colour: str) -> None:
    axes.scatter(
        values[:, 0], values[:, 1], s=6, color=colour, alpha=0.5, linewidths=0, rasterized=True
    )
    axes.set(xlabel="output 0", ylabel="output 1")


def _draw_lines(axes: Axes, values: Values, colour: str) -> None:
    outputs = np.arange(values.shape[1])
    axes.plot(outputs, values[:_NUM_LINES].T, color=colour, alpha=0.35, linewidth=0.8)
    axes.set(xlabel="output", ylabel="value (units of the data)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_histogram(axes: Axes, values: Values, colour: str, bins: Values) -> None:
    axes.hist(values[:, 0], bins=bins.tolist(), density=True, color=colour, alpha=0.7)
    axes.set(xlabel="output 0", ylabel="density (per unit of the data)")


def _plot_images(
    pair: NDArray[np.object_],
    sides: list[Values],
    image_shape: tuple[int, int],
    titles: tuple[str, str],
) -> None:
    # The data set the scale: a draw beyond it is seen as saturated, not by a changed scale.
    low, high = np.nanmin(sides[0]), np.nanmax(sides[0])
    for one, values, title in zip(pair, sides, titles, strict=True):
        shown, scale = values[: _MOSAIC_EDGE**2], {"cmap": "gray_r", "vmin": low, "vmax": high}
        picture = draw_mosaic(one, shown, image_shape, _MOSAIC_EDGE, **scale)
        one.set_title(title, fontsize=11, pad=8)
    pair[0].figure.colorbar(
        picture, ax=list(pair), label="pixel intensity", shrink=0.55, extend="both"
    )

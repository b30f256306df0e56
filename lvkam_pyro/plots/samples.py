"""Data beside what the model draws."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lvkam_pyro.plots.style import DATA, MODEL, panels, styled

Values = NDArray[np.float64]
Draw = Callable[[Axes, Values, str], None]

MOSAIC_EDGE = 6
NUM_LINES = 60


@styled
def plot_samples(
    x: Tensor | ArrayLike,
    samples: Tensor | ArrayLike,
    *,
    image_shape: tuple[int, int] | None = None,
    axes: object = None,
) -> NDArray[np.object_]:
    """Data on the left, draws from the model on the right, on one scale.

    Images are shown as a mosaic of the first 36. Data of one output are shown as histograms, of
    two as points, of more as lines over the outputs.

    Args:
        x: Data of shape `(N, O)`.
        samples: Draws from the model, of shape `(M, O)`.
        image_shape: Height and width if each datum is an image, with `O = height * width`.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If the shapes do not agree, or hold nothing finite.

    Example:
        >>> import torch
        >>> axes = plot_samples(torch.rand(40, 64), torch.rand(40, 64), image_shape=(8, 8))
        >>> [one.get_title() for one in axes]
        ['data', 'draws from the model']
    """
    sides = _check(as_array(x), as_array(samples), image_shape)
    size = (3.0, 2.75) if image_shape else (3.0, 2.5)
    pair = panels(2, axes, num_columns=2, size=size, share=image_shape is None)
    if image_shape is not None:
        _plot_images(pair, sides, image_shape)
        return pair
    draw = _drawing(sides)
    for one, values, title, colour in zip(
        pair, sides, ("data", "draws from the model"), (DATA, MODEL), strict=True
    ):
        draw(one, values, colour)
        one.set_title(title)
    pair[1].set_ylabel("")
    return pair


def as_array(values: Tensor | ArrayLike) -> Values:
    """A tensor, on any device and with a gradient or not, or an array, as float64."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    return np.asarray(values, dtype=np.float64)


def mosaic(images: Values, num_columns: int) -> Values:
    """Images `(M, height, width)` side by side in rows, one blank (NaN) pixel between them."""
    height, width = images.shape[1:]
    rows = -(-len(images) // num_columns)
    sheet = np.full((rows * num_columns, height + 1, width + 1), np.nan)
    sheet[: len(images), :height, :width] = images
    grid = sheet.reshape(rows, num_columns, height + 1, width + 1).swapaxes(1, 2)
    return grid.reshape(rows * (height + 1), -1)[:-1, :-1]


def _check(x: Values, samples: Values, image_shape: tuple[int, int] | None) -> list[Values]:
    if x.ndim != 2 or samples.ndim != 2 or x.shape[1] != samples.shape[1]:
        raise ValueError(
            "Expected data (N, O) and draws (M, O) of the same outputs, got shapes "
            f"{x.shape} and {samples.shape}. Flatten what follows the first dimension."
        )
    if image_shape is not None and image_shape[0] * image_shape[1] != x.shape[1]:
        raise ValueError(
            f"Expected images of {x.shape[1]} pixels, got image_shape = {image_shape}. Pass the "
            "height and width whose product is the number of outputs."
        )
    if not np.isfinite(x).any():
        raise ValueError(f"Expected data to plot, got shape {x.shape} with nothing finite in it.")
    return [x, samples]


def _drawing(sides: list[Values]) -> Draw:
    """How data of so many outputs are drawn, on a scale that suits both sides."""
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
    axes.set(xlabel="output 1", ylabel="output 2")


def _draw_lines(axes: Axes, values: Values, colour: str) -> None:
    outputs = np.arange(values.shape[1])
    axes.plot(outputs, values[:NUM_LINES].T, color=colour, alpha=0.35, linewidth=0.8)
    axes.set(xlabel="output", ylabel="value (units of the data)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_histogram(axes: Axes, values: Values, colour: str, bins: Values) -> None:
    axes.hist(values[:, 0], bins=bins.tolist(), density=True, color=colour, alpha=0.7)
    axes.set(xlabel="output 1", ylabel="density (per unit of the data)")


def _plot_images(
    pair: NDArray[np.object_], sides: list[Values], image_shape: tuple[int, int]
) -> None:
    # The data set the scale: a draw beyond it is seen as saturated, not by a changed scale.
    low, high = np.nanmin(sides[0]), np.nanmax(sides[0])
    for one, values, title in zip(pair, sides, ("data", "draws from the model"), strict=True):
        sheet = mosaic(values[: MOSAIC_EDGE**2].reshape(-1, *image_shape), MOSAIC_EDGE)
        picture = one.imshow(sheet, cmap="gray_r", vmin=low, vmax=high)
        one.set_title(title, fontsize=11, pad=8)
        one.set(xticks=[], yticks=[])
        one.spines[:].set_visible(False)
    bar = pair[0].figure.colorbar(
        picture, ax=list(pair), label="pixel intensity", shrink=0.55, aspect=22, extend="both"
    )
    bar.locator = MaxNLocator(4)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(length=2, width=0.4)

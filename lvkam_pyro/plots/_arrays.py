"""Tensors, images and functions as the arrays that pictures are made of."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN

Values = NDArray[np.float64]

_NUM_POINTS = 200


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


def draw_mosaic(
    axes: Axes,
    images: Values,
    image_shape: tuple[int, int],
    num_columns: int,
    **style: Any,
) -> AxesImage:
    """Draws images `(M, O)` side by side, on axes without ticks and frame."""
    sheet = mosaic(images.reshape(-1, *image_shape), num_columns)
    picture = axes.imshow(sheet, **style)
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return picture


def centres(size: int, count: int) -> Values:
    """The middles of images side by side, in pixels of their mosaic, `(count,)`."""
    return (size - 1) / 2 + (size + 1) * np.arange(count, dtype=np.float64)


def check_image_shape(image_shape: tuple[int, int], num_outputs: int) -> None:
    """Refuses a height and width that do not make an image of the outputs.

    Raises:
        ValueError: If their product is not `num_outputs`.
    """
    if image_shape[0] * image_shape[1] != num_outputs:
        raise ValueError(
            f"Expected images of {num_outputs} pixels, got image_shape = {image_shape}. Pass the "
            "height and width whose product is the number of outputs."
        )


def check_network(kan: KAN | KANLayer) -> KAN | KANLayer:
    """Refuses modules without univariate functions.

    Raises:
        TypeError: If it is neither a layer nor a network, such as a generator.
    """
    if not isinstance(kan, KAN | KANLayer):
        raise TypeError(
            f"Expected a KANLayer or a KAN, such as a KANGenerator, got {type(kan).__name__}. "
            "Other modules have no univariate functions to plot."
        )
    return kan


@torch.no_grad()
def function_values(layer: KANLayer, z: Tensor) -> Values:
    """All functions of a layer at points `(M, I)`, or `(M, 1)` for the same of all inputs.

    Returns:
        Their values, `(M, I, O)`.
    """
    return as_array(layer.unsummed(z.expand(-1, layer.in_features)))


def over_domain(layer: KANLayer, num_points: int = _NUM_POINTS) -> Tensor:
    """Points evenly over the domain of a layer, with its dtype and device, `(M, 1)`."""
    return torch.linspace(*layer.domain, num_points).to(layer.coefficients)[:, None]

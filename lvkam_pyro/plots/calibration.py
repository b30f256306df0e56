"""Leave-one-out places of observed numbers: whether predictions are as sure as they should be."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro.plots.samples import as_array
from lvkam_pyro.plots.style import MODEL, panels, styled
from lvkam_pyro.plots.uniformity import HasBand, plot_ecdf_difference

_NUM_BINS = 20


class HasPlaces(Protocol):
    """What a `LOOPIT` says that a picture needs."""

    @property
    def pit(self) -> Tensor:
        """The places, `(N, U)`."""

    @property
    def uniformity(self) -> HasBand:
        """Of each number over the data."""


@styled
def plot_loo_pit(loo_pit: HasPlaces, *, axes: object = None) -> NDArray[np.object_]:
    """Distribution functions of the leave-one-out places with their band, and their histogram.

    The band is for each of the functions by itself. The histogram is of all numbers of all data,
    which depend on each other, so it has no band: U-shaped for predictions too narrow, a hump for
    those too wide, a slope for biased ones.

    Args:
        loo_pit: What `loo_pit` found.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If there are fewer than two axes.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> axes = plot_loo_pit(lv.checks.loo_pit(problem.model, problem.x))
        >>> axes[1].get_xlabel()
        'LOO-PIT'
    """
    left, right = pair = panels(2, axes, num_columns=2, size=(3.7, 2.9))
    count = loo_pit.pit.shape[1]
    names = [f"number {index}" for index in range(count)] if count > 1 else []
    plot_ecdf_difference(loo_pit.uniformity, names=names, xlabel="LOO-PIT", axes=left)
    left.set_title(f"each number over {len(loo_pit.pit)} data")
    places = as_array(loo_pit.pit).reshape(-1)
    right.hist(
        places, np.linspace(0, 1, _NUM_BINS + 1).tolist(), density=True, color=MODEL, alpha=0.7
    )
    right.axhline(1, color="black", linewidth=0.6)
    right.set(xlim=(0, 1), xlabel="LOO-PIT", ylabel="density (uniform: 1)", title="all numbers")
    return pair

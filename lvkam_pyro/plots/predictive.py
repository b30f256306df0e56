"""Statistics of the data among those of data sets that the model draws."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro.plots.samples import as_array
from lvkam_pyro.plots.style import DATA, MODEL, legend_above, panels, styled

_NUM_BINS = 30


class HasStatistics(Protocol):
    """What a `PredictiveCheck` says that a picture needs."""

    @property
    def names(self) -> Sequence[str]:
        """Of the K statistics."""

    @property
    def observed(self) -> Tensor:
        """Of the data, `(K,)`."""

    @property
    def replicated(self) -> Tensor:
        """Of the model's data sets, `(D, K)`."""

    @property
    def p_values(self) -> dict[str, float]:
        """Of the statistics."""


@styled
def plot_predictive_check(check: HasStatistics, *, axes: object = None) -> NDArray[np.object_]:
    """Each statistic of the data as a line, those of the model's data sets as a histogram.

    Args:
        check: What `prior_predictive_check` or `posterior_predictive_check` found.
        axes: One axes a statistic; None: a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the axes are too few.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> check = lv.checks.prior_predictive_check(problem.model, problem.x, num_draws=200)
        >>> plot_predictive_check(check)[0].get_xlabel()
        'mean'
    """
    all_axes = panels(len(check.names), axes, num_columns=3, size=(2.5, 2.0))
    for index, (one, name) in enumerate(zip(all_axes, check.names, strict=True)):
        draws = as_array(check.replicated[:, index])
        draws = draws[np.isfinite(draws)]
        one.hist(draws, _NUM_BINS, color=MODEL, alpha=0.6, label="data sets of the model")
        one.axvline(float(check.observed[index]), color=DATA, linewidth=2, label="the data")
        one.set(xlabel=name, yticks=[], title=f"p = {check.p_values[name]:.2g}")
        one.spines["left"].set_visible(False)
        one.locator_params(axis="x", nbins=4)
    legend_above(all_axes, own_figure=axes is None)
    return all_axes

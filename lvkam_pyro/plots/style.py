"""One look for every picture: colours, axes, and the figure they belong to."""

from collections.abc import Callable, Mapping
from functools import wraps
from importlib.resources import files
from io import BytesIO
from math import ceil, floor, inf, log10
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Values = NDArray[np.float64]

STYLE: Mapping[Any, Any] = mpl.rc_params_from_file(
    str(files("lvkam_pyro.plots").joinpath("lvkam.mplstyle")), use_default_template=False
)
"""Matplotlib's settings; for pictures of your own `plt.style.use("lvkam_pyro.plots.lvkam")`."""

PALETTE: tuple[str, ...] = tuple(STYLE["axes.prop_cycle"].by_key()["color"])
"""The colours of Okabe and Ito (https://jfly.uni-koeln.de/color/), distinct to every eye."""

DATA, MODEL, QUIET = "#4D4D4D", PALETTE[0], "#A6A6A6"
"""The colours of observations, of the model, and of what stands behind for comparison."""

FORMULA = PALETTE[1]
"""The colour of formulas beside splines, in every picture of functions."""


def styled(plot: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A plot drawn in the style of this library, with matplotlib's settings as they were after."""

    @wraps(plot)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with mpl.rc_context(dict(STYLE)):
            return plot(*args, **kwargs)

    return wrapped


def panels(
    count: int,
    axes: object = None,
    *,
    num_columns: int = 4,
    size: tuple[float, float] = (2.3, 1.8),
    share: bool = False,
) -> NDArray[np.object_]:
    """The axes to draw on: those given, or those of a new figure.

    Args:
        count: Number of panels.
        axes: Axes, or any nested sequence of them; None: a new figure.
        num_columns: Most panels in a row of the new figure.
        size: Width and height of a panel in inches.
        share: Whether the panels of the new figure share both scales.

    Returns:
        The axes, of shape `(count,)`.

    Raises:
        ValueError: If there are fewer axes than panels.
        TypeError: If something among `axes` is no matplotlib axes.

    Example:
        >>> axes = panels(3, num_columns=2)
        >>> axes.shape, len(axes[0].figure.axes)
        ((3,), 3)
        >>> close(axes)
    """
    if axes is None:
        return _new_panels(count, num_columns, size, share=share)
    given = np.array(axes, dtype=object).reshape(-1)
    if len(given) < count:
        raise ValueError(f"Expected {count} axes, got {len(given)}. Pass one for each panel.")
    if not all(isinstance(one, Axes) for one in given):
        raise TypeError(f"Expected matplotlib axes, got {given[0]!r}.")
    return given[:count]


def _new_panels(
    count: int, num_columns: int, size: tuple[float, float], *, share: bool
) -> NDArray[np.object_]:
    rows = ceil(count / num_columns)
    # Rows as full as each other: five panels stand as three and two.
    columns = ceil(count / rows)
    figure, grid = pyplot.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        squeeze=False,
        sharex=share,
        sharey=share,
        layout="constrained",
    )
    for unused in grid.flat[count:]:
        figure.delaxes(unused)
    return np.asarray(grid.flat[:count])


def label_edges(axes: NDArray[np.object_], *, own_figure: bool, xlabel: str, ylabel: str) -> None:
    """Names the scales: of every panel, or once a row and a column in a figure of our own."""
    count = len(axes)
    columns = axes[0].get_subplotspec().get_gridspec().ncols if own_figure else 1
    for index, one in enumerate(axes):
        if not own_figure or index + columns >= count:
            one.set_xlabel(xlabel)
            one.tick_params(labelbottom=True)
        if not own_figure or index % columns == 0:
            one.set_ylabel(ylabel)


def legend_above(axes: NDArray[np.object_], *, own_figure: bool) -> None:
    """One legend for all panels: above a figure of our own, else inside the first panel."""
    entries: dict[str, Artist] = {}
    for one in axes:
        handles, labels = one.get_legend_handles_labels()
        entries = dict(zip(labels, handles, strict=True)) | entries
    if own_figure:
        figure = figure_of(axes)
        figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=4)
    else:
        axes[0].legend(entries.values(), entries.keys())


def legend_in_headroom(axes: Axes) -> None:
    """A legend at the upper right, above the curves, for which the scale is stretched."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.3 * (high - low))
    axes.legend(loc="upper right", ncols=2)


def error_band(
    axes: Axes, x: Values, mean: Values, error: Values, *, color: str, alpha: float
) -> None:
    """A band of two standard errors each way."""
    low, high = mean - 2 * error, mean + 2 * error
    axes.fill_between(x, low, high, color=color, alpha=alpha, linewidth=0)


def dark_to_light(count: int) -> Values:
    """Colours in an order that every eye sees, `(count, 4)`."""
    return np.asarray(mpl.colormaps["viridis"](np.linspace(0, 0.9, count)))


def quote(value: float, error: float = 0.0) -> str:
    """The text of a value in a picture: to its error's second digit, with a minus, no hyphen.

    Args:
        value: The value.
        error: Its standard error; 0: none, and two decimals.

    Example:
        >>> quote(-61.9885), quote(-2.01123, 0.00234)
        ('−61.99', '−2.0112 ± 0.0023')
    """
    decimals = max(0, 1 - floor(log10(error))) if 0 < error < inf else 2
    text = f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")
    return f"{text} ± {error:.{decimals}f}" if error > 0 else text


def close(axes: Axes | NDArray[np.object_]) -> None:
    """Closes the figure that the axes belong to, so that pyplot no longer holds it."""
    pyplot.close(figure_of(axes))


def render(
    axes: Axes | NDArray[np.object_], *, file_format: str = "png", dpi: float = 150
) -> bytes:
    """The file of the figure that the axes belong to, in the style of this library; closes it.

    Args:
        axes: The axes that a plot returned.
        file_format: A format that matplotlib knows: `png`, `pdf`, `svg`.
        dpi: Pixels an inch.

    Example:
        >>> render(panels(2))[1:4]
        b'PNG'
    """
    file = BytesIO()
    try:
        with mpl.rc_context(dict(STYLE)):
            figure_of(axes).savefig(file, format=file_format, dpi=dpi)
    finally:
        close(axes)
    return file.getvalue()


def figure_of(axes: Axes | NDArray[np.object_]) -> Figure:
    """The figure that the axes, or the first of them, belong to."""
    figure: Figure = np.array(axes, dtype=object).reshape(-1)[0].figure
    return figure
